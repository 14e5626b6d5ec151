"""The Triton forward of linear_logprob against float64, in the interpreter or on a GPU; rows that depend on nothing else; sharded heads."""

import pytest
import torch

from paradigm.kernels.linear_logprob import linear_logprob, linear_logprob_reference
from tests.kernels.test_linear_logprob import make

triton_module = pytest.importorskip("paradigm.kernels.linear_logprob_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
SMALL = [(1, 8, 3), (33, 48, 75), (70, 40, 300)]
LARGE = [(257, 192, 5000)] if torch.cuda.is_available() else [(3, 16, 8500)]  # more than one range


def moved(tensors: list, device: str) -> list:
    return [t if t is None else tuple(x.to(device) for x in t) if isinstance(t, tuple) else t.detach().to(device) for t in tensors]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "width", "vocab"), SMALL + LARGE)
def test_forward_matches_float64(rows: int, width: int, vocab: int, masked: bool, dtype: torch.dtype, device: str) -> None:
    hidden, weight, targets, support = moved(list(make(rows, width, vocab, dtype, masked)), device)
    logprob, entropy = triton_module.linear_logprob_forward(hidden, weight, targets, 0.7, support)
    wanted = linear_logprob_reference(hidden.double(), weight.double(), targets, temperature=0.7, support=support)
    for ours, truth in zip((logprob, entropy), wanted):
        assert ours.dtype == torch.float32 and ours.shape == (rows,)
        assert ((ours - truth).abs() <= 2e-5 * (1 + truth.abs())).all()


@pytest.mark.parametrize("device", DEVICES)
def test_an_illegal_target_is_impossible(device: str) -> None:
    hidden, weight = torch.ones(2, 16, device=device), torch.randn(40, 16, generator=torch.Generator().manual_seed(0)).to(device)
    support = (torch.tensor([0, -1], dtype=torch.int32, device=device), torch.tensor([[0b110, 0]], dtype=torch.int32, device=device))
    logprob, entropy = triton_module.linear_logprob_forward(hidden, weight, torch.tensor([5, 5], device=device), 1.0, support)
    assert logprob[0] == -torch.inf and torch.isfinite(logprob[1]) and torch.isfinite(entropy).all()


@pytest.mark.parametrize("device", DEVICES)
def test_rows_depend_on_nothing_else(device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(70, 40, 300, torch.bfloat16, False)), device)
    whole = triton_module.linear_logprob_forward(hidden, weight, targets, 1.0, None)
    for rows in (torch.tensor([3]), torch.arange(17), torch.randperm(70, generator=torch.Generator().manual_seed(0))):
        rows = rows.to(device)
        some = triton_module.linear_logprob_forward(hidden[rows], weight, targets[rows], 1.0, None)
        assert all(torch.equal(a, b[rows]) for a, b in zip(some, whole))


@pytest.mark.parametrize("device", DEVICES)
def test_a_head_in_shards_is_the_whole_head(device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(33, 48, 300, torch.float32, False)), device)
    shards = [triton_module.range_statistics(hidden, weight[first:last], targets - first) for first, last in ((0, 64), (64, 200), (200, 300))]
    together = triton_module.RangeStatistics(*(torch.cat(parts) for parts in zip(*shards)))
    for ours, truth in zip(triton_module.combine(together), linear_logprob(hidden, weight, targets)):
        torch.testing.assert_close(ours, truth, rtol=1e-5, atol=1e-5)
