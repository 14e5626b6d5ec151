"""Attention over packed documents, forward and backward, against torch's flash, cuDNN, varlen and Flex attention."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "causal attention, forward and backward: documents of 1k to 16k, of mixed lengths, and with a window, against torch's attentions"
RIVALS: dict[str, str] = {}  # all come with torch; which ones there are depends on its version and on the device

_UNFAIR = (
    "To paradigm: its gradients are summed in a fixed order, and its backward recomputes the scores twice; the rivals' dQ is summed by atomics, in "
    "an order that changes. To torch, flash and cuDNN: in the case of mixed lengths they are called for one document after another, having no "
    "packed form. To Flex: making its block mask is not timed; nor is making paradigm's work list."
)
_PREDICTION = (
    "bfloat16 on an H100, the portable build: forward at head dimension 128 about 250 TFLOP/s on documents of 1k and 400 at 16k, at 64 about 230 and "
    "330, between the stock Triton of FlashAttention-3's paper and that paper's own kernel: loads by pointers, no specialised warps; backward 200 to "
    "280 at 128 and 180 to 250 at 64, since 7 products are made for the 5 that count. The build in Gluon: forward at 128 about 350 and 550, at 64 "
    "about 300 and 420, less than FlashAttention-3 for want of an order between its consumers; backward 250 to 380 at 128, whose tiles of 32 "
    "queries are bound by shared memory, and 250 to 350 at 64. Flash (torch's is FlashAttention-2) about equal to the portable build forward and "
    "1.2x faster backward; cuDNN 1.4 to 1.6x faster; mixed lengths within 15% of varlen. Not yet measured on a GPU. On a CPU: parity with torch "
    "within a factor of 2"
)

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # [T, H, D] each


class Job(NamedTuple):
    """Documents of these lengths one after another in q, k, v and grad [T, H, D]; `window` as `attention`'s."""

    lengths: list[int]
    heads: int
    head_dim: int
    window: int | None = None

    @property
    def num_pairs(self) -> int:
        """Queries times the keys that each sees."""
        return sum(sum(min(i + 1, self.window or length) for i in range(length)) for length in self.lengths)

    def describe(self) -> str:
        kind = str(self.lengths[0]) if len(set(self.lengths)) == 1 else f"{min(self.lengths)} to {max(self.lengths)}"
        window = "" if self.window is None else f", window {self.window}"
        return f"{len(self.lengths)} documents of {kind}, {self.heads} heads of {self.head_dim}{window}"

    def inputs(self, dtype: torch.dtype, device: str) -> list[Tensor]:
        """q, k, v and the result's gradient, the same on every device."""
        generator = torch.Generator().manual_seed(0)
        shape = (sum(self.lengths), self.heads, self.head_dim)
        return [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(4)]


def mixed_lengths(num_tokens: int, shortest: int, longest: int) -> list[int]:
    """Lengths whose logarithms are uniform, until they make num_tokens."""
    generator, lengths = torch.Generator().manual_seed(0), []
    while sum(lengths) < num_tokens:
        drawn = shortest * (longest / shortest) ** float(torch.rand((), generator=generator))
        lengths.append(min(int(drawn), num_tokens - sum(lengths)))
    return lengths


def jobs(setting: Setting) -> Iterator[Job]:
    if not setting.device.startswith("cuda"):
        lengths = (64, 128) if setting.quick else (256, 1024)
        yield from (Job([length] * (lengths[-1] // length), 4, 64) for length in lengths)
        yield Job(mixed_lengths(lengths[-1], 8, lengths[0]), 4, 64)
        yield Job([lengths[-1]], 4, 64, window=lengths[0])
        return
    tokens = 4096 if setting.quick else 16384
    for head_dim in (128,) if setting.quick else (64, 128):
        for length in (1024, 4096) if setting.quick else (1024, 2048, 4096, 8192, 16384):
            yield Job([length] * (tokens // length), 2048 // head_dim, head_dim)
        yield Job(mixed_lengths(2 * tokens, 128, 8192), 2048 // head_dim, head_dim)
    yield Job([2 * tokens], 32, 64, window=1024)


def cases(setting: Setting) -> Iterator[Case]:
    on_cuda = setting.device.startswith("cuda")
    dtype = "bfloat16" if on_cuda else "float32"
    for job in jobs(setting):
        inputs = job.inputs(getattr(torch, dtype), setting.device)
        builders: dict[str, Callable[[Job, str], Attention]] = {"paradigm": paradigm, **({"varlen": varlen, "flex": flex} if on_cuda else {})}
        if on_cuda:
            builders["portable"] = partial(paradigm, build="triton")
        if job.window is None or not on_cuda:
            builders["torch"] = with_torch(None)
        if job.window is None and on_cuda:
            builders |= {"flash": with_torch("FLASH_ATTENTION"), "cudnn": with_torch("CUDNN_ATTENTION")}
        unit, scale = ("TFLOP/s", 1e12) if on_cuda else ("GFLOP/s", 1e9)
        product = 2.0 * job.num_pairs * job.heads * job.head_dim
        for op, prepare, count in (("attention forward", _forward, 2), ("attention backward", _backward, 5)):
            yield Case(
                op=op, shape=job.describe(), dtype=dtype, unit=unit, work=count * product / scale, cost=scale, ceiling=f"matmul {dtype}",
                config=f"causal; {count} products of {product / 1e9:.3g} GFLOP count, over pairs that see each other",
                reference="torch" if "torch" in builders else "varlen",
                providers={name: _contestant(build, job, inputs, prepare, is_ours=name == "paradigm") for name, build in builders.items()},
                packages=("triton",), unfair=_UNFAIR, prediction=_PREDICTION,
            )  # fmt: skip


def _contestant(
    build: Callable[[Job, str], Attention], job: Job, inputs: Sequence[Tensor], prepare: Callable[[Attention, Sequence[Tensor]], Callable[[], None]],
    *, is_ours: bool,
) -> Callable[[], Contestant]:  # fmt: skip
    def make() -> Contestant:
        if is_ours:
            return Contestant(prepare(build(job, inputs[0].device.type), inputs))
        try:
            run = prepare(build(job, inputs[0].device.type), inputs)
            run()
        except (RuntimeError, TypeError, ValueError) as error:  # this torch, or this device, has no such kernel
            raise ImportError(f"does not run here: {str(error).splitlines()[0]}") from error
        return Contestant(run)

    return make


def _forward(attend: Attention, inputs: Sequence[Tensor]) -> Callable[[], None]:
    q, k, v, _ = inputs

    def run() -> None:
        with torch.no_grad():
            attend(q, k, v)

    return run


def _backward(attend: Attention, inputs: Sequence[Tensor]) -> Callable[[], None]:
    leaves = [x.detach().requires_grad_() for x in inputs[:3]]
    out = attend(*leaves)

    def run() -> None:
        torch.autograd.grad(out, leaves, inputs[3], retain_graph=True)

    return run


def paradigm(job: Job, device: str, *, build: Literal["auto", "triton", "gluon"] = "auto") -> Attention:
    """On Hopper "auto" is the build in Gluon."""
    from paradigm.kernels import Layout, attention

    layout = Layout(_bounds(job, device))
    return lambda q, k, v: attention(q, k, v, layout, window=job.window, build=build)


def with_torch(backend: str | None) -> Callable[[Job, str], Attention]:
    """F.scaled_dot_product_attention with one backend or its own choice: a batch of equal documents, or one document after another."""

    def build(job: Job, device: str) -> Attention:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        equal = len(set(job.lengths)) == 1
        length = job.lengths[0]
        options: dict[str, Any] = {"is_causal": True}
        if job.window is not None:
            at = torch.arange(length, device=device)
            options = {"attn_mask": (at[:, None] >= at) & (at[:, None] - at < job.window)}

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            with sdpa_kernel(getattr(SDPBackend, backend)) if backend else contextlib.nullcontext():
                if equal:
                    batched = (x.view(-1, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
                    return F.scaled_dot_product_attention(*batched, **options).transpose(1, 2).flatten(0, 1)
                parts = zip(*(x.transpose(0, 1)[None].split(job.lengths, dim=2) for x in (q, k, v)))
                return torch.cat([F.scaled_dot_product_attention(*part, **options) for part in parts], 2)[0].transpose(0, 1)

        return attend

    return build


def varlen(job: Job, device: str) -> Attention:
    """FlashAttention's packed form, as torch has it."""
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = _bounds(job, device), max(job.lengths)
    window = (-1 if job.window is None else job.window - 1, 0)
    return lambda q, k, v: varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=window)


def flex(job: Job, device: str) -> Attention:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    num_tokens = sum(job.lengths)
    document = torch.arange(len(job.lengths), device=device).repeat_interleave(torch.tensor(job.lengths, device=device))
    window = job.window or num_tokens

    def is_visible(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (document[query] == document[key]) & (key <= query) & (query - key < window)

    mask = torch.compile(create_block_mask)(is_visible, None, None, num_tokens, num_tokens, device=device)
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(*(x.transpose(0, 1)[None] for x in (q, k, v)), block_mask=mask)[0].transpose(0, 1)


def _bounds(job: Job, device: str) -> Tensor:
    return torch.tensor([0, *torch.tensor(job.lengths).cumsum(0).tolist()], dtype=torch.int32, device=device)
