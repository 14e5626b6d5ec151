"""Objectives: the weight that each predicted token's log-probability carries, in closed form.

A *pointwise* objective gives every prediction row a loss that depends only on the row's own log-prob, entropy and constants (its
streams), together with the derivatives by log-prob and entropy, so that `kernels.policy_loss` needs no second pass over the head.
The loss is the plain sum over rows: whoever packs has divided the streams by the counts of the whole set. A row whose coefficient is 0
contributes nothing, whatever its other streams hold, so rows of several kinds share one batch (`Combined`).

Metrics are 0-dim sums named `group/name`: those ending in `_max` combine by maximum, all others by addition (`reduce_metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "GRPO", "Combined", "CrossEntropy", "EntropyBonus", "KLEstimate", "KLPenalty", "Objective", "ObjectiveRows", "PPOClip", "Reinforce",
    "SequenceObjective", "check_streams", "kl_estimate", "reduce_metrics", "value_loss",
]

# N prediction rows
Estimator = Literal["k1", "k2", "k3"]


class ObjectiveRows(NamedTuple):
    """What an objective makes of N rows: `loss` [N], its derivatives `dlogprob` [N] and `dentropy` [N] (None: zero), 0-dim metrics."""

    loss: Tensor
    dlogprob: Tensor
    dentropy: Tensor | None
    metrics: dict[str, Tensor]


@runtime_checkable
class Objective(Protocol):
    """A pointwise objective: one pass through `kernels.policy_loss`."""

    pointwise: ClassVar[bool]

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that `rows` reads."""

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        """Loss and derivatives of each row; all tensors are float32 [N] and detached."""


@runtime_checkable
class SequenceObjective(Protocol):
    """An objective whose coefficients join several rows (a sequence's ratio, a pair): log-probs first, then backward with the coefficients.

    `pointwise` is False. `coefficients` sees detached log-probs and entropies [N], the streams and the batch (row i belongs to trajectory
    `batch.trajectory[i]`), and returns the rows' losses (their sum is the loss) and the derivatives of that sum.
    """

    pointwise: ClassVar[bool]

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that `coefficients` reads."""

    def coefficients(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], batch: Any) -> ObjectiveRows:
        """Loss of each row, and derivatives of their sum by each row's log-prob and entropy."""


class KLEstimate(NamedTuple):
    """A KL estimator's `value` [N] and its derivative by the policy's log-prob, `dlogprob` [N]."""

    value: Tensor
    dlogprob: Tensor


def check_streams(objective: Objective | SequenceObjective, streams: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming what is missing, unless `streams` holds every stream that `objective` reads."""
    missing = [name for name in objective.streams if name not in streams]
    if missing:
        raise ValueError(
            f"{type(objective).__name__} needs the streams {list(objective.streams)}; the batch lacks {missing} and has {sorted(streams)}: "
            f"pass them to PackedBatch.pack(trajectories, max_tokens, {missing[0]}=...)"
        )


def kl_estimate(
    logprob: Tensor, reference_logprob: Tensor, *, estimator: Estimator = "k3", sampled_from: Literal["policy", "reference"] = "policy"
) -> KLEstimate:
    """Estimates of a KL divergence from log-probs of sampled tokens (Schulman, "Approximating KL Divergence", 2020).

    With x = log(other / sampler) at a token drawn from the sampler: k1 = -x (unbiased, high variance), k2 = x^2 / 2 (biased, low variance),
    k3 = exp(x) - 1 - x (unbiased, never negative).

    Args:
        logprob: float [N], log-prob of the sampled token under the policy.
        reference_logprob: float [N], the same under the reference.
        estimator: which of the three.
        sampled_from: who drew the tokens. "policy" estimates KL(policy || reference), "reference" KL(reference || policy).
    Returns: value [N] and d value / d logprob [N]; as a loss on the policy's own samples k1 has no useful gradient (it is constant).
    Raises: ValueError if the estimator or the sampler is unknown.
    """
    if sampled_from not in ("policy", "reference"):
        raise ValueError(f"sampled_from must be 'policy' or 'reference', got {sampled_from!r}")
    sign = -1.0 if sampled_from == "policy" else 1.0  # dx / dlogprob
    x = sign * (logprob - reference_logprob)
    if estimator == "k1":
        return KLEstimate(-x, torch.full_like(x, -sign))
    if estimator == "k2":
        return KLEstimate(0.5 * x * x, sign * x)
    if estimator == "k3":
        growth = torch.expm1(x)  # expm1(x) - x keeps the digits that exp(x) - 1 - x loses near x = 0
        return KLEstimate(growth - x, sign * growth)
    raise ValueError(f"estimator must be 'k1', 'k2' or 'k3', got {estimator!r}")


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
        nll = _masked(active, -logprob)
        loss = weight * nll
        metrics = _metrics("ce", active, loss, nll_sum=nll, entropy_sum=_masked(active, entropy))
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
        bonus = _masked(active, entropy)
        loss = -coefficient * bonus
        return ObjectiveRows(loss, torch.zeros_like(loss), -coefficient, _metrics("entropy", active, loss, entropy_sum=bonus))


@dataclass(frozen=True, kw_only=True)
class KLPenalty:
    """Penalty on the divergence from a reference policy: loss_i = kl_i * estimator(logprob_i, reference_logprob_i).

    On the policy's own samples "k3" is GRPO's estimator (arXiv:2402.03300, eq. 4); see `kl_estimate`.
    Streams: `kl`, the coefficient of each row (divided by the count), and `reference_logprob`.
    """

    estimator: Estimator = "k3"
    sampled_from: Literal["policy", "reference"] = "policy"
    pointwise: ClassVar[bool] = True
    streams: ClassVar[tuple[str, ...]] = ("kl", "reference_logprob")

    def __post_init__(self) -> None:
        kl_estimate(torch.zeros(0), torch.zeros(0), estimator=self.estimator, sampled_from=self.sampled_from)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        coefficient = streams["kl"]
        active = coefficient != 0
        difference = _masked(active, logprob - streams["reference_logprob"])
        estimate = kl_estimate(difference, torch.zeros_like(difference), estimator=self.estimator, sampled_from=self.sampled_from)
        loss = coefficient * estimate.value
        metrics = _metrics("kl", active, loss, **{f"{self.estimator}_sum": _masked(active, estimate.value)})
        return ObjectiveRows(loss, coefficient * estimate.dlogprob, None, metrics)


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
        loss = -advantage * _masked(active, logprob)
        metrics = _metrics("policy", active, loss, entropy_sum=_masked(active, entropy))
        result = ObjectiveRows(loss, -advantage, None, metrics)
        return _add(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result


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
        return ("advantage", "behaviour_logprob", "entropy") if self.entropy else ("advantage", "behaviour_logprob")

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        advantage = streams["advantage"]
        active = advantage != 0
        log_ratio = _masked(active, logprob - streams["behaviour_logprob"])  # masked first: 0 * exp(large) would be NaN
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
        metrics = _metrics(
            "policy", active, -surrogate,
            ratio_sum=_masked(active, ratio), ratio_max=_masked(active, ratio), clipped_sum=(active & ~passes).to(ratio.dtype),
            behaviour_kl_sum=torch.expm1(log_ratio) - log_ratio, entropy_sum=_masked(active, entropy),
        )
        result = ObjectiveRows(-surrogate, torch.where(passes, -unclipped, 0.0), None, metrics)
        return _add(result, EntropyBonus().rows(logprob, entropy, streams)) if self.entropy else result


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
        return _add(self._surrogate().rows(logprob, entropy, streams), KLPenalty().rows(logprob, entropy, streams))


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
            total = _add(total, objective.rows(logprob, entropy, streams))
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
    error = _masked(active, value - streams["value_target"])
    rows = 0.5 * coefficient * error * error
    seen = value.detach()
    metrics = _metrics("value", active, rows.detach(), error_squared_sum=error.detach() ** 2, value_sum=_masked(active, seen))
    return rows.sum(), metrics


def reduce_metrics(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One step's metrics from those of its micro-batches (or ranks): `_max` by maximum, all others by addition, then every `group/x_sum`
    becomes the mean `group/x` over the group's `group/rows`. Nothing is copied to the host.
    """
    total: dict[str, Tensor] = {}
    for part in parts:
        total = _merge(total, part)
    means: dict[str, Tensor] = {}
    for name, value in total.items():
        if name.endswith("_sum"):
            rows = total[name.rsplit("/", 1)[0] + "/rows"]
            means[name.removesuffix("_sum")] = value / rows.clamp(min=1)
        else:
            means[name] = value
    return means


def _merge(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    merged = dict(left)
    for name, value in right.items():
        if name not in merged:
            merged[name] = value
        else:
            merged[name] = torch.maximum(merged[name], value) if name.endswith("_max") else merged[name] + value
    return merged


def _add(left: ObjectiveRows, right: ObjectiveRows) -> ObjectiveRows:
    if left.dentropy is None or right.dentropy is None:
        dentropy = right.dentropy if left.dentropy is None else left.dentropy
    else:
        dentropy = left.dentropy + right.dentropy
    return ObjectiveRows(left.loss + right.loss, left.dlogprob + right.dlogprob, dentropy, _merge(left.metrics, right.metrics))


def _masked(active: Tensor, values: Tensor) -> Tensor:
    return torch.where(active, values, 0.0)


def _metrics(group: str, active: Tensor, loss: Tensor, **values: Tensor) -> dict[str, Tensor]:
    metrics = {f"{group}/loss": loss.sum(), f"{group}/rows": active.sum().to(loss.dtype)}
    for name, rows in values.items():
        metrics[f"{group}/{name}"] = torch.cat([rows.new_zeros(1), rows]).amax() if name.endswith("_max") else rows.sum()
    return metrics
