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

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import cpu_slot, needs_grad, runs_triton
from paradigm.kernels.operators import is_traced, operator, reference_gradients


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
    Returns: y [T, D] in x's dtype; with a residual (y, x + residual). Raises: ValueError if shapes, dtypes or devices disagree.
    """
    if is_traced():
        y, total, _ = _operator(x, weight, residual, eps)
        return (y, total) if residual is not None else y
    _check(x, weight, eps, residual)
    forward, backward = _implementation(x, weight)
    if forward is None:
        return rms_norm_reference(x, weight, eps, residual)
    if needs_grad(x, weight, residual):
        return _RmsNorm.apply(x, weight, residual, eps, forward, backward)
    y, total, _ = forward(x, weight, residual, eps, False)
    return (y, total) if residual is not None else y


def _check(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> None:
    if x.dim() != 2 or weight.shape != x.shape[1:]:
        raise ValueError(f"weight must have shape [D] for x [T, D], got {list(weight.shape)} for x of shape {list(x.shape)}")
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        raise ValueError(f"residual must have x's shape {list(x.shape)} and {x.dtype}, got {list(residual.shape)} and {residual.dtype}")
    check_floating(x=x, weight=weight)
    check_device("x", x, weight=weight, residual=residual)
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}")


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float = 1e-6, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """`rms_norm` in plain torch."""
    _check(x, weight, eps, residual)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    total = x if residual is None else x + residual
    wide = total.to(dtype)
    y = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.to(dtype)).to(x.dtype)
    return y if residual is None else (y, total)


def _run(x: Tensor, weight: Tensor, residual: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(y, x + residual or an empty tensor without a residual, what the backward kernel needs of each row)"""
    _check(x, weight, eps, residual)
    forward, _ = _implementation(x, weight)
    if forward is not None:
        y, total, scale = forward(x, weight, residual, eps, True)
        return y, total if residual is not None else x.new_empty(0), scale
    y = rms_norm_reference(x, weight, eps, residual)
    y, total = y if isinstance(y, tuple) else (y, x.new_empty(0))
    return y, total, torch.zeros(x.shape[0], device=x.device)


def _fake(x, weight, residual, eps):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape), x.new_empty(x.shape if residual is not None else 0), x.new_empty(x.shape[0], dtype=torch.float32)


def _run_backward(grad: Tensor, grad_total: Tensor | None, total: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    _, backward = _implementation(total, weight)
    assert backward is not None
    return backward(grad, grad_total, total.contiguous(), weight, scale)  # type: ignore[no-any-return]


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, weight, residual, ctx.eps = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(output[1] if ctx.has_residual else x, weight, output[2])


def _gradients(ctx, grad, grad_total, _):  # type: ignore[no-untyped-def]
    total, weight, scale = ctx.saved_tensors
    if _implementation(total, weight)[1] is None:
        grad_x, grad_weight = reference_gradients(lambda x, w: rms_norm_reference(x, w, ctx.eps), (total, weight), (grad,))
        grad_x = grad_x + grad_total if ctx.has_residual else grad_x
    else:
        grad_x, grad_weight = _backward_operator(grad, grad_total if ctx.has_residual else None, total, weight, scale)
    return grad_x, grad_weight, grad_x if ctx.has_residual else None, None


_operator = operator("rms_norm", _run, _fake)
_backward_operator = operator(
    "rms_norm_backward", _run_backward,
    lambda grad, grad_total, total, weight, scale: (total.new_empty(total.shape), weight.new_empty(weight.shape)),
)  # fmt: skip
_operator.register_autograd(_gradients, setup_context=_keep)
