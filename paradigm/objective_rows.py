"""What an objective is: the protocols, what one makes of the rows of a batch, and how losses, derivatives and metrics add up.

Metrics are 0-dim sums named `group/name`: those ending in `_max` combine by maximum, all others by addition (`reduce_metrics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "HeadObjective", "Objective", "ObjectiveRows", "SequenceObjective", "add_rows", "check_streams", "masked", "merge_metrics", "reduce_metrics",
    "row_metrics",
]

# N prediction rows, B documents


class ObjectiveRows(NamedTuple):
    """What an objective makes of N rows: `loss` [N], its derivatives `dlogprob` [N] and `dentropy` [N] (None: zero), 0-dim metrics, and of a
    `HeadObjective` the derivative by the head's outputs, `dhead` [N] or [B].
    """

    loss: Tensor
    dlogprob: Tensor
    dentropy: Tensor | None
    metrics: dict[str, Tensor]
    dhead: Tensor | None = None


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


@runtime_checkable
class HeadObjective(SequenceObjective, Protocol):
    """A sequence objective that also judges by, and trains, a scalar head of the policy: it finds the head's detached outputs as the stream
    `head`, and returns `dhead`.

    head: the head's name. head_at: "rows", one output a prediction row [N]; "ends", one a document, at its last token [B].
    """

    head: ClassVar[str]
    head_at: ClassVar[Literal["rows", "ends"]]


def check_streams(objective: Objective | SequenceObjective, streams: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming what is missing, unless `streams` holds every stream that `objective` reads."""
    missing = [name for name in objective.streams if name not in streams]
    if missing:
        raise ValueError(
            f"{type(objective).__name__} needs the streams {list(objective.streams)}; the batch lacks {missing} and has {sorted(streams)}: "
            f"pass them to PackedBatch.pack(trajectories, max_tokens, {missing[0]}=...)"
        )


def reduce_metrics(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One step's metrics from those of its micro-batches (or ranks): `_max` by maximum, all others by addition, then every `group/x_sum`
    becomes the mean `group/x` over the group's `group/rows`. Nothing is copied to the host.
    """
    total: dict[str, Tensor] = {}
    for part in parts:
        total = merge_metrics(total, part)
    means: dict[str, Tensor] = {}
    for name, value in total.items():
        if name.endswith("_sum"):
            rows = total[name.rsplit("/", 1)[0] + "/rows"]
            means[name.removesuffix("_sum")] = value / rows.clamp(min=1)
        else:
            means[name] = value
    return means


def merge_metrics(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The metrics of two sets of rows as one's: `_max` by maximum, all others by addition."""
    merged = dict(left)
    for name, value in right.items():
        if name not in merged:
            merged[name] = value
        else:
            merged[name] = torch.maximum(merged[name], value) if name.endswith("_max") else merged[name] + value
    return merged


def add_rows(left: ObjectiveRows, right: ObjectiveRows) -> ObjectiveRows:
    """The sum of two objectives over the same rows."""
    if left.dentropy is None or right.dentropy is None:
        dentropy = right.dentropy if left.dentropy is None else left.dentropy
    else:
        dentropy = left.dentropy + right.dentropy
    return ObjectiveRows(left.loss + right.loss, left.dlogprob + right.dlogprob, dentropy, merge_metrics(left.metrics, right.metrics))


def masked(active: Tensor, values: Tensor) -> Tensor:
    """`values` where `active`, else 0: not a product, since off its rows a stream may hold infinities."""
    return torch.where(active, values, 0.0)


def row_metrics(group: str, active: Tensor, loss: Tensor, **values: Tensor) -> dict[str, Tensor]:
    """An objective's metrics: the loss, the number of active rows, and each of `values` [N] summed (the maximum, where it ends in `_max`)."""
    metrics = {f"{group}/loss": loss.sum(), f"{group}/rows": active.sum().to(loss.dtype)}
    for name, rows in values.items():
        metrics[f"{group}/{name}"] = torch.cat([rows.new_zeros(1), rows]).amax() if name.endswith("_max") else rows.sum()
    return metrics
