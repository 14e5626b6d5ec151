"""Real text found on any machine: the sources and docstrings of Python's own standard library."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paradigm.sources.corpus import Corpus, write_corpus
from paradigm.tokenizer import Tokenizer

__all__ = ["standard_library_corpus", "standard_library_files"]

_LEFT_OUT = frozenset({
    "__pycache__", "_bundled", "dist-packages", "idlelib", "idle_test", "lib2to3", "lib-dynload", "site-packages", "test", "tests", "turtledemo",
})  # fmt: skip


def standard_library_corpus(
    out: str | os.PathLike[str], tokenizer: Tokenizer, max_bytes: int | None = 8_000_000, *, shard_tokens: int = 1 << 24, overwrite: bool = False
) -> Corpus:
    """Builds a corpus of the running Python's standard library, tests and generated files left out.

    With max_bytes, files are chosen by a hash of their names, so the choice is spread over all of the library and does not depend on the machine.

    Args:
        out: the folder to write.
        tokenizer: what cuts the text.
        max_bytes: most bytes of source, or None for all there are (about 15 MB).
        shard_tokens, overwrite: as for `build_corpus`.
    Returns: the corpus, open; its manifest's provenance has `sha256`, a hash over all names and contents, and the Python version.
    Raises: FileNotFoundError if this Python came without sources.
    """
    chosen: list[tuple[str, str, dict[str, Any]]] = []
    total = 0
    for name, text in standard_library_files(max_bytes):
        data = text.encode()
        total += len(data)
        chosen.append((name, text, {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "num_documents": int(bool(text))}))
    sources = [entry for _, _, entry in chosen]
    digest = hashlib.sha256("".join(f"{entry['path']}\0{entry['sha256']}\n" for entry in sources).encode()).hexdigest()
    provenance = {"text": "the Python standard library", "python": platform.python_version(), "sha256": digest, "bytes": total}
    return write_corpus(
        (text for _, text, _ in chosen), out, tokenizer, shard_tokens=shard_tokens, overwrite=overwrite, sources=sources, provenance=provenance
    )


def standard_library_files(max_bytes: int | None = None) -> list[tuple[str, str]]:
    """Names and texts of the running Python's standard library, sorted; chosen as by `standard_library_corpus`.

    Raises: FileNotFoundError if this Python came without sources.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = sorted(_source_names(root), key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen: list[tuple[str, str]] = []
    total = 0
    for name in names:
        data = (root / name).read_bytes()
        if b"\0" in data or (max_bytes is not None and total + len(data) > max_bytes):
            continue
        try:
            chosen.append((name, data.decode("utf-8")))
        except UnicodeDecodeError:  # a few sources are in other encodings on purpose
            continue
        total += len(data)
    if not total:
        raise FileNotFoundError(f"this Python came without the sources of its standard library in {str(root)!r}")
    return sorted(chosen)


def _source_names(root: Path) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith((".", "config-"))]
        for name in files:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield (Path(folder) / name).relative_to(root).as_posix()
