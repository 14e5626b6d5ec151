"""paged_attention's Triton kernels against float64, in the interpreter or on a GPU; a query's bits depend on its own sequence alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.attention import attention_reference
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.paged_attention import paged_attention
from tests.kernels.test_paged_attention import feed, int32, make

triton_module = pytest.importorskip("paradigm.kernels.paged_attention_triton")

pytestmark = pytest.mark.usefixtures("on_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
CUTS = [0, 50, 51, 88]
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}  # relative to 1 + the value


@pytest.fixture
def short_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits of 32 keys, so that short contexts have several."""
    monkeypatch.setattr(triton_module, "SPLIT", 32)
    monkeypatch.setattr(triton_module, "_KEYS", {64: 32, 128: 32, 256: 16})


def moved(inputs: tuple[Tensor, ...], device: str) -> tuple[Tensor, ...]:
    return tuple(x.to(device) for x in inputs)


def truth(inputs: tuple[Tensor, ...], **options: Any) -> Tensor:
    return attention_reference(*(x.double() for x in inputs), Layout(CUTS), **options)


def assert_close(ours: Tensor, expected: Tensor) -> None:
    assert ((ours - expected).abs() <= TOLERANCE[ours.dtype] * (1 + expected.abs())).all()


@pytest.mark.usefixtures("short_splits")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dim", "dtype", "options", "steps"),
    [
        (16, torch.float32, {}, (1, 50)),
        (40, torch.bfloat16, {}, (13, 20)),
        (32, torch.float16, {"window": 9, "softcap": 2.0}, (40, 13)),
        (24, torch.float32, {"scale": -3.0, "softcap": 5.0, "window": 33}, (20, 37)),
        (16, torch.bfloat16, {"scale": 40.0}, (50, 29)),
    ],
)
def test_every_way_of_feeding_matches_float64_and_gives_the_same_bits(
    dim: int, dtype: torch.dtype, options: dict[str, Any], steps: tuple[int, int], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = moved(make(dtype, dim), device)
    whole = feed(paged_attention, inputs, 50, 16, 3, **options)
    assert_close(whole, truth(inputs, **options))
    for step, block_size, limit in zip(steps, (16, 32), (1 << 30, 0)):
        monkeypatch.setattr(triton_module, "_PARTIAL_BYTES", limit)
        assert torch.equal(feed(paged_attention, inputs, step, block_size, 2, **options), whole), f"fed {step} tokens at a time"


@pytest.mark.usefixtures("short_splits")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_padded_to_a_shape_gives_the_same_rows(dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = moved(make(dtype, 16), device)
    for limit, step, padding, empty in ((1 << 30, 20, 3, 5), (0, 29, 1, 1)):
        monkeypatch.setattr(triton_module, "_PARTIAL_BYTES", limit)
        plain = feed(paged_attention, inputs, step)
        assert torch.equal(feed(paged_attention, inputs, step, padding=padding, empty=empty), plain)


@pytest.mark.usefixtures("short_splits")
@pytest.mark.parametrize("device", DEVICES)
def test_without_a_mask_a_chunk_sees_its_whole_context(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, options = moved(make(torch.float32, 32), device), {"window": 21}
    whole = feed(paged_attention, inputs, 50, causal=False, **options)
    assert_close(whole, truth(inputs, causal=False, **options))
    monkeypatch.setattr(triton_module, "_PARTIAL_BYTES", 0)
    assert torch.equal(feed(paged_attention, inputs, 50, causal=False, **options), whole)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("query_heads", "kv_heads"), [(1, 1), (7, 1), (5, 5), (80, 1)])
def test_heads_of_any_number(query_heads: int, kv_heads: int, device: str) -> None:
    generator = torch.Generator().manual_seed(5)
    fused = torch.randn(88, query_heads + 2 * kv_heads, 24, generator=generator, dtype=torch.float32).to(device)
    parts = fused.split([query_heads, kv_heads, kv_heads], 1)  # no part is contiguous
    fields = (int32(CUTS), torch.arange(88).int(), int32([50, 1, 37]), int32([0, 2, 1]), torch.arange(1, 13).int().view(3, 4))
    layout = Layout.paged(*(x.to(device) for x in fields), PagedCache(1, 13, kv_heads, 24, device=device))
    assert_close(paged_attention(*parts, layout, 0), truth(parts))


def decode_step(sequences: list[int], contexts: list[int], device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Layout]:
    """One new token of each of some of 8 sequences, whose caches hold random values."""
    generator = torch.Generator().manual_seed(7)
    cache = PagedCache(1, 49, 2, 32, dtype=dtype, device=device)
    for part in (cache.keys, cache.values):
        part.copy_(torch.randn(part.shape, generator=generator))
    q, k, v = (torch.randn(8, h, 32, generator=generator).to(dtype)[sequences].to(device) for h in (6, 2, 2))
    table = torch.arange(1, 49, dtype=torch.int32).view(8, 6)
    n = len(sequences)
    fields = (torch.arange(n + 1), int32(contexts) - 1, int32(contexts), int32(sequences), table)
    layout = Layout.paged(*(x.to(device, torch.int32) for x in fields), cache)
    return paged_attention(q, k, v, layout, 0), layout


@pytest.mark.usefixtures("short_splits")
@pytest.mark.parametrize("device", DEVICES)
def test_a_sequence_depends_neither_on_the_others_nor_on_who_merges_its_splits(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [90, 1, 33, 96, 64, 17, 32, 5]  # three splits at most
    whole, _ = decode_step(list(range(8)), contexts, device)
    with monkeypatch.context() as patch:
        patch.setattr(triton_module, "_PARTIAL_BYTES", 0)
        assert torch.equal(decode_step(list(range(8)), contexts, device)[0], whole)
    for some in ([3], [7, 0], [4, 1, 2, 6, 5]):
        alone, _ = decode_step(some, [contexts[i] for i in some], device)
        assert torch.equal(alone, whole[some])


@pytest.mark.usefixtures("short_splits")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_context_that_cannot_be_is_nan_and_writes_nothing(limit: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "_PARTIAL_BYTES", limit)
    whole, intact = decode_step([0, 1, 2, 3], [40, 41, 42, 43], device)
    out, layout = decode_step([0, 1, 2, 3], [40, 97, 0, 43], device)
    assert out[1:3].isnan().all() and torch.equal(out[[0, 3]], whole[[0, 3]])
    before = decode_step([0, 3], [40, 43], device)[1].cache
    assert torch.equal(layout.cache.keys, before.keys) and torch.equal(layout.cache.values, before.values)
    assert not torch.equal(layout.cache.keys, intact.cache.keys)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_fed(device: str) -> None:
    cache = PagedCache(1, 2, 2, 16, device=device)
    fields = (int32([0]), int32([]), int32([]), int32([]), int32([[1]]))
    layout = Layout.paged(*(x.to(device) for x in fields), cache)
    out = paged_attention(*(torch.ones(3, h, 16, device=device) for h in (4, 2, 2)), layout, 0)
    assert out.shape == (3, 4, 16) and not out.any() and not cache.keys.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slots": torch.tensor([0])}, r"slots must be int32 on .*, got torch.int64"),
        ({"cache": PagedCache(1, 4, 1, 264)}, "head dimension must be at most 256 on a GPU, got 264"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {"slots": int32([0]), "block_table": int32([[1]]), "cache": PagedCache(1, 4, 1, 8), **change}
    layout = Layout.paged(int32([0, 1]), int32([0]), int32([1]), *parts.values())
    with pytest.raises(ValueError, match=message):
        paged_attention(*(torch.zeros(1, 1, parts["cache"].keys.shape[3]) for _ in range(3)), layout, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fed", [1, 5, 300])
@pytest.mark.parametrize("window", [None, 1000])
def test_real_shapes_match_float64_and_give_the_same_bits(window: int | None, fed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, longest, block_size = 32, 8192, 16
    generator = torch.Generator("cuda").manual_seed(0)
    contexts = torch.randint(fed, longest + 1, (batch,), device="cuda", generator=generator, dtype=torch.int32)
    contexts[0] = longest
    blocks = longest // block_size
    cache = PagedCache(1, 1 + batch * blocks, 8, 128, dtype=torch.bfloat16, device="cuda")
    for part in (cache.keys, cache.values):
        part.normal_(generator=generator)
    table = (1 + torch.randperm(batch * blocks, device="cuda", generator=generator)).int().view(batch, blocks)
    q, k, v = (torch.randn(batch * fed, h, 128, device="cuda", generator=generator).bfloat16() for h in (64, 8, 8))
    cuts = torch.arange(0, batch * fed + 1, fed, device="cuda", dtype=torch.int32)
    positions = (contexts[:, None] - fed + torch.arange(fed, device="cuda", dtype=torch.int32)).flatten()
    layout = Layout.paged(cuts, positions, contexts, torch.arange(batch, device="cuda", dtype=torch.int32), table, cache)
    results = []
    for limit in (0, 1 << 33):
        monkeypatch.setattr(triton_module, "_PARTIAL_BYTES", limit)
        results.append(paged_attention(q, k, v, layout, 0, window=window))
    assert torch.equal(*results)
    for b in (0, 7, 31):
        rows, here = slice(b * fed, (b + 1) * fed), slice(0, int(contexts[b]))
        keys = cache.keys[0][table[b].long()].permute(0, 3, 1, 2).flatten(0, 1)[here].double()
        values = cache.values[0][table[b].long()].transpose(1, 2).flatten(0, 1)[here].double()
        assert torch.equal(keys[-fed:], k[rows].double()) and torch.equal(values[-fed:], v[rows].double())
        padded = torch.zeros(len(keys), 64, 128, device="cuda", dtype=torch.float64)
        padded[-fed:] = q[rows].double()
        assert_close(results[0][rows], attention_reference(padded, keys, values, Layout([0, len(keys)]), window=window)[-fed:])
        single = Layout.paged(cuts[:2], positions[rows], contexts[b : b + 1], layout.slots[b : b + 1], table, cache)
        assert torch.equal(paged_attention(q[rows], k[rows], v[rows], single, 0, window=window), results[0][rows])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_replays_with_other_contexts() -> None:
    cache = PagedCache(1, 65, 2, 64, dtype=torch.bfloat16, device="cuda")
    for part in (cache.keys, cache.values):
        part.normal_()
    q, k, v = (torch.randn(4, h, 64, device="cuda").bfloat16() for h in (8, 2, 2))
    contexts = torch.tensor([3, 100, 17, 256], dtype=torch.int32, device="cuda")
    table = torch.arange(1, 65, dtype=torch.int32, device="cuda").view(4, 16)
    cuts = torch.arange(5, dtype=torch.int32, device="cuda")
    layout = Layout.paged(cuts, contexts - 1, contexts, cuts[:4], table, cache)
    paged_attention(q, k, v, layout, 0)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = paged_attention(q, k, v, layout, 0)
    for lengths in ([3, 100, 17, 256], [250, 1, 64, 16]):
        contexts.copy_(torch.tensor(lengths))
        graph.replay()
        assert torch.equal(out, paged_attention(q, k, v, layout, 0))
