"""Which thread may talk to which environment worker: one at a time, first come, first served."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from paradigm.environments.protocol import EnvironmentFault
from paradigm.environments.worker_connection import WorkerConnection

__all__ = ["Turns", "Worker"]


class Worker:
    """A worker's place. `is_busy` and `is_gone` are `Turns`' own; the thread that took the worker has the rest to itself."""

    def __init__(self) -> None:
        self.connection: WorkerConnection | None = None  # until it is started
        self.is_busy = True
        self.is_gone = False
        self.num_calls = 0
        self.forgotten: deque[int] = deque()  # copies that nobody needs any longer; appended to by anyone


class _Waiting:
    def __init__(self, own: Worker | None, may_move: bool, changed: threading.Condition):
        self.own, self.may_move, self.changed = own, may_move, changed
        self.given: Worker | None = None


class Turns:
    """Hands out workers, at most `num_workers`; a thread that has to wait sleeps until one is handed to it."""

    def __init__(self, num_workers: int):
        self._num_workers = num_workers
        self._lock = threading.RLock()
        self._workers: list[Worker] = []
        self._waiting: deque[_Waiting] = deque()
        self._settled = threading.Condition(self._lock)
        self._num_stops = 0

    def take(self, own: Worker | None, patience_s: float) -> Worker:
        """A worker for this thread alone: `own`; after `patience_s`, and at once if that is gone, any, which may yet have to be started.

        Raises: EnvironmentFault with the reason "stopped" while stopped.
        """
        with self._lock:
            waiting = _Waiting(own, patience_s <= 0, threading.Condition(self._lock))
            self._waiting.append(waiting)
            self._serve()
            deadline = time.monotonic() + patience_s
            try:
                while waiting.given is None and self._num_stops == 0:
                    left = math.inf if waiting.may_move else deadline - time.monotonic()
                    if left <= 0:
                        waiting.may_move = True
                        self._serve()
                    else:
                        waiting.changed.wait(left if left < math.inf else None)
            finally:
                if waiting.given is None:
                    self._waiting.remove(waiting)
            if waiting.given is None:
                raise EnvironmentFault("stopped", "the workers were closed or interrupted")
            return waiting.given

    def give_back(self, worker: Worker, is_gone: bool = False) -> None:
        """Ends this thread's turn; a worker that is gone leaves its place to another."""
        with self._lock:
            worker.is_busy, worker.is_gone = False, is_gone
            if is_gone:
                self._workers.remove(worker)
            self._serve()
            self._settled.notify_all()

    @property
    def is_stopped(self) -> bool:
        return self._num_stops > 0

    def stop(self) -> list[Worker]:
        """Nobody gets a worker until `resume`; returns those that are at work."""
        with self._lock:
            self._num_stops += 1
            for waiting in self._waiting:
                waiting.changed.notify()
            return [worker for worker in self._workers if worker.is_busy]

    def resume(self) -> None:
        with self._lock:
            self._num_stops -= 1

    def idle(self, within_s: float) -> list[Worker]:
        """The workers that are not at work, once none is, or when the time is over."""
        with self._lock:
            self._settled.wait_for(lambda: not any(worker.is_busy for worker in self._workers), within_s)
            return [worker for worker in self._workers if not worker.is_busy]

    def _serve(self) -> None:
        if self._num_stops:
            return
        for waiting in list(self._waiting):
            worker = self._worker_for(waiting)
            if worker is not None:
                worker.is_busy, waiting.given = True, worker
                self._waiting.remove(waiting)
                waiting.changed.notify()

    def _worker_for(self, waiting: _Waiting) -> Worker | None:
        own = waiting.own if waiting.own is not None and not waiting.own.is_gone else None
        if own is not None and not own.is_busy:
            return own
        if own is not None and not waiting.may_move:
            return None
        idle = [worker for worker in self._workers if not worker.is_busy]
        if idle:
            return min(idle, key=lambda worker: worker.num_calls)
        if len(self._workers) < self._num_workers:
            self._workers.append(Worker())
            return self._workers[-1]
        return None
