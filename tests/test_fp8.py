"""Float8 products of the projections: against float32 with the errors that e4m3 allows, in a policy, in a learner and compiled."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from paradigm import compiled as compilation
from paradigm.fp8 import check_fp8, fp8_linear
from paradigm.kernels.layout import Layout
from paradigm.learner import Learner
from paradigm.memory_plan import _saved
from paradigm.objective import CrossEntropy
from paradigm.policy import Policy, PolicyConfig
from paradigm.recipe_run import RecipeRun, run_recipe
from paradigm.stage import Stage
from tests.learner_cases import batches, documents
from tests.policy_cases import random_tokens
from tests.test_compiled import start_over
from tests.test_policy import feed_paged
from tests.test_rl_stage import recipe_of, rows_of

K, N = 96, 64
ROUNDING = (1 + 2**-4) ** 2 - 1  # of a product of two numbers of 3 bits after the first, at most
TYPICAL = (0.025, 0.045)  # of a sum of such products: 2^-4 / sqrt(3) * 0.7 for where in its octave a number lies * sqrt(2) for two = 0.036
MAGNITUDES = 10.0 ** torch.arange(-12, 13, 2)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def scaled(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """x with its rows (or columns) of very different magnitudes, and these."""
    magnitude = MAGNITUDES[torch.arange(x.shape[dim]) % len(MAGNITUDES)].unsqueeze(1 - dim)
    return (x * magnitude).bfloat16(), magnitude


def relative(error: Tensor, truth: Tensor, dim: int | None = None) -> Tensor:
    return error.float().norm(dim=dim) / truth.float().norm(dim=dim)


def assert_rounded_to_e4m3(found: Tensor, first: Tensor, second: Tensor, magnitude: Tensor) -> None:
    """`found` is first @ second but for rounding: no entry beyond what e4m3 can do, and rows and columns as far off as it does."""
    first, second = first.float(), second.float()
    truth, size = first @ second, first.abs() @ second.abs()
    error = found.float() - truth
    # besides, what is small beside its row's largest has fewer bits, and the result is rounded to bfloat16
    floor = 2**-10 / 448 * (first.abs().amax(1, True) * second.abs().sum(0) + first.abs().sum(1, True) * second.abs().amax(0))
    assert (error.abs() <= ROUNDING * size + 1.1 * floor + 2**-8 * truth.abs()).all()
    for dim in (0, 1):
        away = relative(error / magnitude, truth / magnitude, dim)
        assert (away < 2 * TYPICAL[1]).all()
    assert TYPICAL[0] < relative(error / magnitude, truth / magnitude) < TYPICAL[1]


@pytest.mark.parametrize("tokens", [64, 37])
def test_forward_has_a_scale_for_each_row_of_both(tokens: int) -> None:
    (x, rows), (weight, outputs) = scaled(drawn(tokens, K), 0), scaled(drawn(N, K, seed=1), 0)
    y = fp8_linear(x, weight)
    assert y.dtype == torch.bfloat16
    assert_rounded_to_e4m3(y, x, weight.t(), rows * outputs.t())
    bias = drawn(N, seed=2)
    torch.testing.assert_close(fp8_linear(x[:3] * 0, weight, bias), bias.expand(3, N), rtol=0, atol=0)
    plain = fp8_linear(drawn(5, K), drawn(N, K, seed=1)).float()
    torch.testing.assert_close(fp8_linear(drawn(5, K), drawn(N, K, seed=1), bias).float(), plain + bias.float(), rtol=2**-7, atol=2**-6)


@pytest.mark.parametrize("tokens", [64, 37, 1])
def test_gradients_have_a_scale_for_each_row_of_the_outputs_and_each_column_of_the_weight(tokens: int) -> None:
    (grad, rows), (weight, inputs) = scaled(drawn(tokens, N), 0), scaled(drawn(N, K, seed=1), 1)
    x, weight, bias = drawn(tokens, K, seed=2).requires_grad_(), weight.requires_grad_(), drawn(N, seed=3).requires_grad_()
    fp8_linear(x, weight, bias).backward(grad)
    if tokens > 1:
        assert_rounded_to_e4m3(x.grad, grad, weight.detach(), rows * inputs)
    assert relative(x.grad / inputs - (grad.float() @ weight.float()) / inputs, (grad.float() @ weight.float()) / inputs) < 2 * TYPICAL[1]
    # the weight's and the bias's are bfloat16's own
    assert torch.equal(weight.grad, grad.t() @ x.detach())
    assert torch.equal(bias.grad, grad.sum(0))


def test_a_row_depends_on_no_other_and_there_may_be_none() -> None:
    x, weight = drawn(40, K), drawn(N, K, seed=1)
    spoilt = x.clone()
    spoilt[7], spoilt[8] = 1e30, float("nan")
    others = torch.arange(40)[(torch.arange(40) < 7) | (torch.arange(40) > 8)]
    torch.testing.assert_close(fp8_linear(spoilt, weight)[others], fp8_linear(x, weight)[others], rtol=2**-7, atol=1e-3)
    empty = x[:0].requires_grad_()
    fp8_linear(empty, weight.requires_grad_()).sum().backward()
    assert empty.grad.shape == (0, K) and not weight.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_zeros_stay_zeros_and_what_is_not_finite_stays_so(bad: float) -> None:
    rows = drawn(6, K)
    rows[1], rows[2], rows[3, 5], rows[4, 0] = 0, 1e-38, bad, 3e38
    y = fp8_linear(rows, drawn(N, K, seed=1))
    assert not y[1].any() and not y[3].isfinite().any() and y[[0, 2, 5]].isfinite().all()
    x, weight, grad = drawn(6, K, seed=2).requires_grad_(), drawn(N, K, seed=1).requires_grad_(), drawn(6, N, seed=3)
    grad[1], grad[3, 5] = 0, bad
    fp8_linear(x, weight).backward(grad)
    assert not x.grad[1].any() and not x.grad[3].isfinite().any() and x.grad[[0, 2, 4, 5]].isfinite().all()
    assert not weight.grad[5].isfinite().any()


SHAPE = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16,
    "max_position_embeddings": 64, "dtype": "bfloat16", "heads": ("value",),
}  # fmt: skip


def fast(fp8: bool = True, **changes: object) -> Policy:
    policy = Policy(PolicyConfig(**{**SHAPE, **changes}), seed=3)
    policy.exact = False
    policy.fp8 = fp8
    return policy


def gradients(policy: Policy) -> dict[str, Tensor]:
    learner = Learner(policy)
    for batch in batches(max_tokens=30):
        learner.forward_backward(batch, CrossEntropy())
    return {name: gradient.clone() for name, gradient in learner._weights.gradients().items()}


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize("recomputed", [0, 2])
def test_a_policys_gradients_are_near_bfloat16s_and_the_same_recomputed(family: str, recomputed: int) -> None:
    changes = {"family": family, "qk_norm": family == "qwen3", "attention_bias": family == "qwen2"}
    policy = fast(**changes)
    policy.recomputed_layers = recomputed
    plain, ours = gradients(fast(False, **changes)), gradients(policy)
    assert plain.keys() == ours.keys() and len(plain) > 30
    for name, expected in plain.items():
        assert 1e-3 < relative(ours[name] - expected, expected) < 0.2, name
    if recomputed:
        assert all(torch.equal(grad, again) for grad, again in zip(ours.values(), gradients(fast(**changes)).values()))


def test_as_much_is_kept_for_the_backward_pass_as_by_bfloat16s_products() -> None:
    assert _saved(fast(), 40) == _saved(fast(False), 40) > 0


@pytest.fixture
def like_inductor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled graphs run as they are, cut into forward and backward as inductor does."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager_decomp_partition")
    start_over()
    yield
    start_over()


def test_compiled_layers_give_the_eager_gradients_by_one_compilation(like_inductor: None) -> None:
    plain, policy = gradients(fast()), fast()
    policy.compiled, policy.recomputed_layers = True, 1
    ours = gradients(policy)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for name, expected in plain.items():
        assert relative(ours[name] - expected, expected) < 0.02, name
    policy.recomputed_layers = 0
    assert _saved(policy, 40) <= _saved(fast(), 40) + 256, "no float8 weights: FSDP would let go of the others for nothing"


def losses(fp8: bool) -> list[float]:
    policy = fast(fp8)
    learner, found = Learner(policy, learning_rate=3e-3), []
    (batch,) = batches(documents(n=20), ce=1.0)
    for _ in range(20):
        found.append(float(learner.forward_backward(batch, CrossEntropy())["train/loss"]))
        learner.step()
    return found


def test_it_learns_as_bfloat16_does() -> None:
    plain, ours = losses(False), losses(True)
    assert plain != ours
    fallen = plain[0] - plain[-1]
    assert fallen > 1 and abs((ours[0] - ours[-1]) - fallen) < 0.05 * fallen


def test_a_gradient_that_is_not_finite_skips_the_step() -> None:
    policy = fast()
    learner = Learner(policy)
    before = [p.detach().clone() for p in policy.parameters()]

    def spoil(module: object, inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        outputs[0].register_hook(lambda grad: grad * float("inf"))

    spoilt = policy.model.layers[1].register_forward_hook(spoil)
    for bad in (True, False):
        learner.forward_backward(batches()[0], CrossEntropy())
        learner.step()
        assert learner.num_skipped == 1
        assert bad == all(torch.equal(p, old) for p, old in zip(policy.parameters(), before))
        spoilt.remove()


def test_log_probs_are_those_of_training_and_the_sampler_keeps_bfloat16() -> None:
    policy, plain = fast(), fast(False)
    (batch,) = batches()
    hidden = policy(batch.tokens, batch.layout)
    assert hidden.requires_grad
    with torch.no_grad():
        assert torch.equal(policy(batch.tokens, batch.layout), hidden)
    assert 1e-4 < (policy.log_probs(batch) - plain.log_probs(batch)).abs().mean() < 0.05
    ours, theirs = (feed_paged(p, [random_tokens(9)], [[5], [4]])[0] for p in (policy, plain))
    assert torch.equal(ours, theirs)
    layout = Layout([0, 9])
    assert not torch.equal(policy(random_tokens(9), layout), plain(random_tokens(9), layout))


def test_a_stage_logs_what_it_costs_and_is_measured_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = [replace(recipe_of(steps=1, fp8=fp8), dtype="bfloat16") for fp8 in (False, True)]
    with pytest.raises(ValueError, match="fp8 must be False in exact mode"):
        run_recipe(recipes[1], tmp_path / "exact")
    before, evaluate, measured = RecipeRun.policy_before, RecipeRun.evaluate, []

    def policy_before(run: RecipeRun, stage: Stage) -> tuple[Policy, int]:
        policy, tokens = before(run, stage)
        policy.exact = False
        return policy, tokens

    def measure(run: RecipeRun, stage: Stage, policy: Policy, *position: int, final: bool) -> None:
        measured.append(policy.fp8)
        evaluate(run, stage, policy, *position, final=final)

    monkeypatch.setattr(RecipeRun, "policy_before", policy_before)
    monkeypatch.setattr(RecipeRun, "evaluate", measure)
    distances = []
    for recipe, name in zip(recipes, ("bfloat16", "fp8")):
        run_recipe(recipe, tmp_path / name)
        distances.append(rows_of(tmp_path / name, "rl")[0]["mismatch/distance"])
    assert distances[0] < distances[1] < 0.1 and measured == [False, False]


def test_only_fast_mode_of_bfloat16_weights_of_multiples_of_16_takes_it() -> None:
    policy = fast()
    policy.exact = True  # which wins
    assert not policy.fp8
    with pytest.raises(ValueError, match=r"fp8 must be False in exact mode.*got True: set exact = False first"):
        policy.fp8 = True
    policy.fp8 = False
    policy.exact = False
    assert not policy.fp8
    with pytest.raises(ValueError, match=r"fp8 must be False unless the weights are torch.bfloat16.*got True with torch.float32"):
        fast(dtype="float32")
    for changes, message in (
        ({"hidden_size": 72}, "hidden_size must be a multiple of 16 with fp8, got 72"),
        ({"intermediate_size": 100}, "intermediate_size must be a multiple of 16 with fp8, got 100"),
        ({"num_kv_heads": 1, "head_dim": 24, "num_heads": 2}, r"num_kv_heads \* head_dim must be a multiple of 16 with fp8, got 24"),
        ({"num_kv_heads": 1, "head_dim": 8, "num_heads": 3}, r"num_heads \* head_dim must be a multiple of 16 with fp8, got 24"),
    ):
        with pytest.raises(ValueError, match=message):
            fast(**changes)
    policy = fast()
    policy.float()
    with pytest.raises(ValueError, match=r"x and weight must be torch.bfloat16, got torch.float32"):
        gradients(policy)


@pytest.mark.parametrize(("capability", "fits"), [((8, 0), False), ((8, 6), False), ((8, 9), True), ((9, 0), True), ((12, 0), True)])
def test_a_device_without_float8_is_refused(capability: tuple[int, int], fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    config, dtype = PolicyConfig(**SHAPE), torch.bfloat16
    if fits:
        check_fp8(config, dtype, torch.device("cuda"))
        return
    with pytest.raises(ValueError, match=rf"below compute capability 8.9, got True on a device of 8.{capability[1]}"):
        check_fp8(config, dtype, torch.device("cuda"))
    with pytest.raises(ValueError, match="got True on mps"):
        check_fp8(config, dtype, torch.device("mps"))
