"""RMSNorm with a residual, SwiGLU and the rotary embedding, forward alone and with the backward, beside a copy of as many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting
from paradigm.kernels.rms_norm import rms_norm, rms_norm_reference
from paradigm.kernels.rotary import rotary, rotary_reference
from paradigm.kernels.swiglu import swiglu, swiglu_reference

SUMMARY = "rms_norm, swiglu and rotary of 16,384 tokens (on the CPU 2,048), GB/s, beside a copy of as many bytes, torch and Liger-Kernel"
RIVALS = {"liger_kernel": "liger-kernel>=0.6"}

_GOAL = 0.85
_UNFAIR = (
    "To all but the copy: it moves as many bytes as the job must at least, in one array (each large input once, each result once, and the angles; "
    "the backward reads what it must again). To torch: one operator after the other, each through memory; its rotation multiplies in the heads' "
    "dtype, as transformers' does. To torch.compile: it gets the plain references, without tuning. To paradigm: Liger rotates and differentiates "
    "SwiGLU in place, on inputs of its own that change from run to run; torch and Liger take angles of the heads' dtype. "
    "On the CPU torch.compile and Liger-Kernel are left out."
)
_PREDICTION = (
    "on an H100, as a share of the copy: forward 0.90 for all; with the backward 0.88 for swiglu and rotary, 0.82 for rms_norm and for rotary with "
    "head norms, whose weights' gradients take a second kernel; torch.compile level with us forward, and at 0.6 with the backward of rms_norm"
)


class _Job(NamedTuple):
    """Functions by provider, all of the same inputs; the first `num_leaves` of these want gradients. Bytes that must move at least."""

    name: str
    shape: str
    functions: dict[str, Callable[..., Any]]
    inputs: list[Tensor]
    num_leaves: int
    forward_bytes: int
    backward_bytes: int


def cases(setting: Setting) -> Iterator[Case]:
    on_gpu = setting.device.startswith("cuda")
    tokens = 16384 if on_gpu else 64 if setting.quick else 2048
    for dtype in (torch.bfloat16,) if setting.quick else (torch.bfloat16, torch.float32):
        for build in (_norm, _gate, _heads, _normed_heads):
            job = build(tokens, dtype, setting.device)
            for backward in (False, True):
                num_bytes = job.forward_bytes + backward * job.backward_bytes
                providers = {"copy": _copy(num_bytes, setting.device)}
                providers |= {name: _contestant(job.functions[name], job, backward) for name in ("paradigm", "torch")}
                if on_gpu:
                    providers["torch.compile"] = _compiled(job, backward)
                    if job.name in _LIGER:
                        providers["liger"] = _liger(job, backward)
                yield Case(
                    op=f"{job.name}{' and its backward' if backward else ''}", shape=job.shape, dtype=str(dtype).removeprefix("torch."), unit="GB/s",
                    work=num_bytes / 1e9, cost=1e9, ceiling="copy", providers=providers, reference="copy",
                    goals={"paradigm": _GOAL} if on_gpu else {}, packages=("triton", "liger-kernel"), unfair=_UNFAIR, prediction=_PREDICTION,
                )  # fmt: skip


def _norm(tokens: int, dtype: torch.dtype, device: str) -> _Job:
    x, residual, weight = _random([(tokens, 4096), (tokens, 4096), (4096,)], dtype, device)
    functions: dict[str, Callable[..., Any]] = {
        "paradigm": lambda x, residual, weight: rms_norm(x, weight, 1e-6, residual),
        "torch": _torch_norm,
        "reference": lambda x, residual, weight: rms_norm_reference(x, weight, 1e-6, residual),
    }
    return _Job("rms_norm", f"[{tokens}, 4096] + residual", functions, [x, residual, weight], 3, 4 * x.nbytes, 4 * x.nbytes)


def _torch_norm(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    return F.rms_norm(total, weight.shape, weight, 1e-6), total


def _gate(tokens: int, dtype: torch.dtype, device: str) -> _Job:
    gate, up = _random([(tokens, 14336)] * 2, dtype, device)
    functions = {"paradigm": swiglu, "torch": lambda gate, up: F.silu(gate) * up, "reference": swiglu_reference}
    return _Job("swiglu", f"[{tokens}, 14336]", functions, [gate, up], 2, 3 * gate.nbytes, 5 * gate.nbytes)


def _heads(tokens: int, dtype: torch.dtype, device: str) -> _Job:
    q, k = _random([(tokens, 32, 128), (tokens, 8, 128)], dtype, device)
    inputs = [q, k, *_angles(tokens, device)]
    table = _doubled(*inputs[2:], dtype)
    functions = {
        "paradigm": rotary,
        "torch": lambda q, k, cos, sin: (_turned(q, *table), _turned(k, *table)),
        "reference": rotary_reference,
    }
    num_bytes = 2 * (q.nbytes + k.nbytes) + sum(x.nbytes for x in inputs[2:])
    return _Job("rotary", f"[{tokens}, 32 and 8, 128]", functions, inputs, 2, num_bytes, num_bytes)


def _normed_heads(tokens: int, dtype: torch.dtype, device: str) -> _Job:
    q, k, q_weight, k_weight = _random([(tokens, 32, 128), (tokens, 8, 128), (128,), (128,)], dtype, device)
    angles = _angles(tokens, device)
    table = _doubled(*angles, dtype)
    functions = {
        "paradigm": lambda q, k, q_weight, k_weight, cos, sin: rotary(q, k, cos, sin, q_weight=q_weight, k_weight=k_weight),
        "torch": lambda q, k, q_weight, k_weight, cos, sin: tuple(
            _turned(F.rms_norm(x, weight.shape, weight, 1e-6), *table) for x, weight in ((q, q_weight), (k, k_weight))
        ),
        "reference": lambda q, k, q_weight, k_weight, cos, sin: rotary_reference(q, k, cos, sin, q_weight=q_weight, k_weight=k_weight),
    }
    large, small = q.nbytes + k.nbytes, sum(x.nbytes for x in angles)
    inputs = [q, k, q_weight, k_weight, *angles]
    return _Job("rotary with head norms", f"[{tokens}, 32 and 8, 128]", functions, inputs, 4, 2 * large + small, 3 * large + small)


def _random(shapes: list[tuple[int, ...]], dtype: torch.dtype, device: str) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    return [torch.randn(shape, generator=generator, device=device).to(dtype).requires_grad_() for shape in shapes]


def _angles(tokens: int, device: str) -> tuple[Tensor, Tensor]:
    angle = torch.arange(tokens, device=device)[:, None] * 1e4 ** (-torch.arange(64, device=device) / 64)
    return angle.cos(), angle.sin()


def _doubled(cos: Tensor, sin: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The angles as transformers has them, for whole heads and in their dtype; made once a step, so not timed."""
    return torch.cat([cos, cos], 1).to(dtype), torch.cat([sin, sin], 1).to(dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, 2)
    return x * cos[:, None] + torch.cat([-second, first], 2) * sin[:, None]


def _contestant(function: Callable[..., Any], job: _Job, backward: bool) -> Callable[[], Contestant]:
    def build() -> Contestant:
        leaves = job.inputs[: job.num_leaves]
        grads = [torch.ones_like(y) for y in _outputs(function, job)]  # not expanded ones

        def forward() -> None:
            with torch.no_grad():
                function(*job.inputs)

        def both() -> None:
            torch.autograd.grad(_outputs(function, job), leaves, grads)

        return Contestant(both if backward else forward)

    return build


def _outputs(function: Callable[..., Any], job: _Job) -> tuple[Tensor, ...]:
    found = function(*job.inputs)
    return found if isinstance(found, tuple) else (found,)


def _copy(num_bytes: int, device: str) -> Callable[[], Contestant]:
    def build() -> Contestant:
        source = torch.ones(num_bytes // 2, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)

        def run() -> None:
            target.copy_(source)

        return Contestant(run)

    return build


def _compiled(job: _Job, backward: bool) -> Callable[[], Contestant]:
    return lambda: _contestant(torch.compile(job.functions["reference"], dynamic=False), job, backward)()


def _liger(job: _Job, backward: bool) -> Callable[[], Contestant]:
    def build() -> Contestant:
        own = job._replace(inputs=[x.detach().clone().requires_grad_(x.requires_grad) for x in job.inputs])
        return _contestant(_LIGER[job.name](own), own, backward)()

    return build


def _liger_norm(job: _Job) -> Callable[..., Any]:
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction

    return lambda x, residual, weight: LigerFusedAddRMSNormFunction.apply(x, residual, weight, 1e-6, 0.0, "gemma", False)  # all in fp32, as ours


def _liger_gate(job: _Job) -> Callable[..., Any]:
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return LigerSiLUMulFunction.apply


def _liger_heads(job: _Job) -> Callable[..., Any]:
    from liger_kernel.ops.rope import LigerRopeFunction

    table = [x[None] for x in _doubled(*job.inputs[2:], job.inputs[0].dtype)]
    return lambda q, k, cos, sin: LigerRopeFunction.apply(q.transpose(0, 1)[None], k.transpose(0, 1)[None], *table)[:2]


_LIGER = {"rms_norm": _liger_norm, "swiglu": _liger_gate, "rotary": _liger_heads}
