"""`rms_norm` in Triton: a program holds whole rows in registers, so that each input is read once and each result written once.

The backward, with s = 1 / sqrt(mean(r^2) + eps) kept from the forward and g the gradient of y:

    dr = s (g w - r s^2 mean(g w r)) + dtotal;   dw = sum over rows of g r s

Each program walks over a chunk of the rows and sums its part of dw; a second kernel adds the parts, in one order. The chunks depend on the
shape alone. A row's result and its gradient depend on that row alone.
"""

# N rows, D model width, C chunks

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_ROW_BYTES = 32768  # a row must fit in a program's registers
CHUNKS = 264  # 2 for each of an H100's 132 multiprocessors


@triton.jit(do_not_specialize=["num_rows"])  # one binary for all callers: another could reduce in another order
def _rms_norm_fwd_kernel(  # type: ignore[no-untyped-def]
    x, residual, weight, y, total, scale, num_rows, eps, WIDTH: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    rows, columns = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    here = (rows < num_rows)[:, None] & (columns < WIDTH)[None, :]
    at = block.to(tl.int64) * (BLOCK_N * WIDTH) + (tl.arange(0, BLOCK_N)[:, None] * WIDTH + columns[None, :])
    r = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        rounded = (r + tl.load(residual + at, mask=here, other=0.0).to(tl.float32)).to(x.dtype.element_ty)
        tl.store(total + at, rounded, mask=here)
        r = rounded.to(tl.float32)
    s = tl.rsqrt(tl.sum(r * r, 1) / WIDTH + eps)
    w = tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    tl.store(y + at, (r * s[:, None] * w[None, :]).to(y.dtype.element_ty), mask=here)
    tl.store(scale + rows, s, mask=rows < num_rows)


@triton.jit(do_not_specialize=["num_rows", "num_chunks"])
def _rms_norm_bwd_kernel(  # type: ignore[no-untyped-def]
    grad, grad_total, total, weight, scale, grad_x, partial, num_rows, num_chunks, WIDTH: tl.constexpr, HAS_TOTAL: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0)
    columns = tl.arange(0, BLOCK_D)
    is_column = (columns < WIDTH)[None, :]
    within = tl.arange(0, BLOCK_N)[:, None] * WIDTH + columns[None, :]
    grad_weight = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    for block in tl.range(chunk, tl.cdiv(num_rows, BLOCK_N), num_chunks, num_stages=STAGES):
        rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
        here = (rows < num_rows)[:, None] & is_column
        at = tl.cast(block, tl.int64) * (BLOCK_N * WIDTH) + within
        g = tl.load(grad + at, mask=here, other=0.0).to(tl.float32)
        s = tl.load(scale + rows, mask=rows < num_rows, other=0.0)[:, None]
        n = tl.load(total + at, mask=here, other=0.0).to(tl.float32) * s
        grad_weight += g * n
        dn = g * tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)[None, :]  # again: registers are dearer than the cache
        dr = s * (dn - n * (tl.sum(dn * n, 1) / WIDTH)[:, None])
        if HAS_TOTAL:
            dr += tl.load(grad_total + at, mask=here, other=0.0).to(tl.float32)
        tl.store(grad_x + at, dr.to(grad_x.dtype.element_ty), mask=here)
    tl.store(partial + chunk * WIDTH + columns, tl.sum(grad_weight, 0), mask=columns < WIDTH)


@triton.jit(do_not_specialize=["num_chunks"])
def _sum_kernel(partial, total, num_chunks, width, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    columns = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    sums = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    for start in range(0, num_chunks, BLOCK_C):
        chunks = start + tl.arange(0, BLOCK_C)
        here = (chunks < num_chunks)[:, None] & (columns < width)[None, :]
        sums += tl.load(partial + chunks[:, None] * width + columns[None, :], mask=here, other=0.0)
    tl.store(total + columns, tl.sum(sums, 0).to(total.dtype.element_ty), mask=columns < width)


SUM_TILE = {"BLOCK_C": 128, "BLOCK_D": 32, "num_warps": 4}


def configuration(dtype: torch.dtype, width: int, *, backward: bool = False) -> dict[str, Any]:
    """The tile sizes and options of both kernels, which nothing but a row's width and dtype decides."""
    block_d = triton.next_power_of_2(width)
    if backward:
        block_n = max(1, 4096 // block_d)
        stages = 2 if block_n * block_d * dtype.itemsize < MAX_ROW_BYTES else 1
        return {"BLOCK_N": block_n, "BLOCK_D": block_d, "STAGES": stages, "num_warps": min(32, block_n * block_d // 256)}
    block_n = max(1, 2048 // block_d)
    return {"BLOCK_N": block_n, "BLOCK_D": block_d, "num_warps": block_n * block_d // 512, "enable_fp_fusion": False}


def aligned(x: Tensor) -> Tensor:
    """x, contiguous and beginning at a multiple of 16 bytes: loads of another width could reduce in another order."""
    return x.contiguous() if x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


def chunk_count(num_blocks: int) -> int:
    """Into how many chunks a backward divides its blocks: all chunks have the same number of them, or one less."""
    return triton.cdiv(num_blocks, triton.cdiv(num_blocks, CHUNKS) or 1)


def sum_chunks(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum of partial [C, D] over its chunks."""
    num_chunks, width = partial.shape
    total = torch.empty(width, dtype=dtype, device=partial.device)
    _sum_kernel[(triton.cdiv(width, SUM_TILE["BLOCK_D"]),)](partial, total, num_chunks, width, **SUM_TILE)
    return total


def rms_norm_forward(x: Tensor, weight: Tensor, residual: Tensor | None, eps: float, needs_scale: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(y, x + residual, 1 / sqrt(mean square + eps) of each row)."""
    del needs_scale  # four bytes a row, kept in any case
    x, weight = aligned(x), aligned(weight)
    y = torch.empty_like(x)
    total = x if residual is None else torch.empty_like(x)
    scale = torch.empty(x.shape[0], device=x.device)
    config = configuration(x.dtype, x.shape[1])
    if x.numel():
        _rms_norm_fwd_kernel[(triton.cdiv(x.shape[0], config["BLOCK_N"]),)](
            x, x if residual is None else aligned(residual), weight, y, total, scale, x.shape[0], float(eps), WIDTH=x.shape[1],
            HAS_RESIDUAL=residual is not None, **config,
        )  # fmt: skip
    return y, total, scale


def rms_norm_backward(grad: Tensor, grad_total: Tensor | None, total: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (which is the residual's too) and of the weight."""
    grad, weight = aligned(grad), aligned(weight)
    num_rows, width = total.shape
    config = configuration(total.dtype, width, backward=True)
    num_chunks = chunk_count(triton.cdiv(num_rows, config["BLOCK_N"]))
    grad_x = torch.empty_like(total)
    partial = torch.empty(num_chunks, width, device=total.device)
    if total.numel():
        _rms_norm_bwd_kernel[(num_chunks,)](
            grad, grad if grad_total is None else aligned(grad_total), total, weight, scale, grad_x, partial, num_rows, num_chunks, WIDTH=width,
            HAS_TOTAL=grad_total is not None, **config,
        )  # fmt: skip
    return grad_x, sum_chunks(partial, weight.dtype)
