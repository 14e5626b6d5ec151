"""y = x W^T + b with every row a pure function of that row alone: the product that exact mode is built on.

On the CPU in float32 and bfloat16 it is the C++ core's (csrc/include/paradigm/cpu_linear.h), whose sums have an order of their own; on CUDA in
float32, bfloat16 and float16 it is Triton's (linear_triton.py; not yet checked on a GPU), backward apart, which is torch's, and on CPUs with
AVX-512 in float32, or with its dot products of bfloat16 pairs in that, the core's.
Elsewhere it is torch's with two departures. Row counts are padded to a multiple of 16, since BLAS libraries treat the last few rows by
other code. And a long inner dimension is cut into slices whose products are added in order, since MKL (fp32) and oneDNN (bf16)
otherwise split it by a rule that looks at the number of rows and threads. Measured with torch 2.13: fp32 differs from K = 1024 on,
bf16 from K = 512 on.
"""

# T rows, K inputs, N outputs

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.checks import check_device, check_floating
from paradigm.kernels.cpu_slots import CPU, cpu_slot, needs_grad, runs_triton
from paradigm.kernels.operators import is_traced, operator

ROW_MULTIPLE = 16
_MAX_SLICE = {torch.float32: 768, torch.float64: 768, torch.bfloat16: 384, torch.float16: 384}


def exact_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, widen: bool = False) -> Tensor:
    """A linear layer whose rows do not depend, bitwise, on how many other rows there are, on their order, or on the number of threads.

    Args:
        x: [T, K], any floating dtype.
        weight: [N, K], the same dtype.
        bias: [N] or None, the same dtype.
        widen: return float32 for 16-bit dtypes: the sums, never rounded to 16 bits.
    Returns: [T, N] in x's dtype, unless widened. Raises: ValueError if the shapes, dtypes or devices disagree.
    """
    if is_traced():
        return _operator(x, weight, bias, widen)  # type: ignore[no-any-return]
    _check(x, weight, bias)
    if needs_grad(x, weight, bias):
        return _Linear.apply(x, weight, bias, widen)
    return _product(x, weight, bias, widen)


def input_gradient(grad: Tensor, weight: Tensor, *, out: Tensor | None = None) -> Tensor:
    """grad [T, N] times the weight [N, K] of the same dtype: what a linear layer hands back to its inputs.

    out: None, or contiguous [T, K] of the same dtype, to be overwritten and returned.
    """
    slot, is_operator = _slot_of_gradients("input_gradient", grad, weight), out is None and is_traced()
    if slot is not None and not is_operator:
        return slot(grad, weight, out)
    return torch.mm(grad, weight, out=out) if slot is None else _input_gradient_operator(grad, weight)  # type: ignore[no-any-return]


def weight_gradient(grad: Tensor, x: Tensor, into: Tensor | None = None) -> Tensor:
    """The transpose of grad [T, N] times x [T, K] of the same dtype: a linear layer's gradient of its weight, added to `into` if that is given.

    into: None, or contiguous [N, K]. Where it is wider than grad, the product may be rounded to grad's dtype before it is added.
    """
    slot = _slot_of_gradients("weight_gradient", grad, x)
    if slot is not None and into is None and is_traced():
        return _weight_gradient_operator(grad, x)  # type: ignore[no-any-return]
    if slot is not None and (into is None or into.dtype == torch.float32):
        return slot(grad, x, into)
    if into is None:
        return grad.t() @ x
    return into.addmm_(grad.t(), x) if into.dtype == grad.dtype else into.add_(grad.t() @ x)


def _slot_of_gradients(name: str, *operands: Tensor) -> Callable[..., Tensor] | None:
    dtype = operands[0].dtype
    if dtype not in (torch.float32, torch.bfloat16) or not all(x.is_cpu and x.dtype == dtype and x.numel() for x in operands):
        return None
    return CPU.get(name if dtype == torch.float32 else f"{name}_bfloat16")


def packed_linear(weight: Tensor, bias: Tensor | None = None, *, widen: bool = False) -> Callable[[Tensor], Tensor]:
    """`exact_linear` by a weight that few rows at a time are multiplied by, again and again: the same bits, from what it holds now.

    On the CPU it is copied; on CUDA only if its rows do not start at multiples of 16 bytes. Change it, and pack it again.

    Args: weight, bias, widen: as in `exact_linear`. Returns: a function of x [T, K], without gradient.
    """
    slot = cpu_slot("packed_linear", weight)
    if slot is not None:
        return slot(weight.detach(), None if bias is None else bias.detach(), widen)  # type: ignore[no-any-return]
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    if runs_triton(weight):
        return _packed_on_triton(weight, bias, widen)
    dtype = torch.float32 if widen and weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    return lambda x: exact_linear(x.to(dtype), weight, bias)


def _packed_on_triton(weight: Tensor, bias: Tensor | None, widen: bool) -> Callable[[Tensor], Tensor]:
    from paradigm.kernels.linear_triton import aligned, linear

    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype or bias.device != weight.device):
        raise ValueError(f"bias must be {weight.dtype} [{weight.shape[0]}] on {weight.device}, got {bias.dtype} {list(bias.shape)} on {bias.device}")
    fed, dtype, width, device = aligned(weight), weight.dtype, weight.shape[1], weight.device

    def multiply(x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != width or x.dtype != dtype or x.device != device:
            raise ValueError(f"x must be {dtype} [T, {width}] on {device}, got {x.dtype} {list(x.shape)} on {x.device}")
        return linear(x, fed, bias, widen)

    return multiply


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"weight must have shape [N, {x.shape[-1]}] for x of shape {list(x.shape)}, got {list(weight.shape)}")
    if x.dtype != weight.dtype:
        raise ValueError(f"weight must have x's dtype {x.dtype}, got {weight.dtype}")
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != x.dtype):
        raise ValueError(f"bias must have shape [{weight.shape[0]}] and x's dtype {x.dtype}, got {list(bias.shape)} and {bias.dtype}")
    check_floating(x=x)
    check_device("x", x, weight=weight, bias=bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, widen: bool) -> Tensor:
    slot = cpu_slot("linear", x)
    if slot is not None and x.shape[1] > 0 and weight.shape[0] > 0:
        return slot(x, weight, bias, widen)
    if runs_triton(x):
        from paradigm.kernels.linear_triton import linear  # Triton takes a second to import

        return linear(x, weight, bias, widen)
    if widen and x.dtype in (torch.bfloat16, torch.float16):
        x, weight, bias = x.float(), weight.float(), None if bias is None else bias.float()
    rows = x.shape[0]
    tail = -rows % ROW_MULTIPLE
    if tail:
        x = F.pad(x, (0, 0, 0, tail))
    y = F.linear(x, weight, bias) if x.shape[1] <= _MAX_SLICE.get(x.dtype, 384) else _sliced(x, weight, bias)
    return y[:rows] if tail else y


def _sliced(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    width = x.shape[1]
    count = -(-width // _MAX_SLICE.get(x.dtype, 384))
    step = -(-width // (64 * count)) * 64  # whole vectors in every slice but the last
    y = F.linear(x[:, :step], weight[:, :step], bias)
    if x.dtype in (torch.bfloat16, torch.float16):
        y = y.float()  # adding slices in 16 bits would round each sum
    for start in range(step, width, step):
        y += F.linear(x[:, start : start + step], weight[:, start : start + step])
    return y.to(x.dtype)


def _keep_inputs(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, weight, bias, _ = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _gradients(ctx, grad):  # type: ignore[no-untyped-def]
    x, weight = ctx.saved_tensors
    grad_x = input_gradient(grad, weight.to(grad.dtype)).to(x.dtype) if ctx.needs_input_grad[0] else None
    grad_weight = weight_gradient(grad, x.to(grad.dtype)).to(weight.dtype) if ctx.needs_input_grad[1] else None
    return grad_x, grad_weight, grad.sum(0).to(x.dtype) if ctx.has_bias and ctx.needs_input_grad[2] else None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, widen):  # type: ignore[no-untyped-def]
        _keep_inputs(ctx, (x, weight, bias, widen), None)
        return _product(x, weight, bias, widen)

    backward = staticmethod(_gradients)


def _run(x: Tensor, weight: Tensor, bias: Tensor | None, widen: bool) -> Tensor:
    _check(x, weight, bias)
    return _product(x, weight, bias, widen)


def _fake(x, weight, bias, widen):  # type: ignore[no-untyped-def]
    _check(x, weight, bias)
    dtype = torch.float32 if widen and x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    return x.new_empty(x.shape[0], weight.shape[0], dtype=dtype)


def _run_input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    return input_gradient(grad, weight)


def _run_weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    return weight_gradient(grad, x)


_input_gradient_operator = operator("input_gradient", _run_input_gradient, lambda grad, weight: grad.new_empty(grad.shape[0], weight.shape[1]))
_weight_gradient_operator = operator("weight_gradient", _run_weight_gradient, lambda grad, x: grad.new_empty(grad.shape[1], x.shape[1]))
_operator = operator("linear", _run, _fake)
_operator.register_autograd(_gradients, setup_context=_keep_inputs)
