"""The loss of one packed batch under an objective, and its gradient: what the learner sums.

    pointwise   one pass over the head, `kernels.policy_loss`
    otherwise   log-probs and a head's outputs  ->  the objective's coefficients, detached  ->  backward from them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from paradigm.batch import PackedBatch
from paradigm.kernels.linear_logprob import linear_logprob
from paradigm.kernels.policy_loss import policy_loss
from paradigm.objective import value_loss
from paradigm.objective_rows import Objective, SequenceObjective, check_streams
from paradigm.sharding import within
from paradigm.timeline import span

__all__ = ["backward"]

# T input tokens, N prediction rows, B documents, D model width

Roots = list[tuple[Tensor, Tensor]]
"""Differentiable tensors, each with the derivative of the loss by it."""


def backward(
    policy: Any, batch: PackedBatch, objective: Objective | SequenceObjective, *, teacher: nn.Module | None = None,
    divergence: Literal["forward", "reverse"] = "forward",
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Adds the gradient of a batch's loss to the policy's parameters. Arguments, metrics and errors: see `Learner.forward_backward`.

    Returns: the loss, 0-dim and detached; metrics of the objective and of the value loss.
    """
    check_streams(objective, batch.streams)
    if teacher is None and "divergence" in objective.streams:
        raise ValueError(f"teacher must be given with {type(objective).__name__}, whose stream 'divergence' weighs the divergence from it, got None")
    with span("forward", "update"):
        total, metrics, roots = within(policy, lambda: _losses(policy, batch, objective, teacher, divergence))
    reached = [(root, gradient) for root, gradient in roots if root.requires_grad]  # not all are where only a value head is trained
    with span("backward", "update"):
        torch.autograd.backward([root for root, _ in reached], [gradient for _, gradient in reached])
    return total, metrics


def _losses(
    policy: Any, batch: PackedBatch, objective: Objective | SequenceObjective, teacher: nn.Module | None, divergence: Literal["forward", "reverse"]
) -> tuple[Tensor, dict[str, Tensor], Roots]:
    weight = policy.head_weight
    if batch.tokens.device != weight.device:
        batch = batch.to(weight.device)
    states = policy(batch.tokens, batch.layout)
    hidden = states.index_select(0, batch.position)
    support = None if batch.support is None else (batch.support, batch.support_table)
    options: dict[str, Any] = {"temperature": batch.temperature, "support": support}
    if objective.pointwise:
        if teacher is not None:
            with torch.no_grad():
                teacher_hidden = teacher(batch.tokens, batch.layout).index_select(0, batch.position)
            options |= {"teacher": (teacher_hidden, teacher.head_weight), "divergence": divergence}
        pointwise = cast(Any, objective)
        loss, logprob, entropy = policy_loss(hidden, weight, batch.target, batch.streams, objective=pointwise, **options)
        with torch.no_grad():
            metrics = pointwise.rows(logprob, entropy, batch.streams).metrics
        roots: Roots = [(loss, torch.ones_like(loss))]
    else:
        if teacher is not None:
            raise ValueError(f"teacher must be None with {type(objective).__name__}, which is not pointwise")
        loss, metrics, roots = _two_pass(policy, batch, cast(SequenceObjective, objective), states, hidden, options)
    total = loss.detach()
    if "value_target" in batch.streams:
        head_loss, head_metrics = value_loss(_head(policy, "value", hidden, "the stream 'value_target'"), batch.streams)
        total, metrics = total + head_loss.detach(), {**metrics, **head_metrics}
        roots.append((head_loss, torch.ones_like(head_loss)))
    return total, metrics, roots


def _two_pass(
    policy: Any, batch: PackedBatch, objective: SequenceObjective, states: Tensor, hidden: Tensor, options: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Tensor], Roots]:
    logprob, entropy = linear_logprob(hidden, policy.head_weight, batch.target, **options)
    streams, roots = batch.streams, []
    head = getattr(objective, "head", None)
    if head is not None:
        at_ends = cast(Any, objective).head_at == "ends"
        places = states.index_select(0, batch.layout.cu_seqlens[1:] - 1) if at_ends else hidden
        outputs = _head(policy, head, places, type(objective).__name__)
        streams = {**streams, "head": outputs.detach()}
    with torch.no_grad():
        terms = objective.coefficients(logprob.detach(), entropy.detach(), streams, batch)
    roots.append((logprob, terms.dlogprob))
    if terms.dentropy is not None:
        roots.append((entropy, terms.dentropy))
    if head is not None and terms.dhead is not None:
        roots.append((outputs, terms.dhead))
    return terms.loss.sum(), terms.metrics, roots


def _head(policy: Any, name: str, hidden: Tensor, user: str) -> Tensor:
    heads = getattr(policy, "heads", None)
    if heads is None or name not in heads:
        raise ValueError(f"policy must have heads[{name!r}] for {user}, got {'no heads' if heads is None else list(heads)}")
    return heads[name](hidden).reshape(-1).float()
