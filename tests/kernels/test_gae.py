"""Generalized advantage estimates: a hand-derived case, a digital filter, and C++ against the reference."""

import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.gae import gae, gae_reference

LENGTHS = [5, 0, 1, 40, 0]


def make(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(sum(LENGTHS), generator=generator).to(dtype) for _ in range(2))
    cuts = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    return rewards, values, torch.randn(len(LENGTHS), generator=generator).to(dtype), cuts


def test_by_hand() -> None:
    # gamma 1/2, lam 1/2: second step 2 + 0.5 * 4 - 1 = 3; first 1 + 0.5 * 1 - 3 = -1.5, plus 0.25 * 3; the other episode 8 + 0 - 2
    rewards, values = torch.tensor([1.0, 2.0, 8.0]), torch.tensor([3.0, 1.0, 2.0])
    out = gae(rewards, values, torch.tensor([4.0, 0.0]), torch.tensor([0, 2, 3], dtype=torch.int32), gamma=0.5, lam=0.5)
    assert out.tolist() == [-0.75, 3.0, 6.0]


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0.0, 0.5)])
def test_is_a_filter_run_backwards(gamma: float, lam: float) -> None:
    rewards, values, bootstrap, cuts = make(torch.float64)
    expected = []
    for b, (start, end) in enumerate(zip(cuts.tolist(), cuts.tolist()[1:])):
        following = torch.cat([values[start + 1 : end], bootstrap[b : b + 1]])[: end - start]
        deltas = rewards[start:end] + gamma * following - values[start:end]
        if end > start:
            expected.append(torch.from_numpy(lfilter([1.0], [1.0, -gamma * lam], deltas.flip(0).numpy()).copy()).flip(0))
    torch.testing.assert_close(gae(rewards, values, bootstrap, cuts, gamma=gamma, lam=lam), torch.cat(expected))
    assert "gae" in CPU, "the C++ kernels are not registered"
    single = gae(rewards.float(), values.float(), bootstrap.float(), cuts, gamma=gamma, lam=lam)
    torch.testing.assert_close(single.double(), torch.cat(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single, gae_reference(rewards.float(), values.float(), bootstrap.float(), cuts, gamma=gamma, lam=lam))


def test_strided_and_empty() -> None:
    rewards, values, bootstrap, cuts = make()
    twice = torch.stack([rewards, values], dim=1)
    expected = gae(rewards, values, bootstrap, cuts, gamma=0.9, lam=0.9)
    assert torch.equal(gae(twice[:, 0], twice[:, 1], bootstrap, cuts, gamma=0.9, lam=0.9), expected)
    none = torch.zeros(0)
    for function in (gae, gae_reference):
        assert function(none, none, none, torch.zeros(1, dtype=torch.int32), gamma=0.9, lam=0.9).shape == (0,)
        assert function(none, none, torch.zeros(2), torch.zeros(3, dtype=torch.int32), gamma=0.9, lam=0.9).shape == (0,)


def test_bad_input_is_named() -> None:
    rewards, values, bootstrap, cuts = make()
    with pytest.raises(ValueError, match="values must be one-dimensional with rewards's length"):
        gae(rewards, values[1:], bootstrap, cuts, gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match=r"cu_seqlens must be int32 \[6\], got torch.int64"):
        gae(rewards, values, bootstrap, cuts.long(), gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 46"):
        gae(rewards, values, bootstrap, cuts.flip(0), gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\], got 1.5"):
        gae(rewards, values, bootstrap, cuts, gamma=1.5, lam=0.9)
