"""exact_linear's Triton kernel against float64, in the interpreter or on a GPU: rows that depend on nothing else, and the head's own logits."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.linear import exact_linear, packed_linear
from paradigm.kernels.linear_logprob import linear_logprob, logits

triton_module = pytest.importorskip("paradigm.kernels.linear_triton")
from paradigm.kernels.linear_logprob_triton import TILE, tile_statistics  # noqa: E402

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(1, 8, 1), (5, 7, 33), (33, 130, 75), (130, 40, 300)]  # M, K, N
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # of the result, relative


@pytest.fixture(autouse=True)
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear layers and the head take the Triton path on any device."""
    for name in ("linear", "linear_logprob"):
        monkeypatch.setattr(sys.modules[f"paradigm.kernels.{name}"], "runs_triton", lambda x: x.dtype != torch.float64)
    for name in ("linear", "packed_linear"):
        monkeypatch.delitem(CPU, name, raising=False)


def make(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
    return x.to(device, dtype), (weight / inputs**0.5).to(device, dtype), bias.to(device, dtype)


def check(y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Sums are float32's, of products whose magnitudes add up to `size`; the result is rounded once."""
    truth = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    size = F.linear(x.double().abs(), weight.double().abs(), None if bias is None else bias.double().abs())
    assert y.shape == truth.shape and y.is_contiguous()
    bound = ROUNDING[y.dtype] * truth.abs() + (1 + ROUNDING[y.dtype]) * 2.0**-20 * size.clamp(min=1) + 2.0**-25 * (y.dtype == torch.float16)
    assert ((y.double() - truth).abs() <= bound).all(), ((y.double() - truth).abs() / bound).max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_matches_float64(rows: int, inputs: int, outputs: int, widen: bool, has_bias: bool, dtype: torch.dtype, device: str) -> None:
    x, weight, bias = make(rows, inputs, outputs, dtype, device)
    y = exact_linear(x, weight, bias if has_bias else None, widen=widen)
    assert y.dtype == (torch.float32 if widen else dtype)
    check(y, x, weight, bias if has_bias else None)
    assert torch.equal(packed_linear(weight, bias if has_bias else None, widen=widen)(x), y), "packed"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widen", [False, True])
def test_rows_depend_on_nothing_else(widen: bool, dtype: torch.dtype, device: str) -> None:
    x, weight, bias = make(300, 72, 50, dtype, device)
    whole = exact_linear(x, weight, bias, widen=widen)
    for rows in (1, 7, 64, 129):
        assert torch.equal(exact_linear(x[:rows], weight, bias, widen=widen), whole[:rows]), f"{rows} rows"
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1)).to(device)
    assert torch.equal(exact_linear(x[order], weight, bias, widen=widen), whole[order]), "order"
    others_broken = torch.full_like(x, float("nan"))
    others_broken[5] = x[5]
    assert torch.equal(exact_linear(others_broken, weight, bias, widen=widen)[5], whole[5])


@pytest.mark.parametrize("device", DEVICES)
def test_more_than_one_group_of_rows(device: str) -> None:
    x, weight, _ = make(2100, 16, 40, torch.bfloat16, device)
    whole = exact_linear(x, weight)
    check(whole, x, weight, None)
    assert torch.equal(exact_linear(x[2048:], weight), whole[2048:])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides(dtype: torch.dtype, device: str) -> None:
    x, weight, bias = make(20, 48, 30, dtype, device)
    y = exact_linear(x, weight, bias)
    wider = torch.full((20, 49 + 16), float("nan"), dtype=dtype, device=device)
    for start in (1, 16):  # rows that start at no multiple of 16 bytes, and rows that are used as they are
        wider[:, start : start + 48] = x
        assert torch.equal(exact_linear(wider[:, start : start + 48], weight, bias), y)
    stepped = torch.stack([bias, bias], 1)[:, 0]
    assert torch.equal(exact_linear(x.t().contiguous().t(), weight.t().contiguous().t(), stepped), y)
    assert torch.equal(packed_linear(weight.t().contiguous().t(), stepped)(x), y)
    assert torch.equal(exact_linear(x[:1].expand(3, -1), weight, bias), y[:1].expand(3, -1))


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_to_multiply(device: str) -> None:
    x, weight, bias = make(3, 8, 4, torch.bfloat16, device)
    assert exact_linear(x[:0], weight, bias, widen=True).shape == packed_linear(weight)(x[:0]).shape == (0, 4)
    assert exact_linear(x, weight[:0]).shape == (3, 0)
    assert torch.equal(exact_linear(x[:, :0], weight[:, :0], bias), bias.expand(3, 4))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widen", [False, True])
def test_gradients(widen: bool, dtype: torch.dtype, device: str) -> None:
    leaves = [t.requires_grad_() for t in make(37, 40, 24, dtype, device)]
    y = exact_linear(*leaves, widen=widen)
    assert torch.equal(y, exact_linear(*(t.detach() for t in leaves), widen=widen)), "with and without autograd"
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
    truth_leaves = [t.detach().double().requires_grad_() for t in leaves]
    truth = torch.autograd.grad(F.linear(*truth_leaves), truth_leaves, grad.double())
    for ours, theirs in zip(torch.autograd.grad(y, leaves, grad), truth):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-2) * theirs.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_samplers_logits_are_those_that_log_probs_come_from(dtype: torch.dtype, device: str) -> None:
    hidden, weight, _ = make(70, 88, 300, dtype, device)
    targets = torch.randint(300, (70,), generator=torch.Generator().manual_seed(3)).to(device)
    z = logits(hidden, weight)
    assert torch.equal(packed_linear(weight, widen=True)(hidden[:9]), z[:9])
    tiles = tile_statistics(hidden, weight, targets)
    assert torch.equal(tiles.target.amax(0), z.gather(1, targets[:, None])[:, 0])
    assert torch.equal(tiles.maximum, torch.stack([part.amax(1) for part in z.split(TILE, 1)]))
    logprob, _ = linear_logprob(hidden, weight, targets)
    truth = z.double().log_softmax(1).gather(1, targets[:, None])[:, 0]
    assert ((logprob - truth).abs() <= 1e-6 * (1 + truth.abs())).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("outputs", [40, 300])
def test_tiles_by_the_number_of_rows_give_the_same_values(outputs: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = make(600, 40, outputs, torch.bfloat16, device)
    monkeypatch.setattr(triton_module, "TILES_BY_ROWS", True)
    for rows in (1, 65, 600):
        check(exact_linear(x[:rows], weight, bias, widen=True), x[:rows], weight, bias)


def test_tiles_follow_from_the_weight_alone_unless_asked() -> None:
    """The widest of 16 panels, if the weight has so many; one BLOCK_K in every configuration of a weight."""
    for hopper, widest in ((True, 256), (False, 128)):
        for outputs, expected in ((1, 32), (512, 32), (1024, 64), (2048, 128), (3072, 128), (4096, 256), (151936, 256)):
            fixed = triton_module.configuration(torch.bfloat16, 1024, outputs, hopper=hopper)
            assert fixed["BLOCK_N"] == min(expected, widest)
            for rows in (1, 64, 65, 512, 513, 65536):
                other = triton_module.configuration(torch.bfloat16, 1024, outputs, hopper=hopper, num_rows=rows)
                assert {n: other[n] for n in ("BLOCK_K", "PRECISION")} == {n: fixed[n] for n in ("BLOCK_K", "PRECISION")}
                assert other["BLOCK_M"] >= 64, "fewer rows are multiplied by another instruction"


def test_bad_input_is_named_before_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "_linear_kernel", None)
    x, weight, bias = make(2, 8, 4, torch.bfloat16, "cpu")
    with pytest.raises(ValueError, match=r"weight must have shape \[N, 8\] for x of shape \[2, 8\], got \[4, 6\]"):
        exact_linear(x, weight[:, :6])
    with pytest.raises(ValueError, match=r"weight must have x's dtype torch.bfloat16, got torch.float16"):
        exact_linear(x, weight.half())
    with pytest.raises(ValueError, match=r"weight must be on the device of x, cpu, got meta"):
        exact_linear(x, weight.to("meta"))
    with pytest.raises(ValueError, match=r"x must be torch.bfloat16 \[T, 8\] on cpu, got torch.bfloat16 \[2, 6\] on cpu"):
        packed_linear(weight)(x[:, :6])
    with pytest.raises(ValueError, match=r"x must be torch.bfloat16 \[T, 8\] on cpu, got torch.float32"):
        packed_linear(weight)(x.float())
    with pytest.raises(ValueError, match=r"bias must be torch.bfloat16 \[4\] on cpu, got torch.bfloat16 \[3\] on cpu"):
        packed_linear(weight, bias[:3])
