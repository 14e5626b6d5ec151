"""Divergence from a reference policy: estimates from sampled tokens, as a penalty in the loss (in the reward: `rewards.penalized_rewards`).

The *full* divergence, a sum over the vocabulary, forward or reverse, is the `teacher` of `kernels.policy_loss`, with the reference as teacher.
How the coefficient decays over updates is an `optimizer.Schedule` times its base value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from paradigm.objective_rows import ObjectiveRows, masked, row_metrics

__all__ = ["Divergence", "Estimator", "KLEstimate", "KLPenalty", "kl_estimate"]

# N prediction rows
Estimator = Literal["k1", "k2", "k3"]


class KLEstimate(NamedTuple):
    """A KL estimator's `value` [N] and its derivative by the policy's log-prob, `dlogprob` [N]."""

    value: Tensor
    dlogprob: Tensor


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
        difference = masked(active, logprob - streams["reference_logprob"])
        estimate = kl_estimate(difference, torch.zeros_like(difference), estimator=self.estimator, sampled_from=self.sampled_from)
        loss = coefficient * estimate.value
        metrics = row_metrics("kl", active, loss, **{f"{self.estimator}_sum": masked(active, estimate.value)})
        return ObjectiveRows(loss, coefficient * estimate.dlogprob, None, metrics)


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """No loss of its own: that of the rows is all in the full divergence from a teacher, which `kernels.policy_loss` adds,

        loss_i = divergence_i KL(q || p) or divergence_i KL(p || q) over the vocabulary, p the policy and q the teacher,

    and in that of the value head, where the batch has one. On the policy's own rollouts and with divergence="reverse" it is on-policy
    distillation (Agarwal et al., arXiv:2306.13649, with the reverse divergence); with "forward" and the policy as it was before as the
    teacher it is the auxiliary phase of PPG (Cobbe et al., arXiv:2009.04416, section 2.1), beta_clone being the coefficient.

    Streams: `divergence`, the coefficient of each row (divided by the count).
    """

    pointwise: ClassVar[bool] = True
    streams: ClassVar[tuple[str, ...]] = ("divergence",)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        active = streams["divergence"] != 0
        zero = torch.zeros_like(logprob)
        return ObjectiveRows(zero, zero, None, row_metrics("divergence", active, zero, entropy_sum=masked(active, entropy)))
