"""Policies and worlds small enough that every token of a rollout can be worked out by hand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paradigm.environments.protocol import Observation, Step
from paradigm.trajectory import TrajectoryBuffer

VOCAB = 48


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small gain nothing from a second thread, and on a busy machine lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TableLookup(torch.nn.Module):
    """Next-token logits are a row of a table, picked by the previous token; no cache."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.head_weight = torch.nn.Parameter(table.t().contiguous())  # [V, D = V]

    def forward(self, tokens: Tensor, layout: Any) -> Tensor:
        return torch.nn.functional.one_hot(tokens.long(), self.head_weight.shape[1]).float()


def random_table(seed: int = 0, scale: float = 1.5) -> TableLookup:
    return TableLookup(torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(seed)) * scale)


def successor() -> TableLookup:
    """After token t comes t + 1, with probability near 1."""
    return TableLookup(20.0 * torch.roll(torch.eye(VOCAB), 1, dims=1))


class Scripted:
    """A world given by a function of (task, seed, actions so far)."""

    def __init__(self, answer: Callable[[Any, int, list[list[int]]], Any], num_seats: int = 1):
        self.answer, self.num_seats = answer, num_seats

    def clone(self) -> Scripted:
        return Scripted(self.answer, self.num_seats)

    def reset(self, task: Any, seed: int) -> Step:
        self.task, self.seed, self.actions = task, seed, []
        return self.answer(task, seed, [])

    def step(self, action: np.ndarray) -> Step:
        assert action.dtype == np.int32 and action.ndim == 1
        self.actions.append(action.tolist())
        return self.answer(self.task, self.seed, list(self.actions))


def ask(tokens: Any, max_action_tokens: int = 4, rewards: Any = (0.0,), **fields: Any) -> Step:
    """A step with one observation that asks."""
    return Step([Observation(tokens, max_action_tokens=max_action_tokens, **fields)], rewards)


def over(rewards: Any = (1.0,), *observations: Observation) -> Step:
    return Step(list(observations), rewards, terminated=True)


def mixed_turns(task: int, seed: int, actions: list[list[int]]) -> Step:
    """Groups share a prompt of several blocks; some actions are one of a few, some stop at a token, some at a string."""
    if len(actions) == 3:
        return over()
    heard = [7] * 33 + [task] * (1 + task % 5) if not actions else [len(actions[-1]), 9]
    kind = (task + len(actions)) % 4
    legal = [(4, 5, 6), (4, 8), (33, task)] if kind == 0 else None
    stop: list[Any] = list(range(0, 256, 5)) if kind == 1 else ["e", "th"] if kind == 2 else []
    return ask(heard, 5 + task % 13, legal=legal, stop=stop)


class Banter:
    """Two seats; who speaks, for how long and under which rules follows from a hash of what was said. It answers after a random pause."""

    num_seats = 2

    def __init__(self, pause_s: float = 0.0):
        self.pause_s = pause_s

    def reset(self, task: int, seed: int) -> Step:
        self.state, self.turns = hash((task, seed)), 0
        return self._turn((0.0, 0.0), [Observation([1, 2, 3], seat=1 - task % 2)])

    def step(self, action: np.ndarray) -> Step:
        self.state = hash((self.state, tuple(action.tolist())))
        self.turns += 1
        if self.state % 29 == 0:
            raise RuntimeError("the talk broke down")
        return self._turn((float(self.state % 5), -1.0), [])

    def _turn(self, rewards: tuple[float, float], heard: list[Observation]) -> Step:
        if self.pause_s:
            time.sleep(random.random() * self.pause_s)  # unseeded on purpose: no result may depend on it
        draw = random.Random(self.state)
        seat, said = draw.randrange(2), [draw.randrange(VOCAB) for _ in range(draw.randint(1, 9))]
        legal = [(4, 5, 6), (4, 7), (8,), (9, 9)] if draw.random() < 0.4 else None
        asked = Observation(said, seat=seat, legal=legal, stop=[10, 11], max_action_tokens=draw.randint(1, 7), thought_until=12)
        return Step([*heard, asked], rewards, terminated=self.turns == 6)


def assert_same(a: TrajectoryBuffer, b: TrajectoryBuffer) -> None:
    """Equal in every bit; rows of the support table may be numbered differently, what they allow may not differ."""
    for name in ("tokens", "action_mask", "segment", "decision", "version", "rewards", "logprobs", "kept_logmass", "offsets", "index", "group",
                 "task", "seat", "parent", "stop_reason", "terminated", "truncated", "failed", "temperature"):  # fmt: skip
        ours, theirs = getattr(a, name), getattr(b, name)
        assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes(), name
    assert ((a.support >= 0) == (b.support >= 0)).all()
    masked = a.support >= 0
    assert (a.support_table[a.support[masked]] == b.support_table[b.support[masked]]).all()


def legal_tokens(buffer: TrajectoryBuffer, vocab_size: int = VOCAB) -> np.ndarray:
    """bool [n, V]: which tokens were legal where each stands; all of them where no mask applied."""
    words = np.concatenate([buffer.support_table, np.full((1, buffer.support_table.shape[1]), 0xFFFFFFFF, np.uint32)])[buffer.support]
    token = np.arange(vocab_size)
    return (words[:, token // 32] >> (token % 32).astype(np.uint32) & 1).astype(bool)
