"""A whole layer of the decoder as one node of autograd's graph, on the CPU: the same kernels, hence the same bits forward, as operator by operator.

Forward is one call of the core, and so is back but for the gradients of weights (csrc/include/paradigm/cpu_layer.h): no time is spent between
kernels. Projections that share their inputs share their products: query, key and value one of three, gate and up one of two. So the gradient of
what they share is summed within one product, where operators would round a gradient each to the model's dtype and then their sum.
"""

# T tokens, D model width, F width of the MLP, H heads

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from paradigm import cpu_backend as cpu
from paradigm.kernels.cpu_slots import cpu_slot
from paradigm.kernels.layout import Layout
from paradigm.kernels.linear import weight_gradient

__all__ = ["LayerShape", "LayerWeights", "decoder_layer", "has_layer"]


class LayerShape(NamedTuple):
    """What is not a tensor: heads (queries', keys'), their width, the norms' eps, whether attention is causal, and its window."""

    heads: tuple[int, int]
    head_dim: int
    eps: float
    causal: bool
    window: int | None


class LayerWeights(NamedTuple):
    """Norms [D] and of heads [H] or None; projections, each weight [out, in] and bias [out] or None."""

    input_norm: Tensor
    post_norm: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    q_bias: Tensor | None
    k_bias: Tensor | None
    v_bias: Tensor | None
    o_bias: Tensor | None
    gate_bias: Tensor | None
    up_bias: Tensor | None
    down_bias: Tensor | None


_FIELDS = LayerWeights._fields
_NORMS, _PROJECTIONS = _FIELDS[:4], ("q", "k", "v", "o", "gate", "up", "down")
_BEFORE_MLP = [_FIELDS.index(name) for name in _FIELDS if name not in ("post_norm", "gate", "up", "down", "gate_bias", "up_bias", "down_bias")]


class _Kept(NamedTuple):
    """What the forward stores and the backward reads: see `Layer` of csrc/include/paradigm/cpu_layer.h."""

    x: Tensor
    scale: Tensor
    normed: Tensor
    qkv: Tensor
    turned_q: Tensor
    turned_k: Tensor
    attended: Tensor
    lse: Tensor
    post_x: Tensor
    post_scale: Tensor
    post_normed: Tensor
    gate_up: Tensor
    product: Tensor


def has_layer(like: Tensor) -> bool:
    """Whether the core multiplies gradients of such a tensor's dtype on this processor, as a layer's way back does."""
    slot = "input_gradient" if like.dtype == torch.float32 else "input_gradient_bfloat16"
    return cpu_slot(slot, like) is not None


def decoder_layer(
    update: Tensor, residual: Tensor | None, layout: Layout, cos: Tensor, sin: Tensor, shape: LayerShape, weights: LayerWeights
) -> tuple[Tensor, Tensor]:
    """The layer of `transformer._Layer`, with gradients to update, residual and weights.

    Args:
        update, residual: [T, D], float32 or bfloat16 on the CPU, where `has_layer`; residual None in the first layer.
        layout: packed. cos, sin: float32 [T, C].
        weights: all of one dtype, update's.
    Returns: this layer's update and the residual stream before it, [T, D] each.
    """
    return _DecoderLayer.apply(update, residual, layout, cos, sin, shape, *weights)  # type: ignore[no-any-return]


class _DecoderLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, update: Tensor, residual: Tensor | None, layout: Layout, cos: Tensor, sin: Tensor, shape: LayerShape, *tensors: Any) -> Any:
        update, residual = update.contiguous(), None if residual is None else residual.contiguous()
        cos, sin = cos.contiguous(), sin.contiguous()
        w = LayerWeights(*(None if tensor is None else tensor.contiguous() for tensor in tensors))  # type: ignore[arg-type]
        (num_rows, width), (queries, keys), mlp = update.shape, (shape.heads[0] * shape.head_dim, shape.heads[1] * shape.head_dim), len(w.gate)

        def rows(width: int) -> Tensor:
            return update.new_empty(num_rows, width)

        kept = _Kept(
            x=update if residual is None else rows(width), scale=torch.empty(num_rows), normed=rows(width), qkv=rows(queries + 2 * keys),
            turned_q=rows(queries), turned_k=rows(keys), attended=rows(queries), lse=torch.empty(num_rows, shape.heads[0]), post_x=rows(width),
            post_scale=torch.empty(num_rows), post_normed=rows(width), gate_up=rows(2 * mlp), product=rows(mlp),
        )  # fmt: skip
        if layout.num_tokens < num_rows:
            kept.lse[layout.num_tokens :] = 0
        out, parent, cuts = rows(width), cpu.parent_of(layout), layout.cu_seqlens.contiguous()
        arguments = _arguments(layout, cuts, parent, cos, sin, shape, w, kept)
        cpu.layer_forward(*arguments, update.data_ptr(), cpu.address(residual), out.data_ptr(), torch.get_num_threads())
        ctx.save_for_backward(cos, sin, *kept, *w)
        ctx.layout, ctx.shape, ctx.has_residual, ctx.cuts, ctx.parent = layout, shape, residual is not None, cuts, parent
        return out, kept.post_x

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_x: Tensor) -> Any:
        cos, sin, *saved = ctx.saved_tensors
        kept, w = _Kept(*saved[: len(_Kept._fields)]), LayerWeights(*saved[len(_Kept._fields) :])
        needed = ctx.needs_input_grad
        wanted = LayerWeights(*needed[6:])
        goes_on = needed[0] or needed[1] or any(wanted[i] for i in _BEFORE_MLP)
        grad, grad_x = grad.contiguous(), grad_x.contiguous()
        grad_gate_up, grad_post_x = torch.empty_like(kept.gate_up), torch.empty_like(grad)
        grad_qkv, grad_update = (torch.empty_like(kept.qkv), torch.empty_like(grad)) if goes_on else (None, None)
        norms = [None if norm is None else torch.empty(len(norm)) for norm in w[:4]]
        results = (grad_gate_up, grad_post_x, grad_qkv, grad_update, *norms)
        arguments = _arguments(ctx.layout, ctx.cuts, ctx.parent, cos, sin, ctx.shape, w, kept)
        cpu.layer_backward(*arguments, grad.data_ptr(), grad_x.data_ptr(), *map(cpu.address, results), torch.get_num_threads())
        found: dict[str, Tensor | None] = {name: None if by is None else by.to(grad.dtype) for name, by in zip(_NORMS, norms)}

        def weigh(grad: Tensor, inputs: Tensor, *names: str) -> None:
            """Gradients of projections whose outputs lie side by side in grad."""
            sizes = [len(getattr(w, name)) for name in names]
            if any(getattr(wanted, name) for name in names):
                found.update(zip(names, torch.split_with_sizes(weight_gradient(grad, inputs), sizes)))
            biases = [f"{name}_bias" for name in names]
            if any(getattr(wanted, name) for name in biases):
                found.update(zip(biases, torch.split_with_sizes(grad.sum(0), sizes)))

        weigh(grad, kept.product, "down")
        weigh(grad_gate_up, kept.post_normed, "gate", "up")
        if grad_qkv is not None:
            weigh(grad_post_x, kept.attended, "o")
            weigh(grad_qkv, kept.normed, "q", "k", "v")
        weights = (found.get(name) if is_wanted else None for name, is_wanted in zip(_FIELDS, wanted))
        return grad_update, grad_update if ctx.has_residual else None, None, None, None, None, *weights


def _arguments(
    layout: Layout, cuts: Tensor, parent: Tensor | None, cos: Tensor, sin: Tensor, shape: LayerShape, w: LayerWeights, kept: _Kept
) -> list[Any]:
    """What the core's `layer_forward` and `layer_backward` begin with."""
    (queries, keys), (num_rows, width) = shape.heads, kept.normed.shape
    arguments = [cpu.code(kept.normed), num_rows, width, shape.eps, cos.data_ptr(), sin.data_ptr(), cos.shape[1], queries, keys, shape.head_dim]
    arguments += [shape.causal, shape.window or 0, shape.head_dim**-0.5, cuts.data_ptr(), cpu.address(parent), layout.num_documents]
    arguments += map(cpu.address, w[:4])
    for name in _PROJECTIONS:
        weight = getattr(w, name)
        arguments += weight.data_ptr(), cpu.address(getattr(w, f"{name}_bias")), len(weight)
    arguments += [tensor.data_ptr() for tensor in kept]
    return arguments
