"""Questions on Python's own standard library whose answers its syntax trees know: defaults, exceptions, base classes.

A document is a function's or a method's source, or a class's first lines with its docstring, named like `json.dumps`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from typing import Any

from paradigm.sources.standard_library import standard_library_files
from paradigm.verifiers import CitationTask, Span

__all__ = ["library_questions"]

_MAX_ANSWER = 40
_MAX_EVIDENCE = 120
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ClassDef)


def library_questions(max_bytes: int | None = 4_000_000, *, max_document: int = 1500) -> tuple[dict[str, str], list[CitationTask]]:
    """Documents by name, and questions on them, both in order of the documents' names.

    Args:
        max_bytes: of source, files chosen as by `standard_library_corpus`; None: all.
        max_document: characters; longer functions are left out.
    Returns: the same for the same Python. Raises: FileNotFoundError if this Python came without sources; ValueError unless max_document >= 1.
    """
    if max_document < 1:
        raise ValueError(f"max_document must be >= 1, got {max_document}")
    documents: dict[str, str] = {}
    tasks: dict[str, list[CitationTask]] = {}
    ambiguous: set[str] = set()
    for path, text in standard_library_files(max_bytes):
        if "\r" in text:  # its lines would not be where the syntax tree says
            continue
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        source = _Source(text)
        for name, node in _definitions(module, tree):
            if name in documents or name in ambiguous:  # defined twice: which of them was meant?
                ambiguous.add(name)
                continue
            start, end = source.offset(node), source.end(_last(node))
            if end - start > max_document:
                ambiguous.add(name)
                continue
            documents[name] = text[start:end]
            tasks[name] = list(_questions(name, node, source, start))
    names = sorted(documents.keys() - ambiguous)
    return {name: documents[name] for name in names}, [task for name in names for task in tasks[name]]


class _Source:
    """Where the nodes of a text's tree stand in it; a tree counts UTF-8 bytes within lines."""

    def __init__(self, text: str):
        self.text = text
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def offset(self, node: Any) -> int:
        return self._place(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        return self._place(node.end_lineno, node.end_col_offset)

    def of(self, node: Any) -> str:
        return self.text[self.offset(node) : self.end(node)]

    def _place(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))


def _definitions(module: str, tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Functions and classes of a module, and its classes' methods."""
    for node in tree.body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield f"{module}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, _FUNCTIONS):
                    yield f"{module}.{node.name}.{method.name}", method


def _last(node: Any) -> Any:
    """The last node of a definition's document."""
    if not isinstance(node, ast.ClassDef):
        return node
    if isinstance(node.body[0], ast.Expr):
        return node.body[0]
    return node.bases[-1] if node.bases else node.body[0]


def _questions(name: str, node: Any, source: _Source, start: int) -> Iterator[CitationTask]:
    def span(first: int, last: int) -> Span:
        return Span(name, first - start, last - start)

    def task(prompt: str, answers: tuple[str, ...], evidence: tuple[Span, ...]) -> Iterator[CitationTask]:
        short = all(len(answer) <= _MAX_ANSWER and "\n" not in answer for answer in answers)
        if short and evidence and all(part.end - part.start <= _MAX_EVIDENCE for part in evidence) and not any(a in prompt for a in answers):
            yield CitationTask(prompt=prompt, answers=answers, evidence=evidence)

    if isinstance(node, ast.ClassDef):
        if len(node.bases) == 1 and not node.keywords and isinstance(node.bases[0], (ast.Name, ast.Attribute)):
            base = source.of(node.bases[0])
            yield from task(f"Which class does {name} derive from?", (base,), (span(source.offset(node), source.end(node.bases[0])),))
        return
    defaults = list(_defaults(node.args))
    if defaults:
        # one a function, or a few functions of many parameters would be most of the questions
        argument, default = min(defaults, key=lambda pair: hashlib.sha256(f"{name} {pair[0].arg}".encode()).digest())
        if isinstance(default, (ast.Constant, ast.Name, ast.Attribute, ast.UnaryOp)):
            text = source.of(default)
            spellings = {text}
            if isinstance(default, ast.Constant) and isinstance(default.value, str) and default.value.isascii() and default.value.isprintable():
                spellings |= {f"{mark}{default.value}{mark}" for mark in "'\"" if mark not in default.value and "\\" not in default.value}
            answers = (text, *sorted(spellings - {text}))
            where = span(source.offset(argument), source.end(default))
            yield from task(f"What is the default of parameter {argument.arg} of {name}?", answers, (where,))
    raised = list(_raised(node))
    exceptions = {source.of(exception) for _, exception in raised}
    if len(exceptions) == 1:
        (exception,) = exceptions
        if exception.rpartition(".")[2][:1].isupper():
            where_raised = tuple(span(source.offset(statement), source.end(named)) for statement, named in raised)
            yield from task(f"Which exception does {name} raise?", (exception,), where_raised)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults)
    yield from ((argument, default) for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is not None)


def _raised(function: Any) -> Iterator[tuple[ast.Raise, ast.expr]]:
    """What a function raises by name, without the functions within it."""
    pending = list(function.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(named, (ast.Name, ast.Attribute)):
                yield node, named
        if not isinstance(node, _SCOPES):
            pending.extend(ast.iter_child_nodes(node))
