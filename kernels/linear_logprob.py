"""Log-probability of chosen tokens and entropy of their distributions, straight from hidden states: no [N, V] tensor is kept.

    z = hidden weight^T / temperature (illegal tokens -inf);  logprob = z_t - logsumexp(z);  entropy = -sum_v p_v log p_v

On a GPU both directions are Triton's (linear_logprob_triton.py). Elsewhere rows are taken in chunks. The backward recomputes a chunk's logits,
turns them into their gradient in place
    dz_v = (dlogprob (1[v = t] - p_v) - dentropy p_v (log p_v + entropy)) / temperature
and multiplies it onto hidden and weight, summing the latter over chunks in float32; in bfloat16 it is rounded for these products, as the gradients of
layers are. Cf. Wijmans et al., arXiv:2411.09009, without its sparsity.
"""

# N rows, D model width, V vocabulary, C rows of a chunk

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import CPU, cpu_slot, needs_grad, runs_triton
from paradigm.kernels.flags import reads_data
from paradigm.kernels.linear import ROW_MULTIPLE, exact_linear, input_gradient, weight_gradient
from paradigm.kernels.operators import is_traced, operator
from paradigm.kernels.support import Support, check_support, legal_tokens

_CHUNK_ELEMENTS = 1 << 20  # logits of a chunk: 4 MiB, about what a core's cache holds
_LEAST_CHUNK = 256  # rows, so that what is read and written for every chunk, all of the head and of its gradient, is little beside the products


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """The head's logits in float32: what the sampler draws from and the learner scores, row for row the same bits.

    On CUDA they are what linear_logprob_triton.py's tiles hold before the temperature: see linear_triton.py.

    Args:
        hidden: [N, D]. weight: [V, D], the same dtype; of 16-bit ones the sums are never rounded to 16 bits.
    Returns: float32 [N, V] (float64 for float64). Raises: ValueError if the shapes or dtypes disagree.
    """
    return exact_linear(hidden, weight, widen=True)


def operands(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """hidden and weight as `logits` takes them chunk by chunk: widened once where it would widen them for every chunk."""
    return (hidden, weight) if cpu_slot("linear", hidden) is not None else (hidden.to(wide_dtype(weight)), wide(weight))


def check_head(hidden: Tensor, weight: Tensor) -> None:
    """Raises ValueError unless they are [N, D] and [V, D] of one floating dtype on one device."""
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1] or hidden.dtype != weight.dtype:
        raise ValueError(
            f"hidden and weight must be [N, D] and [V, D] of one dtype, got {list(hidden.shape)} {hidden.dtype} "
            f"and {list(weight.shape)} {weight.dtype}"
        )
    check_floating(hidden=hidden)
    check_device("hidden", hidden, weight=weight)
    if weight.shape[0] == 0:
        raise ValueError("weight must have a row for each of at least one token, got 0 rows")


def check_rows(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None) -> None:
    """Raises ValueError for arguments that the log-prob kernels do not take."""
    check_head(hidden, weight)
    if targets.shape != hidden.shape[:1] or targets.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"targets must be int64 or int32 [{hidden.shape[0]}], got {targets.dtype} {list(targets.shape)}")
    check_device("hidden", hidden, targets=targets)
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if reads_data(hidden) and targets.numel() and not (int(targets.min()) >= 0 and int(targets.max()) < weight.shape[0]):
        raise ValueError(f"targets must be in [0, {weight.shape[0]}), got {int(targets.min())} to {int(targets.max())}")
    check_support(support, hidden, weight.shape[0])


def chunk_rows(vocabulary: int) -> int:
    """How many rows' logits fit a core's cache, if the vocabulary is not too large for that; a multiple of 16."""
    return max(_LEAST_CHUNK, min(4096, _CHUNK_ELEMENTS // vocabulary // ROW_MULTIPLE * ROW_MULTIPLE))


def chunks(num_rows: int, vocabulary: int) -> Iterator[slice]:
    """Ranges of `chunk_rows` rows."""
    size = chunk_rows(vocabulary)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def wide_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of logits, and of sums of gradients."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def wide(weight: Tensor) -> Tensor:
    """The head's weight in the dtype of logits."""
    return weight.to(wide_dtype(weight))


def row_statistics(z: Tensor, targets: Tensor, temperature: float, support: Support | None) -> tuple[Tensor, Tensor]:
    """(logprob [C], entropy [C]) of a chunk of logits [C, V]; support is already cut to the chunk's rows."""
    implementation = CPU.get("row_statistics") if z.is_cpu and z.dtype == torch.float32 else None
    if implementation is not None:
        return implementation(z, targets, temperature, support)
    return row_statistics_reference(z, targets, temperature, support)


def row_statistics_reference(z: Tensor, targets: Tensor, temperature: float, support: Support | None) -> tuple[Tensor, Tensor]:
    """`row_statistics` in plain torch."""
    logp = _masked_log_softmax(z, temperature, support)
    return logp.gather(1, targets.long()[:, None])[:, 0], _entropy(logp)


def logits_gradient(
    z: Tensor, targets: Tensor, temperature: float, support: Support | None, grad_logprob: Tensor, grad_entropy: Tensor | None
) -> Tensor:
    """Gradient by the undivided logits [C, V], given those by log-prob [C] and entropy [C] or None. May overwrite z."""
    implementation = CPU.get("logits_gradient") if z.is_cpu and z.dtype == torch.float32 else None
    if implementation is not None:
        return implementation(z, targets, temperature, support, grad_logprob, grad_entropy)
    logp = _masked_log_softmax(z, temperature, support)
    p = logp.exp()
    grad = -p * grad_logprob[:, None]
    grad.scatter_add_(1, targets.long()[:, None], grad_logprob[:, None].to(grad.dtype))
    if grad_entropy is not None:
        grad -= torch.where(p > 0, p * (logp + _entropy(logp)[:, None]), 0.0) * grad_entropy[:, None]
    return grad / temperature


def _masked_log_softmax(z: Tensor, temperature: float, support: Support | None) -> Tensor:
    z = z / temperature
    if support is not None:
        z = z.masked_fill(~legal_tokens(*support, z.shape[1]), -torch.inf)
    return torch.log_softmax(z, dim=1)


def _entropy(logp: Tensor) -> Tensor:
    return -(logp.exp() * logp.clamp(min=torch.finfo(logp.dtype).min)).sum(1)  # 0 log 0 = 0


def rows_of(support: Support | None, rows: slice) -> Support | None:
    return None if support is None else (support[0][rows], support[1])


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature, ids, table):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(hidden, weight, targets, ids, table)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return _forward(hidden, weight, targets, temperature, None if ids is None else (ids, table))

    @staticmethod
    def backward(ctx, grad_logprob, grad_entropy):  # type: ignore[no-untyped-def]
        hidden, weight, targets, ids, table = ctx.saved_tensors
        if grad_logprob is None and grad_entropy is None:
            return (None,) * 6
        if grad_logprob is None:
            grad_logprob = torch.zeros_like(grad_entropy)
        support = None if ids is None else (ids, table)
        wanted = ctx.needs_input_grad[:2]
        return *_backward(hidden, weight, targets, ctx.temperature, support, grad_logprob, grad_entropy, *wanted), None, None, None, None


class GradientSums:
    """Gradients of hidden [N, D] and weight [V, D], from one chunk of logits' gradients after another; the weight's in float32."""

    def __init__(self, hidden: Tensor, weight: Tensor, for_hidden: bool, for_weight: bool):
        dtype = weight.dtype if weight.dtype == torch.bfloat16 else wide_dtype(weight)
        self._hidden, self._weight = hidden.to(dtype), weight.to(dtype)
        self._grad_hidden = torch.empty_like(self._hidden, memory_format=torch.contiguous_format) if for_hidden else None
        self._grad_weight = torch.zeros(weight.shape, dtype=wide_dtype(weight), device=weight.device) if for_weight else None

    def add(self, rows: slice, grad_logits: Tensor) -> None:
        grad_logits = grad_logits.to(self._weight.dtype)
        if self._grad_hidden is not None:
            input_gradient(grad_logits, self._weight, out=self._grad_hidden[rows])
        if self._grad_weight is not None:
            weight_gradient(grad_logits, self._hidden[rows], into=self._grad_weight)

    def result(self, hidden_dtype: torch.dtype, weight_dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        grad_hidden = None if self._grad_hidden is None else self._grad_hidden.to(hidden_dtype)
        return grad_hidden, None if self._grad_weight is None else self._grad_weight.to(weight_dtype)


def _forward(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None) -> tuple[Tensor, Tensor]:
    if runs_triton(hidden):
        from paradigm.kernels.linear_logprob_triton import linear_logprob_forward  # Triton takes a second to import

        return linear_logprob_forward(hidden, weight, targets, temperature, support)
    logprob, entropy = (torch.empty(hidden.shape[0], dtype=wide_dtype(weight), device=hidden.device) for _ in range(2))
    hidden, weight = operands(hidden, weight)
    for rows in chunks(hidden.shape[0], weight.shape[0]):
        z = logits(hidden[rows], weight)
        logprob[rows], entropy[rows] = row_statistics(z, targets[rows], temperature, rows_of(support, rows))
    return logprob, entropy


def _backward(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, support: Support | None, grad_logprob: Tensor,
    grad_entropy: Tensor | None, for_hidden: bool, for_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    if runs_triton(hidden):
        from paradigm.kernels.linear_logprob_triton import linear_logprob_backward

        return linear_logprob_backward(hidden, weight, targets, temperature, support, grad_logprob, grad_entropy, for_hidden, for_weight)
    sums = GradientSums(hidden, weight, for_hidden, for_weight)
    fed, fed_weight = operands(hidden, weight)
    for rows in chunks(hidden.shape[0], weight.shape[0]):
        z = logits(fed[rows], fed_weight)
        dentropy = None if grad_entropy is None else grad_entropy[rows]
        sums.add(rows, logits_gradient(z, targets[rows], temperature, rows_of(support, rows), grad_logprob[rows], dentropy))
    return sums.result(hidden.dtype, weight.dtype)


def _run(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, ids: Tensor | None, table: Tensor | None
) -> tuple[Tensor, Tensor]:
    support = None if ids is None or table is None else (ids, table)
    check_rows(hidden, weight, targets, temperature, support)
    return _forward(hidden, weight, targets, temperature, support)


def _run_backward(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, ids: Tensor | None, table: Tensor | None, grad_logprob: Tensor,
    grad_entropy: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    support = None if ids is None or table is None else (ids, table)
    grads = _backward(hidden, weight, targets, temperature, support, grad_logprob, grad_entropy, True, True)
    assert grads[0] is not None and grads[1] is not None
    return grads[0], grads[1]


def _fake(hidden, weight, targets, temperature, ids, table):  # type: ignore[no-untyped-def]
    shape = hidden.shape[:1]
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return hidden.new_empty(shape, dtype=dtype), hidden.new_empty(shape, dtype=dtype)


def _keep_inputs(ctx, inputs, output):  # type: ignore[no-untyped-def]
    hidden, weight, targets, ctx.temperature, ids, table = inputs
    ctx.save_for_backward(hidden, weight, targets, ids, table)


def _gradients(ctx, grad_logprob, grad_entropy):  # type: ignore[no-untyped-def]
    hidden, weight, targets, ids, table = ctx.saved_tensors
    grads = _backward_operator(hidden, weight, targets, ctx.temperature, ids, table, grad_logprob, grad_entropy)
    return *grads, None, None, None, None


_operator = operator("linear_logprob", _run, _fake)
_backward_operator = operator(
    "linear_logprob_backward", _run_backward, lambda hidden, weight, *_: (hidden.new_empty(hidden.shape), weight.new_empty(weight.shape))
)
_operator.register_autograd(_gradients, setup_context=_keep_inputs)


def linear_logprob(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, support: Support | None = None
) -> tuple[Tensor, Tensor]:
    """Log-prob of each row's target, and entropy, of softmax(hidden weight^T / temperature) over the row's legal tokens.

    Args:
        hidden: [N, D]. weight: [V, D], the same dtype.
        targets: int64 or int32 [N], in [0, V). An illegal target's log-prob is -inf. On a GPU, which nothing waits for, a target outside
            [0, V) makes its row's results and gradients NaN, and `check_flags` raises: see kernels/flags.py.
        temperature: > 0.
        support: None, or (row ids int32 [N], table int32 or uint32 [S, ceil(V / 32)]): see kernels/support.py.
    Returns: (logprob, entropy), float32 [N] each, in nats, differentiable in hidden and weight (float64 for float64 input).
    Raises: ValueError if shapes, dtypes or targets are wrong.
    """
    ids, table = support if support is not None else (None, None)
    if is_traced():
        return _operator(hidden, weight, targets, float(temperature), ids, table)
    check_rows(hidden, weight, targets, temperature, support)
    if needs_grad(hidden, weight):
        return _LinearLogprob.apply(hidden, weight, targets, float(temperature), ids, table)
    return _forward(hidden, weight, targets, float(temperature), support)


def linear_logprob_reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, support: Support | None = None
) -> tuple[Tensor, Tensor]:
    """`linear_logprob` in plain torch, by way of the whole [N, V] matrix of logits."""
    check_rows(hidden, weight, targets, temperature, support)
    logp = _masked_log_softmax(F.linear(hidden.to(wide(weight).dtype), wide(weight)), temperature, support)
    terms = torch.where(torch.isfinite(logp), logp.exp() * logp.masked_fill(~torch.isfinite(logp), 0.0), 0.0)
    return logp.gather(1, targets.long()[:, None])[:, 0], -terms.sum(1)
