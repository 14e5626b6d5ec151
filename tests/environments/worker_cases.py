"""Worlds that go wrong, in a module of their own: worker processes import them."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from paradigm.environments.protocol import Observation, Step
from tests.sampler_cases import VOCAB, ask, over

MAX_BYTES = 1 << 14

# what a step is replaced by, and under which reason the episode is counted
CHEAP: dict[str, tuple[str, Any]] = {
    "an exception": ("raise", lambda: 1 // 0),
    "an exit": ("raise", lambda: sys.exit(3)),
    "an interrupt": ("raise", lambda: _raise(KeyboardInterrupt())),
    "an error that cannot be told": ("raise", lambda: _raise(_Mute())),
    "None": ("garbage", lambda: None),
    "an attribute is missing": ("garbage", lambda: SimpleNamespace(observations=[], rewards=[0.0])),
    "tokens are text": ("garbage", lambda: ask("abc")),
    "tokens are of the wrong dtype": ("garbage", lambda: ask(np.ones(3, np.float32))),
    "tokens are two-dimensional": ("garbage", lambda: ask(np.zeros((2, 2), np.int64))),
    "a token does not fit int32": ("garbage", lambda: ask(np.array([1 << 40]))),
    "a token is outside the vocabulary": ("garbage", lambda: ask([VOCAB])),
    "two seats are asked": ("garbage", lambda: Step([Observation([1], max_action_tokens=1)] * 2, [0.0])),
    "rewards are too many": ("garbage", lambda: ask([1], rewards=[1.0, 2.0])),
    "a reward is text": ("garbage", lambda: ask([1], rewards=["1"])),
    "a reward is not a number": ("reward", lambda: ask([1], rewards=[float("nan")])),
    "legal is not prefix-free": ("garbage", lambda: ask([1], legal=[(1, 2), (1,)])),
    "terminated has no truth": ("garbage", lambda: Step([], [0.0], terminated=np.zeros(2))),
    "the observation is huge": ("oversize", lambda: ask(np.ones(MAX_BYTES, np.int32))),
    "the legal actions are huge": ("oversize", lambda: ask([1], legal=[(1, i % VOCAB) for i in range(MAX_BYTES // 8 + 1)])),
}
DEADLY: dict[str, tuple[str, Any]] = {
    "the process exits": ("exit", lambda: os._exit(0)),
    "the process crashes": ("exit", lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "the process is killed": ("exit", lambda: os.kill(os.getpid(), signal.SIGKILL)),
}
HANGING: dict[str, tuple[str, Any]] = {
    "it sleeps": ("hang", lambda: time.sleep(3600)),
    "it is stopped": ("hang", lambda: [os.kill(os.getpid(), signal.SIGSTOP), time.sleep(3600)]),
    "it sleeps and will not be interrupted": ("hang", lambda: [signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(3600)]),
}
FAULTS = CHEAP | DEADLY | HANGING


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


def _raise(error: BaseException) -> None:
    raise error


class Faulty:
    """Three turns that remember what was said. A task is (number, a key of FAULTS or "", the turn in which it strikes)."""

    name = "faulty"

    def __init__(self, strikes: bool = True):
        self.strikes = strikes

    def clone(self) -> Faulty:
        return type(self)(self.strikes)

    def reset(self, task: tuple[int, str, int], seed: int) -> Step:
        self.task, self.turn, self.memory = task, 0, seed % 1009 + task[0]
        return self._answer()

    def step(self, action: np.ndarray) -> Step:
        self.turn += 1
        self.memory = (31 * self.memory + int(action.sum())) % 100_003
        return self._answer()

    def _answer(self) -> Step:
        _, fault, turn = self.task
        if self.strikes and fault and turn == self.turn:
            return FAULTS[fault][1]()
        reward = (self.memory % 7 / 7,)
        if self.turn == 3:
            return over(reward)
        return ask([self.memory % VOCAB, self.memory // 7 % VOCAB, 3], 2 + self.memory % 4, rewards=reward, stop=[5])


class Waiting:
    """Three turns; in the second, task 0 waits until a file is there."""

    def __init__(self, path: str):
        self.path = Path(path)

    def reset(self, task: int, seed: int) -> Step:
        self.task, self.turn = task, 0
        return ask([task % VOCAB], 4)

    def step(self, action: np.ndarray) -> Step:
        self.turn += 1
        while self.task == 0 and self.turn == 1 and not self.path.exists():
            time.sleep(0.01)
        return over() if self.turn == 3 else ask([self.task % VOCAB, self.turn], 4)


class Moody(Faulty):
    """Answers otherwise in each process."""

    replayable = True

    def step(self, action: np.ndarray) -> Step:
        self.memory += os.getpid()
        return super().step(action)


class Unrepeatable(Faulty):
    replayable = False


class Telling(Faulty):
    """Tells its process in its first answer, which is no token of any policy's."""

    pid = 0

    def reset(self, task: tuple[int, str, int], seed: int) -> Step:
        self.pid = self.pid or os.getpid()
        return ask([self.pid])


class Unbuildable:
    def __init__(self, what: str):
        FAULTS[what][1]()


class Chatty:
    """Writes its task, if there is one, into the worker's channel: a frame of its own."""

    def reset(self, task: bytes, seed: int) -> Step:
        for number in range(3, 64) if task else ():
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    os.write(number, task)
        return ask([1], 1)

    def step(self, action: np.ndarray) -> Step:
        return over()
