"""Rotary embedding, with and without the heads' norms: C++ and reference against float64 and against complex numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.rotary import rotary, rotary_reference

TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 8e-3}  # relative to the largest value, beyond the same-dtype reference's own error


def angles(rows: int, pairs: int) -> tuple[Tensor, Tensor]:
    angle = torch.randn(rows, pairs, generator=torch.Generator().manual_seed(9)) * 10
    return angle.cos(), angle.sin()


def run(function: Any, inputs: list[Tensor], table: tuple[Tensor, Tensor], grads: list[Tensor]) -> list[Tensor]:
    names = dict(zip(("q_weight", "k_weight"), inputs[2:]))
    outputs = function(inputs[0], inputs[1], *table, **names, eps=1e-5)
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, inputs, grads)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("rows", "dim", "pairs"), [(0, 8, 4), (1, 32, 16), (200, 24, 12), (150, 40, 8), (9, 128, 64), (5, 6, 0)])
def test_matches_float64(rows: int, dim: int, pairs: int, norm: bool, dtype: torch.dtype) -> None:
    assert "rotary" in CPU, "the C++ kernels are not registered"
    generator = torch.Generator().manual_seed(rows + dim)
    shapes = [(rows, 4, dim), (rows, 2, dim), *([(dim,), (dim,)] if norm else [])]
    inputs = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes]
    grads = [torch.randn(s, generator=generator).to(dtype) for s in shapes[:2]]
    table = angles(rows, pairs)
    ours, plain = run(rotary, inputs, table, grads), run(rotary_reference, inputs, table, grads)
    truth = run(rotary_reference, [x.detach().double().requires_grad_() for x in inputs], table, [g.double() for g in grads])
    for a, b, t in zip(ours, plain, truth):
        assert a.shape == t.shape and a.dtype == dtype
        if t.numel():
            assert (a - t).abs().max() <= (b - t).abs().max() + TOLERANCE[dtype] * t.abs().max()


def test_is_a_rotation_of_complex_pairs() -> None:
    cos, sin = angles(11, 6)
    q, k = torch.randn(11, 3, 16), torch.randn(11, 1, 16)
    rotated, _ = rotary(q, k, cos, sin)
    turned = torch.complex(q[..., :6], q[..., 6:12]) * torch.complex(cos, sin)[:, None]
    torch.testing.assert_close(rotated, torch.cat([turned.real, turned.imag, q[..., 12:]], dim=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_depend_on_nothing_else(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(700, h, 40, generator=generator).to(dtype) for h in (3, 2))
    weights = {name: torch.randn(40, generator=generator).to(dtype) for name in ("q_weight", "k_weight")}
    cos, sin = angles(700, 20)
    whole = rotary(q, k, cos, sin, **weights)
    order, before = torch.randperm(700, generator=generator)[:333], torch.get_num_threads()
    fused = torch.cat([q, k], dim=1)  # heads strided
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            some = rotary(fused[order][:, :3], fused[order][:, 3:], cos[order], sin[order], **weights)
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(a, b[order]) for a, b in zip(some, whole))


def test_reference_gradients_in_float64() -> None:
    cos, sin = (x.double() for x in angles(2, 2))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 2, 6), (2, 1, 6), (6,), (6,))]
    assert torch.autograd.gradcheck(lambda q, k, a, b: rotary(q, k, cos, sin, q_weight=a, k_weight=b), inputs)


def test_bad_input_is_named() -> None:
    q, k, table = torch.zeros(3, 2, 8), torch.zeros(3, 1, 8), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"cos and sin must be \[3, <= 4\] of one dtype, got \[3, 5\]"):
        rotary(q, k, torch.zeros(3, 5), torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"q and k must be"):
        rotary(q, k[:2], table, table)
    with pytest.raises(ValueError, match="k_weight must be given where"):
        rotary(q, k, table, table, q_weight=torch.ones(8))
    with pytest.raises(ValueError, match=r"q_weight must be \[8\] in torch.float32, got \[4\]"):
        rotary(q, k, table, table, q_weight=torch.ones(4), k_weight=torch.ones(8))
