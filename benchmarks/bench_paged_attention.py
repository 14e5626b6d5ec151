"""Decode attention: one new token of each sequence over its paged cache, against torch's attention on gathered keys and FlashInfer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting
from paradigm.kernels import Layout, PagedCache, paged_attention

SUMMARY = "one new token of each of B sequences over L cached ones, 64 / 8 heads of 128; GB/s of keys and values read"
RIVALS = {"flashinfer": "flashinfer-python"}

_BLOCK_SIZE = 16
_UNFAIR = (
    "To paradigm: it also writes the new keys and values. torch's keys have been gathered to [B, heads, L, D] beforehand, for nothing, and all "
    "sequences are of one length, so that it needs no mask. FlashInfer has planned beforehand."
)


def cases(setting: Setting) -> Iterator[Case]:
    on_gpu = setting.device.startswith("cuda")
    heads = (64, 8, 128) if on_gpu else (8, 2, 64)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    for batch, context in ((4, 128),) if setting.quick else ((1, 2048), (32, 2048), (32, 8192)) if on_gpu else ((8, 1024),):
        read = 2 * batch * context * heads[1] * heads[2] * dtype.itemsize
        yield Case(
            op="paged_attention", shape=f"batch {batch}, context {context}, heads {heads[0]}/{heads[1]}, dim {heads[2]}",
            dtype=str(dtype).removeprefix("torch."), config=f"decode, blocks of {_BLOCK_SIZE} in random order", unit="GB/s", reference="torch",
            work=read / 1e9, cost=1e9, ceiling="copy",
            providers={
                "paradigm": lambda size=(batch, context): _paradigm(*size, heads, dtype, setting.device),
                "torch": lambda size=(batch, context): _torch(*size, heads, dtype, setting.device),
                "flashinfer": lambda size=(batch, context): _flashinfer(*size, heads, dtype, setting.device),
            },
            packages=("flashinfer-python", "triton"), unfair=_UNFAIR,
            prediction="on an H100 a third of the copy ceiling at batch 1, where a launch costs as much as the reading; three quarters at 32",
        )  # fmt: skip


def _random(*shape: int, dtype: torch.dtype, device: str) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=device, generator=torch.Generator(device).manual_seed(0))


def _table(batch: int, context: int, device: str) -> Tensor:
    blocks = context // _BLOCK_SIZE
    order = torch.randperm(batch * blocks, generator=torch.Generator().manual_seed(0)) + 1
    return order.to(device, torch.int32).view(batch, blocks)


def _paradigm(batch: int, context: int, heads: tuple[int, int, int], dtype: torch.dtype, device: str) -> Contestant:
    query_heads, kv_heads, dim = heads
    table = _table(batch, context, device)
    cache = PagedCache(1, 1 + table.numel(), kv_heads, dim, block_size=_BLOCK_SIZE, dtype=dtype, device=device)
    for part in (cache.keys, cache.values):
        part.normal_(generator=torch.Generator(device).manual_seed(0))
    q, k, v = (_random(batch, h, dim, dtype=dtype, device=device) for h in (query_heads, kv_heads, kv_heads))
    cuts = torch.arange(batch + 1, dtype=torch.int32, device=device)
    contexts = torch.full((batch,), context, dtype=torch.int32, device=device)
    layout = Layout.paged(cuts, contexts - 1, contexts, cuts[:-1], table, cache)

    def step() -> None:
        paged_attention(q, k, v, layout, 0)

    return Contestant(*_replayed(step, device))


def _replayed(step: Callable[[], None], device: str) -> tuple[Callable[[], None], str]:
    """On a GPU as a CUDA graph, as a decode step is run: without the launches' time on the host."""
    if not device.startswith("cuda"):
        return step, ""
    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay, "as a CUDA graph"


def _torch(batch: int, context: int, heads: tuple[int, int, int], dtype: torch.dtype, device: str) -> Contestant:
    query_heads, kv_heads, dim = heads
    q = _random(batch, query_heads, 1, dim, dtype=dtype, device=device)
    k, v = (_random(batch, kv_heads, context, dim, dtype=dtype, device=device) for _ in range(2))

    def step() -> None:
        F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    return Contestant(*_replayed(step, device))


def _flashinfer(batch: int, context: int, heads: tuple[int, int, int], dtype: torch.dtype, device: str) -> Contestant:
    import flashinfer

    query_heads, kv_heads, dim = heads
    table = _table(batch, context, device) - 1
    cache = _random(table.numel(), 2, _BLOCK_SIZE, kv_heads, dim, dtype=dtype, device=device)
    q = _random(batch, query_heads, dim, dtype=dtype, device=device)
    wrapper: Any = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        torch.empty(256 << 20, dtype=torch.uint8, device=device), "NHD", use_tensor_cores=True
    )
    starts = torch.arange(batch + 1, dtype=torch.int32, device=device) * table.shape[1]
    last = torch.full((batch,), _BLOCK_SIZE, dtype=torch.int32, device=device)
    wrapper.plan(starts, table.flatten(), last, query_heads, kv_heads, dim, _BLOCK_SIZE, q_data_type=dtype, kv_data_type=dtype)

    def step() -> None:
        wrapper.run(q, cache)

    return Contestant(step, "tensor cores, planned beforehand")
