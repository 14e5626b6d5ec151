"""Distillation: the policy's own rollouts, judged, trimmed and written down as data for the next round of self-supervised learning.

The format is that of every other data set; each trajectory's `extras["provenance"]` says which policy version made it, where, from which seed, and
what it was found worth.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from paradigm.sources.corpus import Corpus
from paradigm.sources.shards import ShardWriter
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS, Segment, Trajectory, TrajectoryBuffer

__all__ = ["without_thoughts", "write_distilled"]

# n tokens, B trajectories


def without_thoughts(buffer: TrajectoryBuffer) -> TrajectoryBuffer:
    """The same trajectories with the thinking left out: observe-plan-act becomes observe-act.

    Thoughts go, and with them the observations that answered one (those before which the last token that was no observation is a thought, such as a
    calculator's result). Prompts, actions and the world's other observations stay. Rewards of tokens that go move to the trajectory's last token
    that stays, so that `.reward` is unchanged. Log-probs and values were those of a policy that had thought: where anything was left out, log-probs
    become 0, and values are dropped for the whole buffer.

    Args: buffer: B trajectories. Returns: B trajectories, which may be empty.
    """
    n = buffer.num_tokens
    is_observation = buffer.segment == Segment.OBSERVATION
    owner = np.repeat(np.arange(len(buffer)), buffer.lengths)
    # the last token at or before each that is no observation; one of an earlier trajectory does not count
    last = np.maximum.accumulate(np.where(is_observation, -1, np.arange(n))) if n else np.zeros(0, np.int64)
    answers_thought = is_observation & (last >= buffer.offsets[owner]) & (buffer.segment[last] == Segment.THOUGHT)
    keep = (buffer.segment != Segment.THOUGHT) & ~answers_thought
    if keep.all():
        return buffer
    lengths = np.bincount(owner[keep], minlength=len(buffer))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays: dict[str, Any] = {name: getattr(buffer, name)[keep] for name in TOKEN_FIELDS}
    lost = np.bincount(owner[~keep], weights=buffer.rewards[~keep], minlength=len(buffer)).astype(np.float32)
    alive = lengths > 0
    arrays["rewards"][offsets[1:][alive] - 1] += lost[alive]
    changed = np.repeat(lengths < buffer.lengths, lengths)
    for name in ("logprobs", "kept_logmass"):
        arrays[name][changed] = 0
    arrays |= {name: getattr(buffer, name).copy() for name in SCALAR_FIELDS}
    arrays |= {"offsets": offsets, "support_table": buffer.support_table}
    return TrajectoryBuffer(arrays, tasks=buffer.tasks, key=buffer.key, environment=buffer.environment, extras=buffer.extras)


def write_distilled(
    buffers: TrajectoryBuffer | Iterable[TrajectoryBuffer], out: str | os.PathLike[str], tokenizer: Tokenizer, *,
    accept: Callable[[Trajectory], bool] | None = None, min_reward: float | None = None, drop_thoughts: bool = False, deduplicate: bool = False,
    max_per_task: int | None = None, provenance: Mapping[str, Any] | None = None, shard_tokens: int = 1 << 22, overwrite: bool = False,
) -> Corpus:  # fmt: skip
    """Writes the rollouts that pass as a data set of trajectories. Atomic, and streamed: one shard is in memory at a time.

    Failed trajectories and those without an action never pass.

    Args:
        buffers: rollouts, one buffer or many.
        out: the folder.
        tokenizer: whose ids the tokens are.
        accept: a verdict on each trajectory as it was sampled.
        min_reward: least `.reward` to pass.
        drop_thoughts: whether to store them `without_thoughts`.
        deduplicate: whether to store only the first of several with the same tokens and actions (after thoughts are dropped).
        max_per_task: store at most so many for each task, the first ones. What has no task is counted by its prompt.
        provenance: anything JSON can hold, for the manifest; what is known of each trajectory is kept in its extras anyway.
        shard_tokens: a shard ends with the buffer that reaches this number.
        overwrite: whether to replace a data set that is there.
    Returns: the data set, open. Raises: ValueError if nothing passes, or extras are not JSON; FileExistsError and OSError as `ShardWriter`.
    """
    if max_per_task is not None and max_per_task < 1:
        raise ValueError(f"max_per_task must be >= 1, got {max_per_task}")
    seen: set[bytes] = set()
    per_task: Counter[bytes] = Counter()
    num_offered = num_kept = 0
    pending: list[TrajectoryBuffer] = []
    with ShardWriter(out, kind="trajectories", vocab_size=tokenizer.vocab_size, tokenizer=tokenizer.fingerprint, overwrite=overwrite) as writer:
        for buffer in [buffers] if isinstance(buffers, TrajectoryBuffer) else buffers:
            num_offered += len(buffer)
            passing = (buffer.num_actions > 0) & ~buffer.failed
            if min_reward is not None:
                passing &= buffer.reward >= min_reward
            rows = [row for row in np.flatnonzero(passing).tolist() if accept is None or accept(buffer[row])]
            chosen = _with_provenance(buffer, rows)
            chosen = without_thoughts(chosen) if drop_thoughts else chosen
            kept: list[int] = []
            for row, trajectory in enumerate(chosen):
                if not trajectory.action_mask.any():
                    continue
                content = _digest(trajectory.tokens.tobytes() + trajectory.action_mask.tobytes())
                task = _task_digest(trajectory)
                if (deduplicate and content in seen) or (max_per_task is not None and per_task[task] >= max_per_task):
                    continue
                if deduplicate:
                    seen.add(content)
                if max_per_task is not None:
                    per_task[task] += 1
                kept.append(row)
            num_kept += len(kept)
            if kept:
                pending.append(chosen.select(kept))
            if sum(part.num_tokens for part in pending) >= shard_tokens:
                writer.write_trajectories(TrajectoryBuffer.concatenate(pending))
                pending = []
        if not num_kept:
            raise ValueError(f"buffers must hold trajectories that pass, got none of {num_offered}")
        if pending:
            writer.write_trajectories(TrajectoryBuffer.concatenate(pending))
        notes = {
            "num_offered": num_offered, "num_kept": num_kept, "min_reward": min_reward, "drop_thoughts": drop_thoughts,
            "deduplicate": deduplicate, "max_per_task": max_per_task,
        }  # fmt: skip
        writer.commit(provenance={**notes, **(provenance or {})})
    return Corpus.open(out)


def _with_provenance(buffer: TrajectoryBuffer, rows: list[int]) -> TrajectoryBuffer:
    """The chosen trajectories, each with what is known of its making in its extras."""
    chosen = buffer.select(np.array(rows, dtype=np.int64))
    for row, trajectory in enumerate(chosen):
        versions = trajectory.version[trajectory.action_mask]
        notes = {
            "environment": buffer.environment, "key": list(buffer.key), "index": trajectory.index, "seat": trajectory.seat,
            "policy_version": [int(versions.min()), int(versions.max())], "reward": trajectory.reward, "stop_reason": trajectory.stop_reason,
            "temperature": trajectory.temperature,
        }  # fmt: skip
        extras = {**trajectory.extras, "provenance": {**notes, **trajectory.extras.get("provenance", {})}}
        try:
            json.dumps(extras)
        except TypeError as error:
            raise ValueError(f"extras of trajectory {trajectory.index} must be JSON: {error}") from error
        chosen.extras[row] = extras
    return chosen


def _task_digest(trajectory: Trajectory) -> bytes:
    task = trajectory.task
    if task is None:
        return _digest(b"prompt" + trajectory.tokens[: int(np.argmax(trajectory.action_mask))].tobytes())
    return _digest(b"bytes" + task if isinstance(task, bytes) else b"value" + json.dumps(task, sort_keys=True, default=repr).encode())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
