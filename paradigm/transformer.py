"""The blocks of Llama, Qwen2 and Qwen3, under Hugging Face's names: attention, SwiGLU and RMSNorm around one residual stream.

The residual sum is taken inside the next norm, so that a layer costs one pass less over its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook as has_global_hooks

from paradigm import compiled
from paradigm.cpu_layer import LayerShape, LayerWeights, decoder_layer, has_layer
from paradigm.fp8 import fp8_linear
from paradigm.kernels.attention import attention, fits_cpu
from paradigm.kernels.cpu_slots import cpu_slot, needs_grad
from paradigm.kernels.layout import Layout
from paradigm.kernels.linear import exact_linear
from paradigm.kernels.operators import is_traced
from paradigm.kernels.paged_attention import paged_attention
from paradigm.kernels.rms_norm import rms_norm
from paradigm.kernels.rotary import rotary
from paradigm.kernels.swiglu import swiglu
from paradigm.policy_config import PolicyConfig

__all__ = ["Decoder", "Linear", "ScalarHead", "Step"]

# T tokens, D model width


class Step(NamedTuple):
    """What every layer of one forward pass shares."""

    layout: Layout
    cos: Tensor
    sin: Tensor
    causal: bool
    build: Literal["auto", "triton"]  # of `attention`
    compiled: bool = False
    fp8: bool = False  # products of the projections

    def project(self, projection: nn.Module, x: Tensor) -> Tensor:
        return cast(Tensor, projection(x, fp8=True) if self.fp8 and isinstance(projection, Linear) else projection(x))


class Linear(nn.Linear):
    """A linear layer that in exact mode (None: on the CPU) computes each row as if it were alone."""

    exact: bool | None = None

    def forward(self, x: Tensor, fp8: bool = False) -> Tensor:
        if fp8:
            return fp8_linear(x, self.weight, self.bias)
        exact = x.is_cpu if self.exact is None else self.exact
        return exact_linear(x, self.weight, self.bias) if exact else F.linear(x, self.weight, self.bias)


def _is_own(module: nn.Module, backward: bool = False) -> bool:
    """Whether to call it, and `backward` to go back through it, is no more than this file's code, on the CPU in exact mode."""
    return type(module) in _BLOCKS and not _has_hooks(module, backward) and not (type(module) is Linear and module.exact is False)


def _has_hooks(module: nn.Module, backward: bool = False) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or (backward and (module._backward_hooks or module._backward_pre_hooks)))


class _Norm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns: the norm of x + residual, and x + residual."""
        if residual is None:
            return cast(Tensor, rms_norm(x, self.weight, self.eps)), x
        return cast(tuple[Tensor, Tensor], rms_norm(x, self.weight, self.eps, residual))


class _Attention(nn.Module):
    def __init__(self, config: PolicyConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim, self.eps, self.window = layer, config.width, config.rms_norm_eps, config.window(layer)
        self.num_heads, self.num_kv_heads = config.num_heads, config.kv_heads
        queries, keys, bias = config.num_heads * config.width, config.kv_heads * config.width, bool(config.attention_bias)
        self.q_proj = Linear(config.hidden_size, queries, bias=bias)
        self.k_proj = Linear(config.hidden_size, keys, bias=bias)
        self.v_proj = Linear(config.hidden_size, keys, bias=bias)
        self.o_proj = Linear(queries, config.hidden_size, bias=bias and config.family != "qwen2")
        if config.qk_norm:
            self.q_norm = _Norm(config.width, config.rms_norm_eps)
            self.k_norm = _Norm(config.width, config.rms_norm_eps)
        self.qk_norm = bool(config.qk_norm)

    def norms(self) -> tuple[_Norm, ...]:
        """Of queries and keys, if they are normed."""
        return (self.q_norm, self.k_norm) if self.qk_norm else ()

    def norm_weights(self) -> tuple[Tensor | None, Tensor | None]:
        return (self.q_norm.weight, self.k_norm.weight) if self.qk_norm else (None, None)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        projected = (step.project(projection, x) for projection in (self.q_proj, self.k_proj, self.v_proj))
        heads = self.num_heads, self.num_kv_heads, self.num_kv_heads
        q, k, v = (y.view(-1, count, self.head_dim) for y, count in zip(projected, heads))
        q_weight, k_weight = self.norm_weights()
        q, k = rotary(q, k, step.cos, step.sin, q_weight=q_weight, k_weight=k_weight, eps=self.eps)
        if step.layout.is_paged:
            out = paged_attention(q, k, v, step.layout, self.layer, window=self.window)
        else:
            out = attention(q, k, v, step.layout, causal=step.causal, window=self.window, build=step.build)
        return step.project(self.o_proj, out.view(-1, self.num_heads * self.head_dim))


class _MLP(nn.Module):
    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        return step.project(self.down_proj, swiglu(step.project(self.gate_proj, x), step.project(self.up_proj, x)))


class _Layer(nn.Module):
    def __init__(self, config: PolicyConfig, layer: int):
        super().__init__()
        self.self_attn = _Attention(config, layer)
        self.mlp = _MLP(config)
        self.input_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, update: Tensor, x: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        """Adds the previous layer's update to the residual stream x. Returns: this layer's update, and x before it."""
        weights = self._of_one_node(update, step)
        if weights is not None:
            attn = self.self_attn
            shape = LayerShape((attn.num_heads, attn.num_kv_heads), attn.head_dim, attn.eps, step.causal, attn.window)
            return decoder_layer(update, x, step.layout, step.cos, step.sin, shape, weights)
        normed, x = self.input_layernorm(update, x)
        return compiled.call(_Layer.rest, self, normed, x, step) if step.compiled else self.rest(normed, x, step)

    def rest(self, normed: Tensor, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """All that follows the first norm."""
        normed, x = self.post_attention_layernorm(self.self_attn(normed, step), x)
        return self.mlp(normed, step), x

    def _of_one_node(self, update: Tensor, step: Step) -> LayerWeights | None:
        """The layer's weights where autograd takes it as one node: on the CPU, in training, if to call its modules is no more than their own code."""
        if step.compiled or step.fp8 or step.layout.is_paged or not torch.is_grad_enabled() or not has_layer(update):
            return None
        norms, projections, _ = self.parts()
        modules = (self.self_attn, self.mlp, self.input_layernorm, self.post_attention_layernorm, *self.self_attn.norms(), *projections)
        if not all(_is_own(module, backward=True) for module in modules):
            return None
        weights = LayerWeights(*norms, *(p.weight for p in projections), *(p.bias for p in projections))  # type: ignore[arg-type]
        given = [w for w in weights if w is not None]
        fits = len(update) > 0 and fits_cpu(self.self_attn.head_dim) and step.cos.dtype == torch.float32
        if not fits or is_traced() or has_global_hooks() or any(w.dtype != update.dtype for w in given) or not needs_grad(update, *given):
            return None
        return weights

    def parts(self) -> tuple[tuple[Tensor | None, ...], tuple[Linear, ...], int | None]:
        """Norms, projections and window, as the CPU's packed decoder takes them."""
        attn, mlp = self.self_attn, self.mlp
        norms = (self.input_layernorm.weight, self.post_attention_layernorm.weight, *attn.norm_weights())
        projections = (attn.q_proj, attn.k_proj, attn.v_proj, attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        return norms, projections, attn.window


_BLOCKS = {_Layer, _Attention, _MLP, _Norm, Linear}


class Decoder(nn.Module):
    """Embeddings, layers and the final norm; `Policy` runs them."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, layer) for layer in range(config.num_layers))
        self.norm = _Norm(config.hidden_size, config.rms_norm_eps)

    def packed(self) -> Callable[[Tensor, Layout, Tensor, Tensor, Tensor | None], Tensor] | None:
        """A copy of the decoder for decoding: (tokens [T], paged layout, cos and sin by position, rows [R] or None) -> hidden states [R or T, D].

        It is the C++ core's, made of the functions that the layers call, hence of the same bits. None where it does not apply: off the
        CPU, in other dtypes, with head dimensions it does not take, or if a module is hooked, replaced (LoRA) or not exact.
        """
        weight = self.norm.weight
        slot = cpu_slot("packed_decoder", weight)
        if slot is None or not self.layers:
            return None
        modules = [module for module in self.layers.modules() if module is not self.layers]
        embed = self.embed_tokens
        if not all(_is_own(module) for module in modules) or type(embed) is not nn.Embedding or _has_hooks(embed):
            return None
        layers = cast(list[_Layer], list(self.layers))
        attn = layers[0].self_attn
        if not fits_cpu(attn.head_dim) or any(p.dtype != weight.dtype for p in (embed.weight, *self.layers.parameters())):
            return None
        heads = (attn.num_heads, attn.num_kv_heads, attn.head_dim)
        return slot(embed.weight, [layer.parts() for layer in layers], weight, heads, attn.eps)  # type: ignore[no-any-return]


class ScalarHead(nn.Linear):
    """hidden [T, D] -> float32 [T]; a product and a sum by row rather than a matrix product, whose rounding would depend on T."""

    def __init__(self, width: int):
        super().__init__(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return (hidden.float() * self.weight.float()).sum(-1) + self.bias.float()
