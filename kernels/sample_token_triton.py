"""`sample_token` in Triton: one pass over the logits, and without a sort the passes that filters need.

Of each tile of a row a program keeps the maximum m of the logits, sum exp((x - m) / T), the same over the kept tokens, and the best score
(x - m) / T - log(-log1p(-u)) with its token; a program a row puts the tiles together, in float64. Scores are float32, so a token differs from the
C++ core's, which draws in float64, where the best two scores are within a few float32 roundings of each other.

A filter is a cut in the order (logit descending, id ascending): all larger logits are kept, and of those equal to the cut's the first few ids. Logits
are read as unsigned integers of the same order, and the cut's is found four bits at a time, from the top: it is the largest t for which the tokens
with key >= t number top_k, or have the mass top_p of all. Masses are integers, in units of 2^-40 of the largest, so their sums have no order.
A tile whose maximum lies below the bits found is not read again.

The head's product is not part of the pass: the logits are in memory, and their log-sum-exp is not bitwise `linear_logprob`'s. It is in
linear_sample_token_triton.py.
"""

# N rows, V vocabulary, T tiles

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.sample_token import Draw
from paradigm.kernels.support import Support, readable

TILE = 1024  # tokens
_ALL = tl.constexpr(2**31 - 1)  # an id past every token: ties with the cut are all kept
_INFINITY = tl.constexpr(float("inf"))


@triton.jit
def _legal_logits(  # type: ignore[no-untyped-def]
    logits, support, table, row, tokens, vocabulary, stride, num_words, HAS_SUPPORT: tl.constexpr
):  # fmt: skip
    """The row's logits at `tokens`, -inf where a token is illegal or past the end."""
    is_token = tokens < vocabulary
    x = tl.load(logits + row.to(tl.int64) * stride + tokens, mask=is_token, other=-_INFINITY)
    if HAS_SUPPORT:
        mask_id = tl.load(support + row)
        at = tl.maximum(mask_id, 0).to(tl.int64) * num_words + tokens // 32
        word = tl.load(table + at, mask=is_token & (mask_id >= 0), other=-1)
        x = tl.where(((word >> (tokens % 32)) & 1) != 0, x, -_INFINITY)
    return x


@triton.jit
def _key_of(x):  # type: ignore[no-untyped-def]
    """Unsigned integers in the order of the numbers; both zeros are one."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.uint32, bitcast=True) ^ 0x80000000


@triton.jit
def _logit_of(key):  # type: ignore[no-untyped-def]
    bits = (key ^ 0x80000000).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _is_kept(x, tokens, cut_logit, cut_id):  # type: ignore[no-untyped-def]
    return (x > cut_logit) | ((x == cut_logit) & (tokens <= cut_id) & (x > -_INFINITY))


@triton.jit
def _noise_bits(key, trajectory, position, first, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """uint32 [TILE]: Philox's words of tokens first, first + 1, ...; `first` is a multiple of 4."""
    words = (first // 4 + tl.arange(0, TILE // 4)).to(tl.uint32)
    zeros = words * 0
    low = (trajectory & 0xFFFFFFFF).to(tl.uint32)
    high = ((trajectory >> 32) & 0xFFFFFFFF).to(tl.uint32)
    a, b, c, d = tl.philox(key, words, zeros + position.to(tl.uint32, bitcast=True), zeros + low, zeros + high)
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), [TILE])


@triton.jit
def _gumbel(bits):  # type: ignore[no-untyped-def]
    """-log(-log1p(-u)), u = (bits + 1/2) 2^-32, to a few roundings wherever u lies."""
    u = (bits.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    above = ((bits ^ 0xFFFFFFFF).to(tl.float32) + 0.5) * 2.3283064365386963e-10  # 1 - u, not rounded to a difference
    w = tl.where(u < 0.5, 1.0 - u, above)
    e = -tl.log(w)
    gap = 1.0 - w
    e = tl.where(u < 0.5, tl.where(gap > 0.0, e * (u / tl.where(gap > 0.0, gap, 1.0)), u), e)  # Kahan's log1p
    return -tl.log(e)


@triton.jit
def _maximum_kernel(  # type: ignore[no-untyped-def]
    logits, support, table, temperature, top_k, top_p, min_p, maximum, vocabulary, stride, num_words, HAS_SUPPORT: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    row, tile = tl.program_id(0), tl.program_id(1)
    is_filtered = (tl.load(top_k + row) > 0) | (tl.load(top_p + row) < 1.0) | (tl.load(min_p + row) > 0.0)
    if (tl.load(temperature + row) == 0.0) | (is_filtered == 0):
        return
    x = _legal_logits(logits, support, table, row, tile * TILE + tl.arange(0, TILE), vocabulary, stride, num_words, HAS_SUPPORT)
    tl.store(maximum + row.to(tl.int64) * tl.num_programs(1) + tile, tl.max(x, 0))


@triton.jit
def _weights(x, tokens, cut_logit, cut_id, top, inverse, BY_MASS: tl.constexpr):  # type: ignore[no-untyped-def]
    kept = _is_kept(x, tokens, cut_logit, cut_id)
    if BY_MASS:
        d = tl.where(kept, x - top, -_INFINITY) * inverse
        return (tl.exp(d) * 1099511627776.0).to(tl.int64)
    return kept.to(tl.int64)


@triton.jit
def _cut_at(  # type: ignore[no-untyped-def]
    logits, support, table, maximum, row, cut_logit, cut_id, top, inverse, share, vocabulary, stride, num_words, BY_MASS: tl.constexpr,
    HAS_SUPPORT: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The cut behind `share` of the tokens that the given cut keeps: so many of them, or this part of their mass; the given one if too few."""
    num_tiles = tl.cdiv(vocabulary, TILE)
    maximum += row.to(tl.int64) * num_tiles
    found = row.to(tl.uint32) * 0
    before = row.to(tl.int64) * 0  # weight of keys above those that are still in question
    total = before
    target = before.to(tl.float64)
    is_cut = row >= 0
    digits = tl.arange(0, 16)
    for step in range(8):
        shift = 28 - 4 * step
        edges = found + (digits << shift).to(tl.uint32)
        sums = tl.zeros([16, BLOCK], tl.int64)
        for tile in range(num_tiles):
            if _key_of(tl.load(maximum + tile)) >= found:
                for start in range(0, TILE, BLOCK):
                    tokens = tile * TILE + start + tl.arange(0, BLOCK)
                    x = _legal_logits(logits, support, table, row, tokens, vocabulary, stride, num_words, HAS_SUPPORT)
                    weight = _weights(x, tokens, cut_logit, cut_id, top, inverse, BY_MASS)
                    sums += tl.where(_key_of(x)[None, :] >= edges[:, None], weight[None, :], 0)
        reach = tl.sum(sums, 1)
        if step == 0:
            total = tl.max(reach, 0)
            target = share.to(tl.float64)
            if BY_MASS:
                target = target * total.to(tl.float64)
            is_cut = total.to(tl.float64) >= target
        digit = tl.max(tl.where(reach.to(tl.float64) >= target, digits, 0), 0)
        before = tl.where(digit < 15, tl.max(tl.where(digits > digit, reach, 0), 0), before)
        total = tl.max(tl.where(digits == digit, reach, 0), 0)
        found += (digit << shift).to(tl.uint32)
    logit = _logit_of(found)
    if BY_MASS:
        each = tl.maximum((tl.exp((logit - top) * inverse) * 1099511627776.0).to(tl.int64), 1)
    else:
        each = before * 0 + 1
    missing = tl.maximum(tl.ceil((target - before.to(tl.float64)) / each.to(tl.float64)).to(tl.int64), 1)  # tokens of the cut's logit to keep
    last = row * 0 + _ALL
    if is_cut & (before + missing * each < total):
        seen = before * 0
        for tile in range(num_tiles):
            if _key_of(tl.load(maximum + tile)) >= found:
                tokens = tile * TILE + tl.arange(0, TILE)
                x = _legal_logits(logits, support, table, row, tokens, vocabulary, stride, num_words, HAS_SUPPORT)
                tie = ((x == logit) & _is_kept(x, tokens, cut_logit, cut_id)).to(tl.int32)
                place = seen + tl.cumsum(tie, 0)
                last = tl.minimum(last, tl.min(tl.where((tie != 0) & (place == missing), tokens, _ALL), 0))
                seen += tl.sum(tie, 0)
    else:
        last = tl.where(logit == cut_logit, cut_id, last)
    return tl.where(is_cut, logit, cut_logit), tl.where(is_cut, last, cut_id)


@triton.jit
def _min_p_logit(min_p, top, inverse):  # type: ignore[no-untyped-def]
    """The smallest logit x with (x - top) inverse >= log(min_p), by bisection of its key: the C++ core's, bit for bit."""
    lowest = tl.log(min_p.to(tl.float64)).to(tl.float32)
    low = _key_of(top * 0.0 - _INFINITY).to(tl.int64)
    high = _key_of(top).to(tl.int64)
    for _ in range(32):
        middle = low + (high - low) // 2
        is_in = (_logit_of(middle.to(tl.uint32)) - top) * inverse >= lowest
        is_open = high - low > 1
        high = tl.where(is_open & is_in, middle, high)
        low = tl.where(is_open & (is_in == 0), middle, low)
    return _logit_of(high.to(tl.uint32))


@triton.jit
def _cut_kernel(  # type: ignore[no-untyped-def]
    logits, support, table, temperature, top_k, top_p, min_p, maximum, cut_logits, cut_ids, vocabulary, stride, num_words, HAS_SUPPORT: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    k, p, least, heat = tl.load(top_k + row), tl.load(top_p + row), tl.load(min_p + row), tl.load(temperature + row)
    cut_logit = heat * 0.0 - _INFINITY
    cut_id = row * 0 + _ALL
    if (heat > 0.0) & ((k > 0) | (p < 1.0) | (least > 0.0)):
        num_tiles = tl.cdiv(vocabulary, TILE)
        tiles = tl.arange(0, BLOCK_T)
        top = tl.max(tl.load(maximum + row.to(tl.int64) * num_tiles + tiles, mask=tiles < num_tiles, other=-_INFINITY), 0)
        inverse = tl.div_rn(1.0, heat)
        if (k > 0) & (k < vocabulary):
            cut_logit, cut_id = _cut_at(
                logits, support, table, maximum, row, cut_logit, cut_id, top, inverse, k, vocabulary, stride, num_words, False, HAS_SUPPORT, TILE,
                BLOCK,
            )  # fmt: skip
        if p < 1.0:
            cut_logit, cut_id = _cut_at(
                logits, support, table, maximum, row, cut_logit, cut_id, top, inverse, p, vocabulary, stride, num_words, True, HAS_SUPPORT, TILE,
                BLOCK,
            )  # fmt: skip
        if least > 0.0:
            lowest = _min_p_logit(least, top, inverse)
            cut_id = tl.where(lowest > cut_logit, _ALL, cut_id)
            cut_logit = tl.maximum(cut_logit, lowest)
    tl.store(cut_logits + row, cut_logit)
    tl.store(cut_ids + row, cut_id)


@triton.jit
def _tile_kernel(  # type: ignore[no-untyped-def]
    logits, support, table, temperature, key, trajectory, position, cut_logits, cut_ids, maximum, mass, kept_mass, best, best_id, vocabulary, stride,
    num_words, HAS_SUPPORT: tl.constexpr, IS_FILTERED: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row, tile = tl.program_id(0), tl.program_id(1)
    tokens = tile * TILE + tl.arange(0, TILE)
    x = _legal_logits(logits, support, table, row, tokens, vocabulary, stride, num_words, HAS_SUPPORT)
    heat = tl.load(temperature + row)
    inverse = tl.div_rn(1.0, tl.where(heat == 0.0, 1.0, heat))
    top = tl.max(x, 0)
    d = tl.where(x > -_INFINITY, x - tl.where(top == -_INFINITY, 0.0, top), -_INFINITY) * inverse  # -inf - -inf would be NaN
    e = tl.exp(d)
    bits = _noise_bits(tl.load(key + row), tl.load(trajectory + row), tl.load(position + row), tile * TILE, TILE)
    score = d + tl.where(heat == 0.0, 0.0, _gumbel(bits))
    out = row.to(tl.int64) * tl.num_programs(1) + tile
    if IS_FILTERED:
        kept = _is_kept(x, tokens, tl.load(cut_logits + row), tl.load(cut_ids + row))
        score = tl.where(kept, score, -_INFINITY)
        tl.store(kept_mass + out, tl.sum(tl.where(kept, e, 0.0), 0))
    highest = tl.max(score, 0)
    tl.store(best + out, highest)
    tl.store(best_id + out, tl.min(tl.where(score == highest, tokens, _ALL), 0))
    tl.store(mass + out, tl.sum(e, 0))
    is_number = tl.min((x < _INFINITY).to(tl.int32), 0) != 0
    tl.store(maximum + out, tl.where(is_number, top, _INFINITY))


@triton.jit
def _combine_kernel(  # type: ignore[no-untyped-def]
    logits, support, temperature, cut_logits, maximum, mass, kept_mass, best, best_id, ids, logprobs, kept_logmass, num_tiles, stride, num_masks,
    IS_FILTERED: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    tiles = tl.arange(0, BLOCK_T)
    here = tiles < num_tiles
    at = row.to(tl.int64) * num_tiles + tiles
    m = tl.load(maximum + at, mask=here, other=-_INFINITY)
    top = tl.max(m, 0)
    mask_id = tl.load(support + row)
    is_good = (top > -_INFINITY) & (top < _INFINITY) & ((num_masks < 0) | ((mask_id >= -1) & (mask_id < num_masks)))
    heat = tl.load(temperature + row)
    is_greedy = heat == 0.0
    heat = tl.where(is_greedy, 1.0, heat)
    below = tl.where(m > -_INFINITY, m - tl.where(is_good, top, 0.0), -_INFINITY) * tl.div_rn(1.0, heat)
    shrink = tl.exp(below).to(tl.float64)
    total = tl.sum(tl.load(mass + at, mask=here, other=0.0).to(tl.float64) * shrink, 0)
    log_total = tl.log(total)
    score = tl.load(best + at, mask=here, other=-_INFINITY) + below
    highest = tl.max(score, 0)
    token = tl.min(tl.where((score == highest) & here, tl.load(best_id + at, mask=here, other=_ALL), _ALL), 0)
    token = tl.where(is_good, token, -1)
    x = tl.load(logits + row.to(tl.int64) * stride + tl.maximum(token, 0))
    logprob = (x.to(tl.float64) - top.to(tl.float64)) / heat.to(tl.float64) - log_total
    kept = log_total * 0.0
    if IS_FILTERED:
        share = tl.sum(tl.load(kept_mass + at, mask=here, other=0.0).to(tl.float64) * shrink, 0) / total
        kept = tl.where(tl.load(cut_logits + row) == -_INFINITY, 0.0, tl.log(share))
    kept = tl.where(is_greedy, -log_total, kept)
    nothing = float("nan")
    tl.store(ids + row, token)
    tl.store(logprobs + row, tl.where(is_good, logprob, nothing).to(tl.float32))
    tl.store(kept_logmass + row, tl.where(is_good, kept, nothing).to(tl.float32))


TILE_OPTIONS = {"TILE": TILE, "num_warps": 4, "enable_fp_fusion": False}
CUT_OPTIONS = {"TILE": TILE, "BLOCK": 256, "num_warps": 8, "enable_fp_fusion": False}
COMBINE_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


def sample_token_forward(logits: Tensor, draw: Draw, support: Support | None, *, is_filtered: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`sample_token`; `is_filtered` says whether any row may have a filter."""
    ids, logprobs, kept_logmass, *_ = draw_and_cut(logits, draw, support, is_filtered=is_filtered)
    return ids, logprobs, kept_logmass


def draw_and_cut(logits: Tensor, draw: Draw, support: Support | None, *, is_filtered: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """ids, logprobs, kept_logmass, and of each row the last kept logit and, of the tokens with this logit, the last kept id."""
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    (num_rows, vocabulary), device = logits.shape, logits.device
    num_tiles, num_words = triton.cdiv(vocabulary, TILE), triton.cdiv(vocabulary, 32)
    mask_ids, table = (draw.top_k, draw.top_k) if support is None else readable(support)
    given_ids, num_masks = (draw.top_k, -1) if support is None else (support[0].contiguous(), support[1].shape[0])
    ids, cut_ids = (torch.empty(num_rows, dtype=torch.int32, device=device) for _ in range(2))
    logprobs, kept_logmass, cut_logits = (torch.empty(num_rows, device=device) for _ in range(3))
    maximum, mass, kept_mass, best = (torch.empty(num_rows, num_tiles, device=device) for _ in range(4))
    best_id = torch.empty(num_rows, num_tiles, dtype=torch.int32, device=device)
    block = {"BLOCK_T": triton.next_power_of_2(num_tiles)}
    rows = (logits, mask_ids, table)
    shape, has_support = (vocabulary, logits.stride(0), num_words), support is not None
    filters = (draw.temperature, draw.top_k, draw.top_p, draw.min_p)
    if num_rows and is_filtered:
        _maximum_kernel[num_rows, num_tiles](*rows, *filters, maximum, *shape, HAS_SUPPORT=has_support, **TILE_OPTIONS)
        _cut_kernel[(num_rows,)](*rows, *filters, maximum, cut_logits, cut_ids, *shape, HAS_SUPPORT=has_support, **block, **CUT_OPTIONS)
    if num_rows:
        noise = (draw.key, draw.trajectory, draw.position)
        _tile_kernel[num_rows, num_tiles](
            *rows, draw.temperature, *noise, cut_logits, cut_ids, maximum, mass, kept_mass, best, best_id, *shape, HAS_SUPPORT=has_support,
            IS_FILTERED=is_filtered, **TILE_OPTIONS,
        )  # fmt: skip
        _combine_kernel[(num_rows,)](
            logits, given_ids, draw.temperature, cut_logits, maximum, mass, kept_mass, best, best_id, ids, logprobs, kept_logmass, num_tiles,
            logits.stride(0), num_masks, IS_FILTERED=is_filtered, **block, **COMBINE_OPTIONS,
        )  # fmt: skip
    return ids, logprobs, kept_logmass, cut_logits, cut_ids
