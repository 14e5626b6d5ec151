"""A policy's layers through torch.compile: the results of the plain ones, and one compilation for all layers and all batches."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from paradigm import compiled as compilation
from paradigm import transformer
from paradigm.kernels.layout import Layout
from paradigm.learner import Learner
from paradigm.policy import Policy, PolicyConfig
from tests.learner_cases import train

SHAPES: dict[str, dict] = {
    "llama": {},
    "qwen2": {"family": "qwen2", "attention_bias": True},
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 16},
}
LAYOUTS = ([2, 0, 7, 7], [3, 4], [1, 2, 9], [5], [40, 1, 40, 3], [2, 1])  # the first as many tokens as a row is wide


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """What compiles, as a counter."""
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(compilation, "BACKEND", counter)
    start_over()
    yield counter
    start_over()


def start_over() -> None:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()


def num_compilations() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def fast(**options) -> Policy:
    shape = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_layers": 4, "num_heads": 2, "num_kv_heads": 1, "heads": ("value",)}
    policy = Policy(PolicyConfig(**{**shape, **options}), seed=3)
    policy.exact = False
    return policy


def results(policy: Policy, lengths: list[int], parent: list[int] | None = None) -> dict[str, Tensor]:
    """Hidden states and all gradients."""
    layout = Layout([0, *torch.tensor(lengths).cumsum(0).tolist()], parent)
    generator = torch.Generator().manual_seed(len(lengths))
    policy.zero_grad()
    hidden = policy(torch.randint(0, 32, (layout.num_tokens,), generator=generator), layout)
    (hidden * torch.randn(hidden.shape, generator=generator)).sum().backward()
    return {"hidden": hidden.detach()} | {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def assert_like_plain(policy: Policy, lengths: list[int], parent: list[int] | None = None) -> None:
    found = []
    for compiled in (False, True):
        policy.compiled = compiled
        found.append(results(policy, lengths, parent))
    plain, ours = found
    assert len(plain) > 20 and plain.keys() == ours.keys()
    for name, expected in plain.items():
        assert (ours[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("recomputed", [0, 2])
def test_hidden_states_and_gradients_are_the_plain_ones_and_one_compilation_serves(shape: str, recomputed: int, counter) -> None:
    policy = fast(**SHAPES[shape])
    policy.recomputed_layers = recomputed
    for lengths in LAYOUTS:
        assert_like_plain(policy, lengths)
        assert num_compilations() == 1, lengths
    policy.recomputed_layers = 4 - recomputed
    assert_like_plain(policy, [6, 6])
    assert num_compilations() == 1
    assert_like_plain(policy, [4, 3, 2], [-1, 0, 0])
    assert_like_plain(policy, [4, 3, 2, 5], [-1, 0, 0, -1])
    assert num_compilations() == 2  # parents are another graph
    assert counter.frame_count > 0


def test_inductor_gives_the_plain_results() -> None:
    start_over()
    policy = fast(**SHAPES["qwen3"])
    for recomputed in (0, 4):
        policy.recomputed_layers = recomputed
        for lengths in LAYOUTS:
            assert_like_plain(policy, lengths)
    assert num_compilations() == 1
    start_over()


def test_layers_with_windows_are_a_second_compilation(counter) -> None:
    policy = fast(family="qwen2", sliding_window=2, layer_types=("full_attention", "sliding_attention") * 2)
    for lengths in LAYOUTS:
        assert_like_plain(policy, lengths)
        assert num_compilations() == 2


def test_a_learner_trains_the_same(counter) -> None:
    policies = []
    for compiled in (False, True):
        policy = fast(vocab_size=16)
        policy.compiled = compiled
        learner = Learner(policy, learning_rate=0.02, late=compiled)
        train(learner, 4)
        learner.settle()
        policies.append(policy)
    assert num_compilations() == 1
    for (name, plain), ours in zip(policies[0].named_parameters(), policies[1].parameters()):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5, msg=name)


def test_only_fast_mode_compiles(counter) -> None:
    policy = fast()
    assert not policy.compiled  # on the CPU
    policy.compiled = True
    assert policy.compiled
    policy.exact = True  # which wins
    assert not policy.compiled
    results(policy, [3, 4])
    assert num_compilations() == 0
    with pytest.raises(ValueError, match=r"compiled must be False or None in exact mode.*got True: set exact = False first"):
        policy.compiled = True


def test_a_layer_that_does_not_compile_is_an_error_that_says_what_to_do(counter, monkeypatch) -> None:
    def looks_at_data(self, normed, x, step):
        return (normed, x) if normed.sum() > 0 else (x, normed)

    monkeypatch.setattr(transformer._Layer, "rest", looks_at_data)
    policy = fast()
    policy.compiled = True
    with pytest.raises(RuntimeError, match=r"do not compile here.*policy.compiled = False \(a stage's compile = false\) runs them as they are"):
        results(policy, [3, 4])
    policy.compiled = False
    results(policy, [3, 4])
