"""`paged_attention` in Triton: new keys and values are scattered into the cache, splits of each context are attended to, and merged.

A program takes a tile of a sequence's new queries, the G query heads that share a key-value head side by side, through one split of the
context: SPLIT keys, counted from position 0, in ascending tiles. It keeps, in base 2, the maximum m, the mass l and the sum o of its scores:

    m' = max(m, s),   l' = l 2^(m - m') + sum 2^(s - m'),   o' = o 2^(m - m') + sum 2^(s - m') v

Splits are merged by the same formula one after the other, in ascending order: by a kernel of its own where every split has its program, or
by the program that takes a tile through all of them, where there are queries enough to fill the device. Both give the same bits, and keys
that a query does not see leave it as it was, so a query's bits depend on its own position, query, keys and values alone: not on the other
sequences, on how many tokens are fed at a time or on which blocks hold them. A value that is not finite reaches earlier queries fed with it
(0 inf = NaN).

The packed `attention` (attention_triton.py) does not give these bits, but rounds apart: it carries one maximum through the whole document.
It would have to end a split at every multiple of SPLIT keys and merge it as here, over tiles of as many keys, and by products of one kind (at
least 64 rows, which are wgmma on sm_90).

Where the layout names sequences whose tables begin with the same blocks (shared_prefixes.py), the splits they share are read once: a tile then
holds the queries of a group of sequences, packed one after the other. A row of a tile does not feel the others, and the splits are merged as
before, so a query's bits are the same. Whether each split has its program is decided as without it; where it has not, nothing is shared.

Grids follow from shapes, and nothing waits for the device.
"""

# B sequences, T tokens fed now, Hq query heads, Hkv key-value heads, D head dimension, G = Hq / Hkv

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.flags import flag, is_debugging
from paradigm.kernels.flags_triton import raise_flag_of_rows
from paradigm.kernels.layout import Layout
from paradigm.kernels.shared_prefixes import SharedPrefixes, check_prefixes

SPLIT = 512  # keys
_PARTIAL_BYTES = 128 << 20  # of splits' sums kept to be merged; where they are more, a program takes a tile through all its splits
_LOG2E = tl.constexpr(math.log2(math.e))


@triton.jit
def _sequence_of(cu_seqlens, index, num_sequences, num_steps, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The sequence of a token (TILE = 0), or of a tile: sequence b has room for tiles cu_seqlens[b] // TILE + b and on."""
    low = index * 0
    high = low + num_sequences
    for _ in range(num_steps):
        middle = (low + high) // 2
        first = tl.load(cu_seqlens + middle)
        if TILE > 0:
            first = first // TILE + middle
        low = tl.where(first <= index, middle, low)
        high = tl.where(first <= index, high, middle)
    return low


@triton.jit
def _context_of(context_lengths, sequence, num_fed, capacity):  # type: ignore[no-untyped-def]
    """0 for a length that cannot be, which is less than num_fed: nothing is then written, and the result is 0 / 0."""
    context = tl.load(context_lengths + sequence)
    return tl.where((context >= num_fed) & (context <= capacity), context, 0)


@triton.jit
def _visible_keys(first, last, context, window, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The keys [start, stop) that queries at positions first to last see between them."""
    start, stop = 0, context
    if CAUSAL:
        stop = tl.minimum(context, last + 1)
    if WINDOWED:
        start = tl.maximum(0, first - window + 1)
    return start, stop


@triton.jit
def _merge(total, mass, maximum, more, more_mass, more_maximum):  # type: ignore[no-untyped-def]
    larger = tl.maximum(maximum, more_maximum)
    origin = tl.where(larger == float("-inf"), 0.0, larger)  # -inf - -inf would be NaN
    shrink, grow = tl.exp2(maximum - origin), tl.exp2(more_maximum - origin)
    return total * shrink[:, None] + more * grow[:, None], mass * shrink + more_mass * grow, larger


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    e = tl.exp2(-2.0 * _LOG2E * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0.0, -t, t)


@triton.jit(do_not_specialize=["num_sequences", "num_steps", "max_blocks"])
def _write_kernel(  # type: ignore[no-untyped-def]
    k, v, keys, values, cu_seqlens, context_lengths, slots, block_table, bad_contexts, k_stride, k_head_stride, v_stride, v_head_stride,
    num_sequences, num_steps, max_blocks, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    tokens = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    head = tl.program_id(1).to(tl.int64)
    sequence = _sequence_of(cu_seqlens, tokens, num_sequences, num_steps, 0)
    stop = tl.load(cu_seqlens + sequence + 1)
    num_fed = stop - tl.load(cu_seqlens + sequence)
    context = _context_of(context_lengths, sequence, num_fed, max_blocks * BLOCK_SIZE)
    position = context - stop + tokens
    raise_flag_of_rows(bad_contexts, (tokens < stop) & (context < num_fed), sequence, tl.load(context_lengths + sequence))
    is_token = (tokens < stop) & (position >= 0)
    slot = tl.load(slots + sequence).to(tl.int64)
    block = tl.load(block_table + slot * max_blocks + position // BLOCK_SIZE, mask=is_token, other=0).to(tl.int64)
    channels = tl.arange(0, BLOCK_D)
    here = is_token[:, None] & (channels < HEAD_DIM)[None, :]
    rows = tokens.to(tl.int64)[:, None]
    key = tl.load(k + rows * k_stride + head * k_head_stride + channels[None, :], mask=here, other=0.0)
    value = tl.load(v + rows * v_stride + head * v_head_stride + channels[None, :], mask=here, other=0.0)
    start = ((block * HEADS + head) * (HEAD_DIM * BLOCK_SIZE))[:, None]
    within = (position % BLOCK_SIZE)[:, None]
    tl.store(keys + start + channels[None, :] * BLOCK_SIZE + within, key, mask=here)
    tl.store(values + start + within * HEAD_DIM + channels[None, :], value, mask=here)


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    x, keys, values, blocks, head, here, context, start, stop, window, inner, outer, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    maximum = tl.full([BLOCK_M], float("-inf"), tl.float32)
    mass = tl.zeros([BLOCK_M], tl.float32)
    total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    channels = tl.arange(0, BLOCK_D)
    is_channel = channels < HEAD_DIM
    num_blocks = tl.cdiv(context, BLOCK_SIZE)
    for tile in range(start // BLOCK_N, tl.cdiv(stop, BLOCK_N)):
        there = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        is_block = there // BLOCK_SIZE < num_blocks  # by blocks, so that a block's keys are loaded at once; the scores are masked by keys
        block = tl.load(blocks + there // BLOCK_SIZE, mask=is_block, other=0).to(tl.int64)
        origin = (block * HEADS + head) * (HEAD_DIM * BLOCK_SIZE)
        within = there % BLOCK_SIZE
        key = tl.load(keys + (origin + within)[None, :] + channels[:, None] * BLOCK_SIZE, mask=is_channel[:, None] & is_block[None, :], other=0.0)
        score = tl.dot(x, key, input_precision=PRECISION)
        if SOFTCAP:
            score = _tanh(score * inner)
        visible = (there < context)[None, :]
        if CAUSAL:
            visible = visible & (there[None, :] <= here[:, None])
        if WINDOWED:
            visible = visible & (there[None, :] > here[:, None] - window)
        score = tl.where(visible, score * outer, float("-inf"))
        larger = tl.maximum(maximum, tl.max(score, 1))
        base = tl.where(larger == float("-inf"), 0.0, larger)
        p = tl.exp2(score - base[:, None])
        shrink = tl.exp2(maximum - base)
        mass = mass * shrink + tl.sum(p, 1)
        at = (origin + within * HEAD_DIM)[:, None] + channels[None, :]
        value = tl.load(values + at, mask=(there < context)[:, None] & is_channel[None, :], other=0.0)
        total = tl.dot(p.to(value.dtype), value, total * shrink[:, None], input_precision=PRECISION)
        maximum = larger
    return total, mass, maximum


@triton.jit(do_not_specialize=["num_sequences", "num_steps", "num_groups", "group_steps", "max_blocks", "max_splits", "window"])
def _prefix_kernel(  # type: ignore[no-untyped-def]
    q, keys, values, partial, masses, maxima, cu_seqlens, context_lengths, slots, block_table, shared, members, cuts, q_stride, q_head_stride,
    num_sequences, num_steps, num_groups, group_steps, max_blocks, max_splits, window, inner, outer, HEADS: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    QUERIES: tl.constexpr = BLOCK_M // GROUP
    tile = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    group = _sequence_of(cuts, tile, num_groups, group_steps, QUERIES)
    begin, end = tl.load(cuts + group), tl.load(cuts + group + 1)
    first = (tile - begin // QUERIES - group) * QUERIES
    if first >= end - begin:
        return
    leader = _sequence_of(cu_seqlens, tl.load(members + begin), num_sequences, num_steps, 0)
    if split >= tl.load(shared + leader):
        return
    rows = tl.arange(0, BLOCK_M)
    member = begin + first + rows // GROUP
    is_row = (rows < QUERIES * GROUP) & (member < end)
    tokens = tl.load(members + member, mask=is_row, other=0)
    sequence = _sequence_of(cu_seqlens, tokens, num_sequences, num_steps, 0)
    here = tl.load(context_lengths + sequence) - tl.load(cu_seqlens + sequence + 1) + tokens
    tokens = tokens.to(tl.int64)
    query_head = head * GROUP + rows % GROUP
    channels = tl.arange(0, BLOCK_D)
    is_channel = (channels < HEAD_DIM)[None, :]
    blocks = block_table + tl.load(slots + leader).to(tl.int64) * max_blocks
    at = (tokens * q_stride + query_head * q_head_stride)[:, None] + channels[None, :]
    x = tl.load(q + at, mask=is_row[:, None] & is_channel, other=0.0)
    total, mass, maximum = _attend(
        x, keys, values, blocks, head, here, (split + 1) * SPLIT, split * SPLIT, (split + 1) * SPLIT, window, inner, outer, HEADS, HEAD_DIM,
        BLOCK_SIZE, CAUSAL, WINDOWED, SOFTCAP, PRECISION, BLOCK_D, BLOCK_M, BLOCK_N,
    )  # fmt: skip
    tokens = tl.load(members + member, mask=is_row, other=0).to(tl.int64)  # again: registers are dearer than the cache
    part = (tokens * max_splits + split) * (HEADS * GROUP) + query_head
    tl.store(masses + part, mass, mask=is_row)
    tl.store(maxima + part, maximum, mask=is_row)
    tl.store(partial + part[:, None] * HEAD_DIM + channels[None, :], total, mask=is_row[:, None] & is_channel)


@triton.jit(do_not_specialize=["num_sequences", "num_steps", "max_blocks", "max_splits", "window", "is_shared"])
def _attention_kernel(  # type: ignore[no-untyped-def]
    q, keys, values, out, partial, masses, maxima, cu_seqlens, context_lengths, slots, block_table, shared, q_stride, q_head_stride,
    num_sequences, num_steps, max_blocks, max_splits, window, is_shared, inner, outer, HEADS: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr, IS_SPLIT: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, SOFTCAP: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    QUERIES: tl.constexpr = BLOCK_M // GROUP
    tile = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    sequence = _sequence_of(cu_seqlens, tile, num_sequences, num_steps, QUERIES)
    begin, end = tl.load(cu_seqlens + sequence), tl.load(cu_seqlens + sequence + 1)
    first = (tile - begin // QUERIES - sequence) * QUERIES
    if first >= end - begin:
        return
    context = _context_of(context_lengths, sequence, end - begin, max_blocks * BLOCK_SIZE)
    before = context - (end - begin)
    last = tl.minimum(first + QUERIES, end - begin) - 1
    start, stop = _visible_keys(before + first, before + last, context, window, CAUSAL, WINDOWED)
    rows = tl.arange(0, BLOCK_M)
    tokens = (begin + first + rows // GROUP).to(tl.int64)
    query_head = head * GROUP + rows % GROUP
    here = before + first + rows // GROUP
    is_row = (rows < QUERIES * GROUP) & (tokens < end)
    channels = tl.arange(0, BLOCK_D)
    is_channel = (channels < HEAD_DIM)[None, :]
    blocks = block_table + tl.load(slots + sequence).to(tl.int64) * max_blocks
    at = (tokens * q_stride + query_head * q_head_stride)[:, None] + channels[None, :]
    x = tl.load(q + at, mask=is_row[:, None] & is_channel, other=0.0)
    if IS_SPLIT:
        split = tl.program_id(2)
        if (split + 1) * SPLIT <= start or split * SPLIT >= stop:
            return
        if split < tl.load(shared + sequence, mask=is_shared != 0, other=0):
            return
        total, mass, maximum = _attend(
            x, keys, values, blocks, head, here, context, tl.maximum(start, split * SPLIT), tl.minimum(stop, (split + 1) * SPLIT), window, inner,
            outer, HEADS, HEAD_DIM, BLOCK_SIZE, CAUSAL, WINDOWED, SOFTCAP, PRECISION, BLOCK_D, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        part = (tokens * max_splits + split) * (HEADS * GROUP) + query_head
        tl.store(masses + part, mass, mask=is_row)
        tl.store(maxima + part, maximum, mask=is_row)
        tl.store(partial + part[:, None] * HEAD_DIM + channels[None, :], total, mask=is_row[:, None] & is_channel)
    else:
        maximum = tl.full([BLOCK_M], float("-inf"), tl.float32)
        mass = tl.zeros([BLOCK_M], tl.float32)
        total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
        for split in range(start // SPLIT, tl.cdiv(stop, SPLIT)):
            more, more_mass, more_maximum = _attend(
                x, keys, values, blocks, head, here, context, tl.maximum(start, split * SPLIT), tl.minimum(stop, (split + 1) * SPLIT), window,
                inner, outer, HEADS, HEAD_DIM, BLOCK_SIZE, CAUSAL, WINDOWED, SOFTCAP, PRECISION, BLOCK_D, BLOCK_M, BLOCK_N,
            )  # fmt: skip
            total, mass, maximum = _merge(total, mass, maximum, more, more_mass, more_maximum)
        result = (tokens * (HEADS * GROUP) + query_head)[:, None] * HEAD_DIM + channels[None, :]
        tl.store(out + result, (total / mass[:, None]).to(out.dtype.element_ty), mask=is_row[:, None] & is_channel)


@triton.jit(do_not_specialize=["num_sequences", "num_steps", "max_blocks", "max_splits", "window"])
def _combine_kernel(  # type: ignore[no-untyped-def]
    partial, masses, maxima, out, cu_seqlens, context_lengths, num_sequences, num_steps, max_blocks, max_splits, window, HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_H: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0)
    sequence = _sequence_of(cu_seqlens, token, num_sequences, num_steps, 0)
    begin, end = tl.load(cu_seqlens + sequence), tl.load(cu_seqlens + sequence + 1)
    if token >= end:
        return
    context = _context_of(context_lengths, sequence, end - begin, max_blocks * BLOCK_SIZE)
    position = context - end + token
    start, stop = _visible_keys(position, position, context, window, CAUSAL, WINDOWED)
    heads = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    channels = tl.arange(0, BLOCK_D)
    here = (heads < HEADS)[:, None] & (channels < HEAD_DIM)[None, :]
    maximum = tl.full([BLOCK_H], float("-inf"), tl.float32)
    mass = tl.zeros([BLOCK_H], tl.float32)
    total = tl.zeros([BLOCK_H, BLOCK_D], tl.float32)
    for split in range(start // SPLIT, tl.cdiv(stop, SPLIT)):
        part = (token.to(tl.int64) * max_splits + split) * HEADS + heads
        more_mass = tl.load(masses + part, mask=heads < HEADS, other=0.0)
        more_maximum = tl.load(maxima + part, mask=heads < HEADS, other=float("-inf"))
        more = tl.load(partial + part[:, None] * HEAD_DIM + channels[None, :], mask=here, other=0.0)
        total, mass, maximum = _merge(total, mass, maximum, more, more_mass, more_maximum)
    result = (token.to(tl.int64) * HEADS + heads)[:, None] * HEAD_DIM + channels[None, :]
    tl.store(out + result, (total / mass[:, None]).to(out.dtype.element_ty), mask=here)


_KEYS = {64: 128, 128: 64, 256: 32}  # of a tile, by padded head dimension


def configuration(dtype: torch.dtype, head_dim: int, group: int, *, hopper: bool = True) -> dict[str, Any]:
    """The tile sizes and options that `_attention_kernel` is launched with, whatever the batch: another tile could round otherwise."""
    block_d = max(16, triton.next_power_of_2(head_dim))
    if dtype == torch.float32:
        rows, keys, warps = (16, 32, 8) if hopper else (16, 16, 4)
    else:
        rows, keys = 64, _KEYS[max(64, block_d)] if hopper else max(32, _KEYS[max(64, block_d)] // 2)
        warps = 4 if head_dim == block_d <= 128 else 8  # masked channels need more registers
    tiles = {"BLOCK_D": block_d, "BLOCK_M": max(rows, triton.next_power_of_2(group)), "BLOCK_N": keys, "SPLIT": SPLIT}
    options = {"num_warps": warps, "num_stages": 3 if hopper else 2, "enable_fp_fusion": False}  # _merge is in two kernels
    return {"PRECISION": "ieee" if dtype == torch.float32 else "tf32", **tiles, **options}


WRITE_TILE = {"BLOCK_T": 16, "num_warps": 4}
COMBINE_TILE = {"BLOCK_H": 4, "num_warps": 4, "enable_fp_fusion": False}


def check_paged(q: Tensor, layout: Layout) -> None:
    """Raises ValueError for what the kernels do not take, of what `paged_attention` lets pass elsewhere."""
    if q.shape[2] > 256:
        raise ValueError(f"q's head dimension must be at most 256 on a GPU, got {q.shape[2]}")
    parts = ("cu_seqlens", "context_lengths", "slots", "block_table")
    for name, tensor in [*((part, getattr(layout, part)) for part in parts), ("the cache", layout.cache.keys)]:
        if tensor.device != q.device or (tensor.dtype != torch.int32 and name in parts):
            rule = f"int32 on {q.device}" if name in parts else f"on {q.device}"
            raise ValueError(f"{name} must be {rule}, got {tensor.dtype} on {tensor.device}")


def _check_prefixes(layout: Layout, prefixes: SharedPrefixes, split: int) -> None:
    for name, x in zip(prefixes._fields[:3], prefixes[:3]):
        if x.device != layout.cu_seqlens.device or x.dtype != torch.int32 or not x.is_contiguous():
            raise ValueError(f"prefixes.{name} must be int32, contiguous and on {layout.cu_seqlens.device}, got {x.dtype} on {x.device}")
    if prefixes.splits.numel() != layout.num_documents:
        raise ValueError(f"prefixes.splits must be of the layout's {layout.num_documents} sequences, got {prefixes.splits.numel()}")
    if is_debugging():
        of_batch = (layout.cu_seqlens, layout.context_lengths, layout.slots, layout.block_table)
        check_prefixes(prefixes, *of_batch, layout.cache.block_size, split)


def _with_unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()


def paged_attention_forward(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, layer: int, *, causal: bool, window: int | None, scale: float, softcap: float | None
) -> Tensor:
    """`paged_attention` for float32, bfloat16 and float16. A sequence whose context does not fit its table gets NaN."""
    check_paged(q, layout)
    q, k, v = _with_unit_stride(q), _with_unit_stride(k), _with_unit_stride(v)
    num_tokens, num_sequences = layout.num_tokens, layout.num_documents
    (_, query_heads, dim), kv_heads = q.shape, k.shape[1]
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    if not num_tokens or not num_sequences:
        return out
    keys, values, size = layout.cache.keys[layer], layout.cache.values[layer], layout.cache.block_size
    cuts, contexts, slots, table = (x.contiguous() for x in (layout.cu_seqlens, layout.context_lengths, layout.slots, layout.block_table))
    num_steps, max_blocks = num_sequences.bit_length(), table.shape[1]
    hopper = not q.is_cuda or torch.cuda.get_device_capability(q.device)[0] >= 9
    config = configuration(q.dtype, dim, query_heads // kv_heads, hopper=hopper)
    of_cache = {"HEAD_DIM": dim, "BLOCK_SIZE": size, "BLOCK_D": config["BLOCK_D"]}
    _write_kernel[(triton.cdiv(num_tokens, WRITE_TILE["BLOCK_T"]), kv_heads)](
        k, v, keys, values, cuts, contexts, slots, table, flag("context_lengths", q.device), *k.stride()[:2], *v.stride()[:2],
        num_sequences, num_steps, max_blocks,
        HEADS=kv_heads, **of_cache, **WRITE_TILE,
    )  # fmt: skip

    max_splits = triton.cdiv(max_blocks * size, config["SPLIT"])
    is_split = max_splits > 1 and 4 * num_tokens * max_splits * query_heads * dim <= _PARTIAL_BYTES
    partial, masses, maxima = (
        torch.empty(num_tokens * max_splits * query_heads * width if is_split else 1, device=q.device) for width in (dim, 1, 1)
    )
    num_tiles = num_tokens // (config["BLOCK_M"] // (query_heads // kv_heads)) + num_sequences
    inner, outer = (0.0, scale * _LOG2E.value) if softcap is None else (scale / softcap, softcap * _LOG2E.value)
    mask = {"CAUSAL": causal, "WINDOWED": window is not None}
    prefixes, group = layout.prefixes if is_split else None, query_heads // kv_heads
    if prefixes is not None:
        _check_prefixes(layout, prefixes, config["SPLIT"])
        num_groups = prefixes.cuts.numel() - 1
        _prefix_kernel[(prefixes.tokens.numel() // (config["BLOCK_M"] // group) + num_groups, kv_heads, prefixes.most)](
            q, keys, values, partial, masses, maxima, cuts, contexts, slots, table, prefixes.splits, prefixes.tokens, prefixes.cuts, *q.stride()[:2],
            num_sequences, num_steps, num_groups, num_groups.bit_length(), max_blocks, max_splits, window or 0, inner, outer, HEADS=kv_heads,
            GROUP=group, HEAD_DIM=dim, BLOCK_SIZE=size, **mask, SOFTCAP=softcap is not None, **config,
        )  # fmt: skip
    _attention_kernel[(num_tiles, kv_heads, max_splits if is_split else 1)](
        q, keys, values, out, partial, masses, maxima, cuts, contexts, slots, table, contexts if prefixes is None else prefixes.splits,
        *q.stride()[:2], num_sequences, num_steps, max_blocks, max_splits, window or 0, int(prefixes is not None), inner, outer, HEADS=kv_heads,
        GROUP=group, HEAD_DIM=dim, BLOCK_SIZE=size, IS_SPLIT=is_split, **mask, SOFTCAP=softcap is not None, **config,
    )  # fmt: skip
    if is_split:
        _combine_kernel[(num_tokens, triton.cdiv(query_heads, COMBINE_TILE["BLOCK_H"]))](
            partial, masses, maxima, out, cuts, contexts, num_sequences, num_steps, max_blocks, max_splits, window or 0, HEADS=query_heads,
            SPLIT=config["SPLIT"], **of_cache, **mask, **COMBINE_TILE,
        )  # fmt: skip
    return out
