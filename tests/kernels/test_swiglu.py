"""SwiGLU: C++ and reference against float64."""

import pytest
import torch

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.swiglu import swiglu, swiglu_reference

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 4e-3}  # relative to the largest value, beyond the same-dtype reference's own error


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0, 8), (1, 1), (77, 33), (5, 1024)])
@pytest.mark.parametrize("size", [1.0, 200.0])
def test_matches_float64(shape: tuple[int, int], size: float, dtype: torch.dtype) -> None:
    assert "swiglu" in CPU, "the C++ kernels are not registered"
    generator = torch.Generator().manual_seed(0)
    gate, up, grad = ((torch.randn(shape, generator=generator) * s).to(dtype) for s in (size, 1.0, 1.0))
    found = []
    for function, a, b, g in ((swiglu, gate, up, grad), (swiglu_reference, gate, up, grad),
                              (swiglu_reference, gate.double(), up.double(), grad.double())):
        leaves = [a.clone().requires_grad_(), b.clone().requires_grad_()]
        y = function(*leaves)
        found.append([y.detach(), *torch.autograd.grad(y, leaves, g)])
    for a, b, t in zip(*found):
        assert a.dtype == dtype and a.isfinite().all()
        if t.numel():
            assert (a - t).abs().max() <= (b - t).abs().max() + TOLERANCE[dtype] * t.abs().max()


def test_elements_depend_on_nothing_else() -> None:
    gate, up = torch.randn(301, 67), torch.randn(301, 67)
    whole, before = swiglu(gate, up), torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            assert torch.equal(swiglu(gate[5:8], up[5:8]), whole[5:8])
            assert torch.equal(swiglu(gate.t(), up.t()), whole.t())
        finally:
            torch.set_num_threads(before)


def test_reference_gradients_in_float64() -> None:
    leaves = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(swiglu, leaves)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"up must have gate's shape \[2, 3\]"):
        swiglu(torch.zeros(2, 3), torch.zeros(3, 2))
