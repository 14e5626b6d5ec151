"""Small policies and tokens that several test files use."""

import torch
from torch import Tensor

from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig

SHAPE = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}


def make(family: str = "qwen3", seed: int = 0, **changes: object) -> Policy:
    return Policy(PolicyConfig(**{**SHAPE, "family": family, **changes}), seed=seed)


def random_tokens(n: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (n,), generator=torch.Generator().manual_seed(seed))
