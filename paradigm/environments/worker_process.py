"""The other side of `Workers`: a process that forks workers, and what each of them does until it is killed.

The forking process imports what the environment needs, once, and builds nothing; so a worker that was killed is replaced in milliseconds.
Whoever lives longer than the trainer ends: the forking process looks who its parent is, and the kernel ends the workers with it (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import traceback
import zlib
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import msgspec
import numpy as np

from paradigm.environments.protocol import copied
from paradigm.environments.worker_messages import HEADER, Answer, Call, Hello, describe, encode_step, fault_of

__all__ = ["REQUEST", "fork_on_request", "receive_exactly"]

# to the forking process: 0, with a socket, forks a worker; the number of a worker kills it. It replies the number, or the wait
# status, -1 if there is no such worker.
REQUEST = struct.Struct("<q")
_PARENT_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def fork_on_request(channel: socket.socket, factory: Callable[[], Any], max_bytes: int) -> NoReturn:
    """Forks and kills workers until the trainer closes the channel or is gone, then kills those that are left."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the trainer alone
    trainer, workers = os.getppid(), set[int]()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    try:
        while os.getppid() == trainer:
            if not select.select([channel], [], [], _PARENT_SECONDS)[0]:
                continue
            request, sockets, _, _ = socket.recv_fds(channel, REQUEST.size, 1)
            if len(request) != REQUEST.size:
                break
            (pid,) = REQUEST.unpack(request)
            if pid:
                reply = _kill(pid) if pid in workers else -1
                workers.discard(pid)
            else:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                reply = os.fork()
                if reply == 0:
                    channel.close()
                    _work(socket.socket(fileno=sockets[0]), factory, max_bytes, libc)
                workers.add(reply)
                os.close(sockets[0])
            channel.sendall(REQUEST.pack(reply))
    except ConnectionError:  # the trainer is gone
        pass
    except BaseException:
        traceback.print_exc()
    for pid in workers:
        _kill(pid)
    os._exit(0)


def receive_exactly(channel: socket.socket, num_bytes: int) -> bytes | None:
    """The next bytes of a blocking socket; None at its end."""
    parts, missing = [], num_bytes
    while missing:
        part = channel.recv(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _kill(pid: int) -> int:
    """Ends a worker and what it started; its wait status."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # before it is reaped, and its number may be another's
    return os.waitpid(pid, 0)[1]


def _work(channel: socket.socket, factory: Callable[[], Any], max_bytes: int, libc: ctypes.CDLL | None) -> NoReturn:
    try:
        os.setpgid(0, 0)
        parent = os.getppid()
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _serve(channel, factory, max_bytes)
    except ConnectionError:  # the trainer has closed its end
        pass
    except BaseException:  # the frames of the process that was forked are not to run on
        traceback.print_exc()
    os._exit(0)


def _serve(channel: socket.socket, factory: Callable[[], Any], max_bytes: int) -> None:
    try:
        prototype = factory()
        hello = describe(prototype)
    except BaseException as error:  # the caller's function may raise anything, SystemExit too, and is told so
        _send(channel, Hello(0, "", False, fault_of(error)[1]))
        return
    _send(channel, hello)
    copies: dict[int, Any] = {}
    decoder = msgspec.msgpack.Decoder(Call)
    while (header := receive_exactly(channel, HEADER.size)) is not None:
        frame = receive_exactly(channel, HEADER.unpack(header)[0])
        if frame is None:
            return
        call = decoder.decode(frame)
        for number in call.forgotten:
            copies.pop(number, None)
        _send(channel, _answer(call, prototype, copies, hello.num_seats, max_bytes))


def _answer(call: Call, prototype: Any, copies: dict[int, Any], num_seats: int, max_bytes: int) -> Answer:
    steps: list[bytes] = []
    try:
        if call.copy not in copies:
            copies[call.copy] = copied(prototype)
        environment = copies[call.copy]
        if call.reset is not None:
            task, seed = call.reset
            steps.append(encode_step(environment.reset(ForkingPickler.loads(task), seed), num_seats, max_bytes))
        for action in call.actions:
            steps.append(encode_step(environment.step(np.frombuffer(action, np.int32).copy()), num_seats, max_bytes))
    except BaseException as error:  # whatever the environment raises, SystemExit too, costs its own episode
        copies.pop(call.copy, None)  # it may be in any state
        fault, message = fault_of(error)
        return Answer(call.number, fault=fault, message=message)
    replayed = 0
    for step in steps[:-1]:
        replayed = zlib.crc32(step, replayed)
    return Answer(call.number, replayed, steps[-1])


def _send(channel: socket.socket, message: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(message)
    channel.sendall(HEADER.pack(len(body)) + body)
