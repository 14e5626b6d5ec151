"""linear_logprob's Triton kernels against float64 and autograd, in the interpreter or on a GPU; rows that depend on nothing else; sharded heads."""

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from paradigm.kernels.linear_logprob import linear_logprob, linear_logprob_reference
from tests.kernels.test_linear_logprob import make, run

triton_module = pytest.importorskip("paradigm.kernels.linear_logprob_triton")

pytestmark = pytest.mark.usefixtures("on_triton")

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SMALL = [(1, 8, 3), (33, 48, 75), (70, 40, 300)]
LARGE = [(257, 192, 5000), (2100, 24, 40)] if torch.cuda.is_available() else [(3, 16, 8500), (2100, 8, 20)]  # more than one group of rows
# relative to 1 + the largest value; 16 bits: of dz, of its inputs where they are float16, and of the result
TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 8e-3, torch.float16: 6e-3}


def moved(tensors: list, device: str) -> list:
    return [t if t is None else tuple(x.to(device) for x in t) if isinstance(t, tuple) else t.detach().to(device) for t in tensors]


def case(rows: int, width: int, vocab: int, dtype: torch.dtype, masked: bool, device: str) -> list[Any]:
    hidden, weight, targets, support = moved(list(make(rows, width, vocab, dtype, masked)), device)
    return [hidden.requires_grad_(), weight.requires_grad_(), targets, support]


def in_float64(hidden: Tensor, weight: Tensor) -> list[Tensor]:
    return [x.detach().double().requires_grad_() for x in (hidden, weight)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "width", "vocab"), [(0, 8, 5), *SMALL, *LARGE])
def test_matches_float64(rows: int, width: int, vocab: int, masked: bool, dtype: torch.dtype, device: str) -> None:
    hidden, weight, targets, support = case(rows, width, vocab, dtype, masked, device)
    grads = [torch.randn(rows, generator=torch.Generator().manual_seed(i)).to(device) for i in range(2)]
    options = {"temperature": 0.7, "support": support}
    ours = run(linear_logprob, hidden, weight, targets, grads, **options)
    truth = run(linear_logprob_reference, *in_float64(hidden, weight), targets, [g.double() for g in grads], **options)
    for i, (a, t) in enumerate(zip(ours, truth)):
        assert a.shape == t.shape and a.dtype == (torch.float32 if i < 2 else dtype)
        if i < 2:
            assert ((a - t).abs() <= 1e-5 * (1 + t.abs())).all()
        elif t.numel():
            assert (a - t).abs().max() <= TOLERANCE[dtype] * (1 + t.abs().max()), ("grad_hidden", "grad_weight")[i - 2]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.02, 1.0, 4.0])
def test_the_logits_gradient_errs_as_little_as_it_says(spread: float, dtype: torch.dtype, device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(50, 40, 300, dtype, False, spread)), device)
    dlogprob, dentropy = (torch.randn(50, generator=torch.Generator().manual_seed(i)).to(device) for i in range(2))
    temperature = 0.8
    buffer = triton_module.kept_logits([slice(0, 50)], 300, hidden)
    chunk = triton_module.score(hidden, weight, targets, temperature, None, buffer)
    dz = triton_module.logits_gradient(chunk, targets, 300, temperature, dlogprob, dentropy).double()
    z = (hidden.double() @ weight.double().t()).requires_grad_()
    logp = torch.log_softmax(z / temperature, 1)
    p, entropy = logp.exp(), -(logp.exp() * logp).sum(1)
    chosen = logp.gather(1, targets[:, None])[:, 0]
    (truth,) = torch.autograd.grad([chosen, entropy], z, [dlogprob.double(), dentropy.double()])
    slope, curve = dlogprob.double().abs()[:, None], dentropy.double().abs()[:, None]
    terms = p * (slope + curve * (1 + (logp + entropy[:, None]).abs())) / temperature
    of_target = torch.zeros_like(p, dtype=torch.bool).scatter(1, targets[:, None], True)
    rounding = 2.0**-7 if dtype == torch.bfloat16 else 0.0
    fp32 = 1e-5 * (1 + logp.abs()) * (terms + of_target * (slope + curve) / temperature)
    bound = torch.where(of_target, rounding / 2 * truth.abs(), rounding * terms) * 1.01 + fp32 + 1e-36
    assert ((dz - truth).abs() / bound).max() <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_of_one_output_alone_and_of_one_input_alone(device: str) -> None:
    hidden, weight, targets, _ = case(9, 8, 50, torch.float32, False, device)
    for i in (0, 1):
        for inputs in ((hidden, weight), (hidden,), (weight,)):
            fixed = [x if any(x is y for y in inputs) else x.detach() for x in (hidden, weight)]
            ours = torch.autograd.grad(linear_logprob(*fixed, targets)[i].sum(), inputs)
            plain = torch.autograd.grad(linear_logprob_reference(*fixed, targets)[i].sum(), inputs)
            for a, b in zip(ours, plain):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_huge_logits(device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(20, 16, 160, torch.float32, masked=False, spread=1e4)), device)
    ours = run(linear_logprob, hidden.requires_grad_(), weight.requires_grad_(), targets, [torch.ones(20, device=device)] * 2)
    truth = run(linear_logprob_reference, *in_float64(hidden, weight), targets, [torch.ones(20, device=device).double()] * 2)
    assert all(x.isfinite().all() for x in ours)
    torch.testing.assert_close(ours[0].double(), truth[0], rtol=1e-6, atol=1e-2)  # logits near 1e5 carry fp32 errors near 1e-2
    torch.testing.assert_close(ours[1].double(), truth[1], rtol=0, atol=2e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_strided_and_misaligned_inputs(device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(20, 16, 60, torch.float32, False)), device)
    want = linear_logprob(hidden, weight, targets)
    transposed = (hidden.t().contiguous().t(), weight.t().contiguous().t())
    shifted = [torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape) for x in (hidden, weight)]
    for inputs in (transposed, shifted):
        assert all(torch.equal(a, b) for a, b in zip(linear_logprob(*inputs, targets.int()), want))


@pytest.mark.parametrize("device", DEVICES)
def test_an_illegal_target_is_impossible(device: str) -> None:
    hidden, weight = torch.ones(2, 16, device=device), torch.randn(40, 16, generator=torch.Generator().manual_seed(0)).to(device)
    support = (torch.tensor([0, -1], dtype=torch.int32, device=device), torch.tensor([[0b110, 0]], dtype=torch.int32, device=device))
    targets = torch.tensor([5, 5], device=device)
    logprob, entropy = linear_logprob(hidden, weight, targets, support=support)
    assert logprob[0] == -torch.inf and torch.isfinite(logprob[1]) and torch.isfinite(entropy).all()
    inputs = [hidden.requires_grad_(), weight.requires_grad_()]
    ones = [torch.ones(2, device=device)] * 2
    for a, b in zip(
        run(linear_logprob, *inputs, targets, ones, support=support)[2:], run(linear_logprob_reference, *inputs, targets, ones, support=support)[2:]
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_broken_row_and_an_unknown_target_are_nan(device: str) -> None:
    hidden, weight, targets, _ = case(4, 16, 300, torch.bfloat16, False, device)
    with torch.no_grad():
        hidden[1] = torch.nan
    targets = targets.clone()
    targets[2], targets[3] = 300, -1
    logprob, entropy = triton_module.linear_logprob_forward(hidden, weight, targets, 1.0, None)
    assert logprob.isnan().tolist() == entropy.isnan().tolist() == [False, True, True, True]
    ones = torch.ones(4, device=device)
    grads = triton_module.linear_logprob_backward(hidden.detach(), weight.detach(), targets, 1.0, None, ones, None, True, True)
    assert grads[0].isnan().all(1).tolist() == [False, True, True, True] and grads[1].isnan().all()
    with torch.autograd.detect_anomaly(check_nan=False), pytest.raises(ValueError, match=r"targets must be in \[0, 300\), got -1 to 300"):
        linear_logprob(hidden, weight, targets)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_depend_on_nothing_else(dtype: torch.dtype, device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(170, 40, 300, dtype, False)), device)
    whole = linear_logprob(hidden, weight, targets)
    for rows in (torch.tensor([3]), torch.arange(17), torch.randperm(170, generator=torch.Generator().manual_seed(0))):
        rows = rows.to(device)
        unmasked = (torch.full((len(rows),), -1, dtype=torch.int32, device=device), torch.zeros(0, 10, dtype=torch.int32, device=device))
        for support in (None, unmasked):
            some = linear_logprob(hidden[rows], weight, targets[rows], support=support)
            assert all(torch.equal(a, b[rows]) for a, b in zip(some, whole))


@pytest.mark.parametrize("device", DEVICES)
def test_a_head_in_shards_is_the_whole_head(device: str) -> None:
    hidden, weight, targets, _ = moved(list(make(33, 48, 300, torch.float32, False)), device)
    shards = [triton_module.tile_statistics(hidden, weight[first:last], targets - first) for first, last in ((0, 128), (128, 256), (256, 300))]
    together = triton_module.TileStatistics(*(torch.cat(parts) for parts in zip(*shards)))
    rows = triton_module.combine(together, targets, 300)
    for ours, whole in zip(rows, triton_module.combine(triton_module.tile_statistics(hidden, weight, targets), targets, 300)):
        assert torch.equal(ours, whole)  # shards that end with a tile
    truth = linear_logprob_reference(hidden.double(), weight.double(), targets)
    for ours, true in zip(rows, truth):
        torch.testing.assert_close(ours.double(), true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("num_rows", "vocabulary", "expected"),
    [
        (8192, 151936, [4096, 4096]),
        (8193, 151936, [4224, 3969]),
        (100, 151936, [100]),
        (0, 50, []),
        (20000, 32000, [20000]),
        (70000, 32000, [23424, 23424, 23152]),
    ],
)
def test_chunks_fit_the_budget(num_rows: int, vocabulary: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_module, "_LEAST_CHUNK", 4096)
    monkeypatch.setattr(triton_module, "_CHUNK_BYTES", 2 << 30)
    chunks = triton_module.row_chunks(num_rows, vocabulary, torch.bfloat16)
    assert [rows.stop - rows.start for rows in chunks] == expected
    assert [rows.start for rows in chunks] == [sum(expected[:i]) for i in range(len(expected))]


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 6), width=st.integers(1, 20), vocab=st.integers(1, 290), temperature=st.floats(0.05, 20.0), masked=st.booleans(),
    wide=st.booleans(),
)  # fmt: skip
def test_any_shape_against_the_definition(device: str, rows: int, width: int, vocab: int, temperature: float, masked: bool, wide: bool) -> None:
    hidden, weight, targets, support = case(rows, width, vocab, torch.float32 if wide else torch.bfloat16, masked, device)
    logprob, entropy = linear_logprob(hidden.detach(), weight.detach(), targets, temperature=temperature, support=support)
    x, w = hidden.tolist(), weight.tolist()
    for i in range(rows):
        mask = None if support is None or support[0][i] < 0 else [int(word) & 0xFFFFFFFF for word in support[1].view(torch.int32)[support[0][i]]]
        legal = [v for v in range(vocab) if mask is None or mask[v // 32] >> v % 32 & 1]
        z = {v: math.fsum(a * b for a, b in zip(x[i], w[v])) / temperature for v in legal}
        largest = max(z.values())
        normalizer = largest + math.log(math.fsum(math.exp(value - largest) for value in z.values()))
        logp = {v: value - normalizer for v, value in z.items()}
        slack = 1e-6 * (10 + max(abs(value) for value in z.values()))  # float32 logits
        assert abs(float(logprob[i]) - logp[int(targets[i])]) <= slack
        assert abs(float(entropy[i]) + math.fsum(math.exp(value) * value for value in logp.values())) <= 2 * slack
