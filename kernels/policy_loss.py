"""The loss of a pointwise objective and its gradients in one pass over the logits: what `linear_logprob` takes two passes for.

For each chunk of rows: logits, log-prob and entropy, `objective.rows` for the rows' losses and their derivatives by log-prob and entropy,
and at once the gradient by the logits (see linear_logprob.py), multiplied onto hidden and weight. With a teacher's logits t, each row's
loss grows by streams["divergence"] times a full Kullback-Leibler divergence over the row's legal tokens, p the policy and q the teacher:
    forward   sum_v q_v (log q_v - log p_v),  gradient by z:  p - q
    reverse   sum_v p_v (log p_v - log q_v),  gradient by z:  p (log p - log q - divergence)
both at the same temperature. The loss is the plain sum over rows: whoever packed the streams has divided. On a GPU see policy_loss_triton.py.
"""

# N rows, D model width, V vocabulary, C rows of a chunk

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from paradigm.kernels.checks import check_device
from paradigm.kernels.cpu_slots import needs_grad, runs_triton
from paradigm.kernels.linear_logprob import (
    GradientSums,
    check_rows,
    chunks,
    legal_tokens,
    linear_logprob_reference,
    logits,
    logits_gradient,
    operands,
    row_statistics,
    rows_of,
    wide_dtype,
)
from paradigm.kernels.operators import is_traced, operator
from paradigm.kernels.support import Support

Divergence = Literal["forward", "reverse"]


class PointwiseObjective(Protocol):
    """Per-row losses that depend on the row's own log-prob, entropy and constants."""

    streams: tuple[str, ...]

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> Any:
        """An object with loss [N], dlogprob [N] and dentropy ([N] or None): the derivatives of the summed loss."""


class _PolicyLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, run):  # type: ignore[no-untyped-def]
        loss, logprob, entropy, grad_hidden, grad_weight = run(ctx.needs_input_grad[0], ctx.needs_input_grad[1])
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(logprob, entropy)
        return loss, logprob, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
        grads = (None if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return *grads, None


def policy_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, streams: Mapping[str, Tensor], *, objective: PointwiseObjective,
    temperature: float = 1.0, support: Support | None = None, teacher: tuple[Tensor, Tensor] | None = None, divergence: Divergence = "forward",
) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss of a pointwise objective over rows, with gradients to hidden and weight computed in the same pass.

    Args:
        hidden: [N, D]. weight: [V, D], the same dtype. targets: int64 or int32 [N], as in `linear_logprob`.
        streams: float32 [N] by name: all that `objective.streams` names, and "divergence" with a teacher.
        objective: see PointwiseObjective.
        temperature, support: as in `linear_logprob`.
        teacher: None, or (hidden [N, D'], weight [V, D']); no gradient flows to it.
        divergence: "forward" is KL(teacher || policy), "reverse" KL(policy || teacher).
    Returns: (loss, logprob, entropy): float32 0-dim, differentiable once in hidden and weight; float32 [N], detached.
    Raises: ValueError if shapes, dtypes, targets or streams are wrong.
    """
    if is_traced():
        _remember(objective)
        constants = [x if x is None else x.detach() for x in (*(support or (None, None)), *(teacher or (None, None)))]
        wanted = [needs_grad(hidden), needs_grad(weight)]
        detached = [stream.detach() for stream in streams.values()]
        loss, logprob, entropy, _, _ = _operator(
            hidden, weight, targets, detached, ",".join(streams), id(objective), float(temperature), *constants, divergence, *wanted
        )
        return loss, logprob.detach(), entropy.detach()
    check_rows(hidden, weight, targets, temperature, support)
    _check_streams(streams, objective, hidden, weight.shape[0], teacher, divergence)

    def run(for_hidden: bool, for_weight: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        return _run(
            hidden.detach(), weight.detach(), targets, streams, objective, float(temperature), support, teacher, divergence, for_hidden, for_weight
        )

    if needs_grad(hidden, weight):
        return _PolicyLoss.apply(hidden, weight, run)
    return run(False, False)[:3]


_OBJECTIVES: dict[int, PointwiseObjective] = {}  # those of compiled calls, for good: an operator takes numbers and tensors only


def _remember(objective: PointwiseObjective) -> None:
    """Called as a graph is made; its guard on the objective's id makes another graph for another objective."""
    _OBJECTIVES[id(objective)] = objective


_remember._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler.assume_constant_result, which would import the compiler


def _run_operator(
    hidden: Tensor, weight: Tensor, targets: Tensor, streams: list[Tensor], names: str, objective: int, temperature: float, ids: Tensor | None,
    table: Tensor | None, teacher_hidden: Tensor | None, teacher_weight: Tensor | None, divergence: str, for_hidden: bool, for_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(loss, logprob, entropy, gradient by hidden, by weight); an empty tensor for a gradient that is not wanted."""
    support = None if ids is None or table is None else (ids, table)
    teacher = None if teacher_hidden is None or teacher_weight is None else (teacher_hidden, teacher_weight)
    by_name, of_rows = dict(zip(names.split(","), streams)), _OBJECTIVES[objective]
    check_rows(hidden, weight, targets, temperature, support)
    _check_streams(by_name, of_rows, hidden, weight.shape[0], teacher, divergence)
    *results, grad_hidden, grad_weight = _run(
        hidden, weight, targets, by_name, of_rows, temperature, support, teacher, divergence, for_hidden, for_weight
    )
    grads = (hidden.new_empty(0) if grad is None else grad for grad in (grad_hidden, grad_weight))
    return *results, *grads  # type: ignore[return-value]


def _fake(hidden, weight, targets, streams, *rest):  # type: ignore[no-untyped-def]
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    of_rows = [hidden.new_empty(shape, dtype=dtype) for shape in ((), hidden.shape[:1], hidden.shape[:1])]
    return *of_rows, *(x.new_empty(x.shape if wanted else 0) for x, wanted in zip((hidden, weight), rest[-2:]))


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*output[3:])
    ctx.wanted, ctx.num_streams = inputs[-2:], len(inputs[3])


def _gradients(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    grads = (grad * grad_loss.to(grad.dtype) if wanted else None for grad, wanted in zip(ctx.saved_tensors, ctx.wanted))
    return *grads, None, [None] * ctx.num_streams, *[None] * 10


_operator = operator("policy_loss", _run_operator, _fake)
_operator.register_autograd(_gradients, setup_context=_keep)


def _check_streams(
    streams: Mapping[str, Tensor], objective: PointwiseObjective, hidden: Tensor, vocabulary: int,
    teacher: tuple[Tensor, Tensor] | None, divergence: str,
) -> None:
    num_rows = hidden.shape[0]
    if divergence not in ("forward", "reverse"):
        raise ValueError(f'divergence must be "forward" or "reverse", got {divergence!r}')
    for name in (*objective.streams, *(("divergence",) if teacher is not None else ())):
        if name not in streams:
            raise ValueError(f"streams must hold {name!r}, got {sorted(streams)}")
    for name, stream in streams.items():
        if stream.shape != (num_rows,):
            raise ValueError(f"streams[{name!r}] must have shape [{num_rows}], got {list(stream.shape)}")
        check_device("hidden", hidden, **{f"streams[{name!r}]": stream})
    if teacher is not None and (teacher[0].shape[0] != num_rows or teacher[1].shape[0] != vocabulary or teacher[0].shape[1] != teacher[1].shape[1]):
        raise ValueError(f"teacher must be ([{num_rows}, D], [{vocabulary}, D]), got {list(teacher[0].shape)} and {list(teacher[1].shape)}")
    if teacher is not None:
        check_device("hidden", hidden, **{"teacher's hidden": teacher[0], "teacher's weight": teacher[1]})
    if teacher is not None and (teacher[0].dtype != teacher[1].dtype or not teacher[0].is_floating_point()):
        raise ValueError(f"teacher must be of one floating dtype, got {teacher[0].dtype} and {teacher[1].dtype}")


def _run(hidden: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    if runs_triton(hidden):
        from paradigm.kernels.policy_loss_triton import run  # Triton takes a second to import

        return run(hidden, *arguments)
    return _run_in_torch(hidden, *arguments)


@torch.no_grad()
def _run_in_torch(
    hidden: Tensor, weight: Tensor, targets: Tensor, streams: Mapping[str, Tensor], objective: PointwiseObjective, temperature: float,
    support: Support | None, teacher: tuple[Tensor, Tensor] | None, divergence: str, for_hidden: bool, for_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    dtype = wide_dtype(weight)
    fed = operands(hidden, weight)
    teacher_fed = None if teacher is None else operands(teacher[0].detach(), teacher[1].detach())
    loss = torch.zeros((), dtype=dtype, device=weight.device)
    logprob, entropy = (torch.empty(hidden.shape[0], dtype=dtype, device=weight.device) for _ in range(2))
    sums = GradientSums(hidden, weight, for_hidden, for_weight)
    for rows in chunks(hidden.shape[0], weight.shape[0]):
        z = logits(fed[0][rows], fed[1])
        legal = rows_of(support, rows)
        logprob[rows], entropy[rows] = row_statistics(z, targets[rows], temperature, legal)
        terms = objective.rows(logprob[rows], entropy[rows], {name: stream[rows] for name, stream in streams.items()})
        loss += terms.loss.sum()
        extra = None
        if teacher_fed is not None:
            teacher_z = logits(teacher_fed[0][rows], teacher_fed[1]).to(dtype)
            rows_divergence, extra = _divergence(z, teacher_z, temperature, legal, divergence)
            coefficient = streams["divergence"][rows]
            loss += (coefficient * rows_divergence).sum()
            extra *= (coefficient / temperature)[:, None]
        if for_hidden or for_weight:
            grad_logits = logits_gradient(z, targets[rows], temperature, legal, terms.dlogprob, terms.dentropy)
            sums.add(rows, grad_logits if extra is None else grad_logits + extra)
    return loss, logprob, entropy, *sums.result(hidden.dtype, weight.dtype)


def _divergence(z: Tensor, teacher_z: Tensor, temperature: float, support: Support | None, divergence: str) -> tuple[Tensor, Tensor]:
    """(divergence [C], its gradient by z / temperature [C, V])."""
    logs = []
    for scores in (z, teacher_z):
        scores = scores / temperature
        if support is not None:
            scores = scores.masked_fill(~legal_tokens(*support, z.shape[1]), -torch.inf)
        logs.append(torch.log_softmax(scores, dim=1).clamp(min=torch.finfo(z.dtype).min))  # 0 (log 0 - log 0) = 0
    log_p, log_q = logs
    p, q = log_p.exp(), log_q.exp()
    if divergence == "forward":
        return (q * (log_q - log_p)).sum(1), p - q
    rows = (p * (log_p - log_q)).sum(1)
    return rows, p * (log_p - log_q - rows[:, None])


def policy_loss_reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, streams: Mapping[str, Tensor], *, objective: PointwiseObjective,
    temperature: float = 1.0, support: Support | None = None, teacher: tuple[Tensor, Tensor] | None = None, divergence: Divergence = "forward",
) -> tuple[Tensor, Tensor, Tensor]:
    """`policy_loss` in plain torch: two passes, the whole [N, V] matrix of logits, and autograd."""
    check_rows(hidden, weight, targets, temperature, support)
    _check_streams(streams, objective, hidden, weight.shape[0], teacher, divergence)
    logprob, entropy = linear_logprob_reference(hidden, weight, targets, temperature=temperature, support=support)
    with torch.no_grad():
        terms = objective.rows(logprob, entropy, streams)
    surrogate = (terms.dlogprob * logprob).sum()
    if terms.dentropy is not None:
        surrogate = surrogate + (terms.dentropy * entropy).sum()
    loss = terms.loss.sum() + surrogate - surrogate.detach()
    if teacher is not None:
        dtype = wide_dtype(weight)
        teacher_z = teacher[0].detach().to(dtype) @ teacher[1].detach().to(dtype).t()
        rows, _ = _divergence(hidden.to(dtype) @ weight.to(dtype).t(), teacher_z, temperature, support, divergence)
        loss = loss + (streams["divergence"] * rows).sum()
    return loss, logprob.detach(), entropy.detach()
