"""Python environments in worker processes: one that crashes, hangs or answers nonsense costs its own episode and nothing else.

A worker holds copies of the environment, one for each episode at work, and steps one at a time: when it dies or exceeds the time limit, the
call that it was at is to blame. It is killed and replaced, that episode fails, and the others that it held are replayed elsewhere from
their task, seed and actions, which gives the same answers (checked by a CRC of each). An episode whose worker is busy with another's slow
call is moved the same way, once it has waited as long as its replay is going to take and longer than a quick call lasts.

What a worker sends is never unpickled and cannot make the trainer run code. Otherwise it is an ordinary process with the trainer's rights,
no sandbox: code that a policy wrote belongs in `paradigm.verifiers.Sandbox`.
"""

from __future__ import annotations

import math
import multiprocessing.util
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

import msgspec
import numpy as np

from paradigm.environments.protocol import EnvironmentFault, IntArray, Step, copied
from paradigm.environments.worker_connection import Forker
from paradigm.environments.worker_messages import Answer, Call, Hello, decode_step, describe
from paradigm.environments.worker_turns import Turns, Worker

__all__ = ["Workers"]

_PATIENCE_S = 0.05
_CLOSING_S = 5.0
_answer_decoder = msgspec.msgpack.Decoder(Answer)
_hello_decoder = msgspec.msgpack.Decoder(Hello)


class Workers:
    """An environment whose episodes are played in worker processes; their number changes no trajectory.

    Episodes that fail are counted in `CollectionStats.failure_reasons`, beside the kinds named there, as "hang" (over the time limit),
    "exit" (the process ended), "oversize", "start" (a worker's environment could not be built), "not_replayable" (it answered differently
    when it was replayed), and "lost" (another's fault took its worker, and it says of itself that it cannot be replayed).

    At most `threads` calls are out at once, `processes` of them at work, and an answer has at most `max_bytes`. Calls beyond that wait in
    the sampler, which goes on with the episodes that have been answered: for environments that mostly wait, take more processes than
    cores.

    Args:
        factory: makes the environment, in each worker once; copied by its `clone()`, else `copy.deepcopy`. Picklable, so a class, a function
            of a module, or a `functools.partial` of one. Its module is imported in a new process, from which workers are forked: it must not
            start threads on import, and a script that makes Workers keeps that under `if __name__ == "__main__"`. Tasks are pickled, too.
        processes: worker processes; 0: none, the sampler's threads step the environment in this process, where no limit holds.
        timeout: seconds that one reset or step may take.
        start_timeout: seconds that importing the factory, and then the factory, may take.
        max_bytes: of an answer, with four for a token.

    Attributes:
        num_seats, name, replayable: the environment's.
        num_started, num_replayed: workers forked, and episodes that were replayed, so far.
    Raises: ValueError for arguments out of range; RuntimeError if the factory fails in a worker.

    The processes live until `close()`, the end of a `with` block, or the end of this process, however it ends.
    """

    def __init__(
        self, factory: Callable[[], Any], processes: int = 2, *, timeout: float = 10.0, start_timeout: float = 60.0, max_bytes: int = 1 << 24,
    ):  # fmt: skip
        if processes < 0:
            raise ValueError(f"processes must be >= 0, got {processes}")
        for name, value in (("timeout", timeout), ("start_timeout", start_timeout), ("max_bytes", max_bytes)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        if not callable(factory):
            raise ValueError(f"factory must be callable, got {factory!r}")
        self.processes = processes
        self.threads: int | None = None
        self._pool: _Pool | None = None
        self._own: Any = None
        if processes == 0:
            self._prototype = factory()
            hello = describe(self._prototype)
            self.num_seats, self.name, self.replayable = hello.num_seats, hello.name, hello.replayable
            return
        self.threads = 4 * processes + 4  # those that wait for a busy worker leave some to the others
        self._pool = _Pool(factory, processes, timeout, start_timeout, max_bytes)
        self._end = multiprocessing.util.Finalize(self, self._pool.close, exitpriority=10)  # before the interpreter waits for its children
        try:
            hello = self._pool.start()
        except EnvironmentFault as fault:
            self.close()
            raise RuntimeError(f"factory must make an environment in a worker: {fault}") from None
        self.num_seats, self.name, self.replayable = hello.num_seats, hello.name, hello.replayable

    @property
    def num_started(self) -> int:
        return self._pool.num_started if self._pool else 0

    @property
    def num_replayed(self) -> int:
        return self._pool.num_replayed if self._pool else 0

    def clone(self) -> Any:
        """An environment for one episode after another; played in whichever worker is free."""
        if self._pool is not None:
            return _Episodes(self._pool)
        return copied(self._prototype)

    def reset(self, task: Any, seed: int) -> Step:
        """Starts an episode of this object's own. Raises: EnvironmentFault."""
        self._own = self._own or self.clone()
        return self._own.reset(task, seed)

    def step(self, action: IntArray) -> Step:
        """Goes on with it. Raises: EnvironmentFault; RuntimeError before a reset."""
        if self._own is None:
            raise RuntimeError("step needs a reset before it")
        return self._own.step(action)

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """For a sampler that stops early: a context in which all calls fail at once, those that are out, too."""
        if self._pool is None:
            yield
            return
        self._pool.interrupt()
        try:
            yield
        finally:
            self._pool.resume()

    def close(self) -> None:
        """Ends the processes; episodes that are still at work fail."""
        if self._pool is not None:
            self._end()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Episodes:
    """One copy of the environment, wherever it is, and what brings another to the same state."""

    def __init__(self, pool: _Pool):
        self.pool, self.copy = pool, pool.next_copy()
        self.worker: Worker | None = None
        self.task: tuple[bytes, int] | None = None  # None: no episode is at work
        self.actions: list[bytes] = []
        self.digest = 0  # CRC-32 of the answers so far
        self.seconds = 0.0  # that they took

    def reset(self, task: Any, seed: int) -> Step:
        self.task, self.actions, self.digest, self.seconds = (bytes(ForkingPickler.dumps(task)), seed), [], 0, 0.0
        return self.pool.play(self)

    def step(self, action: IntArray) -> Step:
        if self.task is None:
            raise RuntimeError("step needs a reset before it")
        self.actions.append(np.asarray(action, np.int32).tobytes())
        return self.pool.play(self)

    def leave(self) -> None:
        """The worker, if it has this copy, may forget it."""
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.forgotten.append(self.copy)

    def __del__(self) -> None:
        self.leave()


class _Pool:
    """What is said to workers, and what becomes of those that answer wrongly."""

    def __init__(self, factory: Callable[[], Any], processes: int, timeout: float, start_timeout: float, max_bytes: int):
        self.num_started = self.num_replayed = 0
        self._timeout, self._start_timeout = timeout, start_timeout
        self._forker = Forker(factory, start_timeout, max_bytes)
        self._turns = Turns(processes)
        self._replayable, self._num_copies = True, 0
        self._counting = threading.Lock()

    def next_copy(self) -> int:
        with self._counting:
            self._num_copies += 1
            return self._num_copies

    def start(self) -> Hello:
        """The first worker, which tells what environment it has. Raises: EnvironmentFault."""
        worker = self._turns.take(None, 0.0)
        with self._blamed(worker):
            hello = self._start(worker)
        self._replayable = hello.replayable
        return hello

    def play(self, episode: _Episodes) -> Step:
        """The answer to the last thing that the episode did. Raises: EnvironmentFault, after which the episode is over."""
        is_reset = not episode.actions
        task, episode.task = episode.task, None
        patience_s = 0.0 if is_reset else max(episode.seconds, _PATIENCE_S) if self._replayable else math.inf
        while True:
            worker = self._turns.take(episode.worker, patience_s)
            if worker.connection is None or worker.connection.is_quiet():
                break
            worker.connection.close()  # it ended, or spoke, between two calls: the fault of neither
            self._turns.give_back(worker, is_gone=True)
        is_moved = worker is not episode.worker
        if is_moved:
            episode.leave()
        is_replayed = is_moved and not is_reset
        if is_replayed and not self._replayable:
            self._turns.give_back(worker)
            raise EnvironmentFault("lost", "another episode's fault ended the worker, and the environment is not replayable")
        try:
            with self._blamed(worker):
                if worker.connection is None:
                    self._start(worker)
                started = time.monotonic()
                call = self._call(worker, episode, task if is_moved or is_reset else None)
                answer = self._ask(worker, call)
                if answer.number != call.number:
                    raise EnvironmentFault("garbage", f"the worker must answer call {call.number}, got an answer to {answer.number}")
                step = decode_step(answer.step) if not answer.fault else None
        except (msgspec.DecodeError, ValueError) as error:
            raise EnvironmentFault("garbage", f"what a worker sent is no answer: {error}") from None
        if step is None:
            raise EnvironmentFault(answer.fault, answer.message)
        episode.worker = worker
        if is_replayed:
            with self._counting:
                self.num_replayed += 1
            if answer.replayed != episode.digest:
                episode.leave()
                raise EnvironmentFault("not_replayable", "replayed with the same task, seed and actions, the environment answered differently")
        episode.seconds = time.monotonic() - started + (0.0 if call.reset else episode.seconds)
        episode.task, episode.digest = task, zlib.crc32(answer.step, episode.digest)
        return step

    def interrupt(self) -> None:
        for worker in self._turns.stop():
            if worker.connection is not None:
                worker.connection.interrupt()

    def resume(self) -> None:
        self._turns.resume()

    def close(self) -> None:
        self._turns.stop()
        self._forker.close()  # calls that are out see their workers' end, and are over before the interpreter is
        for worker in self._turns.idle(_CLOSING_S):
            if worker.connection is not None:
                worker.connection.close()

    def _call(self, worker: Worker, episode: _Episodes, task: tuple[bytes, int] | None) -> Call:
        worker.num_calls += 1
        forgotten = [worker.forgotten.popleft() for _ in range(len(worker.forgotten))]
        return Call(worker.num_calls, episode.copy, forgotten, task, episode.actions[-1:] if task is None else episode.actions)

    def _ask(self, worker: Worker, call: Call) -> Answer:
        limit_s = self._timeout * (len(call.actions) + (call.reset is not None))
        assert worker.connection is not None
        return _answer_decoder.decode(worker.connection.exchange(msgspec.msgpack.encode(call), limit_s))

    @contextmanager
    def _blamed(self, worker: Worker) -> Iterator[None]:
        """Gives the worker back; after any exception without its process, which is killed."""
        try:
            yield
        except BaseException:
            if worker.connection is not None:
                worker.connection.close()
            self._turns.give_back(worker, is_gone=True)
            raise
        self._turns.give_back(worker)

    def _start(self, worker: Worker) -> Hello:
        worker.connection = self._forker.fork()
        with self._counting:
            self.num_started += 1
        try:
            hello = _hello_decoder.decode(worker.connection.receive(self._start_timeout))
        except EnvironmentFault as fault:
            raise EnvironmentFault("start", f"{fault.failure_reason} while the environment was built: {fault}") from None
        if hello.error:
            raise EnvironmentFault("start", hello.error)
        if self._turns.is_stopped:  # while it was not yet there to be killed
            raise EnvironmentFault("stopped", "the workers were closed or interrupted")
        return hello
