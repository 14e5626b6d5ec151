"""PettingZoo's turn-based environments through the adapter: turns, masks, agents that leave, copies, and rollouts through the sampler."""

import sys

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import Environment, PettingZoo

pettingzoo = pytest.importorskip("pettingzoo")
spaces = pytest.importorskip("gymnasium").spaces


class Count(pettingzoo.AECEnv):
    """Three agents take 1 or 2 by turns from a heap; who takes the last loses and the others win. With `leave`, an agent that took 2 leaves."""

    metadata = {"name": "count"}  # noqa: RUF012

    def __init__(self, leave=False, cut=None):
        super().__init__()
        self.possible_agents = ["a", "b", "c"]
        self.leave, self.cut = leave, cut

    def observation_space(self, agent):
        return spaces.Discrete(99)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        return self.heap

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.heap = 5 + seed % 3
        for name, value in (("rewards", 0.0), ("_cumulative_rewards", 0.0), ("terminations", False), ("truncations", False)):
            setattr(self, name, dict.fromkeys(self.agents, value))
        self.infos = {agent: {"action_mask": np.array([1, self.heap > 1], np.int8)} for agent in self.agents}
        self.agent_selection, self.turns = "a", 0

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.heap -= action + 1
        self.turns += 1
        left = self.agents[(self.agents.index(agent) + 1) % len(self.agents)]
        if self.heap <= 0:
            self.rewards = {other: -1.0 if other == agent else 1.0 for other in self.agents}
            self.terminations = dict.fromkeys(self.agents, True)
        elif self.turns == self.cut:
            self.truncations = dict.fromkeys(self.agents, True)
        elif self.leave and action == 1 and len(self.agents) > 1:
            self.terminations[agent] = True
            self.rewards[agent] = 0.5
        for info in self.infos.values():
            info["action_mask"] = np.array([1, self.heap > 1], np.int8)
        self.agent_selection = left
        if any(self.terminations.values()) or any(self.truncations.values()):
            self._deads_step_first()


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def test_turns_masks_and_rewards():
    environment = PettingZoo(Count)
    assert isinstance(environment, Environment) and environment.num_seats == 3 and environment.name == "pettingzoo/count"
    step = environment.reset(0)
    assert _text(step) == "5\n" and step.observations[0].seat == 0 and list(step.observations[0].legal) == [(48,), (49,)]
    step = environment.step([49])
    assert _text(step) == "3\n" and step.observations[0].seat == 1 and step.rewards == (0.0, 0.0, 0.0)
    clone = environment.clone()
    for world in (environment, clone):
        step = world.step([49])
        assert list(step.observations[0].legal) == [(48,)]  # one is left
        with pytest.raises(ValueError, match="action must"):
            world.step([49])
        step = world.step([48])
        assert step.terminated and not step.truncated and step.rewards == (1.0, 1.0, -1.0) and step.observations == []
        with pytest.raises(RuntimeError, match="reset"):
            world.step([48])


def test_agents_that_leave():
    environment = PettingZoo(lambda: Count(leave=True))
    environment.reset(1)  # a heap of 6
    step = environment.step([49])
    assert step.rewards == (0.5, 0.0, 0.0) and step.observations[0].seat == 1
    step = environment.step([48])
    step = environment.step([48])
    assert step.observations[0].seat == 1  # the first has left
    step = environment.step([48])
    step = environment.step([48])
    assert step.terminated and step.rewards == (0.0, 1.0, -1.0)


def test_episodes_that_are_cut():
    environment = PettingZoo(lambda: Count(cut=2))
    environment.reset(2)
    environment.step([48])
    step = environment.step([48])
    assert step.truncated and not step.terminated
    environment = PettingZoo(Count, max_steps=1)
    environment.reset(2)
    assert environment.step([48]).truncated


def test_rollouts_and_opponents_through_the_sampler():
    policy = Policy(PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    environment = PettingZoo(Count)
    sampler = Sampler(policy, slots=8)
    tasks = environment.tasks(0, 2)
    rollouts = sampler.collect(environment, tasks, group_size=2, key=(1, 0), threads=2)
    assert len(rollouts) == 12 and all(rollout.terminated and not rollout.failed for rollout in rollouts)
    assert [sum(rollouts[3 * n + seat].reward for seat in range(3)) for n in range(4)] == [1.0] * 4
    players = {1: environment.uniform_player(), 2: environment.uniform_player()}
    assert len(sampler.collect(environment, tasks, group_size=2, opponents=players)) == 4


def test_tic_tac_toe_of_its_own():
    pytest.importorskip("pygame")
    environment = PettingZoo(lambda: pettingzoo.make("aec", "classic/tictactoe-v3"))
    step, moves = environment.reset(None, 3), 0
    while not step.terminated:
        asked = step.observations[0]
        assert asked.seat == moves % 2 and len(asked.legal) == 9 - moves
        step = environment.step(environment.uniform_player()(asked, moves))
        moves += 1
    assert sorted(step.rewards) in ([-1.0, 1.0], [0.0, 0.0])


def test_bad_arguments_are_named():
    from pettingzoo.utils import aec_to_parallel

    with pytest.raises(ValueError, match="max_steps"):
        PettingZoo(Count, max_steps=0)
    parallel = Count()
    parallel.metadata = {"name": "count", "is_parallelizable": True}
    with pytest.raises(ValueError, match="turn-based"):
        PettingZoo(lambda: aec_to_parallel(parallel))
    with pytest.raises(ValueError, match="task"):
        PettingZoo(Count).reset(-1)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[pettingzoo\]"):
        PettingZoo(Count)
