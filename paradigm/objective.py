"""Objectives: the weight that each predicted token's log-probability carries, in closed form.

A *pointwise* objective gives every prediction row a loss that depends only on the row's own log-prob, entropy and constants (its
streams), together with the derivatives by log-prob and entropy, so that `kernels.policy_loss` needs no second pass over the head.
The loss is the plain sum over rows: whoever packs has divided the streams by the counts of the whole set. A row whose coefficient is 0
contributes nothing, whatever its other streams hold, so rows of several kinds share one batch (`Combined`).

Metrics are 0-dim sums named `group/name`: those ending in `_max` combine by maximum, all others by addition (`reduce_metrics`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from paradigm.kl import Estimator, KLEstimate, KLPenalty, kl_estimate
from paradigm.objective_rows import (
    Objective,
    ObjectiveRows,
    SequenceObjective,
    add_rows,
    check_streams,
    masked,
    reduce_metrics,
    row_metrics,
)

__all__ = [
    "CISPO", "GRPO", "Combined", "CrossEntropy", "EntropyBonus", "Estimator", "KLEstimate", "KLPenalty", "MaskedReinforce", "Objective",
    "ObjectiveRows", "PPOClip", "Reinforce", "SequenceObjective", "check_streams", "kl_estimate", "reduce_metrics", "value_loss",
]

# N prediction rows


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Weighted negative log-likelihood: loss_i = -ce_i * logprob_i. Pretraining, imitation and distillation.

    Streams: `ce`, the weight of each row (1 / count for a mean).
    """

    pointwise: ClassVar[bool] = True
    streams: ClassVar[tuple[str, ...]] = ("ce",)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        weight = streams["ce"]
        active = weight != 0
        nll = masked(active, -logprob)
        loss = weight * nll
        metrics = row_metrics("ce", active, loss, nll_sum=nll, entropy_sum=masked(active, entropy))
        return ObjectiveRows(loss, -weight, None, metrics)


@dataclass(frozen=True, kw_only=True)
class EntropyBonus:
    """Entropy bonus (Mnih et al., arXiv:1602.01783, section 4): loss_i = -entropy_i * H_i, H the entropy of the row's distribution in nats.

    Streams: `entropy`, the coefficient of each row (divided by the count).
    """

    pointwise: ClassVar[bool] = True
    streams: ClassVar[tuple[str, ...]] = ("entropy",)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        coefficient = streams["entropy"]
        active = coefficient != 0
        bonus = masked(active, entropy)
        loss = -coefficient * bonus
        return ObjectiveRows(loss, torch.zeros_like(loss), -coefficient, row_metrics("entropy", active, loss, entropy_sum=bonus))


@dataclass(frozen=True, kw_only=True)
class Reinforce:
    """REINFORCE with a baseline (Williams, 1992): loss_i = -advantage_i * logprob_i; the advantage already has its baseline.

    Streams: `advantage` (divided by the count); with `entropy=True` also `entropy`, see `EntropyBonus`.
    """

    entropy: bool = False
    pointwise: ClassVar[bool] = True

    @property
    def streams(self) -> tuple[str, ...]:
        return ("advantage", "entropy") if self.entropy else ("advantage",)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        advantage = streams["advantage"]
        active = advantage != 0
        loss = -advantage * masked(active, logprob)
        metrics = row_metrics("policy", active, loss, entropy_sum=masked(active, entropy))
        result = ObjectiveRows(loss, -advantage, None, metrics)
        return add_rows(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result


def _ratio_streams(entropy: bool) -> tuple[str, ...]:
    return ("advantage", "behaviour_logprob", "entropy") if entropy else ("advantage", "behaviour_logprob")


@dataclass(frozen=True, kw_only=True)
class PPOClip:
    """PPO's clipped surrogate (Schulman et al., arXiv:1707.06347, eq. 7), summed over rows:

        loss_i = -min(r_i A_i, clip(r_i, 1 - clip_low, 1 + clip_high) A_i),    r_i = exp(logprob_i - behaviour_logprob_i)
        d loss_i / d logprob_i = -r_i A_i where the first term is the smaller, else 0

    Unequal bounds are "clip-higher" (DAPO, arXiv:2503.14476, eq. 8). With `dual_clip` = c > 1 the surrogate of a negative advantage is
    bounded below by c A (Ye et al., arXiv:1912.09729, eq. 5), and the derivative is 0 where that bound holds.

    Streams: `advantage` (divided by the count: the surrogate is homogeneous in it), `behaviour_logprob` (what the sampler recorded); with
    `entropy=True` also `entropy`, see `EntropyBonus`.
    Metrics: share of clipped rows, mean and maximal ratio, K3 estimate of KL(behaviour || policy), entropy.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    entropy: bool = False
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.clip_low <= 1:
            raise ValueError(f"clip_low must be in [0, 1], got {self.clip_low}")
        if not self.clip_high >= 0:
            raise ValueError(f"clip_high must be >= 0, got {self.clip_high}")
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise ValueError(f"dual_clip must be > 1 or None, got {self.dual_clip}")

    @property
    def streams(self) -> tuple[str, ...]:
        return _ratio_streams(self.entropy)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        advantage = streams["advantage"]
        active = advantage != 0
        log_ratio = masked(active, logprob - streams["behaviour_logprob"])  # masked first: 0 * exp(large) would be NaN
        ratio = log_ratio.exp()
        unclipped = ratio * advantage
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * advantage
        surrogate = torch.minimum(unclipped, clipped)
        passes = unclipped <= clipped
        if self.dual_clip is not None:
            bound = self.dual_clip * advantage
            bounded = (advantage < 0) & (bound > surrogate)
            surrogate = torch.where(bounded, bound, surrogate)
            passes = passes & ~bounded
        metrics = row_metrics(
            "policy", active, -surrogate,
            ratio_sum=masked(active, ratio), ratio_max=masked(active, ratio), clipped_sum=(active & ~passes).to(ratio.dtype),
            behaviour_kl_sum=torch.expm1(log_ratio) - log_ratio, entropy_sum=masked(active, entropy),
        )
        result = ObjectiveRows(-surrogate, torch.where(passes, -unclipped, 0.0), None, metrics)
        return add_rows(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result


@dataclass(frozen=True, kw_only=True)
class CISPO:
    """Policy gradient with truncated importance weights (CISPO, MiniMax-M1, arXiv:2506.13585, eq. 4 and 5): unlike PPO's clipping, no row's
    gradient is dropped.

        loss_i = -w_i A_i logprob_i,    w_i = clip(r_i, min_ratio, max_ratio) held constant,    r_i = exp(logprob_i - behaviour_logprob_i)
        d loss_i / d logprob_i = -w_i A_i

    With min_ratio 0 only large ratios are cut, as in ScaleRL (Khatri et al., arXiv:2510.13786); that is REINFORCE with truncated
    importance sampling too (Ionides, 2008).

    Streams: `advantage` (divided by the count), `behaviour_logprob`; with `entropy=True` also `entropy`, see `EntropyBonus`.
    Metrics: as PPO's, `clipped` being the share of truncated weights.
    """

    max_ratio: float = 5.0
    min_ratio: float = 0.0
    entropy: bool = False
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.min_ratio <= 1:
            raise ValueError(f"min_ratio must be in [0, 1], got {self.min_ratio}")
        if not self.max_ratio >= 1:
            raise ValueError(f"max_ratio must be >= 1, got {self.max_ratio}")

    @property
    def streams(self) -> tuple[str, ...]:
        return _ratio_streams(self.entropy)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        return self._weighted(logprob, entropy, streams, lambda ratio: ratio.clamp(self.min_ratio, self.max_ratio))

    def _weighted(
        self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], weigh: Callable[[Tensor], Tensor]
    ) -> ObjectiveRows:
        advantage = streams["advantage"]
        active = advantage != 0
        log_ratio = masked(active, logprob - streams["behaviour_logprob"])  # masked first: 0 * exp(large) would be NaN
        ratio = log_ratio.exp()
        weight = weigh(ratio)
        loss = -weight * advantage * masked(active, logprob)
        metrics = row_metrics(
            "policy", active, loss,
            ratio_sum=masked(active, ratio), ratio_max=masked(active, ratio), clipped_sum=(active & (weight != ratio)).to(ratio.dtype),
            behaviour_kl_sum=torch.expm1(log_ratio) - log_ratio, entropy_sum=masked(active, entropy),
        )
        result = ObjectiveRows(loss, -weight * advantage, None, metrics)
        return add_rows(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result


@dataclass(frozen=True, kw_only=True)
class MaskedReinforce(CISPO):
    """Policy gradient with masked importance weights (IcePop; Ling Team, arXiv:2510.18855): a row whose ratio lies outside
    [min_ratio, max_ratio] teaches nothing, since sampler and learner disagree on it.

        loss_i = -w_i A_i logprob_i,    w_i = r_i where min_ratio <= r_i <= max_ratio, else 0

    The ratio is that of the current policy to what the sampler recorded, so one pass corrects staleness and mismatch together; to correct the
    mismatch alone, below PPO's ratio, see `importance.importance_weights`.
    """

    min_ratio: float = 0.5

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        return self._weighted(
            logprob, entropy, streams, lambda ratio: torch.where((ratio >= self.min_ratio) & (ratio <= self.max_ratio), ratio, 0.0)
        )


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Group relative policy optimisation (DeepSeekMath, arXiv:2402.03300, eq. 3 and 4): PPO's clipped surrogate with group advantages
    (`advantage.group_advantages`) and a K3 penalty to a reference policy inside the loss:

        loss_i = -min(r_i A_i, clip(r_i, 1 - clip_low, 1 + clip_high) A_i) + kl_i (exp(d_i) - d_i - 1),    d_i = reference_logprob_i - logprob_i
        d/d logprob_i of the penalty = kl_i (1 - exp(d_i))

    The 1 / (G |o_i|) of eq. 3 belongs to whoever packs: `advantage` and `kl` (beta) come divided.
    Streams: `advantage`, `behaviour_logprob`, `kl`, `reference_logprob`; with `entropy=True` also `entropy`, see `EntropyBonus`.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    entropy: bool = False
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._surrogate()

    def _surrogate(self) -> PPOClip:
        return PPOClip(clip_low=self.clip_low, clip_high=self.clip_high, entropy=self.entropy)

    @property
    def streams(self) -> tuple[str, ...]:
        return self._surrogate().streams + KLPenalty.streams

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        return add_rows(self._surrogate().rows(logprob, entropy, streams), KLPenalty().rows(logprob, entropy, streams))


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The sum of several pointwise objectives over the same rows, each reading its own streams.

    RL with a pretraining loss mixed in (Ouyang et al., arXiv:2203.02155, eq. 2) is `Combined(objectives=(PPOClip(), CrossEntropy()))` over
    batches that hold both kinds of rows, `ce` being 0 on rollouts and `advantage` 0 on documents.
    Raises: ValueError if `objectives` is empty or holds one that is not pointwise.
    """

    objectives: tuple[Objective, ...]
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("objectives must hold at least one objective, got none")
        for objective in self.objectives:
            if not objective.pointwise:
                raise ValueError(f"objectives must be pointwise, got {type(objective).__name__}")

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for objective in self.objectives for name in objective.streams))

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        total = self.objectives[0].rows(logprob, entropy, streams)
        for objective in self.objectives[1:]:
            total = add_rows(total, objective.rows(logprob, entropy, streams))
        return total


def value_loss(value: Tensor, streams: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of a value head, sum over rows of value_i (v_i - value_target_i)^2 / 2.

    Args:
        value: float32 [N], what the head says of each row.
        streams: `value`, the coefficients (divided by the count), and `value_target`, float32 [N] each.
    Returns: 0-dim loss, differentiable in `value`, and metrics. Raises: ValueError if a stream is missing.
    """
    if "value" not in streams:
        raise ValueError(f"streams must hold 'value', the coefficient of each row's value loss, beside 'value_target', got {sorted(streams)}")
    coefficient = streams["value"]
    active = coefficient != 0
    error = masked(active, value - streams["value_target"])
    rows = 0.5 * coefficient * error * error
    seen = value.detach()
    metrics = row_metrics("value", active, rows.detach(), error_squared_sum=error.detach() ** 2, value_sum=masked(active, seen))
    return rows.sum(), metrics
