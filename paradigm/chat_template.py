"""A checkpoint's chat template rendered without trusting it: sandboxed Jinja, limited in time and in size.

Templates arrive inside downloaded checkpoints, so they are programs of strangers. Jinja's immutable sandbox keeps them from Python's internals
and from changing the messages; on top of it every loop turn and macro call checks a deadline, and operators, calls and filters that build
strings refuse oversized results. This is a guard in the same process, not a memory limit: a result made by one allowed call is measured after
it was made.

The names that a template sees (`messages`, `tools`, `add_generation_prompt`, `raise_exception`, `strftime_now`, `tojson`, `{% generation %}`,
loop controls) and the white-space rules are those of transformers' `apply_chat_template`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

__all__ = ["ChatTemplate", "ChatTemplateError"]

_WIDTH_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "translate"})
_REMOVED_FILTERS = ("center", "format", "random", "wordwrap", "xmlattr", "urlize", "pprint")
_REMOVED_GLOBALS = ("lipsum", "cycler", "joiner")
_WIDE_FORMAT = re.compile(r"\d{4,}|\*|\{[^{}]*\{")
_MAX_INDENT = 64


class ChatTemplateError(ValueError):
    """The template is not valid, refused the messages (`raise_exception`), broke the sandbox's rules, or ran past its limits."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja source, as in tokenizer_config.json's `chat_template`.
        special_tokens: names the template may use, such as `bos_token` and `eos_token`.
        max_chars: most characters that a rendering, or any string built on the way, may have.
        timeout_s: wall-clock limit of one rendering, in seconds.
    Raises: ChatTemplateError if the source does not parse.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None, *, max_chars: int = 4_000_000, timeout_s: float = 5.0):
        self.source = source
        self._special_tokens = dict(special_tokens or {})
        self._max_chars = max_chars
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._environment = _BoundedEnvironment(max_chars)
        try:
            code = self._environment.compile(_with_ticks(self._environment.parse(source)))
        except jinja2.TemplateError as error:
            raise ChatTemplateError(f"chat template does not parse: {error}") from error
        self.marks_generation = self._environment.marks_generation
        self._template = jinja2.Template.from_code(self._environment, code, self._environment.globals, None)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        now: datetime | None = None,
    ) -> tuple[str, list[tuple[int, int]]]:
        """Renders a conversation.

        Args:
            messages: mappings with `role` and `content`.
            add_generation_prompt: whether to end with the header of an assistant's turn.
            tools: JSON schemas of tools, or None.
            now: what `strftime_now` tells; by default the clock.
        Returns: the text, and the character spans [start, end) of its `{% generation %}` blocks.
        Raises: ChatTemplateError as described there.
        """
        with self._lock:  # the environment counts and marks for one rendering at a time
            return self._render(messages, add_generation_prompt, tools, now)

    def _render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool, tools: Sequence[Mapping[str, Any]] | None, now: datetime | None
    ) -> tuple[str, list[tuple[int, int]]]:
        environment = self._environment
        environment.start(time.monotonic() + self._timeout_s, now or datetime.now())
        pieces: list[str] = []
        try:
            values = self._template.generate(
                messages=[dict(message) for message in messages],
                tools=None if tools is None else [dict(tool) for tool in tools],
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
            for piece in values:
                environment.num_chars += len(piece)
                environment.check_size(environment.num_chars)
                environment.tick()
                pieces.append(piece)
        except ChatTemplateError:
            raise
        except (jinja2.TemplateError, SecurityError) as error:
            raise ChatTemplateError(f"chat template refused the messages: {error}") from error
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError) as error:
            # errors of operations inside the template, on values that its author did not expect
            raise ChatTemplateError(f"chat template failed with {type(error).__name__}: {error}") from error
        text, spans = "".join(pieces), []
        for start, marked in environment.marked:
            if not text.startswith(marked, start):
                raise ChatTemplateError("chat template has a {% generation %} block inside a macro or {% set %}, where its place cannot be told")
            spans.append((start, start + len(marked)))
        return text, spans


class _GenerationExtension(Extension):
    """`{% generation %}...{% endgeneration %}`: notes which characters the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own protocol

    def parse(self, parser: Parser) -> nodes.Node:
        assert isinstance(self.environment, _BoundedEnvironment)
        self.environment.marks_generation = True
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        environment = self.environment
        assert isinstance(environment, _BoundedEnvironment)
        environment.marked.append((environment.num_chars, text))
        return text


class _BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with a deadline and a limit on the size of what a template builds."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, max_chars: int):
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationExtension, LoopControlExtension])
        self._max_chars = max_chars
        self._deadline = 0.0
        self._now = datetime.min
        self.marks_generation = False
        self.num_chars = 0
        self.marked: list[tuple[int, str]] = []
        for name in _REMOVED_FILTERS:
            self.filters.pop(name, None)
        for name in _REMOVED_GLOBALS:
            self.globals.pop(name, None)
        plain_indent, plain_join, plain_replace = self.filters["indent"], self.filters["join"], self.filters["replace"]

        def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
            self._check_indent(width)
            return plain_indent(text, width, first, blank)

        @jinja2.pass_eval_context
        def join(context: nodes.EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> str:
            items = list(value)
            self.check_size(sum(len(item) if isinstance(item, str) else 1 for item in items) + len(d) * len(items))
            return plain_join(context, items, d, attribute)

        @jinja2.pass_eval_context
        def replace(context: nodes.EvalContext, text: str, old: str, new: str, count: int | None = None) -> str:
            self.check_size(len(text) + str(text).count(old) * len(new))
            return plain_replace(context, text, old, new, count)

        self.filters.update(tojson=self._tojson, indent=indent, join=join, replace=replace)
        self.globals.update(raise_exception=_raise_exception, strftime_now=lambda form: self._now.strftime(form))

    def start(self, deadline: float, now: datetime) -> None:
        self._deadline, self._now = deadline, now
        self.num_chars, self.marked = 0, []

    def tick(self) -> str:
        if time.monotonic() > self._deadline:
            raise ChatTemplateError("chat template ran past its time limit")
        return ""

    def check_size(self, size: int) -> None:
        if size > self._max_chars:
            raise ChatTemplateError(f"chat template builds {size} characters or items, more than the limit of {self._max_chars}")

    def concat_bounded(self, *values: Any) -> str:
        texts = [str(value) for value in values]
        self.check_size(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, (str, list, tuple)) and isinstance(count, int):
                    self.check_size(len(sequence) * max(count, 0))
        elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            self.check_size(len(left) + len(right))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            self.check_size(left.bit_length() * max(right, 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _WIDTH_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self.tick()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in ("format", "format_map"):
                _check_format(owner)
            elif name == "replace" and len(args) >= 2:
                self.check_size(len(owner) + owner.count(args[0]) * len(args[1]))
            elif name == "join" and args:
                items = list(args[0])
                self.check_size(sum(map(len, items)) + len(owner) * len(items))
                args = (items,)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, (str, list, tuple)):
            self.check_size(len(result))
        return result

    def _check_indent(self, width: int | str | None) -> None:
        if width is not None and (len(width) if isinstance(width, str) else width) > _MAX_INDENT:
            raise ChatTemplateError(f"chat template indents by {width!r}, more than the limit of {_MAX_INDENT}")

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        self._check_indent(indent)
        pieces, size = [], 0
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        for piece in encoder.iterencode(value):
            size += len(piece)
            self.check_size(size)
            pieces.append(piece)
        return "".join(pieces)


def _with_ticks(tree: nodes.Template) -> nodes.Template:
    """Puts a deadline check into every loop turn and macro call, and makes `~` a bounded call."""
    for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
        assert isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock))
        tick = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)
        node.body = [nodes.ExprStmt(tick).set_lineno(node.lineno), *node.body]
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in parent.iter_fields():
            if isinstance(value, nodes.Concat):
                setattr(parent, field, _bounded(value))
            elif isinstance(value, list):
                setattr(parent, field, [_bounded(item) if isinstance(item, nodes.Concat) else item for item in value])
    tree.set_environment(tree.environment)  # type: ignore[arg-type]
    return tree


def _bounded(concat: nodes.Concat) -> nodes.Call:
    call = nodes.Call(nodes.EnvironmentAttribute("concat_bounded"), concat.nodes, [], None, None)
    return call.set_lineno(concat.lineno)  # type: ignore[return-value]


def _check_format(form: str) -> None:
    if _WIDE_FORMAT.search(form):
        raise ChatTemplateError(f"chat template uses a format with a large or computed width: {form[:80]!r}")


def _raise_exception(message: str | Undefined) -> None:
    raise jinja2.TemplateError(str(message))
