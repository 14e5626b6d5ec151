"""Trajectories: sampled action tokens with the observation tokens the world injected, held as one struct of arrays.

A `TrajectoryBuffer` holds many trajectories back to back; a `Trajectory` is a view of one. Nothing is copied when the C++ core
hands its buffer over, and `torch.from_numpy` on any field shares the same memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

# n tokens over all trajectories, B trajectories, S support masks, W = ceil(V / 32) words a mask


class Segment(IntEnum):
    """What a token is part of. Thoughts and actions are the policy's own; the rest is given to it."""

    DOCUMENT = 0
    PROMPT = 1
    THOUGHT = 2
    ACTION = 3
    OBSERVATION = 4


STOP_REASONS = ("terminated", "truncated", "length", "failed", "none", "stop")

TOKEN_FIELDS: dict[str, type] = {
    "tokens": np.int32, "action_mask": np.bool_, "segment": np.uint8, "modality": np.uint8, "decision": np.int32, "version": np.int32,
    "rewards": np.float32, "logprobs": np.float32, "kept_logmass": np.float32, "support": np.int32,
}  # fmt: skip
SCALAR_FIELDS: dict[str, type] = {
    "index": np.int64, "group": np.int64, "task": np.int64, "seat": np.int32, "parent": np.int64, "stop_reason": np.uint8,
    "terminated": np.bool_, "truncated": np.bool_, "failed": np.bool_, "temperature": np.float32,
}  # fmt: skip
_ARRAYS = (*TOKEN_FIELDS, *SCALAR_FIELDS, "offsets", "support_table")
_DEFAULTS: dict[str, Any] = {"segment": Segment.DOCUMENT, "decision": -1, "support": -1, "parent": -1, "stop_reason": 4, "temperature": 1.0}


class Trajectory:
    """A view of one trajectory of a buffer. Per-token fields are numpy arrays [n] that share the buffer's memory.

    Fields: tokens i32; action_mask bool (sampled by the policy); segment u8 (`Segment`); modality u8; decision i32 (which action
    of the episode, -1 off actions); version i32 (policy version that sampled it); rewards f32, on the token that completed the
    decision; logprobs f32 at the sampling temperature over the legal tokens, 0 off actions; kept_logmass f32, log of the mass that
    the sampling filters kept; support i32 (row of the buffer's `support_table`, -1: every token legal); values f32 or None.
    Scalars: index, group, task, seat, parent, stop_reason, terminated, truncated, failed, temperature, key, environment, extras.
    """

    __slots__ = ("_buffer", "_row")

    def __init__(self, buffer: TrajectoryBuffer, row: int):
        self._buffer, self._row = buffer, row

    def __len__(self) -> int:
        return int(self._buffer.offsets[self._row + 1] - self._buffer.offsets[self._row])

    def __getattr__(self, name: str) -> Any:
        buffer, row = self._buffer, self._row
        if name in TOKEN_FIELDS or name == "values":
            array = getattr(buffer, name)
            return None if array is None else array[buffer.offsets[row] : buffer.offsets[row + 1]]
        if name in SCALAR_FIELDS:
            return getattr(buffer, name)[row].item()
        raise AttributeError(f"a Trajectory has no field {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Trajectory, (self._buffer.select([self._row]), 0)

    @property
    def reward(self) -> float:
        """Sum of the trajectory's rewards."""
        return float(self.rewards.sum(dtype=np.float64))

    @property
    def stop_reason(self) -> str:
        """Why it ended: one of `STOP_REASONS`."""
        return STOP_REASONS[int(self._buffer.stop_reason[self._row])]

    @property
    def task(self) -> Any:
        """The task it answered, or None for a document."""
        row = int(self._buffer.task[self._row])
        return self._buffer.tasks[row] if 0 <= row < len(self._buffer.tasks) else None

    @property
    def key(self) -> tuple[int, ...]:
        return self._buffer.key

    @property
    def environment(self) -> str:
        return self._buffer.environment

    @property
    def extras(self) -> dict[str, Any]:
        """What the environment or the verifier noted about this trajectory."""
        return self._buffer.extras.get(self._row, {})

    @classmethod
    def from_arrays(cls, tokens: Any, **fields: Any) -> Trajectory:
        """One trajectory from its own arrays; see `TrajectoryBuffer.from_arrays` for the fields and their defaults."""
        tokens = np.asarray(tokens, dtype=np.int32)
        return cls(TrajectoryBuffer.from_arrays(tokens, offsets=[0, tokens.size], **fields), 0)

    def __repr__(self) -> str:
        return f"Trajectory(index={self.index}, tokens={len(self)}, reward={self.reward:g}, stop_reason={self.stop_reason!r})"


class TrajectoryBuffer(Sequence[Trajectory]):
    """Trajectories back to back, as a struct of arrays. Build it with `from_arrays`; see `Trajectory` for the fields.

    Besides the fields: offsets int64 [B + 1], where each trajectory starts; support_table uint32 [S, W], bit v % 32 of word v // 32
    tells whether token v was legal; tasks (a list); key, the (seed, step) of its sampling noise; environment, its name;
    extras {row: notes}.
    """

    tokens: np.ndarray
    action_mask: np.ndarray
    segment: np.ndarray
    modality: np.ndarray
    decision: np.ndarray
    version: np.ndarray
    rewards: np.ndarray
    logprobs: np.ndarray
    kept_logmass: np.ndarray
    support: np.ndarray
    values: np.ndarray | None
    support_table: np.ndarray
    offsets: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # the field's name hides Sequence.index, a search nobody needs here
    group: np.ndarray
    task: np.ndarray
    seat: np.ndarray
    parent: np.ndarray
    stop_reason: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    failed: np.ndarray
    temperature: np.ndarray

    def __init__(
        self, arrays: dict[str, Any], *, tasks: Sequence[Any] = (), key: tuple[int, ...] = (0, 0), environment: str = "",
        extras: dict[int, dict[str, Any]] | None = None,
    ):
        for name in _ARRAYS:
            setattr(self, name, arrays[name])
        self.values = arrays.get("values")
        self.tasks, self.key, self.environment, self.extras = list(tasks), tuple(key), environment, dict(extras or {})

    @classmethod
    def from_arrays(cls, tokens: Any, offsets: Any, *, tasks: Sequence[Any] = (), key: tuple[int, ...] = (0, 0), environment: str = "",
                    extras: dict[int, dict[str, Any]] | None = None, **fields: Any) -> TrajectoryBuffer:  # fmt: skip
        """A buffer from its arrays; absent ones get defaults (a document: no actions, no rewards, every token legal).

        Args:
            tokens: integers [n].
            offsets: integers [B + 1], from 0 to n, never decreasing.
            fields: any per-token field [n], any per-trajectory field [B] (or one value for all), `values` [n], `support_table`.
        Raises: ValueError naming the field whose shape or name is wrong.
        """
        arrays: dict[str, Any] = {"offsets": np.ascontiguousarray(offsets, dtype=np.int64)}
        tokens = np.ascontiguousarray(tokens, dtype=np.int32)
        cuts = arrays["offsets"]
        if cuts.ndim != 1 or cuts.size == 0 or cuts[0] != 0 or cuts[-1] != tokens.size or (np.diff(cuts) < 0).any():
            raise ValueError(f"offsets must rise from 0 to the {tokens.size} tokens, got {cuts[:3]}...{cuts[-1:]}")
        sizes = dict.fromkeys(TOKEN_FIELDS, tokens.size) | dict.fromkeys(SCALAR_FIELDS, cuts.size - 1)
        dtypes = TOKEN_FIELDS | SCALAR_FIELDS
        unknown = set(fields) - set(sizes) - {"values", "support_table"}
        if unknown:
            raise ValueError(f"fields must be among {sorted(sizes)}, got {sorted(unknown)}")
        fields["tokens"] = tokens
        for name, size in sizes.items():
            if name == "index" and name not in fields:
                fields[name] = np.arange(size)
            given: np.ndarray = np.asarray(fields.get(name, _DEFAULTS.get(name, 0)), dtype=dtypes[name])
            if given.shape not in ((), (size,)):
                raise ValueError(f"{name} must have shape [{size}], got {list(given.shape)}")
            arrays[name] = np.ascontiguousarray(given) if given.shape else np.full(size, given)
        values = fields.get("values")
        if values is not None:
            arrays["values"] = np.ascontiguousarray(values, dtype=np.float32)
            if arrays["values"].shape != (tokens.size,):
                raise ValueError(f"values must have shape [{tokens.size}], got {list(arrays['values'].shape)}")
        arrays["support_table"] = np.ascontiguousarray(fields.get("support_table", np.zeros((0, 0))), dtype=np.uint32)
        if arrays["support"].size and arrays["support"].max(initial=-1) >= len(arrays["support_table"]):
            raise ValueError(f"support must index the {len(arrays['support_table'])} rows of support_table, got {arrays['support'].max()}")
        return cls(arrays, tasks=tasks, key=key, environment=environment, extras=extras)

    @overload
    def __getitem__(self, row: int) -> Trajectory: ...
    @overload
    def __getitem__(self, row: slice) -> TrajectoryBuffer: ...
    def __getitem__(self, row: int | slice) -> Trajectory | TrajectoryBuffer:
        if isinstance(row, slice):
            return self.select(range(*row.indices(len(self))))
        if not -len(self) <= row < len(self):
            raise IndexError(f"trajectory {row} of {len(self)}")
        return Trajectory(self, int(row) % len(self))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"TrajectoryBuffer({len(self)} trajectories, {self.num_tokens} tokens, environment={self.environment!r})"

    @property
    def num_tokens(self) -> int:
        return int(self.offsets[-1])

    @property
    def lengths(self) -> np.ndarray:
        """int64 [B], tokens of each trajectory."""
        return np.diff(self.offsets)

    @property
    def reward(self) -> np.ndarray:
        """float32 [B], the sum of each trajectory's rewards."""
        return self._sum(self.rewards).astype(np.float32)

    @property
    def num_actions(self) -> np.ndarray:
        """int64 [B], sampled tokens of each trajectory."""
        return self._sum(self.action_mask).astype(np.int64)

    def _sum(self, field: np.ndarray) -> np.ndarray:
        # not differences of one running sum, which a single NaN would spoil for all that follow
        owner = np.repeat(np.arange(len(self)), self.lengths)
        return np.bincount(owner, weights=field, minlength=len(self))

    def select(self, rows: Iterable[int] | np.ndarray) -> TrajectoryBuffer:
        """A copy of the given trajectories (row numbers, or a boolean mask [B]), in that order."""
        picked = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        picked = np.flatnonzero(picked) if picked.dtype == np.bool_ else picked.astype(np.int64)
        lengths = self.lengths[picked]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.arange(offsets[-1]) + np.repeat(self.offsets[picked] - offsets[:-1], lengths)
        arrays = {name: getattr(self, name)[source] for name in TOKEN_FIELDS} | {name: getattr(self, name)[picked] for name in SCALAR_FIELDS}
        arrays |= {"offsets": offsets, "support_table": self.support_table}
        if self.values is not None:
            arrays["values"] = self.values[source]
        extras = {new: self.extras[old] for new, old in enumerate(picked.tolist()) if old in self.extras}
        return TrajectoryBuffer(arrays, tasks=self.tasks, key=self.key, environment=self.environment, extras=extras)

    @classmethod
    def concatenate(cls, buffers: Sequence[TrajectoryBuffer]) -> TrajectoryBuffer:
        """All trajectories of several buffers; group and task numbers, and support rows, are shifted so that they stay distinct."""
        if not buffers:
            raise ValueError("buffers must hold at least one TrajectoryBuffer, got none")
        arrays: dict[str, Any] = {name: np.concatenate([getattr(b, name) for b in buffers]) for name in (*TOKEN_FIELDS, *SCALAR_FIELDS)}
        starts = np.cumsum([0, *(b.num_tokens for b in buffers)])
        arrays["offsets"] = np.concatenate([[0], *(b.offsets[1:] + start for b, start in zip(buffers, starts))]).astype(np.int64)
        if any(b.values is not None for b in buffers):
            arrays["values"] = np.concatenate([b.values if b.values is not None else np.zeros(b.num_tokens, np.float32) for b in buffers])
        words = max(b.support_table.shape[1] for b in buffers)
        tables = [np.pad(b.support_table, ((0, 0), (0, words - b.support_table.shape[1]))) for b in buffers]
        arrays["support_table"] = np.concatenate(tables).astype(np.uint32)
        tokens_of = np.repeat(np.arange(len(buffers)), [b.num_tokens for b in buffers])
        rows_of = np.repeat(np.arange(len(buffers)), [len(b) for b in buffers])
        support_start = np.cumsum([0, *(len(b.support_table) for b in buffers)])
        group_start = np.cumsum([0, *(int(b.group.max(initial=-1)) + 1 for b in buffers)])
        task_start = np.cumsum([0, *(len(b.tasks) for b in buffers)])
        arrays["support"] = np.where(arrays["support"] >= 0, arrays["support"] + support_start[tokens_of], -1).astype(np.int32)
        arrays["group"] = arrays["group"] + group_start[rows_of]
        arrays["task"] = arrays["task"] + task_start[rows_of]
        row_start = np.cumsum([0, *(len(b) for b in buffers)])
        extras = {row + int(start): notes for b, start in zip(buffers, row_start) for row, notes in b.extras.items()}
        names = {b.environment for b in buffers}
        environment = names.pop() if len(names) == 1 else "mixture"
        return cls(arrays, tasks=[t for b in buffers for t in b.tasks], key=buffers[0].key, environment=environment, extras=extras)

    def sorted_by_index(self) -> TrajectoryBuffer:
        """The same trajectories in the order of `index`, whatever order they finished in."""
        return self if (np.diff(self.index) > 0).all() else self.select(np.argsort(self.index, kind="stable"))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, but for `values`: what `TrajectoryBuffer` is made of."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one safetensors file; tasks, key, environment and extras go to its metadata as JSON."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        if self.values is not None:
            arrays["values"] = self.values
        tasks = [t.decode("latin-1") if isinstance(t, bytes) else t for t in self.tasks]
        notes = {"tasks": tasks, "key": self.key, "environment": self.environment, "extras": {str(k): v for k, v in self.extras.items()}}
        temporary = Path(f"{os.fspath(path)}.partial")
        save_file(arrays, temporary, metadata={"trajectories": json.dumps(notes)})
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrajectoryBuffer:
        """Reads what `save` wrote. Raises: ValueError if the file holds no trajectories."""
        with safe_open(os.fspath(path), framework="numpy") as file:
            if "trajectories" not in (file.metadata() or {}):
                raise ValueError(f"path must be a file of trajectories, got {os.fspath(path)!r}, whose metadata does not say so")
            notes = json.loads(file.metadata()["trajectories"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        extras = {int(k): v for k, v in notes["extras"].items()}
        return cls(arrays, tasks=notes["tasks"], key=tuple(notes["key"]), environment=notes["environment"], extras=extras)
