"""Float8 products for the projections of layers: fast mode's, of packed layouts; where they apply, see `Policy.fp8`.

    y    = x W^T + b     x and W rounded to e4m3, a scale for each row of x and each row of W
    dx   = g W           g and W rounded to e4m3, a scale for each row of g and each column of W
    dW   = g^T x         in bfloat16, as db

A scale is the largest magnitude of what it is for / 448, taken anew each time: no token's rounding depends on another's. Sums are in float32.
This is torchao's recipe "rowwise_with_gw_hp" (github.com/pytorch/ao, torchao/float8/config.py), but for dx, where it has one scale for all of W.

Gradients too are e4m3: e5m2 has more range for one bit less (Micikevicius et al., arXiv:2209.05433), and with a scale for each row e4m3's is enough
(DeepSeek-V3, arXiv:2412.19437, section 3.3.2). dW would need x and g rounded once more, along the tokens, whose number would have to be a multiple
of 16; and its sums are the longest, of which float8 tensor cores keep the fewest bits (same section). It stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paradigm.policy_config import PolicyConfig

__all__ = ["check_fp8", "fp8_linear"]

# T rows, K inputs, N outputs

_MULTIPLE = 16  # of K and N, by torch._scaled_mm's rule for CUDA; T is free
_CAPABILITY = (8, 9)
_LARGEST = torch.finfo(torch.float8_e4m3fn).max


def check_fp8(config: PolicyConfig, dtype: torch.dtype, device: torch.device) -> None:
    """Raises: ValueError if the projections of a policy of this shape, dtype and device do not go through `fp8_linear`."""
    if dtype != torch.bfloat16:
        raise ValueError(f"fp8 must be False unless the weights are torch.bfloat16, which its products return, got True with {dtype}")
    widths = {
        "hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size,
        "num_heads * head_dim": config.num_heads * config.width, "num_kv_heads * head_dim": config.kv_heads * config.width,
    }  # fmt: skip
    for name, width in widths.items():
        if width % _MULTIPLE:
            raise ValueError(f"{name} must be a multiple of {_MULTIPLE} with fp8, got {width}")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"fp8 must be False on devices other than CUDA's and the CPU, got True on {device}")
    if device.type == "cuda" and (capability := torch.cuda.get_device_capability(device)) < _CAPABILITY:
        raise ValueError(f"fp8 must be False below compute capability 8.9, got True on a device of {capability[0]}.{capability[1]}")


def fp8_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer of float8 products.

    A row of x that is all zeros gives the bias; one that has an infinity or NaN gives no finite number, and so it is with rows of the gradient.

    Args:
        x: bfloat16 [T, K].
        weight: bfloat16 [N, K]; K and N are multiples of 16.
        bias: bfloat16 [N] or None.
    Returns: bfloat16 [T, N]. Raises: ValueError for another dtype.
    """
    if x.dtype != torch.bfloat16 or weight.dtype != torch.bfloat16:
        raise ValueError(f"x and weight must be torch.bfloat16, got {x.dtype} and {weight.dtype}")
    return _Linear.apply(x, weight, bias)  # type: ignore[no-any-return]


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [R, C] -> float8 [R, C], contiguous, and float32 [R, 1], the scales that it is to be multiplied by."""
    scale = (x.abs().amax(1, keepdim=True).float() / _LARGEST).clamp(min=torch.finfo(torch.float32).tiny)  # a row of zeros: 0 / tiny
    return (x.float() / scale).to(torch.float8_e4m3fn).contiguous(), scale


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [T, C], weight [R, C] -> bfloat16 [T, R]."""
    (a, scale_a), (b, scale_b) = _rounded(x), _rounded(weight)
    # the second operand must lie column by column. Fast accumulation, left out, would keep sums within the tensor cores' few bits
    return torch._scaled_mm(a, b.t(), scale_a, scale_b.t(), bias, out_dtype=torch.bfloat16, use_fast_accum=False)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad_x = _product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        grad_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, grad.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None
