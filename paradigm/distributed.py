"""The ranks of one run under `torchrun`, and what they say to each other on the host. Without one there is a single rank, that talks to nobody.

    with distributed.joined():          the ranks of torchrun's variables; nothing where there are none
        ...                             rank(), world(), device(), totals(), by_first(), ...

Outside the block, and in it where WORLD_SIZE is 1 or not set, every function here is the identity: no group is made and nothing is copied. What
the ranks exchange is numbers, JSON and bytes, never pickles. Every rank must come to every exchange, in the same order.

On GPUs each rank takes cuda:LOCAL_RANK; gradients and weights go over NCCL, what is said here over gloo. That path is written from PyTorch's
documentation and has never been run: all tests are on CPUs, with gloo.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from paradigm.objective_rows import merge_metrics

__all__ = [
    "RankLostError", "barrier", "by_first", "device", "everyones", "first_alone", "from_first", "is_first", "joined", "only_first", "per_rank",
    "rank", "share", "span", "summed", "totals", "world",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")

# one that dies is noticed by its closed connections; this is for waiting while the first prepares data
_PATIENCE = timedelta(hours=2)
_LOST = re.compile(r"gloo|NCCL|connection (closed|reset|refused)|broken pipe|timed out", re.IGNORECASE)


class RankLostError(ConnectionError):
    """Another rank of the run ended, or the connection to it did."""


@dataclass(frozen=True)
class _Ranks:
    rank: int
    world: int
    device: torch.device
    host: Any  # a process group over gloo


_ranks: _Ranks | None = None


@contextmanager
def joined() -> Iterator[None]:
    """Within the block, this process is one of the ranks that torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) tell of.

    A default process group that is there already is used and left as it is.
    Raises: RankLostError if another rank ends while this one waits for it; RuntimeError within another such block.
    """
    global _ranks
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if _ranks is not None:
        raise RuntimeError("joined() must not be entered twice")
    place = torch.device("cpu")
    if torch.cuda.is_available():
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    found = dist.is_initialized()
    try:
        if not found:
            dist.init_process_group("gloo" if place.type == "cpu" else "cpu:gloo,cuda:nccl")
        _ranks = _Ranks(dist.get_rank(), dist.get_world_size(), place, dist.new_group(backend="gloo", timeout=_PATIENCE))
        yield
        barrier()  # nobody leaves while another still needs its answers
    except RankLostError:
        raise
    except RuntimeError as error:
        if _LOST.search(str(error)) is None:
            raise
        said = re.sub(r"\[/\S+\] ", "", str(error).split("\n")[0]).split(". ")[0]  # without the place in gloo's sources, and its advice
        raise RankLostError(f"another rank of the run ended ({said}); what was checkpointed is kept") from error
    finally:
        _ranks = None
    if not found:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return 0 if _ranks is None else _ranks.rank


def world() -> int:
    """How many ranks there are."""
    return 1 if _ranks is None else _ranks.world


def is_first() -> bool:
    """Whether this is rank 0, which writes files and speaks to the terminal."""
    return rank() == 0


def device() -> torch.device:
    """Where this rank's policies lie."""
    return torch.device("cpu") if _ranks is None else _ranks.device


def share() -> tuple[int, int]:
    """(rank, world): which part of a set is this rank's, as `PackedBatch.pack` takes it."""
    return rank(), world()


def span(count: int) -> tuple[int, int]:
    """This rank's part of `count` things in a row: the first, and the one to stop before."""
    return count * rank() // world(), count * (rank() + 1) // world()


def barrier() -> None:
    """Waits until every rank is here."""
    if _ranks is not None:
        dist.barrier(group=_ranks.host)


def everyones(data: bytes) -> list[bytes]:
    """What each rank gave, in their order."""
    if _ranks is None:
        return [data]
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(_ranks.world)]
    dist.all_gather(sizes, torch.tensor([len(data)]), group=_ranks.host)
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(data)] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
    found = [torch.empty_like(padded) for _ in range(_ranks.world)]
    dist.all_gather(found, padded, group=_ranks.host)
    return [part[: int(size)].numpy().tobytes() for part, size in zip(found, sizes)]


def totals(values: Sequence[int]) -> list[int]:
    """Sums over the ranks, of whole numbers below 2^63."""
    if _ranks is None:
        return list(values)
    total = torch.tensor(values, dtype=torch.int64)
    dist.all_reduce(total, group=_ranks.host)
    return total.tolist()


def summed(array: np.ndarray) -> np.ndarray:
    """The sum over the ranks of an array of one shape and dtype; exact where all but one rank give zeros."""
    if _ranks is None:
        return array
    total = torch.from_numpy(array.copy())
    dist.all_reduce(total, group=_ranks.host)
    return total.numpy()


def per_rank(parts: Sequence[Mapping[str, Tensor]]) -> Sequence[Mapping[str, Tensor]]:
    """Metrics of this rank's batches as metrics of all ranks', for `objective.reduce_metrics`; every rank's have the same names.

    They stay on their device, and nothing waits for them there.
    """
    if _ranks is None or not parts:
        return parts
    own = functools.reduce(merge_metrics, parts[1:], dict(parts[0]))
    stacked = torch.stack(list(own.values()))
    found = [torch.empty_like(stacked) for _ in range(_ranks.world)]
    dist.all_gather(found, stacked)
    return [dict(zip(own, values.unbind())) for values in found]


def from_first(make: Callable[[], T]) -> T:
    """What `make`, which only rank 0 calls, returns there: something that JSON can hold. Raises: on the others RankLostError if it fails there."""
    if _ranks is None:
        return make()
    if not is_first():
        return _told()["made"]  # type: ignore[no-any-return]
    try:
        made = make()
    except Exception as error:
        _told({"failure": f"{type(error).__name__}: {error}"})
        raise
    return _told({"made": made})["made"]  # type: ignore[no-any-return]


def _told(own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What rank 0 tells. Raises: RankLostError on the others if that is a failure."""
    told = json.loads(everyones(json.dumps(own).encode())[0])
    if "failure" in told and not is_first():
        raise RankLostError(f"rank 0 failed ({told['failure']})")
    return told  # type: ignore[no-any-return]


def by_first(function: Callable[P, object]) -> Callable[P, None]:
    """The same function, run by rank 0 only, while the others wait until it has. Raises: as `from_first`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        def alone() -> None:
            function(*args, **kwargs)

        from_first(alone)

    return run


@contextmanager
def first_alone() -> Iterator[None]:
    """Rank 0 goes through the block, and when it is done the others do: it makes what they find. Exchanges have no place in the block."""
    if not is_first():
        _told()
        yield
        return
    try:
        yield
    except Exception as error:
        _told({"failure": f"{type(error).__name__}: {error}"})
        raise
    _told({})


def only_first(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`make(*args, **kwargs)` on rank 0; elsewhere a context that does nothing, whatever its methods are asked."""
    return make(*args, **kwargs) if is_first() else _Silent()  # type: ignore[return-value]


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None
