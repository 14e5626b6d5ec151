"""Advantages of a value head over a seat's decisions, and what each decision earned."""

import numpy as np
import pytest
import torch

from paradigm.environments import ConnectFour
from paradigm.kernels.layout import Layout
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.rewards import rewards_by_decision
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource, value_advantages
from paradigm.sampler import Sampler
from paradigm.trajectory import TrajectoryBuffer
from paradigm.world import World, WorldConfig


def test_rewards_go_to_the_decision_before_them() -> None:
    buffer = TrajectoryBuffer.from_arrays(
        np.arange(9), [0, 5, 9], action_mask=[0, 1, 0, 1, 0, 0, 1, 0, 0], rewards=[9, 1, 2, 3, 4, 9, 5, 6, np.nan], failed=[False, True],
    )  # fmt: skip
    assert rewards_by_decision(buffer, np.array([1, 3])).tolist() == [3, 7]
    whole = TrajectoryBuffer.from_arrays(np.arange(4), [0, 4], action_mask=[0, 1, 0, 0], rewards=[0, 0, 0, -1])
    assert rewards_by_decision(whole, np.array([1])).tolist() == [-1]


@pytest.mark.parametrize(("max_tokens", "bootstrap"), [(64, True), (10, False), (10, True)])
def test_gae_by_hand_for_both_seats(max_tokens: int, bootstrap: bool) -> None:
    policy = Policy(PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, heads=("value",)), seed=0)
    torch.nn.init.normal_(policy.heads["value"].weight, generator=torch.Generator().manual_seed(1))
    world = ConnectFour()
    sampler = Sampler(policy, slots=8)
    rollouts = sampler.collect(world, world.tasks(0, 3), group_size=1, max_tokens=max_tokens, key=(0, 0))
    assert rollouts.truncated.all() == (max_tokens == 10) and rollouts.terminated.all() == (max_tokens == 64)
    config = RL(name="rl", advantage="gae", group_size=1, gamma=0.9, lam=0.8, pack_tokens=128, bootstrap_truncated=bootstrap)
    streams = value_advantages(policy, rollouts, config)
    alphastar = RL.of("alphastar", name="rl", gamma=0.9, pack_tokens=128, bootstrap_truncated=bootstrap)
    streams_of_actor_critic = RolloutSource(alphastar, sampler, World(WorldConfig(kind="connect_four"), seed=0), seed=0)._streams(rollouts, alphastar)
    raw = []
    for row, game in enumerate(rollouts):
        start = rollouts.offsets[row]
        with torch.no_grad():
            hidden = policy(torch.from_numpy(game.tokens), Layout(torch.tensor([0, len(game)], dtype=torch.int32)))
            values = policy.heads["value"](hidden).reshape(-1).numpy()
        at = np.flatnonzero(game.action_mask)
        ahead, running = values[-1] if game.truncated and bootstrap else 0.0, 0.0
        actor_critic = streams_of_actor_critic["reward"][start + at]
        assert actor_critic[-1] == pytest.approx(game.reward + 0.9 * ahead, abs=1e-5) and not actor_critic[:-1].any()
        for i in reversed(range(len(at))):
            value = values[at[i] - 1]
            earned = game.reward if i == len(at) - 1 else 0.0
            running = earned + 0.9 * ahead - value + 0.9 * 0.8 * running
            ahead = value
            raw.append(running)
            assert streams["value_target"][start + at[i]] == pytest.approx(running + value, abs=1e-4)
    assert streams["advantage"][rollouts.action_mask][::-1].std() == pytest.approx(1, abs=1e-3)
    assert sorted(streams["advantage"][rollouts.action_mask] * np.std(raw)) == pytest.approx(sorted(raw), abs=1e-3)
    assert (streams["advantage"][~rollouts.action_mask] == 0).all()


def test_demonstrated_games_teach_both_demonstrators_moves_but_not_random_ones() -> None:
    world = World(WorldConfig(kind="connect_four", weak_share=0.5, depth=2), seed=0)
    shown = world.demonstrations(20)
    between, weak = shown[:20], shown[20:]
    assert len(weak) == 10 and weak.seat.tolist() == [0] * 5 + [1] * 5
    assert (between.action_mask == (between.segment != 1)).all(), "all but the opening"
    assert (weak.action_mask == (weak.segment == 3)).all() and (weak.segment == 4).any()
    assert {len(task) for task in world.tasks("train", 0, 20)} == {0, 1, 2, 3, 4}
    assert {len(task) for task in world.match_openings(6)} == {4}
    with pytest.raises(ValueError, match=r"weak_share must be in \[0, 1\], got 2"):
        WorldConfig(weak_share=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"group_size": 1}, "group_size must be >= 2"), ({"lam": 1.5}, "lam must be in"),
     ({"bootstrap_truncated": True}, "bootstrap_truncated must be false with advantage 'group'"),
     ({"objective": "dpo"}, "advantage must be 'none'")],
)
def test_bad_options(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        RL(name="rl", **options)
