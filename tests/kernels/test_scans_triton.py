"""gae's and vtrace's Triton kernels against float64, in the interpreter or on a GPU; long, short and empty episodes."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.gae import gae, gae_reference
from paradigm.kernels.vtrace import vtrace, vtrace_reference

triton_module = pytest.importorskip("paradigm.kernels.gae_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
LENGTHS = [5, 0, 1, 64, 65, 200, 0]
CLIPS = {"rho_clip": 1.2, "c_clip": 0.7, "pg_rho_clip": 1.5}


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Triton path on any device, in blocks of 64 steps."""
    for name in ("gae", "vtrace"):
        monkeypatch.setattr(sys.modules[f"paradigm.kernels.{name}"], "runs_triton", lambda x: x.dtype != torch.float64)
        monkeypatch.setitem(triton_module.TILE, "BLOCK", 64)


def make(lengths: Sequence[int], device: str) -> list[Tensor]:
    """[logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens]"""
    generator = torch.Generator().manual_seed(0)
    streams = [torch.randn(sum(lengths), generator=generator) for _ in range(4)]
    cuts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return [x.to(device) for x in (*streams, torch.randn(len(lengths), generator=generator), cuts)]


def estimates(inputs: list[Tensor], **options: Any) -> list[Tensor]:
    return [gae(*inputs[2:], **options), *vtrace(*inputs, **options, **CLIPS)]


def in_float64(inputs: list[Tensor], **options: Any) -> list[Tensor]:
    inputs = [*(x.double() for x in inputs[:5]), inputs[5]]
    return [gae_reference(*inputs[2:], **options), *vtrace_reference(*inputs, **options, **CLIPS)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1, 1), (0.9, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("lengths", [LENGTHS, [1], [0, 0], [130]])
def test_matches_float64(lengths: list[int], gamma: float, lam: float, device: str) -> None:
    inputs = make(lengths, device)
    for ours, truth in zip(estimates(inputs, gamma=gamma, lam=lam), in_float64(inputs, gamma=gamma, lam=lam)):
        assert ours.dtype == torch.float32 and ours.shape == truth.shape
        torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_no_episode_at_all(device: str) -> None:
    assert [x.shape for x in estimates(make([], device), gamma=0.9, lam=0.9)] == [(0,)] * 3


@pytest.mark.parametrize("device", DEVICES)
def test_steps_depend_on_the_later_ones_of_their_episode_alone(device: str) -> None:
    inputs = make(LENGTHS, device)
    whole = estimates(inputs, gamma=0.97, lam=0.9)
    for start, end, episode in ((135, 335, 5), (150, 335, 5), (70, 135, 4)):
        cuts = torch.tensor([0, end - start], dtype=torch.int32, device=device)
        alone = [*(x[start:end] for x in inputs[:4]), inputs[4][episode : episode + 1], cuts]
        for a, b in zip(estimates(alone, gamma=0.97, lam=0.9), whole):
            assert torch.equal(a, b[start:end])
    strided = [torch.stack([x, x], 1)[:, 0] for x in inputs]
    assert all(torch.equal(a, b) for a, b in zip(estimates(strided, gamma=0.97, lam=0.9), whole))


@pytest.mark.parametrize("device", DEVICES)
def test_a_broken_step_breaks_the_earlier_ones_of_its_episode(device: str) -> None:
    inputs = make(LENGTHS, device)
    inputs[2][200] = torch.nan
    for estimate in estimates(inputs, gamma=0.97, lam=0.9):
        assert estimate.isnan().nonzero().flatten().tolist() == list(range(135, 201))


@pytest.mark.parametrize("device", DEVICES)
def test_unlikely_and_impossible_actions(device: str) -> None:
    inputs = make([70], device)
    inputs[0][10], inputs[0][69], inputs[1][20] = -torch.inf, 80.0, -300.0
    truth = in_float64(inputs, gamma=0.97, lam=0.9)
    for a, b in zip(estimates(inputs, gamma=0.97, lam=0.9), truth):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-5)


def test_bad_input_is_named() -> None:
    rewards, values, bootstrap, cuts = make(LENGTHS, "cpu")[2:]
    with pytest.raises(ValueError, match=r"rewards, values, bootstrap and cu_seqlens must be on one device, got \['cpu', 'meta'\]"):
        gae(rewards, values, bootstrap.to("meta"), cuts, gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 335"):
        gae(rewards, values, bootstrap, cuts.flip(0), gamma=0.9, lam=0.9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lengths", [[131072], [7] * 50000, [1000, 3, 1024, 1025, 20000, 0, 2048] * 10], ids=["long", "many", "ragged"])
def test_matches_float64_at_the_sizes_it_is_for(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(triton_module.TILE, "BLOCK", 1024)
    inputs = make(lengths, "cuda")
    on_cpu = [x.cpu() for x in inputs]
    ours = estimates(inputs, gamma=0.999, lam=0.95)
    for a, b in zip(ours, in_float64(on_cpu, gamma=0.999, lam=0.95)):
        torch.testing.assert_close(a.cpu().double(), b, rtol=1e-5, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(estimates(inputs, gamma=0.999, lam=0.95), ours))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_gpu_and_wrong_cuts_are_found_on_demand() -> None:
    inputs = make(LENGTHS, "cuda")
    estimates(inputs, gamma=0.9, lam=0.9)
    torch.cuda.set_sync_debug_mode("error")
    try:
        estimates(inputs, gamma=0.9, lam=0.9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with torch.autograd.detect_anomaly(check_nan=False), pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 335"):
        gae(*inputs[2:5], inputs[5].flip(0), gamma=0.9, lam=0.9)
