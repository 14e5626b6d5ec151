"""Root-mean-square norm over the last dimension, with an optional residual addition before it (Zhang and Sennrich, arXiv:1910.07467).

    r = x + residual;  y = r / sqrt(mean(r^2) + eps) * weight

in float32, rounded once at the end (transformers rounds to bf16 before the product with the weight). On a GPU it is Triton's
(rms_norm_triton.py), on the CPU C++; float64 takes the reference everywhere, on a GPU also rows of more than 32 KiB.
"""

# T rows, D model width

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import cpu_slot, needs_grad, runs_triton


def _implementation(x: Tensor, weight: Tensor) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Forward and backward for such tensors; None where the reference is all there is."""
    if runs_triton(x) and runs_triton(weight):
        from paradigm.kernels.rms_norm_triton import MAX_ROW_BYTES, rms_norm_backward, rms_norm_forward  # Triton takes a second to import

        return (rms_norm_forward, rms_norm_backward) if 0 < x.shape[1] * x.element_size() <= MAX_ROW_BYTES else (None, None)
    return (cpu_slot("rms_norm", x), cpu_slot("rms_norm_backward", x)) if weight.dtype == x.dtype else (None, None)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, residual, eps, forward, backward):  # type: ignore[no-untyped-def]
        y, total, scale = forward(x, weight, residual, eps, True)
        ctx.save_for_backward(total, weight, scale)
        ctx.backward_slot, ctx.has_residual = backward, residual is not None
        return (y, total) if residual is not None else y

    @staticmethod
    def backward(ctx, grad, grad_total=None):  # type: ignore[no-untyped-def]
        grad_x, grad_weight = ctx.backward_slot(grad, grad_total, *ctx.saved_tensors)
        return grad_x, grad_weight, grad_x if ctx.has_residual else None, None, None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """RMSNorm of each row, row by row the same whatever the other rows are.

    Args:
        x: [T, D]. weight: [D], any floating dtype. eps: added to the mean square.
        residual: None, or [T, D] in x's dtype, added to x first.
    Returns: y [T, D] in x's dtype; with a residual (y, x + residual). Raises: ValueError if shapes or dtypes disagree.
    """
    _check(x, weight, residual)
    forward, backward = _implementation(x, weight)
    if forward is None:
        return rms_norm_reference(x, weight, eps, residual)
    if needs_grad(x, weight, residual):
        return _RmsNorm.apply(x, weight, residual, eps, forward, backward)
    y, total, _ = forward(x, weight, residual, eps, False)
    return (y, total) if residual is not None else y


def _check(x: Tensor, weight: Tensor, residual: Tensor | None) -> None:
    if x.dim() != 2 or weight.shape != x.shape[1:]:
        raise ValueError(f"weight must have shape [D] for x [T, D], got {list(weight.shape)} for x of shape {list(x.shape)}")
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        raise ValueError(f"residual must have x's shape {list(x.shape)} and {x.dtype}, got {list(residual.shape)} and {residual.dtype}")


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float = 1e-6, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """`rms_norm` in plain torch."""
    _check(x, weight, residual)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    total = x if residual is None else x + residual
    wide = total.to(dtype)
    y = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.to(dtype)).to(x.dtype)
    return y if residual is None else (y, total)
