"""A corpus: text files, JSONL and folders turned into token shards once, and read from memory maps ever after.

Building streams: it holds one shard of tokens and one document of text at a time, whatever the size of the input.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paradigm.sources.shards import Shard, ShardWriter, file_hash, read_manifest
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["BuildProgress", "Corpus", "build_corpus", "input_texts", "write_corpus"]

# n tokens, B documents

JSONL_EXTENSIONS = (".jsonl", ".ndjson")
_BATCH_CHARS = 1 << 20  # text handed to the tokenizer at once
_MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class BuildProgress:
    """How far a build has come: bytes of input read of all there are (0 if unknown), documents and tokens made."""

    bytes_read: int
    total_bytes: int
    num_documents: int
    num_tokens: int


class Corpus:
    """Documents (or trajectories) on disk. Open one with `Corpus.open`; `len` is the number of documents.

    Attributes: path; manifest; kind ("documents" or "trajectories"); num_tokens; vocab_size; fingerprint, a SHA-256 of all shards
    (where the corpus lies, and where it came from, do not enter); document_starts and token_starts, int64 [shards + 1], the first document
    and token of each shard.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, verify: bool):
        self.path, self.manifest = path, manifest
        self.kind = str(manifest["kind"])
        self.fingerprint = hashlib.sha256("".join(entry["sha256"] for entry in manifest["shards"]).encode()).hexdigest()
        self.num_tokens, self.vocab_size = int(manifest["num_tokens"]), int(manifest["vocab_size"])
        self.shards = [Shard(path, entry, verify=verify) for entry in manifest["shards"]]
        self.document_starts = np.cumsum([0, *(shard.num_documents for shard in self.shards)], dtype=np.int64)
        self.token_starts = np.cumsum([0, *(shard.num_tokens for shard in self.shards)], dtype=np.int64)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True, tokenizer: Tokenizer | None = None) -> Corpus:
        """Opens a data set folder.

        Args:
            path: the folder.
            verify: whether each shard is checked against its SHA-256 when it is first touched; sizes and the manifest are checked at once.
            tokenizer: if given, must be the one the corpus was built with.
        Raises: FileNotFoundError if the folder, its manifest or a shard is missing; ValueError if it is empty or of another tokenizer;
            CorruptShardError (a ValueError), now or at first touch, naming the damaged file.
        """
        manifest = read_manifest(path)
        if not manifest["num_tokens"]:
            raise ValueError(f"corpus {str(path)!r} is empty")
        if tokenizer is not None and tokenizer.fingerprint != manifest["tokenizer_sha256"]:
            raise ValueError(
                f"corpus {str(path)!r} was built with tokenizer {manifest['tokenizer_sha256'][:12]}, not with {tokenizer.fingerprint[:12]}: "
                "build it again"
            )
        return cls(Path(path), manifest, verify=verify)

    def __len__(self) -> int:
        return int(self.document_starts[-1])

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r}, {len(self)} {self.kind}, {self.num_tokens} tokens)"

    def document(self, number: int) -> np.ndarray:
        """Tokens of one document, int32 [n]. Raises: IndexError if there is no such document."""
        if not 0 <= number < len(self):
            raise IndexError(f"document {number} of {len(self)}")
        shard, row = self._locate(number)
        start, end = self.shards[shard].arrays["offsets"][row : row + 2]
        return self.shards[shard].arrays["tokens"][start:end].astype(np.int32)

    def bounds(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where documents lie in the row of all tokens. Args: numbers: int64 [B]. Returns: first and end, int64 [B] each."""
        first, end = np.empty(numbers.size, np.int64), np.empty(numbers.size, np.int64)
        home = np.searchsorted(self.document_starts, numbers, side="right") - 1
        for shard in np.unique(home).tolist():
            here = home == shard
            rows = numbers[here] - self.document_starts[shard]
            offsets = self.shards[shard].arrays["offsets"]
            first[here], end[here] = offsets[rows] + self.token_starts[shard], offsets[rows + 1] + self.token_starts[shard]
        return first, end

    def documents_at(self, positions: np.ndarray) -> np.ndarray:
        """Which document holds each token. Args: positions: int64 [n] in the row of all tokens. Returns: int64 [n]."""
        found = np.empty(positions.size, np.int64)
        home = np.searchsorted(self.token_starts, positions, side="right") - 1
        for shard in np.unique(home).tolist():
            here = home == shard
            rows = np.searchsorted(self.shards[shard].arrays["offsets"], positions[here] - self.token_starts[shard], side="right") - 1
            found[here] = rows + self.document_starts[shard]
        return found

    def window(self, number: int, start: int, length: int) -> np.ndarray:
        """Tokens start to start + length of a document, int32 [length]."""
        shard, row = self._locate(number)
        first = int(self.shards[shard].arrays["offsets"][row]) + start
        return self.shards[shard].arrays["tokens"][first : first + length].astype(np.int32)

    def buffer(self, numbers: Sequence[int] | np.ndarray) -> TrajectoryBuffer:
        """Whole documents or trajectories, in the order asked for, with everything that was stored beside their tokens."""
        wanted = np.asarray(numbers, dtype=np.int64)
        if not wanted.size:
            return TrajectoryBuffer.from_arrays(np.zeros(0, np.int32), offsets=[0])
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(f"numbers must be in [0, {len(self)}), got {wanted.min()} to {wanted.max()}")
        home = np.searchsorted(self.document_starts, wanted, side="right") - 1
        order = np.argsort(home, kind="stable")
        parts = [self.shards[s].buffer(wanted[home == s] - self.document_starts[s]) for s in np.unique(home).tolist()]
        together = parts[0] if len(parts) == 1 else TrajectoryBuffer.concatenate(parts)
        return together if len(parts) == 1 else together.select(np.argsort(order, kind="stable"))

    def _locate(self, number: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self.document_starts, number, side="right")) - 1
        return shard, number - int(self.document_starts[shard])


def write_corpus(
    documents: Iterable[str], out: str | os.PathLike[str], tokenizer: Tokenizer, *, shard_tokens: int = 1 << 24, bos: bool = True, eos: bool = True,
    overwrite: bool = False, sources: Sequence[Mapping[str, Any]] = (), provenance: Mapping[str, Any] | None = None,
) -> Corpus:  # fmt: skip
    """Tokenises an iterable of texts into a corpus, read once and streamed; arguments as for `build_corpus`, which finds and hashes files itself."""
    with ShardWriter(out, kind="documents", vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.fingerprint, overwrite=overwrite) as writer:
        sink = _DocumentSink(writer, tokenizer, shard_tokens, bos=bos, eos=eos)
        for text in documents:
            sink.add(text)
        sink.flush()
        writer.commit(sources=sources, provenance={**sink.framing, **(provenance or {})})
    return Corpus.open(out)


def build_corpus(
    inputs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], tokenizer: Tokenizer, *, field: str = "text",
    extensions: Sequence[str] | None = None, shard_tokens: int = 1 << 24, max_document_bytes: int = 4 << 20, max_bytes: int | None = None,
    bos: bool = True, eos: bool = True, overwrite: bool = False, provenance: Mapping[str, Any] | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
) -> Corpus:  # fmt: skip
    """Builds a corpus from files and folders. Atomic: an error, Ctrl-C or a kill leaves no half-built corpus, and an old one as it was.

    Args:
        inputs: text files, .jsonl files, folders (searched recursively in sorted order, hidden names left out).
        out: the folder to write.
        tokenizer: what cuts the text; its fingerprint goes into the manifest.
        field: which field of a JSONL object holds the text.
        extensions: of the files taken from folders, such as (".txt", ".md"); by default all files that are UTF-8 text.
        shard_tokens: tokens of a shard (a shard ends with the document that reaches this number).
        max_document_bytes: longer text files are cut into several documents, at line ends where there are any.
        max_bytes: stop after about this many bytes of input.
        bos, eos: whether each document begins and ends with the tokenizer's tokens for that, if it has them.
        overwrite: whether to replace a corpus that is there.
        provenance: anything JSON can hold, put into the manifest.
        progress: called now and then.
    Returns: the corpus, open. Raises: FileNotFoundError naming a missing input; ValueError if no input has text, if a file named by itself is
        not text, or if a JSONL line has no such field; OSError if the disk is full.
    """
    if max_document_bytes < 16:
        raise ValueError(f"max_document_bytes must be >= 16, got {max_document_bytes}")
    files = list(_files([Path(path) for path in inputs], extensions, Path(out)))
    total_bytes = sum(size for _, size, _ in files)
    total_bytes = total_bytes if max_bytes is None else min(total_bytes, max_bytes)
    with ShardWriter(out, kind="documents", vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.fingerprint, overwrite=overwrite) as writer:
        sink = _DocumentSink(writer, tokenizer, shard_tokens, bos=bos, eos=eos)
        sources: list[dict[str, Any]] = []
        skipped: list[str] = []
        bytes_read = 0
        for path, size, named in files:
            if max_bytes is not None and bytes_read >= max_bytes:
                break
            problem = _problem(path)
            if problem and named:
                raise ValueError(f"inputs must be UTF-8 text, but {path} {problem}")
            if problem:
                skipped.append(str(path))
            else:
                before, chars = sink.num_documents, 0
                for text in _texts(path, field, max_document_bytes):
                    sink.add(text)
                    chars += len(text)
                    if progress is not None:
                        progress(sink.progress(bytes_read + min(chars, size), total_bytes))
                sources.append({"path": str(path), "sha256": file_hash(path), "bytes": size, "num_documents": sink.num_documents - before})
            bytes_read += size
        sink.flush()
        if not sink.num_documents:
            raise ValueError(f"inputs must hold text, got none in {len(files)} files ({len(skipped)} of them not text)")
        # the first hundred names, for a person to look at
        notes = {**sink.framing, "num_skipped_files": len(skipped), "skipped_files": skipped[:100], **(provenance or {})}
        writer.commit(sources=sources, provenance=notes)
    if progress is not None:
        progress(sink.progress(bytes_read, bytes_read))
    return Corpus.open(out)


def input_texts(
    inputs: Sequence[str | os.PathLike[str]], *, field: str = "text", extensions: Sequence[str] | None = None, out: str | os.PathLike[str] = "",
    max_document_bytes: int = 4 << 20,
) -> Iterator[str]:  # fmt: skip
    """The texts that `build_corpus` would read from the same inputs, one after the other, for training a tokenizer."""
    for path, _, _ in _files([Path(path) for path in inputs], extensions, Path(out)):
        if not _problem(path):
            yield from _texts(path, field, max_document_bytes)


class _DocumentSink:
    """Collects texts, tokenises them in batches, and writes a shard whenever enough tokens are there."""

    def __init__(self, writer: ShardWriter, tokenizer: Tokenizer, shard_tokens: int, *, bos: bool, eos: bool):
        if shard_tokens < 1:
            raise ValueError(f"shard_tokens must be >= 1, got {shard_tokens}")
        self._writer, self._tokenizer, self._shard_tokens = writer, tokenizer, shard_tokens
        ids = (tokenizer.bos_id if bos else None, tokenizer.eos_id if eos else None)
        self._bos, self._eos = (np.array([] if number is None else [number], dtype=np.int32) for number in ids)
        self.framing = {"bos_id": ids[0], "eos_id": ids[1]}
        self._texts: list[str] = []
        self._documents: list[np.ndarray] = []
        self._chars = self._tokens = 0
        self.num_documents = self.num_tokens = 0

    def add(self, text: str) -> None:
        if not text:
            return
        self._texts.append(text)
        self._chars += len(text)
        self.num_documents += 1
        if self._chars >= _BATCH_CHARS:
            self._tokenize()

    def progress(self, bytes_read: int, total_bytes: int) -> BuildProgress:
        return BuildProgress(bytes_read=bytes_read, total_bytes=total_bytes, num_documents=self.num_documents, num_tokens=self.num_tokens)

    def flush(self) -> None:
        self._tokenize()
        if self._documents:
            self._write()

    def _tokenize(self) -> None:
        for ids in self._tokenizer.encode_batch(self._texts):
            document = np.concatenate([self._bos, ids, self._eos])
            self._documents.append(document)
            self._tokens += document.size
            self.num_tokens += document.size
            if self._tokens >= self._shard_tokens:
                self._write()
        self._texts, self._chars = [], 0

    def _write(self) -> None:
        self._writer.write_documents(self._documents)
        self._documents, self._tokens = [], 0


def _files(inputs: Sequence[Path], extensions: Sequence[str] | None, out: Path) -> Iterator[tuple[Path, int, bool]]:
    """(file, bytes, whether it was named by itself), folders in sorted order."""
    wanted = None if extensions is None else tuple(extension if extension.startswith(".") else f".{extension}" for extension in extensions)
    for path in inputs:
        if path.is_file():
            yield path, path.stat().st_size, True
        elif path.is_dir():
            for folder, names, files in os.walk(path):
                names[:] = sorted(name for name in names if not name.startswith(".") and (Path(folder) / name).resolve() != out.resolve())
                for name in sorted(files):
                    file = Path(folder) / name
                    if not name.startswith(".") and (wanted is None or name.endswith(wanted)) and file.is_file():
                        yield file, file.stat().st_size, False
        else:
            raise FileNotFoundError(f"inputs must be files or folders that exist, got {str(path)!r}")


def _problem(path: Path) -> str:
    """Why a file is not text, or an empty string."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if b"\0" in block:
                return "holds NUL bytes"
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return f"is not UTF-8 ({error.reason})"
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return f"is not UTF-8 ({error.reason})"
    return ""


def _texts(path: Path, field: str, max_document_bytes: int) -> Iterator[str]:
    if path.name.endswith(JSONL_EXTENSIONS):
        for number, record in read_jsonl(path):
            if not isinstance(record.get(field), str):
                raise ValueError(f"{path}:{number}: field {field!r} must be a string, got fields {sorted(record)[:8]}")
            yield record[field]
        return
    rest = b""
    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        while block := file.read(max(max_document_bytes - len(rest), 1)):
            rest += block
            if len(rest) < max_document_bytes:
                continue
            cut = rest.rfind(b"\n") + 1
            if not cut:
                cut = len(rest) - 1
                while rest[cut] & 0xC0 == 0x80:  # a continuation byte: never cut a character in two
                    cut -= 1
            yield rest[:cut].decode("utf-8")
            rest = rest[cut:]
    if rest:
        yield rest.decode("utf-8")


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of a JSONL file, blank lines left out. Raises: ValueError naming the file and line of what is no object."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if len(line) == _MAX_LINE_BYTES:
                raise ValueError(f"{path}:{number}: a line must be shorter than {_MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}:{number}: must be a JSON object, got {type(record).__name__}")
            yield number, record
