"""policy_loss's Triton kernels against float64 and two passes of autograd, in the interpreter or on a GPU; the bits of linear_logprob."""

from typing import Any

import pytest
import torch

from paradigm.kernels.linear_logprob import linear_logprob
from paradigm.kernels.policy_loss import policy_loss, policy_loss_reference
from paradigm.objective import GRPO, Combined, CrossEntropy, EntropyBonus
from tests.kernels.test_policy_loss import Curved, in_float64, make, run

pytest.importorskip("paradigm.kernels.policy_loss_triton")
from tests.kernels.test_linear_logprob_triton import DEVICES, DTYPES, TOLERANCE

pytestmark = pytest.mark.usefixtures("on_triton")


def case(rows: int, width: int, vocab: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: moved(entry) for name, entry in value.items()}
        return tuple(moved(entry) for entry in value) if isinstance(value, tuple) else value.detach().to(device)

    made = moved(make(rows, width, vocab, dtype))
    return {**made, "hidden": made["hidden"].requires_grad_(), "weight": made["weight"].requires_grad_()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divergence", [None, "forward", "reverse"])
@pytest.mark.parametrize(("rows", "width", "vocab"), [(1, 8, 64), (140, 40, 352)])
def test_matches_float64(rows: int, width: int, vocab: int, divergence: str | None, dtype: torch.dtype, device: str) -> None:
    one = case(rows, width, vocab, dtype, device)
    wide = in_float64(one)
    options: dict[str, Any] = {"objective": Curved(), "temperature": 1.4, **({} if divergence is None else {"divergence": divergence})}
    ours = run(policy_loss, one, **options, **({"teacher": one["teacher"]} if divergence else {}))
    truth = run(policy_loss_reference, wide, **options, **({"teacher": wide["teacher"]} if divergence else {}))
    for i, (a, t) in enumerate(zip(ours, truth)):
        assert a.shape == t.shape and a.dtype == (dtype if i >= 3 else torch.float32)
        kept = 2.0**-7 if divergence and dtype != torch.float32 else 0.0  # log-ratios of bfloat16 values, see policy_loss_triton.py
        relative = 2 * TOLERANCE[dtype] if i >= 3 else 1e-5 + (kept if i == 0 else 0.0)
        assert (a - t).abs().max() <= relative * (1 + t.abs().max()), ("loss", "logprob", "entropy", "grad_hidden", "grad_weight")[i]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probs_and_gradients_are_the_bits_of_linear_logprob(dtype: torch.dtype, device: str) -> None:
    one = case(140, 40, 352, dtype, device)
    inputs, options = (one["hidden"], one["weight"]), {"support": one["support"], "temperature": 0.6}
    loss, logprob, entropy = policy_loss(*inputs, one["targets"], one["streams"], objective=Curved(), **options)
    scored, entropies = linear_logprob(*inputs, one["targets"], **options)
    assert torch.equal(logprob, scored.detach()) and torch.equal(entropy, entropies.detach())
    terms = Curved().rows(logprob, entropy, one["streams"])
    ours = torch.autograd.grad(loss, inputs)
    assert all(torch.equal(a, b) for a, b in zip(ours, torch.autograd.grad([scored, entropies], inputs, [terms.dlogprob, terms.dentropy])))
    with torch.no_grad():
        again = policy_loss(*inputs, one["targets"], one["streams"], objective=Curved(), **options)
    assert all(torch.equal(a, b) for a, b in zip(again, (loss, logprob, entropy)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_a_policy_is_its_own_teacher(divergence: str, device: str) -> None:
    one = case(30, 16, 352, torch.bfloat16, device)
    inputs = (one["hidden"], one["weight"])
    streams = {"ce": torch.zeros(30, device=device), "divergence": one["streams"]["divergence"]}
    itself = tuple(x.detach() for x in inputs)
    loss = policy_loss(*inputs, one["targets"], streams, objective=CrossEntropy(), teacher=itself, divergence=divergence)[0]
    assert loss == 0 and all((grad == 0).all() for grad in torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize("device", DEVICES)
def test_with_the_learners_objectives(device: str) -> None:
    one = case(140, 16, 96, torch.float32, device)
    generator = torch.Generator().manual_seed(1)
    names = ("ce", "advantage", "entropy", "kl", "behaviour_logprob", "reference_logprob")
    streams = {name: torch.randn(140, generator=generator).to(device) for name in names}
    objective = Combined(objectives=(GRPO(), CrossEntropy(), EntropyBonus()))
    inputs = (one["hidden"], one["weight"])
    call = {"objective": objective, "support": one["support"]}
    ours, plain = (f(*inputs, one["targets"], streams, **call) for f in (policy_loss, policy_loss_reference))
    for a, b in zip([*ours, *torch.autograd.grad(ours[0], inputs)], [*plain, *torch.autograd.grad(plain[0], inputs)]):
        assert (a - b).abs().max() <= 1e-5 * (1 + b.abs().max())


@pytest.mark.parametrize("device", DEVICES)
def test_no_rows_and_one_gradient_alone(device: str) -> None:
    hidden = torch.zeros(0, 8, requires_grad=True, device=device)
    nothing = torch.zeros(0, device=device)
    loss, logprob, entropy = policy_loss(hidden, torch.zeros(32, 8, device=device), nothing.long(), {"ce": nothing}, objective=Curved())
    loss.backward()
    assert loss == 0 and logprob.shape == entropy.shape == (0,) and hidden.grad is not None
    one = case(40, 8, 64, torch.float32, device)
    both = torch.autograd.grad(policy_loss(*(one[n] for n in ("hidden", "weight", "targets", "streams")), objective=Curved())[0], [one["weight"]])
    alone = policy_loss(one["hidden"].detach(), one["weight"], one["targets"], one["streams"], objective=Curved())[0]
    assert torch.equal(torch.autograd.grad(alone, one["weight"])[0], both[0])


def test_a_teacher_of_two_dtypes_is_refused() -> None:
    one = case(3, 8, 64, torch.float32, "cpu")
    teacher = (one["teacher"][0], one["teacher"][1].bfloat16())
    with pytest.raises(ValueError, match=r"teacher must be of one floating dtype, got torch.float32 and torch.bfloat16"):
        policy_loss(one["hidden"], one["weight"], one["targets"], one["streams"], objective=Curved(), teacher=teacher)
