"""Attention of newly fed tokens over keys and values that lie in fixed blocks of a PagedCache: attention.py's equation, paged.

The new tokens' keys and values are written into the cache first, so a decode step, a chunked prefill and a whole prefill are one call.
Query i of a sequence stands at position context_length - fed + i and reads the cache up to itself, or all of it if not causal.
On a GPU it is Triton's (paged_attention_triton.py), on the CPU C++.
"""

# B sequences, T tokens fed now, Hq query heads, Hkv key-value heads, D head dimension

from __future__ import annotations

import torch
from torch import Tensor

from paradigm.kernels.attention import attend, check_attention, fits_cpu
from paradigm.kernels.checks import check_device
from paradigm.kernels.cpu_slots import cpu_slot, runs_triton
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.operators import is_traced, operator
from paradigm.kernels.shared_prefixes import SharedPrefixes


def paged_attention(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, layer: int, *, causal: bool = True, window: int | None = None,
    scale: float | None = None, softcap: float | None = None,
) -> Tensor:
    """Writes k and v into `layout.cache` at `layer`, then attends. No gradient. Equal to `attention` bitwise on CPU float32 and bfloat16.

    On a GPU, in float32, bfloat16 and float16, a query's result is by construction (not yet checked on one) bitwise the same whatever else is
    fed, but it is not `attention`'s; nothing waits for the device, so a context that is too long or too short for its table or its tokens
    makes its sequence's result NaN, and `check_flags` raises (kernels/flags.py); slots and blocks that are out of range are not seen.

    Args:
        q, k, v: [T, Hq, D], [T, Hkv, D], [T, Hkv, D], one dtype. Rows past the last of the layout's cu_seqlens are padding: not written, their
            result is 0, whether the layout has positions for them or not. Sequences that are fed nothing are passed over.
        layout: a paged Layout; no two sequences may be fed into one block in the same call, nor may one read what another is fed in it. Its
            `prefixes`, on a GPU, spare it reading shared blocks again, and change no bit.
        layer: which of the cache's layers.
        causal, window, scale, softcap: as in `attention`. Without causal a query sees its sequence's context_length tokens.
    Returns: [T, Hq, D]. Raises: ValueError if shapes, dtypes or devices disagree, or a block table is too short.
    """
    if is_traced() and layout.is_paged:
        of_batch = (layout.cu_seqlens, layout.positions, layout.context_lengths, layout.slots, layout.block_table)
        detached = (x.detach() for x in (q, k, v))
        options = (layer, causal, window, scale, softcap, *(layout.prefixes or (None, None, None, 0)))
        return _operator(*detached, layout.cache.keys, layout.cache.values, *of_batch, *options)  # type: ignore[no-any-return]
    _check(q, k, v, layout, layer, window, softcap)
    scale = q.shape[2] ** -0.5 if scale is None else float(scale)
    if runs_triton(q):
        from paradigm.kernels.paged_attention_triton import paged_attention_forward  # Triton takes a second to import

        return paged_attention_forward(q, k, v, layout, layer, causal=causal, window=window, scale=scale, softcap=softcap)
    forward = cpu_slot("paged_attention", q) if fits_cpu(q.shape[2]) and layout.cache.block_size % 16 == 0 else None
    if forward is None:
        return paged_attention_reference(q, k, v, layout, layer, causal=causal, window=window, scale=scale, softcap=softcap)
    return forward(q, k, v, layout, layer, causal, window, scale, softcap)


def _check(q: Tensor, k: Tensor, v: Tensor, layout: Layout, layer: int, window: int | None, softcap: float | None) -> None:
    if not layout.is_paged:
        raise ValueError("layout must be paged, got a packed one: call attention")
    check_attention(q, k, v, layout.num_tokens, window, softcap)
    keys, k_shape = layout.cache.keys, k.shape
    layers, _, heads, dim, _ = keys.shape
    if not 0 <= layer < layers:
        raise ValueError(f"layer must be in [0, {layers}), got {layer}")
    check_device("q", q, cache=keys)
    if keys.dtype != k.dtype or heads != k_shape[1] or dim != k_shape[2]:
        raise ValueError(f"k must have the cache's {heads} heads of {dim} in {keys.dtype}, got {list(k_shape[1:])} in {k.dtype}")


@torch.no_grad()
def paged_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, layer: int, *, causal: bool = True, window: int | None = None,
    scale: float | None = None, softcap: float | None = None,
) -> Tensor:
    """`paged_attention` in plain torch, a sequence at a time."""
    _check(q, k, v, layout, layer, window, softcap)
    scale = q.shape[2] ** -0.5 if scale is None else float(scale)
    size = layout.cache.block_size
    keys, values = layout.cache.keys[layer], layout.cache.values[layer]
    bounds, contexts, slots = layout.cu_seqlens.tolist(), layout.context_lengths.tolist(), layout.slots.tolist()
    first = [context - (bounds[b + 1] - bounds[b]) for b, context in enumerate(contexts)]
    for b, context in enumerate(contexts):
        if first[b] < 0 or context > layout.block_table.shape[1] * size:
            capacity = layout.block_table.shape[1] * size
            raise ValueError(f"context_lengths[{b}] must be in [{bounds[b + 1] - bounds[b]}, {capacity}], got {context}")
        positions = torch.arange(first[b], context, device=k.device)
        blocks = layout.block_table[slots[b]][positions // size].long()
        keys[blocks, :, :, positions % size] = k[bounds[b] : bounds[b + 1]]
        values[blocks, :, positions % size] = v[bounds[b] : bounds[b + 1]]
    outputs = []
    for b, context in enumerate(contexts):
        if bounds[b + 1] == bounds[b]:
            continue
        blocks = layout.block_table[slots[b]][: -(-context // size)].long()
        own_keys = keys[blocks].permute(0, 3, 1, 2).flatten(0, 1)[:context]
        own_values = values[blocks].transpose(1, 2).flatten(0, 1)[:context]
        rows = q[bounds[b] : bounds[b + 1]]
        outputs.append(attend(rows, own_keys, own_values, first[b], causal=causal, window=window, scale=scale, softcap=softcap))
    outputs.append(torch.zeros_like(q[bounds[-1] :]))
    return torch.cat(outputs)


def _run(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, cu_seqlens: Tensor, positions: Tensor, context_lengths: Tensor, slots: Tensor,
    block_table: Tensor, layer: int, causal: bool, window: int | None, scale: float | None, softcap: float | None, tokens: Tensor | None,
    cuts: Tensor | None, splits: Tensor | None, most: int,
) -> Tensor:  # fmt: skip
    prefixes = None if tokens is None or cuts is None or splits is None else SharedPrefixes(tokens, cuts, splits, most)
    layout = Layout.paged(cu_seqlens, positions, context_lengths, slots, block_table, PagedCache.of(keys, values), prefixes=prefixes)
    return paged_attention(q, k, v, layout, layer, causal=causal, window=window, scale=scale, softcap=softcap)


_operator = operator("paged_attention", _run, lambda q, *_: q.new_empty(q.shape), mutates=("keys", "values"))
