"""Returns, advantages and PPO's loss equal those of torchrl."""

import multiprocessing

import pytest
import torch
from torchrl.objectives.value.functional import (
    generalized_advantage_estimate,
    td_lambda_return_estimate,
    vtrace_advantage_estimate,
)

from paradigm.actor_critic import ActorCritic, td_lambda_returns, upgo_returns
from paradigm.kernels.gae import gae
from tests.objective_cases import batch_of, random_sequences

multiprocessing.set_start_method(None, force=True)  # importing torchrl chooses one for the whole process

LENGTHS = (6, 6, 6)
CUTS = torch.tensor([0, 6, 12, 18], dtype=torch.int32)


def episodes(bootstrap=True):
    """Three episodes of six decisions; torchrl's form [3, 6, 1] of (value, next value, reward, done, terminated) beside ours."""
    logprob, entropy, streams = random_sequences(LENGTHS, seed=5)
    values, rewards = streams["head"], streams["reward"]
    end = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) if bootstrap else torch.zeros(3, dtype=torch.float64)
    table = values.view(3, 6)
    following = torch.cat([table[:, 1:], end[:, None]], 1)
    done = torch.zeros(3, 6, 1, dtype=torch.bool)
    done[:, -1] = True
    theirs = {"state_value": table[..., None], "next_state_value": following[..., None], "reward": rewards.view(3, 6, 1), "done": done,
              "terminated": torch.zeros_like(done)}  # fmt: skip
    return logprob, entropy, streams, end, theirs


def test_gae():
    _, _, streams, end, theirs = episodes()
    advantage, target = generalized_advantage_estimate(0.9, 0.8, **theirs)
    ours = gae(streams["reward"], streams["head"], end, CUTS, gamma=0.9, lam=0.8)
    torch.testing.assert_close(ours, advantage.flatten(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(ours + streams["head"], target.flatten(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_td_lambda(lam):
    _, _, streams, end, theirs = episodes()
    del theirs["state_value"]
    expected = td_lambda_return_estimate(0.9, lam, **theirs)
    ours = td_lambda_returns(streams["reward"], streams["head"], end, CUTS, gamma=0.9, lam=lam)
    torch.testing.assert_close(ours, expected.flatten(), rtol=1e-5, atol=1e-8)


def test_upgo_is_td_lambda_with_a_lambda_of_zero_before_decisions_that_disappoint():
    _, _, streams, end, theirs = episodes()
    value, following = theirs.pop("state_value"), theirs["next_state_value"]
    better = (theirs["reward"] + 0.9 * following >= value).double()
    lam = torch.cat([better[:, 1:], torch.ones(3, 1, 1, dtype=torch.float64)], 1)
    expected = td_lambda_return_estimate(0.9, lam, **theirs)
    ours = upgo_returns(streams["reward"], streams["head"], end, CUTS, gamma=0.9)
    torch.testing.assert_close(ours, expected.flatten(), rtol=1e-5, atol=1e-8)


def test_v_trace_policy_gradient_and_value_loss():
    logprob, entropy, streams, _, theirs = episodes(bootstrap=False)
    leaf, values = logprob.clone().requires_grad_(), streams["head"].clone().requires_grad_()
    behaviour = streams["behaviour_logprob"].view(3, 6, 1)
    advantage, target = vtrace_advantage_estimate(0.9, logprob.view(3, 6, 1), behaviour, **theirs, rho_thresh=1.0, c_thresh=1.0)
    loss = -(streams["policy"] * advantage.flatten() * leaf).sum() + 0.5 * (streams["value"] * (values - target.flatten()) ** 2).sum()
    dlogprob, dvalue = torch.autograd.grad(loss, [leaf, values])
    got = ActorCritic(gamma=0.9).coefficients(logprob, entropy, streams, batch_of(LENGTHS))
    torch.testing.assert_close(got.loss.sum(), loss.detach(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(got.dlogprob, dlogprob, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(got.dhead, dvalue, rtol=1e-5, atol=1e-8)
