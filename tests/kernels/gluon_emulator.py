"""Runs a Gluon kernel's own Python on the CPU: partitions, mbarriers, TMA and asynchronous wgmma, one step at a time in a random order.

Gluon has no interpreter. Here each partition is a thread, and one thing happens at a time: a partition runs to its next barrier, or one copy is
made. What may go wrong on a device fails here: partitions that wait for each other for ever, too many arrivals, a buffer overwritten while a product
still reads it, a result read before its wait, a store by TMA without a fence, copies not waited for, barriers left in unequal phases.
Layouts are ignored, as is who of a partition's warps does what.
"""

import math
import random
import threading
import types
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonJITFunction


class Value:
    """A tensor or number of a kernel."""

    def __init__(self, data: Any):
        self._data, self.in_flight = np.asarray(data), False
        self.type = SimpleNamespace(layout=None)

    @property
    def data(self) -> np.ndarray:
        assert not self.in_flight, "a product's result is read before it was waited for"
        return self._data

    @property
    def shape(self) -> list[int]:
        return list(self._data.shape)

    def to(self, dtype: Any) -> "Value":
        if dtype in (gl.bfloat16, gl.float16):
            half = torch.bfloat16 if dtype == gl.bfloat16 else torch.float16
            return Value(torch.from_numpy(self.data.astype(np.float32)).to(half).float().numpy())
        return Value(self.data.astype({gl.float32: np.float32, gl.int32: np.int32, gl.int64: np.int64}[dtype]))

    def __getitem__(self, at: Any) -> "Value":
        return Value(self.data[at])

    def __index__(self) -> int:
        return int(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)


def _operator(name: str) -> Callable[..., Any]:
    def run(self: Value, other: Any) -> Any:
        if isinstance(other, Pointer):
            return NotImplemented
        with np.errstate(all="ignore"):
            return Value(getattr(np.asarray(self.data), name)(_data(other)))

    return run


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "and", "or", "xor"):
    for _side in ("", "r"):
        setattr(Value, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Value, f"__{_name}__", _operator(f"__{_name}__"))


def _data(x: Any) -> Any:
    x = x.data if isinstance(x, Value) else x
    return np.float32(x) if isinstance(x, float) else x


class Pointer:
    """Elements of a tensor, by their distance from its first."""

    def __init__(self, tensor: torch.Tensor, at: Any = 0):
        self.tensor, self.at = tensor.detach(), np.asarray(at)

    def __add__(self, other: Any) -> "Pointer":
        return Pointer(self.tensor, self.at + _data(other))

    __radd__ = __add__

    def load(self, mask: Any = None, other: Any = None) -> Value:
        flat = self.tensor.view(-1)
        if mask is None:
            return Value(flat[torch.from_numpy(np.asarray(self.at))].float().numpy() if flat.is_floating_point() else flat[int(self.at)].numpy())
        at, keep = np.broadcast_arrays(self.at, _data(mask))
        assert ((at >= 0) & (at < len(flat)))[keep].all(), "a load outside its tensor"
        values = flat[torch.from_numpy(np.where(keep, at, 0))].float().numpy()
        return Value(np.where(keep, values, np.float32(other)))

    def store(self, value: Value, mask: Any) -> None:
        at, keep, values = np.broadcast_arrays(self.at, _data(mask), value.data)
        assert ((at >= 0) & (at < self.tensor.numel()))[keep].all(), "a store outside its tensor"
        self.tensor.view(-1)[torch.from_numpy(at[keep])] = torch.from_numpy(values[keep]).to(self.tensor.dtype)


class Buffer:
    """Shared memory; `unfenced` has the addresses that were written and not yet fenced, and who wrote there."""

    def __init__(self, data: np.ndarray, dtype: Any, unfenced: dict[int, "Partition"]):
        self.data, self.dtype, self.unfenced = data, dtype, unfenced

    @property
    def shape(self) -> list[int]:
        return list(self.data.shape)

    def index(self, i: Any) -> "Buffer":
        return Buffer(self.data[int(i)], self.dtype, self.unfenced)

    def reshape(self, shape: Sequence[int]) -> "Buffer":
        return Buffer(self.data.reshape(shape), self.dtype, self.unfenced)

    def permute(self, order: Sequence[int]) -> "Buffer":
        return Buffer(self.data.transpose(order), self.dtype, self.unfenced)

    def load(self, layout: Any) -> Value:
        return Value(self.data.copy())

    def store(self, value: Value) -> None:
        self.data[...] = value.data
        self.unfenced[self.address] = _me()

    @property
    def address(self) -> int:
        return self.data.__array_interface__["data"][0]


class Barrier:
    def __init__(self) -> None:
        self.count, self.phase, self.pending, self.bytes = 0, 0, 0, 0

    def settle(self, arrivals: int, more: int) -> None:
        self.bytes += more
        self.pending -= arrivals
        assert self.pending >= 0, "more arrivals than a phase of the barrier has"
        if self.pending == 0 and self.bytes == 0:
            self.phase, self.pending = self.phase + 1, self.count


class Barriers(list[Barrier]):
    def index(self, i: Any) -> Barrier:
        return self[int(i)]


class Descriptor:
    """A host's TensorDescriptor, as TMA reads it: bounds by dimension, addresses modulo 2^64."""

    def __init__(self, host: Any):
        self.host, self.layout = host, host.layout
        self.dtype = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[host.base.dtype]
        self.block_type = SimpleNamespace(shape=list(host.block_shape), nbytes=math.prod(host.block_shape) * host.base.element_size())

    def elements(self, coordinates: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Where the block's elements lie from the base, and which of them are inside the bounds."""
        at = np.zeros((), np.uint64)
        inside = np.ones((), bool)
        for i, (start, size, bound, stride) in enumerate(zip(coordinates, self.host.block_shape, self.host.shape, self.host.strides)):
            index = (start + np.arange(size)).reshape([-1 if i == j else 1 for j in range(len(coordinates))])
            inside = inside & (index >= 0) & (index < bound)
            at = at + index.astype(np.uint64) * np.uint64(stride * self.host.base.element_size())
        return at.astype(np.int64) // self.host.base.element_size(), inside

    def load(self, coordinates: Sequence[int], buffer: Buffer) -> None:
        at, inside = self.elements(coordinates)
        flat = _storage(self.host.base)
        assert ((at >= 0) & (at < len(flat)))[inside].all(), "a copy outside its tensor"
        buffer.data[...] = np.where(inside, flat[torch.from_numpy(np.where(inside, at, 0))].float().numpy(), np.float32(0))

    def store(self, coordinates: Sequence[int], buffer: Buffer) -> None:
        at, inside = self.elements(coordinates)
        flat = _storage(self.host.base)
        assert ((at >= 0) & (at < len(flat)))[inside].all(), "a copy outside its tensor"
        flat[torch.from_numpy(at[inside])] = torch.from_numpy(buffer.data[inside]).to(flat.dtype)


def _storage(x: torch.Tensor) -> torch.Tensor:
    """All elements from x's first on, whatever its strides."""
    return torch.as_strided(x.detach(), [x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()], [1])


class Partition(threading.Thread):
    """A thread that runs only when it is told to, from one barrier to the next."""

    def __init__(self, work: Callable[[], None]):
        super().__init__(daemon=True)
        self.work, self.ready, self.error, self.done = work, lambda: True, None, False
        self.go, self.paused = threading.Semaphore(0), threading.Semaphore(0)
        self.products: list[Callable[[], None]] = []
        self.num_stores, self.stopped = 0, False

    def run(self) -> None:
        self.go.acquire()
        try:
            self.work()
        except BaseException as error:  # the test's thread raises it
            self.error = error
        self.done = True
        self.paused.release()

    def step(self) -> None:
        self.go.release()
        self.paused.acquire()
        if self.error is not None:
            raise self.error

    def pause(self, ready: Callable[[], bool]) -> None:
        """Called on the thread: lets others run, and goes on once it is ready."""
        self.ready = ready
        self.paused.release()
        self.go.acquire()
        if self.stopped:
            raise SystemExit


class Program:
    """One program of a launch: its shared memory, its barriers, and what is on the way."""

    def __init__(self, number: int, num_programs: int, seed: int):
        self.number, self.num_programs, self.random = number, num_programs, random.Random(seed)
        self.copies: list[Callable[[], None]] = []
        self.barriers: list[Barriers] = []
        self.unfenced: dict[int, Partition] = {}

    def allocate(self, element: Any, shape: Sequence[int], layout: Any) -> Any:
        if element == gl.int64:
            self.barriers.append(Barriers(Barrier() for _ in range(shape[0])))
            return self.barriers[-1]
        return Buffer(np.full(shape, np.nan, np.float32), element, self.unfenced)

    def specialise(self, functions: Sequence[tuple[Callable[..., None], tuple[Any, ...]]], warps: Sequence[int], registers: Sequence[int]) -> None:
        assert len(functions) == len(warps) + 1 == len(registers) + 1
        partitions = [Partition(lambda f=f, args=args: f(*args)) for f, args in functions]
        for partition in partitions:
            partition.start()
        try:
            while not all(partition.done for partition in partitions) or self.copies:
                ready = [partition.step for partition in partitions if not partition.done and partition.ready()]
                choices = ready + [None] * len(self.copies)
                assert choices, "every partition waits for another"
                step = self.random.choice(choices)
                (step or self.copies.pop(self.random.randrange(len(self.copies))))()
        finally:
            for partition in partitions:
                partition.stopped = True
                partition.go.release()
        for partition in partitions:
            assert not partition.products and not partition.num_stores, "not waited for"
        for full, empty in zip(self.barriers[::2], self.barriers[1::2]):
            assert [b.phase for b in full] == [b.phase for b in empty], "a buffer filled is a buffer emptied"

    def wait(self, barrier: Barrier, phase: int) -> None:
        _me().pause(lambda: barrier.phase & 1 != phase)

    def arrive(self, barrier: Barrier, count: int = 1) -> None:
        barrier.settle(count, 0)

    def expect(self, barrier: Barrier, num_bytes: int) -> None:
        barrier.settle(1, num_bytes)

    def load_by_tma(self, descriptor: Descriptor, coordinates: Sequence[Any], barrier: Barrier, buffer: Buffer) -> None:
        at = [int(c) for c in coordinates]
        assert descriptor.block_type.shape == buffer.shape

        def copy() -> None:
            descriptor.load(at, buffer)
            barrier.settle(0, -descriptor.block_type.nbytes)

        self.copies.append(copy)

    def store_by_tma(self, descriptor: Descriptor, coordinates: Sequence[Any], buffer: Buffer) -> None:
        assert buffer.address not in self.unfenced, "a store by TMA of what is not fenced"
        at, partition = [int(c) for c in coordinates], _me()
        partition.num_stores += 1
        stored = buffer.data.copy()

        def copy() -> None:
            np.testing.assert_array_equal(buffer.data, stored, "a buffer changed under a copy")
            descriptor.store(at, buffer)
            partition.num_stores -= 1

        self.copies.append(copy)

    def fence(self) -> None:
        for address in [address for address, writer in self.unfenced.items() if writer is _me()]:
            del self.unfenced[address]

    def store_wait(self, pending: int) -> None:
        partition = _me()
        partition.pause(lambda: partition.num_stores <= pending)

    def multiply(self, a: Any, b: Buffer, total: Value, use_acc: bool = True, is_async: bool = False) -> Value:
        def product() -> np.ndarray:
            return a.data @ b.data

        early = product()
        result = Value(early + total.data if use_acc else early)
        result.in_flight = True

        def finish() -> None:
            np.testing.assert_array_equal(product(), early, "a buffer changed under a product")
            result.in_flight = False

        _me().products.append(finish)
        return result

    def multiply_wait(self, pending: int, deps: Sequence[Value]) -> Any:
        partition = _me()
        partition.pause(lambda: True)  # whoever may spoil an operand has its chance
        while len(partition.products) > pending:
            partition.products.pop(0)()
        return deps[0] if len(deps) == 1 else tuple(deps)

    def language(self) -> dict[str, Any]:
        """What stands for `gl` and for the names that the kernels import from Gluon's Hopper module."""

        def elementwise(f: Callable[..., Any]) -> Callable[..., Value]:
            def run(*arguments: Any) -> Value:
                with np.errstate(all="ignore"):
                    return Value(f(*(_data(x) for x in arguments)))

            return run

        def no_layout(*_: Any) -> None:
            return None

        fake = SimpleNamespace(
            program_id=lambda axis: Value(self.number), num_programs=lambda axis: Value(self.num_programs), where=elementwise(np.where),
            minimum=elementwise(np.minimum), maximum=elementwise(np.maximum), exp2=elementwise(np.exp2), log2=elementwise(np.log2),
            cdiv=elementwise(lambda a, b: (a + b - 1) // b), max=elementwise(np.max), sum=elementwise(np.sum),
            load=lambda pointer, mask=None, other=None: pointer.load(mask, other), store=lambda pointer, value, mask: pointer.store(value, mask),
            arange=lambda start, end, layout: Value(np.arange(start, end)), static_range=range, constexpr=None,
            zeros=lambda shape, dtype, layout: Value(np.zeros(shape, np.float32)),
            full=lambda shape, value, dtype, layout: Value(np.full(shape, value, np.float32)), convert_layout=lambda x, layout: x,
            allocate_shared_memory=self.allocate, warp_specialize=self.specialise, NVMMADistributedLayout=no_layout,
            DotOperandLayout=no_layout, SliceLayout=no_layout, BlockedLayout=no_layout, SwizzledSharedLayout=no_layout,
            float32=gl.float32, int32=gl.int32, int64=gl.int64,
        )  # fmt: skip

        def init(barrier: Barrier, count: int) -> None:
            barrier.count = barrier.pending = count

        return {
            "gl": fake,
            "mbarrier": SimpleNamespace(init=init, wait=self.wait, arrive=self.arrive, expect=self.expect, MBarrierLayout=no_layout),
            "tma": SimpleNamespace(
                async_copy_global_to_shared=self.load_by_tma, async_copy_shared_to_global=self.store_by_tma, store_wait=self.store_wait
            ),
            "fence_async_shared": self.fence, "warpgroup_mma": self.multiply, "warpgroup_mma_wait": self.multiply_wait,
        }  # fmt: skip


def _me() -> Partition:
    partition = threading.current_thread()
    assert isinstance(partition, Partition)
    return partition


def plain(kernel: GluonJITFunction, names: dict[str, Any]) -> Callable[..., Any]:
    """The kernel's Python function, and those that it calls, over other names for Gluon's."""
    made: dict[int, dict[str, Any]] = {}

    def rebuilt(function: Any) -> Callable[..., Any]:
        original = function.fn.__globals__
        if id(original) not in made:
            scope = made[id(original)] = dict(original)
            for name, value in original.items():
                if isinstance(value, GluonJITFunction):
                    scope[name] = rebuilt(value)
                elif isinstance(value, gl.constexpr):
                    scope[name] = value.value
            scope.update({name: value for name, value in names.items() if name in scope})
        return types.FunctionType(function.fn.__code__, made[id(original)], function.fn.__name__, function.fn.__defaults__)

    return rebuilt(kernel)


class Emulated:
    """A kernel that is launched as the original is, on CPU tensors, its programs one after another."""

    def __init__(self, kernel: GluonJITFunction, seed: int = 0):
        self.kernel, self.seed = kernel, seed

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            assert options.pop("num_warps") == 4
            given = dict(zip(self.kernel.arg_names, arguments)) | options
            assert set(given) == set(self.kernel.arg_names)
            for number in range(grid[0]):
                program = Program(number, grid[0], self.seed + number)
                wrapped = {name: value if name.isupper() else _argument(value) for name, value in given.items()}
                plain(self.kernel, program.language())(**wrapped)

        return launch


def _argument(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Pointer(value)
    return Descriptor(value) if hasattr(value, "block_shape") else Value(np.float32(value) if isinstance(value, float) else value)
