"""The backward of attention_gluon.py, in the same manner: warps that load, warps that multiply. Not yet run on a GPU.

As in the portable build there is a kernel for dQ, which also leaves each query's log-sum-exp and delta = sum dO O, and one for dK and dV; every
sum has one owner and one order, so gradients are the same bits in every run. That makes 7 products for the 5 that are needed.

In the first a consumer has 64 queries and their dO, and takes keys and values as they come; in the second it has 64 keys and their values, and takes
queries and dO, head after head of those that share the keys. There scores are transposed, so that what is multiplied by dO and by the
queries is in registers, and stays there. The producer brings each query's two numbers to shared memory beside its dO: an infinite
log-sum-exp past the document's end, which makes weights 0.
"""

# T tokens, Hq query heads, Hkv key-value heads, D head dimension

from __future__ import annotations

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_wait

from paradigm.kernels.attention_gluon import (
    _LOG2E,
    _ROWS,
    _TILE,
    capped,
    constants,
    descriptor,
    factors,
    for_tma,
    item_of,
    key_range,
    load_rows,
    make_barriers,
    matrix,
    num_programs,
    num_turns,
    padded,
    store_rows,
    visible,
)
from paradigm.kernels.attention_tiles import key_tiles, query_tiles
from paradigm.kernels.layout import Layout


@gluon.jit
def _produce_keys(  # type: ignore[no-untyped-def]
    q, grad, k, v, buffers, barriers, tiles, num_items, window, HEADS: gl.constexpr, GROUP: gl.constexpr, CAUSAL: gl.constexpr,
    WINDOWED: gl.constexpr, BLOCK_N: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    q_buffers, grad_buffers, k_buffers, v_buffers = buffers
    held_full, held_empty, k_full, k_empty, v_full, v_empty = barriers
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
            if n == 0:
                for part in gl.static_range(2):
                    place = turn % HELD * 2 + part
                    mbarrier.wait(held_empty.index(place), (turn // HELD & 1) ^ 1)
                    mbarrier.expect(held_full.index(place), 2 * q.block_type.nbytes)
                    load_rows(q, document, length, first + part * _ROWS, head, held_full.index(place), q_buffers.index(place))
                    load_rows(grad, document, length, first + part * _ROWS, head, held_full.index(place), grad_buffers.index(place))
            mbarrier.wait(v_empty.index(slot), free)
            mbarrier.expect(v_full.index(slot), v.block_type.nbytes)
            load_rows(v, document, length, row, head // GROUP, v_full.index(slot), v_buffers.index(slot))
            step += 1


@gluon.jit
def _consume_keys(  # type: ignore[no-untyped-def]
    PART: gl.constexpr, grad_q, buffers, barriers, out, lse, statistics, tiles, num_items, num_rows, scale, inner, outer, window,
    HEADS: gl.constexpr, HEAD_DIM: gl.constexpr, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr,
    BLOCK_N: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    q_buffers, grad_buffers, k_buffers, v_buffers = buffers
    held_full, held_empty, k_full, k_empty, v_full, v_empty = barriers
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    of_total: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    of_slopes: gl.constexpr = gl.DotOperandLayout(0, of_total, 2)
    of_queries: gl.constexpr = gl.SliceLayout(1, of_scores)
    of_rows: gl.constexpr = gl.BlockedLayout([1, 8], [256 // BLOCK_D, BLOCK_D // 8], [4, 1], [1, 0])
    zero = gl.zeros([_ROWS, BLOCK_N], gl.float32, of_scores)
    step = 0
    for turn in range(num_turns(num_items)):
        item = item_of(turn)
        head = item % HEADS
        tile = tiles + item // HEADS * 5
        document, length, first = gl.load(tile), gl.load(tile + 1), gl.load(tile + 2)
        start, whole, whole_end, stop = key_range(length, first, window, CAUSAL, WINDOWED, BLOCK_N)
        place = turn % HELD * 2 + PART
        row = (first + PART * _ROWS + gl.arange(0, _ROWS, gl.SliceLayout(1, of_rows)))[:, None]
        channel = gl.arange(0, BLOCK_D, gl.SliceLayout(0, of_rows))[None, :]
        at = out + ((document + row).to(gl.int64) * HEADS + head) * HEAD_DIM + channel
        result = gl.load(at, mask=(row < length) & (channel < HEAD_DIM), other=0.0).to(gl.float32)
        mbarrier.wait(held_full.index(place), turn // HELD & 1)
        q, grad = matrix(q_buffers.index(place)), matrix(grad_buffers.index(place))
        delta = gl.convert_layout(gl.sum(result * grad.load(of_rows).to(gl.float32), 1), of_queries)
        here = first + PART * _ROWS + gl.arange(0, _ROWS, of_queries)
        at = head.to(gl.int64) * num_rows + document + here
        normalizer = gl.load(lse + at, mask=here < length, other=0.0) * _LOG2E
        gl.store(statistics + at, normalizer, mask=here < length)
        gl.store(statistics + at + HEADS * num_rows.to(gl.int64), delta, mask=here < length)
        total = gl.zeros([_ROWS, BLOCK_D], gl.float32, of_total)
        for n in range(stop - start):
            number = stop - 1 - n
            slot = step % STAGES
            phase = step // STAGES & 1
            mbarrier.wait(k_full.index(slot), phase)
            score = warpgroup_mma(q, matrix(k_buffers.index(slot)).permute((1, 0)), zero, use_acc=False, is_async=True)
            mbarrier.wait(v_full.index(slot), phase)
            weighted = warpgroup_mma(grad, matrix(v_buffers.index(slot)).permute((1, 0)), zero, use_acc=False, is_async=True)
            score = warpgroup_mma_wait(1, deps=(score,))
            if SOFTCAP:
                score = capped(score, inner)
            p = gl.exp2(score * outer - normalizer[:, None])
            if (number < whole) | (number >= whole_end):
                there = number * BLOCK_N + gl.arange(0, BLOCK_N, gl.SliceLayout(0, of_scores))
                p = gl.where(visible(here[:, None], there[None, :], length, window, CAUSAL, WINDOWED), p, 0.0)
            if SOFTCAP:
                p = p * (1.0 - score * score)
            weighted = warpgroup_mma_wait(0, deps=(weighted,))
            mbarrier.arrive(v_empty.index(slot), count=1)
            slopes = gl.convert_layout((p * (weighted - delta[:, None])).to(k_buffers.dtype), of_slopes)
            total = warpgroup_mma(slopes, matrix(k_buffers.index(slot)), total, is_async=True)
            total = warpgroup_mma_wait(0, deps=(total,))
            mbarrier.arrive(k_empty.index(slot), count=1)
            step += 1
        q.store((total * scale).to(k_buffers.dtype))
        fence_async_shared()
        store_rows(grad_q, document, length, first + PART * _ROWS, head, q_buffers.index(place))
        tma.store_wait(0)
        mbarrier.arrive(held_empty.index(place), count=1)


@gluon.jit(do_not_specialize=["num_items", "num_rows", "window"])
def _attention_bwd_query_kernel(  # type: ignore[no-untyped-def]
    q, grad, k, v, grad_q, out, lse, statistics, tiles, num_items, num_rows, scale, inner, outer, window, HEADS: gl.constexpr,
    GROUP: gl.constexpr, HEAD_DIM: gl.constexpr, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr,
    BLOCK_N: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    q_buffers = gl.allocate_shared_memory(q.dtype, [2 * HELD] + q.block_type.shape, q.layout)
    grad_buffers = gl.allocate_shared_memory(q.dtype, [2 * HELD] + q.block_type.shape, q.layout)
    k_buffers = gl.allocate_shared_memory(k.dtype, [STAGES] + k.block_type.shape, k.layout)
    v_buffers = gl.allocate_shared_memory(k.dtype, [STAGES] + k.block_type.shape, k.layout)
    barriers = make_barriers(HELD, STAGES, 1)
    buffers = (q_buffers, grad_buffers, k_buffers, v_buffers)
    gl.warp_specialize(
        [
            (_consume_keys, (0, grad_q, buffers, barriers, out, lse, statistics, tiles, num_items, num_rows, scale, inner, outer, window,
                             HEADS, HEAD_DIM, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_N, STAGES, HELD)),
            (_consume_keys, (1, grad_q, buffers, barriers, out, lse, statistics, tiles, num_items, num_rows, scale, inner, outer, window,
                             HEADS, HEAD_DIM, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_N, STAGES, HELD)),
            (_produce_keys, (q, grad, k, v, buffers, barriers, tiles, num_items, window,
                             HEADS, GROUP, CAUSAL, WINDOWED, BLOCK_N, STAGES, HELD)),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip


@gluon.jit
def query_range(length, first, window, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, BLOCK_M: gl.constexpr):  # type: ignore[no-untyped-def]
    """The tiles of queries [start, stop) that see some key of a tile; those in [whole, whole_end) see all that are in the document."""
    start = 0
    whole = 0
    stop = length
    whole_end = length
    if CAUSAL:
        start = first // BLOCK_M
        whole = gl.cdiv(first + _TILE - 1, BLOCK_M)
    if WINDOWED:
        stop = gl.minimum(length, first + _TILE - 1 + window)
        whole_end = (first + window) // BLOCK_M
    return start, whole, whole_end, gl.cdiv(stop, BLOCK_M)


@gluon.jit
def _produce_queries(  # type: ignore[no-untyped-def]
    q, grad, k, v, buffers, barriers, statistics, tiles, num_items, num_rows, window, HEADS: gl.constexpr, GROUP: gl.constexpr,
    CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, BLOCK_M: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    k_buffers, v_buffers, q_buffers, grad_buffers, numbers = buffers
    held_full, held_empty, q_full, q_empty, grad_full, grad_empty = barriers
    kv_heads: gl.constexpr = HEADS // GROUP
    lane = gl.arange(0, BLOCK_M, gl.BlockedLayout([BLOCK_M // 32], [32], [1], [0]))
    step = 0
    for turn in range(num_turns(num_items)):
        item = item_of(turn)
        kv_head = item % kv_heads
        tile = tiles + item // kv_heads * 5
        document, length, first = gl.load(tile), gl.load(tile + 1), gl.load(tile + 2)
        start, _, _, stop = query_range(length, first, window, CAUSAL, WINDOWED, BLOCK_M)
        count = stop - start
        for n in range(GROUP * count):
            row = (start + n % count) * BLOCK_M
            head = kv_head * GROUP + n // count
            slot = step % STAGES
            free = (step // STAGES & 1) ^ 1
            mbarrier.wait(q_empty.index(slot), free)
            mbarrier.expect(q_full.index(slot), q.block_type.nbytes)
            load_rows(q, document, length, row, head, q_full.index(slot), q_buffers.index(slot))
            if n == 0:
                for part in gl.static_range(2):
                    place = turn % HELD * 2 + part
                    mbarrier.wait(held_empty.index(place), (turn // HELD & 1) ^ 1)
                    mbarrier.expect(held_full.index(place), 2 * k.block_type.nbytes)
                    load_rows(k, document, length, first + part * _ROWS, kv_head, held_full.index(place), k_buffers.index(place))
                    load_rows(v, document, length, first + part * _ROWS, kv_head, held_full.index(place), v_buffers.index(place))
            mbarrier.wait(grad_empty.index(slot), free)
            mbarrier.expect(grad_full.index(slot), grad.block_type.nbytes)
            load_rows(grad, document, length, row, head, grad_full.index(slot), grad_buffers.index(slot))
            at = statistics + head.to(gl.int64) * num_rows + document + row + lane
            is_query = row + lane < length
            numbers.index(2 * slot).store(gl.load(at, mask=is_query, other=float("inf")))
            numbers.index(2 * slot + 1).store(gl.load(at + HEADS * num_rows.to(gl.int64), mask=is_query, other=0.0))
            mbarrier.arrive(grad_full.index(slot), count=1)  # the second arrival: all lanes have stored
            step += 1


@gluon.jit
def _consume_queries(  # type: ignore[no-untyped-def]
    PART: gl.constexpr, grad_k, grad_v, buffers, barriers, tiles, num_items, scale, inner, outer, window, HEADS: gl.constexpr,
    GROUP: gl.constexpr, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr, BLOCK_M: gl.constexpr,
    STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    k_buffers, v_buffers, q_buffers, grad_buffers, numbers = buffers
    held_full, held_empty, q_full, q_empty, grad_full, grad_empty = barriers
    kv_heads: gl.constexpr = HEADS // GROUP
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_M, 16])  # a row is a key's
    of_total: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    of_weights: gl.constexpr = gl.DotOperandLayout(0, of_total, 2)
    of_queries: gl.constexpr = gl.SliceLayout(0, of_scores)
    zero = gl.zeros([_ROWS, BLOCK_M], gl.float32, of_scores)
    step = 0
    for turn in range(num_turns(num_items)):
        item = item_of(turn)
        kv_head = item % kv_heads
        tile = tiles + item // kv_heads * 5
        document, length, first = gl.load(tile), gl.load(tile + 1), gl.load(tile + 2)
        start, whole, whole_end, stop = query_range(length, first, window, CAUSAL, WINDOWED, BLOCK_M)
        count = stop - start
        there = first + PART * _ROWS + gl.arange(0, _ROWS, gl.SliceLayout(1, of_scores))
        place = turn % HELD * 2 + PART
        mbarrier.wait(held_full.index(place), turn // HELD & 1)
        key, value = matrix(k_buffers.index(place)), matrix(v_buffers.index(place))
        total_k = gl.zeros([_ROWS, BLOCK_D], gl.float32, of_total)
        total_v = gl.zeros([_ROWS, BLOCK_D], gl.float32, of_total)
        for n in range(GROUP * count):
            number = start + n % count
            slot = step % STAGES
            phase = step // STAGES & 1
            q, grad = matrix(q_buffers.index(slot)), matrix(grad_buffers.index(slot))
            mbarrier.wait(q_full.index(slot), phase)
            score = warpgroup_mma(key, q.permute((1, 0)), zero, use_acc=False, is_async=True)
            mbarrier.wait(grad_full.index(slot), phase)
            weighted = warpgroup_mma(value, grad.permute((1, 0)), zero, use_acc=False, is_async=True)
            score = warpgroup_mma_wait(1, deps=(score,))
            if SOFTCAP:
                score = capped(score, inner)
            p = gl.exp2(score * outer - numbers.index(2 * slot).load(of_queries)[None, :])
            if CAUSAL or WINDOWED:
                if (number < whole) | (number >= whole_end):
                    here = number * BLOCK_M + gl.arange(0, BLOCK_M, of_queries)
                    p = gl.where(visible(here[None, :], there[:, None], length, window, CAUSAL, WINDOWED), p, 0.0)
            weights = gl.convert_layout(p.to(k_buffers.dtype), of_weights)
            if SOFTCAP:
                p = p * (1.0 - score * score)
            weighted = warpgroup_mma_wait(0, deps=(weighted,))
            slopes = p * (weighted - numbers.index(2 * slot + 1).load(of_queries)[None, :])
            slopes = gl.convert_layout(slopes.to(k_buffers.dtype), of_weights)
            total_v = warpgroup_mma(weights, grad, total_v, is_async=True)
            total_k = warpgroup_mma(slopes, q, total_k, is_async=True)
            total_v = warpgroup_mma_wait(1, deps=(total_v,))
            mbarrier.arrive(grad_empty.index(slot), count=1)
            total_k = warpgroup_mma_wait(0, deps=(total_k,))
            mbarrier.arrive(q_empty.index(slot), count=1)
            step += 1
        key.store((total_k * scale).to(k_buffers.dtype))
        value.store(total_v.to(k_buffers.dtype))
        fence_async_shared()
        store_rows(grad_k, document, length, first + PART * _ROWS, kv_head, k_buffers.index(place))
        store_rows(grad_v, document, length, first + PART * _ROWS, kv_head, v_buffers.index(place))
        tma.store_wait(0)
        mbarrier.arrive(held_empty.index(place), count=1)


@gluon.jit(do_not_specialize=["num_items", "num_rows", "window"])
def _attention_bwd_key_kernel(  # type: ignore[no-untyped-def]
    q, grad, k, v, grad_k, grad_v, statistics, tiles, num_items, num_rows, scale, inner, outer, window, HEADS: gl.constexpr,
    GROUP: gl.constexpr, CAUSAL: gl.constexpr, WINDOWED: gl.constexpr, SOFTCAP: gl.constexpr, BLOCK_D: gl.constexpr, BLOCK_M: gl.constexpr,
    STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    k_buffers = gl.allocate_shared_memory(k.dtype, [2 * HELD] + k.block_type.shape, k.layout)
    v_buffers = gl.allocate_shared_memory(k.dtype, [2 * HELD] + k.block_type.shape, k.layout)
    q_buffers = gl.allocate_shared_memory(q.dtype, [STAGES] + q.block_type.shape, q.layout)
    grad_buffers = gl.allocate_shared_memory(q.dtype, [STAGES] + q.block_type.shape, q.layout)
    numbers = gl.allocate_shared_memory(gl.float32, [2 * STAGES, BLOCK_M], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    barriers = make_barriers(HELD, STAGES, 2)
    buffers = (k_buffers, v_buffers, q_buffers, grad_buffers, numbers)
    gl.warp_specialize(
        [
            (_consume_queries, (0, grad_k, grad_v, buffers, barriers, tiles, num_items, scale, inner, outer, window,
                                HEADS, GROUP, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_M, STAGES, HELD)),
            (_consume_queries, (1, grad_k, grad_v, buffers, barriers, tiles, num_items, scale, inner, outer, window,
                                HEADS, GROUP, CAUSAL, WINDOWED, SOFTCAP, BLOCK_D, BLOCK_M, STAGES, HELD)),
            (_produce_queries, (q, grad, k, v, buffers, barriers, statistics, tiles, num_items, num_rows, window,
                                HEADS, GROUP, CAUSAL, WINDOWED, BLOCK_M, STAGES, HELD)),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip


# (BLOCK, STAGES, HELD) of "query", whose BLOCK is of keys, and of "key", whose BLOCK is of queries; none spills a register, none has been timed
_SIZES = {64: ((128, 2, 2), (64, 3, 2)), 128: ((128, 2, 1), (32, 4, 2))}
_WITH_SOFTCAP = {64: (64, 4, 2), 128: (64, 2, 2)}  # of "query"


def fits(head_dim: int) -> bool:
    """Whether these kernels take the head dimension: at 256 a consumer's two sums would fill all its registers."""
    return padded(head_dim) in _SIZES


def configuration(head_dim: int, softcap: bool) -> dict[str, dict[str, int]]:
    block_d = padded(head_dim)
    query, key = _SIZES[block_d]
    query = _WITH_SOFTCAP[block_d] if softcap else query
    return {
        "query": dict(zip(("BLOCK_N", "STAGES", "HELD"), query), BLOCK_D=block_d),
        "key": dict(zip(("BLOCK_M", "STAGES", "HELD"), key), BLOCK_D=block_d),
    }


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, layout: Layout, causal: bool, window: int | None, scale: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """What attention_triton.py's `attention_backward` gives, for bfloat16 and float16, layouts without parents, and head dimensions that fit."""
    q, k, v, grad = (for_tma(x) for x in (q, k, v, grad))
    num_rows, heads, head_dim = q.shape
    grad_q, grad_k, grad_v = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    for x in (grad_q, grad_k, grad_v):
        x[layout.num_tokens :].zero_()
    by_query = query_tiles(layout, _TILE.value, causal, window, q.device)
    by_key, _ = key_tiles(layout, _TILE.value, causal, window, q.device)
    if len(by_query) and heads:
        sizes = configuration(head_dim, softcap is not None)
        statistics = torch.empty(2, heads, num_rows, device=q.device)  # of each query: its log-sum-exp in base 2, its delta
        numbers = (scale, *factors(scale, softcap), window or 0)
        options = {**constants(q, k, causal, window, softcap), "num_warps": 4}
        held, keys, queries = _ROWS.value, sizes["query"]["BLOCK_N"], sizes["key"]["BLOCK_M"]
        loaded = [descriptor(x, rows) for x, rows in ((q, held), (grad, held), (k, keys), (v, keys), (grad_q, held))]
        num_items = heads * len(by_query)
        _attention_bwd_query_kernel[(num_programs(q.device, num_items),)](
            *loaded, out, lse, statistics, by_query, num_items, num_rows, *numbers, HEAD_DIM=head_dim, **options, **sizes["query"]
        )
        loaded = [descriptor(x, rows) for x, rows in ((q, queries), (grad, queries), (k, held), (v, held), (grad_k, held), (grad_v, held))]
        num_items = k.shape[1] * len(by_key)
        _attention_bwd_key_kernel[(num_programs(q.device, num_items),)](
            *loaded, statistics, by_key, num_items, num_rows, *numbers, **options, **sizes["key"]
        )
    return grad_q, grad_k, grad_v
