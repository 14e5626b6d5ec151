"""Gymnasium's environments through the adapter: observations as text, masks, levels, copies, and rollouts through the sampler."""

import sys

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import Environment, Gymnasium
from paradigm.environments.space_text import action_sequences, level_split, observation_text
from paradigm.environments.text_codec import ByteCodec

gymnasium = pytest.importorskip("gymnasium")
spaces = gymnasium.spaces


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


class Echo(gymnasium.Env):
    """Text in, text out: pays for the number of letters a, and ends at a full stop."""

    action_space = spaces.Text(20)
    observation_space = spaces.Text(40)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.word = "abc"[int(self.np_random.integers(3))] * 3
        return self.word, {}

    def step(self, action):
        return f"{self.word} {action}", action.count("a"), action.endswith("."), False, {}


@pytest.mark.parametrize("level", ["CartPole-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1", "MountainCar-v0"])
def test_episodes_are_the_librarys_own(level):
    environment, own = Gymnasium(level, max_steps=40), gymnasium.make(level)
    assert isinstance(environment, Environment)
    for task in environment.tasks(0, 3):
        step, (_, info) = environment.reset(task), own.reset(seed=task)
        assert step.rewards == (0.0,)
        moves = 0
        while not (step.terminated or step.truncated):
            legal = step.observations[0].legal
            mask = info.get("action_mask")
            assert len(legal) == (own.action_space.n if mask is None else mask.sum())
            action = environment.uniform_player()(step.observations[0], task + moves)
            step = environment.step(action)
            seen, reward, terminated, truncated, info = own.step(int(bytes(action)) + int(own.action_space.start))
            moves += 1
            assert step.rewards == (float(reward),) and step.terminated == terminated
            assert _text(step) == observation_text(own.observation_space)(seen) + "\n"
            assert step.truncated == (not terminated and (truncated or moves == 40))
        with pytest.raises(RuntimeError, match="reset"):
            environment.step(action)


def test_spaces_as_text():
    box, whole = spaces.Box(-np.inf, np.inf, (2, 2)), spaces.Box(0, 9, (3,), np.int8)
    assert observation_text(box)(np.array([[1.23456, -0.5], [1e9, 0.0]], np.float32)) == "1.23 -0.5 1e+09 0"
    assert observation_text(whole)(np.array([1, 0, 9])) == "1 0 9" and observation_text(spaces.Discrete(3, start=-1))(np.int64(-1)) == "-1"
    assert observation_text(spaces.MultiBinary(4))(np.array([1, 0, 0, 1])) == "1001"
    assert observation_text(spaces.MultiDiscrete([3, 4]))([2, 3]) == "2 3"
    both = spaces.Dict({"a": whole, "b": spaces.Tuple([spaces.Discrete(9), spaces.Text(5)])})
    assert observation_text(both)({"a": [1, 2, 3], "b": (4, "x")}) == "a=1 2 3 b=4 x"
    for space in (spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Sequence(whole)):
        with pytest.raises(ValueError, match="encode"):
            observation_text(space)


def test_actions_as_tokens():
    codec = ByteCodec()
    assert action_sequences(["a", "b"], codec) == [(97,), (98,)]
    assert action_sequences(["a", "ab"], codec) == [(97, 10), (97, 98, 10)]
    assert action_sequences(["b", "a", "az", "aa"], codec)[1] == (97, 10)
    for names in (["a", "a"], ["", "a"], ["a\n", "b"]):
        with pytest.raises(ValueError, match="actions"):
            action_sequences(names, codec)
    lake = Gymnasium("FrozenLake-v1", actions=["left", "down", "right", "up"])
    assert [bytes(sequence) for sequence in lake.reset(0).observations[0].legal] == [b"left", b"down", b"right", b"up"]
    assert lake.encoded(2) == list(b"right")
    with pytest.raises(ValueError, match="action must"):
        lake.step(list(b"jump"))


def test_masks_are_kept():
    taxi = Gymnasium("Taxi-v4")
    step = taxi.reset(1)
    legal = {bytes(sequence) for sequence in step.observations[0].legal}
    ruled_out = next(action for action in (b"0", b"1", b"2", b"3", b"4", b"5") if action not in legal)
    with pytest.raises(ValueError, match="action must"):
        taxi.step(list(ruled_out))


def test_text_in_and_out():
    environment = Gymnasium(Echo, max_action_tokens=9)
    assert environment.name == "gymnasium/Echo"
    step = environment.reset(None, 4)
    word = _text(step)[:-1]
    assert word in ("aaa", "bbb", "ccc") and (step.observations[0].stop, step.observations[0].max_action_tokens) == ((10,), 9)
    step = environment.step(list(b"banana\n"))
    assert _text(step) == f"{word} banana\n" and step.rewards == (3.0,)
    assert environment.step(list(b"a.")).terminated
    with pytest.raises(ValueError, match="text"):
        environment.encoded(0)


def test_rendered_text():
    environment = Gymnasium("FrozenLake-v1", render_text=True)
    assert "SFFF" in _text(environment.reset(0)).replace("\x1b[41m", "").replace("\x1b[0m", "")


def test_copies_go_on_from_where_they_were_made():
    environment = Gymnasium("CartPole-v1")
    environment.reset(None, 7)
    for _ in range(5):
        environment.step(list(b"1"))
    clone = environment.clone()
    for action in (b"0", b"1", b"1"):
        a, b = environment.step(list(action)), clone.step(list(action))
        assert _text(a) == _text(b) and a.rewards == b.rewards
    assert clone.actions == environment.actions


def test_levels_have_splits():
    environment = Gymnasium("CartPole-v1")
    parts = {split: environment.tasks(0, 200, split) for split in ("train", "validation", "test")}
    for split, levels in parts.items():
        assert len(set(levels)) == 200 and all(level_split(level) == split for level in levels)
    assert environment.tasks(0, 9) == environment.tasks(0, 20)[:9] != environment.tasks(1, 9)
    counts = [level_split(level) for level in range(4000)]
    assert abs(counts.count("train") - 3200) < 120 and abs(counts.count("test") - 600) < 110


def test_rollouts_of_a_policy_of_random_weights():
    policy = Policy(PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    environment = Gymnasium("CartPole-v1", max_steps=12)
    sampler = Sampler(policy, slots=8)
    tasks = environment.tasks(0, 3)
    rollouts = sampler.collect(environment, tasks, group_size=2, key=(1, 0), threads=2)
    assert len(rollouts) == 6 and not any(rollout.failed for rollout in rollouts)
    assert all((rollout.truncated and rollout.reward == 12.0) or rollout.reward < 12.0 for rollout in rollouts)
    again = sampler.collect(environment, tasks, group_size=2, key=(1, 0), threads=1)
    assert [rollout.tokens.tolist() for rollout in rollouts] == [rollout.tokens.tolist() for rollout in again]


def test_bad_arguments_are_named():
    for make, options, named in (
        ("Pendulum-v1", {}, "Discrete or Text"), ("CartPole-v1", {"max_steps": 0}, "max_steps"), ("CartPole-v1", {"actions": ["x"]}, "actions"),
        ("CartPole-v1", {"max_action_tokens": 0}, "max_action"), (Echo, {"actions": ["x"]}, "actions"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            Gymnasium(make, **options)
    with pytest.raises(ValueError, match="task"):
        Gymnasium("CartPole-v1").reset(-1)
    with pytest.raises(RuntimeError, match="reset"):
        Gymnasium("CartPole-v1").step([48])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[gymnasium\]"):
        Gymnasium("CartPole-v1")
