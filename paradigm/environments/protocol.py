"""The protocol between a world and the sampler. Native worlds (`paradigm._core`) answer with objects of the same fields."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Environment", "EnvironmentFault", "Observation", "Step"]

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Observation:
    """What one seat hears, and what it is asked.

    Attributes:
        tokens: int32 [n], injected into the seat's stream.
        seat: whose stream.
        legal: the allowed actions as token sequences, none of which begins another; None: any tokens.
        stop: token ids and texts (str, bytes). The action ends with the first such token, or with the token that completes the first such
            text however tokens cut it; that token belongs to the action, and may say more than the text. Texts need a sampler that has its
            tokenizer. They are also how a tool call is taken out of a longer text: the environment gets the action up to the delimiter.
        max_action_tokens: the action ends here at the latest; 0: the seat only listens.
        thought_until: action tokens before the first of this id are labelled thought; -1: none are.
    """

    tokens: Sequence[int] | IntArray
    seat: int = 0
    legal: Sequence[Sequence[int]] | None = None
    stop: Sequence[int | str | bytes] | None = None
    max_action_tokens: int = 0
    thought_until: int = -1


@dataclass(frozen=True)
class Step:
    """What an environment answers.

    Attributes:
        observations: at most one of them asks (`max_action_tokens` > 0).
        rewards: one a seat, for the action just taken.
        terminated: the episode ended by the rules of the world.
        truncated: the episode was cut short.
    """

    observations: Sequence[Observation]
    rewards: Sequence[float]
    terminated: bool = False
    truncated: bool = False


def copied(environment: Any) -> Any:
    """A copy in the same state: by its `clone()`, else `copy.deepcopy`."""
    return environment.clone() if hasattr(environment, "clone") else copy.deepcopy(environment)


def without_stop(action: ArrayLike, stop: Sequence[int | str | bytes]) -> list[int]:
    """An action's tokens, less the stop token that ended it; texts among the stops stay."""
    tokens: list[int] = np.asarray(action, np.int32).tolist()
    return tokens[:-1] if tokens and tokens[-1] in stop else tokens


@runtime_checkable
class Environment(Protocol):
    """A world of one episode at a time, deterministic in (task, seed, actions).

    Some attributes are optional: `num_seats` (1 where absent), `name`, `clone() -> Environment`, a copy in the same state
    (`copy.deepcopy` where absent); `threads`, from how many the sampler is to step it; `replayable`, False if it is not deterministic;
    `interrupted()`, a context in which calls end soon, for a sampler that stops early.
    """

    def reset(self, task: Any, seed: int) -> Step:
        """Starts the episode of `task`; raises ValueError for what is no task of this world."""
        ...

    def step(self, action: IntArray) -> Step:
        """Takes the action, int32 [n], of the seat that was asked."""
        ...


class EnvironmentFault(RuntimeError):
    """Costs the episode in which it is raised, which is counted under `failure_reason` rather than "raise"."""

    def __init__(self, failure_reason: str, message: str):
        super().__init__(message)
        self.failure_reason = failure_reason
