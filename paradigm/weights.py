"""Weights on disk: safetensors in the Hugging Face layout, one file or shards with an index. Pickle is never read.

A folder is written beside its destination and renamed into place: a reader never finds a mixture of old and new, and a crash loses neither.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# scalar heads lie in their own file, so that transformers, vLLM and converters find exactly the tensors that they expect
HEADS_FILE = "heads/heads.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
)
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises: ValueError naming the file if it is missing or holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} must hold {path.name}, found {_listing(path.parent)}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def read_weights(folder: Path) -> Iterator[tuple[str, str, Tensor]]:
    """Every tensor of a Hugging Face folder, one at a time, on the CPU.

    Yields: (file name, tensor name, tensor). Raises: ValueError for pickled weights, a missing or damaged file, or an index that
        disagrees with its shards.
    """
    if (folder / INDEX_FILE).exists():
        yield from _read_shards(folder)
    elif (folder / WEIGHTS_FILE).exists():
        for name, tensor in read_safetensors(folder / WEIGHTS_FILE):
            yield WEIGHTS_FILE, name, tensor
    else:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLE_SUFFIXES)
        if pickles:
            raise ValueError(
                f"{folder} holds its weights as {', '.join(pickles)}, a pickle, which can run code when it is read and is never loaded: "
                f"convert it to {WEIGHTS_FILE} first (transformers: save_pretrained(..., safe_serialization=True))"
            )
        raise ValueError(f"{folder} must hold {WEIGHTS_FILE} or {INDEX_FILE}, found {_listing(folder)}")


def _read_shards(folder: Path) -> Iterator[tuple[str, str, Tensor]]:
    index = read_json(folder / INDEX_FILE)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ValueError(f"{folder / INDEX_FILE} must have weight_map from tensor names to file names, got {type(weight_map).__name__}")
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX_FILE} must name safetensors files in its own folder, got {file!r}")
        expected = {name for name, home in weight_map.items() if home == file}
        found = set()
        for name, tensor in read_safetensors(folder / file):
            found.add(name)
            if name not in expected:
                raise ValueError(f"{folder / file} holds {name}, which {INDEX_FILE} does not place there")
            yield file, name, tensor
        if expected - found:
            raise ValueError(f"{folder / file} must hold {min(expected - found)}, as {INDEX_FILE} says, but does not")


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of one safetensors file, on the CPU. Raises: ValueError if the file is missing or damaged."""
    if path.suffix in _PICKLE_SUFFIXES:
        raise ValueError(f"{path} is a pickle, which can run code when it is read and is never loaded: convert it to safetensors first")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                yield name, file.get_tensor(name)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file (truncated or damaged): {error}") from error


def write_weights(folder: Path, tensors: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    """Write tensors as one file, or as shards of at most `max_shard_bytes` with an index. Raises: OSError if the disk refuses."""
    shards: list[dict[str, Tensor]] = [{}]
    num_bytes = 0
    for name, tensor in tensors.items():
        if shards[-1] and num_bytes + tensor.nbytes > max_shard_bytes:
            shards.append({})
            num_bytes = 0
        shards[-1][name] = tensor
        num_bytes += tensor.nbytes
    if len(shards) == 1:
        write_safetensors(folder / WEIGHTS_FILE, shards[0])
        return
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / file, shard)
        weight_map.update(dict.fromkeys(shard, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one safetensors file and flush it to the disk. Raises: OSError naming the file if the disk refuses."""
    on_host = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(exist_ok=True)
    try:
        save_file(on_host, str(path), metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    _flush(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object and flush it to the disk."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _flush(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into, which takes `path`'s place once the block ends without an error.

    An earlier model at `path` is replaced, its tokenizer and other files that the new folder lacks are kept. Raises: ValueError if
        `path` is a file, or a folder of anything but a model.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(f"path must be a folder, got the file {path}")
    if path.exists() and any(path.iterdir()) and not (path / CONFIG_FILE).exists():
        raise ValueError(f"path must be new, empty or a saved model, got {path} with {_listing(path)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    temporary, old = path.parent / f".{path.name}.new-{mark}", path.parent / f".{path.name}.old-{mark}"
    temporary.mkdir()
    try:
        yield temporary
        _flush(temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if old.exists():
        for file in old.iterdir():
            is_weights = file.suffix in (".safetensors", *_PICKLE_SUFFIXES) or file.name in (INDEX_FILE, "heads")
            if not is_weights and not (path / file.name).exists():
                file.rename(path / file.name)
        shutil.rmtree(old)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    names = sorted(file.name for file in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
