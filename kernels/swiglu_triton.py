"""`swiglu` in Triton: each input is read once, each result written once, whether rows lie side by side or are halves of longer ones.

With s = 1 / (1 + exp(-gate)) and g the gradient of y:    dgate = g up s (1 + gate (1 - s));   dup = g gate s
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _swiglu_fwd_kernel(gate, up, y, width, gate_stride, up_stride, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    num_blocks = tl.cdiv(width, BLOCK)
    row, first = (tl.program_id(0) // num_blocks).to(tl.int64), (tl.program_id(0) % num_blocks).to(tl.int64) * BLOCK
    within = tl.arange(0, BLOCK)
    here = within < width - first
    g = tl.load(gate + row * gate_stride + first + within, mask=here, other=0.0).to(tl.float32)
    u = tl.load(up + row * up_stride + first + within, mask=here, other=0.0).to(tl.float32)
    tl.store(y + row * width + first + within, (g / (1.0 + tl.exp(-g)) * u).to(y.dtype.element_ty), mask=here)


@triton.jit
def _swiglu_bwd_kernel(  # type: ignore[no-untyped-def]
    grad, gate, up, grad_gate, grad_up, width, gate_stride, up_stride, BLOCK: tl.constexpr
):  # fmt: skip
    num_blocks = tl.cdiv(width, BLOCK)
    row, first = (tl.program_id(0) // num_blocks).to(tl.int64), (tl.program_id(0) % num_blocks).to(tl.int64) * BLOCK
    within = tl.arange(0, BLOCK)
    here = within < width - first
    at = row * width + first + within
    d = tl.load(grad + at, mask=here, other=0.0).to(tl.float32)
    g = tl.load(gate + row * gate_stride + first + within, mask=here, other=0.0).to(tl.float32)
    u = tl.load(up + row * up_stride + first + within, mask=here, other=0.0).to(tl.float32)
    s = 1.0 / (1.0 + tl.exp(-g))
    tl.store(grad_gate + at, (d * u * (s * (1.0 + g * (1.0 - s)))).to(grad_gate.dtype.element_ty), mask=here)
    tl.store(grad_up + at, (d * (g * s)).to(grad_up.dtype.element_ty), mask=here)


TILE = {"BLOCK": 2048, "num_warps": 4, "enable_fp_fusion": False}


def _rows(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Both as [T, F] with elements side by side: one row if all of them are."""
    if gate.is_contiguous() and up.is_contiguous():
        return gate.view(1, -1), up.view(1, -1)
    if gate.dim() == 2 and gate.stride(1) == up.stride(1) == 1:
        return gate, up
    return gate.contiguous().view(1, -1), up.contiguous().view(1, -1)


def swiglu_forward(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    gate, up = _rows(gate, up)
    num_rows, width = gate.shape
    if gate.numel():
        _swiglu_fwd_kernel[(num_rows * triton.cdiv(width, TILE["BLOCK"]),)](gate, up, y, width, gate.stride(0), up.stride(0), **TILE)
    return y


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up."""
    grad_gate, grad_up = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (gate, up))
    gate, up = _rows(gate, up)
    num_rows, width = gate.shape
    if gate.numel():
        _swiglu_bwd_kernel[(num_rows * triton.cdiv(width, TILE["BLOCK"]),)](
            grad.contiguous(), gate, up, grad_gate, grad_up, width, gate.stride(0), up.stride(0), **TILE
        )
    return grad_gate, grad_up
