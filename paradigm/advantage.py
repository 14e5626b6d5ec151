"""Advantages of whole trajectories against the others that tried the same task.

Departures from GRPO (DeepSeekMath, arXiv:2402.03300, section 4.1.2): failed trajectories take no part, a group without spread gets exactly
0 rather than noise over eps, and a seat is only compared with the same seat.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paradigm.rewards import failing_nonfinite, rewards_by_decision, total_rewards

if TYPE_CHECKING:
    from paradigm.trajectory import TrajectoryBuffer

__all__ = ["SolvedTasks", "batch_advantages", "group_advantages", "group_numbers", "informative"]

_log = logging.getLogger(__name__)

# n trajectories, g groups (distinct pairs of group id and seat), T tokens


def group_advantages(
    buffer: TrajectoryBuffer, normalize: Literal["std", "batch", "none"] = "std", leave_one_out: bool = False, eps: float = 1e-6
) -> NDArray[np.float32]:
    """Each trajectory's total reward against its group, A_i = (R_i - baseline_i) / (std + eps).

    The constants make the algorithms: "std" GRPO, "none" Dr. GRPO, "none" with `leave_one_out` RLOO, "batch" ScaleRL (arXiv:2510.13786) and
    REINFORCE++ with a baseline (arXiv:2501.03262).

    The baseline is the group's mean (GRPO), or with `leave_one_out` the mean of the *other* trajectories (RLOO, Ahmadian et al.,
    arXiv:2402.14740), which is unbiased. The standard deviation is that of the group with n - 1 in the denominator. A group is the set of
    trajectories with the same `group` and `seat`; failed ones, and those whose rewards are not finite or do not add up to a finite number
    (with a warning; see `rewards.failing_nonfinite`), get 0 and are left out of the statistics, and so does a group whose rewards are all
    equal or that has a single member. Sums are taken in float64.

    Args:
        buffer: trajectories; reads `group`, `seat`, `failed`, `rewards` and `offsets`.
        normalize: "std" divides by the group's standard deviation; "batch" by that of R_i - baseline_i over all trajectories that did not fail;
            "none" does not (Dr. GRPO, arXiv:2503.20783).
        leave_one_out: the baseline leaves out the trajectory itself.
        eps: added to the standard deviation, in units of reward.
    Returns: float32 [n]. Raises: ValueError for an unknown `normalize` or a negative `eps`.
    """
    if normalize not in ("std", "batch", "none"):
        raise ValueError(f"normalize must be 'std', 'batch' or 'none', got {normalize!r}")
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}")
    num = len(buffer)
    advantages = np.zeros(num, dtype=np.float32)
    buffer = _finite(buffer)
    kept = np.flatnonzero(~np.asarray(buffer.failed, dtype=bool))
    if kept.size == 0:
        return advantages
    rewards = total_rewards(buffer)[kept]
    group = group_numbers(buffer, kept)
    count = np.bincount(group).astype(np.float64)  # [g]
    mean = np.bincount(group, weights=rewards) / count
    deviation = rewards - mean[group]

    spread = _spread(rewards, group)
    others = np.maximum(count - 1, 1)
    if normalize == "std":
        scale = np.sqrt(np.bincount(group, weights=deviation**2) / others) + eps
    else:
        scale = np.ones_like(count)
    if leave_one_out:
        deviation = deviation * (count / others)[group]  # R_i - mean of others = n / (n - 1) (R_i - mean)
    if normalize == "batch":
        scale = scale * (deviation.std(ddof=1) if kept.size > 1 else 0.0) + eps
    with np.errstate(divide="ignore", invalid="ignore"):
        advantages[kept] = np.where(spread[group], deviation / scale[group], 0.0)
    return advantages


def batch_advantages(buffer: TrajectoryBuffer, eps: float = 1e-6) -> NDArray[np.float32]:
    """REINFORCE++ (Hu et al., arXiv:2501.03262): what is earned from each action token on, normalised over all action tokens of the batch.

        A_t = (G_t - mean(G)) / (std(G) + eps),   G_t = sum of the trajectory's rewards from t on

    With rewards from `rewards.penalized_rewards`, G_t is the paper's r - beta sum_{i >= t} KL_i.

    Args: buffer: trajectories; failed ones, and those without finite rewards, take no part. eps: added to the standard deviation (n - 1 in
    its denominator).
    Returns: float32 [T], 0 off actions. Raises: ValueError for a negative `eps`.
    """
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}")
    advantages = np.zeros(buffer.num_tokens, dtype=np.float32)
    buffer = _finite(buffer)
    owner = np.repeat(np.arange(len(buffer)), buffer.lengths)
    at = np.flatnonzero(buffer.action_mask & ~buffer.failed[owner])
    if at.size < 2:
        return advantages
    earned = rewards_by_decision(buffer, at).astype(np.float64)
    from_here = np.cumsum(earned[::-1])[::-1]
    last = np.searchsorted(owner[at], owner[at], side="right")
    returns = from_here - np.append(from_here, 0.0)[last]
    if returns.max() > returns.min():
        advantages[at] = (returns - returns.mean()) / (returns.std(ddof=1) + eps)
    return advantages


def informative(buffer: TrajectoryBuffer) -> tuple[NDArray[np.bool_], int]:
    """Which trajectories lie in groups whose rewards differ: DAPO's dynamic sampling (arXiv:2503.14476, eq. 11), ScaleRL's zero-variance
    filter. Dropped with `TrajectoryBuffer.select`, the others do not count in what a loss is averaged over.

    Returns: bool [n], False for trajectories that failed or have no finite reward; and the number of groups without spread (those of one
    member among them).
    """
    found = np.zeros(len(buffer), dtype=bool)
    buffer = _finite(buffer)
    kept = np.flatnonzero(~np.asarray(buffer.failed, dtype=bool))
    if kept.size == 0:
        return found, 0
    group = group_numbers(buffer, kept)
    spread = _spread(total_rewards(buffer)[kept], group)
    found[kept] = spread[group]
    return found, int((~spread).sum())


class SolvedTasks:
    """Tasks that no longer teach: those that were once solved at `pass_rate` or better are never attempted again (ScaleRL's "no positive
    resampling", arXiv:2510.13786, with 0.9).

    Args: pass_rate: in (0, 1], share of a group's rollouts. correct: the reward that counts as solved.
    """

    def __init__(self, pass_rate: float = 0.9, correct: float = 1.0):
        if not 0 < pass_rate <= 1:
            raise ValueError(f"pass_rate must be in (0, 1], got {pass_rate}")
        self.pass_rate, self.correct = pass_rate, correct
        self._solved: dict[str, None] = {}  # by repr: a task may be anything, a dict too

    def unsolved(self, tasks: Sequence[Any]) -> list[Any]:
        """The tasks that are still worth attempting, in their order."""
        return [task for task in tasks if repr(task) not in self._solved]

    def update(self, rollouts: TrajectoryBuffer) -> int:
        """Notes which tasks these rollouts solved; returns how many are newly so. Failed rollouts do not count."""
        before, kept = len(self._solved), ~np.asarray(rollouts.failed, dtype=bool)
        correct = rollouts.reward >= self.correct
        for task in np.unique(rollouts.task[kept & (rollouts.task >= 0)]):
            if correct[kept & (rollouts.task == task)].mean() >= self.pass_rate:
                self._solved[repr(rollouts.tasks[task])] = None
        return len(self._solved) - before

    def state_dict(self) -> dict[str, Any]:
        return {"solved": list(self._solved)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._solved = dict.fromkeys(state["solved"])


def _finite(buffer: TrajectoryBuffer) -> TrajectoryBuffer:
    """The same trajectories, those without a finite reward marked as failed."""
    buffer, num_bad = failing_nonfinite(buffer)
    if num_bad:
        _log.warning("%d of %d trajectories have no finite reward and take no part", num_bad, len(buffer))
    return buffer


def group_numbers(buffer: TrajectoryBuffer, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [len(kept)], from 0, which group (of one `group` and `seat`, in ascending order) each of the trajectories `kept` belongs to."""
    keys = np.stack([np.asarray(buffer.group, dtype=np.int64)[kept], np.asarray(buffer.seat, dtype=np.int64)[kept]], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _spread(rewards: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [g], whether a group's rewards differ: compared exactly, since the mean of equal rewards may differ from them in its last bit."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.maximum.reduceat(rewards[order], starts) > np.minimum.reduceat(rewards[order], starts)
