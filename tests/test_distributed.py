"""What ranks say to each other, in real groups over gloo; and that one rank alone says nothing."""

import os
import signal
import time

import pytest
import torch
import torch.distributed as dist

from paradigm import distributed
from paradigm.distributed import RankLostError
from tests.distributed_cases import run_ranks


def everything(folder):
    """Every exchange once, between 3 ranks."""
    rank = distributed.rank()
    assert distributed.world() == 3 and distributed.share() == (rank, 3) and distributed.is_first() == (rank == 0)
    assert distributed.device().type == "cpu"
    assert distributed.totals([rank, 2**60 + rank]) == [3, 3 * 2**60 + 3], "whole numbers stay exact"
    assert distributed.everyones(bytes([rank]) * rank) == [b"", b"\1", b"\2\2"]
    array = torch.zeros(3)
    array[rank] = 0.1 + rank
    assert distributed.summed(array.numpy()).tolist() == [torch.tensor(0.1 + r).item() for r in range(3)]
    assert distributed.from_first(lambda: {"rank": rank}) == {"rank": 0}
    metrics = [{"a/x_sum": torch.tensor(1.0 + rank), "a/x_max": torch.tensor(float(i * rank))} for i in range(2)]
    gathered = [{name: value.item() for name, value in part.items()} for part in distributed.per_rank(metrics)]
    assert gathered == [{"a/x_sum": 2.0 + 2 * r, "a/x_max": float(r)} for r in range(3)]

    path = folder / "made"
    with distributed.first_alone():
        assert path.exists() == (rank > 0), "the first was alone"
        if rank == 0:
            time.sleep(0.2)
            path.write_text("0")
    distributed.by_first(path.write_text)(str(rank))
    assert path.read_text() == "0"
    distributed.barrier()
    silent = distributed.only_first(open, path, "w")
    with silent as file:
        file.write("once")
    distributed.barrier()
    assert path.read_text() == "once"
    return distributed.span(10)


def test_ranks_hear_each_other(tmp_path) -> None:
    assert run_ranks(3, everything, tmp_path) == [(0, 3), (3, 6), (6, 10)]


def alone_fails(how):
    def fail():
        raise OSError("No space left on device")

    if how == "by_first":
        distributed.by_first(fail)()
    else:
        with distributed.first_alone():
            if distributed.is_first():
                fail()


@pytest.mark.parametrize("how", ["by_first", "first_alone"])
def test_what_fails_on_the_first_fails_on_all(how) -> None:
    first, other = run_ranks(2, alone_fails, how, may_fail=True)
    assert type(first) is OSError
    assert isinstance(other, RankLostError) and "rank 0 failed (OSError: No space left on device)" in str(other)


def second_dies():
    distributed.barrier()
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.zeros(1))  # as FSDP would, past this module


def test_a_killed_rank_ends_the_others_with_a_message() -> None:
    started = time.monotonic()
    first, killed = run_ranks(2, second_dies, may_fail=True)
    assert isinstance(killed, EOFError) and isinstance(first, RankLostError) and "another rank of the run ended (" in str(first)
    assert "what was checkpointed is kept" in str(first) and time.monotonic() - started < 60, "noticed at once, not by a timeout"


def own_mistake():
    if distributed.rank() == 1:
        raise RuntimeError("a mistake of its own")
    distributed.barrier()


def test_a_ranks_own_error_stays_what_it_is() -> None:
    first, second = run_ranks(2, own_mistake, may_fail=True)
    assert isinstance(first, RankLostError) and type(second) is RuntimeError and str(second) == "a mistake of its own"


def test_alone_nothing_is_sent(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.joined():
        assert not dist.is_initialized()
        assert (distributed.rank(), distributed.world(), distributed.share(), distributed.span(5)) == (0, 1, (0, 1), (0, 5))
        array, parts = torch.ones(2).numpy(), [{"a": torch.ones(())}]
        assert distributed.summed(array) is array and distributed.per_rank(parts) is parts
        assert distributed.totals([1, 2]) == [1, 2] and distributed.everyones(b"x") == [b"x"]
        made = object()
        assert distributed.from_first(lambda: made) is made
        with distributed.first_alone():
            distributed.barrier()
