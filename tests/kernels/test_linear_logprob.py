"""Log-probs and entropies straight from hidden states: against float64, against the sampler's bits, with every gradient."""

from typing import Any

import pytest
import torch
from torch import Tensor

import paradigm._core as core
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.linear_logprob import linear_logprob, linear_logprob_reference, logits
from paradigm.kernels.support import Support

TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 4e-3}  # relative to 1 + the largest value, beyond the same-dtype reference's own error


def make(rows: int, width: int, vocab: int, dtype: torch.dtype, masked: bool, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Support | None]:
    generator = torch.Generator().manual_seed(rows + vocab)
    hidden = (torch.randn(rows, width, generator=generator) * spread).to(dtype).requires_grad_()
    weight = torch.randn(vocab, width, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    if not masked:
        return hidden, weight, targets, None
    legal = torch.rand(3, vocab, generator=generator) < 0.3
    legal[:, vocab // 2] = True
    ids = torch.randint(-1, 3, (rows,), generator=generator).to(torch.int32)
    if rows:
        picked = legal.float().multinomial(rows, replacement=True, generator=generator)  # [3, rows]
        targets = torch.where(ids >= 0, picked[ids.clamp(min=0).long(), torch.arange(rows)], targets)
    bits = torch.nn.functional.pad(legal.long(), (0, -vocab % 32)).view(3, -1, 32)
    words = (bits << torch.arange(32)).sum(2)
    return hidden, weight, targets, (ids, words.to(torch.uint32))


def run(function: Any, hidden: Tensor, weight: Tensor, targets: Tensor, grads: list[Tensor], **options: Any) -> list[Tensor]:
    outputs = function(hidden, weight, targets, **options)
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, (hidden, weight), grads)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "width", "vocab"), [(0, 8, 5), (1, 8, 3), (33, 16, 75), (2100, 24, 272), (70, 40, 20000)])
def test_matches_float64(rows: int, width: int, vocab: int, masked: bool, dtype: torch.dtype) -> None:
    assert {"row_statistics", "logits_gradient"} <= set(CPU), "the C++ kernels are not registered"
    hidden, weight, targets, support = make(rows, width, vocab, dtype, masked)
    grads = [torch.randn(rows, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    options = {"temperature": 0.7, "support": support}
    ours = run(linear_logprob, hidden, weight, targets, grads, **options)
    plain = run(linear_logprob_reference, hidden, weight, targets, grads, **options)
    wide = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    truth = run(linear_logprob_reference, *wide, targets, [g.double() for g in grads], **options)
    for i, (a, b, t) in enumerate(zip(ours, plain, truth)):
        assert a.shape == t.shape and a.dtype == (torch.float32 if i < 2 else dtype)
        if t.numel():
            slack = TOLERANCE[dtype if i >= 2 else torch.float32] * (1 + t.abs().max())
            assert (a - t).abs().max() <= (b - t).abs().max() + slack, ("logprob", "entropy", "grad_hidden", "grad_weight")[i]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probs_are_the_samplers_bits(dtype: torch.dtype) -> None:
    hidden, weight, _, support = make(300, 48, 272, dtype, masked=True)
    assert support is not None
    hidden, weight = hidden.detach(), weight.detach()
    drawn, logprob, _ = core.sample_token(
        logits(hidden, weight).numpy(),
        temperature=0.8,
        key=5,
        trajectory=torch.arange(300).numpy().astype("uint64"),
        support=support[0].numpy(),
        support_table=support[1].numpy(),
    )
    scored, _ = linear_logprob(hidden, weight, torch.from_numpy(drawn), temperature=0.8, support=support)
    assert torch.equal(scored, torch.from_numpy(logprob))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:211]
    again, _ = linear_logprob(
        hidden[order], weight, torch.from_numpy(drawn)[order], temperature=0.8, support=(support[0][order].contiguous(), support[1])
    )
    assert torch.equal(again, scored[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_compiles_to_one_node_with_the_same_bits(masked: bool, dtype: torch.dtype) -> None:
    hidden, weight, targets, support = make(33, 16, 75, dtype, masked)
    ids, table = support if support is not None else (None, None)
    for op, more in ((torch.ops.paradigm.linear_logprob, ()), (torch.ops.paradigm.linear_logprob_backward, (torch.randn(33), torch.randn(33)))):
        inputs = (hidden, weight) if not more else (hidden.detach(), weight.detach())
        torch.library.opcheck(op, (*inputs, targets, 0.7, ids, table, *more))
    grads = [torch.randn(33, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    options = {"temperature": 0.7, "support": support}
    compiled = torch.compile(linear_logprob, fullgraph=True, backend="aot_eager")
    for a, b in zip(run(compiled, hidden, weight, targets, grads, **options), run(linear_logprob, hidden, weight, targets, grads, **options)):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"targets must be in \[0, 75\)"):
        compiled(hidden, weight, targets + 75, **options)


def test_logits_are_never_rounded_to_bfloat16() -> None:
    hidden, weight, _, _ = make(40, 64, 100, torch.bfloat16, masked=False)
    z = logits(hidden, weight)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, hidden.float() @ weight.float().t(), rtol=1e-6, atol=1e-5)


def test_gradients_in_float64() -> None:
    hidden, weight, targets, support = make(7, 3, 40, torch.float64, masked=True)
    assert torch.autograd.gradcheck(lambda h, w: linear_logprob(h, w, targets, temperature=1.3, support=support), (hidden, weight))


def test_gradient_of_one_output_alone() -> None:
    hidden, weight, targets, _ = make(9, 8, 50, torch.float32, masked=False)
    for i in (0, 1):
        ours = torch.autograd.grad(linear_logprob(hidden, weight, targets)[i].sum(), (hidden, weight))
        plain = torch.autograd.grad(linear_logprob_reference(hidden, weight, targets)[i].sum(), (hidden, weight))
        for a, b in zip(ours, plain):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_huge_logits() -> None:
    hidden, weight, targets, _ = make(20, 16, 60, torch.float32, masked=False, spread=1e4)
    ours = run(linear_logprob, hidden, weight, targets, [torch.ones(20), torch.ones(20)])
    wide = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    truth = run(linear_logprob_reference, *wide, targets, [torch.ones(20).double()] * 2)
    assert all(x.isfinite().all() for x in ours)
    torch.testing.assert_close(ours[0].double(), truth[0], rtol=1e-6, atol=1e-2)  # logits near 1e5 carry fp32 errors near 1e-2
    torch.testing.assert_close(ours[1].double(), truth[1], rtol=0, atol=2e-2)


def test_an_illegal_target_has_no_probability_and_a_broken_model_gives_nan() -> None:
    hidden, weight = torch.randn(3, 4), torch.randn(40, 4)
    support = (torch.zeros(3, dtype=torch.int32), torch.tensor([[0b110, 0]], dtype=torch.int32))
    logprob, entropy = linear_logprob(hidden, weight, torch.tensor([1, 2, 5]), support=support)
    assert logprob[2] == -torch.inf and logprob[:2].isfinite().all() and entropy.isfinite().all()
    hidden[1] = torch.nan
    logprob, entropy = linear_logprob(hidden, weight, torch.tensor([1, 2, 2]), support=support)
    assert logprob.isnan().tolist() == [False, True, False] and entropy.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(40, 3)}, r"hidden and weight must be \[N, D\] and \[V, D\]"),
        ({"targets": torch.tensor([0, 40])}, r"targets must be in \[0, 40\), got 0 to 40"),
        ({"targets": torch.tensor([0.0, 1.0])}, r"targets must be int64 or int32 \[2\], got torch.float32"),
        ({"weight": torch.zeros(40, 4, device="meta")}, "weight must be on the device of hidden, cpu, got meta"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"support": (torch.zeros(3, dtype=torch.int32), torch.zeros(1, 2, dtype=torch.int32))}, r"support row ids must be int32 \[2\]"),
        ({"support": (torch.zeros(2, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int32))}, r"support table must be int32 or uint32 \[S, 2\]"),
        ({"support": (torch.ones(2, dtype=torch.int32), torch.ones(1, 2, dtype=torch.int32))}, r"support row ids must be in \[-1, 1\), got 1"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"hidden": torch.zeros(2, 4), "weight": torch.zeros(40, 4), "targets": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match=message):
        linear_logprob(**{**arguments, **change})
