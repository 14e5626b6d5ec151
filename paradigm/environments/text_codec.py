"""Text to tokens and back, for worlds that speak text."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ByteCodec", "TextCodec"]


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
