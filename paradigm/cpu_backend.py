"""Gives `paradigm.kernels` its C++ implementations for CPU tensors: `paradigm._core.cpu`, called with the addresses of tensors.

Imported by `paradigm`, with no other effect than filling the table in kernels/cpu_slots.py. Shapes and dtypes have been checked by the
ops; here tensors are made contiguous where a kernel asks for it, and results are allocated. Where the core has not been built
(`python setup.py build_ext --inplace`), the table stays empty and the references run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.layout import Layout
from paradigm.kernels.linear_logprob import row_statistics_reference
from paradigm.kernels.sample_token import Draw
from paradigm.kernels.support import Support

try:
    from paradigm import _core

    _cpu = _core.cpu
except (ImportError, AttributeError):  # not built, or built before it had CPU kernels
    _cpu = None

_CODES = {torch.float32: 0, torch.bfloat16: 1}


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def code(tensor: Tensor) -> int:
    """What the core calls its dtype."""
    return _CODES[tensor.dtype]


def _check_int32(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.int32 or not tensor.is_cpu:
            raise ValueError(f"{name} must be int32 on the CPU, got {tensor.dtype} on {tensor.device}")


def _heads(x: Tensor) -> Tensor:
    """x [T, H, D] with contiguous heads, whatever its other strides."""
    return x if x.stride(2) == 1 else x.contiguous()


def _result(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def parent_of(layout: Layout) -> Tensor | None:
    host = layout.host[1]
    return None if host is None else layout.tables("parent int32", lambda: (host.to(torch.int32),))[0]


def attention(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, causal: bool, window: int | None, scale: float, softcap: float | None, needs_lse: bool
) -> tuple[Tensor, Tensor | None]:
    q, k, v = _heads(q), _heads(k), _heads(v)
    num_rows, query_heads, dim = q.shape
    out = _result(q)
    lse = torch.empty(num_rows, query_heads) if needs_lse else None
    if lse is not None:
        lse[layout.num_tokens :] = 0
    parent, cuts = parent_of(layout), layout.cu_seqlens.contiguous()
    _check_int32(cu_seqlens=cuts)
    _cpu.attention(
        _CODES[q.dtype], q.data_ptr(), *q.stride()[:2], k.data_ptr(), *k.stride()[:2], v.data_ptr(), *v.stride()[:2], num_rows,
        query_heads, k.shape[1], dim, cuts.data_ptr(), address(parent), layout.num_documents, causal, window or 0, scale, softcap or 0.0,
        out.data_ptr(), address(lse), torch.get_num_threads(),
    )
    return out, lse


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, layout: Layout, causal: bool, window: int | None, scale: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    grad, q, k, v = _heads(grad), _heads(q), _heads(k), _heads(v)
    num_rows, query_heads, dim = q.shape
    grads = (_result(q), _result(k), _result(v))
    parent, cuts = parent_of(layout), layout.cu_seqlens.contiguous()
    _cpu.attention_backward(
        _CODES[q.dtype], grad.data_ptr(), grad.stride(0), grad.stride(1), q.data_ptr(), q.stride(0), q.stride(1), k.data_ptr(), k.stride(0),
        k.stride(1), v.data_ptr(), v.stride(0), v.stride(1), num_rows, query_heads, k.shape[1], dim, cuts.data_ptr(), address(parent),
        layout.num_documents, causal, window or 0, scale, softcap or 0.0, out.data_ptr(), lse.data_ptr(), *(g.data_ptr() for g in grads),
        grads[2].stride(0), torch.get_num_threads(),
    )
    return grads


def _paged_attention(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, layer: int, causal: bool, window: int | None, scale: float, softcap: float | None
) -> Tensor:
    q, k, v = _heads(q), _heads(k), _heads(v)
    num_rows, query_heads, dim = q.shape
    out, cache = _result(q), layout.cache
    cuts, contexts, slots, table = layout.cu_seqlens, layout.context_lengths, layout.slots, layout.block_table
    if not (cuts.dtype == contexts.dtype == slots.dtype == table.dtype == torch.int32):
        _check_int32(cu_seqlens=cuts, context_lengths=contexts, slots=slots, block_table=table)
    cuts, contexts, slots, table = cuts.contiguous(), contexts.contiguous(), slots.contiguous(), table.contiguous()
    num_slots, max_blocks = table.shape
    layer_bytes = cache.keys.stride(0) * cache.keys.element_size()
    _cpu.paged_attention(
        _CODES[q.dtype], q.data_ptr(), *q.stride()[:2], k.data_ptr(), *k.stride()[:2], v.data_ptr(), *v.stride()[:2],
        num_rows, query_heads, k.shape[1], dim, cache.keys.data_ptr() + layer * layer_bytes, cache.values.data_ptr() + layer * layer_bytes,
        cache.num_blocks, cache.block_size, cuts.data_ptr(), contexts.data_ptr(), slots.data_ptr(), table.data_ptr(), layout.num_documents,
        num_slots, max_blocks, causal, window or 0, scale, softcap or 0.0, out.data_ptr(), torch.get_num_threads(),
    )
    return out


def _weight(weight: Tensor, bias: Tensor | None) -> tuple[int, int, int, int]:
    return weight.data_ptr(), address(bias), *weight.shape


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, widen: bool) -> Tensor:
    x, weight, bias = x.contiguous(), weight.contiguous(), None if bias is None else bias.contiguous()
    y = torch.empty(x.shape[0], weight.shape[0], dtype=torch.float32 if widen else x.dtype)
    _cpu.linear(_CODES[x.dtype], _CODES[y.dtype], x.shape[0], x.data_ptr(), [_weight(weight, bias)], y.data_ptr(), torch.get_num_threads())
    return y


def _input_gradient(grad: Tensor, weight: Tensor, out: Tensor | None) -> Tensor:
    grad, weight = grad.contiguous(), weight.contiguous()
    grad_x = grad.new_empty(grad.shape[0], weight.shape[1]) if out is None else out
    _cpu.input_gradient(_CODES[grad.dtype], grad.shape[0], grad.data_ptr(), [_weight(weight, None)], grad_x.data_ptr(), torch.get_num_threads())
    return grad_x


def _weight_gradient(grad: Tensor, x: Tensor, into: Tensor | None) -> Tensor:
    grad, x = grad.contiguous(), x.contiguous()
    grad_weight = grad.new_empty(grad.shape[1], x.shape[1]) if into is None else into
    sizes = x.shape[0], grad.data_ptr(), x.data_ptr(), grad.shape[1], x.shape[1]
    out = _CODES[grad_weight.dtype], grad_weight.data_ptr()
    _cpu.weight_gradient(_CODES[grad.dtype], *sizes, *out, into is not None, torch.get_num_threads())
    return grad_weight


def _packed_linear(weight: Tensor, bias: Tensor | None, widen: bool) -> Callable[[Tensor], Tensor]:
    weight, dtype, (num_outputs, num_inputs) = weight.contiguous(), weight.dtype, weight.shape
    bias = None if bias is None else bias.contiguous()
    packed = _cpu.PackedLinear(_CODES[dtype], _weight(weight, bias))
    out_dtype = torch.float32 if widen else dtype

    def multiply(x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != num_inputs or x.dtype != dtype:
            raise ValueError(f"x must be {dtype} [T, {num_inputs}], got {x.dtype} {list(x.shape)}")
        x = x.contiguous()
        y = torch.empty(x.shape[0], num_outputs, dtype=out_dtype)
        packed.multiply(_CODES[out_dtype], x.shape[0], x.data_ptr(), y.data_ptr(), torch.get_num_threads())
        return y

    return multiply


def _packed_decoder(
    embeddings: Tensor, layers: Sequence[tuple[Sequence[Tensor | None], Sequence[nn.Linear], int | None]], final_norm: Tensor,
    heads: tuple[int, int, int], eps: float,
) -> Callable[[Tensor, Layout, Tensor, Tensor, Tensor | None], Tensor]:  # fmt: skip
    """A copy of a decoder that feeds tokens to a paged cache: (tokens [T], layout, cos, sin, rows [R] or None) -> hidden states [R or T, D].

    Args:
        embeddings: [V, D], read where they are.
        layers: each one's norms (input, post-attention, query, key, the last two perhaps None), projections (q, k, v, o, gate, up, down)
            and window.
        final_norm: [D].
        heads: query heads, key-value heads, head dimension.
    """
    dtype, width = final_norm.dtype, final_norm.shape[0]
    code, (_, kv_heads, dim), embeddings = _CODES[dtype], heads, embeddings.contiguous()

    def norm(weight: Tensor | None) -> tuple[int, int]:
        return address(weight), 0 if weight is None else weight.shape[0]

    decoder = _cpu.Decoder(code, embeddings.data_ptr(), *embeddings.shape, *heads, dim**-0.5, eps, norm(final_norm.contiguous()))
    for norms, projections, window in layers:
        held = [(p.weight.contiguous(), None if p.bias is None else p.bias.contiguous()) for p in projections]
        norms = [None if weight is None else weight.contiguous() for weight in norms]
        if any(t is not None and t.dtype != dtype for t in (embeddings, *norms, *(t for pair in held for t in pair))):
            raise ValueError(f"a decoder's weights must be of one dtype, {dtype}")
        decoder.add_layer([norm(weight) for weight in norms], [_weight(*pair) for pair in held], window or 0)

    def decode(tokens: Tensor, layout: Layout, cos: Tensor, sin: Tensor, rows: Tensor | None) -> Tensor:
        cache = layout.cache
        if tokens.shape != (layout.num_tokens,):
            raise ValueError(f"tokens must have shape [{layout.num_tokens}], got {list(tokens.shape)}")
        if cache.keys.dtype != dtype or cache.keys.shape[2:4] != (kv_heads, dim):
            raise ValueError(f"the cache must hold {kv_heads} heads of {dim} in {dtype}, got {list(cache.keys.shape[2:4])} in {cache.keys.dtype}")
        tokens, positions = tokens.to(torch.int32).contiguous(), layout.positions.to(torch.int32).contiguous()
        cos, sin = cos.contiguous(), sin.contiguous()
        cuts, contexts, slots, table = layout.cu_seqlens, layout.context_lengths, layout.slots, layout.block_table
        _check_int32(cu_seqlens=cuts, context_lengths=contexts, slots=slots, block_table=table)
        cuts, contexts, slots, table = cuts.contiguous(), contexts.contiguous(), slots.contiguous(), table.contiguous()
        if rows is not None:
            _check_int32(rows=rows)
            rows = rows.contiguous()
        hidden = embeddings.new_empty(len(tokens) if rows is None else len(rows), width)
        decoder.decode(
            len(tokens), tokens.data_ptr(), positions.data_ptr(), cos.data_ptr(), sin.data_ptr(), *cos.shape, cache.keys.data_ptr(),
            cache.values.data_ptr(), cache.keys.stride(0) * cache.keys.element_size(), cache.num_blocks, cache.block_size, cuts.data_ptr(),
            contexts.data_ptr(), slots.data_ptr(), table.data_ptr(), layout.num_documents, *table.shape, address(rows),
            -1 if rows is None else rows.shape[0], hidden.data_ptr(), torch.get_num_threads(),
        )
        return hidden

    return decode


def rms_norm(x: Tensor, weight: Tensor, residual: Tensor | None, eps: float, needs_scale: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    x, weight = x.contiguous(), weight.contiguous()
    residual = None if residual is None else residual.contiguous()
    y = torch.empty_like(x)
    total = x if residual is None else torch.empty_like(x)
    scale = torch.empty(x.shape[0]) if needs_scale else None
    _cpu.rms_norm(
        _CODES[x.dtype], x.shape[0], x.shape[1], x.data_ptr(), address(residual), weight.data_ptr(), eps, y.data_ptr(),
        0 if residual is None else total.data_ptr(), address(scale), torch.get_num_threads(),
    )
    return y, total, scale


def rms_norm_backward(grad: Tensor | None, grad_total: Tensor | None, total: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    grad = None if grad is None else grad.contiguous()
    grad_total = None if grad_total is None else grad_total.contiguous()
    weight = weight.contiguous()
    grad_x, grad_weight = torch.empty_like(total), torch.empty(total.shape[1])
    _cpu.rms_norm_backward(
        _CODES[total.dtype], total.shape[0], total.shape[1], address(grad), address(grad_total), total.data_ptr(), weight.data_ptr(),
        scale.data_ptr(), grad_x.data_ptr(), grad_weight.data_ptr(), torch.get_num_threads(),
    )
    return grad_x, grad_weight.to(weight.dtype)


def rotary(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    cos, sin = cos.contiguous(), sin.contiguous()
    return _rotate(q, cos, sin, q_weight, eps), _rotate(k, cos, sin, k_weight, eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    x, weight = _heads(x), None if weight is None else weight.contiguous()
    y = _result(x)
    num_rows, num_heads, dim = x.shape
    row_stride, head_stride, _ = x.stride()
    _cpu.rotary(
        _CODES[x.dtype], num_rows, num_heads, dim, cos.shape[1], x.data_ptr(), row_stride, head_stride, cos.data_ptr(), sin.data_ptr(),
        address(weight), eps, y.data_ptr(), torch.get_num_threads(),
    )
    return y


def _rotary_backward(
    grad_q: Tensor, grad_k: Tensor, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    cos, sin = cos.contiguous(), sin.contiguous()
    into_q, by_q = _rotate_backward(grad_q, q, cos, sin, q_weight, eps)
    into_k, by_k = _rotate_backward(grad_k, k, cos, sin, k_weight, eps)
    return into_q, into_k, by_q, by_k


def _rotate_backward(grad: Tensor, x: Tensor, cos: Tensor, sin: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor | None]:
    """Returns: the gradient of x [T, H, D], and of the norm's weight."""
    grad, x, weight = _heads(grad), _heads(x), None if weight is None else weight.contiguous()
    into, grad_weight = _result(x), None if weight is None else torch.empty(x.shape[2])
    _cpu.rotary_backward(
        _CODES[x.dtype], *x.shape, cos.shape[1], x.data_ptr(), x.stride(0), x.stride(1), cos.data_ptr(), sin.data_ptr(), address(weight), eps,
        grad.data_ptr(), grad.stride(0), grad.stride(1), into.data_ptr(), into.stride(0), address(grad_weight), torch.get_num_threads(),
    )
    return into, None if grad_weight is None else grad_weight.to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    gate, up = gate.contiguous(), up.contiguous()
    y = _result(gate)
    _cpu.swiglu(_CODES[gate.dtype], gate.numel(), 1, 1, gate.data_ptr(), up.data_ptr(), y.data_ptr(), torch.get_num_threads())
    return y


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    grad, gate, up = grad.contiguous(), gate.contiguous(), up.contiguous()
    into = _result(gate), _result(up)
    _cpu.swiglu_backward(
        _CODES[gate.dtype], gate.numel(), 1, 1, gate.data_ptr(), up.data_ptr(), grad.data_ptr(), into[0].data_ptr(), into[1].data_ptr(),
        torch.get_num_threads(),
    )
    return into


def layer_forward(*arguments: Any) -> None:
    """See csrc/include/paradigm/cpu_layer.h; `paradigm.cpu_layer` has the arguments."""
    _cpu.layer_forward(*arguments)


def layer_backward(*arguments: Any) -> None:
    """As `layer_forward`."""
    _cpu.layer_backward(*arguments)


def _row_statistics(z: Tensor, targets: Tensor, temperature: float, support: Support | None) -> tuple[Tensor, Tensor]:
    z, targets = z.contiguous(), targets.to(torch.int64).contiguous()
    ids, table = (None, None) if support is None else (support[0].contiguous(), support[1].contiguous())
    logprob, entropy = torch.empty(z.shape[0]), torch.empty(z.shape[0])
    try:
        _core.row_logprob_raw(
            z.data_ptr(), z.shape[0], z.shape[1], z.shape[1], targets.data_ptr(), temperature, address(ids), address(table),
            0 if table is None else table.shape[0], 0 if table is None else table.shape[1], logprob.data_ptr(), entropy.data_ptr(),
            torch.get_num_threads(),
        )
    except ValueError:
        if bool(torch.isfinite(z).all()):
            raise
        return row_statistics_reference(z, targets, temperature, support)  # a diverged model's NaN are for the learner's guard to find
    return logprob, entropy


def _sample_token(logits: Tensor, draw: Draw, support: Support | None) -> tuple[Tensor, Tensor, Tensor]:
    logits = logits if logits.stride(1) == 1 and logits.stride(0) >= logits.shape[1] else logits.contiguous()
    num_rows, vocabulary = logits.shape
    ids, table = (None, None) if support is None else (support[0].contiguous(), support[1].contiguous())
    drawn = (torch.empty(num_rows, dtype=torch.int32), torch.empty(num_rows), torch.empty(num_rows))
    _core.sample_token_raw(
        logits.data_ptr(), num_rows, vocabulary, logits.stride(0), *(x.data_ptr() for x in draw), address(ids), address(table),
        0 if table is None else table.shape[0], 0 if table is None else table.shape[1], *(x.data_ptr() for x in drawn), torch.get_num_threads(),
    )
    return drawn


def _logits_gradient(
    z: Tensor, targets: Tensor, temperature: float, support: Support | None, grad_logprob: Tensor, grad_entropy: Tensor | None
) -> Tensor:
    z, targets = z.contiguous(), targets.to(torch.int64).contiguous()
    grad_logprob = grad_logprob.to(torch.float32).contiguous()
    grad_entropy = None if grad_entropy is None else grad_entropy.to(torch.float32).contiguous()
    ids, table = (None, None) if support is None else (support[0].contiguous(), support[1].contiguous())
    _cpu.logits_gradient(
        z.data_ptr(), z.shape[0], z.shape[1], targets.data_ptr(), grad_logprob.data_ptr(), address(grad_entropy), temperature, address(ids),
        address(table), 0 if table is None else table.shape[0], 0 if table is None else table.shape[1], torch.get_num_threads(),
    )
    return z


def _gae(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float) -> Tensor:
    rewards, values, bootstrap, cu_seqlens = (x.contiguous() for x in (rewards, values, bootstrap, cu_seqlens))
    advantages = torch.empty(rewards.numel())
    _cpu.gae(
        rewards.data_ptr(), values.data_ptr(), bootstrap.data_ptr(), cu_seqlens.data_ptr(), bootstrap.numel(), gamma, lam, advantages.data_ptr()
    )
    return advantages


def _vtrace(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float,
    rho_clip: float, c_clip: float, pg_rho_clip: float,
) -> tuple[Tensor, Tensor]:
    inputs = [x.contiguous() for x in (logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens)]
    targets, advantages = torch.empty(rewards.numel()), torch.empty(rewards.numel())
    _cpu.vtrace(
        *(x.data_ptr() for x in inputs), bootstrap.numel(), gamma, lam, rho_clip, c_clip, pg_rho_clip, targets.data_ptr(), advantages.data_ptr()
    )
    return targets, advantages


def register() -> None:
    """Fill the table of CPU implementations; nothing to do where the core has not been built."""
    if _cpu is None:
        return
    CPU.update(
        attention=attention, attention_backward=attention_backward, paged_attention=_paged_attention, rms_norm=rms_norm,
        rms_norm_backward=rms_norm_backward, rotary=rotary, rotary_backward=_rotary_backward, swiglu=swiglu, swiglu_backward=swiglu_backward,
        linear=_linear, packed_linear=_packed_linear, packed_decoder=_packed_decoder,
        row_statistics=_row_statistics, logits_gradient=_logits_gradient, sample_token=_sample_token, gae=_gae, vtrace=_vtrace,
    )
    if _cpu.has_avx512:  # on a Zen 5 torch's, which are MKL's, take twice as long
        CPU.update(input_gradient=_input_gradient, weight_gradient=_weight_gradient)
    if _cpu.has_bfloat16_pairs:
        CPU.update(input_gradient_bfloat16=_input_gradient, weight_gradient_bfloat16=_weight_gradient)
