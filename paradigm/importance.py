"""Importance correction of rollouts that another policy sampled: an older version of this one (staleness), or the same weights under other
arithmetic (mismatch of a fast sampler).

    w_i = pi(target_i) / mu(target_i) of a token, or its product over the sequence, pi the learner's own log-prob before the update, mu the sampler's
    truncate   min(w, high)                       (TIS; Ionides, 2008; Yao et al., "Your efficient RL framework secretly brings you off-policy", 2025)
    mask       w where low <= w <= high, else 0   (token: IcePop, Ling Team, arXiv:2510.18855; sequence: masked importance sampling)

The weight multiplies the advantage and carries no gradient. Above it PPO's ratio is that of the current policy to pi, not to mu (decoupled PPO,
Hilton et al., arXiv:2110.00641): `corrected` puts both into a batch. In exact mode at zero staleness every weight is 1, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from paradigm.batch import PackedBatch
from paradigm.kl import kl_estimate
from paradigm.objective_rows import masked, row_metrics

__all__ = ["ImportanceCorrection", "corrected", "importance_weights", "mismatch"]

# N prediction rows, B documents


@dataclass(frozen=True, kw_only=True)
class ImportanceCorrection:
    """How ratios become weights.

    kind: "truncate" or "mask". level: "token", or "sequence", whose ratio is the product over the rows of a trajectory.
    low, high: the bounds, 0 <= low <= 1 <= high; `low` is only for "mask".
    """

    kind: Literal["truncate", "mask"] = "truncate"
    level: Literal["token", "sequence"] = "token"
    low: float = 0.0
    high: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in ("truncate", "mask"):
            raise ValueError(f"kind must be 'truncate' or 'mask', got {self.kind!r}")
        if self.level not in ("token", "sequence"):
            raise ValueError(f"level must be 'token' or 'sequence', got {self.level!r}")
        if not 0 <= self.low <= 1:
            raise ValueError(f"low must be in [0, 1], got {self.low}")
        if self.low > 0 and self.kind == "truncate":
            raise ValueError(f"low must be 0 with kind 'truncate', which cuts large weights only, got {self.low}")
        if not self.high >= 1:
            raise ValueError(f"high must be >= 1, got {self.high}")


def importance_weights(logprob: Tensor, behaviour_logprob: Tensor, document: Tensor, num_documents: int, correction: ImportanceCorrection) -> Tensor:
    """The weight of each row.

    Args:
        logprob, behaviour_logprob: float [N], of the target under the learner's policy and under the sampler's.
        document: int64 [N], which of `num_documents` sequences each row belongs to.
    Returns: float [N], without gradient.
    """
    return _bounded(_ratios(logprob, behaviour_logprob, document, num_documents, correction), correction)


def _ratios(logprob: Tensor, behaviour_logprob: Tensor, document: Tensor, num_documents: int, correction: ImportanceCorrection) -> Tensor:
    log_ratio = (logprob - behaviour_logprob).detach()
    if correction.level == "sequence":
        log_ratio = log_ratio.new_zeros(num_documents).index_add(0, document, log_ratio)[document]
    return log_ratio.exp()


def _bounded(ratio: Tensor, correction: ImportanceCorrection) -> Tensor:
    if correction.kind == "truncate":
        return ratio.clamp(max=correction.high)
    return torch.where((ratio >= correction.low) & (ratio <= correction.high), ratio, 0.0)


def mismatch(batch: PackedBatch, logprob: Tensor) -> dict[str, Tensor]:
    """How far the learner's log-probs are from those that the sampler recorded.

    Args:
        batch: with the stream `behaviour_logprob` (the sampler's).
        logprob: float32 [N], the learner's log-probs before any update (`Policy.log_probs`).
    Returns: metrics, sums over all rows: mismatch/distance, of |logprob - behaviour_logprob|, its maximum, and mismatch/k3, the K3 estimate of
        KL(sampler || learner). All are 0 where the sampler is exact and nothing is stale.
    """
    behaviour = batch.streams["behaviour_logprob"]
    distance = (logprob - behaviour).abs()
    # float64: the square of a difference of rounding is below what float32 keeps of expm1(x) - x
    k3 = kl_estimate(logprob.double(), behaviour.double(), sampled_from="reference").value
    return {
        "mismatch/rows": distance.new_full((), batch.num_rows), "mismatch/distance_sum": distance.sum(),
        "mismatch/distance_max": torch.cat([distance.new_zeros(1), distance]).amax(),
        "mismatch/k3_sum": k3.sum().to(distance.dtype),
    }  # fmt: skip


def corrected(batch: PackedBatch, logprob: Tensor, correction: ImportanceCorrection) -> tuple[PackedBatch, dict[str, Tensor]]:
    """A batch whose `advantage` carries importance weights, and whose `behaviour_logprob` is the learner's own.

    Args:
        batch: with the streams `advantage` and `behaviour_logprob` (the sampler's).
        logprob: float32 [N], the learner's log-probs before any update (`Policy.log_probs`).
    Returns: the batch; and metrics, sums over rows: importance/weight, its maximum, and the share of rows that were truncated or masked.
    Raises: ValueError if the batch has no `advantage`.
    """
    if "advantage" not in batch.streams:
        raise ValueError(f"batch must have the stream 'advantage' for an importance correction, got {sorted(batch.streams)}")
    streams = dict(batch.streams)
    advantage, behaviour = streams["advantage"], streams["behaviour_logprob"]
    active = advantage != 0
    own = torch.where(active, logprob, behaviour)  # rows without advantage take no part in a sequence's ratio
    ratio = _ratios(own, behaviour, batch.document, batch.num_sequences, correction)
    weight = _bounded(ratio, correction)
    streams |= {"advantage": advantage * weight, "behaviour_logprob": logprob}
    metrics = row_metrics(
        "importance", active, torch.zeros_like(weight),
        weight_sum=masked(active, weight), weight_max=masked(active, ratio), cut_sum=(active & (weight != ratio)).to(weight.dtype),
    )  # fmt: skip
    return replace(batch, streams=streams), metrics
