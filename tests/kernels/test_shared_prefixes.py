"""Prefixes that sequences share: which are found, that they are read once, and that this changes no bit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.paged_attention import paged_attention
from paradigm.kernels.shared_prefixes import SharedPrefixes, shared_prefixes
from tests.kernels.test_paged_attention import int32

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
# of 7 sequences: context, tokens fed now, and which blocks of 16 it begins with; splits of 32 keys
CONTEXTS = [100, 70, 97, 33, 40, 75, 99]
FED = [1, 3, 1, 1, 6, 1, 2]
STARTS = [(1, 2, 3, 4, 5), (1, 2, 3, 4), (1, 2, 3, 4, 5), (6, 7), (6, 7), (8, 9, 10, 11), (1, 2, 30, 31)]


def tables() -> dict[str, Tensor]:
    table = torch.arange(40, 40 + 8 * 7, dtype=torch.int32).view(8, 7)
    slots = [3, 0, 5, 7, 1, 2, 6]
    for slot, blocks in zip(slots, STARTS):
        table[slot, : len(blocks)] = int32(blocks)
    cuts = torch.tensor([0, *FED]).cumsum(0).int()
    return {"cu_seqlens": cuts, "context_lengths": int32(CONTEXTS), "slots": int32(slots), "block_table": table}


def test_sequences_that_begin_with_the_same_blocks_are_found() -> None:
    found = shared_prefixes(**tables(), block_size=16, split=32)
    # 0, 1, 2 and 6 share one split: 6 has another second one; 3 and 4 share one, which 4 (40 - 6 tokens in the cache) has behind it
    assert found is not None and found.most == 1
    assert found.splits.tolist() == [1, 1, 1, 1, 1, 0, 1]
    assert found.tokens.tolist() == [0, 1, 2, 3, 4, 13, 14, 5, 6, 7, 8, 9, 10, 11] and found.cuts.tolist() == [0, 7, 14]
    fields = tables()
    fields["block_table"][6, 2:4] = int32((3, 4))
    longer = shared_prefixes(**fields, block_size=16, split=32)
    assert longer is not None and longer.splits.tolist() == [2, 2, 2, 1, 1, 0, 2]
    fields["context_lengths"][4] = 37  # 31 tokens before those fed now
    assert shared_prefixes(**fields, block_size=16, split=32).splits.tolist() == [2, 2, 2, 0, 0, 0, 2]  # type: ignore[union-attr]
    assert shared_prefixes(**fields, block_size=16) is None


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="block_size must divide the split of 512 keys, got 24"):
        shared_prefixes(**tables(), block_size=24)
    with pytest.raises(ValueError, match="slots must be on the CPU, got meta"):
        shared_prefixes(**{**tables(), "slots": torch.zeros(7, dtype=torch.int32, device="meta")}, block_size=16)


@pytest.fixture
def triton_module(on_triton: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = pytest.importorskip("paradigm.kernels.paged_attention_triton")
    monkeypatch.setattr(module, "SPLIT", 32)
    monkeypatch.setattr(module, "_KEYS", {64: 32, 128: 32, 256: 16})
    return module


def attend(device: str, dtype: torch.dtype, prefixes: SharedPrefixes | None, fields: dict[str, Tensor], **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    cache = PagedCache(1, 96, 2, 32, dtype=dtype, device=device)
    for part in (cache.keys, cache.values):
        part.copy_(torch.randn(part.shape, generator=generator))
        part[0, 95] = torch.nan
    q, k, v = (torch.randn(sum(FED), heads, 32, generator=generator).to(dtype).to(device) for heads in (6, 2, 2))
    fed = {name: x.to(device) for name, x in fields.items()}
    positions = torch.zeros(sum(FED), dtype=torch.int32, device=device)
    layout = Layout.paged(fed["cu_seqlens"], positions, fed["context_lengths"], fed["slots"], fed["block_table"], cache, prefixes=prefixes)
    return paged_attention(q, k, v, layout, 0, **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "options"), [(torch.float32, {}), (torch.bfloat16, {"window": 50, "softcap": 3.0}), (torch.float32, {"causal": False})]
)
def test_shared_blocks_are_read_once_and_no_bit_differs(triton_module: Any, dtype: torch.dtype, options: dict[str, Any], device: str) -> None:
    fields = tables()
    fields["block_table"][6, 2:4] = int32((3, 4))
    alone = attend(device, dtype, None, fields, **options)
    prefixes = shared_prefixes(**fields, block_size=16, split=32)
    assert prefixes is not None and prefixes.most == 2
    assert torch.equal(attend(device, dtype, prefixes.to(device), fields, **options), alone)
    others = {name: x.clone() for name, x in fields.items()}
    for sequence in (1, 2, 6, 4):  # whose blocks nobody reads any more
        shared = int(prefixes.splits[sequence]) * 2
        others["block_table"][int(fields["slots"][sequence]), :shared] = 95
    assert torch.equal(attend(device, dtype, prefixes.to(device), others, **options), alone)
    assert not torch.equal(attend(device, dtype, None, others, **options), alone)


@pytest.mark.parametrize("device", DEVICES)
def test_prefixes_that_do_not_fit_the_layout(triton_module: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = tables()
    prefixes = shared_prefixes(**fields, block_size=16, split=32)
    assert prefixes is not None
    prefixes = prefixes.to(device)
    for bad, message in (
        (prefixes._replace(splits=prefixes.splits.long()), "prefixes.splits must be int32, contiguous and on .*, got torch.int64"),
        (prefixes._replace(splits=prefixes.splits[:3]), "prefixes.splits must be of the layout's 7 sequences, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            attend(device, torch.float32, bad, fields)
    fields["block_table"][0, 1] = 77
    monkeypatch.setenv("PARADIGM_DEBUG", "1")
    with pytest.raises(ValueError, match=r"prefixes must be of equal blocks that lie before the fed tokens, got group 0 of sequences \[0, 1, 2, 6\]"):
        attend(device, torch.float32, prefixes, fields)
