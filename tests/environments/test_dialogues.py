"""Dialogues: one turn, judged as a whole, beside generation; a judge without a number costs its own episode."""

import threading

import numpy as np
import pytest

from paradigm.environments import Dialogues
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.verifiers import RewardModel

CONFIG = {"vocab_size": 32, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
END = 31


def prompt_of(task) -> np.ndarray:
    if not isinstance(task, int) or task < 0:
        raise ValueError(f"task must be a number, got {task!r}")
    return np.arange(1, 4 + task % 5, dtype=np.int32)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(Policy(PolicyConfig(**CONFIG), seed=0), slots=16)


def test_the_judge_sees_the_dialogue_and_its_number_is_the_reward(sampler) -> None:
    heard = []
    world = Dialogues(prompt_of, end=END, max_action_tokens=6, judge=lambda dialogue: heard.append(dialogue) or float(dialogue.sum()))
    rollouts = sampler.collect(world, list(range(8)), group_size=2, key=(0, 0))
    assert len(heard) == 16 and not rollouts.failed.any() and rollouts.terminated.all()
    for trajectory in rollouts:
        assert trajectory.reward == trajectory.tokens.sum()
        assert trajectory.tokens[~trajectory.action_mask].tolist() == prompt_of(trajectory.task).tolist()
        assert trajectory.action_mask.sum() == 6 or trajectory.tokens[-1] == END


def test_a_reward_model_judges_beside_generation_and_the_same_every_time(sampler) -> None:
    policy = Policy(PolicyConfig(**CONFIG, heads=("reward",)), seed=1)
    policy.heads["reward"].weight.data.normal_()
    model = RewardModel(policy)
    world = Dialogues(prompt_of, end=END, max_action_tokens=8).judged_by(model.reward)
    first, second = (sampler.collect(world, list(range(12)), group_size=2, key=(0, 1)) for _ in range(2))
    assert first.reward.tolist() == second.reward.tolist() == model.scores([t.tokens for t in first]).tolist()
    assert len(set(first.reward.tolist())) > 5


def test_several_dialogues_wait_for_the_judge_at_once(sampler) -> None:
    barrier = threading.Barrier(4, timeout=60)
    world = Dialogues(prompt_of, end=END, max_action_tokens=4, judge=lambda dialogue: barrier.wait() * 0.0, threads=4)
    rollouts = sampler.collect(world, list(range(4)), group_size=2, key=(0, 2))
    assert not rollouts.failed.any()


def test_numbers_that_are_none_are_counted(sampler) -> None:
    answers = [float("nan"), 1.0, float("-inf")]
    world = Dialogues(lambda task: np.array([task, 9], np.int32), end=END, max_action_tokens=4, judge=lambda dialogue: answers[dialogue[0]])
    rollouts = sampler.collect(world, [0, 1, 2], group_size=1, key=(0, 3))
    assert rollouts.failed.tolist() == [True, False, True] and sampler.stats.num_failed == 2
    assert all(rollouts.extras[row]["failure_reason"] == "reward" for row in np.flatnonzero(rollouts.failed))


def test_misuse() -> None:
    world = Dialogues(prompt_of, end=END)
    with pytest.raises(RuntimeError, match="step needs a reset before it"):
        world.step([1])
    world.reset(0)
    copy = world.clone()
    assert world.step([1, END]).rewards == (0.0,) and copy.step([2]).terminated
    with pytest.raises(ValueError, match="max_action_tokens and threads must be >= 1, got 0 and 16"):
        Dialogues(prompt_of, end=END, max_action_tokens=0)
