"""One program in its sandbox: talks with it, watches its limits, ends it and all its descendants."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["SandboxLimits", "SandboxProcess", "SandboxResult"]

Reason = Literal["ok", "error", "timeout", "memory", "output"]

_WATCH_SECONDS = 0.05
_DYING_SECONDS = 10.0
_CHUNK = 65536
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What one program may use.

    Attributes:
        wall_seconds: from its start to its end.
        cpu_seconds: of all processes together, whole seconds.
        memory_mib: address space of each process, and resident memory of all of them together.
        num_processes: processes and threads at one time.
        file_mib: the longest file.
        scratch_mib: what fits in /tmp; 0: it is read-only.
        num_open_files: of each process.
        output_kib: the longest stdout, and the longest stderr; past it the program is killed.
    Raises: ValueError for values out of range.
    """

    wall_seconds: float = 15.0
    cpu_seconds: int = 5
    memory_mib: int = 512
    num_processes: int = 16
    file_mib: int = 16
    scratch_mib: int = 16
    num_open_files: int = 64
    output_kib: int = 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "scratch_mib" else 1 if field.type == "int" else 0.01
            if not least <= value < 1e9:
                raise ValueError(f"{field.name} must be >= {least}, got {value}")


@dataclass(frozen=True)
class SandboxResult:
    """How a program ended.

    Attributes:
        reason: `ok`: it exited with 0; `error`: it did not; `timeout`, `memory`, `output`: it was killed at that limit.
        status: its exit status, 128 + n if signal n ended it.
        stdout, stderr: what it wrote and nobody read before, at most the limit.
        cpu_seconds: of all its processes together.
    """

    reason: Reason
    status: int
    stdout: bytes
    stderr: bytes
    wall_seconds: float
    cpu_seconds: float


class SandboxProcess:
    """A running program, made by `Sandbox.start` and used by the thread that made it."""

    def __init__(self, outer: subprocess.Popen[bytes], limits: SandboxLimits):
        assert outer.stdin is not None and outer.stdout is not None and outer.stderr is not None
        self._outer, self._limits = outer, limits
        self._stdin, self._streams = outer.stdin, {outer.stdout.fileno(): outer.stdout, outer.stderr.fileno(): outer.stderr}
        self._stdout_fd, self._stderr_fd = self._streams
        self._received = dict.fromkeys(self._streams, 0)
        self._buffers = {fd: bytearray() for fd in self._streams}
        self._to_send = bytearray()
        self._input_ends = self._exited = False
        self._killed_for: Reason | None = None
        self._init_pid, self._init_fd = -1, -1
        self._outer_fd = os.pidfd_open(outer.pid)
        for stream in (outer.stdin, outer.stdout, outer.stderr):
            os.set_blocking(stream.fileno(), False)
        self._started = time.monotonic()
        self._next_watch = self._started + _WATCH_SECONDS
        self._cpu_seconds = 0.0
        self._watched: list[SandboxProcess] = []
        self._result: SandboxResult | None = None

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def adopt(self, init_pid: int) -> None:
        """Says which process is the sandbox's first; its end is the end of all others."""
        self._init_fd = os.pidfd_open(init_pid)
        self._init_pid = init_pid

    def watch(self, other: SandboxProcess) -> None:
        """Holds another program to its limits, too, while this one is waited for."""
        self._watched.append(other)

    def send(self, data: bytes) -> None:
        """Queues input, which goes out while output is read."""
        self._to_send += data

    def end_input(self) -> None:
        """The program reads an end of file after what was sent."""
        self._input_ends = True

    def read_line(self, seconds: float = math.inf) -> bytes | None:
        """The next line of stdout without its newline; None if it does not come whole: stdout ended, a limit or the time passed."""
        buffer = self._buffers[self._stdout_fd]
        deadline = time.monotonic() + seconds
        self._pump(lambda: b"\n" in buffer or self._stdout_fd not in self._streams or time.monotonic() > deadline)
        end = buffer.find(b"\n")
        if end < 0 or self._killed_for is not None:
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        return line

    @property
    def killed_for(self) -> Reason | None:
        """The limit at which it was killed, if it was."""
        return self._killed_for

    @property
    def unread(self) -> bool:
        """Whether stdout holds anything that no read_line has taken."""
        self._pump(lambda: True)
        return bool(self._buffers[self._stdout_fd])

    def finish(self) -> SandboxResult:
        """Waits for the program's end."""
        self._pump(lambda: False)
        return self._reap()

    def kill(self) -> SandboxResult:
        """Ends the program and all its processes now."""
        self._kill()
        return self._reap()

    def close(self) -> None:
        """Kills and reaps whatever is left; nothing of it remains."""
        if self._result is None:
            self.kill()

    def wait_readable(self, fd: int, seconds: float) -> bool:
        """Whether fd has something to read, or its end, within the time."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def failure(self) -> str:
        """What bubblewrap said when it could not start."""
        return self.kill().stderr.decode(errors="replace").strip() or "it said nothing"

    def _pump(self, done: Callable[[], bool]) -> None:
        """Moves bytes until done, the program's end, or a limit. Looks once even if it is done: limits hold for what is already written."""
        while not self._exited and self._killed_for is None:
            finished = done()
            now = time.monotonic()
            left = self._limits.wall_seconds - (now - self._started)
            if left <= 0:
                return self._end("timeout")
            if now >= self._next_watch:
                self._next_watch = now + _WATCH_SECONDS
                resident_bytes, self._cpu_seconds = _usage(self._init_pid)
                if resident_bytes > self._limits.memory_mib << 20:
                    return self._end("memory")
                if self._cpu_seconds > self._limits.cpu_seconds:
                    return self._end("timeout")
                for other in self._watched:
                    other._pump(lambda: True)
            poll = select.poll()
            poll.register(self._outer_fd, select.POLLIN)
            for fd in self._streams:
                poll.register(fd, select.POLLIN)
            if self._to_send and not self._stdin.closed:
                poll.register(self._stdin.fileno(), select.POLLOUT)
            ready = {fd for fd, _ in poll.poll(0 if finished else min(left, _WATCH_SECONDS) * 1000 + 1)}
            self._write()
            for fd in ready & set(self._streams):
                if not self._read(fd):
                    return self._end("output")
            if self._outer_fd in ready:
                self._exited = True
                # every process that could write is gone, so each stream comes to its end
                while self._streams:
                    for fd in list(self._streams):
                        if not self._read(fd):
                            return self._end("output")
            if finished:
                return

    def _write(self) -> None:
        if self._stdin.closed:
            return
        if self._to_send:
            try:
                written = os.write(self._stdin.fileno(), self._to_send[:_CHUNK])
            except BlockingIOError:
                return
            except BrokenPipeError:  # it stopped reading: its affair
                written = len(self._to_send)
            del self._to_send[:written]
        if self._input_ends and not self._to_send:
            self._stdin.close()

    def _read(self, fd: int) -> bool:
        """Takes what is there. Returns: whether the stream is within its limit."""
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            self._streams.pop(fd).close()
        self._received[fd] += len(chunk)
        room = (self._limits.output_kib << 10) - (self._received[fd] - len(chunk))
        self._buffers[fd] += chunk[:room]
        return len(chunk) <= room

    def _end(self, reason: Reason) -> None:
        self._killed_for = reason
        self._cpu_seconds = _usage(self._init_pid)[1]  # what is killed with process 1 is not added to what wait4 tells
        self._kill()

    def _kill(self) -> None:
        # process 1 goes first: bubblewrap, its parent, then reaps it; a kill of bubblewrap would leave it to this machine's process 1
        if self._init_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
            if self.wait_readable(self._outer_fd, _DYING_SECONDS):
                return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._outer_fd, signal.SIGKILL)

    def _reap(self) -> SandboxResult:
        if self._result is not None:
            return self._result
        _, wait_status, usage = os.wait4(self._outer.pid, 0)
        wall = time.monotonic() - self._started
        status = os.waitstatus_to_exitcode(wait_status)
        status = 128 - status if status < 0 else status
        self._outer.returncode = status  # subprocess must not wait for it again
        self._drain()
        for stream in (self._stdin, *self._streams.values()):
            stream.close()
        for fd in (self._outer_fd, self._init_fd):
            if fd >= 0:
                os.close(fd)
        self._exited = True
        cpu = max(self._cpu_seconds, usage.ru_utime + usage.ru_stime)
        reason: Reason = self._killed_for or ("ok" if status == 0 else "error")
        if reason == "error" and status == 137 and cpu >= 0.9 * self._limits.cpu_seconds:
            reason = "timeout"
        stdout, stderr = (bytes(self._buffers[fd]) for fd in (self._stdout_fd, self._stderr_fd))
        self._result = SandboxResult(reason, status, stdout, stderr, wall, cpu)
        return self._result

    def _drain(self) -> None:
        """What a killed program had written, within the limits; without waiting, should anything still hold the other end."""
        for fd in list(self._streams):
            while fd in self._streams and self.wait_readable(fd, 0) and self._read(fd):
                pass


def _usage(pid: int) -> tuple[int, float]:
    """Resident bytes and CPU seconds of a process and its descendants; a page that several share counts for each."""
    num_pages, num_ticks, waiting = 0, 0, [pid]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(OSError, IndexError):  # it may end meanwhile
            with open(f"/proc/{process}/stat", "rb") as file:
                stat = file.read().rpartition(b")")[2].split()  # from the third field on: the second may hold anything
            num_ticks += sum(map(int, stat[11:15]))  # its own and those of children that it waited for
            num_pages += int(stat[21])
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children", "rb") as file:
                    waiting += map(int, file.read().split())
    return num_pages * _PAGE, num_ticks / _TICKS
