"""RMSNorm with and without a residual: C++ and reference against float64, row by row the same bits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.rms_norm import rms_norm, rms_norm_reference

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 8e-3}  # relative to the largest value, beyond the same-dtype reference's own error


def run(function: Any, inputs: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    outputs = function(inputs[0], inputs[1], 1e-5, *inputs[2:])
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, inputs, grads)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(0, 16), (1, 5), (300, 24), (7, 256), (33, 100)])
def test_matches_float64(rows: int, width: int, residual: bool, dtype: torch.dtype) -> None:
    assert "rms_norm" in CPU, "the C++ kernels are not registered"
    generator = torch.Generator().manual_seed(rows + width)
    shapes = [(rows, width), (width,), *([(rows, width)] if residual else [])]
    inputs = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes]
    grads = [torch.randn(rows, width, generator=generator).to(dtype) for _ in range(2 if residual else 1)]
    ours, plain = run(rms_norm, inputs, grads), run(rms_norm_reference, inputs, grads)
    truth = run(rms_norm_reference, [x.detach().double().requires_grad_() for x in inputs], [g.double() for g in grads])
    for a, b, t in zip(ours, plain, truth):
        assert a.shape == t.shape and a.dtype == dtype
        if t.numel():
            assert (a - t).abs().max() <= (b - t).abs().max() + TOLERANCE[dtype] * t.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_depend_on_nothing_else(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, residual, weight = (torch.randn(s, generator=generator).to(dtype) for s in ((700, 72), (700, 72), (72,)))
    y, total = rms_norm(x, weight, 1e-6, residual)
    order, before = torch.randperm(700, generator=generator), torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for some, whole in zip(rms_norm(x[order][:501], weight, 1e-6, residual[order][:501]), (y, total)):
                assert torch.equal(some, whole[order][:501])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(rms_norm(total, weight, 1e-6), y), "the residual addition fused or apart"


def test_gradients_do_not_depend_on_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(s, generator=generator).requires_grad_() for s in ((3000, 64), (64,))]
    grads, before, found = [torch.randn(3000, 64, generator=generator)], torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(run(rms_norm, inputs, grads))
        finally:
            torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("used", [0, 1])
def test_gradient_of_one_output_alone(used: int) -> None:
    x, residual, weight = (torch.randn(s, requires_grad=True) for s in ((5, 16), (5, 16), (16,)))
    ours = torch.autograd.grad(rms_norm(x, weight, 1e-6, residual)[used].square().sum(), (x, residual))
    plain = torch.autograd.grad(rms_norm_reference(x, weight, 1e-6, residual)[used].square().sum(), (x, residual))
    for a, b in zip(ours, plain):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_reference_gradients_in_float64() -> None:
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 6), (6,), (3, 6))]
    assert torch.autograd.gradcheck(lambda x, w, r: rms_norm(x, w, 1e-3, r), inputs)


def test_huge_and_strided_values() -> None:
    x = torch.randn(4, 64)[:, ::2] * 1e15
    torch.testing.assert_close(rms_norm(x, torch.ones(32)), rms_norm_reference(x.double(), torch.ones(32).double()).float())
    assert torch.equal(rms_norm(x, torch.ones(64)[::2]), rms_norm(x.contiguous(), torch.ones(32)))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"weight must have shape \[D\] for x \[T, D\], got \[4\]"):
        rms_norm(torch.zeros(2, 8), torch.zeros(4))
    with pytest.raises(ValueError, match=r"residual must have x's shape \[2, 8\]"):
        rms_norm(torch.zeros(2, 8), torch.zeros(8), 1e-6, torch.zeros(3, 8))
