"""Paged attention: every way of feeding a sequence gives, bit for bit, what attention over the packed documents gives."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.attention import attention
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.paged_attention import paged_attention, paged_attention_reference

LENGTHS = [50, 1, 37]
STARTS = [0, 50, 51]
LAYER = 1
Inputs = tuple[Tensor, Tensor, Tensor]


def make(dtype: torch.dtype, dim: int) -> Inputs:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(88, h, dim, generator=generator).to(dtype) for h in (6, 2, 2))
    return q, k, v


def int32(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def feed(function: Any, inputs: Inputs, step: int, block_size: int = 16, padding: int = 0, empty: int = 0, **options: Any) -> Tensor:
    """Outputs [88, Hq, D] when every sequence is fed `step` tokens at a time, its cache full of NaN where nothing was written.

    padding: rows behind the tokens; empty: sequences behind the others that are fed nothing, in a layout with positions for the padding.
    """
    q, k, v = inputs
    device = q.device
    cache = PagedCache(2, 40, k.shape[1], k.shape[2], block_size=block_size, dtype=k.dtype, device=device)
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    table = (torch.randperm(39, generator=torch.Generator().manual_seed(1))[:24].view(4, 6) + 1).to(torch.int32)
    slots, out = int32([3, 0, 2]), torch.full_like(q, torch.nan)
    for begin in range(0, max(LENGTHS), step):
        live = [b for b, length in enumerate(LENGTHS) if begin < length]
        fed = [min(step, LENGTHS[b] - begin) for b in live]
        rows = torch.cat([torch.arange(STARTS[b] + begin, STARTS[b] + begin + n) for b, n in zip(live, fed)])
        positions = torch.cat([torch.arange(begin, begin + n) for n in fed]).to(torch.int32)
        cuts = int32([0, *torch.tensor(fed).cumsum(0).tolist()])
        contexts, at = int32([begin + n for n in fed] + [0] * empty), torch.cat([slots[live], int32([0] * empty)])
        if empty:
            cuts, positions = torch.cat([cuts, cuts[-1:].repeat(empty)]), torch.cat([positions, int32([0] * padding)])
        fields = (cuts, positions, contexts, at, table)
        layout = Layout.paged(*(x.to(device) for x in fields), cache)
        pad = [torch.cat([x[rows], torch.full_like(x[:padding], torch.nan)]) for x in (q, k, v)]
        result = function(*pad, layout, LAYER, **options)
        assert not result[len(rows) :].any()
        out[rows] = result[: len(rows)]
    assert cache.keys[0].isnan().all(), "another layer was written"
    assert cache.keys[LAYER, 0].isnan().all() and cache.values[LAYER, 0].isnan().all(), "the null block was written"
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("dim", "options"), [(32, {}), (40, {}), (64, {"window": 9, "softcap": 2.0}), (128, {"window": 33, "scale": 0.5})])
def test_decode_chunks_and_whole_prefills_equal_packed_attention(dim: int, options: dict[str, Any], dtype: torch.dtype) -> None:
    assert "paged_attention" in CPU, "the C++ kernels are not registered"
    inputs = make(dtype, dim)
    packed = attention(*inputs, Layout([0, 50, 51, 88]), **options)
    for step, block_size, padding in ((1, 16, 0), (7, 16, 5), (50, 32, 0)):
        assert torch.equal(feed(paged_attention, inputs, step, block_size, padding, **options), packed), f"fed {step} tokens at a time"


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    inputs, before = make(torch.float32, 64), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(feed(paged_attention, inputs, 13), attention(*inputs, Layout([0, 50, 51, 88])))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_agrees_with_the_reference(dtype: torch.dtype) -> None:
    inputs = make(dtype, 32)
    tolerance = {"rtol": 1e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 8e-3, "atol": 8e-3}
    for step in (1, 16):
        torch.testing.assert_close(feed(paged_attention, inputs, step), feed(paged_attention_reference, inputs, step), **tolerance)


@pytest.mark.parametrize("function", [paged_attention, paged_attention_reference])
def test_a_step_padded_to_a_shape_gives_the_same_rows(function: Any) -> None:
    inputs = make(torch.float32, 32)
    for step, padding, empty in ((1, 3, 5), (13, 1, 1), (50, 8, 2)):
        assert torch.equal(feed(function, inputs, step, padding=padding, empty=empty), feed(function, inputs, step))


def test_without_a_mask_a_chunk_sees_its_whole_context() -> None:
    inputs = make(torch.float32, 32)
    packed = attention(*inputs, Layout([0, 50, 51, 88]), causal=False)
    assert torch.equal(feed(paged_attention, inputs, 50, causal=False), packed)


def test_sequences_share_a_prefix_block() -> None:
    q, k, v = make(torch.float32, 32)
    cache = PagedCache(1, 8, 2, 32)
    prefix = Layout.paged(int32([0, 16]), torch.arange(16).int(), int32([16]), int32([0]), int32([[1, 0]]), cache)
    paged_attention(q[:16], k[:16], v[:16], prefix, 0)
    both = Layout.paged(int32([0, 1, 2]), int32([16, 16]), int32([17, 17]), int32([0, 1]), int32([[1, 2], [1, 3]]), cache)
    out = paged_attention(q[16:18], k[16:18], v[16:18], both, 0)
    for i in (16, 17):
        rows = torch.tensor([*range(16), i])
        assert torch.equal(attention(q[rows], k[rows], v[rows], Layout([0, 17]))[16], out[i - 16])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_lengths": int32([40])}, r"context_lengths\[0\] must be in \[4, 32\], got 40"),
        ({"context_lengths": int32([3])}, r"context_lengths\[0\] must be in \[4, 32\], got 3"),
        ({"slots": int32([2])}, r"slots\[0\] must be a row of the block table's 1, got 2"),
        ({"block_table": int32([[9, 1]])}, r"block_table\[0, 0\] must be in \[0, 4\), got 9"),
        ({"slots": torch.tensor([0])}, "slots must be int32 on the CPU, got torch.int64"),
        ({"layer": 1}, r"layer must be in \[0, 1\), got 1"),
        ({"k": torch.zeros(4, 1, 8), "v": torch.zeros(4, 1, 8)}, "k must have the cache's 2 heads of 8"),
        ({"layout": Layout([0, 4])}, "layout must be paged"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    parts = {"context_lengths": int32([4]), "slots": int32([0]), "block_table": int32([[1, 2]])}
    parts.update({name: value for name, value in change.items() if name in parts})
    paged = Layout.paged(int32([0, 4]), torch.arange(4).int(), *parts.values(), PagedCache(1, 4, 2, 8))
    call = {"q": torch.zeros(4, 4, 8), "k": torch.zeros(4, 2, 8), "v": torch.zeros(4, 2, 8), "layout": paged, "layer": 0}
    with pytest.raises(ValueError, match=message):
        paged_attention(**{**call, **{name: value for name, value in change.items() if name in call}})
