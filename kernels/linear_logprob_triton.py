"""`linear_logprob`'s forward in Triton: the logits of a tile live in registers, and of each row four numbers a vocabulary range are kept.

The vocabulary is cut into ranges of a fixed number of tiles, so that few rows fill a GPU too. A program takes a block of rows through one
range, tile by tile, with a running maximum m (as in Milakov and Gimelshein, arXiv:1805.02867):

    m' = max(m, z),   s' = s exp(m - m') + sum exp(z - m'),   t' = t exp(m - m') + sum exp(z - m') z

and `combine` merges ranges by the same rule. Tiles and ranges depend on the vocabulary alone, so a row's bits do not depend on other rows.
A sharded head calls `range_statistics` on its shard and combines the shards' ranges.
"""

# N rows, D model width, V vocabulary, R ranges

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.support import Support

_TILES_OF_RANGE = 64


class RangeStatistics(NamedTuple):
    """Of each range and row, float32 [R, N]: over the legal logits z of the range, divided by the temperature."""

    maximum: Tensor  # max z; -inf if none is legal
    mass: Tensor  # sum of exp(z - maximum)
    moment: Tensor  # sum of exp(z - maximum) z
    target: Tensor  # the target's z; -inf if it is illegal or in another range


@triton.jit
def _range_kernel(  # type: ignore[no-untyped-def]
    hidden, weight, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary, inverse_temperature, hidden_stride, weight_stride,
    num_words, WIDTH: tl.constexpr, HAS_SUPPORT: tl.constexpr, TILES: tl.constexpr, PRECISION: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_V: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(1)
    is_row = rows < num_rows
    wanted = tl.load(targets + rows, mask=is_row, other=-1).to(tl.int32)
    if HAS_SUPPORT:
        mask_id = tl.load(support + rows, mask=is_row, other=-1)
    m = tl.full([BLOCK_N], float("-inf"), tl.float32)
    s = tl.zeros([BLOCK_N], tl.float32)
    t = tl.zeros([BLOCK_N], tl.float32)
    chosen = tl.full([BLOCK_N], float("-inf"), tl.float32)
    for tile in range(TILES):
        first = (part * TILES + tile) * BLOCK_V
        if first < vocabulary:
            tokens = first + tl.arange(0, BLOCK_V)
            is_token = tokens < vocabulary
            product = tl.zeros([BLOCK_N, BLOCK_V], tl.float32)
            for start in range(0, WIDTH, BLOCK_D):
                channels = start + tl.arange(0, BLOCK_D)
                is_channel = channels < WIDTH
                x = tl.load(
                    hidden + rows.to(tl.int64)[:, None] * hidden_stride + channels[None, :], mask=is_row[:, None] & is_channel[None, :], other=0.0
                )
                w = tl.load(
                    weight + tokens.to(tl.int64)[:, None] * weight_stride + channels[None, :], mask=is_token[:, None] & is_channel[None, :], other=0.0
                )
                product = tl.dot(x, tl.trans(w), product, input_precision=PRECISION)
            legal = (is_token[None, :]) & (is_row[:, None])
            if HAS_SUPPORT:
                at = tl.maximum(mask_id, 0).to(tl.int64)[:, None] * num_words + (tokens // 32)[None, :]
                words = tl.load(table + at, mask=legal & (mask_id >= 0)[:, None], other=-1)
                legal = legal & (((words >> (tokens % 32)[None, :]) & 1) != 0)
            z = tl.where(legal, product * inverse_temperature, float("-inf"))
            chosen = tl.maximum(chosen, tl.max(tl.where(tokens[None, :] == wanted[:, None], z, float("-inf")), 1))
            larger = tl.maximum(m, tl.max(z, 1))
            origin = tl.where(larger == float("-inf"), 0.0, larger)  # -inf - -inf would be NaN
            e = tl.exp(z - origin[:, None])
            shrink = tl.exp(m - origin)
            s = s * shrink + tl.sum(e, 1)
            t = t * shrink + tl.sum(e * tl.where(legal, z, 0.0), 1)
            m = larger
    out = part.to(tl.int64) * num_rows + rows
    tl.store(maximum + out, m, mask=is_row)
    tl.store(mass + out, s, mask=is_row)
    tl.store(moment + out, t, mask=is_row)
    tl.store(target + out, chosen, mask=is_row)


def configuration(dtype: torch.dtype, width: int) -> dict[str, Any]:
    """The tile sizes and options that the kernel is launched with."""
    if dtype == torch.float32:
        return {"PRECISION": "ieee", "BLOCK_N": 32, "BLOCK_V": 64, "BLOCK_D": 32 if width > 16 else 16, "num_warps": 4, "num_stages": 2}
    block_d = 64 if width > 32 else 32 if width > 16 else 16
    return {"PRECISION": "tf32", "BLOCK_N": 64, "BLOCK_V": 128, "BLOCK_D": block_d, "num_warps": 8, "num_stages": 3}


def range_statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, support: Support | None = None
) -> RangeStatistics:
    """What `combine` needs of each range of the vocabulary. Arguments as `linear_logprob`'s; a target outside [0, V) is in no range."""
    num_rows, width = hidden.shape
    hidden = hidden if hidden.stride(1) == 1 else hidden.contiguous()
    weight = weight if weight.stride(1) == 1 else weight.contiguous()
    config = configuration(hidden.dtype, width)
    num_ranges = triton.cdiv(weight.shape[0], config["BLOCK_V"] * _TILES_OF_RANGE)
    results = [torch.empty(num_ranges, num_rows, device=hidden.device) for _ in RangeStatistics._fields]
    ids, table = (targets, targets) if support is None else (support[0].contiguous(), support[1].contiguous().view(torch.int32))
    if num_rows:
        _range_kernel[(triton.cdiv(num_rows, config["BLOCK_N"]), num_ranges)](
            hidden, weight, targets.contiguous(), ids, table, *results, num_rows, weight.shape[0], 1.0 / temperature, hidden.stride(0),
            weight.stride(0), 0 if support is None else table.shape[1], WIDTH=width, HAS_SUPPORT=support is not None, TILES=_TILES_OF_RANGE, **config,
        )  # fmt: skip
    return RangeStatistics(*results)


def combine(ranges: RangeStatistics) -> tuple[Tensor, Tensor]:
    """(logprob, entropy), float32 [N] each, of all ranges together, one after the other."""
    maximum = ranges.maximum.amax(0)
    shrink = torch.exp(ranges.maximum - maximum)
    mass, moment = (ranges.mass * shrink).sum(0), (ranges.moment * shrink).sum(0)
    normalizer = maximum + mass.log()
    return ranges.target.amax(0) - normalizer, normalizer - moment / mass


def linear_logprob_forward(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None
) -> tuple[Tensor, Tensor]:
    """`linear_logprob` without gradient, for float32, bfloat16 and float16."""
    return combine(range_statistics(hidden, weight, targets, temperature=temperature, support=support))
