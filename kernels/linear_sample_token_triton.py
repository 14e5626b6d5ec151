"""`linear_sample_token` in Triton: linear_logprob_triton.py's tiles, from each of which one token comes out; no logit is stored.

A program multiplies a block of rows by a tile of the vocabulary, as there, and keeps of each row and tile the same statistics m and s, and the
best score z - m - log(-log1p(-u)) with its token and the token's z. The best of the tiles, (score + m - max m), is the row's token; ties go to the
lowest id, and greedy rows have no noise. The statistics are then merged by linear_logprob's own kernel, so that the log-prob is, bit for bit, what
`linear_logprob` gives the token at the row's temperature.

Rows with filters need all their logits in order: these are stored for a chunk of rows, from which sample_token_triton.py draws, and the pass over the
tiles is then told which token is theirs. Rows without, and greedy ones, are drawn in that pass, to the same bits as where no row has filters.
"""

# N rows, D model width, V vocabulary, T tiles

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from paradigm.kernels.linear_logprob_triton import (
    TileStatistics,
    aligned,
    combine,
    configuration,
    legal_in_tile,
    panel_product,
    place_of,
    tile_sums,
)
from paradigm.kernels.linear_triton import linear
from paradigm.kernels.sample_token import Draw
from paradigm.kernels.sample_token_triton import _gumbel, sample_token_forward
from paradigm.kernels.support import Support, readable

_CHUNK_BYTES = 256 << 20  # of logits that are stored for rows with filters
_LAST = tl.constexpr(2**31 - 1)  # an id past every token


@triton.jit
def _noise_tile(key, trajectory, position, first, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """uint32 [BLOCK_N, TILE]: Philox's words of each row's tokens first, first + 1, ...; see sample_token_triton.py."""
    words = (first // 4 + tl.arange(0, TILE // 4)).to(tl.uint32)[None, :] + (key * 0).to(tl.uint32)[:, None]
    zeros = words * 0
    low = (trajectory & 0xFFFFFFFF).to(tl.uint32)[:, None]
    high = ((trajectory >> 32) & 0xFFFFFFFF).to(tl.uint32)[:, None]
    a, b, c, d = tl.philox(key[:, None] + zeros.to(tl.int64), words, zeros + position.to(tl.uint32, bitcast=True)[:, None], zeros + low, zeros + high)
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), [key.shape[0], TILE])


@triton.jit
def _halves(x):  # type: ignore[no-untyped-def]
    return tl.split(tl.permute(tl.reshape(x, (x.shape[0], 2, x.shape[1] // 2)), (0, 2, 1)))


@triton.jit
def _best_of(  # type: ignore[no-untyped-def]
    z, origin, first, heat, numbers, target, draws, highest, token, chosen, HAS_TARGETS: tl.constexpr
):  # fmt: skip
    """(score, token, its z) of each row's best up to these tokens, which are first, first + 1, ...; highest, token and chosen are of those before."""
    tokens = first + tl.arange(0, z.shape[1])
    key, trajectory, position = numbers
    noise = tl.zeros(z.shape, tl.float32)
    if draws:
        noise = _gumbel(_noise_tile(key, trajectory, position, first, z.shape[1]))
    score = (z - origin[:, None]) + tl.where((heat == 0.0)[:, None], 0.0, noise)
    if HAS_TARGETS:
        score = tl.where((target < 0)[:, None], score, tl.where(tokens[None, :] == target[:, None], 0.0, float("-inf")))
    best = tl.max(score, 1)
    one = tl.min(tl.where(score == best[:, None], tokens[None, :], _LAST), 1)
    its_z = tl.max(tl.where(tokens[None, :] == one[:, None], z, float("-inf")), 1)
    is_better = best > highest
    return tl.where(is_better, best, highest), tl.where(is_better, one, token), tl.where(is_better, its_z, chosen)


@triton.jit
def _draw_from_tile(  # type: ignore[no-untyped-def]
    product, block, tile, support, table, temperature, key, trajectory, position, targets, maximum, mass, best, best_id, chosen, num_rows,
    vocabulary, num_words, HAS_TARGETS: tl.constexpr, IS_WIDE: tl.constexpr, HAS_SUPPORT: tl.constexpr, BLOCK_N: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    heat = tl.load(temperature + rows, mask=is_row, other=1.0)
    inverse = tl.div_rn(1.0, tl.where(heat == 0.0, 1.0, heat))
    legal = legal_in_tile(support, table, rows, is_row, tile, vocabulary, num_words, HAS_SUPPORT, BLOCK_N, TILE)
    z = tl.where(legal, product * inverse[:, None], float("-inf"))
    m = tl.max(z, 1)
    _, s, _ = tile_sums(z, m, legal)
    out = tile.to(tl.int64) * num_rows + rows
    tl.store(maximum + out, m, mask=is_row)
    tl.store(mass + out, s, mask=is_row)
    of_key, of_trajectory = tl.load(key + rows, mask=is_row, other=0), tl.load(trajectory + rows, mask=is_row, other=0)
    numbers = (of_key, of_trajectory, tl.load(position + rows, mask=is_row, other=0))
    target, draws = rows, True
    if HAS_TARGETS:
        target = tl.load(targets + rows, mask=is_row, other=0)
        draws = tl.load(targets + num_rows) < 0
    highest = tl.full([BLOCK_N], float("-inf"), tl.float32)
    token = tl.full([BLOCK_N], _LAST, tl.int32)
    its_z = highest
    origin = tl.where(m == float("-inf"), 0.0, m)
    left, right = _halves(z)
    for half in tl.static_range(2):  # a quarter or eighth at a time: the noise of a whole tile would not fit the registers
        near, far = _halves(left if half == 0 else right)
        first = tile * TILE + half * (TILE // 2)
        if IS_WIDE:
            for quarter in tl.static_range(2):
                one, other = _halves(near if quarter == 0 else far)
                at = first + quarter * (TILE // 4)
                highest, token, its_z = _best_of(one, origin, at, heat, numbers, target, draws, highest, token, its_z, HAS_TARGETS)
                tl.debug_barrier()  # so that the compiler does not take them together after all
                highest, token, its_z = _best_of(other, origin, at + TILE // 8, heat, numbers, target, draws, highest, token, its_z, HAS_TARGETS)
                tl.debug_barrier()
        else:
            highest, token, its_z = _best_of(near, origin, first, heat, numbers, target, draws, highest, token, its_z, HAS_TARGETS)
            highest, token, its_z = _best_of(far, origin, first + TILE // 4, heat, numbers, target, draws, highest, token, its_z, HAS_TARGETS)
    tl.store(best + out, highest, mask=is_row)
    tl.store(best_id + out, token, mask=is_row)
    tl.store(chosen + out, its_z, mask=is_row)


@triton.jit(do_not_specialize=["num_rows"])  # one binary for any number of rows
def _draw_kernel(  # type: ignore[no-untyped-def]
    hidden, weight, support, table, temperature, key, trajectory, position, targets, maximum, mass, best, best_id, chosen, num_rows, vocabulary,
    num_words, WIDTH: tl.constexpr, HAS_TARGETS: tl.constexpr, HAS_SUPPORT: tl.constexpr, PRECISION: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_N: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    block, panel = place_of(tl.cdiv(num_rows, BLOCK_N), tl.cdiv(vocabulary, TILE * TILES), GROUP)
    product = panel_product(hidden, weight, block, panel, WIDTH, PRECISION, BLOCK_N, TILE * TILES, BLOCK_D)
    if TILES == 1:
        _draw_from_tile(
            product, block, panel, support, table, temperature, key, trajectory, position, targets, maximum, mass, best, best_id, chosen,
            num_rows, vocabulary, num_words, HAS_TARGETS, BLOCK_N >= 64, HAS_SUPPORT, BLOCK_N, TILE,
        )  # fmt: skip
    else:
        left, right = tl.split(tl.permute(tl.reshape(product, (BLOCK_N, 2, TILE)), (0, 2, 1)))
        _draw_from_tile(
            left, block, 2 * panel, support, table, temperature, key, trajectory, position, targets, maximum, mass, best, best_id, chosen,
            num_rows, vocabulary, num_words, HAS_TARGETS, BLOCK_N >= 64, HAS_SUPPORT, BLOCK_N, TILE,
        )  # fmt: skip
        if (2 * panel + 1) * TILE < vocabulary:
            _draw_from_tile(
                right, block, 2 * panel + 1, support, table, temperature, key, trajectory, position, targets, maximum, mass, best, best_id,
                chosen, num_rows, vocabulary, num_words, HAS_TARGETS, BLOCK_N >= 64, HAS_SUPPORT, BLOCK_N, TILE,
            )  # fmt: skip


@triton.jit(do_not_specialize=["num_tiles", "num_rows"])
def _choose_kernel(  # type: ignore[no-untyped-def]
    maximum, best, best_id, chosen, ids, num_tiles, num_rows, TILE: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """The token of each row's best tile; of `chosen` only what that tile has is left."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    largest = tl.full([BLOCK_N], float("-inf"), tl.float32)
    for start in range(0, num_tiles, BLOCK_T):
        tiles = start + tl.arange(0, BLOCK_T)
        here = (tiles < num_tiles)[:, None] & is_row[None, :]
        at = tiles.to(tl.int64)[:, None] * num_rows + rows[None, :]
        largest = tl.maximum(largest, tl.max(tl.load(maximum + at, mask=here, other=float("-inf")), 0))
    top = tl.full([BLOCK_N], float("-inf"), tl.float32)
    token = tl.full([BLOCK_N], 0, tl.int32)
    for start in range(0, num_tiles, BLOCK_T):
        tiles = start + tl.arange(0, BLOCK_T)
        here = (tiles < num_tiles)[:, None] & is_row[None, :]
        at = tiles.to(tl.int64)[:, None] * num_rows + rows[None, :]
        score = tl.load(best + at, mask=here, other=float("-inf"))
        below = tl.load(maximum + at, mask=here, other=float("-inf")) - largest[None, :]
        score = tl.where(score > float("-inf"), score + below, float("-inf"))  # a tile without a legal token
        highest = tl.max(score, 0)
        first = tl.min(tl.where(score == highest[None, :], tl.load(best_id + at, mask=here, other=_LAST), _LAST), 0)
        token = tl.where(highest > top, first, token)
        top = tl.maximum(top, highest)
    tl.store(ids + rows, token, mask=is_row)
    for start in range(0, num_tiles, BLOCK_T):
        tiles = start + tl.arange(0, BLOCK_T)
        is_other = (tiles < num_tiles)[:, None] & is_row[None, :] & (tiles[:, None] != (token // TILE)[None, :])
        at = tiles.to(tl.int64)[:, None] * num_rows + rows[None, :]
        tl.store(chosen + at, tl.full([BLOCK_T, BLOCK_N], float("-inf"), tl.float32), mask=is_other)


CHOOSE_TILE = {"BLOCK_T": 32, "BLOCK_N": 64, "num_warps": 4}


def _pass(hidden: Tensor, weight: Tensor, draw: Draw, support: Support | None, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """(ids int32 [N], their log-probs): drawn without filters, but where a target is not negative. targets: int32 [N + 1], the last is the least."""
    num_rows, vocabulary, device = hidden.shape[0], weight.shape[0], hidden.device
    hopper = not hidden.is_cuda or torch.cuda.get_device_capability(device)[0] >= 9
    config = draw_configuration(hidden.dtype, hidden.shape[1], hopper=hopper)
    block_n, tile, panel = config["BLOCK_N"], config["TILE"], config["TILE"] * config["TILES"]
    num_tiles = triton.cdiv(vocabulary, tile)
    maximum, mass, best, chosen = (torch.empty(num_tiles, num_rows, device=device) for _ in range(4))
    best_id = torch.empty(num_tiles, num_rows, dtype=torch.int32, device=device)
    ids = torch.empty(num_rows, dtype=torch.int32, device=device)
    has_targets, targets = targets is not None, ids if targets is None else targets
    mask_ids, table = (ids, ids) if support is None else readable(support)
    num_words = triton.cdiv(vocabulary, 32)
    _draw_kernel[(triton.cdiv(num_rows, block_n) * triton.cdiv(vocabulary, panel),)](
        TensorDescriptor.from_tensor(hidden, [block_n, config["BLOCK_D"]]), TensorDescriptor.from_tensor(weight, [panel, config["BLOCK_D"]]),
        mask_ids, table, draw.temperature, draw.key, draw.trajectory, draw.position, targets, maximum, mass, best, best_id, chosen, num_rows,
        vocabulary, num_words, WIDTH=hidden.shape[1], HAS_TARGETS=has_targets, HAS_SUPPORT=support is not None, **config,
    )  # fmt: skip
    _choose_kernel[(triton.cdiv(num_rows, CHOOSE_TILE["BLOCK_N"]),)](
        maximum, best, best_id, chosen, ids, num_tiles, num_rows, TILE=tile, **CHOOSE_TILE
    )
    return ids, combine(TileStatistics(maximum, mass, mass, chosen), ids, vocabulary, support).logprob  # without moments no entropy


def draw_configuration(dtype: torch.dtype, width: int, *, hopper: bool = True) -> dict[str, Any]:
    """The tile sizes and options that `_draw_kernel` is launched with."""
    return configuration(dtype, width, hopper=hopper)


def linear_sample_token_forward(
    hidden: Tensor, weight: Tensor, draw: Draw, support: Support | None, *, is_filtered: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`linear_sample_token` for float32, bfloat16 and float16; `is_filtered` says whether any row may have a filter."""
    num_rows, vocabulary = hidden.shape[0], weight.shape[0]
    if not num_rows:
        return tuple(torch.empty(0, dtype=dtype, device=hidden.device) for dtype in (torch.int32, torch.float32, torch.float32))  # type: ignore[return-value]
    hidden, weight = aligned(hidden), aligned(weight)
    if is_filtered:
        size = max(64, _CHUNK_BYTES // (4 * vocabulary) // 64 * 64)
        parts = []
        for start in range(0, num_rows, size):
            rows = slice(start, start + size)
            legal = None if support is None else (support[0][rows], support[1])
            of_rows = Draw(*(x[rows] for x in draw))
            parts.append(sample_token_forward(linear(hidden[rows], weight, None, True), of_rows, legal, is_filtered=True))
        drawn, _, kept_by_filter = (torch.cat(x) for x in zip(*parts))
        has_filter = (draw.temperature != 0) & ((draw.top_k > 0) | (draw.top_p < 1) | (draw.min_p > 0))
        targets = torch.where(has_filter, drawn, -1)
        ids, logprob = _pass(hidden, weight, draw, support, torch.cat([targets, targets.amin(0, keepdim=True)]))
    else:
        ids, logprob = _pass(hidden, weight, draw, support, None)
    is_good = ~logprob.isnan()
    kept = torch.where(is_good & (draw.temperature != 0), 0.0, logprob)  # greedy: all but the token's mass is cut off
    if is_filtered:
        kept = torch.where(has_filter, kept_by_filter, kept)
    return torch.where(is_good, ids, -1).int(), logprob, kept
