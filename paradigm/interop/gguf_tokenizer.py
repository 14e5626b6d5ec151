"""The tokenizer inside a GGUF file as a tokenizer.json: byte-level BPE, with the splitting rules that llama.cpp knows by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

__all__ = ["tokenizer_json"]

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types
# the checkpoints' own tokenizer.json files
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SPLITS = ("gpt-2", "smollm", "llama-bpe", "qwen2")


def tokenizer_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Build the content of tokenizer.json from a GGUF file's metadata.

    Args: fields: metadata by key; tokenizer.ggml.{model, pre, tokens, token_type, merges, ...} are read.
    Raises: ValueError for a tokenizer that is not byte-level BPE, or whose splitting rule is not known here.
    """
    model, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "gpt-2")
    if model != "gpt2":
        raise ValueError(f"tokenizer.ggml.model must be gpt2 (byte-level BPE), got {model!r}")
    if split not in _SPLITS:
        raise ValueError(f"tokenizer.ggml.pre must be one of {', '.join(_SPLITS)}, got {split!r}")
    tokens: list[str] = fields.get("tokenizer.ggml.tokens", [])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = []
    for merge in fields.get("tokenizer.ggml.merges", []):
        first, _, second = merge.partition(" ")
        if not {first, second, first + second} <= vocabulary.keys():
            raise ValueError(f"tokenizer.ggml.merges must join tokens of tokenizer.ggml.tokens into one, got {merge!r}")
        merges.append((first, second))
    # Llama 3 takes a word that is a token as it stands, even where the merges do not lead to it
    bpe = models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False, ignore_merges=split == "llama-bpe")
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = _pre_tokenizer(split)
    tokenizer.decoder = decoders.ByteLevel()
    if split == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    bos = fields.get("tokenizer.ggml.bos_token_id")
    if fields.get("tokenizer.ggml.add_bos_token", False) and bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)])
    kinds: list[int] = fields.get("tokenizer.ggml.token_type", [])
    tokenizer.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i, kind in enumerate(kinds) if kind == _CONTROL])
    tokenizer.add_tokens([AddedToken(tokens[i], special=False, normalized=False) for i, kind in enumerate(kinds) if kind == _USER_DEFINED])
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def _pre_tokenizer(split: str) -> pre_tokenizers.PreTokenizer:
    if split == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if split == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    pattern = Regex(_LLAMA3 if split == "llama-bpe" else _QWEN2)
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
