"""Bad input to any op is a ValueError that names the argument, the rule and the value, before anything runs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm import kernels
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.objective import Reinforce
from tests.kernels.test_paged_attention import int32


def zeros(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device=device)


def elsewhere(*shape: int) -> Tensor:
    return zeros(*shape, device="meta")


def paged(device: str = "cpu") -> Layout:
    return Layout.paged(int32([0, 3]), int32([0, 1, 2]), int32([3]), int32([0]), int32([[1]]), PagedCache(1, 2, 2, 8, device=device))


def policy_loss(streams: dict[str, Tensor], **options: Any) -> Any:
    return kernels.policy_loss(zeros(2, 4), zeros(9, 4), torch.tensor([0, 1]), streams, objective=Reinforce(), **options)


CUTS = int32([0, 3])
HEADS = [zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)]
WHOLE = [x.long() for x in HEADS]
CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "attention: device": (lambda: kernels.attention(HEADS[0], elsewhere(3, 2, 8), HEADS[2], CUTS), "k must be on the device of q, cpu, got meta"),
    "attention: dtype": (lambda: kernels.attention(*WHOLE, CUTS), "q must be of a floating dtype, got torch.int64"),
    "attention: mixed dtypes": (
        lambda: kernels.attention(*HEADS[:2], HEADS[2].bfloat16(), CUTS), "q, k and v must have one dtype, got torch.float32, torch.float32 and"
    ),
    "attention: cuts past the end": (lambda: kernels.attention(*HEADS, int32([0, 4])), "q must have at least the layout's 4 rows, got 3"),
    "layout: dtype": (lambda: kernels.attention(*HEADS, torch.tensor([0.0, 3.0])), "cu_seqlens must be int32, got torch.float32"),
    "layout: positions": (lambda: Layout([0, 3], positions=zeros(3)), "positions must be int32, got torch.float32"),
    "paged_attention: device": (lambda: kernels.paged_attention(*HEADS, paged("meta"), 0), "cache must be on the device of q, cpu, got meta"),
    "paged_attention: dtype": (
        lambda: kernels.paged_attention(*(x.bfloat16() for x in HEADS), paged(), 0), "k must have the cache's 2 heads of 8 in torch.float32"
    ),
    "paged_attention: layer": (lambda: kernels.paged_attention(*HEADS, paged(), 1), r"layer must be in \[0, 1\), got 1"),
    "linear: device": (lambda: kernels.exact_linear(zeros(2, 4), elsewhere(3, 4)), "weight must be on the device of x, cpu, got meta"),
    "linear: bias": (lambda: kernels.exact_linear(zeros(2, 4), zeros(3, 4), elsewhere(3)), "bias must be on the device of x, cpu, got meta"),
    "linear: dtype": (lambda: kernels.exact_linear(zeros(2, 4).int(), zeros(3, 4).int()), "x must be of a floating dtype, got torch.int32"),
    "linear_logprob: dtype": (
        lambda: kernels.linear_logprob(zeros(2, 4).int(), zeros(3, 4).int(), int32([0, 1])), "hidden must be of a floating dtype, got torch.int32"
    ),
    "linear_logprob: support": (
        lambda: kernels.linear_logprob(zeros(2, 4), zeros(3, 4), int32([0, 1]), support=(int32([0, 0]), elsewhere(1, 1).int())),
        "support table must be on the device of rows, cpu, got meta",
    ),
    "policy_loss: device": (
        lambda: policy_loss({"advantage": elsewhere(2)}), r"streams\['advantage'\] must be on the device of hidden, cpu, got meta"
    ),
    "policy_loss: teacher": (
        lambda: policy_loss({"advantage": zeros(2), "divergence": zeros(2)}, teacher=(zeros(2, 4), elsewhere(9, 4))),
        "teacher's weight must be on the device of hidden, cpu, got meta",
    ),
    "rms_norm: device": (lambda: kernels.rms_norm(zeros(2, 4), elsewhere(4)), "weight must be on the device of x, cpu, got meta"),
    "rms_norm: dtype": (lambda: kernels.rms_norm(zeros(2, 4).int(), zeros(4)), "x must be of a floating dtype, got torch.int32"),
    "rms_norm: eps": (lambda: kernels.rms_norm(zeros(2, 4), zeros(4), -1.0), "eps must be >= 0, got -1.0"),
    "rotary: device": (lambda: kernels.rotary(HEADS[0], HEADS[1], elsewhere(3, 4), elsewhere(3, 4)), "cos must be on the device of q, cpu, got meta"),
    "rotary: dtype": (lambda: kernels.rotary(*WHOLE[:2], zeros(3, 4), zeros(3, 4)), "q must be of a floating dtype, got torch.int64"),
    "swiglu: device": (lambda: kernels.swiglu(zeros(2, 4), elsewhere(2, 4)), "up must be on the device of gate, cpu, got meta"),
    "swiglu: dtype": (lambda: kernels.swiglu(zeros(2, 4).int(), zeros(2, 4).int()), "gate must be of a floating dtype, got torch.int32"),
    "gae: dtype": (
        lambda: kernels.gae(zeros(3).int(), zeros(3), zeros(1), CUTS, gamma=0.9, lam=0.9), "rewards must be of a floating dtype, got torch.int32"
    ),
    "gae: bootstrap": (
        lambda: kernels.gae(zeros(3), zeros(3), zeros(1, 1), CUTS, gamma=0.9, lam=0.9), r"bootstrap must be one-dimensional, got \[1, 1\]"
    ),
    "vtrace: device": (
        lambda: kernels.vtrace(zeros(3), zeros(3), zeros(3), elsewhere(3), zeros(1), CUTS, gamma=0.9),
        r"logprob, behaviour_logprob, rewards, values, bootstrap and cu_seqlens must be on one device, got \['cpu', 'meta'\]",
    ),
    "sample_token: dtype": (lambda: kernels.sample_token(zeros(2, 4).bfloat16()), r"logits must be float32 \[N, V\], got torch.bfloat16 \[2, 4\]"),
    "sample_token: device": (
        lambda: kernels.sample_token(zeros(2, 4), temperature=elsewhere(2)), r"temperature must be a number or torch.float32 \[2\] on cpu, got"
    ),
    "sample_token: top_k": (lambda: kernels.sample_token(zeros(2, 4), top_k=2**31), r"top_k must be in \[0, 2\^31\), got 2147483648"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named(name: str) -> None:
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        call()
