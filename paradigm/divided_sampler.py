"""A sampler whose collections are shared out over the ranks of a run; with one rank, a sampler.

Each rank plays its part of the episodes, and gets everybody's trajectories. Noise and seeds are functions of an episode's number in the whole
collection, so in exact mode the trajectories are the same, bit for bit, however many ranks there are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from paradigm import distributed
from paradigm.sampler import CollectionStats, Sampler
from paradigm.shared_prompts import rollout_flops
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["DividedSampler"]


class DividedSampler(Sampler):
    """Arguments and errors: those of `Sampler`. Every rank must collect the same, with the same weights."""

    def collect(self, environment: Any, tasks: Sequence[Any], group_size: int = 8, temperature: float = 1.0, **options: Any) -> TrajectoryBuffer:
        """As `Sampler.collect`, all of it on every rank. `stats` has the counts of all, and the seconds of the slowest."""
        if len(tasks) < distributed.world():
            own_episodes = distributed.span(len(tasks) * group_size)
        else:  # a group's prompt is computed by one rank alone
            first, end = distributed.span(len(tasks))
            own_episodes = first * group_size, end * group_size
        options.setdefault("episodes", own_episodes)
        own = super().collect(environment, tasks, group_size, temperature, **options)
        if distributed.world() == 1:
            return own
        parts = [load(part) for part in distributed.everyones(save({name: np.ascontiguousarray(array) for name, array in own.arrays().items()}))]
        notes = [json.loads(part) for part in distributed.everyones(json.dumps(list(own.extras.items())).encode())]
        buffers = [TrajectoryBuffer(part, extras=dict(extras)) for part, extras in zip(parts, notes)]
        joined = TrajectoryBuffer.concatenate(buffers)
        for name in ("group", "task"):  # these are numbers in the whole collection already
            setattr(joined, name, np.concatenate([part[name] for part in parts]))
        joined.tasks, joined.key, joined.environment = own.tasks, own.key, own.environment
        num_seats, opponents = getattr(getattr(environment, "native", environment), "num_seats", 1), options.get("opponents") or {}
        own_seats = [seat for seat in range(num_seats) if opponents.get(seat, self) is self]
        assert self.stats is not None
        self.stats = dataclasses.replace(_joined_stats(self.stats), flops=rollout_flops(self.policy, joined, own_seats))
        return joined


def _joined_stats(own: CollectionStats) -> CollectionStats:
    parts = [json.loads(part) for part in distributed.everyones(json.dumps(dataclasses.asdict(own)).encode())]
    reasons = functools.reduce(operator.add, (Counter(part.pop("failure_reasons")) for part in parts))
    counts = {name: (max if name.endswith("_s") else sum)(part[name] for part in parts) for name in parts[0]}
    return CollectionStats(**counts, failure_reasons=dict(reasons))
