"""Grammars: what an action may say, as a mask of legal tokens at each place.

    sampler.collect(environment, tasks, grammar=Grammar.json_schema({"type": "object", ...}))

A mask is a set of legal tokens like any other: log-probs are renormalised over it, it is recorded with the trajectory, and the learner scores over
the same set. A grammar speaks about one action, from its first token to its last; what the world says in between is not read by it, and
tokens that are forced within an action are. Where the text is complete, the observation's stop tokens are legal too, and only there; an
action is over where nothing else is. So a whole action is a text of the grammar, unless `max_action_tokens`, a stop text or the end of its
room cut it short.

Where the text leaves no choice, llguidance allows the tokenizer's own cutting of it alone.

Grammars are read by llguidance (Moskal et al., https://github.com/guidance-ai/llguidance; extra `grammar`); or be one yourself: see TokenGrammar.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = ["Grammar", "TokenGrammar", "TokenMatcher"]


class TokenMatcher(Protocol):
    """The state of one action."""

    def legal(self) -> tuple[Any, bool]:
        """A mask of the tokens that may come next, as a buffer of 4 ceil(V / 32) bytes in which bit v % 8 of byte v // 8 stands for token v, and
        whether the action may end here. No token and no end is a dead end, which fails the trajectory under "dead_end"."""
        ...

    def read(self, token: int) -> None:
        """The next token, a legal one and no stop token."""
        ...


@runtime_checkable
class TokenGrammar(Protocol):
    """A grammar over token ids. Called from several threads; what it raises fails the trajectory under "grammar"."""

    def begin(self) -> TokenMatcher:
        """The state before an action's first token."""
        ...


@dataclasses.dataclass(frozen=True)
class Grammar:
    """A grammar over text, for any tokenizer whose tokens' bytes are known. Needs the extra `grammar`.

    Attributes: kind, text: how it is written, and that. Made by its three methods.
    """

    kind: Literal["json_schema", "regex", "ebnf"]
    text: str

    @classmethod
    def json_schema(cls, schema: str | Mapping[str, Any]) -> Grammar:
        """Documents of a JSON schema; {} is any JSON."""
        return cls("json_schema", schema if isinstance(schema, str) else json.dumps(schema))

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Texts that match as a whole, in the syntax of Rust's regex crate."""
        return cls("regex", pattern)

    @classmethod
    def ebnf(cls, text: str) -> Grammar:
        """Texts of a context-free grammar in Lark's form of EBNF, from its rule `start` on."""
        return cls("ebnf", text)


class GuidanceGrammar:
    """A Grammar over a tokenizer's ids, walked by llguidance."""

    def __init__(self, grammar: Grammar, tokens: Any):
        from llguidance import LLMatcher

        compilers: dict[str, Any] = {
            "json_schema": LLMatcher.grammar_from_json_schema, "regex": LLMatcher.grammar_from_regex, "ebnf": LLMatcher.grammar_from_lark
        }  # fmt: skip
        if grammar.kind not in compilers:
            raise ValueError(f"grammar must be json_schema, regex or ebnf, got {grammar.kind!r}")
        try:
            compiled = compilers[grammar.kind](grammar.text)
        except ValueError as error:
            raise ValueError(f"grammar must be a {grammar.kind} that llguidance reads: {error}") from error
        self._start = LLMatcher(tokens, compiled, log_level=0)
        if self._start.is_error():
            raise ValueError(f"grammar must be a {grammar.kind} that llguidance reads: {self._start.get_error()}")

        self._num_bytes = (tokens.vocab_size - 1 + 31) // 32 * 4  # without the end, which is not one of the policy's tokens

    def begin(self) -> GuidanceMatcher:
        return GuidanceMatcher(self._start.deep_copy(), self._num_bytes)


class GuidanceMatcher:
    def __init__(self, matcher: Any, num_bytes: int):
        self._matcher, self._num_bytes = matcher, num_bytes

    def legal(self) -> tuple[bytes, bool]:
        may_end = self._matcher.is_accepting()
        mask = bytes(self._num_bytes) if self._matcher.is_stopped() else self._matcher.compute_bitmask()[: self._num_bytes]
        self._check()
        return mask, may_end

    def read(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RuntimeError(self._matcher.get_error())


class _Vocabulary:
    """A tokenizer as llguidance wants it, with an end of its own behind the last id: which tokens stop an action, the observation says."""

    bos_token_id = None

    def __init__(self, tokenizer: Any, said: Sequence[bytes]):
        self.tokens = [token or b"\xff<%d>" % number for number, token in enumerate(said)] + [b"\xff<end>"]
        self.special_token_ids = [number for number, token in enumerate(said) if not token] + [len(said)]
        self.eos_token_id = len(said)
        self._tokenizer, self._said = tokenizer, said
        self._ids = {token: number for number, token in reversed(list(enumerate(said))) if token}
        self._longest = max(map(len, said), default=1)

    def __call__(self, text: str) -> list[int]:
        """The tokens of text that the grammar leaves no choice about."""
        ids = [int(token) for token in self._tokenizer.encode(text)]
        whole = text.encode()
        if b"".join(self._said[token] for token in ids) == whole:
            return ids
        ids = []  # it adds to what it encodes, as SentencePiece does a space
        while whole:
            size = next((size for size in range(min(self._longest, len(whole)), 0, -1) if whole[:size] in self._ids), 0)
            if not size:
                return []
            ids.append(self._ids[whole[:size]])
            whole = whole[size:]
        return ids


def guidance_tokens(tokenizer: Any, vocab_size: int) -> Any:
    """llguidance's view of a tokenizer, which its grammars share. Raises: ValueError if the extra is missing or tokens' bytes are not known."""
    try:
        from llguidance import LLTokenizer, TokenizerWrapper
    except ImportError as error:
        raise ValueError("grammar needs llguidance: pip install paradigm-trainer[grammar]") from error
    said = list(tokenizer.token_bytes())
    said = said[:vocab_size] + [b""] * (vocab_size - len(said))  # a head may be wider than the tokenizer, for speed
    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, said)), n_vocab=vocab_size + 1)
