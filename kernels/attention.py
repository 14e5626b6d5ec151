"""Softmax attention over packed documents, never across a cut.

    s_ij = f(scale q_i . k_j),  f(s) = softcap tanh(s / softcap) or s;  o_i = sum_j softmax_j(s_ij) v_j

where j runs over the keys of i's own document (and of its parent, which come first), those with j <= i if causal, and those with
j > i - window if there is a window. Query head h reads key-value head h // (Hq / Hkv).

On a GPU it is Triton's (attention_triton.py) or, on Hopper, Gluon's (attention_gluon.py); attention_build.py chooses. On the CPU it is C++;
float64 takes the reference everywhere.
"""

# T tokens, Hq query heads, Hkv key-value heads, D head dimension, G = Hq / Hkv queries that share a key

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import cpu_slot, needs_grad
from paradigm.kernels.layout import Layout, as_layout, layout_of
from paradigm.kernels.operators import is_traced, operator

_QUERY_CHUNK = 256  # bounds the reference's score matrix to [Hq, 256, keys]


def check_attention(q: Tensor, k: Tensor, v: Tensor, num_tokens: int, window: int | None, softcap: float | None) -> None:
    """Raises ValueError for shapes, dtypes or options that no attention kernel takes; rows past `num_tokens` are padding and allowed."""
    q_shape, k_shape = q.shape, k.shape
    if len(q_shape) != 3 or len(k_shape) != 3 or q_shape[2] != k_shape[2] or q_shape[0] != k_shape[0]:
        raise ValueError(f"q and k must have shapes [T, Hq, D] and [T, Hkv, D], got {list(q_shape)} and {list(k_shape)}")
    if v.shape != k_shape:
        raise ValueError(f"v must have k's shape {list(k_shape)}, got {list(v.shape)}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q, k and v must have one dtype, got {q.dtype}, {k.dtype} and {v.dtype}")
    check_floating(q=q)
    check_device("q", q, k=k, v=v)
    if k_shape[1] == 0 or q_shape[1] % k_shape[1]:
        raise ValueError(f"q's heads must be a multiple of k's {k_shape[1]}, got {q_shape[1]}")
    if q_shape[0] < num_tokens:
        raise ValueError(f"q must have at least the layout's {num_tokens} rows, got {q_shape[0]}")
    if window is not None and window < 1:
        raise ValueError(f"window must be >= 1 or None, got {window}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be > 0 or None, got {softcap}")


def fits_cpu(head_dim: int) -> bool:
    """Whether the C++ kernels take this head dimension: they work in whole half-vectors."""
    return head_dim % 8 == 0 and head_dim <= 256


def _implementation(q: Tensor, layout: Layout, build: str = "auto") -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Forward and backward for tensors such as q; None where the reference is all there is."""
    if q.is_cuda and q.dtype != torch.float64:
        from paradigm.kernels.attention_build import implementation  # Triton takes a second to import

        return implementation(q, layout, build)
    if fits_cpu(q.shape[2]):
        return cpu_slot("attention", q), cpu_slot("attention_backward", q)
    return None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, layout, causal, window, scale, softcap, forward, backward):  # type: ignore[no-untyped-def]
        out, lse = forward(q, k, v, layout, causal, window, scale, softcap, True)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.layout, ctx.options, ctx.backward_slot = layout, (causal, window, scale, softcap), backward
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return *ctx.backward_slot(grad, *ctx.saved_tensors, ctx.layout, *ctx.options), *[None] * 7


def attention(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout | Tensor, *, causal: bool = True, window: int | None = None,
    scale: float | None = None, softcap: float | None = None, deterministic: bool = True, build: Literal["auto", "triton", "gluon"] = "auto",
) -> Tensor:
    """Attention over packed documents; differentiable in q, k and v. On CPU in float32 and bfloat16 each query's result is a pure function
    of its own query, keys and values, bitwise, whatever else is in the batch; on a GPU by construction, not yet checked on one.

    Args:
        q, k, v: [T, Hq, D], [T, Hkv, D], [T, Hkv, D], one dtype, any strides. Rows past the layout's tokens are padding: their result is 0.
        layout: a packed Layout, or int32 cu_seqlens [B + 1]; empty documents are allowed. Its `positions` play no part: order does.
        causal: a token sees itself and what precedes it in its document, else the whole document.
        window: None, or w >= 1: a token sees nothing before the w - 1 tokens that precede it.
        scale: factor of the scores, by default D ** -0.5.
        softcap: None, or c > 0: scores become c tanh(score / c).
        deterministic: gradients are summed in a fixed order; every implementation here does so.
        build: which kernels a GPU runs. "triton": the portable ones, which exact mode takes. "gluon": Hopper's, for bfloat16 and float16 and layouts
            without parents; their sums have another order, and the first use of each kind waits for a comparison with the portable ones. "auto":
            "gluon" where it can run, else "triton", or what the environment's PARADIGM_ATTENTION_BUILD names. The CPU has one build.
    Returns: [T, Hq, D]. Raises: ValueError if shapes, dtypes or devices disagree; on a GPU also for a head dimension that is no multiple of 8 or
    more than 256, a scale that is not positive, dtypes other than float64, float32, bfloat16 and float16, compute capabilities below 8.0, and
    build="gluon" where it cannot run. RuntimeError if the Hopper kernels disagree with the portable ones.
    """
    del deterministic
    if is_traced():
        cuts, lengths, parent = (layout, None, None) if isinstance(layout, Tensor) else (layout.cu_seqlens, *_host_of(layout))
        return _operator(q, k, v, cuts, lengths, parent, causal, window, scale, softcap, build)[0]  # type: ignore[no-any-return]
    layout = as_layout(layout)
    _host_of(layout)
    check_attention(q, k, v, layout.num_tokens, window, softcap)
    scale = q.shape[2] ** -0.5 if scale is None else float(scale)
    forward, backward = _implementation(q, layout, build)
    if forward is None:
        return attention_reference(q, k, v, layout, causal=causal, window=window, scale=scale, softcap=softcap)
    if needs_grad(q, k, v):
        return _Attention.apply(q, k, v, layout, causal, window, scale, softcap, forward, backward)
    return forward(q, k, v, layout, causal, window, scale, softcap, False)[0]


def _host_of(layout: Layout) -> tuple[Tensor, Tensor | None]:
    if layout.is_paged:
        raise ValueError("layout must be packed, got a paged one: call paged_attention")
    return layout.host


def attention_reference(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout | Tensor, *, causal: bool = True, window: int | None = None,
    scale: float | None = None, softcap: float | None = None,
) -> Tensor:
    """`attention` in plain torch, a document and a chunk of queries at a time; float64 stays float64, lower precisions compute in float32."""
    layout = as_layout(layout)
    check_attention(q, k, v, layout.num_tokens, window, softcap)
    if q.shape[0] == 0:
        return q * (k.sum() + v.sum())  # nothing, of which all three have a gradient, as elsewhere
    scale = q.shape[2] ** -0.5 if scale is None else float(scale)
    outputs = [q[:0]]
    for rows, first, *seen in _chunks(layout):
        keys, values = (torch.cat([x[part] for part in seen]) for x in (k, v))
        outputs.append(attend(q[rows], keys, values, first, causal=causal, window=window, scale=scale, softcap=softcap))
    outputs.append(torch.zeros_like(q[layout.num_tokens :]))
    return torch.cat(outputs)


def _chunks(layout: Layout) -> Iterator[tuple[Any, ...]]:
    """(rows, the first row's position, its parent's rows if it has one, its document's rows) of each chunk of queries."""
    starts = [0]
    for length in layout.lengths:
        starts.append(starts[-1] + length)
    for b, length in enumerate(layout.lengths):
        parent = layout.parent[b] if layout.parent is not None else -1
        seen = [slice(starts[i], starts[i + 1]) for i in ([parent] if parent >= 0 else []) + [b]]
        before = layout.lengths[parent] if parent >= 0 else 0
        for first in range(0, length, _QUERY_CHUNK):
            yield slice(starts[b] + first, starts[b] + min(first + _QUERY_CHUNK, length)), before + first, *seen


def attention_backward_reference(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, layout: Layout, *, causal: bool, window: int | None, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v in plain torch without autograd, which an operator's kernel cannot use."""
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    grads = [torch.zeros(x.shape, dtype=dtype, device=x.device) for x in (q, k, v)]
    for rows, first, *seen in _chunks(layout):
        keys, values = (torch.cat([x[part] for part in seen]).to(dtype).repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        x, above = q[rows].to(dtype), grad[rows].to(dtype)
        score = torch.einsum("nhd,lhd->hnl", x, keys) * scale
        bent = torch.ones_like(score)
        if softcap is not None:
            score = torch.tanh(score / softcap)
            score, bent = softcap * score, 1 - score.square()
        p = torch.softmax(score.masked_fill(_hidden(len(x), first, 0, len(keys), causal, window, q.device), -torch.inf), -1)
        slope = torch.einsum("nhd,lhd->hnl", above, values)
        slope = p * (slope - (p * slope).sum(-1, keepdim=True)) * bent * scale
        grads[0][rows] = torch.einsum("hnl,lhd->nhd", slope, keys)
        for total, weights, of in ((grads[1], slope, x), (grads[2], p, above)):
            part = torch.einsum("hnl,nhd->lhd", weights, of).unflatten(1, (k.shape[1], -1)).sum(2)
            for at, piece in zip(seen, part.split([s.stop - s.start for s in seen])):
                total[at] += piece
    return grads[0].to(q.dtype), grads[1].to(k.dtype), grads[2].to(v.dtype)


def _hidden(n: int, first: int, start: int, stop: int, causal: bool, window: int | None, device: torch.device) -> Tensor:
    """bool [n, stop - start]: the keys that queries at positions first, first + 1, ... do not see."""
    here = torch.arange(first, first + n, device=device)[:, None]
    there = torch.arange(start, stop, device=device)
    hidden = (there > here) if causal else torch.zeros(n, stop - start, dtype=torch.bool, device=device)
    return hidden if window is None else hidden | (there <= here - window)


def attend(
    q: Tensor, keys: Tensor, values: Tensor, first: int, *, causal: bool, window: int | None, scale: float, softcap: float | None
) -> Tensor:
    """Attention of q [n, Hq, D] at positions first, first + 1, ... over keys and values [L, Hkv, D] at positions 0 to L - 1."""
    n, heads, dim = q.shape
    stop = first + n if causal else keys.shape[0]
    start = max(0, first - window + 1) if window is not None else 0
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    grouped = q.to(dtype).view(n, keys.shape[1], -1, dim).permute(1, 2, 0, 3).flatten(1, 2)  # [Hkv, G n, D]
    scores = torch.matmul(grouped, keys[start:stop].to(dtype).permute(1, 2, 0)) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    hidden = _hidden(n, first, start, stop, causal, window, q.device)
    scores = scores.masked_fill(hidden.repeat(heads // keys.shape[1], 1), -torch.inf)
    out = torch.matmul(torch.softmax(scores, dim=-1), values[start:stop].to(dtype).transpose(0, 1))
    return out.view(keys.shape[1], -1, n, dim).permute(2, 0, 1, 3).reshape(n, heads, dim).to(q.dtype)


def _run(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, parent: Tensor | None, causal: bool, window: int | None,
    scale: float | None, softcap: float | None, build: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out [T, Hq, D], what the backward kernel needs, float32 [Hq T])"""
    layout = layout_of(cu_seqlens, lengths, parent)
    check_attention(q, k, v, layout.num_tokens, window, softcap)
    scale = q.shape[2] ** -0.5 if scale is None else scale
    forward, _ = _implementation(q, layout, build)
    if forward is None:
        out = attention_reference(q, k, v, layout, causal=causal, window=window, scale=scale, softcap=softcap)
        return out, torch.zeros(q.shape[0] * q.shape[1], device=q.device)
    out, lse = forward(q, k, v, layout, causal, window, scale, softcap, True)
    return out, lse.view(-1)


def _run_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, parent: Tensor | None,
    causal: bool, window: int | None, scale: float | None, softcap: float | None, build: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    layout = layout_of(cu_seqlens, lengths, parent)
    _, backward = _implementation(q, layout, build)
    scale = q.shape[2] ** -0.5 if scale is None else scale
    if backward is None:
        return attention_backward_reference(grad, q, k, v, layout, causal=causal, window=window, scale=scale, softcap=softcap)
    return backward(grad, q, k, v, out, lse, layout, causal, window, scale, softcap)  # type: ignore[no-any-return]


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, causal, window, scale, softcap, build = inputs
    ctx.save_for_backward(*tensors[:3], *output, *tensors[3:])
    ctx.options = causal, window, scale, softcap, build


def _gradients(ctx, grad, _):  # type: ignore[no-untyped-def]
    return *_backward_operator(grad, *ctx.saved_tensors, *ctx.options), *[None] * 8


_operator = operator(
    "attention", _run, lambda q, *_: (q.new_empty(q.shape), q.new_empty(q.shape[0] * q.shape[1], dtype=torch.float32))
)
_backward_operator = operator("attention_backward", _run_backward, lambda grad, q, k, v, *_: tuple(x.new_empty(x.shape) for x in (q, k, v)))
_operator.register_autograd(_gradients, setup_context=_keep)
