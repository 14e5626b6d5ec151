"""Whole checkpoints: a folder that is either complete and checksummed, or not there.

A checkpoint is written into a hidden sibling, flushed to the disk, and renamed into place, so a crash, a full disk or SIGKILL at any
moment leaves the earlier checkpoints as they were. `manifest.json` is written last, and lists every file with its size and SHA-256:

    step-000200/  manifest.json  learner.json  learner.safetensors  ...

Each part is a nested state, split by `state_format` into `<part>.json` and `<part>.safetensors`; nothing is pickled. A writer holds a
lock (flock) on its hidden folder, which tells what a dead process left behind from what a live one is writing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paradigm.distributed import by_first
from paradigm.state_format import decode_state, encode_state

__all__ = ["CheckpointError", "check_same_tensors", "checkpoints", "latest", "load_checkpoint", "prune", "save_checkpoint", "verify"]

FORMAT = "paradigm-checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
_HIDDEN = re.compile(r"^\.(?P<name>.+)\.(?P<kind>partial|replaced|removed)-[0-9a-f]{8}$")
_CHUNK_BYTES = 1 << 22
_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that is missing, incomplete, damaged, or of another format."""


@by_first
def save_checkpoint(
    path: str | os.PathLike[str], parts: Mapping[str, Any], write_files: Callable[[Path], object] | None = None
) -> None:
    """Writes a whole checkpoint, in place of any earlier one at `path`. Of several ranks all must call, and rank 0 writes.

    Args:
        path: the checkpoint's folder; its parent is created if need be.
        parts: name = nested state; see `state_format.encode_state` for what it may hold.
        write_files: called first with the folder being written, to put further files there (an exported policy); they are checksummed too.
    Raises: OSError if the disk refuses (an earlier checkpoint at `path` is then intact and nothing is left behind); TypeError for state that
        cannot be written; ValueError for a bad part name or a file at `path`.
    """
    path = Path(path).absolute()
    for name in parts:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or f"{name}.json" == MANIFEST:
            raise ValueError(f"parts must be named by letters, digits, '_', '-' and '.', and not 'manifest', got {name!r}")
    if path.exists() and not path.is_dir():
        raise ValueError(f"path must be a folder or not exist, got the file {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _hidden(path, "partial")
    with ExitStack() as locks:
        with _locked(path.parent):  # nobody takes the new folder for a dead writer's before it is locked
            _recover(path.parent)
            partial.mkdir()
            locks.enter_context(_locked(partial))
        try:
            if write_files is not None:
                write_files(partial)
            for name, state in parts.items():
                _write_part(partial, name, state)
            sequence = 1 + max((_sequence(folder) for folder in checkpoints(path.parent)), default=0)
            _write_manifest(partial, sorted(parts), sequence)
            _put_in_place(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def load_checkpoint(path: str | os.PathLike[str], parts: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads a checkpoint after verifying every file's checksum.

    Args:
        path: the checkpoint's folder.
        parts: names to read; by default all.
    Returns: {name: state}, tensors on the CPU.
    Raises: CheckpointError naming the file, what was expected and what was found: for a missing or incomplete checkpoint, another format
        version, a missing, truncated or altered file, a missing part, or a file of pickled weights offered in its place.
    """
    path = Path(path).absolute()
    manifest = verify(path)
    names = list(manifest["parts"]) if parts is None else list(parts)
    missing = [name for name in names if name not in manifest["parts"]]
    if missing:
        raise CheckpointError(f"{path} must hold the parts {missing}, found {manifest['parts']}")
    return {name: _read_part(path, name) for name in names}


def verify(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Checks every file of a checkpoint against its size and SHA-256, and returns the manifest. Raises: CheckpointError as `load_checkpoint`."""
    path = Path(path).absolute()
    if path.parent.is_dir() and not path.exists():
        with _locked(path.parent):
            _recover(path.parent, path.name)  # a process may have died between the two renames that replace a checkpoint
    manifest = _read_manifest(path)
    _check_sizes(path, manifest)
    for name, entry in manifest["files"].items():
        found = _sha256(path / name)
        if found != entry["sha256"]:
            raise CheckpointError(f"{path / name} is damaged: expected SHA-256 {entry['sha256']}, found {found}")
    return manifest


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The complete checkpoints in a folder, oldest first, as they were written; complete: every file is there at its full size."""
    found = []
    folder = Path(folder).absolute()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".") or not (path / MANIFEST).is_file():
            continue
        try:
            manifest = _read_manifest(path)
            _check_sizes(path, manifest)
        except CheckpointError as error:
            _log.warning("skipped: %s", error)
            continue
        found.append((manifest["sequence"], path.name, path))
    return [path for _, _, path in sorted(found)]


def latest(folder: str | os.PathLike[str]) -> Path | None:
    """The newest complete checkpoint in a folder, or None; first cleans up what dead writers left there."""
    folder = Path(folder).absolute()
    if folder.is_dir():
        with _locked(folder):
            _recover(folder)
    complete = checkpoints(folder)
    return complete[-1] if complete else None


def prune(folder: str | os.PathLike[str], keep: int) -> list[Path]:
    """Removes all but the `keep` newest complete checkpoints of a folder, and returns what it removed. Raises: ValueError if keep < 1."""
    if keep < 1:
        raise ValueError(f"keep must be >= 1, got {keep}")
    removed = checkpoints(folder)[:-keep]
    for path in removed:
        with _locked(path):
            doomed = _hidden(path, "removed")  # renamed first: what is visible is always whole
            os.rename(path, doomed)
            shutil.rmtree(doomed)
    return removed


def check_same_tensors(what: str, own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raises ValueError, naming the first tensor that differs, unless two sets have the same names, shapes and dtypes."""
    for name in sorted(own.keys() | saved.keys()):
        if name not in saved:
            raise ValueError(f"{what} must be that of the checkpoint, which has no {name}")
        if name not in own:
            raise ValueError(f"{what} must be that of the checkpoint, which has {name} of shape {list(saved[name].shape)}; this one has none")
        if own[name].shape != saved[name].shape or own[name].dtype != saved[name].dtype:
            raise ValueError(
                f"{what} must be that of the checkpoint, where {name} is {saved[name].dtype} {list(saved[name].shape)}, "
                f"got {own[name].dtype} {list(own[name].shape)}"
            )


def _recover(folder: Path, name: str | None = None) -> None:
    """Undoes and cleans up what writers (of `name`) that died in `folder` left there; what a live one is writing stays."""
    for hidden in sorted(folder.iterdir()):
        match = _HIDDEN.match(hidden.name)
        if match is None or not hidden.is_dir() or name not in (None, match["name"]):
            continue
        try:
            with _locked(hidden, wait=False):
                original = folder / match["name"]
                if match["kind"] == "replaced" and not original.exists():
                    os.rename(hidden, original)
                else:
                    shutil.rmtree(hidden)
        except (BlockingIOError, FileNotFoundError, PermissionError):
            continue  # being written, already gone, or another user's


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{secrets.token_hex(4)}")


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)  # also releases the lock


def _put_in_place(partial: Path, path: Path) -> None:
    if path.exists():
        with _locked(path):
            replaced = _hidden(path, "replaced")
            os.rename(path, replaced)
            try:
                os.rename(partial, path)
            except BaseException:
                os.rename(replaced, path)
                raise
            _flush(path.parent)
            shutil.rmtree(replaced)
        return
    os.rename(partial, path)
    _flush(path.parent)


def _write_part(folder: Path, name: str, state: Any) -> None:
    tree, tensors = encode_state(state)
    for suffix in (".json", ".safetensors"):
        if (folder / f"{name}{suffix}").exists():
            raise ValueError(f"write_files must not write {name}{suffix}, which belongs to the part {name!r}")
    (folder / f"{name}.json").write_text(json.dumps(tree, allow_nan=False) + "\n", encoding="utf-8")
    if tensors:
        file = folder / f"{name}.safetensors"
        try:
            save_file(tensors, file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"{file} could not be written: {error}") from error


def _read_part(folder: Path, name: str) -> Any:
    tree = _read_json(folder / f"{name}.json")
    file = folder / f"{name}.safetensors"
    try:
        tensors = load_file(file) if file.exists() else {}
    except SafetensorError as error:
        raise CheckpointError(f"{file} must be a safetensors file, found {_nature(file)}: {error}") from error
    try:
        return decode_state(tree, tensors.__getitem__)
    except KeyError as error:
        raise CheckpointError(f"{file} must hold the tensor {error}, which {name}.json names, but does not") from error


def _write_manifest(folder: Path, parts: list[str], sequence: int) -> None:
    files = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        _flush(file)
        files[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    for directory in [p for p in folder.rglob("*") if p.is_dir()]:
        _flush(directory)
    manifest: dict[str, Any] = {"format": FORMAT, "version": VERSION, "sequence": sequence, "parts": parts, "files": files}
    manifest["sha256"] = _digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    _flush(folder / MANIFEST)
    _flush(folder)


def _read_manifest(path: Path) -> dict[str, Any]:
    if path.is_file():
        raise CheckpointError(f"path must be a checkpoint's folder, found {path}, {_nature(path)}")
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist; expected a checkpoint's folder")
    if not (path / MANIFEST).is_file():
        found = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
        raise CheckpointError(f"{path} must hold {MANIFEST}, found {found}: no whole checkpoint was written there")
    manifest = _read_json(path / MANIFEST)
    stated_format = manifest.get("format") if isinstance(manifest, dict) else None
    if stated_format != FORMAT:
        raise CheckpointError(f"{path / MANIFEST} must say format {FORMAT!r}, found {stated_format!r}")
    if manifest.get("version") != VERSION:
        raise CheckpointError(f"{path / MANIFEST} must be of format version {VERSION}, found {manifest.get('version')!r}")
    stated, found_digest = manifest.get("sha256"), _digest({k: v for k, v in manifest.items() if k != "sha256"})
    if stated != found_digest:
        raise CheckpointError(f"{path / MANIFEST} is damaged: expected SHA-256 {stated}, found {found_digest}")
    return manifest


def _check_sizes(path: Path, manifest: Mapping[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        if not (path / name).is_file():
            raise CheckpointError(f"{path} is incomplete: expected {name} of {entry['size']} bytes, found no such file")
        if (path / name).stat().st_size != entry["size"]:
            raise CheckpointError(f"{path / name} is damaged: expected {entry['size']} bytes, found {(path / name).stat().st_size}")


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} must hold JSON: {error}") from error


def _nature(file: Path) -> str:
    with open(file, "rb") as stream:
        start = stream.read(4)
    # protocol >= 2 pickles, and the zip archives that torch.save writes
    if (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or start == b"PK\x03\x04":
        return "a pickle, which can run code when it is read and is never loaded (convert it to safetensors first)"
    return f"a file that starts with {start!r}"


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sequence(path: Path) -> int:
    return int(_read_manifest(path)["sequence"])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
