"""The trainer's end of its environment workers: a socket to each, and the process that forks and kills them."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from paradigm.environments.protocol import EnvironmentFault
from paradigm.environments.worker_messages import HEADER, MAX_MESSAGE
from paradigm.environments.worker_process import REQUEST, fork_on_request, receive_exactly

__all__ = ["Forker", "WorkerConnection"]

_BESIDE_THE_STEP = 4 * MAX_MESSAGE + 256  # bytes of an answer: a message, numbers
_CLOSING_SECONDS = 5.0


class WorkerConnection:
    """Frames to and from one worker, which is not trusted to send any."""

    def __init__(self, forker: Forker, channel: socket.socket, pid: int, max_bytes: int):
        channel.setblocking(False)
        self._forker, self._channel, self._pid, self._max_bytes = forker, channel, pid, max_bytes
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._left = self._limit = 0.0  # seconds

    def is_quiet(self) -> bool:
        """Whether the worker is there and has said nothing that nobody has heard."""
        self._poll.modify(self._channel, select.POLLIN)
        return not self._poll.poll(0)

    def exchange(self, frame: bytes, limit_s: float) -> bytes:
        """Sends a frame and receives the worker's. Raises: EnvironmentFault with the reason "exit", "hang" or "oversize"."""
        self._left = self._limit = limit_s
        try:
            rest = memoryview(HEADER.pack(len(frame)) + frame)
            while rest:
                try:
                    rest = rest[self._channel.send(rest) :]
                except BlockingIOError:
                    self._await(select.POLLOUT)
        except ConnectionError:
            raise self._ended() from None
        return self._receive()

    def receive(self, limit_s: float) -> bytes:
        """A frame that was not asked for. Raises: as `exchange`."""
        self._left = self._limit = limit_s
        return self._receive()

    def close(self) -> int | None:
        """Kills the worker and what it started. Returns its wait status, None where that is not known."""
        self._channel.close()
        pid, self._pid = self._pid, 0
        return self._forker.kill(pid) if pid else None

    def interrupt(self) -> None:
        """Kills the worker while another thread may be talking to it, which sees that it ended."""
        if pid := self._pid:
            self._forker.kill(pid)

    def _receive(self) -> bytes:
        (length,) = HEADER.unpack(self._take(HEADER.size))
        if length > self._max_bytes + _BESIDE_THE_STEP:
            raise EnvironmentFault("oversize", f"an answer must have at most max_bytes={self._max_bytes}, a worker announces {length}")
        return self._take(length)

    def _take(self, num_bytes: int) -> bytes:
        taken = bytearray()
        while len(taken) < num_bytes:
            try:
                part = self._channel.recv(min(num_bytes - len(taken), 1 << 20))
            except BlockingIOError:
                self._await(select.POLLIN)
                continue
            except ConnectionError:
                part = b""
            if not part:
                raise self._ended()
            taken += part
        return bytes(taken)

    def _await(self, event: int) -> None:
        self._poll.modify(self._channel, event)
        try:
            self._left = _wait(self._poll, self._left, self._limit)
        except TimeoutError:
            raise EnvironmentFault("hang", f"a call must be answered within {self._limit:g} s") from None

    def _ended(self) -> EnvironmentFault:
        status = self.close()
        if status is None:
            how = "ended"
        elif os.WIFSIGNALED(status):
            how = f"was ended by signal {os.WTERMSIG(status)} ({signal.Signals(os.WTERMSIG(status)).name})"
        else:
            how = f"exited with status {os.waitstatus_to_exitcode(status)}"
        return EnvironmentFault("exit", f"the worker {how} in the middle of a call")


class Forker:
    """The process from which workers are forked: started when the first is wanted, and again should it end.

    Args: see `Workers`.
    """

    def __init__(self, factory: Callable[[], Any], start_timeout: float, max_bytes: int):
        self._factory, self._start_timeout, self._max_bytes = factory, start_timeout, max_bytes
        self._lock = threading.RLock()
        self._process: Any = None
        self._channel: socket.socket | None = None
        self._is_closed = False

    def fork(self) -> WorkerConnection:
        """A new worker. Raises: EnvironmentFault with the reason "start"."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            for _ in range(2):  # the process may have ended since it was last needed
                if self._is_closed:
                    break
                if self._channel is None:
                    self._start()
                pid = self._request(0, theirs)
                if pid is not None:
                    return WorkerConnection(self, ours, pid, self._max_bytes)
        ours.close()
        if self._is_closed:
            raise EnvironmentFault("stopped", "the workers were closed")
        raise EnvironmentFault("start", "the process that forks workers ended, or did not answer: it must be able to import the factory")

    def kill(self, pid: int) -> int | None:
        """Ends a worker and what it started. Returns its wait status, None where that is not known."""
        with self._lock:
            status = self._request(pid) if self._channel is not None else None
        return None if status is None or status < 0 else status

    def close(self) -> None:
        """Ends all workers and the process itself."""
        with self._lock:
            self._is_closed = True
            self._stop()

    def _start(self) -> None:
        self._channel, theirs = socket.socketpair()
        spawn = multiprocessing.get_context("spawn")
        with theirs:
            self._process = spawn.Process(target=fork_on_request, args=(theirs, self._factory, self._max_bytes), name="paradigm-workers")
            self._process.start()

    def _request(self, number: int, *sockets: socket.socket) -> int | None:
        assert self._channel is not None
        try:
            socket.send_fds(self._channel, [REQUEST.pack(number)], [s.fileno() for s in sockets])
            poll = select.poll()
            poll.register(self._channel, select.POLLIN)
            _wait(poll, self._start_timeout, self._start_timeout)
            reply = receive_exactly(self._channel, REQUEST.size)
        except (ConnectionError, TimeoutError):
            reply = None
        if reply is None:
            self._stop()
            return None
        return int(REQUEST.unpack(reply)[0])

    def _stop(self) -> None:
        channel, process, self._channel, self._process = self._channel, self._process, None, None
        if channel is None:
            return
        channel.close()
        process.join(_CLOSING_SECONDS)
        if process.is_alive():  # the workers end with it
            process.kill()
            process.join()
        process.close()


def _wait(poll: select.poll, left_s: float, limit_s: float) -> float:
    """Waits for an event, at most `left_s`; returns what is left of that. Time in which this process itself stood still (stopped,
    suspended) is not counted. Raises: TimeoutError."""
    while left_s > 0:
        slice_s, before = min(left_s, limit_s / 8), time.monotonic()
        is_ready = poll.poll(1000 * slice_s)
        left_s -= min(time.monotonic() - before, 2 * slice_s)
        if is_ready:
            return left_s
    raise TimeoutError
