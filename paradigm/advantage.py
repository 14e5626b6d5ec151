"""Advantages of whole trajectories against the others that tried the same task.

Departures from GRPO (DeepSeekMath, arXiv:2402.03300, section 4.1.2): failed trajectories take no part, a group without spread gets exactly
0 rather than noise over eps, and a seat is only compared with the same seat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from paradigm.trajectory import TrajectoryBuffer

__all__ = ["group_advantages"]

# n trajectories, g groups (distinct pairs of group id and seat)


def group_advantages(
    buffer: TrajectoryBuffer, normalize: Literal["std", "none"] = "std", leave_one_out: bool = False, eps: float = 1e-6
) -> NDArray[np.float32]:
    """Each trajectory's total reward against its group, A_i = (R_i - baseline_i) / (std + eps).

    The baseline is the group's mean (GRPO), or with `leave_one_out` the mean of the *other* trajectories (RLOO, Ahmadian et al.,
    arXiv:2402.14740), which is unbiased. The standard deviation is that of the group with n - 1 in the denominator. A group is the set of
    trajectories with the same `group` and `seat`; failed ones get 0 and are left out of the statistics, and so does a group whose rewards
    are all equal or that has a single member. Sums are taken in float64.

    Args:
        buffer: trajectories; reads `group`, `seat`, `failed`, `rewards` and `offsets`.
        normalize: "std" divides by the group's standard deviation; "none" does not (Dr. GRPO, arXiv:2503.20783).
        leave_one_out: the baseline leaves out the trajectory itself.
        eps: added to the standard deviation, in units of reward.
    Returns: float32 [n]. Raises: ValueError for an unknown `normalize`, a negative `eps`, or a reward that is not finite in a trajectory
    that did not fail.
    """
    if normalize not in ("std", "none"):
        raise ValueError(f"normalize must be 'std' or 'none', got {normalize!r}")
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}")
    num = len(buffer)
    advantages = np.zeros(num, dtype=np.float32)
    kept = np.flatnonzero(~np.asarray(buffer.failed, dtype=bool))
    if kept.size == 0:
        return advantages
    lengths = np.diff(np.asarray(buffer.offsets))
    owner = np.repeat(np.arange(num), lengths)
    rewards = np.bincount(owner, weights=np.asarray(buffer.rewards, dtype=np.float64), minlength=num)[kept]
    if not np.isfinite(rewards).all():
        bad = int(kept[np.flatnonzero(~np.isfinite(rewards))[0]])
        raise ValueError(f"rewards must be finite, got a total that is not in trajectory {bad}, which did not fail")

    keys = np.stack([np.asarray(buffer.group, dtype=np.int64)[kept], np.asarray(buffer.seat, dtype=np.int64)[kept]], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    count = np.bincount(group).astype(np.float64)  # [g]
    mean = np.bincount(group, weights=rewards) / count
    deviation = rewards - mean[group]

    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(count[:-1])]).astype(np.int64)
    # compared exactly: the mean of equal rewards may differ from them in its last bit
    spread = np.maximum.reduceat(rewards[order], starts) > np.minimum.reduceat(rewards[order], starts)
    others = np.maximum(count - 1, 1)
    if normalize == "std":
        scale = np.sqrt(np.bincount(group, weights=deviation**2) / others) + eps
    else:
        scale = np.ones_like(count)
    if leave_one_out:
        deviation = deviation * (count / others)[group]  # R_i - mean of others = n / (n - 1) (R_i - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        advantages[kept] = np.where(spread[group], deviation / scale[group], 0.0)
    return advantages
