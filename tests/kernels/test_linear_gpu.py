"""exact_linear on a GPU at the sizes it is for: against float64, gradients, and a row's bits at every number of rows and in every tile."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.linear import exact_linear, packed_linear
from paradigm.kernels.linear_logprob import logits

pytest.importorskip("triton")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

WIDTHS = [(1024, 1024), (1024, 2048), (1024, 3072), (3072, 1024), (2048, 6144), (4096, 14336), (1000, 777)]  # K, N
ROWS = (1, 7, 64, 300, 4096)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# relative to the sum of the products' magnitudes: the result's rounding, and K / 16 truncated additions of the matrix units
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11 + 1e-5}


def make(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator, device="cuda") for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
    return x.to(dtype), (weight / inputs**0.5).to(dtype), bias.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), WIDTHS)
def test_matches_float64(inputs: int, outputs: int, widen: bool, dtype: torch.dtype) -> None:
    x, weight, bias = make(777, inputs, outputs, dtype)
    y = exact_linear(x, weight, bias, widen=widen)
    truth = F.linear(x.double(), weight.double(), bias.double())
    size = F.linear(x.double().abs(), weight.double().abs(), bias.double().abs())
    assert ((y.double() - truth).abs() / size).max() <= TOLERANCE[y.dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), WIDTHS)
def test_a_rows_bits_at_every_number_of_rows(inputs: int, outputs: int, widen: bool, dtype: torch.dtype) -> None:
    x, weight, bias = make(4096, inputs, outputs, dtype)
    whole = exact_linear(x, weight, bias, widen=widen)
    packed = packed_linear(weight, bias, widen=widen)
    for rows in ROWS:
        assert torch.equal(exact_linear(x[-rows:], weight, bias, widen=widen), whole[-rows:]), f"{rows} rows"
        assert torch.equal(packed(x[:rows]), whole[:rows]), f"{rows} rows, packed"
    order = torch.randperm(4096, generator=torch.Generator("cuda").manual_seed(1), device="cuda")
    assert torch.equal(exact_linear(x[order], weight, bias, widen=widen), whole[order]), "order"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("inputs", "outputs"), [*WIDTHS, (1024, 32000)])
def test_tiles_by_rows_give_the_same_bits(inputs: int, outputs: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """What TILES_BY_ROWS waits for: if this fails anywhere it must stay False."""
    from paradigm.kernels import linear_triton

    x, weight, bias = make(4096, inputs, outputs, dtype)
    whole = exact_linear(x, weight, bias, widen=True)
    monkeypatch.setattr(linear_triton, "TILES_BY_ROWS", True)
    differing = {rows: int((exact_linear(x[:rows], weight, bias, widen=True) != whole[:rows]).sum()) for rows in ROWS}
    assert not any(differing.values()), f"sums that differ, by the number of rows: {differing}"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_tile_gives_the_same_bits(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each BLOCK_M and BLOCK_N that any table holds, on one weight: says which of them a table may mix."""
    from paradigm.kernels import linear_triton

    inputs, outputs = 2048, 4096
    x, weight, _ = make(4096, inputs, outputs, dtype)
    whole = exact_linear(x, weight, widen=True)
    hopper = torch.cuda.get_device_capability()[0] >= 9
    differing = {}
    for most in (None, *linear_triton.BY_ROWS):
        for as_if in (256, 1024, 2048, 4096, 8192, 16384):
            config = linear_triton.configuration(dtype, inputs, as_if, hopper=hopper, num_rows=most)
            config["num_stages"] = min(config["num_stages"], 4)  # float32 results need the shared memory
            monkeypatch.setattr(linear_triton, "configuration", lambda *a, config=config, **k: config)
            tile = (config["BLOCK_M"], config["BLOCK_N"])
            differing[tile] = [rows for rows in ROWS if not torch.equal(exact_linear(x[:rows], weight, widen=True), whole[:rows])]
            monkeypatch.undo()
    assert not any(differing.values()), f"numbers of rows that differ from {len(differing)} tiles: {differing}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", [5000, 151936])
def test_the_heads_logits_are_those_inside_linear_logprob(vocabulary: int, dtype: torch.dtype) -> None:
    from paradigm.kernels.linear_logprob_triton import TILE, tile_statistics

    hidden, weight, _ = make(300, 1024, vocabulary, dtype)
    targets = torch.randint(vocabulary, (300,), generator=torch.Generator("cuda").manual_seed(2), device="cuda")
    z = logits(hidden, weight)
    tiles = tile_statistics(hidden, weight, targets)
    assert torch.equal(tiles.target.amax(0), z.gather(1, targets[:, None])[:, 0])
    assert torch.equal(tiles.maximum, torch.stack([part.amax(1) for part in z.split(TILE, 1)]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widen", [False, True])
def test_gradients(widen: bool, dtype: torch.dtype) -> None:
    leaves = [t.requires_grad_() for t in make(1000, 1024, 3072, dtype)]
    y = exact_linear(*leaves, widen=widen)
    assert torch.equal(y, exact_linear(*(t.detach() for t in leaves), widen=widen)), "with and without autograd"
    grad = torch.randn(y.shape, generator=torch.Generator("cuda").manual_seed(2), device="cuda").to(y.dtype)
    truth_leaves = [t.detach().double().requires_grad_() for t in leaves]
    truth = torch.autograd.grad(F.linear(*truth_leaves), truth_leaves, grad.double())
    for ours, theirs in zip(torch.autograd.grad(y, leaves, grad), truth):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).abs().max() <= (1e-4 if dtype == torch.float32 else 1e-2) * theirs.abs().max()


def test_sixty_five_thousand_rows() -> None:
    x, weight, _ = make(65536, 1024, 1024, torch.bfloat16)
    whole = exact_linear(x, weight)
    assert torch.equal(exact_linear(x[-64:], weight), whole[-64:])
    truth = F.linear(x[-64:].double(), weight.double())
    assert (whole[-64:].double() - truth).abs().max() <= 2.0**-8 * truth.abs().max() + 1e-3
