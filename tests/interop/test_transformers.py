"""Checkpoints pass between transformers and us in both directions, and compute the same."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from paradigm.kernels.layout import Layout
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig

transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn_full": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.7,
        "mscale_all_dim": 0.4, "truncate": False,
    },
    "longrope": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 16, **LONG},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
    },
}


def hugging_face(family: str, **changes: object) -> torch.nn.Module:
    """A transformers model with random weights everywhere, norms and biases included."""
    changes = {**SHAPE, **({"head_dim": 12} if family == "qwen3" else {}), **changes}
    scaling = changes.pop("rope_scaling", None)
    theta = changes.pop("rope_theta", 10000.0)
    config = getattr(transformers, {"llama": "LlamaConfig", "qwen2": "Qwen2Config", "qwen3": "Qwen3Config"}[family])(**changes)
    config.rope_parameters = {"rope_type": "default", "rope_theta": theta, **(scaling or {})}
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.3)
    return model


def their_logits(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(tokens[None].long()).logits[0]


def our_logits(policy: Policy, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return policy.logits(policy(tokens, Layout([0, tokens.numel()])))


def random_tokens(n: int) -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (n,), generator=torch.Generator().manual_seed(n))


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().max() > 0.5, "logits too small for the comparison to mean anything"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_their_checkpoint_computes_the_same_here(family: str, kv_heads: int, tied: bool, tmp_path: Path) -> None:
    model = hugging_face(family, num_key_value_heads=kv_heads, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    policy = Policy.from_pretrained(tmp_path)
    assert policy.config.family == family and policy.config.num_kv_heads == kv_heads
    assert policy.state_dict().keys() == model.state_dict().keys()
    tokens = random_tokens(37)
    assert_same(our_logits(policy, tokens), their_logits(model, tokens))


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"mlp_bias": True}, {"head_dim": 20}, {"rope_theta": 5e5}, {"rms_norm_eps": 1e-3}])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_options(family: str, changes: dict, tmp_path: Path) -> None:
    if family == "qwen3" and "mlp_bias" in changes:
        pytest.skip("Qwen3 has no biases in its MLP")
    model = hugging_face(family, **changes)
    model.save_pretrained(tmp_path)
    tokens = random_tokens(37)
    assert_same(our_logits(Policy.from_pretrained(tmp_path), tokens), their_logits(model, tokens))


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_every_rope_scaling(family: str, kind: str, tmp_path: Path) -> None:
    model = hugging_face(family, rope_scaling=SCALINGS[kind], rope_theta=100.0)
    model.save_pretrained(tmp_path)
    policy = Policy.from_pretrained(tmp_path)
    short = random_tokens(15)
    assert_same(our_logits(policy, short), their_logits(model, short))
    if kind not in ("dynamic", "longrope"):  # beyond the original length, and beyond max_position_embeddings
        long = random_tokens(90)
        assert_same(our_logits(policy, long), their_logits(model, long))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_scalings_that_depend_on_the_length_equal_cached_decoding(kind: str, tmp_path: Path) -> None:
    model = hugging_face("llama", rope_scaling=SCALINGS[kind], rope_theta=100.0)
    model.save_pretrained(tmp_path)
    tokens = random_tokens(90)
    cache, rows = None, []
    with torch.no_grad():
        for t in range(tokens.numel()):
            out = model(tokens[None, t : t + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            rows.append(out.logits[0, 0])
    ours = our_logits(Policy.from_pretrained(tmp_path), tokens)
    assert_same(ours, torch.stack(rows))
    assert (ours - their_logits(model, tokens)).abs().max() > 1e-2, "a length at which both readings agree proves nothing"


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rope_length_equals_one_long_forward(kind: str, tmp_path: Path) -> None:
    model = hugging_face("llama", rope_scaling=SCALINGS[kind], rope_theta=100.0)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "paradigm_rope_length": 90}))
    tokens = random_tokens(90)
    assert_same(our_logits(Policy.from_pretrained(tmp_path), tokens), their_logits(model, tokens))


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_sliding_windows(family: str, tmp_path: Path) -> None:
    model = hugging_face(family, use_sliding_window=True, sliding_window=7, max_window_layers=1)
    model.save_pretrained(tmp_path / "theirs")
    policy = Policy.from_pretrained(tmp_path / "theirs")
    assert policy.config.layer_types == ("full_attention", "sliding_attention", "sliding_attention")
    tokens = random_tokens(37)
    assert_same(our_logits(policy, tokens), their_logits(model, tokens))
    policy.save_pretrained(tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    assert_same(our_logits(policy, tokens), their_logits(again, tokens))


def test_config_of_transformers_4(tmp_path: Path) -> None:
    model = hugging_face("llama", rope_scaling=SCALINGS["linear"], rope_theta=500.0)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"], config["dtype"]
    old = {**config, "rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.5}, "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    tokens = random_tokens(37)
    assert_same(our_logits(Policy.from_pretrained(tmp_path), tokens), their_logits(model, tokens))


def test_their_shards(tmp_path: Path) -> None:
    model = hugging_face("qwen3")
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    tokens = random_tokens(37)
    assert_same(our_logits(Policy.from_pretrained(tmp_path), tokens), their_logits(model, tokens))


OURS = {
    "llama_tied": {"family": "llama", "tie_word_embeddings": True},
    "llama_biases": {"family": "llama", "attention_bias": True, "mlp_bias": True, "num_kv_heads": 4},
    "qwen2": {"family": "qwen2"},
    "qwen3_tied": {"family": "qwen3", "tie_word_embeddings": True, "head_dim": 20},
    "qwen3_heads": {"family": "qwen3", "heads": ("value", "reward")},
    **{f"scaled_{kind}": {"family": "llama", "rope_scaling": scaling, "rope_theta": 100.0} for kind, scaling in SCALINGS.items()},
}


@pytest.mark.parametrize("max_shard_bytes", [10**9, 30_000])
@pytest.mark.parametrize("name", OURS)
def test_our_checkpoint_opens_in_transformers(name: str, max_shard_bytes: int, tmp_path: Path) -> None:
    if max_shard_bytes == 30_000 and name.startswith("scaled"):
        pytest.skip("sharding has nothing to do with RoPE")
    shape = {
        "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "max_position_embeddings": 64, "initializer_range": 0.2,
    }
    policy = Policy(PolicyConfig(**{**shape, **OURS[name]}), seed=3)
    for parameter_name, parameter in policy.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in parameter_name else 0.0, 0.3, generator=torch.Generator().manual_seed(5))
    policy.save_pretrained(tmp_path, max_shard_bytes=max_shard_bytes)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (max_shard_bytes == 30_000)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert model.dtype == torch.float32
    tokens = random_tokens(16 if "longrope" in name else 37)
    assert_same(our_logits(policy, tokens), their_logits(model, tokens))
    again = Policy.from_pretrained(tmp_path)
    assert again.config == policy.config
    for key, value in policy.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_gradients_of_a_training_step(family: str, tmp_path: Path) -> None:
    model = hugging_face(family, tie_word_embeddings=family == "qwen3")
    model.save_pretrained(tmp_path)
    policy = Policy.from_pretrained(tmp_path)
    documents = [random_tokens(23), random_tokens(9)]
    theirs = sum(model(d[None], labels=d[None]).loss * (len(d) - 1) for d in documents)
    theirs.backward()
    packed = torch.cat(documents)
    logits = policy.logits(policy(packed, Layout([0, 23, 32])))
    predicted = [t for t in range(31) if t != 22]
    ours = torch.nn.functional.cross_entropy(logits[predicted], packed[[t + 1 for t in predicted]], reduction="sum")
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    wanted = {name: p.grad for name, p in model.named_parameters()}
    for name, parameter in policy.named_parameters():
        scale = wanted[name].abs().max().clamp(min=1.0)
        torch.testing.assert_close(parameter.grad / scale, wanted[name] / scale, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_bf16(tmp_path: Path) -> None:
    model = hugging_face("qwen3").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    policy = Policy.from_pretrained(tmp_path)
    assert policy.head_weight.dtype == torch.bfloat16 and policy.config.dtype == "bfloat16"
    tokens = random_tokens(37)
    truth = their_logits(hugging_face("qwen3").to(torch.bfloat16).float(), tokens)
    ours, theirs = our_logits(policy, tokens), their_logits(model, tokens).float()
    assert ours.dtype == torch.float32
    assert (ours - truth).abs().mean() <= 1.2 * (theirs - truth).abs().mean()
