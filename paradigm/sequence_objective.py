"""Objectives over whole sequences: the ratio, and so the clipping, is a trajectory's and not a token's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from paradigm.objective import EntropyBonus, PPOClip
from paradigm.objective_rows import ObjectiveRows, add_rows, masked, row_metrics

__all__ = ["GSPO"]

# N prediction rows, B documents


@dataclass(frozen=True, kw_only=True)
class GSPO:
    """Group sequence policy optimisation (Zheng et al., arXiv:2507.18071, eq. 5 to 7): PPO's clipping of the length-normalised ratio of a sequence.

        s = exp(1/|y| sum_t (logprob_t - behaviour_logprob_t)),   loss of a sequence = -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A)
        d loss / d logprob_t = -s A / |y| where the first term is the smaller, else 0

    with A the sum of the sequence's `advantage` rows, and |y| their number: packed with normalize="trajectories", each row A_i / (G |y_i|), the
    loss is the paper's mean over sequences. A row's share of the loss is in proportion to its advantage.

    Streams: `advantage` (divided by the count), `behaviour_logprob`; with `entropy=True` also `entropy`, see `EntropyBonus`.
    Metrics: as PPO's, each row counting its sequence's ratio.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4
    entropy: bool = False
    pointwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._of_tokens()  # which refuses bounds out of range

    def _of_tokens(self) -> PPOClip:
        return PPOClip(clip_low=self.clip_low, clip_high=self.clip_high, entropy=self.entropy)

    @property
    def streams(self) -> tuple[str, ...]:
        return self._of_tokens().streams

    def coefficients(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], batch: Any) -> ObjectiveRows:
        document = batch.document
        advantage = streams["advantage"]
        active = advantage != 0

        def total(rows: Tensor) -> Tensor:
            return rows.new_zeros(batch.num_sequences).index_add(0, document, rows)

        count = total(active.to(logprob.dtype)).clamp(min=1)
        log_ratio = masked(active, logprob - streams["behaviour_logprob"])
        ratio = (total(log_ratio) / count).exp()
        whole = total(advantage)
        # decided once a sequence: its rows' advantages have one sign wherever they come from one reward
        passes = ratio * whole <= ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * whole
        kept = torch.where(passes, ratio, ratio.clamp(1 - self.clip_low, 1 + self.clip_high))
        loss = -kept[document] * advantage
        dlogprob = masked(active, torch.where(passes, -ratio * whole / count, 0.0)[document])
        rows = masked(active, ratio[document])
        metrics = row_metrics(
            "policy", active, loss,
            ratio_sum=rows, ratio_max=rows, clipped_sum=(active & ~passes[document]).to(loss.dtype),
            behaviour_kl_sum=torch.expm1(log_ratio) - log_ratio, entropy_sum=masked(active, entropy),
        )  # fmt: skip
        result = ObjectiveRows(loss, dlogprob, None, metrics)
        return add_rows(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result
