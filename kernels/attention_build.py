"""Which kernels `attention` takes on a GPU: the portable ones in Triton, or those for Hopper in Gluon, held against the portable at their first use.

The choice follows from the device, dtype and layout, before anything is launched. A launch that fails is an error, and so is a first use whose
results are not the portable's within rounding: nothing falls back by itself. To take the portable build then, pass build="triton", or set
PARADIGM_ATTENTION_BUILD=triton, which "auto" obeys.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from paradigm.kernels import attention_triton
from paradigm.kernels.layout import Layout

Build = Literal["auto", "triton", "gluon"]
VARIABLE = "PARADIGM_ATTENTION_BUILD"
_TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float32: 1e-3}  # float32 is the log-sum-exp; of 1 + the largest value
_LENGTHS = (300, 0, 1, 129)  # whole tiles, a ragged end, a document of one token and none
_WINDOW = 100  # at most: one that cuts within these lengths
_agreed: set[tuple[Any, ...]] = set()


def implementation(q: Tensor, layout: Layout, build: str = "auto") -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and backward for tensors such as q. Raises: ValueError for an unknown build, or "gluon" where it cannot run."""
    if build not in get_args(Build):
        raise ValueError(f"build must be one of {', '.join(get_args(Build))}, got {build!r}")
    if build == "auto":
        build = os.environ.get(VARIABLE, "auto")
        if build not in get_args(Build):
            raise ValueError(f"{VARIABLE} must be one of {', '.join(get_args(Build))}, got {build!r}")
    hindrance = hindrance_to_gluon(q, layout) if build != "triton" else None
    if build == "gluon" and hindrance:
        raise ValueError(f"build must not be 'gluon' here: it needs {hindrance}")
    if build == "triton" or hindrance:
        return attention_triton.attention_forward, attention_triton.attention_backward
    return attention_forward, attention_backward


def hindrance_to_gluon(q: Tensor, layout: Layout) -> str | None:
    """What the Hopper kernels need and do not find, or None."""
    if capability(q) != (9, 0):
        return f"a device of compute capability 9.0, got {capability(q)}"
    if q.dtype not in (torch.bfloat16, torch.float16):
        return f"bfloat16 or float16, got {q.dtype}"
    if layout.parent is not None:
        return "a layout whose documents have no parents"
    return None


def capability(q: Tensor) -> tuple[int, int]:
    return torch.cuda.get_device_capability(q.device)


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, causal: bool, window: int | None, scale: float, softcap: float | None, with_lse: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    from paradigm.kernels import attention_gluon

    attention_triton.check_triton(q, scale)
    _hold_against_portable("forward", q, k, causal, window, scale, softcap)
    return attention_gluon.attention_forward(q, k, v, layout, causal, window, scale, softcap, with_lse)


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, layout: Layout, causal: bool, window: int | None, scale: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The portable build's for head dimensions above 128: both leave the same log-sum-exp."""
    from paradigm.kernels import attention_gluon_backward

    if not attention_gluon_backward.fits(q.shape[2]):
        return attention_triton.attention_backward(grad, q, k, v, out, lse, layout, causal, window, scale, softcap)
    _hold_against_portable("backward", q, k, causal, window, scale, softcap)
    return attention_gluon_backward.attention_backward(grad, q, k, v, out, lse, layout, causal, window, scale, softcap)


def _hold_against_portable(
    direction: str, q: Tensor, k: Tensor, causal: bool, window: int | None, scale: float, softcap: float | None
) -> None:
    """Runs both builds on a small problem, once for each kernel that is compiled; the host waits for it. Raises: RuntimeError if they differ."""
    case = (direction, q.device, q.dtype, q.shape[1], k.shape[1], q.shape[2], causal, window is not None, softcap is not None)
    if case in _agreed:
        return
    from paradigm.kernels import attention_gluon, attention_gluon_backward

    layout = Layout(torch.tensor([0, *_LENGTHS]).cumsum(0))
    options = (layout, causal, None if window is None else min(window, _WINDOW), scale, softcap)
    generator = torch.Generator().manual_seed(0)
    heads = (q.shape[1], k.shape[1], k.shape[1], q.shape[1])
    x, keys, values, grad = (torch.randn(layout.num_tokens, h, q.shape[2], generator=generator).to(q.device, q.dtype) for h in heads)
    out, lse = attention_triton.attention_forward(x, keys, values, *options)
    names: tuple[str, ...] = ("the result", "the log-sum-exp")
    expected: tuple[Tensor, ...] = (out, lse)
    if direction == "forward":
        found: tuple[Tensor, ...] = attention_gluon.attention_forward(x, keys, values, *options)
    else:
        names = ("q's gradient", "k's gradient", "v's gradient")
        expected = attention_triton.attention_backward(grad, x, keys, values, out, lse, *options)
        found = attention_gluon_backward.attention_backward(grad, x, keys, values, out, lse, *options)
    for name, ours, theirs in zip(names, found, expected):
        difference = float((ours.float() - theirs.float()).abs().max())
        limit = _TOLERANCE[ours.dtype] * (1 + float(theirs.abs().max()))
        if not difference <= limit:  # NaN is no agreement either
            raise RuntimeError(
                f"attention's Hopper kernels disagree with the portable ones: {name} by {difference:.3g}, limit {limit:.3g}, for {q.dtype}, "
                f"{q.shape[1]} and {k.shape[1]} heads of {q.shape[2]}, causal={causal}, window={window}, softcap={softcap}. Pass build='triton' "
                f"or set {VARIABLE}=triton to use the portable ones."
            )
    _agreed.add(case)
