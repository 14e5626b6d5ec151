"""The models that benchmarks run, ours and the same weights in transformers."""

from __future__ import annotations

import tempfile
from typing import Any

from paradigm.policy import Policy, PolicyConfig

__all__ = ["PACK_TOKENS", "POLICY_1_8M", "QUICKSTART", "SMALL", "describe", "make_policy", "to_transformers"]

QUICKSTART: dict[str, Any] = {  # as recipes/quickstart.toml
    "family": "qwen3", "vocab_size": 272, "hidden_size": 128, "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "head_dim": 32,
    "intermediate_size": 384, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip
SMALL: dict[str, Any] = {  # 2.4M parameters
    "family": "qwen3", "vocab_size": 272, "hidden_size": 192, "num_layers": 6, "num_heads": 6, "num_kv_heads": 2, "head_dim": 32,
    "intermediate_size": 512, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip
# to a batch of SMALL's in training, by dtype: chosen on two cores of a Zen 5, as peers get the best of their micro-batches
PACK_TOKENS = {"float32": 4096, "bfloat16": 6144}
POLICY_1_8M: dict[str, Any] = {**SMALL, "num_layers": 5, "intermediate_size": 448}


def describe(shape: dict[str, Any]) -> str:
    """A shape in one line, with its number of parameters."""
    count = sum(p.numel() for p in Policy(PolicyConfig(**shape), seed=None, device="meta").parameters())
    return (
        f"{shape['family']} of {count:,} parameters: hidden {shape['hidden_size']}, {shape['num_layers']} layers, "
        f"{shape['num_heads']}/{shape['num_kv_heads']} heads of {shape['head_dim']}, ff {shape['intermediate_size']}, "
        f"vocabulary {shape['vocab_size']}, {'tied' if shape['tie_word_embeddings'] else 'untied'}"
    )


def make_policy(shape: dict[str, Any], dtype: str, device: str = "cpu") -> Policy:
    """A policy of random weights, the same for a shape on every device."""
    return Policy(PolicyConfig(**shape, dtype=dtype), seed=0, device=device)


def to_transformers(policy: Policy, attention: str) -> Any:
    """The same weights as transformers' own model, by way of a saved folder.

    Args:
        attention: transformers' attn_implementation, "sdpa" or "eager".
    Raises: ImportError without transformers.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        # transformers may map the file that goes away with the folder
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=policy.head_weight.dtype, attn_implementation=attention)
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    return model.to(policy.device)
