"""Rows of exact_linear are the same bits at every row count, order and number of threads, in the C++ core and by torch's BLAS alike."""

import pytest
import torch
import torch.nn.functional as F

from paradigm import cpu_backend
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.linear import exact_linear, input_gradient, packed_linear, weight_gradient


@pytest.fixture(params=["core", "torch"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    assert "linear" in CPU and "packed_linear" in CPU
    if request.param == "torch":
        monkeypatch.delitem(CPU, "linear")
        monkeypatch.delitem(CPU, "packed_linear")
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(64, 192), (96, 272), (256, 64), (384, 1024), (576, 1536), (768, 8), (1024, 256), (1536, 576), (256, 1)]
)
def test_rows_depend_on_nothing_else(inputs: int, outputs: int, dtype: torch.dtype, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    bias = torch.randn(outputs, generator=generator).to(dtype)
    x = torch.randn(1040, inputs, generator=generator).to(dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = exact_linear(x, weight, bias)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for rows in (1, 3, 16, 17, 48, 64, 128, 160, 256, 272, 512, 1025, 1040):
                assert torch.equal(exact_linear(x[:rows], weight, bias), whole[:rows]), f"{rows} rows on {threads} threads"
            order = torch.randperm(1040, generator=generator)
            assert torch.equal(exact_linear(x[order], weight, bias), whole[order]), "order"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_long_batch(dtype: torch.dtype, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(272, 128, generator=generator).to(dtype)
    x = torch.randn(16384, 128, generator=generator).to(dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = exact_linear(x, weight)
        torch.set_num_threads(1)
        pieces = [exact_linear(piece, weight) for piece in x.split([16, 1000, 5000, 10368])]
        assert torch.equal(torch.cat(pieces), whole)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("inputs", [40, 1000, 2048])
def test_matches_float64(inputs: int, dtype: torch.dtype, tolerance: float, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, grad = (torch.randn(s, generator=generator).to(dtype) for s in ((37, inputs), (24, inputs), (24,), (37, 24)))
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    y = exact_linear(*leaves)
    truth_leaves = [t.detach().double().requires_grad_() for t in leaves]
    truth = F.linear(*truth_leaves)
    ours = [y, *torch.autograd.grad(y, leaves, grad)]
    theirs = [truth, *torch.autograd.grad(truth, truth_leaves, grad.double())]
    for a, t in zip(ours, theirs):
        assert a.dtype == dtype
        assert (a.double() - t).abs().max() <= tolerance * t.abs().max()
    assert torch.equal(y.detach(), exact_linear(*(t.detach() for t in leaves))), "with and without autograd"


@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_give_the_same_bits(dtype: torch.dtype, widen: bool, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for inputs, outputs in ((32, 32), (40, 70), (191, 33)):
        x, weight, bias = (torch.randn(s, generator=generator).to(dtype) for s in ((300, inputs), (outputs, inputs), (outputs,)))
        for b in (None, bias):
            packed = packed_linear(weight, b, widen=widen)
            whole = exact_linear(x, weight, b, widen=widen)
            assert whole.dtype == (torch.float32 if widen else dtype)
            for rows in (0, 1, 2, 3, 5, 15, 64, 300):
                assert torch.equal(packed(x[:rows]), whole[:rows]), (inputs, outputs, rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_widened_sums_are_not_rounded(dtype: torch.dtype, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in ((9, 64), (20, 64))]
    y = exact_linear(*leaves, widen=True)
    grad = torch.randn(9, 20, generator=generator)
    truth_leaves = [t.detach().double().requires_grad_() for t in leaves]
    truth = F.linear(*truth_leaves)
    assert (y.double() - truth).abs().max() < 1e-5
    for ours, theirs in zip(torch.autograd.grad(y, leaves, grad), torch.autograd.grad(truth, truth_leaves, grad.double())):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-2) * theirs.abs().max()


@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_to_one_node_with_the_same_bits(dtype: torch.dtype, widen: bool, implementation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in ((19, 40), (24, 40), (24,))]
    compiled = torch.compile(exact_linear, fullgraph=True, backend="aot_eager")
    y, ours = exact_linear(*leaves, widen=widen), compiled(*leaves, widen=widen)
    assert ours.dtype == y.dtype and torch.equal(ours, y)
    grad = torch.randn(19, 24, generator=generator).to(y.dtype)
    for a, b in zip(torch.autograd.grad(ours, leaves, grad), torch.autograd.grad(y, leaves, grad)):
        assert torch.equal(a, b)
    torch.library.opcheck(torch.ops.paradigm.linear, (*leaves, widen))
    with pytest.raises(Exception, match=r"weight must have shape \[N, "):
        compiled(leaves[0][:, 1:], *leaves[1:], widen=widen)


def test_no_rows() -> None:
    assert exact_linear(torch.zeros(0, 8), torch.zeros(4, 8)).shape == (0, 4)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"weight must have shape \[N, 8\] for x of shape \[2, 8\], got \[4, 6\]"):
        exact_linear(torch.zeros(2, 8), torch.zeros(4, 6))
    with pytest.raises(ValueError, match=r"weight must have x's dtype torch.float32, got torch.bfloat16"):
        exact_linear(torch.zeros(2, 8), torch.zeros(4, 8, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"bias must have shape \[4\] and x's dtype torch.float32, got \[3\]"):
        exact_linear(torch.zeros(2, 8), torch.zeros(4, 8), torch.zeros(3))
    with pytest.raises(ValueError, match=r"x must be torch.float32 \[T, 8\], got torch.float32 \[2, 6\]"):
        packed_linear(torch.zeros(4, 8))(torch.zeros(2, 6))


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 3, 5), (129, 33, 31), (1000, 64, 192), (1700, 272, 192)])
@pytest.mark.parametrize("where", ["core", "torch"])
def test_gradients_match_float64_and_depend_on_no_threads(
    rows: int, outputs: int, inputs: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("input_gradient", "weight_gradient"):
        if where == "core":  # also where the processor has no AVX-512 and torch's are taken
            monkeypatch.setitem(CPU, name, getattr(cpu_backend, f"_{name}"))
        else:
            monkeypatch.delitem(CPU, name, raising=False)
    generator = torch.Generator().manual_seed(0)
    grad, x, weight = (torch.randn(*size, generator=generator) for size in ((rows, outputs), (rows, inputs), (outputs, inputs)))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sums = torch.ones(outputs, inputs)
            assert weight_gradient(grad, x, into=sums) is sums
            results.append((input_gradient(grad, weight), weight_gradient(grad, x), sums - 1, weight_gradient(grad.t().contiguous().t(), x)))
    finally:
        torch.set_num_threads(before)
    truth = grad.double() @ weight.double(), grad.double().t() @ x.double()
    for ours, theirs in zip(results[0], (truth[0], truth[1], truth[1], truth[1])):
        assert (ours.double() - theirs).abs().max() <= 2e-6 * theirs.abs().max()
    if where == "core":
        assert all(torch.equal(a, b) for a, b in zip(*results))


def test_weight_gradient_adds_to_wider_sums_and_without_rows() -> None:
    grad, x = torch.ones(4, 2, dtype=torch.bfloat16), torch.ones(4, 3, dtype=torch.bfloat16)
    assert torch.equal(weight_gradient(grad, x, into=torch.full((2, 3), 0.5)), torch.full((2, 3), 4.5))
    assert torch.equal(weight_gradient(torch.zeros(0, 2), torch.zeros(0, 3), into=torch.ones(2, 3)), torch.ones(2, 3))
