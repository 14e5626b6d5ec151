"""SwiGLU's Triton kernels against float64 and autograd, in the interpreter or on a GPU."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.swiglu import swiglu, swiglu_reference
from tests.kernels.test_swiglu import TOLERANCE

pytest.importorskip("paradigm.kernels.swiglu_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["paradigm.kernels.swiglu"], "runs_triton", lambda x: x.dtype != torch.float64)


def run(function: Any, gate: Tensor, up: Tensor, grad: Tensor) -> list[Tensor]:
    leaves = [gate.detach().requires_grad_(), up.detach().requires_grad_()]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def make(shape: tuple[int, ...], size: float, dtype: torch.dtype, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=generator) * s).to(device, dtype) for s in (size, 1.0, 1.0)]


def check(gate: Tensor, up: Tensor, grad: Tensor) -> None:
    ours, plain = run(swiglu, gate, up, grad), run(swiglu_reference, gate, up, grad)
    for a, b, t in zip(ours, plain, run(swiglu_reference, gate.double(), up.double(), grad.double())):
        assert a.shape == t.shape and a.dtype == gate.dtype and a.isfinite().all()
        if t.numel():
            assert (a - t).abs().max() <= (b - t).abs().max() + TOLERANCE.get(a.dtype, 1e-3) * t.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(0, 8), (3, 0), (1, 1), (77, 33), (5, 4096), (2, 3, 700)])
@pytest.mark.parametrize("size", [1.0, 200.0])
def test_matches_float64(shape: tuple[int, ...], size: float, dtype: torch.dtype, device: str) -> None:
    check(*make(shape, size, dtype, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elements_depend_on_nothing_else_however_they_lie(dtype: torch.dtype, device: str) -> None:
    gate, up, grad = make((9, 2500), 3.0, dtype, device)
    whole = run(swiglu, gate, up, grad)
    for a, b in zip(run(swiglu, gate[5:8], up[5:8], grad[5:8]), whole):
        assert torch.equal(a, b[5:8])
    halves = torch.cat([gate, up], 1).chunk(2, 1)
    transposed = [x.t().contiguous().t() for x in (gate, up, grad)]
    shifted = [torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape) for x in (gate, up, grad)]
    for inputs in ((*halves, grad), (halves[0], up, grad), (halves[0], transposed[1], grad), transposed, shifted):
        assert all(torch.equal(a, b) for a, b in zip(run(swiglu, *inputs), whole))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(16384, 4096), (4099, 12289)])
def test_matches_float64_at_the_sizes_it_is_for(shape: tuple[int, int], dtype: torch.dtype) -> None:
    check(*make(shape, 4.0, dtype, "cuda"))
