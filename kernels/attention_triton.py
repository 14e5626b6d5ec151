"""`attention` in Triton, for CUDA devices of compute capability 8.0 and up: forward and a deterministic backward over packed documents.

The forward is FlashAttention-2's (Dao, arXiv:2307.08691): a program takes one tile of queries of one head through the keys, with a running
maximum m, mass l and sum o of the scores s = outer f(q . k), where outer = scale log2(e) and f the identity, or outer = softcap log2(e) and
f(x) = tanh(scale x / softcap):

    m' = max(m, s),   l' = l 2^(m - m') + sum 2^(s - m'),   o' = o 2^(m - m') + sum 2^(s - m') v

Keys come in tiles counted from position 0, the parent's first, and a tile that a query does not see leaves it as it was, so a query's bits
depend on its own position, queries and keys alone. Tiles that all queries of the program see whole are not masked. Within a document a
value that is not finite can reach earlier queries of its tile (0 inf = NaN).

The backward has one kernel for dQ, a program a tile of queries, and one for dK and dV, a program a tile of keys, which goes through
the queries that see it: its document's, then those of its children, head after head. Scores are computed in both, which makes 7 matrix
products for the 5 that are needed, but every sum has one owner and one order, with neither atomics nor a float32 copy of dQ in memory.
The first also leaves delta = sum dO O for the second, so there is no pass for it. A parent's keys meet all its children in one program.

Head dimensions that are no power of two are padded to one inside a tile, 32 at least: 96 costs what 128 does.
"""

# T tokens, Hq query heads, Hkv key-value heads, D head dimension

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.attention_tiles import key_tiles, query_tiles
from paradigm.kernels.layout import Layout

_LOG2E = tl.constexpr(math.log2(math.e))
_LN2 = tl.constexpr(math.log(2.0))


@triton.jit
def _load_rows(start, stride, rows, is_row, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    channels = tl.arange(0, BLOCK_D)
    at = start + rows.to(tl.int64)[:, None] * stride + channels[None, :]
    if MASKED:
        if HEAD_DIM == BLOCK_D:
            return tl.load(at, mask=is_row[:, None], other=0.0)
        return tl.load(at, mask=is_row[:, None] & (channels < HEAD_DIM)[None, :], other=0.0)
    if HEAD_DIM == BLOCK_D:
        return tl.load(at)
    return tl.load(at, mask=(channels < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def _store_rows(start, stride, rows, is_row, value, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    channels = tl.arange(0, BLOCK_D)
    at = start + rows.to(tl.int64)[:, None] * stride + channels[None, :]
    tl.store(at, value.to(start.dtype.element_ty), mask=is_row[:, None] & (channels < HEAD_DIM)[None, :])


@triton.jit
def _is_visible(query, key, num_keys, window, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr):  # type: ignore[no-untyped-def]
    visible = key < num_keys
    if CAUSAL:
        visible = visible & (key <= query)
    if WINDOWED:
        visible = visible & (key > query - window)
    return visible


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    e = tl.exp2(-2.0 * _LOG2E * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0.0, -t, t)


@triton.jit
def _key_bounds(  # type: ignore[no-untyped-def]
    length, first, before, window, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """The keys [start, stop) that a tile of queries needs; those in [whole, whole_end) need no mask."""
    stop = before + length
    start = 0
    whole = 0
    whole_end = stop // BLOCK_N * BLOCK_N
    if CAUSAL:
        stop = tl.minimum(stop, before + first + BLOCK_M)
        whole_end = (before + first + 1) // BLOCK_N * BLOCK_N
    if WINDOWED:
        start = tl.maximum(0, before + first - window + 1) // BLOCK_N * BLOCK_N
        whole = tl.cdiv(tl.maximum(0, before + first + BLOCK_M - window), BLOCK_N) * BLOCK_N
        whole = tl.minimum(tl.maximum(whole, start), tl.cdiv(stop, BLOCK_N) * BLOCK_N)
    return start, whole, tl.maximum(whole_end, whole), stop


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    total, mass, maximum, x, k, v, k_stride, v_stride, start, stop, document, prefix, before, num_keys, here, inner, outer, window,
    MASKED: tl.constexpr, PREFIXED: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    for n in range(start, stop, BLOCK_N):
        there = n + tl.arange(0, BLOCK_N)
        rows = document + there
        if PREFIXED:
            rows = tl.where(there < before, prefix + there, rows - before)
        key = _load_rows(k, k_stride, rows, there < num_keys, HEAD_DIM, BLOCK_D, MASKED)
        score = tl.dot(x, tl.trans(key), input_precision=PRECISION)
        if SOFTCAP:
            score = _tanh(score * inner)
        if MASKED:
            score = tl.where(_is_visible(here[:, None], there[None, :], num_keys, window, CAUSAL, WINDOWED), score, float("-inf"))
        larger = tl.maximum(maximum, tl.max(score, 1) * outer)
        origin = larger
        if MASKED:
            origin = tl.where(larger == float("-inf"), 0.0, larger)  # -inf - -inf would be NaN
        p = tl.exp2(score * outer - origin[:, None])
        shrink = tl.exp2(maximum - origin)
        mass = mass * shrink + tl.sum(p, 1)
        value = _load_rows(v, v_stride, rows, there < num_keys, HEAD_DIM, BLOCK_D, MASKED)
        total = tl.dot(p.to(value.dtype), value, total * shrink[:, None], input_precision=PRECISION)
        maximum = larger
    return total, mass, maximum


@triton.jit(do_not_specialize=["num_rows", "window"])
def _attention_fwd_kernel(  # type: ignore[no-untyped-def]
    q, k, v, out, lse, tiles, q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride, num_rows, inner, outer, window,
    HEADS: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PREFIXED: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr,
    SOFTCAP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    head = (tl.program_id(0) % HEADS).to(tl.int64)
    tile = tiles + tl.program_id(0) // HEADS * 5
    document, length, first = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    prefix, before = 0, 0
    if PREFIXED:
        prefix, before = tl.load(tile + 3), tl.load(tile + 4)
    queries = first + tl.arange(0, BLOCK_M)
    is_query = queries < length
    rows = document + queries
    x = _load_rows(q + head * q_head_stride, q_stride, rows, is_query, HEAD_DIM, BLOCK_D, True)
    k += head // GROUP * k_head_stride
    v += head // GROUP * v_head_stride
    start, whole, whole_end, stop = _key_bounds(length, first, before, window, CAUSAL, WINDOWED, BLOCK_M, BLOCK_N)
    here = before + queries
    num_keys = before + length
    maximum = tl.full([BLOCK_M], float("-inf"), tl.float32)
    mass = tl.zeros([BLOCK_M], tl.float32)
    total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    if WINDOWED:
        total, mass, maximum = _attend(
            total, mass, maximum, x, k, v, k_stride, v_stride, start, whole, document, prefix, before, num_keys, here, inner, outer, window,
            True, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
        )  # fmt: skip
    total, mass, maximum = _attend(
        total, mass, maximum, x, k, v, k_stride, v_stride, whole, whole_end, document, prefix, before, num_keys, here, inner, outer, window,
        False, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    total, mass, maximum = _attend(
        total, mass, maximum, x, k, v, k_stride, v_stride, whole_end, stop, document, prefix, before, num_keys, here, inner, outer, window,
        True, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    _store_rows(out + head * HEAD_DIM, HEADS * HEAD_DIM, rows, is_query, total / mass[:, None], HEAD_DIM, BLOCK_D)
    tl.store(lse + head * num_rows + rows, (maximum + tl.log2(mass)) * _LN2, mask=is_query)


@triton.jit
def _score_gradient(  # type: ignore[no-untyped-def]
    score, weighted, normalizer, delta, inner, outer, visible, MASKED: tl.constexpr, SOFTCAP: tl.constexpr
):  # fmt: skip
    """(p, dL/dscore over scale) from the products q . k and dO . v; normalizer is the log-sum-exp in base 2."""
    if SOFTCAP:
        score = _tanh(score * inner)
    p = tl.exp2(score * outer - normalizer)
    if MASKED:
        p = tl.where(visible, p, 0.0)
    grad = p * (weighted - delta)
    if SOFTCAP:
        grad = grad * (1.0 - score * score)
    return p, grad


@triton.jit
def _add_to_query_gradient(  # type: ignore[no-untyped-def]
    total, x, above, normalizer, delta, k, v, k_stride, v_stride, start, stop, document, prefix, before, num_keys, here, inner, outer, window,
    MASKED: tl.constexpr, PREFIXED: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    for n in range(start, stop, BLOCK_N):
        there = n + tl.arange(0, BLOCK_N)
        rows = document + there
        if PREFIXED:
            rows = tl.where(there < before, prefix + there, rows - before)
        key = _load_rows(k, k_stride, rows, there < num_keys, HEAD_DIM, BLOCK_D, MASKED)
        value = _load_rows(v, v_stride, rows, there < num_keys, HEAD_DIM, BLOCK_D, MASKED)
        score = tl.dot(x, tl.trans(key), input_precision=PRECISION)
        weighted = tl.dot(above, tl.trans(value), input_precision=PRECISION)
        visible = _is_visible(here[:, None], there[None, :], num_keys, window, CAUSAL, WINDOWED)
        _, grad = _score_gradient(score, weighted, normalizer[:, None], delta[:, None], inner, outer, visible, MASKED, SOFTCAP)
        total = tl.dot(grad.to(key.dtype), key, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=["num_rows", "window"])
def _attention_bwd_query_kernel(  # type: ignore[no-untyped-def]
    q, k, v, out, grad, lse, statistics, grad_q, tiles, q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride, grad_stride,
    grad_head_stride, num_rows, scale, inner, outer, window,
    HEADS: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PREFIXED: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr,
    SOFTCAP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    head = (tl.program_id(0) % HEADS).to(tl.int64)
    tile = tiles + tl.program_id(0) // HEADS * 5
    document, length, first = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    prefix, before = 0, 0
    if PREFIXED:
        prefix, before = tl.load(tile + 3), tl.load(tile + 4)
    queries = first + tl.arange(0, BLOCK_M)
    is_query = queries < length
    rows = document + queries
    above = _load_rows(grad + head * grad_head_stride, grad_stride, rows, is_query, HEAD_DIM, BLOCK_D, True)
    result = _load_rows(out + head * HEAD_DIM, HEADS * HEAD_DIM, rows, is_query, HEAD_DIM, BLOCK_D, True)
    delta = tl.sum(above.to(tl.float32) * result.to(tl.float32), 1)
    normalizer = tl.load(lse + head * num_rows + rows, mask=is_query, other=0.0) * _LOG2E
    tl.store(statistics + head * num_rows + rows, normalizer, mask=is_query)
    tl.store(statistics + (HEADS + head) * num_rows + rows, delta, mask=is_query)
    x = _load_rows(q + head * q_head_stride, q_stride, rows, is_query, HEAD_DIM, BLOCK_D, True)
    k += head // GROUP * k_head_stride
    v += head // GROUP * v_head_stride
    start, whole, whole_end, stop = _key_bounds(length, first, before, window, CAUSAL, WINDOWED, BLOCK_M, BLOCK_N)
    here = before + queries
    num_keys = before + length
    total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    if WINDOWED:
        total = _add_to_query_gradient(
            total, x, above, normalizer, delta, k, v, k_stride, v_stride, start, whole, document, prefix, before, num_keys, here, inner, outer,
            window, True, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
        )  # fmt: skip
    total = _add_to_query_gradient(
        total, x, above, normalizer, delta, k, v, k_stride, v_stride, whole, whole_end, document, prefix, before, num_keys, here, inner, outer,
        window, False, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    total = _add_to_query_gradient(
        total, x, above, normalizer, delta, k, v, k_stride, v_stride, whole_end, stop, document, prefix, before, num_keys, here, inner, outer,
        window, True, PREFIXED, CAUSAL, WINDOWED, SOFTCAP, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    _store_rows(grad_q + head * HEAD_DIM, HEADS * HEAD_DIM, rows, is_query, total * scale, HEAD_DIM, BLOCK_D)


@triton.jit
def _query_steps(  # type: ignore[no-untyped-def]
    length, offset, first, window, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """The first query of a segment that sees some key of a tile, and the number of tiles of queries; 1 at least, which may see nothing."""
    start = 0
    stop = length
    if CAUSAL:
        start = tl.maximum(0, first - offset) // BLOCK_M * BLOCK_M
    if WINDOWED:
        stop = tl.minimum(stop, first + BLOCK_N - 1 + window - offset)
    return start, tl.maximum(1, tl.cdiv(stop - start, BLOCK_M))


@triton.jit(do_not_specialize=["num_rows", "window"])
def _attention_bwd_key_kernel(  # type: ignore[no-untyped-def]
    q, k, v, grad, statistics, grad_k, grad_v, tiles, segments, q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride,
    grad_stride, grad_head_stride, num_rows, scale, inner, outer, window,
    HEADS: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PREFIXED: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr,
    SOFTCAP: tl.constexpr, PRECISION: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    kv_heads: tl.constexpr = HEADS // GROUP
    kv_head = (tl.program_id(0) % kv_heads).to(tl.int64)
    tile = tiles + tl.program_id(0) // kv_heads * 5
    document, num_keys, first = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    there = first + tl.arange(0, BLOCK_N)
    is_key = there < num_keys
    lane = tl.arange(0, BLOCK_M)
    key = _load_rows(k + kv_head * k_head_stride, k_stride, document + there, is_key, HEAD_DIM, BLOCK_D, True)
    value = _load_rows(v + kv_head * v_head_stride, v_stride, document + there, is_key, HEAD_DIM, BLOCK_D, True)
    total_k = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    total_v = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    # One loop over segments, heads and tiles: with loops in loops the compiler keeps the sums twice, and spills.
    row, length, offset, segment = document, num_keys, 0, 0
    num_steps = 0
    if PREFIXED:
        segment, last = tl.load(tile + 3), tl.load(tile + 4)
        for s in range(segment, last):
            entry = segments + s * 3
            start, count = _query_steps(tl.load(entry + 1), tl.load(entry + 2), first, window, CAUSAL, WINDOWED, BLOCK_M, BLOCK_N)
            num_steps += GROUP * count
    start, count = _query_steps(length, offset, first, window, CAUSAL, WINDOWED, BLOCK_M, BLOCK_N)
    if not PREFIXED:
        num_steps = GROUP * count
    step_of_segment = 0
    for _ in range(0, num_steps):
        if PREFIXED:
            entry = segments + segment * 3
            row, length, offset = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
            start, count = _query_steps(length, offset, first, window, CAUSAL, WINDOWED, BLOCK_M, BLOCK_N)
        head = kv_head * GROUP + step_of_segment // count
        m = start + step_of_segment % count * BLOCK_M
        step_of_segment += 1
        if PREFIXED:
            segment += (step_of_segment == GROUP * count).to(tl.int32)
            step_of_segment = tl.where(step_of_segment == GROUP * count, 0, step_of_segment)
        at = (row + m).to(tl.int64)  # one address for a tile: one for each query would fill the registers
        is_query = m + lane < length
        x = _load_rows(q + head * q_head_stride + at * q_stride, q_stride, lane, is_query, HEAD_DIM, BLOCK_D, True)
        score = tl.dot(key, tl.trans(x), input_precision=PRECISION)
        above = _load_rows(grad + head * grad_head_stride + at * grad_stride, grad_stride, lane, is_query, HEAD_DIM, BLOCK_D, True)
        weighted = tl.dot(value, tl.trans(above), input_precision=PRECISION)
        normalizer = tl.load(statistics + head * num_rows + at + lane, mask=is_query, other=0.0)
        delta = tl.load(statistics + (HEADS + head) * num_rows + at + lane, mask=is_query, other=0.0)
        visible = _is_visible((offset + m + lane)[None, :], there[:, None], offset + length, window, CAUSAL, WINDOWED)
        p, slope = _score_gradient(score, weighted, normalizer[None, :], delta[None, :], inner, outer, visible, CAUSAL or WINDOWED, SOFTCAP)
        total_v = tl.dot(p.to(above.dtype), above, total_v, input_precision=PRECISION)
        total_k = tl.dot(slope.to(x.dtype), x, total_k, input_precision=PRECISION)
    kept = HEADS // GROUP * HEAD_DIM
    _store_rows(grad_k + kv_head * HEAD_DIM, kept, document + there, is_key, total_k * scale, HEAD_DIM, BLOCK_D)
    _store_rows(grad_v + kv_head * HEAD_DIM, kept, document + there, is_key, total_v, HEAD_DIM, BLOCK_D)


# (BLOCK_M, BLOCK_N, num_warps, num_stages) of the kernels "forward", "query" and "key": tiles that spill no register, not yet timed on a GPU
_HOPPER = {
    64: ((128, 128, 8, 2), (128, 64, 8, 2), (64, 128, 8, 2)),
    128: ((128, 64, 8, 3), (128, 64, 8, 2), (32, 128, 8, 2)),
    256: ((128, 32, 8, 2), (64, 32, 8, 2), (16, 64, 8, 2)),
}
_AMPERE = {  # at most 99 KiB of shared memory, which is what consumer GPUs have
    64: ((128, 64, 8, 3), (128, 64, 8, 2), (64, 128, 8, 2)),
    128: ((128, 32, 8, 3), (128, 32, 8, 2), (64, 64, 8, 2)),
    256: ((64, 32, 8, 2), (32, 32, 4, 2), (16, 64, 8, 2)),
}
_FLOAT32 = {  # products without tensor cores; at 256 the backward spills with any tile, which is slow and no more
    64: ((32, 32, 8, 1),) * 3,
    128: ((32, 32, 8, 1), (16, 16, 8, 1), (16, 16, 8, 1)),
    256: ((16, 16, 8, 1),) * 3,
}


def configuration(dtype: torch.dtype, head_dim: int, capability: int = 90) -> dict[str, dict[str, Any]]:
    """Tile sizes and options of the kernels "forward", "query" and "key" on a device of compute capability 80, 90, ..."""
    block_d = max(32, triton.next_power_of_2(head_dim))
    table = _FLOAT32 if dtype == torch.float32 else _HOPPER if capability in (90, 100) else _AMPERE
    precision = "ieee" if dtype == torch.float32 else "tf32"
    return {
        name: {"PRECISION": precision, "BLOCK_D": block_d, "BLOCK_M": m, "BLOCK_N": n, "num_warps": warps, "num_stages": stages}
        for name, (m, n, warps, stages) in zip(("forward", "query", "key"), table[max(64, block_d)])
    }


def check_triton(q: Tensor, scale: float) -> None:
    """Raises ValueError for what the Triton kernels do not take, of what `check_attention` lets pass."""
    if q.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"q must be float32, bfloat16 or float16 on a GPU, got {q.dtype}")
    if q.shape[2] % 8 or not 0 < q.shape[2] <= 256:
        raise ValueError(f"q's head dimension must be a multiple of 8 and at most 256 on a GPU, got {q.shape[2]}")
    if not scale > 0:
        raise ValueError(f"scale must be > 0 on a GPU, got {scale}")
    if q.is_cuda and torch.cuda.get_device_capability(q.device) < (8, 0):
        raise ValueError(f"q must be on a device of compute capability 8.0 or more, got {torch.cuda.get_device_capability(q.device)}")


def _with_unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()


def _sizes(q: Tensor) -> dict[str, dict[str, Any]]:
    major, minor = torch.cuda.get_device_capability(q.device) if q.is_cuda else (9, 0)
    return configuration(q.dtype, q.shape[2], 10 * major + minor)


def _constants(q: Tensor, k: Tensor, layout: Layout, causal: bool, window: int | None, softcap: float | None) -> dict[str, Any]:
    heads = {"HEADS": q.shape[1], "GROUP": q.shape[1] // k.shape[1], "HEAD_DIM": q.shape[2]}
    return {**heads, "PREFIXED": layout.parent is not None, "CAUSAL": causal, "WINDOWED": window is not None, "SOFTCAP": softcap is not None}


def _factors(scale: float, softcap: float | None) -> tuple[float, float]:
    """inner and outer: a score in base 2 is outer tanh(inner q . k), or outer q . k without a soft cap."""
    return (0.0, scale * _LOG2E.value) if softcap is None else (scale / softcap, softcap * _LOG2E.value)


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, causal: bool, window: int | None, scale: float, softcap: float | None, with_lse: bool = True,
    *, sizes: dict[str, dict[str, Any]] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out [T, Hq, D], log-sum-exp of the scores float32 [Hq, T]) for the backward, both 0 in rows past the layout's tokens.

    Raises: ValueError for dtypes, head dimensions, scales and devices that the kernels do not take.
    """
    del with_lse  # it costs too little to leave out
    check_triton(q, scale)
    q, k, v = _with_unit_stride(q), _with_unit_stride(k), _with_unit_stride(v)
    num_rows, heads, _ = q.shape
    tile = (sizes or _sizes(q))["forward"]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    out[layout.num_tokens :].zero_()
    lse = torch.empty(heads, num_rows, device=q.device)
    lse[:, layout.num_tokens :].zero_()
    tiles = query_tiles(layout, tile["BLOCK_M"], causal, window, q.device)
    if len(tiles) and heads:
        strides = [stride for x in (q, k, v) for stride in x.stride()[:2]]
        _attention_fwd_kernel[(heads * len(tiles),)](
            q, k, v, out, lse, tiles, *strides, num_rows, *_factors(scale, softcap), window or 0,
            **_constants(q, k, layout, causal, window, softcap), **tile,
        )  # fmt: skip
    return out, lse


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, layout: Layout, causal: bool, window: int | None, scale: float,
    softcap: float | None, *, sizes: dict[str, dict[str, Any]] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v, from that of `attention_forward`'s result and what it returned; 0 in rows past the layout's tokens."""
    q, k, v, grad = (_with_unit_stride(x) for x in (q, k, v, grad))
    num_rows, heads, _ = q.shape
    sizes = sizes or _sizes(q)
    grad_q, grad_k, grad_v = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    for x in (grad_q, grad_k, grad_v):
        x[layout.num_tokens :].zero_()
    by_query = query_tiles(layout, sizes["query"]["BLOCK_M"], causal, window, q.device)
    by_key, segments = key_tiles(layout, sizes["key"]["BLOCK_N"], causal, window, q.device)
    if len(by_query) and heads:
        statistics = torch.empty(2, heads, num_rows, device=q.device)  # of each query: its log-sum-exp in base 2, its delta
        strides = [stride for x in (q, k, v, grad) for stride in x.stride()[:2]]
        factors = (scale, *_factors(scale, softcap), window or 0)
        constants = _constants(q, k, layout, causal, window, softcap)
        _attention_bwd_query_kernel[(heads * len(by_query),)](
            q, k, v, out, grad, lse, statistics, grad_q, by_query, *strides, num_rows, *factors, **constants, **sizes["query"]
        )
        _attention_bwd_key_kernel[(k.shape[1] * len(by_key),)](
            q, k, v, grad, statistics, grad_k, grad_v, by_key, segments, *strides, num_rows, *factors, **constants, **sizes["key"]
        )
    return grad_q, grad_k, grad_v
