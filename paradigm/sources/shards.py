"""The one format for data on disk: a folder of safetensors shards and a manifest that vouches for them.

Documents and trajectories are the same thing here. A shard holds `tokens` (uint16 or uint32 [n]) and `offsets` (int64 [B + 1]); whatever else a
`TrajectoryBuffer` carries is optional and absent where every value is its default, so a text corpus costs two bytes a token. `manifest.json`
names each shard with its SHA-256, and is the only thing that makes a folder valid: it is renamed into place last, so a build that dies at any
moment leaves either no data set or the old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS, TrajectoryBuffer

__all__ = ["CorruptShardError", "Shard", "ShardWriter", "read_manifest"]

# n tokens of a shard, B documents or trajectories of a shard

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I32": np.int32, "I64": np.int64, "F32": np.float32,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000


class CorruptShardError(ValueError):
    """A file does not hold what its manifest says."""


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest dtype of a shard that holds every id below vocab_size."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


class ShardWriter:
    """Builds a data set folder; use it as a context manager, and call `commit` at the end of the block.

    Until then nothing in the folder counts: leaving the block without `commit` (an error, Ctrl-C) removes what was written and keeps what was there.

    Args:
        out: the folder; created if need be.
        kind: "documents" or "trajectories".
        vocab_size: ids are below it.
        tokenizer: its fingerprint, or "" if unknown.
        overwrite: whether to replace a data set that is already there.
    Raises: FileExistsError if `out` holds a data set and overwrite is off, or holds other things; BlockingIOError if another process writes to it.
    """

    def __init__(self, out: str | os.PathLike[str], *, kind: str, vocab_size: int, tokenizer: str, overwrite: bool = False):
        self._out = Path(out)
        self._kind, self._vocab_size, self._tokenizer, self._overwrite = kind, vocab_size, tokenizer, overwrite
        self._dtype = token_dtype(vocab_size)
        self._shards: list[dict[str, Any]] = []
        self._committed = False

    def __enter__(self) -> ShardWriter:
        self._created = not self._out.exists()
        self._out.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._out, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise BlockingIOError(f"out {str(self._out)!r} is being written by another process") from error
        try:
            self._check_out()
            for stale in self._out.glob(".partial-*"):  # of a killed build: whoever holds the lock is alone
                shutil.rmtree(stale)
            self._partial = self._out / f".partial-{os.getpid()}"
            self._partial.mkdir()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def _check_out(self) -> None:
        names = {path.name for path in self._out.iterdir()}
        if MANIFEST in names and not self._overwrite:
            raise FileExistsError(f"out {str(self._out)!r} already holds a data set: choose another folder, or overwrite it")
        others = sorted(name for name in names if name != MANIFEST and not name.startswith((".partial-", "shard-")))
        if MANIFEST not in names and others:
            raise FileExistsError(f"out {str(self._out)!r} must be an empty folder or a data set, but holds {others[0]!r}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            shutil.rmtree(self._partial, ignore_errors=True)
            if not self._committed:
                self._remove_strays()
                if self._created:
                    self._out.rmdir()
        finally:
            os.close(self._lock)

    @property
    def num_documents(self) -> int:
        """Documents written so far."""
        return sum(shard["num_documents"] for shard in self._shards)

    @property
    def num_tokens(self) -> int:
        """Tokens written so far."""
        return sum(shard["num_tokens"] for shard in self._shards)

    def write_documents(self, documents: Sequence[np.ndarray]) -> None:
        """One shard of plain documents. Args: documents: integers [length] each, ids below vocab_size."""
        offsets = np.cumsum([0, *(document.size for document in documents)], dtype=np.int64)
        tokens = np.concatenate(documents) if documents else np.zeros(0, np.int32)
        self._write({"tokens": self._narrow(tokens), "offsets": offsets}, {})

    def write_trajectories(self, buffer: TrajectoryBuffer) -> None:
        """One shard of trajectories with everything they carry. Raises: ValueError if a token is not below vocab_size."""
        plain = TrajectoryBuffer.from_arrays(np.zeros(1, np.int32), offsets=[0, 1])
        arrays = {"tokens": self._narrow(buffer.tokens), "offsets": buffer.offsets}
        for name in (*TOKEN_FIELDS, *SCALAR_FIELDS):
            array = getattr(buffer, name)
            if name != "tokens" and (name == "index" or (array != getattr(plain, name)[0]).any()):
                arrays[name] = array
        if buffer.values is not None:
            arrays["values"] = buffer.values
        if "support" in arrays:  # only the masks and tasks that are in use
            rows, places = np.unique(buffer.support, return_inverse=True)
            masks = rows[rows >= 0]
            arrays["support"] = (places.reshape(-1) - (rows.size - masks.size)).astype(np.int32)
            arrays["support_table"] = buffer.support_table[masks]
        numbers = np.where((buffer.task >= 0) & (buffer.task < len(buffer.tasks)), buffer.task, -1)
        used = np.unique(numbers[numbers >= 0])
        if used.size:
            arrays["task"] = np.where(numbers >= 0, np.searchsorted(used, numbers), -1)
        notes = {
            "tasks": [_encode_task(buffer.tasks[number]) for number in used],
            "key": list(buffer.key),
            "environment": buffer.environment,
            "extras": {str(row): notes for row, notes in buffer.extras.items()},
        }
        self._write(arrays, notes)

    def _narrow(self, tokens: np.ndarray) -> np.ndarray:
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self._vocab_size):
            raise ValueError(f"tokens must be in [0, {self._vocab_size}), got {tokens.min()} to {tokens.max()}")
        return tokens.astype(self._dtype)

    def _write(self, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        header: dict[str, Any] = {"__metadata__": {"paradigm": json.dumps(notes)}}
        # widest items first, so that every array is aligned to its item size
        ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
        position = 0
        for name, array in ordered:
            header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, position + array.nbytes]}
            position += array.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        parts: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text, *(_bytes_of(array) for _, array in ordered)]
        temporary = self._partial / "next"
        sha256 = _write_file(temporary, parts)
        name = f"shard-{len(self._shards):05d}-{sha256[:16]}.safetensors"
        os.replace(temporary, self._partial / name)
        documents = arrays["offsets"].size - 1
        self._shards.append(
            {"file": name, "sha256": sha256, "bytes": 8 + len(text) + position, "num_tokens": arrays["tokens"].size, "num_documents": documents}
        )

    def commit(self, *, sources: Sequence[Mapping[str, Any]] = (), provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Makes the folder valid. Returns: the manifest. Raises: ValueError if there is not a single token."""
        if not self.num_tokens:
            raise ValueError("a data set must hold at least one token, and no input had any")
        manifest: dict[str, Any] = {
            "format": "paradigm-shards", "version": FORMAT_VERSION, "kind": self._kind, "dtype": self._dtype.name, "vocab_size": self._vocab_size,
            "tokenizer_sha256": self._tokenizer, "num_tokens": self.num_tokens, "num_documents": self.num_documents, "shards": self._shards,
            "sources": list(sources), "provenance": dict(provenance or {}),
        }  # fmt: skip
        manifest["sha256"] = _manifest_hash(manifest)
        for shard in self._shards:
            os.replace(self._partial / shard["file"], self._out / shard["file"])
        temporary = self._partial / MANIFEST
        _write_file(temporary, [json.dumps(manifest, indent=1).encode()])
        os.fsync(self._lock)
        os.replace(temporary, self._out / MANIFEST)
        self._committed = True
        os.fsync(self._lock)
        self._remove_strays()
        return manifest

    def _remove_strays(self) -> None:
        """Removes shards that the manifest in force does not name."""
        try:
            named = {shard["file"] for shard in read_manifest(self._out)["shards"]}
        except FileNotFoundError:
            named = set()
        except ValueError:
            return  # an old manifest that cannot be read: touch nothing it may name
        for path in self._out.glob("shard-*.safetensors"):
            if path.name not in named:
                path.unlink()


def _write_file(path: Path, parts: Sequence[bytes | memoryview]) -> str:
    """Writes and syncs a file; returns its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            digest.update(part)
            _write_part(file, part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_part(file: BinaryIO, part: bytes | memoryview) -> None:
    file.write(part)


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a data set folder, checked against its own hash.

    Raises: FileNotFoundError if there is none; CorruptShardError if it was changed or cut; ValueError if it is of another format.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        reason = "an interrupted build left no data set" if Path(path).is_dir() and any(Path(path).glob(".partial-*")) else "it has no manifest.json"
        raise FileNotFoundError(f"path must be a data set folder, got {str(path)!r}: {reason if Path(path).exists() else 'it does not exist'}")
    try:
        manifest = json.loads(file.read_bytes())
    except ValueError as error:
        raise CorruptShardError(f"{file} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "paradigm-shards":
        raise ValueError(f"{file} is not the manifest of a data set")
    if manifest.get("version") != FORMAT_VERSION:
        raise ValueError(f"{file} has format version {manifest.get('version')}, this program reads version {FORMAT_VERSION}")
    if manifest.get("sha256") != _manifest_hash(manifest):
        raise CorruptShardError(f"{file} is damaged: it does not match its own SHA-256")
    return manifest


def _manifest_hash(manifest: Mapping[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Shard:
    """One shard, mapped into memory when first touched, and then checked against its SHA-256.

    Attributes: arrays: {name: array}, views of the file; notes: tasks, key, environment and extras of trajectories, or {}.
    """

    def __init__(self, folder: Path, entry: Mapping[str, Any], *, verify: bool):
        self.path = folder / str(entry["file"])
        self.num_documents, self.num_tokens = int(entry["num_documents"]), int(entry["num_tokens"])
        self._sha256, self._verify = str(entry["sha256"]), verify
        self._arrays: dict[str, np.ndarray] | None = None
        self._notes: dict[str, Any] = {}
        if not self.path.is_file():
            raise FileNotFoundError(f"shard {self.path} is missing, though the manifest names it")
        if self.path.stat().st_size != entry["bytes"]:
            raise CorruptShardError(f"shard {self.path} has {self.path.stat().st_size} bytes, the manifest says {entry['bytes']}")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        if self._arrays is None:
            self._map()
        assert self._arrays is not None
        return self._arrays

    @property
    def notes(self) -> Mapping[str, Any]:
        if self._arrays is None:
            self._map()
        return self._notes

    def _map(self) -> None:
        if self._verify and (found := file_hash(self.path)) != self._sha256:
            raise CorruptShardError(f"shard {self.path} is damaged: its SHA-256 is {found[:16]}..., the manifest says {self._sha256[:16]}...")
        data = np.memmap(self.path, dtype=np.uint8, mode="r")
        try:
            length = int.from_bytes(data[:8].tobytes(), "little")
            header = json.loads(data[8 : 8 + min(length, _MAX_HEADER_BYTES)].tobytes())
            self._notes = json.loads(header.pop("__metadata__", {}).get("paradigm", "{}"))
            body = data[8 + length :]
            arrays = {
                name: body[slice(*item["data_offsets"])].view(_DTYPES[item["dtype"]]).reshape(item["shape"]) for name, item in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptShardError(f"shard {self.path} is not a shard: {error}") from error
        offsets = arrays.get("offsets", np.zeros(0))
        if offsets.size != self.num_documents + 1 or arrays.get("tokens", offsets).size != self.num_tokens or offsets[-1] != self.num_tokens:
            raise CorruptShardError(f"shard {self.path} does not hold the {self.num_documents} documents that the manifest says")
        self._arrays = arrays

    def buffer(self, rows: np.ndarray) -> TrajectoryBuffer:
        """The given trajectories (int64 [B']), copied, with the defaults filled in."""
        arrays = self.arrays
        offsets = arrays["offsets"]
        lengths = offsets[rows + 1] - offsets[rows]
        cuts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.arange(cuts[-1]) + np.repeat(offsets[rows] - cuts[:-1], lengths)
        fields: dict[str, Any] = {}
        for name, array in arrays.items():
            if name == "support_table":
                fields[name] = array
            elif name not in ("tokens", "offsets"):
                fields[name] = array[rows] if name in SCALAR_FIELDS else array[source]
        extras = self.notes.get("extras", {})
        return TrajectoryBuffer.from_arrays(
            arrays["tokens"][source].astype(np.int32),
            cuts,
            tasks=[_decode_task(task) for task in self.notes.get("tasks", [])],
            key=tuple(self.notes.get("key", (0, 0))),
            environment=self.notes.get("environment", ""),
            extras={new: extras[str(old)] for new, old in enumerate(rows.tolist()) if str(old) in extras},
            **fields,
        )


def file_hash(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def _encode_task(task: Any) -> Any:
    return {"bytes": task.decode("latin-1")} if isinstance(task, bytes) else {"value": task}


def _decode_task(task: Mapping[str, Any]) -> Any:
    return task["bytes"].encode("latin-1") if "bytes" in task else task["value"]
