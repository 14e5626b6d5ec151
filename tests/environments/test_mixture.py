"""A mixture is an environment: each task's episode is that of its own kind, native or in Python."""

import copy

import numpy as np
import pytest

from paradigm.environments import Arithmetic, ConnectFour, Mixture, from_verifier
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.sampler import Sampler


def mixture() -> Mixture:
    return Mixture({"sums": Arithmetic(), "echo": from_verifier(["ab", "cd"], lambda prompt, response: response == prompt)})


def test_each_task_plays_in_its_own_environment() -> None:
    world = mixture()
    assert bytes(np.asarray(world.reset(("sums", "3+4")).observations[0].tokens).tolist()) == b"3+4\n"
    assert world.step([*b"#7\n"]).rewards[0] == 1
    assert bytes(np.asarray(world.reset(["echo", 1]).observations[0].tokens).tolist()) == b"cd"
    other, third = world.clone(), copy.deepcopy(world)
    assert other.step([*b"cd\n"]).rewards[0] == 1 and third.step([*b"xx\n"]).rewards[0] == 0
    world.reset(("sums", "12*34"))
    assert world.clone().step([*b"12*34?"]).observations, "a clone goes on where the episode stood"


def test_a_rollout_in_a_mixture_is_that_of_its_kind_alone() -> None:
    config = PolicyConfig(vocab_size=272, hidden_size=32, num_layers=1, num_heads=2, intermediate_size=32, max_position_embeddings=128)
    policy = Policy(config, seed=3)
    sampler = Sampler(policy, slots=8)
    tasks = [("sums", "3+4"), ("echo", 0), ("sums", "12*34"), ("echo", 1)]
    mixed = sampler.collect(mixture(), tasks, group_size=2, key=(1, 2), max_tokens=64)
    assert not mixed.failed.any() and mixed.environment == "mixture" and mixed[0].task == ("sums", "3+4")
    alone = sampler.collect(Arithmetic(), ["3+4", "0+0", "12*34", "0+0"], group_size=2, key=(1, 2), max_tokens=64)
    for row in (0, 1, 4, 5):
        assert np.array_equal(mixed[row].tokens, alone[row].tokens) and np.array_equal(mixed[row].logprobs, alone[row].logprobs)


def test_what_is_no_task_fails_its_own_episode_only() -> None:
    world = mixture()
    for task in (("absent", 1), "3+4", ("sums",), None):
        with pytest.raises(ValueError, match="task must be a pair of one of sums, echo"):
            world.reset(task)
    policy = Policy(PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16, max_position_embeddings=64))
    rollouts = Sampler(policy, slots=4).collect(world, [("echo", 0), ("absent", 0)], group_size=1, max_tokens=32)
    assert rollouts.failed.tolist() == [False, True]


def test_bad_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="environments must name at least one"):
        Mixture({})
    with pytest.raises(ValueError, match=r"environments\['game'\] must have one seat, got 2"):
        Mixture({"game": ConnectFour()})
    with pytest.raises(RuntimeError, match="reset"):
        mixture().step([1])
