"""The rotary embedding's Triton kernels against float64 and autograd, in the interpreter or on a GPU; heads that depend on nothing else."""

import sys

import pytest
import torch
from torch import Tensor

from paradigm.kernels.rotary import rotary, rotary_reference
from tests.kernels.test_rotary import TOLERANCE, angles, run

triton_module = pytest.importorskip("paradigm.kernels.rotary_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Triton path on any device, the weights' gradients in three parts."""
    monkeypatch.setattr(sys.modules["paradigm.kernels.rotary"], "runs_triton", lambda x: x.dtype != torch.float64)
    monkeypatch.setattr(sys.modules["paradigm.kernels.rms_norm_triton"], "CHUNKS", 3)


def make(rows: int, heads: tuple[int, int], dim: int, norm: bool, dtype: torch.dtype, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """([q, k, q_weight, k_weight], gradients of q and k)."""
    generator = torch.Generator().manual_seed(rows + dim)
    shapes = [*((rows, h, dim) for h in heads), *([(dim,), (dim,)] if norm else [])]
    inputs = [torch.randn(s, generator=generator).to(device, dtype).requires_grad_() for s in shapes]
    return inputs, [torch.randn(s, generator=generator).to(device, dtype) for s in shapes[:2]]


def table(rows: int, pairs: int, device: str) -> tuple[Tensor, Tensor]:
    cos, sin = angles(rows, pairs)
    return cos.to(device), sin.to(device)


def check(inputs: list[Tensor], turns: tuple[Tensor, Tensor], grads: list[Tensor]) -> None:
    ours, plain = run(rotary, inputs, turns, grads), run(rotary_reference, inputs, turns, grads)
    truth = run(rotary_reference, [x.detach().double().requires_grad_() for x in inputs], turns, [g.double() for g in grads])
    for a, b, t in zip(ours, plain, truth):
        assert a.shape == t.shape and a.dtype == inputs[0].dtype
        if t.numel():
            assert (a - t).abs().max() <= (b - t).abs().max() + TOLERANCE.get(a.dtype, 1e-3) * t.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("rows", "heads", "dim", "pairs"),
    [
        (0, (4, 2), 8, 4), (1, (4, 2), 32, 16), (37, (6, 3), 24, 12), (60, (4, 2), 40, 8), (9, (14, 2), 128, 64), (5, (3, 5), 6, 0),
        (3, (2, 1), 300, 150),
    ],
)
def test_matches_float64(rows: int, heads: tuple[int, int], dim: int, pairs: int, norm: bool, dtype: torch.dtype, device: str) -> None:
    inputs, grads = make(rows, heads, dim, norm, dtype, device)
    check(inputs, table(rows, pairs, device), grads)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", [False, True])
def test_heads_depend_on_nothing_else_however_they_lie(norm: bool, dtype: torch.dtype, device: str) -> None:
    inputs, grads = make(70, (4, 2), 64, norm, dtype, device)
    cos, sin = table(70, 24, device)
    whole = run(rotary, inputs, (cos, sin), grads)
    for rows in (torch.tensor([7]), torch.arange(16), torch.randperm(70, generator=torch.Generator().manual_seed(0))[:33]):
        rows = rows.to(device)
        fused = torch.cat([inputs[0], inputs[1]], 1).detach()[rows]  # heads strided
        some = [fused[:, :4].requires_grad_(), fused[:, 4:].requires_grad_(), *inputs[2:]]
        upstream = torch.cat(grads, 1)[rows]
        for a, b in zip(run(rotary, some, (cos[rows], sin[rows]), [upstream[:, :4], upstream[:, 4:]]), whole[:4]):
            assert torch.equal(a, b[rows])
    transposed = [x.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_() for x in inputs[:2]]
    shifted = [torch.cat([x.new_zeros(1), x.detach().flatten()])[1:].view(x.shape).requires_grad_() for x in inputs[:2]]
    for moved in (transposed, shifted):
        found = run(rotary, [*moved, *inputs[2:]], (cos.t().contiguous().t(), sin), grads)
        assert all(torch.equal(a, b) for a, b in zip(found, whole))


@pytest.mark.parametrize("device", DEVICES)
def test_without_norms_the_gradient_needs_no_inputs(device: str) -> None:
    inputs, grads = make(11, (4, 2), 24, False, torch.float32, device)
    cos, sin = table(11, 8, device)
    wanted = run(rotary, inputs, (cos, sin), grads)[2:]
    found = triton_module.rotary_backward(*grads, None, None, cos, sin, None, None, 1e-6)
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1]) and found[2] is found[3] is None


@pytest.mark.parametrize("device", DEVICES)
def test_angles_in_the_heads_dtype_and_an_eps_of_zero(device: str) -> None:
    inputs, grads = make(5, (4, 3), 32, True, torch.bfloat16, device)
    turns = tuple(x.bfloat16() for x in table(5, 16, device))
    q, k, q_weight, k_weight = inputs
    found = rotary(q, k, *turns, q_weight=q_weight, k_weight=k_weight, eps=0.0)
    truth = rotary_reference(q.double(), k.double(), *turns, q_weight=q_weight.double(), k_weight=k_weight.double(), eps=0.0)
    for a, b in zip(found, truth):
        torch.testing.assert_close(a.double(), b, rtol=8e-3, atol=1e-2)
    ours = torch.autograd.grad(found, inputs, grads)
    for a, b in zip(ours, torch.autograd.grad(truth, inputs, [g.double() for g in grads])):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=5e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("rows", "heads"), [(16384, (32, 8)), (4099, (14, 2))])
def test_matches_float64_at_the_sizes_it_is_for(rows: int, heads: tuple[int, int], norm: bool, dtype: torch.dtype, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["paradigm.kernels.rms_norm_triton"], "CHUNKS", 264)
    inputs, grads = make(rows, heads, 128, norm, dtype, "cuda")
    turns = table(rows, 64, "cuda")
    check(inputs, turns, grads)
    first, again = run(rotary, inputs, turns, grads), run(rotary, inputs, turns, grads)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
