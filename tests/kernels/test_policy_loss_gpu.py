"""linear_logprob and policy_loss on a GPU at the sizes they are for: against float64, bit by bit, within their memory, without waiting."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.flags import check_flags
from paradigm.kernels.linear_logprob import linear_logprob, linear_logprob_reference
from paradigm.kernels.policy_loss import policy_loss, policy_loss_reference
from paradigm.objective import GRPO, Combined, CrossEntropy, EntropyBonus

pytest.importorskip("triton")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

OBJECTIVE = Combined(objectives=(GRPO(), CrossEntropy(), EntropyBonus()))
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 8e-3}  # relative to the largest value


def case(rows: int, width: int, vocab: int, dtype: torch.dtype, masked: bool = False) -> dict[str, Any]:
    generator = torch.Generator("cuda").manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "device": "cuda"}
    streams = {name: torch.rand(rows, **options) / rows for name in ("ce", "advantage", "entropy", "kl", "divergence")}
    streams |= {name: -torch.rand(rows, **options) * 12 for name in ("behaviour_logprob", "reference_logprob")}
    targets = torch.randint(0, vocab // 32, (rows,), **options) * 32
    table = torch.randint(-(2**31), 2**31, (5, -(-vocab // 32)), dtype=torch.int32, **options) | 1  # bit 0 of each word is legal
    ids = torch.randint(-1, 5, (rows,), dtype=torch.int32, **options)
    return {
        "hidden": torch.randn(rows, width, **options).to(dtype).requires_grad_(),
        "weight": (torch.randn(vocab, width, **options) / width**0.5).to(dtype).requires_grad_(),
        "targets": targets, "streams": streams, "support": (ids, table) if masked else None,
        "teacher": (torch.randn(rows, width, **options).to(dtype), (torch.randn(vocab, width, **options) / width**0.5).to(dtype)),
    }  # fmt: skip


def slices(rows: int) -> Iterator[slice]:
    """Few rows at a time: the reference makes several [rows, V] float64 matrices."""
    return (slice(start, min(start + 512, rows)) for start in range(0, rows, 512))


def cut(one: dict[str, Any], rows: slice) -> dict[str, Any]:
    support = None if one["support"] is None else (one["support"][0][rows], one["support"][1])
    streams = {name: stream[rows] for name, stream in one["streams"].items()}
    teacher = (one["teacher"][0][rows], one["teacher"][1])
    return {**one, "hidden": one["hidden"][rows], "targets": one["targets"][rows], "streams": streams, "support": support, "teacher": teacher}


def close(ours: Tensor, truth: Tensor, relative: float, what: str) -> None:
    error = (ours - truth).abs().max() / truth.abs().max()
    assert error <= relative, f"{what}: {error:.2e}"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "vocab", "dtype"),
    [(4500, 1024, 151936, torch.bfloat16), (3001, 1000, 50257, torch.bfloat16), (1000, 512, 50257, torch.float16), (700, 260, 32001, torch.float32)],
)
def test_linear_logprob_matches_float64(rows: int, width: int, vocab: int, dtype: torch.dtype, masked: bool) -> None:
    one = case(rows, width, vocab, dtype, masked)
    slopes = [torch.randn(rows, device="cuda", generator=torch.Generator("cuda").manual_seed(i)) for i in range(2)]
    inputs = [one["hidden"], one["weight"]]
    outputs = linear_logprob(*inputs, one["targets"], temperature=0.8, support=one["support"])
    grads = torch.autograd.grad(outputs, inputs, slopes)
    for_weight = torch.zeros_like(one["weight"], dtype=torch.float64)
    for part in slices(rows):
        few = cut(one, part)
        wide = [x.detach().double().requires_grad_() for x in (few["hidden"], one["weight"])]
        truth = linear_logprob_reference(*wide, few["targets"], temperature=0.8, support=few["support"])
        for ours, true in zip(outputs, truth):
            assert ((ours[part] - true).abs() <= 1e-5 * (1 + true.abs())).all()
        for_hidden, more = torch.autograd.grad(truth, wide, [s[part].double() for s in slopes])
        close(grads[0][part], for_hidden, TOLERANCE[dtype], "grad_hidden")
        for_weight += more
    close(grads[1], for_weight, TOLERANCE[dtype], "grad_weight")


@pytest.mark.parametrize("divergence", [None, "forward", "reverse"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_policy_loss_matches_float64(dtype: torch.dtype, divergence: str | None) -> None:
    one = case(1500, 512, 50257, dtype, masked=True)
    options: dict[str, Any] = {"objective": OBJECTIVE, "temperature": 1.2, **({} if divergence is None else {"divergence": divergence})}
    inputs = [one["hidden"], one["weight"]]
    loss, logprob, entropy = policy_loss(
        *inputs, one["targets"], one["streams"], support=one["support"], **options, **({"teacher": one["teacher"]} if divergence else {})
    )
    grads = torch.autograd.grad(loss, inputs)
    total, for_weight = torch.zeros((), dtype=torch.float64, device="cuda"), torch.zeros_like(one["weight"], dtype=torch.float64)
    for part in slices(1500):
        few = cut(one, part)
        wide = [x.detach().double().requires_grad_() for x in (few["hidden"], one["weight"])]
        streams = {name: stream.double() for name, stream in few["streams"].items()}
        teacher = {"teacher": tuple(x.double() for x in few["teacher"])} if divergence else {}
        truth = policy_loss_reference(*wide, few["targets"], streams, support=few["support"], **options, **teacher)
        assert ((logprob[part] - truth[1]).abs() <= 1e-5 * (1 + truth[1].abs())).all()
        assert ((entropy[part] - truth[2]).abs() <= 1e-5 * (1 + truth[2].abs())).all()
        for_hidden, more = torch.autograd.grad(truth[0], wide)
        close(grads[0][part], for_hidden, 2 * TOLERANCE[dtype], "grad_hidden")
        for_weight += more
        total += truth[0].detach()
    close(grads[1], for_weight, 2 * TOLERANCE[dtype], "grad_weight")
    assert (loss - total).abs() <= 2e-3 * total.abs()


def test_bits_depend_on_the_row_alone() -> None:
    one = case(4500, 1024, 151936, torch.bfloat16)
    with torch.no_grad():
        whole = linear_logprob(one["hidden"], one["weight"], one["targets"])
        loss = policy_loss(one["hidden"], one["weight"], one["targets"], one["streams"], objective=OBJECTIVE)
        assert all(torch.equal(a, b) for a, b in zip(whole, loss[1:]))
        order = torch.randperm(4500, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
        for count in (1, 2, 17, 64, 127, 129, 1000, 4500):
            rows = order[:count]
            unmasked = (torch.full((count,), -1, dtype=torch.int32, device="cuda"), torch.zeros(1, 4748, dtype=torch.int32, device="cuda"))
            for support in (None, unmasked):
                some = linear_logprob(one["hidden"][rows], one["weight"], one["targets"][rows], support=support)
                assert all(torch.equal(a, b[rows]) for a, b in zip(some, whole)), (count, support is None)


def test_gradients_are_the_same_bits_every_time_and_come_with_the_same_log_probs() -> None:
    one = case(3000, 512, 50257, torch.bfloat16, masked=True)
    inputs = [one["hidden"], one["weight"]]

    def once() -> list[Tensor]:
        loss, *rest = policy_loss(*inputs, one["targets"], one["streams"], objective=OBJECTIVE, support=one["support"])
        return [loss.detach(), *rest, *torch.autograd.grad(loss, inputs)]

    first = once()
    assert all(torch.equal(a, b) for a, b in zip(first, once()))
    with torch.no_grad():
        scored = linear_logprob(*inputs, one["targets"], support=one["support"])
    assert torch.equal(scored[0], first[1]) and torch.equal(scored[1], first[2])


def test_memory_stays_within_the_bound() -> None:
    one = case(8192, 4096, 151936, torch.bfloat16)
    inputs = [one["hidden"], one["weight"]]
    del one["teacher"]
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = policy_loss(*inputs, one["targets"], one["streams"], objective=OBJECTIVE)[0]
    grads = torch.autograd.grad(loss, inputs)
    torch.cuda.synchronize()
    assert grads[1].isfinite().all() and torch.cuda.max_memory_allocated() - before <= 6 * 2**30


def test_nothing_waits_for_the_device() -> None:
    one = case(300, 256, 5000, torch.bfloat16, masked=True)
    inputs = [one["hidden"], one["weight"]]

    def step() -> None:
        loss = policy_loss(
            *inputs, one["targets"], one["streams"], objective=OBJECTIVE, support=one["support"], teacher=one["teacher"], divergence="reverse"
        )[0]
        torch.autograd.grad(loss, inputs)
        torch.autograd.grad(linear_logprob(*inputs, one["targets"], support=one["support"])[0].sum(), inputs)

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_unknown_target_is_nan_in_its_row_alone() -> None:
    one = case(200, 256, 5000, torch.bfloat16)
    one["targets"][7], one["targets"][9] = 5000, -1
    with torch.no_grad():
        logprob, entropy = linear_logprob(one["hidden"], one["weight"], one["targets"])
    assert logprob.isnan().nonzero().flatten().tolist() == entropy.isnan().nonzero().flatten().tolist() == [7, 9]
    with pytest.raises(ValueError, match="got 5000 in row 7 on cuda"):
        check_flags()
    with torch.autograd.detect_anomaly(check_nan=False), pytest.raises(ValueError, match=r"targets must be in \[0, 5000\), got -1 to 5000"):
        linear_logprob(one["hidden"], one["weight"], one["targets"])
