"""Real groups of processes over gloo, that the tests of several ranks share."""

import multiprocessing
import os
import socket
import sys
import traceback
from contextlib import nullcontext

from paradigm.distributed import joined

TIMEOUT = 300  # seconds


def run_ranks(world, function, *arguments, may_fail=False, join=True):
    """What `function(*arguments)` returns on each of `world` ranks, which stand as under torchrun, and have joined unless they will do so themselves.

    In place of it, where one may fail and does, the exception; EOFError where one is killed.
    """
    if world == 1:
        return [function(*arguments)]
    # children of a server that has imported the library, but has never made a thread
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paradigm.recipe_run", "torch.distributed.fsdp", "torch.distributed.tensor", "torch._dynamo", "pytest"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, processes = [], []
    for rank in range(world):
        here, there = context.Pipe(duplex=False)
        processes.append(context.Process(target=_rank, args=(rank, world, port, there, join, function, arguments)))
        processes[-1].start()
        there.close()
        pipes.append(here)
    found = []
    for pipe in pipes:
        try:
            found.append(pipe.recv() if pipe.poll(TIMEOUT) else TimeoutError(f"no answer in {TIMEOUT} s"))
        except EOFError as error:
            found.append(error)
    for process in processes:
        process.join(10)
        process.kill()
    failed = [value for value in found if isinstance(value, BaseException)]
    assert may_fail or not failed, failed
    return found


def _rank(rank, world, port, pipe, join, function, arguments):
    import torch

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        with joined() if join else nullcontext():
            found = function(*arguments)
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        found = error.with_traceback(None)
        found.__cause__ = found.__context__ = None
    pipe.send(found)
