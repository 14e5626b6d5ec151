"""Rollouts on request, for asyncio: episodes come and go while others run, and their tokens arrive one by one.

    async with AsyncSampler(Sampler(policy), environment) as rollouts:
        request = await rollouts.submit(task)
        async for event in request:                     # Tokens, Tokens, ..., Finished
            ...
        await rollouts.update_weights(learner.policy)   # the requests at work go on under the new weights

The steps run in a thread of their own, driven as `Sampler.collect` drives them, so that the event loop never waits for a model. A trajectory
depends on its request's index, task and parameters, the key and the weights, as those of a collection do, and not on what else is asked for.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from paradigm.environments.protocol import Environment
from paradigm.grammar import Grammar, TokenGrammar
from paradigm.rollout_driver import Stop, as_list
from paradigm.sampler import OnUpdate, Player, Sampler, name_of
from paradigm.sequences import Desk, Sequence
from paradigm.shared_prompts import rollout_flops
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["AsyncSampler", "Finished", "RequestCancelled", "RolloutRequest", "SamplerClosed", "Tokens"]

_log = logging.getLogger(__name__)


class SamplerClosed(RuntimeError):
    """The sampler was closed, or failed: then its `__cause__` says why."""


class RequestCancelled(RuntimeError):
    """The request was given up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that a seat was given or drew since the event before; fields as those of a Trajectory.

    Attributes:
        seat, start: whose stream, and where in it they stand.
        tokens, version: int32 [n]. logprobs: float32 [n]. action_mask: bool [n]. segment: uint8 [n].
    """

    seat: int
    start: int
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    version: NDArray[np.int32]
    action_mask: NDArray[np.bool_]
    segment: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """The episode is over: one trajectory for each seat that the policy played (or each, with `record_players`)."""

    trajectories: TrajectoryBuffer


class RolloutRequest:
    """One episode that was asked for. Iterate over its events, once; or wait for its `result`. Made by `AsyncSampler.submit`.

    As a context, it is cancelled where that is left before it is over.
    """

    def __init__(self, sampler: AsyncSampler, index: int, task: Any):
        self.index, self.task = index, task
        self._sampler = sampler
        self._events: deque[Tokens | Finished] = deque()
        self._news = asyncio.Event()
        self._trajectories: TrajectoryBuffer | None = None
        self._error: Exception | None = None

    def fork(self, *, seat: int = 0, length: int | None = None) -> Sequence:
        """A sequence that begins with the first `length` tokens of what a seat saw, and shares what the cache holds of them.

        Of a request that is unfinished, or that was submitted with `hold`; what it asks fails with SequenceError if there are no such tokens.
        length: None: all there are now, which depends on when that is.
        """
        return self._sampler._desk.fork(self.index, seat, length)

    def release(self) -> None:
        """Lets go of what `hold` keeps, now or as soon as it is over."""
        self._sampler._core.release(self.index)
        self._sampler._wake.set()

    @property
    def is_over(self) -> bool:
        """Whether it finished, was cancelled, or its sampler closed."""
        return self._trajectories is not None or self._error is not None

    def cancel(self) -> bool:
        """Gives it up: whoever waits for it gets RequestCancelled; its slots and blocks are free once its environment is not at work.

        Returns: whether it was still unfinished.
        """
        if self.is_over:
            return False
        self._events.clear()
        self._end(RequestCancelled(f"request {self.index} was cancelled"))
        self._sampler._cancel(self.index)
        return True

    async def result(self) -> TrajectoryBuffer:
        """Its trajectories, once it is over. Raises: RequestCancelled, SamplerClosed."""
        while not self.is_over:
            await self._wait()
        if self._trajectories is None:
            raise self._lasting_error()
        return self._trajectories

    def __aiter__(self) -> AsyncIterator[Tokens | Finished]:
        return self

    async def __anext__(self) -> Tokens | Finished:
        while not self._events:
            if self._error is not None:
                raise self._lasting_error()
            if self._trajectories is not None:
                raise StopAsyncIteration
            await self._wait()
        return self._events.popleft()

    async def __aenter__(self) -> RolloutRequest:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _lasting_error(self) -> Exception:
        """A copy for each who waits: an exception that is raised twice would collect both their tracebacks."""
        assert self._error is not None
        copy = type(self._error)(*self._error.args)
        copy.__cause__ = self._error.__cause__
        return copy

    def _add(self, event: Tokens | Finished) -> None:
        if self.is_over:
            return
        if isinstance(event, Finished):
            self._trajectories = event.trajectories
        self._events.append(event)
        self._news.set()

    def _end(self, error: Exception) -> None:
        if not self.is_over:
            self._error = error
            self._news.set()


class AsyncSampler:
    """Plays episodes of one environment on request. Use it as a context, in one event loop.

    Args:
        sampler: whose policy, slots and cache; until this is closed, it does nothing else.
        environment, opponents, record_players, threads: as in `Sampler.collect`.
        key: (seed, step) or (seed, step, attempt) of the sampling noise of all requests, which their indices tell apart.
        max_tokens: greatest length of any trajectory; as in `Sampler.collect`.
        max_requests: how many may be unfinished; where there are as many, `submit` waits. None: twice the sampler's slots.
    Raises: ValueError naming the argument that is out of range.
    """

    def __init__(
        self, sampler: Sampler, environment: Environment | Any, *, key: tuple[int, ...] = (0, 0), max_tokens: int | None = None,
        max_requests: int | None = None, opponents: Mapping[int, Sampler | Player | Any] | None = None, record_players: bool = False,
        threads: int | None = None,
    ):  # fmt: skip
        max_requests = 2 * sampler.slots if max_requests is None else max_requests
        if max_requests < 1:
            raise ValueError(f"max_requests must be >= 1, got {max_requests}")
        self.sampler, self.max_requests, self._key, self._environment = sampler, max_requests, key, environment
        self._driver = sampler._driver(
            environment, [], sampler.slots, group_size=1, sampling=(1.0, 0, 1.0, 0.0), key=key, opponents=opponents, forced=None,
            max_tokens=max_tokens, record_players=record_players, threads=threads, stop=(),
        )  # fmt: skip
        self._core = self._driver.core
        self._num_seats = int(getattr(getattr(environment, "native", environment), "num_seats", 1))
        self._room = asyncio.Semaphore(max_requests)
        self._requests: dict[int, RolloutRequest] = {}  # whose end the core has not told yet
        self._indices = itertools.count()
        self._flops = 0
        self._updates: deque[tuple[concurrent.futures.Future[int], Callable[[], Callable[[], int]]]] = deque()  # for the thread
        self._wake = threading.Event()
        self._closing = False
        self._closed: SamplerClosed | None = None
        self._desk = Desk(self._driver, sampler, self._next_index, None, self._wake.set)
        self._started, self._ended = asyncio.Event(), asyncio.Event()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> AsyncSampler:
        if self._thread is not None:
            raise RuntimeError("an AsyncSampler can be entered once: make another")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._drive, name="paradigm-sampler", daemon=True)
        self._thread.start()
        await self._started.wait()
        if self._closed is not None:
            raise self._closed
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def submit(
        self, task: Any, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, stop: Stop = (),
        max_tokens: int | None = None, group: int | None = None, index: int | None = None, stream: bool = True,
        grammar: Grammar | TokenGrammar | None = None, hold: bool = False,
    ) -> RolloutRequest:  # fmt: skip
        """Asks for an episode of `task`; waits while `max_requests` are unfinished.

        Args:
            temperature, top_k, top_p, min_p, stop, grammar: as in `Sampler.collect`, for this request alone.
            max_tokens: greatest length of its trajectories; None: the sampler's.
            group: episodes of one group share the environment's seed; None: it is alone, under its index.
            index: the episode's, which names its noise and its environment's seed; None: the least that was not given yet.
            stream: whether its tokens are events; otherwise `Finished` alone is.
            hold: whether it keeps its slots and its part of the cache when it is over, to be forked, until `release`. If it fails it keeps nothing.
        Returns: the request. Raises: SamplerClosed; ValueError if an argument is out of range or the index is that of an unfinished request.
        """
        self._check_open()
        await self._room.acquire()
        try:
            self._check_open()
            if index is None:
                index = self._next_index()
            request = RolloutRequest(self, index, task)
            self._core.submit(
                index=index, group=index if group is None else group, task=task, sampling=(temperature, top_k, top_p, min_p),
                max_tokens=self._driver.max_tokens if max_tokens is None else max_tokens, stop=as_list(stop), is_streamed=stream,
                is_held=hold, grammar=self.sampler._bind_grammar(grammar),
            )  # fmt: skip
        except BaseException:
            self._room.release()
            raise
        self._requests[index] = request
        self._wake.set()
        return request

    def open(self, tokens: ArrayLike) -> Sequence:
        """Opens a sequence of these tokens, of the policy that plays seat 0; its answers are awaited.

        It takes one of the sampler's slots until it is released, and waits for one meanwhile. Raises: SamplerClosed; ValueError.
        """
        self._check_open()
        return self._desk.open(tokens)

    def _next_index(self) -> int:
        return next(number for number in self._indices if number not in self._requests and not self._desk.is_live(number))

    async def update_weights(
        self, weights: nn.Module | Mapping[str, Tensor] | Callable[[], Any], version: int | None = None, on_update: OnUpdate = "recompute"
    ) -> int:
        """`Sampler.update_weights` between two steps, while requests are at work; returns once it is done.

        A module or mapping must not change meanwhile; a function is called in the sampler's thread. If a function raises, the weights may be
        anything, and the sampler fails.
        """
        self._check_open()
        done: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._updates.append((done, lambda: self.sampler._weights_update(weights, version, on_update)))
        self._interrupt()
        return await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Ends the thread; whoever still waits gets SamplerClosed. Does nothing if it is closed or failed already."""
        if self._thread is None:
            raise RuntimeError("an AsyncSampler must be entered before it is used: async with AsyncSampler(...) as rollouts")
        self._closing = True
        self._interrupt()
        await self._ended.wait()
        self._thread.join()

    def _check_open(self) -> None:
        if self._thread is None:
            raise RuntimeError("an AsyncSampler must be entered before it is used: async with AsyncSampler(...) as rollouts")
        if self._closed is not None or self._closing:
            closed = SamplerClosed(*(self._closed.args if self._closed else ("the sampler is closed",)))
            closed.__cause__ = self._closed.__cause__ if self._closed else None
            raise closed

    def _cancel(self, index: int) -> None:
        self._core.cancel(index)
        self._wake.set()

    def _interrupt(self) -> None:
        self._core.poke()
        self._wake.set()

    # in the thread

    def _drive(self) -> None:
        cause: BaseException | None = None
        started = time.perf_counter()
        try:
            with self._driver:
                self._in_loop(self._started.set)
                while not self._closing:
                    self._wake.clear()
                    self._apply_updates()
                    self._driver.step()
                    self._hand_over()
                    if self._core.is_idle:
                        self._wake.wait()
            total_s = time.perf_counter() - started
            self.sampler.stats = self.sampler._stats(self._core, self._driver.engines, self._core.num_done, total_s, self._flops)
        except BaseException as error:  # whatever it is, those who wait have to learn of it
            cause = error
        self._in_loop(self._end, cause)

    def _apply_updates(self) -> None:
        while self._updates:
            done, prepare = self._updates.popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                update = prepare()
            except ValueError as error:  # refused, with nothing changed
                done.set_exception(error)
                continue
            try:
                done.set_result(update())
            except BaseException as error:
                done.set_exception(error)
                raise

    def _hand_over(self) -> None:
        self._desk.settle()
        events, finished = self._core.take_events(), self._core.take_finished()
        if finished is not None:
            self._flops += rollout_flops(self.sampler.policy, TrajectoryBuffer(finished[0]), self._driver.own_seats)
        if events is not None or finished is not None:
            self._in_loop(self._deliver, events, finished)

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._closing = True

    # in the event loop

    def _deliver(self, events: dict[str, Any] | None, finished: tuple[dict[str, Any], dict[int, tuple[str, str]], list[int]] | None) -> None:
        if events is not None:
            cuts = events["offsets"].tolist()
            fields = [events[name] for name in ("tokens", "logprobs", "version", "action_mask", "segment")]
            for i, (index, seat, start) in enumerate(zip(events["index"].tolist(), events["seat"].tolist(), events["start"].tolist())):
                if (request := self._requests.get(index)) is not None:
                    request._add(Tokens(seat, start, *(field[cuts[i] : cuts[i + 1]] for field in fields)))
        if finished is not None:
            self._finish(*finished)

    def _finish(self, arrays: dict[str, Any], failures: dict[int, tuple[str, str]], over: list[int]) -> None:
        owners = arrays["index"] // self._num_seats
        for index in over:
            request = self._requests.pop(index, None)
            self._room.release()
            if request is None or request.is_over:  # it was cancelled
                continue
            rows = np.flatnonzero(owners == index)
            failed = {int(row): failures[int(row)] for row in rows if int(row) in failures}
            notes = {row: {"failure": message, "failure_reason": reason} for row, (reason, message) in failed.items()}
            alone = {**arrays, "task": np.zeros_like(arrays["task"])}  # the only one of its buffer's tasks
            buffer = TrajectoryBuffer(alone, tasks=[request.task], key=self._key, environment=name_of(self._environment), extras=notes)
            request._add(Finished(buffer.select(rows)))

    def _end(self, cause: BaseException | None) -> None:
        """Nothing comes any more: all who wait learn it."""
        self._closed = SamplerClosed("the sampler is closed" if cause is None else f"the sampler failed: {cause}")
        self._closed.__cause__ = cause
        if cause is not None:
            _log.error("the sampler failed: %s", cause)
        for request in self._requests.values():
            request._end(self._closed)
        self._requests.clear()
        self._desk.fail(self._closed)
        for done, _ in self._updates:
            if done.set_running_or_notify_cancel():
                done.set_exception(self._closed)
        self._updates.clear()
        self._room.release()  # whoever waits for room wakes, sees, and passes it on
        self._started.set()
        self._ended.set()
