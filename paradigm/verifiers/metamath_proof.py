"""The verdict on Metamath proofs: labels in reverse Polish order, or compressed, run on a stack with every substitution checked.

A proof may name hypotheses in scope and earlier assertions only, so neither the theorem itself nor a later one serves to prove it. Work is
counted in symbols written, since the terms of a short proof can double at each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paradigm.verifiers.metamath import Assertion, Hypothesis, MetamathDatabase, MetamathError, Symbols
from paradigm.verifiers.verdict import Verdict

__all__ = ["MetamathLimits", "MetamathProof", "MetamathVerifier", "compressed_steps"]

_SPACE = re.compile(r"[ \t\r\n\f]+")
_TOKEN = re.compile(r"[!-~]+")
_MAX_INDEX_LETTERS = 8  # enough for 20 * 5 ** 7 steps


@dataclass(frozen=True, kw_only=True)
class MetamathLimits:
    """What one proof may take.

    Attributes:
        characters: of the text.
        steps: labels and references run.
        symbols: written in all, by substitution or onto the stack.
    Raises: ValueError unless all are >= 1.
    """

    characters: int = 100_000
    steps: int = 20_000
    symbols: int = 2_000_000

    def __post_init__(self) -> None:
        for name in ("characters", "steps", "symbols"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A statement on the stack, and how it was reached."""

    statement: Symbols
    label: str
    parts: tuple[_Node, ...]


class MetamathProof:
    """A proof in the making: the stack machine.

    Args:
        database: where the theorem stands.
        theorem: what is to be proved.
        limits: on steps and symbols.

    Attributes:
        num_steps: labels and references run.
    """

    def __init__(self, database: MetamathDatabase, theorem: Assertion, limits: MetamathLimits):
        self.database, self.theorem, self.limits = database, theorem, limits
        self.num_steps = 0
        self._stack: list[_Node] = []
        self._num_symbols = 0

    @property
    def stack(self) -> list[Symbols]:
        """The statements, the top one last."""
        return [node.statement for node in self._stack]

    @property
    def is_complete(self) -> bool:
        """Whether the stack holds the theorem and nothing else."""
        return len(self._stack) == 1 and self._stack[0].statement == self.theorem.symbols

    def copy(self) -> MetamathProof:
        """Another in the same state."""
        copy = MetamathProof(self.database, self.theorem, self.limits)
        copy._stack, copy.num_steps, copy._num_symbols = list(self._stack), self.num_steps, self._num_symbols
        return copy

    def step(self, label: str) -> None:
        """Takes one step. Raises: MetamathError, which leaves the stack as it was."""
        if not self.database.may_use(self.theorem, label):
            raise MetamathError(f"{label[:80]!r} is no earlier statement in scope of {self.theorem.label!r}")
        found = self.database.statements[label]
        num_parts = 0 if isinstance(found, Hypothesis) else len(found.hypotheses)
        if num_parts > len(self._stack):
            raise MetamathError(f"{label!r} needs {num_parts} statements, the stack has {len(self._stack)}")
        parts = tuple(self._stack[len(self._stack) - num_parts :])
        statement = found.symbols if isinstance(found, Hypothesis) else self._result(found, parts)
        self._push(_Node(statement, label, parts), num_parts)

    def allows(self, label: str) -> bool:
        """Whether `step` would take this one now."""
        try:
            self.copy().step(label)
        except MetamathError:
            return False
        return True

    def run_compressed(self, tokens: Sequence[str]) -> None:
        """Runs a compressed proof. Raises: MetamathError where it goes wrong, having run what stands before."""
        marked: list[_Node] = []
        for step in compressed_steps(tokens, self.theorem):
            if step is None:
                marked.append(self._stack[-1])
            elif isinstance(step, int):
                self._push(marked[step], 0)
            else:
                self.step(step)

    def labels(self, max_steps: int | None = None) -> list[str] | None:
        """The uncompressed steps that lead to this stack; None if they are more than `max_steps`, by default the limit."""
        most = self.limits.steps if max_steps is None else max_steps
        found: list[str] = []
        pending = list(self._stack)
        while pending:
            node = pending.pop()
            found.append(node.label)
            pending.extend(node.parts)
            if len(found) > most:
                return None
        return found[::-1]

    def _push(self, node: _Node, num_popped: int) -> None:
        if self.num_steps >= self.limits.steps:
            raise MetamathError(f"more than {self.limits.steps} steps")
        self._count(len(node.statement))
        del self._stack[len(self._stack) - num_popped :]
        self._stack.append(node)
        self.num_steps += 1

    def _count(self, num_symbols: int) -> None:
        self._num_symbols += num_symbols
        if self._num_symbols > self.limits.symbols:
            raise MetamathError(f"more than {self.limits.symbols} symbols")

    def _result(self, assertion: Assertion, parts: tuple[_Node, ...]) -> Symbols:
        """What `assertion` says of `parts`."""
        # floating hypotheses may stand after the essential ones that mention their variables
        substitution: dict[str, Symbols] = {}
        essential: list[tuple[Symbols, Symbols]] = []
        for label, part in zip(assertion.hypotheses, parts):
            given = part.statement
            hypothesis = self.database.statements[label]
            if not (isinstance(hypothesis, Hypothesis) and hypothesis.floating):
                essential.append((hypothesis.symbols, given))
            elif given[0] != hypothesis.symbols[0]:
                raise MetamathError(f"{assertion.label!r} needs a {hypothesis.symbols[0]} for {hypothesis.symbols[1]}, got {_shown(given)}")
            else:
                substitution[hypothesis.symbols[1]] = given[1:]
        for wanted, given in essential:
            written = self._substitute(wanted, substitution)
            if written != given:
                raise MetamathError(f"{assertion.label!r} needs {_shown(written)}, got {_shown(given)}")
        variables = self.database.variables
        for first, second in assertion.disjoint:
            ones, others = variables.intersection(substitution[first]), variables.intersection(substitution[second])
            self._count(len(substitution[first]) + len(substitution[second]) + len(ones) * len(others))
            for one in ones:
                for other in others:
                    if one == other or tuple(sorted((one, other))) not in self.theorem.scope_disjoint:
                        raise MetamathError(f"{assertion.label!r} needs {first} and {second} disjoint, got {one} and {other}")
        return self._substitute(assertion.symbols, substitution)

    def _substitute(self, symbols: Symbols, substitution: dict[str, Symbols]) -> Symbols:
        # counted before it is written
        self._count(sum(len(substitution[symbol]) if symbol in substitution else 1 for symbol in symbols))
        written: list[str] = []
        for symbol in symbols:
            if symbol in substitution:
                written.extend(substitution[symbol])
            else:
                written.append(symbol)
        return tuple(written)


def compressed_steps(tokens: Sequence[str], theorem: Assertion) -> Iterator[str | int | None]:
    """Decodes a compressed proof: a label to run, the number of a marked statement to recall, or None to mark the top of the stack.

    Args:
        tokens: from `(` on.
        theorem: what it proves, whose hypotheses have the first numbers.
    Raises: MetamathError for a malformed one, as soon as its place is reached.
    """
    if not tokens or tokens[0] != "(" or ")" not in tokens:
        raise MetamathError("a compressed proof must begin with labels in parentheses")
    end = tokens.index(")")
    labels = tokens[1:end]
    if len(set(labels)) < len(labels):
        raise MetamathError("labels of a compressed proof must be listed once")
    for label in labels:
        if label in theorem.hypotheses:
            raise MetamathError(f"labels of a compressed proof must not list mandatory hypotheses, got {label[:80]!r}")
    numbered = [*theorem.hypotheses, *labels]
    number = num_letters = num_marked = 0
    may_mark = False
    for letter in "".join(tokens[end + 1 :]):
        if "A" <= letter <= "T":
            index = number * 20 + ord(letter) - ord("A")
            number = num_letters = 0
            if index >= len(numbered) + num_marked:
                raise MetamathError(f"a compressed proof has no step {index + 1}")
            yield numbered[index] if index < len(numbered) else index - len(numbered)
            may_mark = True
        elif "U" <= letter <= "Y":
            number, num_letters = number * 5 + ord(letter) - ord("T"), num_letters + 1
            if num_letters > _MAX_INDEX_LETTERS:
                raise MetamathError(f"a number of a compressed proof must have at most {_MAX_INDEX_LETTERS} letters before its last")
        elif letter == "Z" and num_letters == 0 and may_mark:
            yield None
            num_marked += 1
            may_mark = False
        else:
            raise MetamathError(f"{letter!r} must not stand here in a compressed proof")
    if num_letters:
        raise MetamathError("a compressed proof must not end within a number")


class MetamathVerifier:
    """Judges proofs of a database's theorems. Safe with threads; bounded in time and memory by `limits`.

    Earlier theorems are taken at their word, so `check` those of a database that is not trusted.

    Args:
        database: the theorems, and what may be used to prove them.
        limits: on one proof.
    """

    def __init__(self, database: MetamathDatabase, limits: MetamathLimits | None = None):
        self.database, self.limits = database, limits or MetamathLimits()

    def __call__(self, theorem: str, response: str) -> Verdict:
        """The verdict on all that a policy wrote: the labels of a proof, or a compressed one, between white space. 1 for a proof, else 0.

        Raises: KeyError if `theorem` is no assertion's label; never for `response`.
        """
        assertion = self.database.assertion(theorem)
        try:
            proof = self.run(assertion, self.tokens(response))
        except MetamathError as error:
            return Verdict(0.0, str(error))
        return Verdict(1.0, f"{proof.num_steps} steps prove {_shown(assertion.symbols)}")

    def tokens(self, response: str) -> list[str]:
        """A text's tokens. Raises: MetamathError if it is too long or not of printable ASCII and white space."""
        if len(response) > self.limits.characters:
            raise MetamathError(f"longer than {self.limits.characters} characters")
        tokens = [token for token in _SPACE.split(response) if token]
        for token in tokens:
            if not _TOKEN.fullmatch(token):
                raise MetamathError(f"a proof must be of labels in printable ASCII, got {token[:40]!r}")
        return tokens

    def run(self, assertion: Assertion, tokens: Sequence[str]) -> MetamathProof:
        """Runs a whole proof. Returns: it, complete. Raises: MetamathError if it is none."""
        proof = MetamathProof(self.database, assertion, self.limits)
        if tokens and tokens[0] == "(":
            for label in tokens[1 : tokens.index(")") if ")" in tokens else 1]:
                if not self.database.may_use(assertion, label):
                    raise MetamathError(f"{label[:80]!r} is no earlier statement in scope of {assertion.label!r}")
            proof.run_compressed(tokens)
        else:
            for label in tokens:
                proof.step(label)
        if not proof.is_complete:
            stack = proof.stack
            top = f"{len(stack)} statements, the top one {_shown(stack[-1])}" if stack else "nothing"
            raise MetamathError(f"the proof must leave {_shown(assertion.symbols)}, it leaves {top}")
        return proof

    def check(self, label: str) -> MetamathProof:
        """Runs the proof that stands in the database. Raises: MetamathError if it is none, KeyError if `label` is no theorem's."""
        assertion = self.database.assertion(label)
        if assertion.proof is None:
            raise KeyError(f"label must be a theorem's, got the axiom {label!r}")
        return self.run(assertion, assertion.proof)


def _shown(symbols: Symbols) -> str:
    text = " ".join(symbols[:60])
    return text if len(symbols) <= 60 else text + " ..."
