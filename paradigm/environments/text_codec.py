"""Text to tokens and back, for worlds that speak text."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Protocol

__all__ = ["ByteCodec", "PaddedCodec", "TextCodec"]


class TextCodec(Protocol):
    """What a tokenizer must do here."""

    def encode(self, text: str, /) -> Any: ...
    def decode(self, tokens: Any, /) -> str: ...


class ByteCodec:
    """Text as its UTF-8 bytes; ids past 255 have no text."""

    def encode(self, text: str, /) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Any, /) -> str:
        return bytes(token for token in tokens if 0 <= token < 256).decode(errors="replace")


class PaddedCodec:
    """A tokenizer for what a policy writes, whose vocabulary may be padded: ids that the tokenizer lacks are U+FFFD.

    Args:
        tokenizer: knows its `vocab_size`, and decodes ids below it only.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def encode(self, text: str, /) -> Any:
        return self._tokenizer.encode(text)

    def decode(self, tokens: Any, /) -> str:
        runs = groupby((int(token) for token in tokens), key=lambda token: 0 <= token < self._tokenizer.vocab_size)
        return "".join(self._tokenizer.decode(list(run)) if known else "\ufffd" * len(list(run)) for known, run in runs)
