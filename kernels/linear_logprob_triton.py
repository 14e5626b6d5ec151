"""`linear_logprob` in Triton: a tile of logits lives in registers; of each tile and row four numbers are kept, for the backward also exp(z - max).

A program multiplies a block of rows by a tile of the vocabulary and reduces it (z the logits over the temperature, m their maximum):

    m = max z,   s = sum exp(z - m),   t = sum exp(z - m) (z - m),   target = the target's z

`combine` merges the tiles in ascending order:  M = max m,  S = sum s exp(m - M),  T = sum (t + s (m - M)) exp(m - M),
    logprob = target - M - log S,   entropy = log S - T / S
A row's bits depend on that row alone: tiles depend on the vocabulary, one compiled kernel serves any number of rows, and no product or sum is
fused or reordered by it. A sharded head calls `tile_statistics` on its shard and combines the shards' tiles.

The backward takes rows in chunks: the same kernel keeps a chunk's e = exp(z - m), in bfloat16 for 16-bit inputs, which turns in place into
    dz_v = (dlogprob (1[v = t] - p_v) - dentropy p_v (log p_v + entropy)) / temperature,    p_v = e_v exp(m - M - log S)
and is multiplied onto hidden and weight, the weight's gradient summed in float32. In bfloat16 e and dz are rounded once each, the target's p
comes from float32 statistics, so to first order
    |error of dz_v| <= 2^-7 p_v (|dlogprob| + |dentropy| (1 + |log p_v + entropy|)) / temperature,    of dz_t <= 2^-8 |dz_t|
For float16 inputs hidden and weight are rounded to bfloat16 for these two products as well.
"""

# N rows, D model width, V vocabulary, T tiles, C rows of a chunk

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from paradigm.kernels.flags import flag
from paradigm.kernels.flags_triton import raise_flag_of_rows
from paradigm.kernels.linear_logprob import rows_of
from paradigm.kernels.support import Support, readable

TILE = 128
_CHUNK_BYTES = 2 << 30  # of a chunk's kept logits
_LEAST_CHUNK = 4096  # rows: each chunk reads and writes the float32 gradient of the weight
_FORWARD_CHUNK = 16384  # rows, of which only the tiles' statistics are kept


class TileStatistics(NamedTuple):
    """Of each tile and row, float32 [T, N]: over the legal logits z of the tile, divided by the temperature."""

    maximum: Tensor  # max z; -inf if none is legal
    mass: Tensor  # sum of exp(z - maximum)
    moment: Tensor  # sum of exp(z - maximum) (z - maximum)
    target: Tensor  # the target's z; -inf if it is illegal or in another tile


class RowStatistics(NamedTuple):
    """Of each row, float32 [N]; NaN where the target is outside the vocabulary, or the support's row id outside its table."""

    logprob: Tensor
    entropy: Tensor
    normalizer: Tensor  # logsumexp(z)


class Chunk(NamedTuple):
    """A chunk of rows whose logits are kept as exp(z - maximum of the tile), [C, at least V]; or not, where no gradient follows."""

    kept: Tensor | None
    tiles: TileStatistics
    rows: RowStatistics


@triton.jit
def legal_in_tile(  # type: ignore[no-untyped-def]
    support, table, rows, is_row, tile, vocabulary, num_words, HAS_SUPPORT: tl.constexpr, BLOCK_N: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    """Which of a tile's tokens each row may choose: [1 or BLOCK_N, TILE]."""
    legal = (tile * TILE + tl.arange(0, TILE) < vocabulary)[None, :]
    if HAS_SUPPORT:
        mask_id = tl.load(support + rows, mask=is_row, other=-1)
        words = tile * (TILE // 32) + tl.arange(0, TILE // 32)
        at = tl.maximum(mask_id, 0)[:, None] * num_words + tl.minimum(words, num_words - 1)[None, :]
        bits = (tl.load(table + at) | tl.where(mask_id < 0, -1, 0)[:, None])[:, :, None] >> tl.arange(0, 32)[None, None, :]
        legal = legal & (tl.reshape((bits & 1).to(tl.int8), (BLOCK_N, TILE)) != 0)
    return legal


@triton.jit
def tile_sums(z, m, legal):  # type: ignore[no-untyped-def]
    """(exp(z - m), s, t) of a tile."""
    below = z - tl.where(m == float("-inf"), 0.0, m)[:, None]  # -inf - -inf would be NaN
    e = tl.exp(below)
    return e, tl.sum(e, 1), tl.sum(e * tl.where(legal, below, 0.0), 1)


@triton.jit
def _reduce_tile(  # type: ignore[no-untyped-def]
    product, block, tile, kept, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary, inverse_temperature, num_words,
    is_kept, HAS_SUPPORT: tl.constexpr, BLOCK_N: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    tokens = tile * TILE + tl.arange(0, TILE)
    wanted = tl.load(targets + rows, mask=is_row, other=-1)
    legal = legal_in_tile(support, table, rows, is_row, tile, vocabulary, num_words, HAS_SUPPORT, BLOCK_N, TILE)
    z = tl.where(legal, product * inverse_temperature, float("-inf"))
    m = tl.max(z, 1)
    chosen = tl.max(tl.where(tokens[None, :] == wanted[:, None], z, float("-inf")), 1)
    e, s, t = tile_sums(z, m, legal)
    if is_kept != 0:
        kept.store([block * BLOCK_N, tile * TILE], e.to(kept.dtype))
    out = tile.to(tl.int64) * num_rows + rows
    tl.store(maximum + out, m, mask=is_row)
    tl.store(mass + out, s, mask=is_row)
    tl.store(moment + out, t, mask=is_row)
    tl.store(target + out, chosen, mask=is_row)


@triton.jit
def place_of(num_blocks, num_panels, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """(block, panel) of a program: GROUP blocks of rows meet a panel together, so that both stay in the L2 cache."""
    program = tl.program_id(0)
    first = program // (GROUP * num_panels) * GROUP
    size = tl.minimum(num_blocks - first, GROUP)
    within = program % (GROUP * num_panels)
    return first + within % size, within // size


@triton.jit
def panel_product(  # type: ignore[no-untyped-def]
    hidden, weight, block, panel, WIDTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, PANEL: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    product = tl.zeros([BLOCK_N, PANEL], tl.float32)
    for start in range(0, WIDTH, BLOCK_D):
        x = hidden.load([block * BLOCK_N, start])
        w = weight.load([panel * PANEL, start])
        product = tl.dot(x, w.T, product, input_precision=PRECISION)
    return product


@triton.jit(do_not_specialize=["num_rows", "is_kept"])  # one binary for all callers: another could reduce in another order
def _tile_kernel(  # type: ignore[no-untyped-def]
    hidden, weight, kept, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary, inverse_temperature, num_words, is_kept,
    WIDTH: tl.constexpr, HAS_SUPPORT: tl.constexpr, PRECISION: tl.constexpr, GROUP: tl.constexpr, BLOCK_N: tl.constexpr, TILE: tl.constexpr,
    TILES: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    block, panel = place_of(tl.cdiv(num_rows, BLOCK_N), tl.cdiv(vocabulary, TILE * TILES), GROUP)
    product = panel_product(hidden, weight, block, panel, WIDTH, PRECISION, BLOCK_N, TILE * TILES, BLOCK_D)
    if TILES == 1:
        _reduce_tile(
            product, block, panel, kept, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary, inverse_temperature,
            num_words, is_kept, HAS_SUPPORT, BLOCK_N, TILE,
        )  # fmt: skip
    else:
        left, right = tl.split(tl.permute(tl.reshape(product, (BLOCK_N, 2, TILE)), (0, 2, 1)))
        _reduce_tile(
            left, block, 2 * panel, kept, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary, inverse_temperature,
            num_words, is_kept, HAS_SUPPORT, BLOCK_N, TILE,
        )  # fmt: skip
        if (2 * panel + 1) * TILE < vocabulary:
            _reduce_tile(
                right, block, 2 * panel + 1, kept, targets, support, table, maximum, mass, moment, target, num_rows, vocabulary,
                inverse_temperature, num_words, is_kept, HAS_SUPPORT, BLOCK_N, TILE,
            )  # fmt: skip


@triton.jit(do_not_specialize=["num_tiles", "num_rows", "num_masks", "first_row"])
def _combine_kernel(  # type: ignore[no-untyped-def]
    maximum, mass, moment, target, targets, support, logprob, entropy, normalizer, target_flag, support_flag, num_tiles, num_rows, vocabulary,
    num_masks, first_row, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    largest = tl.full([BLOCK_N], float("-inf"), tl.float32)
    chosen = tl.full([BLOCK_N], float("-inf"), tl.float32)
    for start in range(0, num_tiles, BLOCK_T):
        tiles = start + tl.arange(0, BLOCK_T)
        here = (tiles < num_tiles)[:, None] & is_row[None, :]
        at = tiles.to(tl.int64)[:, None] * num_rows + rows[None, :]
        largest = tl.maximum(largest, tl.max(tl.load(maximum + at, mask=here, other=float("-inf")), 0))
        chosen = tl.maximum(chosen, tl.max(tl.load(target + at, mask=here, other=float("-inf")), 0))
    total = tl.zeros([BLOCK_N], tl.float32)
    total_moment = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, num_tiles, BLOCK_T):
        tiles = start + tl.arange(0, BLOCK_T)
        here = (tiles < num_tiles)[:, None] & is_row[None, :]
        at = tiles.to(tl.int64)[:, None] * num_rows + rows[None, :]
        s = tl.load(mass + at, mask=here, other=0.0)
        below = tl.load(maximum + at, mask=here, other=float("-inf")) - largest[None, :]
        below = tl.where(s == 0.0, 0.0, below)  # a tile without a legal token; 0 * -inf would be NaN
        shrink = tl.exp(below)
        total += tl.sum(s * shrink, 0)
        total_moment += tl.sum((tl.load(moment + at, mask=here, other=0.0) + s * below) * shrink, 0)
    wanted = tl.load(targets + rows, mask=is_row, other=0)
    known = (wanted >= 0) & (wanted < vocabulary)
    raise_flag_of_rows(target_flag, is_row & (known == 0), first_row + rows, wanted)
    if num_masks >= 0:
        mask_id = tl.load(support + rows, mask=is_row, other=-1)
        is_mask = (mask_id >= -1) & (mask_id < num_masks)
        raise_flag_of_rows(support_flag, is_mask == 0, first_row + rows, mask_id)
        known = known & is_mask
    log_total = tl.log(total)
    nothing = float("nan")
    tl.store(logprob + rows, tl.where(known, chosen - largest - log_total, nothing), mask=is_row)
    tl.store(entropy + rows, tl.where(known, log_total - total_moment / total, nothing), mask=is_row)
    tl.store(normalizer + rows, tl.where(known, largest + log_total, nothing), mask=is_row)


@triton.jit(do_not_specialize=["num_rows"])
def _gradient_kernel(  # type: ignore[no-untyped-def]
    kept, maximum, normalizer, logprob, entropy, targets, dlogprob, dentropy, teacher, teacher_maximum, teacher_normalizer, coefficient, divergence,
    num_rows, vocabulary, kept_stride, teacher_stride, inverse_temperature, HAS_ENTROPY: tl.constexpr, DIVERGENCE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    tokens = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    at = rows.to(tl.int64)[:, None] * kept_stride + tokens[None, :]
    here = is_row[:, None] & (tokens < vocabulary)[None, :]
    of_tile = tile.to(tl.int64) * num_rows + rows
    e = tl.load(kept + at, mask=here, other=0.0).to(tl.float32)
    scale = tl.load(maximum + of_tile, mask=is_row, other=0.0) - tl.load(normalizer + rows, mask=is_row, other=0.0)
    p = e * tl.exp(scale)[:, None]
    log_p = tl.log(tl.maximum(e, 2e-38)) + scale[:, None]
    g = tl.load(dlogprob + rows, mask=is_row, other=0.0)
    chosen = tl.load(logprob + rows, mask=is_row, other=0.0)
    chosen_p = tl.exp(chosen)
    dz = -g[:, None] * p
    at_target = g * (1.0 - chosen_p)  # of float32 statistics: p near 1 has too few digits in 16 bits
    if HAS_ENTROPY:
        h = tl.load(entropy + rows, mask=is_row, other=0.0)
        dh = tl.load(dentropy + rows, mask=is_row, other=0.0)
        dz -= tl.where(e > 0.0, dh[:, None] * p * (log_p + h[:, None]), 0.0)
        at_target -= dh * chosen_p * (chosen + h)
    is_target = tokens[None, :] == tl.load(targets + rows, mask=is_row, other=-1)[:, None]
    dz = tl.where(is_target & (chosen != float("-inf"))[:, None], at_target[:, None], dz)
    if DIVERGENCE != "none":
        u = tl.load(teacher + rows.to(tl.int64)[:, None] * teacher_stride + tokens[None, :], mask=here, other=0.0).to(tl.float32)
        teacher_scale = tl.load(teacher_maximum + of_tile, mask=is_row, other=0.0) - tl.load(teacher_normalizer + rows, mask=is_row, other=0.0)
        c = tl.load(coefficient + rows, mask=is_row, other=0.0)
        if DIVERGENCE == "forward":
            dz += c[:, None] * (p - u * tl.exp(teacher_scale)[:, None])
        else:
            log_q = tl.log(tl.maximum(u, 2e-38)) + teacher_scale[:, None]
            kl = tl.load(divergence + rows, mask=is_row, other=0.0)
            dz += c[:, None] * tl.where(e > 0.0, p * (log_p - log_q - kl[:, None]), 0.0)
    tl.store(kept + at, (dz * inverse_temperature).to(kept.dtype.element_ty), mask=here)


def configuration(dtype: torch.dtype, width: int, *, hopper: bool = True) -> dict[str, Any]:
    """The tile sizes and options that `_tile_kernel` is launched with; `hopper`: on sm_90 and later, where registers and loads allow more."""
    exact = {"enable_fp_fusion": False}
    if dtype == torch.float32:
        tiles = {"PRECISION": "ieee", "GROUP": 16, "BLOCK_N": 32, "TILE": TILE, "TILES": 1, "BLOCK_D": 32 if width > 16 else 16}
        return {**tiles, "num_warps": 8, "num_stages": 2, **exact}
    tiles = {"PRECISION": "tf32", "GROUP": 16, "BLOCK_N": 128 if hopper else 64, "TILE": TILE, "TILES": 2 if hopper else 1}
    return {**tiles, "BLOCK_D": 64 if width > 32 else 32 if width > 16 else 16, "num_warps": 8, "num_stages": 4 if hopper else 3, **exact}


GRADIENT_TILE = {"BLOCK_N": 16, "BLOCK_V": TILE, "num_warps": 4}
COMBINE_TILE = {"BLOCK_T": 32, "BLOCK_N": 64, "num_warps": 4, "enable_fp_fusion": False}


def kept_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a chunk's logits are kept and multiplied in: bfloat16 for float16 too, whose range is too small for gradients of single logits."""
    return torch.float32 if dtype == torch.float32 else torch.bfloat16


def aligned(x: Tensor) -> Tensor:
    """x [N, D] as the kernel's descriptors take it: rows that start at multiples of 16 bytes, by zero columns if need be."""
    unit = 16 // x.element_size()
    x = F.pad(x, (0, -x.shape[1] % unit)) if x.shape[1] % unit else x
    fits = x.stride(1) == 1 and x.stride(0) % unit == 0 and x.stride(0) >= x.shape[1] and x.data_ptr() % 16 == 0
    return x if fits else x.clone(memory_format=torch.contiguous_format)


def inverse_of(temperature: float) -> float:
    """1 / temperature as a kernel divides float32 numbers: linear_sample_token_triton.py does, row by row."""
    return float(torch.ones(()) / torch.tensor(temperature, dtype=torch.float32))


def tile_statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, support: Support | None = None, kept: Tensor | None = None
) -> TileStatistics:
    """What `combine` needs of each tile of the vocabulary.

    Args: as `linear_logprob`'s; a target outside [0, V) is in no tile.
        kept: [N, at least V] to be filled with exp(z - the tile's maximum), or None.
    """
    hidden, weight = aligned(hidden), aligned(weight)
    num_rows, vocabulary = hidden.shape[0], weight.shape[0]
    hopper = not hidden.is_cuda or torch.cuda.get_device_capability(hidden.device)[0] >= 9
    config = configuration(hidden.dtype, hidden.shape[1], hopper=hopper)
    block_n, tile, panel = config["BLOCK_N"], config["TILE"], config["TILE"] * config["TILES"]
    results = [torch.empty(triton.cdiv(vocabulary, tile), num_rows, device=hidden.device) for _ in TileStatistics._fields]
    ids, table = (targets, targets) if support is None else readable(support)
    num_words = triton.cdiv(vocabulary, 32)
    into = kept if kept is not None else torch.empty(1, tile, device=hidden.device, dtype=kept_dtype(hidden.dtype))
    if num_rows:
        _tile_kernel[(triton.cdiv(num_rows, block_n) * triton.cdiv(vocabulary, panel),)](
            TensorDescriptor.from_tensor(hidden, [block_n, config["BLOCK_D"]]), TensorDescriptor.from_tensor(weight, [panel, config["BLOCK_D"]]),
            TensorDescriptor.from_tensor(into, [block_n, tile]), targets.contiguous(), ids, table, *results, num_rows, vocabulary,
            inverse_of(temperature), num_words, int(kept is not None), WIDTH=hidden.shape[1], HAS_SUPPORT=support is not None, **config,
        )  # fmt: skip
    return TileStatistics(*results)


def combine(tiles: TileStatistics, targets: Tensor, vocabulary: int, support: Support | None = None, first_row: int = 0) -> RowStatistics:
    """All tiles together, one after the other; NaN, and a flag (flags.py), for a target or a row id of the support out of range.

    Args: first_row: what the first of these rows is called in the flag.
    """
    num_tiles, num_rows = tiles.maximum.shape
    rows = RowStatistics(*(torch.empty(num_rows, device=targets.device) for _ in RowStatistics._fields))
    if num_rows:
        _combine_kernel[(triton.cdiv(num_rows, COMBINE_TILE["BLOCK_N"]),)](
            *tiles, targets.contiguous(), targets if support is None else support[0].contiguous(), *rows, flag("targets", targets.device),
            flag("support", targets.device), num_tiles, num_rows, vocabulary, -1 if support is None else support[1].shape[0], first_row,
            **COMBINE_TILE,
        )
    return rows


def score(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None, kept: Tensor | None, first_row: int = 0
) -> Chunk:
    """A chunk of `linear_logprob`'s rows; kept [C, at least V], if given, is overwritten."""
    tiles = tile_statistics(hidden, weight, targets, temperature=temperature, support=support, kept=kept)
    return Chunk(kept, tiles, combine(tiles, targets, weight.shape[0], support, first_row))


def row_chunks(num_rows: int, vocabulary: int, dtype: torch.dtype) -> list[slice]:
    """Row ranges of nearly one length whose kept logits fit the budget."""
    largest = max(_LEAST_CHUNK, _CHUNK_BYTES // (vocabulary * kept_dtype(dtype).itemsize))
    size = triton.cdiv(triton.cdiv(num_rows, triton.cdiv(num_rows, largest) or 1), 128) * 128
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size or 1)]


def kept_logits(chunks: list[slice], vocabulary: int, like: Tensor) -> Tensor:
    """Room for the longest chunk's exp(z - max), its rows starting at multiples of 128 bytes."""
    longest = max((rows.stop - rows.start for rows in chunks), default=0)
    return torch.empty(longest, triton.cdiv(vocabulary, 64) * 64, device=like.device, dtype=kept_dtype(like.dtype))


class Pull(NamedTuple):
    """What draws a chunk's rows to a teacher: its chunk, and of each row the coefficient and the divergence [C]."""

    kind: str  # "forward" or "reverse"
    teacher: Chunk
    coefficient: Tensor
    divergence: Tensor


def logits_gradient(
    chunk: Chunk, targets: Tensor, vocabulary: int, temperature: float, dlogprob: Tensor, dentropy: Tensor | None, pull: Pull | None = None
) -> Tensor:
    """Gradient by the undivided logits [C, V], in place of the chunk's exp(z - max)."""
    kept, tiles, rows = chunk
    num_tiles, num_rows = tiles.maximum.shape
    dlogprob = dlogprob.float().contiguous()
    slope = dlogprob if dentropy is None else dentropy.float().contiguous()
    other = Pull("none", chunk, dlogprob, dlogprob) if pull is None else pull
    assert kept is not None and other.teacher.kept is not None
    if num_rows:
        _gradient_kernel[(num_tiles, triton.cdiv(num_rows, GRADIENT_TILE["BLOCK_N"]))](
            kept, tiles.maximum, rows.normalizer, rows.logprob, rows.entropy, targets.contiguous(), dlogprob, slope, other.teacher.kept,
            other.teacher.tiles.maximum, other.teacher.rows.normalizer, other.coefficient, other.divergence, num_rows, vocabulary,
            kept.stride(0), other.teacher.kept.stride(0), 1.0 / temperature, HAS_ENTROPY=dentropy is not None, DIVERGENCE=other.kind, **GRADIENT_TILE,
        )  # fmt: skip
    return kept[:, :vocabulary]


class GradientSums:
    """Gradients of hidden [N, D] and weight [V, D], from one chunk of logits' gradients after another; the weight's in float32."""

    def __init__(self, hidden: Tensor, weight: Tensor, for_hidden: bool, for_weight: bool):
        dtype = kept_dtype(hidden.dtype)
        self._hidden, self._weight = hidden.to(dtype), weight.to(dtype)
        self.hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format) if for_hidden else None
        self._for_weight = torch.zeros(weight.shape, device=weight.device) if for_weight else None
        self._weight_dtype = weight.dtype

    def add(self, rows: slice, grad_logits: Tensor) -> None:
        if self.hidden is not None:
            product = torch.zeros(grad_logits.shape[0], self._weight.shape[1], device=grad_logits.device)
            _accumulate(product, grad_logits, self._weight)
            self.hidden[rows] = product
        if self._for_weight is not None:
            _accumulate(self._for_weight, grad_logits.t(), self._hidden[rows])

    @property
    def weight(self) -> Tensor | None:
        return None if self._for_weight is None else self._for_weight.to(self._weight_dtype)


def _accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif total.is_cuda:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(a.float(), b.float())  # only CUDA sums 16-bit products into float32


def linear_logprob_forward(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None) -> tuple[Tensor, Tensor]:
    """`linear_logprob` without gradient, for float32, bfloat16 and float16."""
    weight = aligned(weight)
    logprob, entropy = (torch.empty(hidden.shape[0], device=hidden.device) for _ in range(2))
    for start in range(0, hidden.shape[0], _FORWARD_CHUNK):
        rows = slice(start, start + _FORWARD_CHUNK)
        legal = rows_of(support, rows)
        tiles = tile_statistics(hidden[rows], weight, targets[rows], temperature=temperature, support=legal)
        logprob[rows], entropy[rows], _ = combine(tiles, targets[rows], weight.shape[0], legal, start)
    return logprob, entropy


def linear_logprob_backward(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None, grad_logprob: Tensor,
    grad_entropy: Tensor | None, for_hidden: bool, for_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of hidden and weight; all NaN in the rows, and in the weight, if a target is outside the vocabulary."""
    vocabulary = weight.shape[0]
    chunks = row_chunks(hidden.shape[0], vocabulary, hidden.dtype)
    buffer = kept_logits(chunks, vocabulary, hidden)
    sums = GradientSums(hidden, weight, for_hidden, for_weight)
    fed, fed_weight = aligned(hidden), aligned(weight)
    for rows in chunks:
        chunk = score(fed[rows], fed_weight, targets[rows], temperature, rows_of(support, rows), buffer[: rows.stop - rows.start], rows.start)
        dentropy = None if grad_entropy is None else grad_entropy[rows]
        sums.add(rows, logits_gradient(chunk, targets[rows], vocabulary, temperature, grad_logprob[rows], dentropy))
        del chunk
    del buffer  # before the weight's gradient is copied into its dtype
    return sums.hidden, sums.weight
