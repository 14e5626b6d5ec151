"""Rotary position embedding of queries and keys, after an optional RMSNorm of each head (Su et al., arXiv:2104.09864; Qwen3's QK-norm).

With R = 2 C rotated channels, channel i < C pairs with channel i + C (transformers' rotate_half, not the paper's neighbours):
    y_i = x_i cos_i - x_{i+C} sin_i;  y_{i+C} = x_{i+C} cos_i + x_i sin_i
Channels from R on pass through. Everything in float32, rounded once at the end. On a GPU it is Triton's (rotary_triton.py), on the CPU C++;
float64 takes the reference everywhere, and so do heads of more than 1,024 channels, and on a GPU inputs without a token, head or pair.
"""

# T tokens, Hq and Hkv heads, D head dimension, C = R / 2 rotated pairs

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import cpu_slot, needs_grad, runs_triton
from paradigm.kernels.operators import is_traced, operator, reference_gradients


def _implementation(q: Tensor, k: Tensor, cos: Tensor) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Forward and backward for such tensors; None where the reference is all there is."""
    if runs_triton(q):
        from paradigm.kernels.rotary_triton import MAX_HEAD_DIM, rotary_backward, rotary_forward  # Triton takes a second to import

        fits = q.numel() and k.numel() and cos.numel() and q.shape[2] <= MAX_HEAD_DIM
        return (rotary_forward, rotary_backward) if fits else (None, None)
    if cos.dtype == torch.float32 and fits_cpu(q.shape[2], cos.shape[1]):
        return cpu_slot("rotary", q), cpu_slot("rotary_backward", q)
    return None, None


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, cos, sin, q_weight, k_weight, eps, forward, backward):  # type: ignore[no-untyped-def]
        inputs = (None, None) if q.is_cuda and q_weight is None else (q, k)  # Triton turns the gradients back without them
        ctx.save_for_backward(*inputs, cos, sin, q_weight, k_weight)
        ctx.eps, ctx.backward_slot = eps, backward
        return forward(q, k, cos, sin, q_weight, k_weight, eps)

    @staticmethod
    def backward(ctx, grad_q, grad_k):  # type: ignore[no-untyped-def]
        q, k, cos, sin, q_weight, k_weight = ctx.saved_tensors
        grads = ctx.backward_slot(grad_q, grad_k, q, k, cos, sin, q_weight, k_weight, ctx.eps)
        return grads[0], grads[1], None, None, grads[2], grads[3], None, None, None


def rotary(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *, q_weight: Tensor | None = None, k_weight: Tensor | None = None, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Rotates q and k by their tokens' angles, after an RMSNorm of each head where weights are given. No gradient to cos and sin.

    Args:
        q, k: [T, Hq, D], [T, Hkv, D], one dtype.
        cos, sin: float32 (or q's dtype) [T, C] with 2 C <= D, of each token's angles; a scaling of RoPE is the caller's.
        q_weight, k_weight: both None, or both [D] in q's dtype: the norms' weights.
        eps: of the norms.
    Returns: (q, k) rotated, new tensors. Raises: ValueError if shapes or dtypes disagree.
    """
    if is_traced():
        return _operator(q, k, cos, sin, q_weight, k_weight, eps)  # type: ignore[no-any-return]
    _check(q, k, cos, sin, q_weight, k_weight)
    forward, backward = _implementation(q, k, cos)
    if forward is None:
        return rotary_reference(q, k, cos, sin, q_weight=q_weight, k_weight=k_weight, eps=eps)
    if needs_grad(q, k, q_weight, k_weight):
        return _Rotary.apply(q, k, cos, sin, q_weight, k_weight, eps, forward, backward)
    return forward(q, k, cos, sin, q_weight, k_weight, eps)


def fits_cpu(head_dim: int, pairs: int) -> bool:
    """Whether the C++ kernel takes these widths: heads lie in a buffer on its stack."""
    return head_dim <= 1024 and 2 * pairs <= head_dim


def _check(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None) -> None:
    q_shape, k_shape, cos_shape = q.shape, k.shape, cos.shape
    if len(q_shape) != 3 or len(k_shape) != 3 or q_shape[0] != k_shape[0] or q_shape[2] != k_shape[2] or q.dtype != k.dtype:
        raise ValueError(
            f"q and k must be [T, Hq, D] and [T, Hkv, D] of one dtype, got {list(q_shape)} {q.dtype} and {list(k_shape)} {k.dtype}"
        )
    if len(cos_shape) != 2 or cos_shape != sin.shape or cos_shape[0] != q_shape[0] or 2 * cos_shape[1] > q_shape[2] or cos.dtype != sin.dtype:
        raise ValueError(
            f"cos and sin must be [{q_shape[0]}, <= {q_shape[2] // 2}] of one dtype, got {list(cos_shape)} {cos.dtype} "
            f"and {list(sin.shape)} {sin.dtype}"
        )
    check_floating(q=q, cos=cos)
    check_device("q", q, k=k, cos=cos, sin=sin, q_weight=q_weight, k_weight=k_weight)
    if q_weight is None and k_weight is None:
        return
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight is None:
            raise ValueError(f"{name} must be given where the other head norm's weight is, got None")
        if weight.shape != q_shape[2:] or weight.dtype != q.dtype:
            raise ValueError(f"{name} must be [{q_shape[2]}] in {q.dtype}, got {list(weight.shape)} in {weight.dtype}")


def rotary_reference(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *, q_weight: Tensor | None = None, k_weight: Tensor | None = None, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """`rotary` in plain torch."""
    _check(q, k, cos, sin, q_weight, k_weight)
    return _rotate(q, cos, sin, q_weight, eps), _rotate(k, cos, sin, k_weight, eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = x.to(dtype)
    if weight is not None:
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.to(dtype)
    pairs = cos.shape[1]
    cos, sin = cos.to(dtype)[:, None], sin.to(dtype)[:, None]
    first, second, rest = wide[..., :pairs], wide[..., pairs : 2 * pairs], wide[..., 2 * pairs :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1).to(x.dtype)


def _run(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    _check(q, k, cos, sin, q_weight, k_weight)
    forward, _ = _implementation(q, k, cos)
    if forward is None:
        return rotary_reference(q, k, cos, sin, q_weight=q_weight, k_weight=k_weight, eps=eps)
    return forward(q, k, cos, sin, q_weight, k_weight, eps)  # type: ignore[no-any-return]


def _run_backward(
    grad_q: Tensor, grad_k: Tensor, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> list[Tensor]:
    """Gradients of q and k, and of the weights if there are any."""
    _, backward = _implementation(q, k, cos)
    assert backward is not None
    return [grad for grad in backward(grad_q, grad_k, q, k, cos, sin, q_weight, k_weight, eps) if grad is not None]


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx, grad_q, grad_k):  # type: ignore[no-untyped-def]
    q, k, cos, sin, q_weight, k_weight = ctx.saved_tensors
    if _implementation(q, k, cos)[1] is not None:
        grads = _backward_operator(grad_q, grad_k, q, k, cos, sin, q_weight, k_weight, ctx.eps)
    else:
        inputs = (q, k) if q_weight is None else (q, k, q_weight, k_weight)
        again = lambda q, k, *w: rotary_reference(q, k, cos, sin, q_weight=w[0] if w else None, k_weight=w[1] if w else None, eps=ctx.eps)  # noqa: E731
        grads = reference_gradients(again, inputs, (grad_q, grad_k))
    return grads[0], grads[1], None, None, *(grads[2:] or (None, None)), None


_operator = operator("rotary", _run, lambda q, k, *_: (q.new_empty(q.shape), k.new_empty(k.shape)))
_backward_operator = operator(
    "rotary_backward", _run_backward,
    lambda grad_q, grad_k, q, k, cos, sin, q_weight, k_weight, eps: [x.new_empty(x.shape) for x in (q, k, q_weight, k_weight) if x is not None],
)  # fmt: skip
_operator.register_autograd(_gradients, setup_context=_keep)
