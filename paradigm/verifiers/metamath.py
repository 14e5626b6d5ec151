"""Metamath databases: what is declared, and what of it a proof may use.

The language is that of N. Megill and D. A. Wheeler, "Metamath: A Computer Language for Mathematical Proofs" (2019), chapter 4, read strictly.
Proofs are checked in `metamath_proof`. File inclusion (`$[`) is refused: a database here is one text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

__all__ = ["Assertion", "Hypothesis", "MetamathDatabase", "MetamathError"]

Symbols = tuple[str, ...]
Pairs = frozenset[tuple[str, str]]

_CHARACTERS = re.compile(r"[!-~ \t\r\n\f]*")
_LABEL = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN = re.compile(r"[!-~]+")


class MetamathError(ValueError):
    """A text that is no Metamath database, or a proof that is none; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A floating hypothesis (`$f`: typecode and variable) or an essential one (`$e`)."""

    label: str
    symbols: Symbols
    floating: bool
    order: int


@dataclass(frozen=True, slots=True)
class Assertion:
    """An axiom (`$a`) or a theorem (`$p`).

    Attributes:
        symbols: what it asserts, the typecode first.
        hypotheses: labels of the mandatory hypotheses in order of appearance.
        disjoint: pairs of mandatory variables, each sorted, whose substitutes must share no variable.
        scope_floating: labels of the floating hypotheses that a proof of it may use.
        scope_disjoint: all pairs that are disjoint in its scope, dummy variables' included.
        proof: the tokens between `$=` and `$.`; None for an axiom.
        order: its place in the database; a proof may only use what has a smaller one.
    """

    label: str
    symbols: Symbols
    hypotheses: tuple[str, ...]
    disjoint: Pairs
    scope_floating: frozenset[str]
    scope_disjoint: Pairs
    proof: tuple[str, ...] | None
    order: int


class MetamathDatabase:
    """A parsed database; its proofs are kept as they stand and have not been checked.

    Attributes:
        statements: hypotheses and assertions by label, in order.
        constants, variables: all math symbols that were ever declared.
    """

    def __init__(self, text: str):
        """Parses `text`. Raises: MetamathError for what is no database."""
        self.statements: dict[str, Hypothesis | Assertion] = {}
        self.constants: set[str] = set()
        self.variables: set[str] = set()
        _Parser(self, text).run()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> MetamathDatabase:
        """Parses a file, such as set.mm. Raises: MetamathError, or OSError."""
        data = Path(path).read_bytes()
        try:
            return cls(data.decode("ascii"))
        except UnicodeDecodeError as error:
            raise MetamathError(f"{os.fspath(path)!r} must be ASCII, got byte {data[error.start]:#x} at {error.start}") from error

    def assertion(self, label: str) -> Assertion:
        """The axiom or theorem of that label. Raises: KeyError if there is none."""
        found = self.statements.get(label)
        if not isinstance(found, Assertion):
            raise KeyError(f"label must be an axiom's or a theorem's, got {label!r}")
        return found

    def theorems(self) -> list[str]:
        """Labels of what has a proof, in order."""
        return [label for label, found in self.statements.items() if isinstance(found, Assertion) and found.proof is not None]

    def may_use(self, theorem: Assertion, label: str) -> bool:
        """Whether a proof of `theorem` may name `label`: an earlier assertion, or a hypothesis in scope."""
        found = self.statements.get(label)
        if isinstance(found, Assertion):
            return found.order < theorem.order
        return found is not None and (label in theorem.scope_floating or label in theorem.hypotheses)

    def usable(self, theorem: Assertion) -> list[str]:
        """All labels that a proof of `theorem` may name, in order of the database."""
        return [label for label, found in self.statements.items() if found.order < theorem.order and self.may_use(theorem, label)]


class _Scope:
    """What is active between `${` and `$}`; lists are copied from the outer scope."""

    def __init__(self, outer: _Scope | None = None):
        self.variables: dict[str, Hypothesis | None] = dict(outer.variables) if outer else {}  # with their floating hypotheses
        self.hypotheses: list[Hypothesis] = list(outer.hypotheses) if outer else []
        self.disjoint: set[tuple[str, str]] = set(outer.disjoint) if outer else set()
        self._floating: frozenset[str] | None = None
        self._pairs: Pairs | None = None

    def add(self, hypothesis: Hypothesis) -> None:
        self.hypotheses.append(hypothesis)
        self._floating = None

    def separate(self, pairs: Iterator[tuple[str, str]]) -> None:
        self.disjoint.update(tuple(sorted(pair)) for pair in pairs)  # type: ignore[misc]
        self._pairs = None

    def frozen(self) -> tuple[frozenset[str], Pairs]:
        """Floating labels and disjoint pairs; one object while nothing changes, as set.mm has thousands of the first."""
        if self._floating is None:
            self._floating = frozenset(hypothesis.label for hypothesis in self.hypotheses if hypothesis.floating)
        if self._pairs is None:
            self._pairs = frozenset(self.disjoint)
        return self._floating, self._pairs

    def inner(self) -> _Scope:
        scope = _Scope(self)
        scope._floating, scope._pairs = self.frozen()
        return scope


class _Parser:
    def __init__(self, database: MetamathDatabase, text: str):
        self.database = database
        self.scopes = [_Scope()]
        end = _CHARACTERS.match(text).end()  # type: ignore[union-attr]
        if end != len(text):
            raise MetamathError(f"a database must be printable ASCII and white space, got {text[end]!r} at character {end}")
        self.tokens = self._without_comments(text)
        self.after = ""

    def _without_comments(self, text: str) -> Iterator[str]:
        in_comment = False
        for match in _TOKEN.finditer(text):
            token = match[0]
            if in_comment:
                if token == "$)":
                    in_comment = False
                elif "$(" in token or "$)" in token:
                    raise MetamathError(f"a comment must not hold {token!r}, after {self.after!r}")
            elif token == "$(":
                in_comment = True
            else:
                yield sys.intern(token)
        if in_comment:
            raise MetamathError(f"the comment after {self.after!r} has no end")

    def run(self) -> None:
        label: str | None = None
        for token in self.tokens:
            if token[0] != "$":
                if label is not None:
                    self._fail(f"label {label!r} must be followed by $f, $e, $a or $p, got {token!r}")
                label = self._label(token)
            elif token in ("$f", "$e", "$a", "$p"):
                if label is None:
                    self._fail(f"{token} must have a label")
                self._statement(label or "", token)
                self.after, label = label or "", None
            elif label is not None:
                self._fail(f"label {label!r} must be followed by $f, $e, $a or $p, got {token!r}")
            elif token == "${":
                self.scopes.append(self.scopes[-1].inner())
            elif token == "$}":
                if len(self.scopes) == 1:
                    self._fail("$} closes no ${")
                self.scopes.pop()
            elif token in ("$c", "$v", "$d"):
                self._declare(token)
            else:
                self._fail(f"{token!r} must not stand here")
        if label is not None or len(self.scopes) > 1:
            self._fail("the database ends within a statement" if label is not None else "a ${ is not closed")

    def _fail(self, what: str) -> None:
        raise MetamathError(f"{what}, after {self.after!r}")

    def _until(self, end: str) -> list[str]:
        found: list[str] = []
        for token in self.tokens:
            if token == end:
                return found
            if "$" in token:
                self._fail(f"{token!r} must not stand within a statement")
            found.append(token)
        raise MetamathError(f"a statement after {self.after!r} has no {end}")

    def _label(self, token: str) -> str:
        if not _LABEL.fullmatch(token):
            self._fail(f"a label must be letters, digits, '.', '_' and '-', got {token!r}")
        if token in self.database.statements or token in self.database.constants or token in self.database.variables:
            self._fail(f"label {token!r} must be new")
        return token

    def _declare(self, kind: str) -> None:
        scope, symbols = self.scopes[-1], self._until("$.")
        if not symbols:
            self._fail(f"{kind} must name a symbol")
        if kind == "$d":
            for symbol in symbols:
                if symbol not in scope.variables:
                    self._fail(f"$d must name active variables, got {symbol!r}")
            if len(symbols) < 2 or len(set(symbols)) < len(symbols):
                self._fail(f"$d must name two or more different variables, got {' '.join(symbols)}")
            scope.separate(combinations(symbols, 2))
            return
        if kind == "$c" and len(self.scopes) > 1:
            self._fail("$c must be in the outermost scope")
        for symbol in symbols:
            taken = symbol in self.database.constants or symbol in self.database.statements
            if taken or (symbol in self.database.variables if kind == "$c" else symbol in scope.variables):
                self._fail(f"{kind} must name new symbols, got {symbol!r}")
            if kind == "$c":
                self.database.constants.add(symbol)
            else:
                self.database.variables.add(symbol)
                scope.variables[symbol] = None

    def _statement(self, label: str, kind: str) -> None:
        scope, order = self.scopes[-1], len(self.database.statements)
        symbols = tuple(self._until("$=" if kind == "$p" else "$."))
        if not symbols or symbols[0] not in self.database.constants:
            self._fail(f"{label!r} must begin with a constant")
        if kind == "$f":
            if len(symbols) != 2 or symbols[1] not in scope.variables or scope.variables[symbols[1]] is not None:
                self._fail(f"{label!r} must give a type to one active variable that has none, got {' '.join(symbols)}")
            hypothesis = Hypothesis(label, symbols, True, order)
            scope.variables[symbols[1]] = hypothesis
            scope.add(hypothesis)
            self.database.statements[label] = hypothesis
            return
        for symbol in symbols:
            if symbol not in self.database.constants and scope.variables.get(symbol) is None:
                self._fail(f"{label!r} must be of constants and active variables with a type, got {symbol!r}")
        if kind == "$e":
            hypothesis = Hypothesis(label, symbols, False, order)
            scope.add(hypothesis)
            self.database.statements[label] = hypothesis
            return
        used = {symbol for symbol in symbols if symbol in scope.variables}
        essential = [hypothesis for hypothesis in scope.hypotheses if not hypothesis.floating]
        for hypothesis in essential:
            used.update(symbol for symbol in hypothesis.symbols if symbol in scope.variables)
        mandatory = sorted([*essential, *(found for name in used if (found := scope.variables[name]))], key=lambda hypothesis: hypothesis.order)
        floating, pairs = scope.frozen()
        proof = tuple(self._until("$.")) if kind == "$p" else None
        if proof is not None and not proof:
            self._fail(f"{label!r} must have a proof")
        disjoint = frozenset(pair for pair in pairs if pair[0] in used and pair[1] in used)
        names = tuple(hypothesis.label for hypothesis in mandatory)
        self.database.statements[label] = Assertion(label, symbols, names, disjoint, floating, pairs, proof, order)
