"""A whole layer of the decoder as one node of autograd's graph, on the CPU: the same kernels, hence the same bits forward, as operator by operator.

It spares calls between kernels, and projections that share their inputs share their products: query, key and value one of three, gate and up one of
two. So the gradient of what they share is summed within one product, where operators would round a gradient
each to the model's dtype and then their sum.
"""

# T tokens, D model width, F width of the MLP, H heads

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from paradigm import cpu_backend as cpu
from paradigm.kernels.layout import Layout
from paradigm.kernels.linear import input_gradient, weight_gradient

__all__ = ["LayerShape", "LayerWeights", "decoder_layer"]


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
_BEFORE_MLP = [_FIELDS.index(name) for name in _FIELDS if name not in ("post_norm", "gate", "up", "down", "gate_bias", "up_bias", "down_bias")]


def decoder_layer(
    update: Tensor, residual: Tensor | None, layout: Layout, cos: Tensor, sin: Tensor, shape: LayerShape, weights: LayerWeights
) -> tuple[Tensor, Tensor]:
    """The layer of `transformer._Layer`, with gradients to update, residual and weights.

    Args:
        update, residual: [T, D], float32 or bfloat16 on the CPU; residual None in the first layer.
        layout: packed. cos, sin: float32 [T, C].
        weights: all of one dtype, update's.
    Returns: this layer's update and the residual stream before it, [T, D] each.
    """
    return _DecoderLayer.apply(update, residual, layout, cos, sin, shape, *weights)  # type: ignore[no-any-return]


class _DecoderLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, update: Tensor, residual: Tensor | None, layout: Layout, cos: Tensor, sin: Tensor, shape: LayerShape, *tensors: Any) -> Any:
        w, dim, (queries, keys) = LayerWeights(*tensors), shape.head_dim, shape.heads
        normed, x, scale = cpu.rms_norm(update, w.input_norm, residual, shape.eps, True)
        qkv = cpu.linear(normed, (w.q, w.k, w.v), (w.q_bias, w.k_bias, w.v_bias))
        q, k, v = torch.split_with_sizes(qkv.view(-1, queries + 2 * keys, dim), (queries, keys, keys), 1)
        turned_q, turned_k = cpu.rotary(q, k, cos, sin, w.q_norm, w.k_norm, shape.eps)
        heads, lse = cpu.attention(turned_q, turned_k, v, layout, shape.causal, shape.window, dim**-0.5, None, True)
        attended = cpu.linear(heads.view(-1, queries * dim), (w.o,), (w.o_bias,))
        post_normed, post_x, post_scale = cpu.rms_norm(attended, w.post_norm, x, shape.eps, True)
        both = cpu.linear(post_normed, (w.gate, w.up), (w.gate_bias, w.up_bias))
        product = cpu.swiglu(*both.chunk(2, 1))
        ctx.save_for_backward(
            cos, sin, x, scale, normed, qkv, turned_q, turned_k, heads, lse, post_x, post_scale, post_normed, both, product, *tensors
        )
        ctx.layout, ctx.shape, ctx.has_residual = layout, shape, residual is not None
        return cpu.linear(product, (w.down,), (w.down_bias,)), post_x

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_x: Tensor) -> Any:
        cos, sin, x, scale, normed, qkv, turned_q, turned_k, heads, lse, post_x, post_scale, post_normed, both, product, *tensors = ctx.saved_tensors
        w, shape = LayerWeights(*tensors), ctx.shape
        dim, (queries, keys) = shape.head_dim, shape.heads
        needed = ctx.needs_input_grad
        wanted = LayerWeights(*needed[6:])
        found: dict[str, Tensor | None] = {}

        def weigh(grad: Tensor, inputs: Tensor, *names: str) -> None:
            """Gradients of projections whose outputs lie side by side in grad."""
            sizes = [len(getattr(w, name)) for name in names]
            if any(getattr(wanted, name) for name in names):
                found.update(zip(names, torch.split_with_sizes(weight_gradient(grad, inputs), sizes)))
            biases = [f"{name}_bias" for name in names]
            if any(getattr(wanted, name) for name in biases):
                found.update(zip(biases, torch.split_with_sizes(grad.sum(0), sizes)))

        weigh(grad, product, "down")
        grad_both = torch.empty_like(both)
        gate, up = both.chunk(2, 1)
        cpu.swiglu_backward(input_gradient(grad, w.down), gate, up, grad_both.chunk(2, 1))
        weigh(grad_both, post_normed, "gate", "up")
        grad_normed = input_gradient(grad_both, w.gate, w.up)
        grad_x, found["post_norm"] = cpu.rms_norm_backward(grad_normed, grad_x, post_x, w.post_norm, post_scale)
        if not (needed[0] or needed[1] or any(wanted[i] for i in _BEFORE_MLP)):
            return None, None, None, None, None, None, *(found.get(name) for name in _FIELDS)
        weigh(grad_x, heads.view(-1, queries * dim), "o")
        q, k, v = torch.split_with_sizes(qkv.view(-1, queries + 2 * keys, dim), (queries, keys, keys), 1)
        grad_qkv = torch.empty_like(qkv)
        grad_q, grad_k, grad_v = torch.split_with_sizes(grad_qkv.view(-1, queries + 2 * keys, dim), (queries, keys, keys), 1)
        grad_heads = input_gradient(grad_x, w.o).view_as(heads)
        by_q, by_k, _ = cpu.attention_backward(
            grad_heads, turned_q, turned_k, v, heads, lse, ctx.layout, shape.causal, shape.window, dim**-0.5, None, grad_v
        )
        cos, sin = cos.contiguous(), sin.contiguous()
        found["q_norm"] = cpu.rotate_backward(by_q, q, cos, sin, w.q_norm, shape.eps, grad_q)
        found["k_norm"] = cpu.rotate_backward(by_k, k, cos, sin, w.k_norm, shape.eps, grad_k)
        weigh(grad_qkv, normed, "q", "k", "v")
        grad_normed = input_gradient(grad_qkv, w.q, w.k, w.v)
        grad_x, found["input_norm"] = cpu.rms_norm_backward(grad_normed, grad_x, x, w.input_norm, scale)
        return grad_x, grad_x if ctx.has_residual else None, None, None, None, None, *(found.get(name) for name in _FIELDS)
