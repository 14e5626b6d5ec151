"""Rollouts of an RL stage's steps: in their turn, or up to `max_lag` steps ahead, in a thread beside the update.

    step k of the learner           k                k + 1            k + 2
    update (this thread)       | w_k -> w_k+1   | w_k+1 -> w_k+2 |
    collection (own thread)    | step k + 1     | step k + 2     |      with the weights that its column begins with: lag 1

A collection is a function of (weights, tasks, key): step k's are drawn with the weights after k - max_lag steps (the first ones with those that
the stage starts from), however fast either side is. So the lag is bounded, and the same seed gives the same run. What is drawn ahead is drawn by
a copy of the policy; a checkpoint waits for it and holds it, whole.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paradigm.sampler import CollectionStats, Sampler
from paradigm.timeline import span
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["Collected", "Collector"]


class Collected(NamedTuple):
    """A step's rollouts, what collecting them took, the number of steps whose weights drew them, and the share of the time since those before it
    were taken in which the learner waited."""

    rollouts: TrajectoryBuffer
    stats: CollectionStats | None
    version: int
    idle_share: float


class _Ahead(NamedTuple):
    step: int
    version: int
    chosen: tuple[int, ...]  # positions of its tasks among the step's
    done: Future[tuple[TrajectoryBuffer, CollectionStats | None]]


class _Weights(NamedTuple):
    """A copy of the policy's, and on a GPU what tells that it is made."""

    tensors: Mapping[str, Tensor]
    is_made: Any


class Collector:
    """Collects steps in their order.

    Args:
        sampler: of the policy that is trained, whole.
        play: plays the tasks of a step with a sampler; `options` go to `Sampler.collect`.
        max_lag: how many steps ahead; 0 collects in this thread, with the policy itself.
    """

    def __init__(self, sampler: Sampler, play: Callable[..., TrajectoryBuffer], max_lag: int = 0):
        self.max_lag, self._trained, self._play = max_lag, sampler.policy, play
        self._sampler = sampler if max_lag == 0 else _apart(sampler)
        self._ahead: deque[_Ahead] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._weights: tuple[int, _Weights] | None = None  # the newest copy, and its version
        self._is_closing = False
        self._taken = time.perf_counter()  # when rollouts were taken last

    def start(self, step: int, tasks: Sequence[Any], chosen: Sequence[int], version: int) -> None:
        """Begins the collection of a step with the weights as they are now, those after `version` steps. With max_lag = 0 it is over on return.

        Args:
            chosen: positions of the tasks among all that the step has, for `state_dict`.
        """
        if self.max_lag == 0:
            done: Future[tuple[TrajectoryBuffer, CollectionStats | None]] = Future()
            self._sampler.version = version
            done.set_result((self._play(self._sampler, tasks, step), self._sampler.stats))
        else:
            if self._weights is None or self._weights[0] != version:
                self._weights = version, _copied(self._trained)
            if self._pool is None:
                threads = torch.get_num_threads()  # a new thread has the system's number, whatever this one was told
                self._pool = ThreadPoolExecutor(1, "rollouts", initializer=lambda: torch.set_num_threads(threads))
            done = self._pool.submit(self._collect, self._weights[1], list(tasks), step, version)
        self._ahead.append(_Ahead(step, version, tuple(chosen), done))

    def _collect(self, weights: _Weights, tasks: Sequence[Any], step: int, version: int) -> tuple[TrajectoryBuffer, CollectionStats | None]:
        """In the thread."""
        sampler = self._sampler
        beside: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if weights.is_made is not None:
            stream = torch.cuda.Stream(sampler.policy.head_weight.device)
            stream.wait_event(weights.is_made)
            beside = torch.cuda.stream(stream)
        with beside:
            with torch.no_grad():
                for name, tensor in sampler.policy.state_dict().items():
                    tensor.copy_(weights.tensors[name])
            sampler.version = version
            return self._play(sampler, tasks, step, between_steps=self._check), sampler.stats

    def _check(self) -> None:
        if self._is_closing:
            raise RuntimeError("the collector is closed")

    def take(self, step: int) -> Collected | None:
        """The rollouts of a step; waits for them. None where it was not started. Raises: what their collection raised."""
        if not self._ahead or self._ahead[0].step != step:
            return None
        started = time.perf_counter()
        with span("wait for rollouts"):
            rollouts, stats = self._ahead[0].done.result()
        ahead = self._ahead.popleft()
        before, self._taken = self._taken, time.perf_counter()
        return Collected(rollouts, stats, ahead.version, (self._taken - started) / max(self._taken - before, 1e-9))

    def settle(self) -> None:
        """Waits until no collection is at work. Raises: what one of them raised."""
        for ahead in self._ahead:
            ahead.done.result()

    def close(self) -> None:
        """Ends what is at work within a step of it, and lets the thread go."""
        self._is_closing = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def state_dict(self) -> list[dict[str, Any]]:
        """What is waiting to be taken, once it is all there."""
        self.settle()
        state = []
        for ahead in self._ahead:
            rollouts, stats = ahead.done.result()
            state.append({
                "step": ahead.step, "version": ahead.version, "chosen": list(ahead.chosen),
                "rollouts": rollouts.arrays(), "key": rollouts.key, "environment": rollouts.environment,
                "extras": rollouts.extras, "stats": None if stats is None else dataclasses.asdict(stats),
            })  # fmt: skip
        return state

    def load_state_dict(self, state: Sequence[Mapping[str, Any]], tasks_of: Callable[[int], Sequence[Any]]) -> None:
        """Takes over what `state_dict` returned; `tasks_of` tells all tasks of a step."""
        self._ahead.clear()
        for entry in state:
            tasks = tasks_of(entry["step"])
            rollouts = TrajectoryBuffer(
                entry["rollouts"], tasks=[tasks[i] for i in entry["chosen"]], key=entry["key"], environment=entry["environment"],
                extras=entry["extras"],
            )  # fmt: skip
            done: Future[tuple[TrajectoryBuffer, CollectionStats | None]] = Future()
            done.set_result((rollouts, None if entry["stats"] is None else CollectionStats(**entry["stats"])))
            self._ahead.append(_Ahead(entry["step"], entry["version"], tuple(entry["chosen"]), done))


def _apart(sampler: Sampler) -> Sampler:
    """The same sampler with a policy, and a cache, of its own."""
    own = copy.copy(sampler)
    own.policy, own._cache = copy.deepcopy(sampler.policy), None
    return own


def _copied(policy: Any) -> _Weights:
    tensors = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
    device = policy.head_weight.device
    return _Weights(tensors, torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None)
