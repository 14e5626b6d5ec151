"""Packing: trajectories into batches without padding, and per-token weight streams into prediction rows.

The learner only sums, so whoever packs divides: every stream here is already a share of the whole set's total, and cutting the set
into more or fewer batches changes no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from paradigm.kernels.layout import Layout
from paradigm.trajectory import Trajectory, TrajectoryBuffer

# T input tokens, N prediction rows, B trajectories, n tokens of all trajectories, S support masks

COEFFICIENT_STREAMS = ("ce", "advantage", "kl", "entropy", "value", "divergence")
"""Streams that weigh a row's loss, and are divided by the count of rows they apply to; the others are data of the row."""


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """T input tokens of whole trajectories back to back, and N prediction rows: hidden state `position[i]` predicts `target[i]`.

    tokens int32 [T]; layout, where trajectories begin; position int64 [N]; target int64 [N]; streams, float32 [N] each, by name;
    support int32 [N] (row of support_table, -1 for all) or None; support_table int32 [S, W], the bits of uint32, or None;
    version int32 [N]; trajectory int64 [N], which trajectory of the packed set; temperature, at which log-probs are taken.
    """

    tokens: Tensor
    layout: Layout
    position: Tensor
    target: Tensor
    streams: Mapping[str, Tensor]
    version: Tensor
    trajectory: Tensor
    support: Tensor | None = None
    support_table: Tensor | None = None
    temperature: float = 1.0

    @property
    def num_tokens(self) -> int:
        return self.layout.num_tokens

    @property
    def num_rows(self) -> int:
        return self.position.numel()

    @property
    def num_sequences(self) -> int:
        return self.layout.num_documents

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch with its tensors on `device`."""
        moved = {name: getattr(self, name) for name in ("tokens", "position", "target", "version", "trajectory", "support", "support_table")}
        moved = {name: None if t is None else t.to(device, non_blocking=True) for name, t in moved.items()}
        return replace(self, layout=self.layout.to(device), streams={k: t.to(device, non_blocking=True) for k, t in self.streams.items()}, **moved)  # type: ignore[arg-type]

    @classmethod
    def pack(
        cls, trajectories: TrajectoryBuffer | Sequence[Trajectory], max_tokens: int, *, rows: Literal["action", "all"] = "action",
        normalize: Literal["tokens", "trajectories", "none"] | float = "tokens", **streams: Any,
    ) -> list[PackedBatch]:
        """Packs whole trajectories into batches of at most `max_tokens` tokens, best fit first, in an order that depends only on them.

        Args:
            trajectories: what to train on, taken in the order of their index. Failed ones and those without a weighted row are left out.
            max_tokens: the most tokens a batch may hold; a longer trajectory is an error, never cut.
            rows: "action" predicts the sampled tokens only, "all" every token but the first of each trajectory.
            normalize: what coefficient streams (ce, advantage, kl, entropy, value, divergence) are divided by: "tokens", the number of rows of the
                whole set; "trajectories", the number of trajectories times the rows of the row's own one, so each counts the same;
                "none"; or a number, for callers who count over several sets or ranks.
            streams: name = one number, an array [B] (a value a trajectory) or an array [n] (a value a token of the buffer). Without any,
                `ce=1`. `behaviour_logprob` is taken from the trajectories' own log-probs unless given.
        Raises: ValueError if a trajectory is too long, a stream has another shape or temperatures differ.
        """
        buffer = _as_buffer(trajectories)
        order = np.argsort(buffer.index, kind="stable")
        kept = order[~buffer.failed[order]]
        lengths = buffer.lengths
        if kept.size and lengths[kept].max() > max_tokens:
            raise ValueError(f"max_tokens must hold the longest trajectory ({lengths[kept].max()} tokens), got {max_tokens}")
        if not streams:
            streams = {"ce": 1.0}
        mask = np.ones(buffer.num_tokens, np.bool_) if rows == "all" else buffer.action_mask.copy()
        mask[buffer.offsets[:-1][lengths > 0]] = False  # nothing precedes a first token that could predict it
        mask[np.repeat(buffer.failed, lengths)] = False
        weights = _token_streams(buffer, streams)
        active = np.zeros_like(mask)
        for name, stream in weights.items():
            active |= (stream != 0) if name in COEFFICIENT_STREAMS else False
        counted, mask = mask, mask & (active if any(name in COEFFICIENT_STREAMS for name in weights) else True)
        _normalize(weights, counted, buffer, normalize)
        weights.setdefault("behaviour_logprob", buffer.logprobs)
        temperature = _one_temperature(buffer, mask)
        kept = kept[buffer._sum(mask)[kept] > 0]
        return [_batch(buffer, bin_, mask, weights, temperature) for bin_ in _best_fit(kept, lengths, max_tokens)]


def _as_buffer(trajectories: TrajectoryBuffer | Sequence[Trajectory]) -> TrajectoryBuffer:
    if isinstance(trajectories, TrajectoryBuffer):
        return trajectories
    return TrajectoryBuffer.concatenate([t._buffer.select([t._row]) for t in trajectories])


def _token_streams(buffer: TrajectoryBuffer, streams: Mapping[str, Any]) -> dict[str, np.ndarray]:
    weights = {}
    for name, given in streams.items():
        stream = np.asarray(given, dtype=np.float32)
        if stream.shape == (len(buffer),) and len(buffer) != buffer.num_tokens:
            stream = np.repeat(stream, buffer.lengths)
        elif stream.shape not in ((), (buffer.num_tokens,)):
            raise ValueError(f"{name} must be a number, [{len(buffer)}] or [{buffer.num_tokens}] values, got shape {list(stream.shape)}")
        weights[name] = np.array(np.broadcast_to(stream, (buffer.num_tokens,)))
    return weights


def _normalize(weights: dict[str, np.ndarray], mask: np.ndarray, buffer: TrajectoryBuffer, normalize: str | float) -> None:
    if normalize == "none":
        return
    if normalize == "tokens":
        divisor: Any = max(int(mask.sum()), 1)
    elif normalize == "trajectories":
        counts = buffer._sum(mask)
        divisor = np.repeat(np.maximum(counts, 1) * max(int((counts > 0).sum()), 1), buffer.lengths)
    elif isinstance(normalize, (int, float)) and normalize > 0:
        divisor = float(normalize)
    else:
        raise ValueError(f"normalize must be 'tokens', 'trajectories', 'none' or a positive number, got {normalize!r}")
    for name in weights.keys() & set(COEFFICIENT_STREAMS):
        weights[name] = (weights[name] / divisor).astype(np.float32)


def _one_temperature(buffer: TrajectoryBuffer, mask: np.ndarray) -> float:
    present = buffer.temperature[buffer._sum(mask) > 0]
    if present.size and (present != present[0]).any():
        raise ValueError(f"temperature must be the same for all trajectories packed together, got {present.min()} to {present.max()}")
    # greedy rollouts (temperature 0) record their log-probs at temperature 1
    return float(present[0]) or 1.0 if present.size else 1.0


def _best_fit(rows: np.ndarray, lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Best-fit decreasing: the longest first, each into the fullest batch that still holds it; rows stay in order within a batch."""
    by_room: list[list[int]] = [[] for _ in range(max_tokens + 1)]  # by_room[r]: batches with r tokens left
    bins: list[list[int]] = []
    rooms = np.zeros(max_tokens + 1, np.bool_)
    for row in rows[np.argsort(-lengths[rows], kind="stable")].tolist():
        length = int(lengths[row])
        if length == 0:
            continue
        fitting = int(np.argmax(rooms[length:])) + length
        if rooms[fitting]:
            chosen = by_room[fitting].pop()
            rooms[fitting] = bool(by_room[fitting])
        else:
            chosen, fitting = len(bins), max_tokens
            bins.append([])
        bins[chosen].append(row)
        by_room[fitting - length].append(chosen)
        rooms[fitting - length] = True
    rank = np.empty(len(lengths), np.int64)
    rank[rows] = np.arange(len(rows))
    return [np.array(sorted(members, key=rank.__getitem__)) for members in bins]


def _batch(buffer: TrajectoryBuffer, members: np.ndarray, mask: np.ndarray, weights: Mapping[str, np.ndarray], temperature: float) -> PackedBatch:
    lengths = buffer.lengths[members]
    cuts = np.concatenate([[0], np.cumsum(lengths)])
    source = np.arange(cuts[-1]) + np.repeat(buffer.offsets[members] - cuts[:-1], lengths)
    predicted = np.flatnonzero(mask[source])
    rows = source[predicted]
    support = buffer.support[rows]
    masked = bool((support >= 0).any())
    return PackedBatch(
        tokens=torch.from_numpy(buffer.tokens[source]),
        layout=Layout(torch.from_numpy(cuts.astype(np.int32))),
        position=torch.from_numpy(predicted - 1),
        target=torch.from_numpy(buffer.tokens[rows].astype(np.int64)),
        streams={name: torch.from_numpy(np.ascontiguousarray(stream[rows], dtype=np.float32)) for name, stream in weights.items()},
        version=torch.from_numpy(buffer.version[rows]),
        trajectory=torch.from_numpy(np.repeat(members, lengths)[predicted]),
        support=torch.from_numpy(support) if masked else None,
        support_table=torch.from_numpy(buffer.support_table.view(np.int32)) if masked else None,
        temperature=temperature,
    )
