"""V-trace: a hand-derived case, the paper's sum written out, its on-policy limit, and C++ against the reference."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.gae import gae
from paradigm.kernels.vtrace import vtrace, vtrace_reference

LENGTHS = [5, 0, 1, 30]


def make(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logprob, behaviour, rewards, values = (torch.randn(sum(LENGTHS), generator=generator).to(dtype) for _ in range(4))
    cuts = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    return logprob, behaviour, rewards, values, torch.randn(len(LENGTHS), generator=generator).to(dtype), cuts


def test_by_hand() -> None:
    # ratios 2 (clipped to 1) and 1/2, gamma 1/2. Last: delta 0.5 (2 + 0.5 * 4 - 1) = 1.5, target 2.5, advantage 1.5
    # first: delta 1 + 0.5 * 1 - 3 = -1.5, target 3 - 1.5 + 0.5 * 1 * (2.5 - 1) = 2.25, advantage 1 + 0.5 * 2.5 - 3 = -0.75
    ratio = torch.tensor([2.0, 0.5]).log()
    cuts = torch.tensor([0, 2], dtype=torch.int32)
    rewards, values = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
    for function in (vtrace, vtrace_reference):
        targets, advantages = function(ratio, torch.zeros(2), rewards, values, torch.tensor([4.0]), cuts, gamma=0.5)
        torch.testing.assert_close(targets, torch.tensor([2.25, 2.5]))
        torch.testing.assert_close(advantages, torch.tensor([-0.75, 1.5]))


def test_is_the_papers_sum() -> None:
    logprob, behaviour, rewards, values, bootstrap, cuts = make(torch.float64)
    options: dict[str, Any] = {"gamma": 0.9, "lam": 0.8, "rho_clip": 1.2, "c_clip": 0.7, "pg_rho_clip": 1.5}
    targets, advantages = vtrace(logprob, behaviour, rewards, values, bootstrap, cuts, **options)
    ratio = (logprob - behaviour).exp()
    for b, (start, end) in enumerate(zip(cuts.tolist(), cuts.tolist()[1:])):
        following = [*values[start + 1 : end].tolist(), bootstrap[b].item()]
        for s in range(start, end):
            total, traces = values[s].item(), 1.0
            for t in range(s, end):
                delta = min(1.2, ratio[t].item()) * (rewards[t].item() + 0.9 * following[t - start] - values[t].item())
                total += 0.9 ** (t - s) * traces * delta
                traces *= 0.8 * min(0.7, ratio[t].item())
            assert targets[s].item() == pytest.approx(total, abs=1e-10)
            after = targets[s + 1].item() if s + 1 < end else bootstrap[b].item()
            expected = min(1.5, ratio[s].item()) * (rewards[s].item() + 0.9 * after - values[s].item())
            assert advantages[s].item() == pytest.approx(expected, abs=1e-10)
    assert "vtrace" in CPU, "the C++ kernels are not registered"
    single = vtrace(*(x.float() for x in (logprob, behaviour, rewards, values, bootstrap)), cuts, **options)
    for a, b in zip(single, (targets, advantages)):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_on_policy_targets_are_returns() -> None:
    logprob, _, rewards, values, bootstrap, cuts = make(torch.float32)
    targets, _ = vtrace(logprob, logprob, rewards, values, bootstrap, cuts, gamma=0.97, lam=0.9)
    torch.testing.assert_close(targets, values + gae(rewards, values, bootstrap, cuts, gamma=0.97, lam=0.9), rtol=1e-4, atol=1e-5)


def test_bad_input_is_named() -> None:
    inputs = make(torch.float32)
    with pytest.raises(ValueError, match="behaviour_logprob must be one-dimensional with logprob's length"):
        vtrace(inputs[0], inputs[1][1:], *inputs[2:], gamma=0.9)
    with pytest.raises(ValueError, match=r"rho_clip must be >= 0, got -1\.0"):
        vtrace(*inputs, gamma=0.9, rho_clip=-1.0)
