"""Packing: trajectories into batches without padding, and per-token weight streams into prediction rows.

The learner only sums, so whoever packs divides: every stream here is already a share of the whole set's total, and cutting the set
into more or fewer batches changes no gradient.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from paradigm.kernels.layout import Layout, brought
from paradigm.shared_prompts import Tree, shared_prompt_lengths, tree
from paradigm.trajectory import Trajectory, TrajectoryBuffer

# T input tokens, N prediction rows, B trajectories, n tokens of all trajectories, S support masks

COEFFICIENT_STREAMS = ("ce", "advantage", "policy", "kl", "entropy", "value", "divergence")
"""Streams that weigh a row's loss, and are divided by the count of rows they apply to; the others are data of the row."""


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """T input tokens of whole trajectories back to back, and N prediction rows: hidden state `position[i]` predicts `target[i]`.

    With shared prompts a group's prompt is a document of its own, once, the parent of those that hold its trajectories' continuations.

    tokens int32 [T]; layout, where trajectories begin; position int64 [N]; target int64 [N]; streams, float32 [N] each, by name;
    support int32 [N] (row of support_table, -1 for all) or None; support_table int32 [S, W], the bits of uint32, or None;
    version int32 [N]; trajectory int64 [N], which trajectory of the packed set; temperature, at which log-probs are taken;
    pairs int32 [P, 2], documents of this batch, the first preferred to the second, with pair_weight float32 [P]; or None; row_document int64 [N],
    the document of each row's trajectory where that does not follow from `position`, or None.
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
    pairs: Tensor | None = None
    pair_weight: Tensor | None = None
    row_document: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.layout.num_tokens

    @property
    def num_rows(self) -> int:
        return self.position.numel()

    @property
    def num_sequences(self) -> int:
        return self.layout.num_documents

    @property
    def document(self) -> Tensor:
        """int64 [N], which document of this batch each row belongs to (of a shared prompt's rows, the continuation's); it never decreases."""
        if self.row_document is not None:
            return self.row_document
        return torch.bucketize(self.position, self.layout.cu_seqlens[1:], right=True)

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch with its tensors on `device`."""
        names = ("tokens", "position", "target", "version", "trajectory", "support", "support_table", "pairs", "pair_weight", "row_document")
        moved = {name: getattr(self, name) for name in names}
        moved = {name: None if t is None else brought(t, device) for name, t in moved.items()}
        return replace(self, layout=self.layout.to(device), streams={k: brought(t, device) for k, t in self.streams.items()}, **moved)  # type: ignore[arg-type]

    @classmethod
    def pack(
        cls, trajectories: TrajectoryBuffer | Sequence[Trajectory], max_tokens: int, *, rows: Literal["action", "all", "none"] = "action",
        normalize: Literal["tokens", "trajectories", "groups", "none"] | float = "tokens", pairs: Any = None, share: tuple[int, int] = (0, 1),
        share_prompts: bool = False, **streams: Any,
    ) -> list[PackedBatch]:
        """Packs whole trajectories into batches of at most `max_tokens` tokens, best fit first, in an order that depends only on them.

        Args:
            trajectories: what to train on, taken in the order of their index. Failed ones and those without a weighted row are left out.
            max_tokens: the most tokens a batch may hold; a longer trajectory is an error, never cut.
            rows: "action" predicts the sampled tokens only, "all" every token but the first of each trajectory, "none" nothing (heads only).
            normalize: what coefficient streams (`COEFFICIENT_STREAMS`) are divided by: "tokens", the number of rows of the whole set;
                "trajectories", the number of trajectories times the rows of the row's own one, so each counts the same; "groups", the same of
                groups, the rollouts of one prompt; "none"; or a number, for callers who count over several sets or ranks.
            pairs: None, or integers [P, 2], trajectories of which the first is preferred to the second. Those that pairs join lie in one batch,
                all others are left out, and so is a pair with a failed member. Pairs weigh 1 / P each; with normalize="none" 1, with a number
                1 / that.
            share: (rank, ranks): only that rank's batches of the set, whose trajectories are dealt evenly by their tokens. Streams are divided by the
                counts of the whole set all the same. Ranks get equally many batches, of which the last may be empty.
            share_prompts: compute the prompt that a group's trajectories begin with once for all of them that lie in one batch, which groups are
                kept in as far as they fit. Log-probs are the same, bit for bit; gradients are summed in another order. Not with pairs.
            streams: name = one number, an array [B] (a value a trajectory) or an array [n] (a value a token of the buffer). Without any,
                `ce=1`. `behaviour_logprob` is taken from the trajectories' own log-probs unless given.
        Raises: ValueError if a trajectory (or what pairs join) is too long, a stream has another shape, a pair names no trajectory or has a
            member without rows, pairs are to share prompts, or temperatures differ.
        """
        buffer = _as_buffer(trajectories)
        order = np.argsort(buffer.index, kind="stable")
        kept = order[~buffer.failed[order]]
        lengths = buffer.lengths
        if kept.size and lengths[kept].max() > max_tokens:
            raise ValueError(f"max_tokens must hold the longest trajectory ({lengths[kept].max()} tokens), got {max_tokens}")
        if rows not in ("action", "all", "none"):
            raise ValueError(f"rows must be 'action', 'all' or 'none', got {rows!r}")
        if share_prompts and pairs is not None:
            raise ValueError("share_prompts must be False with pairs, got True")
        if not streams and pairs is None:
            streams = {"ce": 1.0}
        mask = buffer.action_mask.copy() if rows == "action" else np.full(buffer.num_tokens, rows == "all")
        mask[buffer.offsets[:-1][lengths > 0]] = False  # nothing precedes a first token that could predict it
        mask[np.repeat(buffer.failed, lengths)] = False
        weights = _token_streams(buffer, streams)
        active = np.zeros_like(mask)
        for name, stream in weights.items():
            active |= (stream != 0) if name in COEFFICIENT_STREAMS else False
        counted, mask = mask, mask & (active if pairs is None and any(name in COEFFICIENT_STREAMS for name in weights) else True)
        _normalize(weights, counted, buffer, normalize)
        weights.setdefault("behaviour_logprob", buffer.logprobs)
        temperature = _one_temperature(buffer, mask)
        if pairs is not None:
            kept_pairs = _check_pairs(pairs, buffer, mask, rows)
            weight = 1.0 if normalize == "none" else 1 / (normalize if isinstance(normalize, (int, float)) else max(len(kept_pairs), 1))
            bins = _fit_joined(kept_pairs, order, lengths, max_tokens, share)
            return [_paired(_batch(buffer, bin_, None, mask, weights, temperature), bin_, kept_pairs, weight) for bin_ in bins]
        if rows != "none":
            kept = kept[buffer._sum(mask)[kept] > 0]
        if share_prompts:
            return [_batch(buffer, *bin_, mask, weights, temperature) for bin_ in _fit_groups(buffer, kept, max_tokens, share)]
        return [_batch(buffer, bin_, None, mask, weights, temperature) for bin_ in _fit(kept, lengths, max_tokens, share)]


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
    elif normalize == "groups":
        _, group = np.unique(buffer.group, return_inverse=True)
        counts = np.bincount(group, weights=buffer._sum(mask))
        divisor = np.repeat((np.maximum(counts, 1) * max(int((counts > 0).sum()), 1))[group], buffer.lengths)
    elif isinstance(normalize, (int, float)) and normalize > 0:
        divisor = float(normalize)
    else:
        raise ValueError(f"normalize must be 'tokens', 'trajectories', 'groups', 'none' or a positive number, got {normalize!r}")
    for name in weights.keys() & set(COEFFICIENT_STREAMS):
        weights[name] = (weights[name] / divisor).astype(np.float32)


def _one_temperature(buffer: TrajectoryBuffer, mask: np.ndarray) -> float:
    present = buffer.temperature[buffer._sum(mask) > 0]
    if present.size and (present != present[0]).any():
        raise ValueError(f"temperature must be the same for all trajectories packed together, got {present.min()} to {present.max()}")
    # greedy rollouts (temperature 0) record their log-probs at temperature 1
    return float(present[0]) or 1.0 if present.size else 1.0


def _fit(rows: np.ndarray, lengths: np.ndarray, max_tokens: int, share: tuple[int, int]) -> list[np.ndarray]:
    """The bins of one of several ranks, best fit each: the longest first, each to the rank with the fewest tokens."""
    rank, ranks = share
    if ranks == 1:
        return _best_fit(rows, lengths, max_tokens)
    loads = [(0, r) for r in range(ranks)]  # a heap
    owner = np.zeros(len(rows), np.int64)
    for place in np.argsort(-lengths[rows], kind="stable").tolist():
        load, owner[place] = loads[0]
        heapq.heapreplace(loads, (load + int(lengths[rows[place]]), int(owner[place])))
    bins = [_best_fit(rows[owner == r], lengths, max_tokens) for r in range(ranks)]
    missing = max(map(len, bins)) - len(bins[rank])
    return bins[rank] + [np.zeros(0, np.int64)] * missing


def _best_fit(rows: np.ndarray, lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Best-fit decreasing: the longest first, each into the fullest batch that still holds it; rows stay in order within a batch."""
    by_room: defaultdict[int, list[int]] = defaultdict(list)  # by_room[r]: batches with r tokens left
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


def _check_pairs(pairs: Any, buffer: TrajectoryBuffer, mask: np.ndarray, rows: str) -> np.ndarray:
    """int64 [P, 2], without those that have a failed member."""
    given = np.asarray(pairs)
    if given.size == 0:
        return np.zeros((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise ValueError(f"pairs must be integers [P, 2], got {given.dtype} {list(given.shape)}")
    if given.min() < 0 or given.max() >= len(buffer) or (given[:, 0] == given[:, 1]).any():
        raise ValueError(f"pairs must name two of the {len(buffer)} trajectories each, got {given[:4].tolist()}")
    given = given[~buffer.failed[given].any(1)].astype(np.int64)
    counts = buffer.lengths if rows == "none" else buffer._sum(mask)
    if given.size and not counts[given].all():
        raise ValueError(f"pairs must have prediction rows in both trajectories, got none in {int(given[counts[given] == 0][0])}")
    return given


def _fit_joined(pairs: np.ndarray, order: np.ndarray, lengths: np.ndarray, max_tokens: int, share: tuple[int, int]) -> list[np.ndarray]:
    """Best fit of whole sets of trajectories that pairs join, each in the order of the buffer's index."""
    leader = np.arange(len(lengths))
    while True:  # every trajectory takes the least leader among its partners', until nothing changes
        least = leader.copy()
        np.minimum.at(least, pairs[:, 0], leader[pairs[:, 1]])
        np.minimum.at(least, pairs[:, 1], leader[pairs[:, 0]])
        if (least == leader).all():
            break
        leader = least
    members = order[np.isin(order, pairs)]
    joined = np.bincount(leader[members], weights=lengths[members], minlength=len(lengths)).astype(np.int64)
    if members.size and joined.max() > max_tokens:
        raise ValueError(f"max_tokens must hold the trajectories that pairs join ({joined.max()} tokens), got {max_tokens}")
    bins = _fit(np.unique(leader[members]), joined, max_tokens, share)
    return [members[np.isin(leader[members], leaders)] for leaders in bins]


def _paired(batch: PackedBatch, members: np.ndarray, pairs: np.ndarray, weight: float) -> PackedBatch:
    here = pairs[np.isin(pairs[:, 0], members)]
    number = np.zeros(int(members.max(initial=-1)) + 1, np.int32)
    number[members] = np.arange(len(members))
    return replace(batch, pairs=torch.from_numpy(number[here]), pair_weight=torch.full((len(here),), weight))


def _fit_groups(buffer: TrajectoryBuffer, rows: np.ndarray, max_tokens: int, share: tuple[int, int]) -> list[tuple[np.ndarray, Tree | None]]:
    """Best fit of whole groups, each cut where it is too long for a batch: the trajectories of each batch, and their tree."""
    lengths, shared = buffer.lengths, np.zeros(len(buffer), np.int64)
    filled = rows[lengths[rows] > 0]
    shared[filled] = shared_prompt_lengths(buffer, filled)
    clusters: dict[int, list[int]] = {}  # by first member
    sizes = np.zeros(len(buffer), np.int64)
    leader_of: dict[tuple[int, int, int], int] = {}
    columns = (x[filled].tolist() for x in (buffer.group, buffer.seat, shared, lengths))
    for row, group, seat, start, length in zip(filled.tolist(), *columns):
        key = (group, seat, start)
        leader = leader_of.get(key, -1)
        if start == 0 or leader < 0 or sizes[leader] + length - start > max_tokens:
            leader_of[key] = leader = row
            clusters[leader], sizes[leader] = [], start
        clusters[leader].append(row)
        sizes[leader] += length - start
    batches: list[tuple[np.ndarray, Tree | None]] = []
    for leaders in _fit(np.array(list(clusters), np.int64), sizes, max_tokens, share):
        if not leaders.size:  # another rank has more
            batches.append((leaders, None))
            continue
        members = np.concatenate([clusters[leader] for leader in leaders.tolist()])
        bounds = np.cumsum([0, *(len(clusters[leader]) for leader in leaders.tolist())])
        numbered = [list(range(start, stop)) for start, stop in pairwise(bounds.tolist())]
        batches.append((members, tree(numbered, lengths[members], shared[members])))
    return batches


def _batch(
    buffer: TrajectoryBuffer, members: np.ndarray, shared: Tree | None, mask: np.ndarray, weights: Mapping[str, np.ndarray], temperature: float
) -> PackedBatch:
    lengths = buffer.lengths[members]
    cuts = np.concatenate([[0], np.cumsum(lengths)])
    source = np.arange(cuts[-1]) + np.repeat(buffer.offsets[members] - cuts[:-1], lengths)
    predicted = np.flatnonzero(mask[source])
    owner = np.repeat(np.arange(len(members)), lengths)[predicted]
    position, fed, parent, document = predicted - 1, source, None, None
    if shared is not None:
        starts = np.concatenate([[0], np.cumsum(shared.lengths)])
        offset = position - cuts[owner]  # of the predicting token in its trajectory
        document = shared.own[owner]
        in_prompt = offset < shared.start[document]
        position = np.where(in_prompt, starts[shared.parent[document]] + offset, starts[document] + offset - shared.start[document])
        fed = np.arange(starts[-1]) + np.repeat(buffer.offsets[members[shared.trajectory]] + shared.start - starts[:-1], shared.lengths)
        cuts, parent = starts, shared.parent
    rows = source[predicted]
    support = buffer.support[rows]
    masked = bool((support >= 0).any())
    return PackedBatch(
        tokens=torch.from_numpy(buffer.tokens[fed]),
        layout=Layout(torch.from_numpy(cuts.astype(np.int32)), None if parent is None else parent.tolist()),
        position=torch.from_numpy(position),
        target=torch.from_numpy(buffer.tokens[rows].astype(np.int64)),
        streams={name: torch.from_numpy(np.ascontiguousarray(stream[rows], dtype=np.float32)) for name, stream in weights.items()},
        version=torch.from_numpy(buffer.version[rows]),
        trajectory=torch.from_numpy(members[owner]),
        support=torch.from_numpy(support) if masked else None,
        support_table=torch.from_numpy(np.require(buffer.support_table.view(np.int32), requirements="W")) if masked else None,
        temperature=temperature,
        row_document=None if document is None else torch.from_numpy(document),
    )
