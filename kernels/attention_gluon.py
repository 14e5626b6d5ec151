"""`attention`'s forward for Hopper in Gluon: warps that only load, and two groups of warps that multiply. Not yet run on a GPU.

The equations, and which tiles need a mask, are attention_triton.py's. A program takes tiles of 128 queries of one head, one after another,
from the same work list. Its producer, one warp, loads by TMA what its two consumers, four warps each, take: each has 64 of the queries, and
both have all keys. A consumer multiplies by asynchronous wgmma; while it takes the softmax of one tile of keys, the product of the tile before
with its values is under way, and the other consumer's products. Keys are taken from the last that is seen to the first: the tile on the diagonal,
which needs a mask, comes before the loop. A tile that a query does not see leaves it as it was, so a query's bits depend on its own
position, queries and keys alone; they are not those of the portable build, which sums in another order.

*Barriers.* Each buffer has two: full (the producer expects bytes, TMA delivers them) and empty (each consumer arrives once it has read).
Whoever uses buffer i of n for the r-th time, r = 0, 1, ..., waits for full with parity r & 1 and for empty with parity (r & 1) ^ 1, which a
new barrier lets pass. Producer and consumers count the same tiles in the same order, from the same work list by the same `_key_tiles`;
a tile of queries has one tile of keys at least, and an empty document has no tile of queries, so no loop is left out.

*Documents.* Within a document TMA must stop at its end: what follows is another's, and 0 NaN = NaN. Triton's tools/ragged_tma.py has the way: a
dimension of 2^30 rows whose end is put on the document's, and two more that move the address back, modulo 2^64. Loads past the end give zeros,
stores past it are dropped. Head dimensions that are no power of two are padded by the same bounds.
"""

# T tokens, Hq query heads, Hkv key-value heads, D head dimension

from __future__ import annotations

import math
from typing import Any

import torch
import triton
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_wait
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from paradigm.kernels.attention_tiles import query_tiles
from paradigm.kernels.layout import Layout

_LOG2E = gl.constexpr(math.log2(math.e))
_LN2 = gl.constexpr(math.log(2.0))
_ROWS = gl.constexpr(64)  # of a consumer: what one group of four warps multiplies at a time
_TILE = gl.constexpr(128)  # of both
_RAGGED = gl.constexpr(1 << 30)  # rows of a descriptor's dimension whose end is put on a document's


@gluon.jit
def load_rows(descriptor, document, length, row, head, barrier, buffer):  # type: ignore[no-untyped-def]
    """Starts the copy of rows row, row + 1, ... of one head of a document into a buffer: zeros past the document's end."""
    tma.async_copy_global_to_shared(descriptor, [_RAGGED, document + length, _RAGGED - length + row, head, 0], barrier, buffer)


@gluon.jit
def store_rows(descriptor, document, length, row, head, buffer):  # type: ignore[no-untyped-def]
    """Starts the copy of a buffer to rows row, row + 1, ... of one head of a document: those past its end are dropped."""
    tma.async_copy_shared_to_global(descriptor, [_RAGGED, document + length, _RAGGED - length + row, head, 0], buffer)


@gluon.jit
def matrix(buffer):  # type: ignore[no-untyped-def]
    """A buffer of TMA's five dimensions as [rows, channels]."""
    return buffer.reshape([buffer.shape[2], buffer.shape[4]])


@gluon.jit
def item_of(turn):  # type: ignore[no-untyped-def]
    """The place in the work list of this program's turn; turns go to and fro over the programs, so that the longest are shared out evenly."""
    programs = gl.num_programs(0)
    place = gl.program_id(0)
    return turn * programs + gl.where(turn % 2 == 1, programs - 1 - place, place)


@gluon.jit
def num_turns(num_items):  # type: ignore[no-untyped-def]
    turns = num_items // gl.num_programs(0)
    return turns + gl.where(item_of(turns) < num_items, 1, 0)


@gluon.jit
def key_range(length, first, window, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, BLOCK_N: gl.constexpr):  # type: ignore[no-untyped-def]
    """The tiles of keys [start, stop) that a tile of queries needs; those in [whole, whole_end) need no mask."""
    stop = length
    whole_end = length // BLOCK_N
    if CAUSAL:
        stop = gl.minimum(length, first + _TILE)
        whole_end = gl.minimum((first + 1) // BLOCK_N, whole_end)
    start = 0
    whole = 0
    if WINDOWED:
        start = gl.maximum(0, first - window + 1) // BLOCK_N
        whole = gl.cdiv(gl.maximum(0, first + _TILE - window), BLOCK_N)
    return start, whole, whole_end, gl.cdiv(stop, BLOCK_N)


@gluon.jit
def visible(query, key, length, window, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr):  # type: ignore[no-untyped-def]
    seen = key < length
    if CAUSAL:
        seen = seen & (key <= query)
    if WINDOWED:
        seen = seen & (key > query - window)
    return seen


@gluon.jit
def capped(score, inner):  # type: ignore[no-untyped-def]
    """tanh(inner score)"""
    return 1.0 - 2.0 / (1.0 + gl.exp2(score * (2.0 * _LOG2E * inner)))


@gluon.jit
def _softmax(score, maximum, mass, outer):  # type: ignore[no-untyped-def]
    larger = gl.maximum(maximum, gl.max(score, 1) * outer)
    origin = gl.where(larger == float("-inf"), 0.0, larger)  # -inf - -inf would be NaN
    p = gl.exp2(score * outer - origin[:, None])
    shrink = gl.exp2(maximum - origin)
    return p, shrink, larger, mass * shrink + gl.sum(p, 1)


@gluon.jit
def make_barriers(HELD: gl.constexpr, STAGES: gl.constexpr, ARRIVALS: gl.constexpr):  # type: ignore[no-untyped-def]
    """Full and empty: of what each consumer holds for a tile, and of the two tensors that stream past; ARRIVALS make the second's full."""
    held_full = gl.allocate_shared_memory(gl.int64, [2 * HELD, 1], mbarrier.MBarrierLayout())
    held_empty = gl.allocate_shared_memory(gl.int64, [2 * HELD, 1], mbarrier.MBarrierLayout())
    first_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    first_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    second_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    second_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(2 * HELD):
        mbarrier.init(held_full.index(i), count=1)
        mbarrier.init(held_empty.index(i), count=1)
    for i in gl.static_range(STAGES):
        mbarrier.init(first_full.index(i), count=1)
        mbarrier.init(first_empty.index(i), count=2)
        mbarrier.init(second_full.index(i), count=ARRIVALS)
        mbarrier.init(second_empty.index(i), count=2)
    return held_full, held_empty, first_full, first_empty, second_full, second_empty


@gluon.jit
def _produce(  # type: ignore[no-untyped-def]
    q, k, v, buffers, barriers, tiles, num_items, window, HEADS: gl.constexpr, GROUP: gl.constexpr, CAUSAL: gl.constexpr,
    WINDOWED: gl.constexpr, BLOCK_N: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    q_buffers, k_buffers, v_buffers = buffers
    q_full, q_empty, k_full, k_empty, v_full, v_empty = barriers
    step = 0
    for turn in range(num_turns(num_items)):
        item = item_of(turn)
        head = item % HEADS
        tile = tiles + item // HEADS * 5
        document, length, first = gl.load(tile), gl.load(tile + 1), gl.load(tile + 2)
        start, _, _, stop = key_range(length, first, window, CAUSAL, WINDOWED, BLOCK_N)
        for n in range(stop - start):
            row = (stop - 1 - n) * BLOCK_N
            slot = step % STAGES
            free = (step // STAGES & 1) ^ 1
            mbarrier.wait(k_empty.index(slot), free)
            mbarrier.expect(k_full.index(slot), k.block_type.nbytes)
            load_rows(k, document, length, row, head // GROUP, k_full.index(slot), k_buffers.index(slot))
            if n == 0:  # the first keys need not wait until the queries before are done with
                for part in gl.static_range(2):
                    place = turn % HELD * 2 + part
                    mbarrier.wait(q_empty.index(place), (turn // HELD & 1) ^ 1)
                    mbarrier.expect(q_full.index(place), q.block_type.nbytes)
                    load_rows(q, document, length, first + part * _ROWS, head, q_full.index(place), q_buffers.index(place))
            mbarrier.wait(v_empty.index(slot), free)
            mbarrier.expect(v_full.index(slot), v.block_type.nbytes)
            load_rows(v, document, length, row, head // GROUP, v_full.index(slot), v_buffers.index(slot))
            step += 1


@gluon.jit
def _consume(  # type: ignore[no-untyped-def]
    PART: gl.constexpr, out, buffers, barriers, lse, tiles, num_items, num_rows, inner, outer, window, HEADS: gl.constexpr,
    CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr, BLOCK_N: gl.constexpr, STAGES: gl.constexpr,
    HELD: gl.constexpr,
):  # fmt: skip
    q_buffers, k_buffers, v_buffers = buffers
    q_full, q_empty, k_full, k_empty, v_full, v_empty = barriers
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    of_total: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    of_weights: gl.constexpr = gl.DotOperandLayout(0, of_total, 2)
    of_queries: gl.constexpr = gl.SliceLayout(1, of_scores)
    of_keys: gl.constexpr = gl.SliceLayout(0, of_scores)
    zero = gl.zeros([_ROWS, BLOCK_N], gl.float32, of_scores)
    step = 0
    for turn in range(num_turns(num_items)):
        item = item_of(turn)
        head = item % HEADS
        tile = tiles + item // HEADS * 5
        document, length, first = gl.load(tile), gl.load(tile + 1), gl.load(tile + 2)
        start, whole, whole_end, stop = key_range(length, first, window, CAUSAL, WINDOWED, BLOCK_N)
        here = first + PART * _ROWS + gl.arange(0, _ROWS, of_queries)
        place = turn % HELD * 2 + PART
        slot = step % STAGES
        mbarrier.wait(q_full.index(place), turn // HELD & 1)
        q = matrix(q_buffers.index(place))
        mbarrier.wait(k_full.index(slot), step // STAGES & 1)
        score = warpgroup_mma(q, matrix(k_buffers.index(slot)).permute((1, 0)), zero, use_acc=False, is_async=True)
        score = warpgroup_mma_wait(0, deps=(score,))
        mbarrier.arrive(k_empty.index(slot), count=1)
        if SOFTCAP:
            score = capped(score, inner)
        there = (stop - 1) * BLOCK_N + gl.arange(0, BLOCK_N, of_keys)
        score = gl.where(visible(here[:, None], there[None, :], length, window, CAUSAL, WINDOWED), score, float("-inf"))
        maximum = gl.full([_ROWS], float("-inf"), gl.float32, of_queries)
        p, _, maximum, mass = _softmax(score, maximum, gl.zeros([_ROWS], gl.float32, of_queries), outer)
        weights = gl.convert_layout(p.to(k_buffers.dtype), of_weights)
        total = gl.zeros([_ROWS, BLOCK_D], gl.float32, of_total)
        step += 1
        for n in range(1, stop - start):
            number = stop - 1 - n
            slot = step % STAGES
            before = (step - 1) % STAGES
            mbarrier.wait(k_full.index(slot), step // STAGES & 1)
            score = warpgroup_mma(q, matrix(k_buffers.index(slot)).permute((1, 0)), zero, use_acc=False, is_async=True)
            mbarrier.wait(v_full.index(before), (step - 1) // STAGES & 1)
            total = warpgroup_mma(weights, matrix(v_buffers.index(before)), total, is_async=True)
            score = warpgroup_mma_wait(1, deps=(score,))
            mbarrier.arrive(k_empty.index(slot), count=1)
            if SOFTCAP:
                score = capped(score, inner)
            if WINDOWED or (CAUSAL and BLOCK_N < _TILE):
                if (number < whole) | (number >= whole_end):
                    there = number * BLOCK_N + gl.arange(0, BLOCK_N, of_keys)
                    score = gl.where(visible(here[:, None], there[None, :], length, window, CAUSAL, WINDOWED), score, float("-inf"))
            p, shrink, maximum, mass = _softmax(score, maximum, mass, outer)
            total = warpgroup_mma_wait(0, deps=(total,))
            mbarrier.arrive(v_empty.index(before), count=1)
            total = total * gl.convert_layout(shrink, gl.SliceLayout(1, of_total))[:, None]
            weights = gl.convert_layout(p.to(k_buffers.dtype), of_weights)
            step += 1
        last = (step - 1) % STAGES
        mbarrier.wait(v_full.index(last), (step - 1) // STAGES & 1)
        total = warpgroup_mma(weights, matrix(v_buffers.index(last)), total, is_async=True)
        gl.store(lse + head.to(gl.int64) * num_rows + document + here, (maximum + gl.log2(mass)) * _LN2, mask=here < length)
        total = warpgroup_mma_wait(0, deps=(total,))
        mbarrier.arrive(v_empty.index(last), count=1)
        q.store((total / gl.convert_layout(mass, gl.SliceLayout(1, of_total))[:, None]).to(k_buffers.dtype))  # the queries are done with
        fence_async_shared()
        store_rows(out, document, length, first + PART * _ROWS, head, q_buffers.index(place))
        tma.store_wait(0)
        mbarrier.arrive(q_empty.index(place), count=1)


@gluon.jit(do_not_specialize=["num_items", "num_rows", "window"])
def _attention_fwd_kernel(  # type: ignore[no-untyped-def]
    q, k, v, out, lse, tiles, num_items, num_rows, inner, outer, window, HEADS: gl.constexpr, GROUP: gl.constexpr, CAUSAL: gl.constexpr,
    WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr, BLOCK_N: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    q_buffers = gl.allocate_shared_memory(q.dtype, [2 * HELD] + q.block_type.shape, q.layout)
    k_buffers = gl.allocate_shared_memory(k.dtype, [STAGES] + k.block_type.shape, k.layout)
    v_buffers = gl.allocate_shared_memory(v.dtype, [STAGES] + v.block_type.shape, v.layout)
    barriers = make_barriers(HELD, STAGES, 1)
    buffers = (q_buffers, k_buffers, v_buffers)
    gl.warp_specialize(
        [
            (_consume, (0, out, buffers, barriers, lse, tiles, num_items, num_rows, inner, outer, window,
                        HEADS, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_N, STAGES, HELD)),
            (_consume, (1, out, buffers, barriers, lse, tiles, num_items, num_rows, inner, outer, window,
                        HEADS, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_N, STAGES, HELD)),
            (_produce, (q, k, v, buffers, barriers, tiles, num_items, window, HEADS, GROUP, CAUSAL, WINDOWED, BLOCK_N, STAGES, HELD)),
        ],
        [4, 1],  # warps of the second consumer and of the producer; the first consumer has the launch's
        [240, 24],  # registers of a thread; the first consumer gets what remains, 240
    )  # fmt: skip


# (BLOCK_N, STAGES, HELD): keys of a tile, tiles that are loaded ahead, tiles of queries; none spills a register, none has been timed
_SIZES = {64: (128, 4, 2), 128: (128, 2, 2), 256: (64, 2, 1)}


def configuration(head_dim: int) -> dict[str, int]:
    block_d = padded(head_dim)
    return dict(zip(("BLOCK_N", "STAGES", "HELD"), _SIZES[block_d]), BLOCK_D=block_d)


def padded(head_dim: int) -> int:
    """Channels of a tile: what a swizzled row of 128 bytes divides."""
    return max(64, triton.next_power_of_2(head_dim))


def descriptor(x: Tensor, rows: int) -> TensorDescriptor:
    """TMA's view of x [T, H, D], see `load_rows`: tiles of `rows` rows of one head, all channels."""
    block = [1, 1, rows, 1, padded(x.shape[2])]
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[x.dtype]
    _, heads, channels = x.shape
    row = x.stride(0)
    strides = [(1 << 34) - row, row, row, x.stride(1), 1]
    shape = [0x7FFF0000, 0x7FFF0000, _RAGGED.value, heads, channels]
    return TensorDescriptor(x, shape, strides, block, gl.NVMMASharedLayout.get_default_for(block, element))


def for_tma(x: Tensor) -> Tensor:
    """x [T, H, D], or a copy where TMA cannot read it: it needs multiples of 16 bytes, and channels side by side."""
    strides = [stride * x.element_size() for stride in x.stride()[:2]]
    if x.stride(2) == 1 and x.data_ptr() % 16 == 0 and all(stride > 0 and stride % 16 == 0 for stride in strides):
        return x
    return torch.empty(x.shape, dtype=x.dtype, device=x.device).copy_(x)


def num_programs(device: torch.device, num_items: int) -> int:
    return min(num_items, torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else num_items)


def constants(q: Tensor, k: Tensor, causal: bool, window: int | None, softcap: float | None) -> dict[str, Any]:
    return {
        "HEADS": q.shape[1], "GROUP": q.shape[1] // k.shape[1], "CAUSAL": causal, "WINDOWED": window is not None, "SOFTCAP": softcap is not None,
    }  # fmt: skip


def factors(scale: float, softcap: float | None) -> tuple[float, float]:
    """inner and outer: a score in base 2 is outer tanh(inner q . k), or outer q . k without a soft cap."""
    return (0.0, scale * _LOG2E.value) if softcap is None else (scale / softcap, softcap * _LOG2E.value)


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, causal: bool, window: int | None, scale: float, softcap: float | None, with_lse: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What attention_triton.py's `attention_forward` gives, for bfloat16 and float16 and layouts without parents."""
    del with_lse
    q, k, v = for_tma(q), for_tma(k), for_tma(v)
    num_rows, heads, head_dim = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    out[layout.num_tokens :].zero_()
    lse = torch.empty(heads, num_rows, device=q.device)
    tiles = query_tiles(layout, _TILE.value, causal, window, q.device)
    num_items = heads * len(tiles)
    if num_items:
        sizes = configuration(head_dim)
        loaded = [descriptor(x, rows) for x, rows in ((q, _ROWS.value), (k, sizes["BLOCK_N"]), (v, sizes["BLOCK_N"]), (out, _ROWS.value))]
        _attention_fwd_kernel[(num_programs(q.device, num_items),)](
            *loaded, lse, tiles, num_items, num_rows, *factors(scale, softcap), window or 0, **constants(q, k, causal, window, softcap), **sizes,
            num_warps=4,
        )  # fmt: skip
    return out, lse
