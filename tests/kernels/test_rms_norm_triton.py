"""RMSNorm's Triton kernels against float64 and autograd, in the interpreter or on a GPU; rows that depend on nothing else."""

import sys

import pytest
import torch
from torch import Tensor

from paradigm.kernels.rms_norm import rms_norm, rms_norm_reference
from tests.kernels.test_rms_norm import TOLERANCE, run

triton_module = pytest.importorskip("paradigm.kernels.rms_norm_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Triton path on any device, the weight's gradient in three parts."""
    monkeypatch.setattr(sys.modules["paradigm.kernels.rms_norm"], "runs_triton", lambda x: x.dtype != torch.float64)
    monkeypatch.setattr(triton_module, "CHUNKS", 3)


def make(rows: int, width: int, residual: bool, dtype: torch.dtype, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """([x, weight, residual], gradients of y and x + residual)."""
    generator = torch.Generator().manual_seed(rows + width)
    shapes = [(rows, width), (width,), *([(rows, width)] if residual else [])]
    inputs = [torch.randn(s, generator=generator).to(device, dtype).requires_grad_() for s in shapes]
    return inputs, [torch.randn(rows, width, generator=generator).to(device, dtype) for _ in range(2 if residual else 1)]


def check(inputs: list[Tensor], grads: list[Tensor]) -> None:
    ours, plain = run(rms_norm, inputs, grads), run(rms_norm_reference, inputs, grads)
    truth = run(rms_norm_reference, [x.detach().double().requires_grad_() for x in inputs], [g.double() for g in grads])
    for a, b, t in zip(ours, plain, truth):
        assert a.shape == t.shape and a.dtype == inputs[0].dtype
        if t.numel():
            tolerance = TOLERANCE.get(a.dtype, 1e-3)
            assert (a - t).abs().max() <= (b - t).abs().max() + tolerance * t.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(0, 16), (1, 5), (700, 24), (33, 100), (130, 256), (5, 2100)])
def test_matches_float64(rows: int, width: int, residual: bool, dtype: torch.dtype, device: str) -> None:
    check(*make(rows, width, residual, dtype, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [72, 520])
def test_rows_depend_on_nothing_else(width: int, dtype: torch.dtype, device: str) -> None:
    (x, weight, residual), grads = make(60, width, True, dtype, device)
    whole = run(rms_norm, [x, weight, residual], grads)
    for rows in (torch.tensor([7]), torch.arange(16), torch.randperm(60, generator=torch.Generator().manual_seed(0))[:33]):
        rows = rows.to(device)
        inputs = [x[rows].detach().requires_grad_(), weight, residual[rows].detach().requires_grad_()]
        some = run(rms_norm, inputs, [g[rows] for g in grads])
        for name, a, b in zip(("y", "total", "grad_x"), some, whole):
            assert torch.equal(a, b[rows]), name
    assert torch.equal(rms_norm(whole[1], weight, 1e-5), whole[0]), "the residual addition fused or apart"
    assert all(torch.equal(a, b) for a, b in zip(run(rms_norm, [x, weight, residual], grads), whole))


@pytest.mark.parametrize("device", DEVICES)
def test_strided_and_misaligned_inputs(device: str) -> None:
    inputs, grads = make(20, 48, True, torch.bfloat16, device)
    want = run(rms_norm, inputs, grads)
    for move in (
        lambda x: x.t().contiguous().t() if x.dim() == 2 else torch.stack([x, x], 1)[:, 0],
        lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
        lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    ):
        moved = [move(x.detach()).requires_grad_() for x in inputs]
        assert all(torch.equal(a, b) for a, b in zip(run(rms_norm, moved, [move(g) for g in grads]), want))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("used", [0, 1])
def test_gradient_of_one_output_alone(used: int, device: str) -> None:
    (x, weight, residual), _ = make(5, 16, True, torch.float32, device)
    ours = torch.autograd.grad(rms_norm(x, weight, 1e-6, residual)[used].square().sum(), (x, residual))
    plain = torch.autograd.grad(rms_norm_reference(x, weight, 1e-6, residual)[used].square().sum(), (x, residual))
    for a, b in zip(ours, plain):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_weight_of_another_dtype(device: str) -> None:
    (x, weight), (grad,) = make(40, 64, False, torch.bfloat16, device)
    weight = weight.detach().float().requires_grad_()
    grad_x, grad_weight = torch.autograd.grad(rms_norm(x, weight), (x, weight), grad)
    truth = [x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()]
    want = torch.autograd.grad(rms_norm_reference(*truth), truth, grad.double())
    assert grad_x.dtype == torch.bfloat16 and grad_weight.dtype == torch.float32
    torch.testing.assert_close(grad_x.double(), want[0], rtol=8e-3, atol=1e-2)
    torch.testing.assert_close(grad_weight.double(), want[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_huge_zero_and_broken_rows(device: str) -> None:
    x = torch.randn(4, 64, device=device) * 1e15
    x[1], x[2, 3] = 0.0, torch.nan
    y = rms_norm(x, torch.ones(64, device=device))
    torch.testing.assert_close(y[[0, 3]], rms_norm_reference(x[[0, 3]].double(), torch.ones(64, device=device).double()).float())
    assert (y[1] == 0).all() and y[2].isnan().all()


def test_wide_rows_take_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "MAX_ROW_BYTES", 64)
    monkeypatch.setattr(triton_module, "_rms_norm_fwd_kernel", None)
    x, weight = torch.randn(3, 17), torch.randn(17)
    assert torch.equal(rms_norm(x, weight), rms_norm_reference(x, weight))


@pytest.mark.parametrize(("num_blocks", "expected"), [(0, 0), (1, 1), (264, 264), (265, 133), (16384, 261)])
def test_chunks_depend_on_the_shape_alone(num_blocks: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "CHUNKS", 264)
    assert triton_module.chunk_count(num_blocks) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width"), [(16384, 4096), (4099, 1024), (2050, 5120), (1030, 8192)])
def test_matches_float64_at_the_sizes_it_is_for(rows: int, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "CHUNKS", 264)
    inputs, grads = make(rows, width, True, dtype, "cuda")
    check(inputs, grads)
    first, again = run(rms_norm, inputs, grads), run(rms_norm, inputs, grads)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    alone = run(rms_norm, [x if x.dim() == 1 else x[5:6].detach().requires_grad_() for x in inputs], [g[5:6] for g in grads])
    assert all(torch.equal(alone[i][0], first[i][5]) for i in (0, 1, 2))
