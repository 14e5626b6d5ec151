"""Training the head: log-probs alone, with gradients in two passes, and losses with gradients in one; against plain torch and fused rivals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "linear_logprob and policy_loss with gradients of hidden and weight, against plain torch, torch.compile, Liger-Kernel and cut-cross-entropy"
RIVALS = {"liger_kernel": "liger-kernel>=0.6", "cut_cross_entropy": "cut-cross-entropy"}

_SHAPES = {  # N rows, D model width, V vocabulary
    "cuda": [(8192, 4096, 151936), (8192, 1024, 151936)],
    "cpu": [(1024, 192, 8192)],
    "cuda quick": [(4096, 1024, 32000)],
    "cpu quick": [(96, 32, 500)],
}
_UNFAIR = (
    "To paradigm: in 16 bits it sums the weight's gradient in float32 over chunks of rows, and its log-probs come from logits that are never "
    "rounded; plain torch rounds the logits to 16 bits and sums in one product; Liger and cut-cross-entropy return a loss without log-probs or "
    "entropies. To plain torch: it keeps the whole matrix of logits where memory allows, which peak MiB shows. Liger and "
    "cut-cross-entropy run cross-entropy only."
)
_PREDICTION = (
    "bfloat16 on an H100, N=8192 D=4096 V=151936: forward at 70 to 80% of the matmul ceiling (one Triton product with its reductions in the "
    "epilogue); policy_loss at 72 to 82% of it for 6 NDV, about 47 to 53 ms, the logits' gradient and the second pass over the weight's gradient "
    "costing 4 to 6 ms together, with less than 5.5 GiB; linear_logprob with gradients 8 NDV in the same terms; plain torch slower by the passes "
    "over its logits and at 3 to 4 times the memory. Not yet measured on a GPU. On a CPU: parity with plain torch within 20%"
)
_OPTIONS = {"clip_low": 0.2, "clip_high": 0.2}

Outputs = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor]], tuple[Tensor, ...]]


def cases(setting: Setting) -> Iterator[Case]:
    on_cuda = setting.device.startswith("cuda")
    dtype = "bfloat16" if on_cuda else "float32"
    for rows, width, vocabulary in _SHAPES[("cuda" if on_cuda else "cpu") + (" quick" if setting.quick else "")]:
        product = 2.0 * rows * width * vocabulary
        job = make_job(rows, width, vocabulary, getattr(torch, dtype), setting.device)
        for op, with_gradients, ours, plain, others in (
            ("linear_logprob forward", False, log_probs, torch_log_probs, {}),
            ("linear_logprob with gradients", True, log_probs, torch_log_probs, {}),
            ("policy_loss cross-entropy", True, cross_entropy, torch_cross_entropy, {"liger": _liger, "cut-cross-entropy": _cut}),
            ("policy_loss PPO with entropy bonus", True, ppo, torch_ppo, {}),
        ):
            builders: dict[str, Callable[[], Outputs]] = {"paradigm": lambda ours=ours: ours, "torch": lambda plain=plain: plain, **others}
            if on_cuda:
                builders["torch.compile"] = lambda plain=plain: torch.compile(plain)
            count = 3 if with_gradients else 1
            yield Case(
                op=op, shape=f"N={rows} D={width} V={vocabulary}", dtype=dtype, unit="TFLOP/s", work=count * product / 1e12, cost=1e12,
                ceiling=f"matmul {dtype}", reference="torch",
                providers={name: _contestant(build, job, with_gradients) for name, build in builders.items()},
                config=f"{count} products of {product / 1e12:.3g} TFLOP count, recomputed logits do not",
                packages=("triton", "liger-kernel", "cut-cross-entropy"), unfair=_UNFAIR, prediction=_PREDICTION,
            )  # fmt: skip


def make_job(rows: int, width: int, vocabulary: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Inputs of one size, the same on every device."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(device, dtype).requires_grad_()
    weight = (torch.randn(vocabulary, width, generator=generator) / width**0.5).to(device, dtype).requires_grad_()
    targets = torch.randint(vocabulary, (rows,), generator=generator).to(device)
    streams = {
        "ce": torch.full((rows,), 1.0 / rows), "advantage": torch.randn(rows, generator=generator) / rows,
        "entropy": torch.full((rows,), 0.01 / rows), "behaviour_logprob": -torch.rand(rows, generator=generator) * 12,
    }  # fmt: skip
    return {"hidden": hidden, "weight": weight, "targets": targets, "streams": {name: s.to(device) for name, s in streams.items()}}


def run(outputs: Outputs, job: dict[str, Any], with_gradients: bool) -> list[Tensor]:
    """What a provider computes: its outputs, and gradients of hidden and weight."""
    if not with_gradients:
        with torch.no_grad():
            return list(outputs(**job))
    found = outputs(**job)
    slopes = None if found[0].dim() == 0 else [job["streams"]["advantage"], job["streams"]["entropy"]]
    return [*found, *torch.autograd.grad(found, (job["hidden"], job["weight"]), slopes)]


def log_probs(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    from paradigm.kernels import linear_logprob

    return linear_logprob(hidden, weight, targets)


def torch_log_probs(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    logp = F.linear(hidden, weight).float().log_softmax(1)
    return logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(1)


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    from paradigm.kernels import policy_loss
    from paradigm.objective import CrossEntropy

    return policy_loss(hidden, weight, targets, streams, objective=CrossEntropy())[:1]


def torch_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return (F.cross_entropy(F.linear(hidden, weight).float(), targets),)


def ppo(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    from paradigm.kernels import policy_loss
    from paradigm.objective import PPOClip

    return policy_loss(hidden, weight, targets, streams, objective=PPOClip(entropy=True))[:1]


def torch_ppo(hidden: Tensor, weight: Tensor, targets: Tensor, streams: dict[str, Tensor]) -> tuple[Tensor, ...]:
    logprob, entropy = torch_log_probs(hidden, weight, targets, streams)
    ratio = (logprob - streams["behaviour_logprob"]).exp()
    surrogate = torch.minimum(ratio * streams["advantage"], ratio.clamp(0.8, 1.2) * streams["advantage"])
    return (-(surrogate + streams["entropy"] * entropy).sum(),)


def _liger() -> Outputs:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss()
    return lambda hidden, weight, targets, streams: (loss(weight, hidden, targets),)


def _cut() -> Outputs:
    from cut_cross_entropy import linear_cross_entropy

    return lambda hidden, weight, targets, streams: (linear_cross_entropy(hidden, weight, targets),)


def _contestant(build: Callable[[], Outputs], job: dict[str, Any], with_gradients: bool) -> Callable[[], Contestant]:
    def contestant() -> Contestant:
        outputs = build()

        def once() -> None:
            run(outputs, job, with_gradients)

        return Contestant(once)

    return contestant
