"""torchtitan's Qwen3 with a policy's weights. Its attention, FlexAttention, has no backward on a CPU, so it trains on CUDA alone.

    pip install --no-deps torchtitan spmd_types==0.2.3 einops tyro torchdata torch_checkpointing    # its other needs are its trainer's
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from paradigm.policy import Policy

__all__ = ["document_loss", "to_torchtitan"]


def to_torchtitan(policy: Policy) -> Any:
    """The model, on the policy's device and in its dtype. Raises: ImportError without torchtitan; ValueError for another family than Qwen3."""
    from torchtitan.models import qwen3

    config = policy.config
    if config.family != "qwen3" or not config.tie_word_embeddings:
        raise ValueError(f"policy must be a Qwen3 with tied embeddings, got {config.family!r}")
    width = config.hidden_size
    model = qwen3.Qwen3Model.Config(
        vocab_size=config.vocab_size, dim=width, norm=qwen3._qwen3_norm(width), enable_weight_tying=True,
        tok_embeddings=qwen3.Embedding.Config(num_embeddings=config.vocab_size, embedding_dim=width, param_init=qwen3._EMBEDDING_SKIP_INIT),
        lm_head=qwen3.Linear.Config(in_features=width, out_features=config.vocab_size, param_init=qwen3._LINEAR_INIT),
        layers=qwen3._build_qwen3_layers(
            n_layers=config.num_layers, dim=width, n_heads=config.num_heads, n_kv_heads=config.kv_heads, head_dim=config.width,
            hidden_dim=config.intermediate_size, attn_backend="flex",
            rope=qwen3.CosSinRoPE.Config(dim=config.width, max_seq_len=config.max_position_embeddings, theta=config.rope_theta),
        ),
    )  # fmt: skip
    built = model.build()
    built.init_states()
    adapter = qwen3.Qwen3StateDictAdapter(model, None)
    weights = {name: parameter.detach().cpu() for name, parameter in policy.named_parameters()}
    built.load_state_dict(adapter.from_hf(weights), strict=False)
    return built.to(policy.device, policy.head_weight.dtype)


def document_loss(model: Any, tokens: Tensor, positions: Tensor) -> Tensor:
    """Mean negative log-likelihood of what follows within each document of a packed row.

    Args: tokens: int64 [T]. positions: int64 [T], 0 at a document's start.
    """
    rows, places = tokens[None], positions[None]
    logits = model(rows, positions=places, attention_masks=model.get_attention_masks(places))[0]
    follows = positions[1:] > 0
    return F.cross_entropy(logits[:-1][follows].float(), tokens[1:][follows])
