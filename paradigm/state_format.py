"""State as JSON plus tensors: how a nested state becomes files without pickle, and comes back equal.

The tree keeps its shape in JSON. None, bools, integers of any size, finite floats (shortest exact decimal), strings, lists and dicts with
string keys stand for themselves. Everything else is an object with one key that starts with "$":

    {"$float": "nan" | "inf" | "-inf"}              {"$tuple": [...]}             {"$bytes": base64}
    {"$dict": [[key, value], ...]}                  a dict with other keys, or with one that starts with "$"
    {"$tensor": name}                               {"$array": name}              {"$scalar": name}, a numpy scalar
      with "dtype" and "shape" where the file holds raw bytes: of a dtype that safetensors lacks or newly has
    {"$torch_generator": [device, state tensor]}    {"$numpy_generator": state}   {"$random": state}

Tensor names are the path of keys joined by "/", so a flat dict of tensors makes an ordinary safetensors file.
"""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["decode_state", "encode_state"]

_DIRECT = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_DIRECT_NUMPY = frozenset(str(dtype).removeprefix("torch.") for dtype in _DIRECT) - {"bfloat16"}
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def encode_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Splits a state into (a value for `json.dumps`, tensors by name).

    Args:
        state: nested mappings, lists and tuples of None, bool, int, float, str, bytes, torch tensors, numpy arrays and scalars,
            torch.Generator, numpy.random.Generator and random.Random. Named tuples come back as plain tuples.
    Returns: JSON value, and contiguous CPU tensors that share no memory with each other.
    Raises: TypeError naming the path and type of anything else.
    """
    encoder = _Encoder()
    return encoder.encode(state, ()), encoder.tensors


class _Encoder:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._storages: set[int] = set()

    def encode(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value, path)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": base64.b64encode(value).decode("ascii")}
        if isinstance(value, Mapping):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: self.encode(item, (*path, key)) for key, item in value.items()}
            return {"$dict": [[self.encode(key, path), self.encode(item, (*path, str(key)))] for key, item in value.items()]}
        if isinstance(value, list):
            return [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"$tuple": self.encode(list(value), path)}
        if isinstance(value, torch.Generator):
            return {"$torch_generator": [str(value.device), self.encode(value.get_state(), path)]}
        if isinstance(value, np.random.Generator):
            return {"$numpy_generator": self.encode(dict(value.bit_generator.state), path)}
        if isinstance(value, random.Random):
            return {"$random": self.encode(value.getstate(), path)}
        raise TypeError(f"state at {'/'.join(path) or 'the top'!r} must be plain data, a tensor, an array or a generator, got {type(value)}")

    def _tensor(self, tensor: Tensor, path: tuple[str, ...]) -> dict[str, Any]:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError(f"state at {'/'.join(path)!r} must be a dense tensor with data, got {tensor.layout}, {tensor.dtype}, {tensor.device}")
        tensor = tensor.detach().to("cpu").contiguous()
        if tensor.dtype in _DIRECT:
            return {"$tensor": self._store(tensor, path)}
        raw = tensor.reshape(-1).view(torch.uint8)
        return {"$tensor": self._store(raw, path), "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}

    def _array(self, array: np.ndarray | np.generic, path: tuple[str, ...]) -> dict[str, Any]:
        kind = "$array" if isinstance(array, np.ndarray) else "$scalar"
        array = np.asarray(array)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"state at {'/'.join(path)!r} must be a numeric or boolean array, got dtype {array.dtype}")
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")  # a copy: torch wants writable memory
        if array.dtype.name in _DIRECT_NUMPY:
            return {kind: self._store(torch.from_numpy(array), path)}
        raw = torch.from_numpy(np.frombuffer(array.tobytes(), dtype=np.uint8).copy())
        return {kind: self._store(raw, path), "dtype": array.dtype.name, "shape": list(array.shape)}

    def _store(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        address = tensor.untyped_storage().data_ptr()
        if tensor.numel() and address in self._storages:
            tensor = tensor.clone()  # safetensors refuses shared memory
        self._storages.add(address)
        base = "/".join(path) or "state"
        name, count = base, 0
        while name in self.tensors:
            count += 1
            name = f"{base}#{count}"
        self.tensors[name] = tensor
        return name


def decode_state(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """Rebuilds what `encode_state` split.

    Args:
        value: the JSON value.
        tensor: gives the tensor of a name; tensors stay as it gives them, arrays share its memory.
    Raises: ValueError for an unknown "$" form; KeyError from `tensor` for a missing name.
    """
    if isinstance(value, list):
        return [decode_state(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    form = next(iter(value), "")
    if not form.startswith("$"):
        return {key: decode_state(item, tensor) for key, item in value.items()}
    content = value[form]
    if form == "$float":
        return float(content)
    if form == "$bytes":
        return base64.b64decode(content)
    if form == "$tuple":
        return tuple(decode_state(content, tensor))
    if form == "$dict":
        return {decode_state(key, tensor): decode_state(item, tensor) for key, item in content}
    if form == "$tensor":
        stored = tensor(content)
        return stored if "dtype" not in value else stored.view(getattr(torch, value["dtype"])).reshape(value["shape"])
    if form in ("$array", "$scalar"):
        array = tensor(content).numpy()
        array = array if "dtype" not in value else array.view(np.dtype(value["dtype"])).reshape(value["shape"])
        return array if form == "$array" else array[()]
    if form == "$torch_generator":
        generator = torch.Generator(content[0])
        generator.set_state(decode_state(content[1], tensor))
        return generator
    if form == "$numpy_generator":
        return _numpy_generator(decode_state(content, tensor))
    if form == "$random":
        python_generator = random.Random()
        python_generator.setstate(decode_state(content, tensor))
        return python_generator
    raise ValueError(f"state must use the forms of this version, got {form!r}")


def _numpy_generator(state: dict[str, Any]) -> np.random.Generator:
    if state.get("bit_generator") not in _BIT_GENERATORS:
        raise ValueError(f"bit_generator must be one of {_BIT_GENERATORS}, got {state.get('bit_generator')!r}")
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)
