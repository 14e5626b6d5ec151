"""The gated unit of Llama's feed-forward layer (Shazeer, arXiv:2002.05202):  y = silu(gate) * up,  silu(g) = g / (1 + exp(-g)),

in float32, rounded once at the end. On a GPU it is Triton's (swiglu_triton.py), on the CPU C++; float64 takes the reference everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import cpu_slot, needs_grad, runs_triton
from paradigm.kernels.operators import is_traced, operator, reference_gradients


def _implementation(gate: Tensor) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Forward and backward for tensors such as gate; None where the reference is all there is."""
    if runs_triton(gate):
        from paradigm.kernels.swiglu_triton import swiglu_backward, swiglu_forward  # Triton takes a second to import

        return swiglu_forward, swiglu_backward
    return cpu_slot("swiglu", gate), cpu_slot("swiglu_backward", gate)


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up, forward, backward):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(gate, up)
        ctx.backward_slot = backward
        return forward(gate, up)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return *ctx.backward_slot(grad, *ctx.saved_tensors), None, None


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, elementwise.

    Args:
        gate, up: [T, F], one shape and dtype.
    Returns: the same shape and dtype. Raises: ValueError if shapes or dtypes disagree.
    """
    if is_traced():
        return _operator(gate, up)  # type: ignore[no-any-return]
    _check(gate, up)
    forward, backward = _implementation(gate)
    if forward is None:
        return swiglu_reference(gate, up)
    if needs_grad(gate, up):
        return _Swiglu.apply(gate, up, forward, backward)
    return forward(gate, up)


def _check(gate: Tensor, up: Tensor) -> None:
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(f"up must have gate's shape {list(gate.shape)} and {gate.dtype}, got {list(up.shape)} and {up.dtype}")
    check_floating(gate=gate)
    check_device("gate", gate, up=up)


def swiglu_reference(gate: Tensor, up: Tensor) -> Tensor:
    """`swiglu` in plain torch."""
    _check(gate, up)
    dtype = torch.float64 if gate.dtype == torch.float64 else torch.float32
    return (F.silu(gate.to(dtype)) * up.to(dtype)).to(gate.dtype)


def _run(gate: Tensor, up: Tensor) -> Tensor:
    _check(gate, up)
    forward, _ = _implementation(gate)
    return swiglu_reference(gate, up) if forward is None else forward(gate, up)  # type: ignore[no-any-return]


def _run_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    _, backward = _implementation(gate)
    assert backward is not None
    return backward(grad, gate, up)  # type: ignore[no-any-return]


def _gradients(ctx, grad):  # type: ignore[no-untyped-def]
    gate, up = ctx.saved_tensors
    if _implementation(gate)[1] is None:
        return tuple(reference_gradients(swiglu_reference, (gate, up), (grad,)))
    return _backward_operator(grad, gate, up)


_operator = operator("swiglu", _run, lambda gate, up: gate.new_empty(gate.shape))
_backward_operator = operator("swiglu_backward", _run_backward, lambda grad, gate, up: (gate.new_empty(gate.shape), up.new_empty(up.shape)))
_operator.register_autograd(_gradients, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
