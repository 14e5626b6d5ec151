"""Bad data on a device: NaN where it matters, and a flag that tells of the first of it at the next read; at once when debugging."""

from collections.abc import Iterator

import pytest
import torch

from paradigm import kernels
from paradigm.kernels import flags
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear_logprob import linear_logprob
from tests.kernels.test_linear_logprob import make

head = pytest.importorskip("paradigm.kernels.linear_logprob_triton")
from paradigm.kernels.gae_triton import gae_forward  # noqa: E402
from paradigm.kernels.paged_attention_triton import paged_attention_forward  # noqa: E402
from paradigm.kernels.vtrace_triton import vtrace_forward  # noqa: E402

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
pytestmark = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def no_flag_is_left() -> Iterator[None]:
    kernels.check_flags()
    yield
    kernels.check_flags()


def test_the_first_target_out_of_the_vocabulary_is_told_once(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_FORWARD_CHUNK", 64)
    hidden, weight, targets, _ = (None if x is None else x.detach().to(device) for x in make(150, 8, 75, torch.float32, masked=False))
    bad = targets.clone()
    bad[140], bad[97] = 75, -(2**40)
    whole = head.linear_logprob_forward(hidden, weight, targets, 1.0, None)
    kernels.check_flags()
    for ours, right in zip(head.linear_logprob_forward(hidden, weight, bad, 1.0, None), whole):
        assert ours.isnan().nonzero().flatten().tolist() == [97, 140]
        assert torch.equal(ours[~ours.isnan()], right[~ours.isnan()])
    with pytest.raises(ValueError, match=rf"^targets must be in \[0, V\), got -2147483648 in row 97 on {device}[:0-9]*$"):
        kernels.check_flags()
    kernels.check_flags()


def test_a_flag_that_a_rollout_made_can_be_cleared(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "_FLAGS", {})
    with torch.inference_mode():
        raised = flags.flag("targets", torch.device(device))
    raised.fill_(1)
    with pytest.raises(ValueError, match="targets must be in"):
        kernels.check_flags()
    assert not raised.any()


def test_gradients_of_a_bad_row_are_nan(device: str) -> None:
    hidden, weight, targets, _ = (None if x is None else x.detach().to(device) for x in make(5, 8, 75, torch.float32, masked=False))
    targets[2] = 75
    grad_hidden, grad_weight = head.linear_logprob_backward(hidden, weight, targets, 1.0, None, torch.ones(5, device=device), None, True, True)
    assert grad_hidden.isnan().any(1).tolist() == [False, False, True, False, False] and grad_weight.isnan().any()
    with pytest.raises(ValueError, match="got 75 in row 2"):
        kernels.check_flags()


def test_a_mask_that_is_not_in_the_table(device: str) -> None:
    hidden, weight, targets, support = make(9, 8, 75, torch.float32, masked=True)
    hidden, weight, targets, ids, table = (x.detach().to(device) for x in (hidden, weight, targets, *support))
    ids[4], ids[6] = len(table), -2
    logprob, entropy = head.linear_logprob_forward(hidden, weight, targets, 1.0, (ids, table))
    assert logprob.isnan().nonzero().flatten().tolist() == entropy.isnan().nonzero().flatten().tolist() == [4, 6]
    with pytest.raises(ValueError, match=rf"support row ids must be in \[-1, S\), got {len(table)} in row 4"):
        kernels.check_flags()


@pytest.mark.parametrize(
    ("cuts", "episode", "value", "rows"),
    [([0, 4, 3, 9], 1, 3, []), ([0, 4, 6, 8], 2, 8, [6, 7, 8]), ([1, 4, 6, 9], 0, 4, [0, 1, 2, 3]), ([0, 4, 6, 11], 2, 11, [6, 7, 8])],
)
def test_episodes_that_do_not_cut_the_stream(cuts: list[int], episode: int, value: int, rows: list[int], device: str) -> None:
    streams, bootstrap = torch.zeros(9, device=device), torch.zeros(3, device=device)
    cu_seqlens = torch.tensor(cuts, dtype=torch.int32, device=device)
    estimates = [gae_forward(streams, streams, bootstrap, cu_seqlens, 0.9, 0.0)]
    estimates += vtrace_forward(streams, streams, streams, streams, bootstrap, cu_seqlens, 0.9, 0.0, 1.0, 1.0, 1.0)
    assert all(x.isnan().nonzero().flatten().tolist() == rows for x in estimates)
    with pytest.raises(ValueError, match=f"cu_seqlens must rise from 0 to T, got {value} in episode {episode}"):
        kernels.check_flags()


def test_a_context_that_does_not_fit(device: str) -> None:
    cache = PagedCache(1, 4, 1, 16, device=device)
    layout = Layout.paged(*(
        torch.tensor(x, dtype=torch.int32, device=device) for x in ([0, 2, 3, 5], [0, 1, 2, 3, 4], [2, 1, 33], [0, 1, 2], [[1, 0], [2, 0], [3, 0]])
    ), cache)  # fmt: skip
    q = torch.randn(5, 1, 16, generator=torch.Generator().manual_seed(0)).to(device)
    out = paged_attention_forward(q, q, q, layout, 0, causal=True, window=None, scale=0.25, softcap=None)
    assert out.isnan().any(2)[:, 0].tolist() == [False, False, False, True, True]
    with pytest.raises(ValueError, match="context_lengths must be at least what is fed and fit the block table, got 33 in sequence 2"):
        kernels.check_flags()


def test_debugging_looks_before_the_launch(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "runs_triton", lambda like: True)  # as on a GPU
    streams, cuts = torch.zeros(9, device=device), torch.tensor([0, 8], dtype=torch.int32, device=device)
    assert not flags.reads_data(streams)
    for value, is_on in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("PARADIGM_DEBUG", value)
        assert flags.reads_data(streams) == is_on
    with torch.autograd.detect_anomaly(check_nan=False):
        assert flags.reads_data(streams)
    monkeypatch.setenv("PARADIGM_DEBUG", "1")
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 9, got"):
        kernels.gae(streams, streams, streams[:1], cuts, gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match=r"targets must be in \[0, 7\), got 7 to 7"):
        linear_logprob(torch.zeros(1, 8, device=device), torch.zeros(7, 8, device=device), torch.tensor([7], device=device))
