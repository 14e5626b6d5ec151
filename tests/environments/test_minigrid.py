"""MiniGrid and BabyAI: views as text, BabyAI's bot as demonstrator, and rollouts through the sampler."""

import sys

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import minigrid, minigrid_text
from paradigm.environments.minigrid import BabyAIBot

pytest.importorskip("minigrid")


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def test_views_as_text():
    environment = minigrid("MiniGrid-DoorKey-5x5-v0")
    mission, *rows = _text(environment.reset(3)).split("\n")[:-1]
    assert mission == "use the key to open the door and then get to the goal"
    assert len(rows) == 7 and all(len(row) == 14 for row in rows)
    assert len(_text(environment.step(list(b"l"))).split("\n")) == 8  # the mission is said once
    asked = environment.reset(3).observations[0]
    assert [bytes(sequence) for sequence in asked.legal] == [b"l", b"r", b"f", b"p", b"d", b"t", b"x"]


def test_every_object_has_its_sign():
    """One row of every kind of object that MiniGrid encodes, in its own encoding."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    kinds = ["unseen", "empty", "wall", "floor", "key", "ball", "box", "goal", "lava", "agent"]
    cells = [(OBJECT_TO_IDX[kind], COLOR_TO_IDX["red"], 0) for kind in kinds]
    cells += [(OBJECT_TO_IDX["door"], COLOR_TO_IDX["grey"], STATE_TO_IDX[state]) for state in ("open", "closed", "locked")]
    image = np.array([cells], np.uint8).transpose(1, 0, 2)
    assert minigrid_text({"image": image}) == "  . # _rkrorbrG ~ A /e+e=e"
    colours = [(OBJECT_TO_IDX["ball"], COLOR_TO_IDX[name], 0) for name in ("red", "green", "blue", "purple", "yellow", "grey")]
    assert minigrid_text({"image": np.array([colours], np.uint8).transpose(1, 0, 2)}) == "orogobopoyoe"
    assert len(set(COLOR_TO_IDX)) == 6 and len(OBJECT_TO_IDX) == 11


def test_the_bot_solves_levels_of_babyai():
    environment = minigrid("BabyAI-GoToLocal-v0")
    sampler = Sampler(None, vocab_size=256)
    rollouts = sampler.collect(environment, environment.tasks(0, 6), group_size=1, opponents={0: BabyAIBot()}, record_players=True)
    assert all(rollout.terminated and not rollout.failed and rollout.reward > 0.5 for rollout in rollouts)
    door = minigrid("BabyAI-UnlockPickup-v0")
    (rollout,) = sampler.collect(door, door.tasks(0, 1), group_size=1, opponents={0: BabyAIBot()}, record_players=True)
    assert rollout.reward > 0.5 and {b"p"[0], b"t"[0]} <= set(rollout.tokens[rollout.action_mask].tolist())


def test_rollouts_of_a_policy_of_random_weights():
    policy = Policy(PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    environment = minigrid("MiniGrid-Empty-5x5-v0", max_steps=5)
    rollouts = Sampler(policy, slots=8).collect(environment, environment.tasks(0, 2), group_size=2, key=(1, 0), threads=2)
    assert len(rollouts) == 4 and not any(rollout.failed for rollout in rollouts)
    assert all(rollout.truncated or rollout.reward > 0 for rollout in rollouts)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[minigrid\]"):
        minigrid("MiniGrid-Empty-5x5-v0")
