"""Prompts that the rollouts of a group have in common: computed once, whether tokens are fed or their cost is counted.

A *tree* of trajectories is a packed row in which each prompt stands once, as a document of its own, before the continuations whose `parent` it
is; attention reads the parent's keys, so every continuation's hidden states are bit for bit those of its whole trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradigm.advantage import group_numbers
from paradigm.kernels.layout import Layout
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["Tree", "rollout_flops", "shared_prompt_lengths", "tree"]

# B trajectories, D documents of a tree


class Tree(NamedTuple):
    """Documents of a packed row: `trajectory` int64 [D] and the tokens [start, stop) of it that each holds, int64 [D]; `parent` int32 [D], the
    document that precedes it, or -1; `own` int64 [B], the document that holds what is the trajectory's alone."""

    trajectory: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    parent: NDArray[np.int32]
    own: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.stop - self.start


def shared_prompt_lengths(buffer: TrajectoryBuffer, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many first tokens each trajectory has in common with all others of its group and seat, at most those before anyone's first action.

    Args:
        buffer: reads `group`, `seat`, `tokens`, `action_mask` and `offsets`.
        rows: int64 [B], the trajectories to look at; others take no part.
    Returns: int64 [B]; 0 for one that is alone in its group. Every trajectory keeps at least its last token for itself.
    """
    shared = np.zeros(len(rows), np.int64)
    if not len(rows):
        return shared
    actions = np.append(np.flatnonzero(buffer.action_mask), buffer.num_tokens)
    starts, ends = buffer.offsets[rows], buffer.offsets[rows + 1]
    first_actions = actions[np.searchsorted(actions[:-1], starts)]
    limits = np.minimum(first_actions, np.maximum(ends - 1, starts)) - starts
    group = group_numbers(buffer, rows)
    for members in np.split(np.argsort(group, kind="stable"), np.flatnonzero(np.diff(np.sort(group))) + 1):
        limit = int(limits[members].min())
        if len(members) < 2 or limit == 0:
            continue
        prompts = buffer.tokens[starts[members][:, None] + np.arange(limit)]
        differs = (prompts != prompts[0]).any(0)
        shared[members] = int(differs.argmax()) if differs.any() else limit
    return shared


def tree(clusters: Sequence[Sequence[int]], lengths: NDArray[np.int64], shared: NDArray[np.int64]) -> Tree:
    """The documents of trajectories numbered 0 to B - 1, those of a cluster side by side.

    Args:
        clusters: disjoint lists of all B of them; those of one have the first `shared` tokens in common.
        lengths, shared: int64 [B], tokens of each trajectory and how many of them are the cluster's.
    """
    documents: list[tuple[int, int, int, int]] = []
    own = np.zeros(len(lengths), np.int64)
    for members in clusters:
        prompt = int(shared[members[0]]) if len(members) > 1 else 0
        parent = -1
        if prompt:
            parent = len(documents)
            documents.append((members[0], 0, prompt, -1))
        for member in members:
            own[member] = len(documents)
            documents.append((member, prompt, int(lengths[member]), parent))
    columns = np.array(documents, np.int64).reshape(-1, 4).T
    return Tree(columns[0], columns[1], columns[2], columns[3].astype(np.int32), own)


def rollout_flops(policy: Any, rollouts: TrajectoryBuffer, seats: Sequence[int]) -> int:
    """Useful floating-point operations of drawing the actions of `seats`, a function of the trajectories alone.

    What precedes the last action of each trajectory that did not fail is fed once, a group's common prompt once for all of it; every action's
    logits are computed. Returns: 0 if the policy has no `flops`.
    """
    flops = getattr(policy, "flops", None)
    rows = np.flatnonzero(~rollouts.failed & np.isin(rollouts.seat, seats) & (rollouts.num_actions > 0))
    if flops is None or not len(rows):
        return 0
    actions = np.flatnonzero(rollouts.action_mask)
    fed = actions[np.searchsorted(actions, rollouts.offsets[rows + 1]) - 1] - rollouts.offsets[rows]
    group = group_numbers(rollouts, rows)
    clusters = [np.flatnonzero(group == number).tolist() for number in range(int(group.max()) + 1)]
    documents = tree(clusters, fed, shared_prompt_lengths(rollouts, rows))
    layout = Layout([0, *np.cumsum(documents.lengths).tolist()], documents.parent.tolist())
    return int(flops(layout.num_tokens, layout, num_predictions=int(rollouts.num_actions[rows].sum())))
