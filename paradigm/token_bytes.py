"""What each token of a vocabulary says, in bytes: what stop strings are matched on, however tokens cut them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["byte_letters", "token_bytes"]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_letters() -> dict[str, int]:
    """{letter: byte} of GPT-2's printable alphabet for bytes (Radford et al. 2019, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def token_bytes(pipeline: str, vocab_size: int) -> list[bytes]:
    """The bytes of each id of a tokenizer, b"" for special tokens and ids without a token.

    Args:
        pipeline: the content of tokenizer.json, of byte-level BPE, or with SentencePiece's `▁` for a space and `<0x0A>` for a byte.
        vocab_size: number of ids.
    Returns: bytes [vocab_size]. Raises: ValueError if the tokenizer is of another kind.
    """
    config: Mapping[str, Any] = json.loads(pipeline)
    kinds = _decoder_kinds(config.get("decoder"))
    said = [b""] * vocab_size
    if "ByteLevel" in kinds:
        letters = byte_letters()

        def spell(piece: str) -> bytes:
            return bytes(letters[letter] for letter in piece) if letters.keys() >= set(piece) else piece.encode()
    elif kinds & {"ByteFallback", "Metaspace"}:

        def spell(piece: str) -> bytes:
            byte = _BYTE_TOKEN.fullmatch(piece)
            return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
    else:
        raise ValueError(f"stop strings need a byte-level tokenizer or one of SentencePiece's form, got the decoder {sorted(kinds) or None}")
    vocabulary = config["model"]["vocab"]
    pieces = vocabulary.items() if isinstance(vocabulary, Mapping) else ((entry[0], i) for i, entry in enumerate(vocabulary))
    for piece, number in pieces:
        said[number] = spell(piece)
    for token in config.get("added_tokens", ()):
        said[token["id"]] = b"" if token["special"] else token["content"].encode()
    return said


def _decoder_kinds(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_decoder_kinds(part) for part in decoder.get("decoders", ())))
