"""y = x W^T + b with every row a pure function of that row alone: the product that exact mode is built on.

Two departures from F.linear. Row counts are padded to a multiple of 16, since BLAS libraries treat the last few rows by other code.
And a long inner dimension is cut into slices whose products are added in order, since MKL (fp32) and oneDNN (bf16) otherwise split it
by a rule that looks at the number of rows and threads. Measured with torch 2.13: fp32 differs from K = 1024 on, bf16 from K = 512 on.
"""

# T rows, K inputs, N outputs

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.cpu_slots import needs_grad

ROW_MULTIPLE = 16
_MAX_SLICE = {torch.float32: 768, torch.float64: 768, torch.bfloat16: 384, torch.float16: 384}


def exact_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer whose rows do not depend, bitwise, on how many other rows there are, on their order, or on the number of threads.

    Args:
        x: [T, K], any floating dtype. T that is no multiple of 16 costs a copy: pad once per forward where that matters.
        weight: [N, K], the same dtype.
        bias: [N] or None.
    Returns: [T, N] in x's dtype. Raises: ValueError if the shapes or dtypes disagree.
    """
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"weight must have shape [N, {x.shape[-1]}] for x of shape {list(x.shape)}, got {list(weight.shape)}")
    if x.dtype != weight.dtype:
        raise ValueError(f"weight must have x's dtype {x.dtype}, got {weight.dtype}")
    rows = x.shape[0]
    tail = -rows % ROW_MULTIPLE
    if tail:
        x = F.pad(x, (0, 0, 0, tail))
    if x.shape[1] <= _MAX_SLICE.get(x.dtype, 384):
        y = F.linear(x, weight, bias)
    elif needs_grad(x, weight, bias):
        y = _SlicedLinear.apply(x, weight, bias)
    else:
        y = _sliced(x, weight, bias)
    return y[:rows] if tail else y


def _sliced(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    width = x.shape[1]
    count = -(-width // _MAX_SLICE.get(x.dtype, 384))
    step = -(-width // (64 * count)) * 64  # whole vectors in every slice but the last
    y = F.linear(x[:, :step], weight[:, :step], bias)
    if x.dtype in (torch.bfloat16, torch.float16):
        y = y.float()  # fp32: adding slices in bf16 would round each sum
    for start in range(step, width, step):
        y += F.linear(x[:, start : start + step], weight[:, start : start + step])
    return y.to(x.dtype)


class _SlicedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _sliced(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, grad.sum(0) if ctx.has_bias else None
