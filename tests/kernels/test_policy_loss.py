"""The one-pass loss against two passes of plain torch: values, every gradient, teachers, masks, bad input."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.policy_loss import policy_loss, policy_loss_reference
from paradigm.kernels.support import Support
from paradigm.objective import CrossEntropy, ObjectiveRows, PPOClip


class Curved:
    """A loss that bends in the log-prob and in the entropy: -ce logprob exp(logprob / 4) - ce entropy^2 / 10."""

    streams = ("ce",)

    def rows(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> ObjectiveRows:
        ce, factor = streams["ce"], (logprob / 4).exp()
        loss = -ce * logprob * factor - ce * entropy.square() / 10
        return ObjectiveRows(loss, -ce * factor * (1 + logprob / 4), -ce * entropy / 5, {})

    def direct(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor]) -> Tensor:
        return (-streams["ce"] * logprob * (logprob / 4).exp() - streams["ce"] * entropy.square() / 10).sum()


def make(rows: int, width: int, vocab: int, dtype: torch.dtype) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    wide = dtype if dtype == torch.float64 else torch.float32
    support: Support = (
        torch.randint(-1, 1, (rows,), generator=generator).to(torch.int32),
        torch.full((1, -(-vocab // 32)), 0x5A5A5A5B, dtype=torch.int32),
    )
    even = 32 * torch.randint(0, vocab // 32, (rows,), generator=generator)  # bit 0 of each word is legal
    return {
        "hidden": torch.randn(rows, width, generator=generator).to(dtype).requires_grad_(),
        "weight": torch.randn(vocab, width, generator=generator).to(dtype).requires_grad_(),
        "targets": even,
        "streams": {name: torch.rand(rows, generator=generator).to(wide) for name in ("ce", "divergence")},
        "teacher": (torch.randn(rows, width + 2, generator=generator).to(dtype), torch.randn(vocab, width + 2, generator=generator).to(dtype)),
        "support": support,
    }


def run(function: Any, case: dict[str, Any], **options: Any) -> list[Tensor]:
    inputs = [case["hidden"], case["weight"]]
    loss, logprob, entropy = function(*inputs, case["targets"], case["streams"], support=case["support"], **options)
    assert not logprob.requires_grad and not entropy.requires_grad
    return [loss.detach(), logprob, entropy, *torch.autograd.grad(3 * loss, inputs)]


def in_float64(case: dict[str, Any]) -> dict[str, Any]:
    wide = {name: case[name].detach().double().requires_grad_() for name in ("hidden", "weight")}
    wide["streams"] = {name: stream.double() for name, stream in case["streams"].items()}
    wide["teacher"] = tuple(x.double() for x in case["teacher"])
    return {**case, **wide}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("divergence", [None, "forward", "reverse"])
@pytest.mark.parametrize(("rows", "width", "vocab"), [(1, 8, 64), (90, 16, 96), (1500, 12, 800)])
def test_matches_float64(rows: int, width: int, vocab: int, divergence: str | None, dtype: torch.dtype) -> None:
    case = make(rows, width, vocab, dtype)
    options: dict[str, Any] = {"objective": Curved(), "temperature": 1.4}
    teacher = {} if divergence is None else {"divergence": divergence}
    found = []
    for function, one in ((policy_loss, case), (policy_loss_reference, case), (policy_loss_reference, in_float64(case))):
        found.append(run(function, one, **options, **teacher, **({"teacher": one["teacher"]} if divergence else {})))
    for i, (a, b, t) in enumerate(zip(*found)):
        relative = 4e-3 if i >= 3 and dtype == torch.bfloat16 else 4e-6
        assert a.shape == t.shape and a.dtype == (dtype if i >= 3 else torch.float32)
        error = (a - t).abs().max()
        assert error <= (b - t).abs().max() + relative * (1 + t.abs().max()), ("loss", "logprob", "entropy", "grad_hidden", "grad_weight")[i]


def test_reference_is_the_loss_written_down() -> None:
    case = in_float64(make(20, 6, 64, torch.float64))
    objective = Curved()
    inputs = (case["hidden"], case["weight"])
    loss = policy_loss_reference(*inputs, case["targets"], case["streams"], objective=objective)[0]
    logp = torch.log_softmax(case["hidden"] @ case["weight"].t(), dim=1)
    chosen, entropy = logp.gather(1, case["targets"][:, None])[:, 0], -(logp.exp() * logp).sum(1)
    written = objective.direct(chosen, entropy, case["streams"])
    torch.testing.assert_close(loss, written)
    for a, b in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(written, inputs)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_divergence_is_torchs_and_zero_from_oneself(divergence: str) -> None:
    case = in_float64(make(12, 5, 64, torch.float64))
    streams = {"ce": torch.zeros(12).double(), "divergence": case["streams"]["divergence"]}
    log_p = torch.log_softmax(case["hidden"] @ case["weight"].t(), dim=1)
    log_q = torch.log_softmax(case["teacher"][0] @ case["teacher"][1].t(), dim=1)
    ends = (log_p, log_q) if divergence == "forward" else (log_q, log_p)
    expected = (torch.nn.functional.kl_div(*ends, reduction="none", log_target=True).sum(1) * streams["divergence"]).sum()
    call: dict[str, Any] = {"objective": CrossEntropy(), "divergence": divergence}
    inputs = (case["hidden"], case["weight"])
    loss = policy_loss(*inputs, case["targets"], streams, teacher=case["teacher"], **call)[0]
    torch.testing.assert_close(loss, expected)
    for a, b in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs)):
        torch.testing.assert_close(a, b)
    itself = policy_loss(*inputs, case["targets"], streams, teacher=tuple(x.detach() for x in inputs), **call)[0]
    assert abs(itself.item()) < 1e-12


def test_with_the_learners_objectives() -> None:
    case = make(64, 8, 96, torch.float32)
    streams = {
        "ce": torch.rand(64), "advantage": torch.randn(64), "behaviour_logprob": -torch.rand(64) * 6,
    }
    for objective in (CrossEntropy(), PPOClip()):
        call = {"objective": objective, "support": case["support"]}
        inputs = (case["hidden"], case["weight"])
        ours, plain = (f(*inputs, case["targets"], streams, **call) for f in (policy_loss, policy_loss_reference))
        for a, b in zip([*ours, *torch.autograd.grad(ours[0], inputs)], [*plain, *torch.autograd.grad(plain[0], inputs)]):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_micro_batches_add_up_and_evaluation_needs_no_gradient() -> None:
    case = make(100, 8, 64, torch.float32)
    inputs = (case["hidden"], case["weight"])
    whole = torch.autograd.grad(policy_loss(*inputs, case["targets"], case["streams"], objective=Curved())[0], case["weight"])[0]
    parts = torch.zeros_like(whole)
    for rows in (slice(0, 33), slice(33, 34), slice(34, 100)):
        streams = {name: stream[rows] for name, stream in case["streams"].items()}
        loss = policy_loss(case["hidden"][rows], case["weight"], case["targets"][rows], streams, objective=Curved())[0]
        parts += torch.autograd.grad(loss, case["weight"])[0]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert not policy_loss(*inputs, case["targets"], case["streams"], objective=Curved())[0].requires_grad
    only = policy_loss(case["hidden"].detach(), case["weight"], case["targets"], case["streams"], objective=Curved())[0]
    torch.testing.assert_close(torch.autograd.grad(only, case["weight"])[0], whole)


def test_no_rows() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    loss, logprob, entropy = policy_loss(hidden, torch.zeros(32, 4), torch.zeros(0, dtype=torch.int64), {"ce": torch.zeros(0)}, objective=Curved())
    loss.backward()
    assert loss == 0 and logprob.shape == entropy.shape == (0,) and hidden.grad is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": {}}, r"streams must hold 'ce', got \[\]"),
        ({"streams": {"ce": torch.zeros(3)}}, r"streams\['ce'\] must have shape \[2\], got \[3\]"),
        ({"teacher": (torch.zeros(2, 4), torch.zeros(40, 4))}, "streams must hold 'divergence'"),
        ({"teacher": (torch.zeros(2, 4), torch.zeros(41, 4)), "streams": {"ce": torch.zeros(2), "divergence": torch.zeros(2)}}, "teacher must be"),
        ({"divergence": "symmetric"}, 'divergence must be "forward" or "reverse"'),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"targets": torch.tensor([0, 1]), "streams": {"ce": torch.zeros(2)}, "objective": Curved(), **change}
    with pytest.raises(ValueError, match=message):
        policy_loss(torch.zeros(2, 4), torch.zeros(40, 4), **call)
