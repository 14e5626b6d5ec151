"""Losses over pairs of trajectories, the first preferred to the second: direct preference optimisation, and the reward model it does without.

Both take a batch with `pairs` (see `PackedBatch.pack`), whose weights already hold the division by the number of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from paradigm.advantage import group_numbers
from paradigm.objective_rows import ObjectiveRows

if TYPE_CHECKING:
    from paradigm.trajectory import TrajectoryBuffer

__all__ = ["DPO", "BradleyTerry", "best_and_worst"]

# N prediction rows, B documents, P pairs


@dataclass(frozen=True, kw_only=True)
class DPO:
    """Direct preference optimisation (Rafailov et al., arXiv:2305.18290, eq. 7), a trajectory's log-prob being the sum over its rows:

        margin = beta ((logprob_w - reference_w) - (logprob_l - reference_l))
        loss of a pair = -(1 - e) log sigmoid(margin) - e log sigmoid(-margin)
        d loss / d logprob_t = -beta (1 - e - sigmoid(margin)) on the preferred one's rows, the opposite on the other's

    e = label_smoothing is the chance that a label is wrong (Mitchell, "A note on DPO with noisy preferences", 2023).
    The loss of a pair stands on the first row of its preferred trajectory.
    Streams: `reference_logprob`. Metrics, sums over pairs: preference/margin, and preference/accuracy, the share of pairs with a margin > 0.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    pointwise: ClassVar[bool] = False
    streams: ClassVar[tuple[str, ...]] = ("reference_logprob",)

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be > 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")

    def coefficients(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], batch: Any) -> ObjectiveRows:
        pairs, weight = _pairs(self, batch)
        gain = logprob.new_zeros(batch.num_sequences).index_add(0, batch.document, logprob - streams["reference_logprob"])
        margin = self.beta * (gain[pairs[:, 0]] - gain[pairs[:, 1]])
        loss, slope = _logistic(margin, self.label_smoothing)
        dgain = _scatter(pairs, self.beta * weight * slope, batch.num_sequences)
        first = torch.searchsorted(batch.document, pairs[:, 0].contiguous())
        rows = torch.zeros_like(logprob).index_add(0, first, weight * loss)
        return ObjectiveRows(rows, dgain[batch.document], None, _pair_metrics(rows, margin))


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """The pairwise loss of a reward model (Ouyang et al., arXiv:2203.02155, eq. 1; Bradley and Terry, 1952) over scores s, what `head` says at a
    trajectory's last token:

        loss of a pair = -log sigmoid(s_w - s_l) + center (s_w + s_l)^2
        d loss / d s_w = -sigmoid(s_l - s_w) + 2 center (s_w + s_l),   of s_l with the sign of the first term changed

    Scores have no origin of their own; center > 0 pulls them to 0 (Eisenstein et al., arXiv:2312.09244). Pack with rows="none".
    InstructGPT's mean over all pairs of one prompt is the pairs' weights; pairs that share a trajectory are packed together.
    Streams: none. Metrics: as `DPO`.
    """

    center: float = 0.0
    pointwise: ClassVar[bool] = False
    streams: ClassVar[tuple[str, ...]] = ()
    head: ClassVar[str] = "reward"
    head_at: ClassVar[Literal["rows", "ends"]] = "ends"

    def __post_init__(self) -> None:
        if not self.center >= 0:
            raise ValueError(f"center must be >= 0, got {self.center}")

    def coefficients(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], batch: Any) -> ObjectiveRows:
        pairs, weight = _pairs(self, batch)
        scores = streams["head"]
        preferred, other = scores[pairs[:, 0]], scores[pairs[:, 1]]
        loss, slope = _logistic(preferred - other, 0.0)
        total = preferred + other
        losses = torch.zeros_like(scores).index_add(0, pairs[:, 0], weight * (loss + self.center * total * total))
        pull = 2 * self.center * weight * total
        dscore = _scatter(pairs, weight * slope, scores.numel()) + torch.zeros_like(scores).index_add(0, pairs.flatten(), pull.repeat_interleave(2))
        return ObjectiveRows(losses, torch.zeros_like(logprob), None, _pair_metrics(losses, preferred - other), dscore)


def _pairs(objective: DPO | BradleyTerry, batch: Any) -> tuple[Tensor, Tensor]:
    if batch.pairs is None:
        raise ValueError(
            f"pairs must be given for {type(objective).__name__}, got a batch without: PackedBatch.pack(trajectories, max_tokens, pairs=...)"
        )
    return batch.pairs.long(), batch.pair_weight


def _logistic(margin: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """(loss of each pair, its derivative by the margin)."""
    loss = -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)
    return loss, torch.sigmoid(margin) - (1 - smoothing)


def _scatter(pairs: Tensor, slope: Tensor, num_documents: int) -> Tensor:
    """Derivatives by each trajectory's own number, from those by the pairs' differences."""
    return slope.new_zeros(num_documents).index_add(0, pairs[:, 0], slope).index_add(0, pairs[:, 1], -slope)


def _pair_metrics(losses: Tensor, margin: Tensor) -> dict[str, Tensor]:
    return {
        "preference/loss": losses.sum(), "preference/rows": margin.new_full((), margin.numel()),
        "preference/margin_sum": margin.sum(), "preference/accuracy_sum": (margin > 0).to(margin.dtype).sum(),
    }  # fmt: skip


def best_and_worst(buffer: TrajectoryBuffer) -> NDArray[np.int32]:
    """One pair a group of rollouts, its best and its worst by total reward: the preferences of online DPO (Guo et al., arXiv:2402.04792) with a
    verifier as the judge. Groups (of one `group` and `seat`) whose rewards are all equal give none; failed trajectories take no part.

    Returns: int32 [P, 2], rows of `buffer`; of equals the first.
    """
    kept = np.flatnonzero(~np.asarray(buffer.failed, dtype=bool))
    reward = buffer.reward
    group = group_numbers(buffer, kept)
    pairs = []
    for number in range(group.max(initial=-1) + 1):
        members = kept[group == number]
        best, worst = members[np.argmax(reward[members])], members[np.argmin(reward[members])]
        if reward[best] > reward[worst]:
            pairs.append((best, worst))
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)
