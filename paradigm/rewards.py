"""What a decision earned, and what is taken off it: a penalty for leaving a reference, and one for being cut off."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paradigm.kl import Estimator, kl_estimate
from paradigm.trajectory import STOP_REASONS, TrajectoryBuffer

__all__ = ["failing_nonfinite", "overlong_penalty", "penalized_rewards", "rewards_by_decision", "total_rewards", "with_rewards"]

# n tokens of a buffer, B trajectories


def rewards_by_decision(rollouts: TrajectoryBuffer, at: np.ndarray) -> np.ndarray:
    """float32 [len(at)], what each of the action tokens `at` earned: all rewards from it up to the trajectory's next action token."""
    rewards = np.where(np.repeat(rollouts.failed, rollouts.lengths), 0.0, rollouts.rewards)  # a failed one may hold NaN
    totals = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
    ends = rollouts.offsets[1:][np.searchsorted(rollouts.offsets, at, side="right") - 1]
    following = np.minimum(np.append(at[1:], rollouts.num_tokens), ends)
    return (totals[following] - totals[at]).astype(np.float32)


def penalized_rewards(
    buffer: TrajectoryBuffer, reference_logprob: NDArray[np.float32], coefficient: float, estimator: Estimator = "k1"
) -> NDArray[np.float32]:
    """Rewards less a penalty for leaving a reference, on each action token (Ouyang et al., arXiv:2203.02155, eq. 2, with k1):

        r'_t = r_t - coefficient * estimator(logprob_t, reference_logprob_t)

    Args:
        buffer: rollouts; reads `rewards`, `logprobs` and `action_mask`.
        reference_logprob: float32 [n], log-prob of each action token under the reference; ignored off actions.
        coefficient: >= 0, in units of reward a nat.
        estimator: of KL(policy || reference); as a part of the reward k1's gradient is the divergence's own (it is not in a loss).
    Returns: float32 [n], in place of `buffer.rewards`. Raises: ValueError if a shape or the coefficient is wrong.
    """
    if not coefficient >= 0:
        raise ValueError(f"coefficient must be >= 0, got {coefficient}")
    if reference_logprob.shape != (buffer.num_tokens,):
        raise ValueError(f"reference_logprob must have shape [{buffer.num_tokens}], got {list(reference_logprob.shape)}")
    estimate = kl_estimate(torch.from_numpy(buffer.logprobs), torch.from_numpy(np.asarray(reference_logprob, np.float32)), estimator=estimator)
    return np.where(buffer.action_mask, buffer.rewards - np.float32(coefficient) * estimate.value.numpy(), buffer.rewards).astype(np.float32)


def overlong_penalty(lengths: Any, *, max_length: int, margin: int) -> NDArray[np.float32]:
    """DAPO's soft overlong punishment (arXiv:2503.14476, eq. 13), to be added to a rollout's reward: 0 up to max_length - margin tokens, then
    falling linearly to -1 at max_length, beyond which it stays.

    Args:
        lengths: integers [B], tokens of each rollout.
        max_length, margin: the paper's L_max and L_cache; 0 < margin <= max_length.
    Returns: float32 [B]. Raises: ValueError if the margin is out of range.
    """
    if not 0 < margin <= max_length:
        raise ValueError(f"margin must be in (0, max_length = {max_length}], got {margin}")
    return np.clip((max_length - margin - np.asarray(lengths, np.float32)) / np.float32(margin), -1.0, 0.0).astype(np.float32)


def with_rewards(buffer: TrajectoryBuffer, rewards: NDArray[np.float32]) -> TrajectoryBuffer:
    """The same trajectories, sharing all arrays but the rewards. Raises: ValueError if the shape is wrong."""
    if rewards.shape != buffer.rewards.shape:
        raise ValueError(f"rewards must have shape {list(buffer.rewards.shape)}, got {list(rewards.shape)}")
    changed = copy.copy(buffer)
    changed.rewards = rewards
    return changed


def total_rewards(buffer: TrajectoryBuffer) -> NDArray[np.float64]:
    """float64 [B], each trajectory's total reward; NaN or infinite where it is not to be had as a float32."""
    owner = np.repeat(np.arange(len(buffer)), buffer.lengths)
    totals = np.bincount(owner, weights=buffer.rewards, minlength=len(buffer)).astype(np.float64)
    totals[np.abs(totals) > np.finfo(np.float32).max] = np.inf
    return totals


def failing_nonfinite(buffer: TrajectoryBuffer) -> tuple[TrajectoryBuffer, int]:
    """The same trajectories, those marked as failed whose total reward is not finite; and how many these are. The sampler fails them by
    itself where an environment gave such a reward; this is for rewards that were changed afterwards, by a penalty or a reward model."""
    bad = ~np.isfinite(total_rewards(buffer)) & ~buffer.failed
    if not bad.any():
        return buffer, 0
    changed = copy.copy(buffer)
    changed.failed = buffer.failed | bad
    changed.terminated, changed.truncated = buffer.terminated & ~bad, buffer.truncated & ~bad
    changed.stop_reason = np.where(bad, STOP_REASONS.index("failed"), buffer.stop_reason).astype(np.uint8)
    note = {"failure": "rewards must add up to a finite number", "failure_reason": "reward"}
    changed.extras = {**buffer.extras, **{row: buffer.extras.get(row, {}) | note for row in np.flatnonzero(bad).tolist()}}
    return changed, int(bad.sum())
