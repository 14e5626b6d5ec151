"""Dialogues that a policy answers with one turn, in tokens from end to end; whoever judges sees the whole dialogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paradigm.environments.protocol import Observation, Step

__all__ = ["Dialogues"]


class Dialogues:
    """Prompts, one response to each, one seat. The reward is the judge's number for prompt and response together; one that is not finite fails the
    episode, which is counted and never trained on.

    Args:
        prompt_of: the tokens of a task's prompt, int32 [n], up to where a response begins; raises ValueError for what is no task.
        end: the token id that ends a response. One that reaches max_action_tokens without it is judged as it stands.
        max_action_tokens: the longest response, the end token included.
        judge: gives prompt and response, int32 [n], a number, such as `verifiers.RewardModel.reward`; None: every response is worth 0.
        threads: from how many the sampler steps it: as many dialogues may wait for the judge at once.
    Raises: ValueError for values out of range.
    """

    name = "dialogues"
    num_seats = 1

    def __init__(
        self, prompt_of: Callable[[Any], NDArray[np.int32]], *, end: int, max_action_tokens: int = 256,
        judge: Callable[[NDArray[np.int32]], float] | None = None, threads: int = 16,
    ):  # fmt: skip
        if max_action_tokens < 1 or threads < 1:
            raise ValueError(f"max_action_tokens and threads must be >= 1, got {max_action_tokens} and {threads}")
        self._prompt_of, self._end, self._max_action_tokens, self._judge = prompt_of, end, max_action_tokens, judge
        self.threads = threads
        self._prompt: NDArray[np.int32] | None = None

    def judged_by(self, judge: Callable[[NDArray[np.int32]], float]) -> Dialogues:
        """The same dialogues under another judge."""
        return Dialogues(self._prompt_of, end=self._end, max_action_tokens=self._max_action_tokens, judge=judge, threads=self.threads)

    def reset(self, task: Any, seed: int = 0) -> Step:
        """Poses a prompt. Raises: ValueError for what is no task."""
        self._prompt = self._prompt_of(task)
        return Step([Observation(self._prompt, stop=(self._end,), max_action_tokens=self._max_action_tokens)], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Judges the response. Raises: RuntimeError before a reset or after the end."""
        if self._prompt is None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        dialogue, self._prompt = np.concatenate([self._prompt, np.asarray(action, np.int32)]), None
        return Step([], (0.0 if self._judge is None else float(self._judge(dialogue)),), terminated=True)

    def clone(self) -> Dialogues:
        """A copy in the same state, of the same prompts and judge."""
        copy = object.__new__(Dialogues)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Dialogues:
        return self.clone()  # a judge may hold a model
