"""A decoder layer as one node of autograd's graph: the bits of its operators forward, their gradients, and only where that is all there is to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import paradigm.transformer
from paradigm.cpu_layer import has_layer
from paradigm.kernels.layout import Layout
from paradigm.policy import Policy, PolicyConfig

SHAPE: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 48, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "intermediate_size": 80,
    "max_position_embeddings": 128,
}  # fmt: skip
FAMILIES = {
    "qwen3": {"family": "qwen3"},
    "qwen2": {"family": "qwen2"},
    "llama": {"family": "llama", "mlp_bias": True},
    "window": {"family": "qwen3", "sliding_window": 5, "layer_types": ("sliding_attention", "full_attention")},
}
LAYOUT = Layout([0, 3, 3, 20, 41, 60], parent=[-1, -1, -1, 2, 2])  # an empty document, and two that share a prompt


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every layer that is one node."""
    if not has_layer(torch.empty(0)):
        pytest.skip("on this processor a layer is its operators")
    calls: list[int] = []
    inner = paradigm.transformer.decoder_layer
    monkeypatch.setattr(paradigm.transformer, "decoder_layer", lambda *args: (calls.append(1), inner(*args))[1])
    return calls


def _policy(family: str, dtype: str) -> Policy:
    policy = Policy(PolicyConfig(**{**SHAPE, **FAMILIES[family]}, dtype=dtype), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.parameters():
        if parameter.dim() == 1:  # norms of one and biases of zero would hide mistakes
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return policy


def _run(policy: Policy) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    policy.zero_grad()
    hidden = policy(torch.arange(LAYOUT.num_tokens) * 7 % 40, LAYOUT)
    weight = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2))
    (hidden.float() * weight).sum().backward()
    return hidden.detach(), {name: p.grad.double() for name, p in policy.named_parameters() if p.grad is not None}


def _by_operators(policy: Policy) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    hooks = [layer.mlp.register_forward_hook(lambda *_: None) for layer in policy.model.layers]  # type: ignore[union-attr, operator]
    result = _run(policy)
    for hook in hooks:
        hook.remove()
    return result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_is_what_its_operators_are(family: str, dtype: str, nodes: list[int]) -> None:
    policy = _policy(family, dtype)
    if not has_layer(policy.head_weight):
        pytest.skip(f"on this processor a layer in {dtype} is its operators")
    hidden, grads = _run(policy)
    assert len(nodes) == 2
    expected, by_operators = _by_operators(policy)
    assert len(nodes) == 2  # a hook takes the layer apart
    assert torch.equal(hidden, expected)
    assert set(grads) == set(by_operators)
    exact = _run(policy.double())[1]  # by torch's reference operators
    for name, grad in grads.items():
        scale = exact[name].norm()
        assert (grad - exact[name]).norm() <= (1e-5 if dtype == "float32" else 0.1) * scale, name
        assert (grad - exact[name]).norm() <= 1.3 * (by_operators[name] - exact[name]).norm() + 1e-6 * scale, name


@pytest.mark.parametrize("trained", ["mlp", "self_attn.o_proj", "layers.1.input_layernorm", "bias"])
def test_only_what_is_trained_has_a_gradient(trained: str) -> None:
    policy = _policy("qwen2", "float32")
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(trained in name)
    _, grads = _run(policy)
    assert set(grads) == {name for name, p in policy.named_parameters() if p.requires_grad}
    for name, expected in _by_operators(policy)[1].items():
        torch.testing.assert_close(grads[name], expected, rtol=1e-4, atol=1e-5)


def test_recomputed_layers_give_the_same_gradients(nodes: list[int]) -> None:
    policy = _policy("qwen3", "float32")
    expected = _run(policy)[1]
    policy.recomputed_layers = 2
    again = _run(policy)[1]
    assert len(nodes) == 6  # forward twice
    assert all(torch.equal(grad, expected[name]) for name, grad in again.items())


def test_is_taken_apart_where_more_is_asked_of_it(nodes: list[int]) -> None:
    policy = _policy("qwen3", "float32")
    layers: Any = policy.model.layers
    with torch.no_grad():
        policy(torch.arange(60) % 40, LAYOUT)
    hook = layers[0].self_attn.k_norm.register_full_backward_hook(lambda *_: None)
    other = layers[1].mlp.up_proj.register_forward_pre_hook(lambda *_: None)
    _run(policy)
    assert not nodes
    hook.remove()
    other.remove()
    layers[1].mlp.down_proj = torch.nn.Linear(80, 48, bias=False)
    _run(policy)
    assert len(nodes) == 1  # the layer before it
    policy.exact = False
    _run(policy)
    assert len(nodes) == 1
