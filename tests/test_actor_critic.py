"""V-trace's and UPGO's policy gradients, TD(lambda), and the value loss that goes with them."""

import pytest
import torch

from paradigm.actor_critic import ActorCritic, td_lambda_returns, upgo_returns
from tests.objective_cases import LENGTHS, assert_derivatives, batch_of, random_sequences

CUTS = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)


def test_upgo_by_hand():
    # V = 1 2 3, r = 0 1 5: the last decision does better than 3 (5 >= 3), the middle one too (1 + 3 >= 2), so all is followed
    values, cuts, end = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 3], dtype=torch.int32), torch.zeros(1)
    assert upgo_returns(torch.tensor([0.0, 1.0, 5.0]), values, end, cuts, gamma=1.0).tolist() == [6, 6, 5]
    # r = 0 1 2: the last disappoints (2 < 3), so before it the value stands in for it
    assert upgo_returns(torch.tensor([0.0, 1.0, 2.0]), values, end, cuts, gamma=1.0).tolist() == [4, 4, 2]
    # a bootstrap of 4 makes the last better again, gamma = 0.5: 2 + 2 = 4 >= 3; 1 + 2 = 3 >= 2; 0 + 1.5
    assert upgo_returns(torch.tensor([0.0, 1.0, 2.0]), values, torch.tensor([4.0]), cuts, gamma=0.5).tolist() == [1.5, 3, 4]


def test_td_lambda_by_hand():
    values, cuts = torch.tensor([1.0, 2.0]), torch.tensor([0, 2], dtype=torch.int32)
    # the last: 3 + 0.5 * 4 = 5; the first: 1 + 0.5 (0.75 * 2 + 0.25 * 5)
    got = td_lambda_returns(torch.tensor([1.0, 3.0]), values, torch.tensor([4.0]), cuts, gamma=0.5, lam=0.25)
    assert got.tolist() == [2.375, 5.0]


def targets_in_plain_torch(objective, logprob, streams):
    """Backward recursions of the papers, one sequence after the other."""
    target, advantage = torch.zeros_like(logprob), torch.zeros_like(logprob)
    gamma, lam = objective.gamma, objective.lam
    for start, end in zip(CUTS[:-1].tolist(), CUTS[1:].tolist()):
        after, better, following, next_value, next_ratio_target, up, td = True, None, 0.0, 0.0, 0.0, 0.0, 0.0
        for t in range(end - 1, start - 1, -1):
            value, reward = streams["head"][t], streams["reward"][t]
            weight = torch.exp(logprob[t] - streams["behaviour_logprob"][t])
            rho, c = weight.clamp(max=objective.rho_clip), lam * weight.clamp(max=objective.c_clip)
            traced = value + rho * (reward + gamma * next_value - value) + gamma * c * following
            up = reward + gamma * (up if better is None or better else next_value)
            td = reward + gamma * ((1 - lam) * next_value + lam * td)
            push = weight.clamp(max=objective.pg_rho_clip)
            if "vtrace" in objective.advantages:
                advantage[t] += push * (reward + gamma * next_ratio_target - value)
            if "upgo" in objective.advantages:
                advantage[t] += push * (up - value)
            target[t] = traced if objective.value_target == "vtrace" else td
            better = reward + gamma * next_value >= value
            following, next_value, next_ratio_target, after = traced - value, value, traced, False
        assert not after
    return target, advantage


OBJECTIVES = [
    ActorCritic(), ActorCritic(advantages=("upgo",), gamma=0.9), ActorCritic(advantages=("vtrace", "upgo"), value_target="td_lambda", lam=0.8),
    ActorCritic(gamma=0.95, lam=0.9, rho_clip=1.2, c_clip=0.9, pg_rho_clip=1.5, entropy=True),
]  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_loss_and_derivatives_against_autograd(objective):
    logprob, entropy, streams = random_sequences()

    def loss(logprob, entropy, streams):
        with torch.no_grad():
            target, advantage = targets_in_plain_torch(objective, logprob, streams)
        policy = -(streams["policy"] * advantage * logprob).sum()
        value = 0.5 * (streams["value"] * (streams["head"] - target) ** 2).sum()
        return policy + value - ((streams["entropy"] * entropy).sum() if objective.entropy else 0.0)

    got = assert_derivatives(objective, loss, batch_of(), logprob, entropy, streams)
    assert got.metrics["policy/rows"] == got.metrics["value/rows"] == sum(LENGTHS)


def test_on_policy_v_trace_is_the_lambda_return():
    logprob, entropy, streams = random_sequences()
    streams["behaviour_logprob"] = logprob
    got = ActorCritic(lam=0.7).coefficients(logprob, entropy, streams, batch_of())
    returns = td_lambda_returns(streams["reward"], streams["head"], torch.zeros(len(LENGTHS), dtype=torch.float64), CUTS, gamma=1.0, lam=0.7)
    torch.testing.assert_close(got.dhead, streams["value"] * (streams["head"] - returns))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantages": ("gae",)}, "advantages must be some of 'vtrace' and 'upgo'"),
        ({"advantages": ()}, "advantages must be some of"),
        ({"value_target": "mc"}, "value_target must be 'vtrace' or 'td_lambda', got 'mc'"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\], got 1.5"),
        ({"rho_clip": -1.0}, "rho_clip must be >= 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ActorCritic(**options)
