"""llama.cpp beside us: a policy of ours as a GGUF file, and rollouts of it by llama.cpp's batched decoding through llama-cpp-python.

Raises ImportError, for the race to report, without llama-cpp-python or, for a file that must be written, gguf.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paradigm.kernels.layout import Layout
from paradigm.policy import Policy

__all__ = ["LlamaCpp", "reference_logits", "require_same_logits", "write_gguf"]

_GGML_TYPES = {"F32": 0, "F16": 1}
_CELLS = 256  # llama.cpp's caches are made of so many
_SEED = 0


def write_gguf(policy: Policy, path: Path, weights: str) -> None:
    """Writes a Llama or Qwen3 policy without biases and rope scaling as llama.cpp's own converter does, vectors in F32, and no vocabulary's text.

    Args: weights: type of the matrices, "F32", "F16" or "BF16".
    Raises: ImportError without gguf; ValueError for another policy.
    """
    import gguf

    from paradigm.interop.gguf import LAYER_TENSORS, TENSORS

    names = {module: name for name, module in (TENSORS | LAYER_TENSORS).items()}
    config = policy.config
    if config.family not in ("llama", "qwen3") or config.rope_scaling or config.attention_bias or config.mlp_bias:
        raise ValueError(f"policy must be a llama or qwen3 without biases and rope scaling, got {config}")
    kind = gguf.GGMLQuantizationType[weights]
    writer = gguf.GGUFWriter(str(path), config.family)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.width)
    writer.add_value_length(config.width)
    writer.add_rope_dimension_count(config.width)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("no_vocab")
    for name, parameter in policy.named_parameters():
        stem, _, part = name.rpartition(".")
        layer = ""
        if stem.startswith("model.layers."):
            number, stem = stem.removeprefix("model.layers.").split(".", 1)
            layer = f"blk.{number}."
        array = parameter.detach().float().numpy()
        if config.family == "llama" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
            # llama.cpp rotates neighbouring channels where Hugging Face rotates the two halves of a head
            heads = config.num_heads if stem.endswith("q_proj") else config.kv_heads
            array = array.reshape(heads, 2, config.width // 2, -1).swapaxes(1, 2).reshape(array.shape)
        array = np.ascontiguousarray(array)
        if array.ndim == 2:
            writer.add_tensor(f"{layer}{names[stem]}.{part}", gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{layer}{names[stem]}.{part}", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A model in llama.cpp and a context for B sequences of equal lengths, all of which every step decodes in one batch.

    Args:
        path: a GGUF file; it is read at once and may go away.
        batch, prompt_tokens, new_tokens: B, and tokens of each sequence.
        cache: type of keys and values, "F32" or "F16" (its default).
        flash: flash attention.
        unified: one cache for all sequences, whose attention masks the others' cells; else a stream of cells for each sequence.
        ubatch: tokens that are computed at once at most.
    """

    def __init__(
        self, path: Path, batch: int, prompt_tokens: int, new_tokens: int, *, cache: str, flash: bool, unified: bool = False,
        ubatch: int = 512,
    ):  # fmt: skip
        import llama_cpp

        self._api = api = llama_cpp
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)  # below it, llama.cpp tells of every tensor
        api.llama_backend_init()
        model_params = api.llama_model_default_params()
        model_params.use_mmap = False
        self._model = api.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = api.llama_context_default_params()
        params.n_seq_max = batch
        params.n_ctx = batch * (-(-(prompt_tokens + new_tokens) // _CELLS) * _CELLS)
        params.n_batch = batch * prompt_tokens
        params.n_ubatch = max(batch, min(ubatch, params.n_batch))
        params.n_threads = params.n_threads_batch = torch.get_num_threads()
        params.flash_attn_type = int(flash)
        params.type_k = params.type_v = _GGML_TYPES[cache]
        params.kv_unified = unified
        params.no_perf = True
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            api.llama_model_free(self._model)
            raise RuntimeError(f"llama.cpp makes no context for {batch} sequences of {prompt_tokens + new_tokens} tokens")
        self._memory = api.llama_get_memory(self._context)
        self._vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._batch, self._prompt_tokens, self._new_tokens = batch, prompt_tokens, new_tokens
        self._prompt = self._make_batch(prompt_tokens)
        self._step = self._make_batch(1)
        self._samplers: dict[str, Any] = {}
        for name, sampler in (("drawn", api.llama_sampler_init_dist(_SEED)), ("greedy", api.llama_sampler_init_greedy())):
            self._samplers[name] = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
            api.llama_sampler_chain_add(self._samplers[name], sampler)

    def _make_batch(self, length: int) -> tuple[Any, dict[str, np.ndarray]]:
        """A llama_batch of `length` tokens of each sequence, the last of each with logits, and its arrays [B, length]."""
        size = self._batch * length
        batch = self._api.llama_batch_init(size, 0, 1)
        batch.n_tokens = size
        arrays = {name: np.ctypeslib.as_array(getattr(batch, name), (size,)).reshape(self._batch, length) for name in ("token", "pos", "logits")}
        np.ctypeslib.as_array(batch.n_seq_id, (size,))[:] = 1
        for i in range(size):
            batch.seq_id[i][0] = i // length
        arrays["pos"][:] = np.arange(length)
        arrays["logits"][:] = np.arange(length) == length - 1
        return batch, arrays

    def _decode(self, batch: Any) -> None:
        status = self._api.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")

    def generate(self, prompts: np.ndarray, *, greedy: bool) -> np.ndarray:
        """Tokens int32 [B, new_tokens] after prompts [B, prompt_tokens], drawn at temperature 1 or greedily, by llama.cpp's own sampler."""
        api, context = self._api, self._context
        sample, sampler = api.llama_sampler_sample, self._samplers["greedy" if greedy else "drawn"]
        out = np.empty((self._batch, self._new_tokens), np.int32)
        api.llama_memory_clear(self._memory, False)
        batch, arrays = self._prompt
        arrays["token"][:] = prompts
        rows: range = range(self._prompt_tokens - 1, self._batch * self._prompt_tokens, self._prompt_tokens)
        for i in range(self._new_tokens):
            self._decode(batch)
            out[:, i] = [sample(sampler, context, row) for row in rows]
            batch, arrays = self._step
            arrays["token"][:, 0] = out[:, i]
            arrays["pos"][:] = self._prompt_tokens + i
            rows = range(self._batch)
        return out

    def logits(self, prompts: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Float32 [B, 1 + S, V]: logits after prompts [B, prompt_tokens], then after each of the tokens following [B, S]."""
        api, parts = self._api, []
        api.llama_memory_clear(self._memory, False)
        self._prompt[1]["token"][:] = prompts
        for i in range(1 + following.shape[1]):
            batch, arrays = self._step if i else self._prompt
            if i:
                arrays["token"][:, 0] = following[:, i - 1]
                arrays["pos"][:] = self._prompt_tokens + i - 1
            self._decode(batch)
            parts.append(np.ctypeslib.as_array(api.llama_get_logits(self._context), (self._batch, self._vocab_size)).copy())
        return np.stack(parts, 1)

    def close(self) -> None:
        """Frees everything; once."""
        for sampler in self._samplers.values():
            self._api.llama_sampler_free(sampler)
        for batch, _ in (self._prompt, self._step):
            self._api.llama_batch_free(batch)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)


def _following(prompts: torch.Tensor) -> torch.Tensor:
    """Three tokens to feed after each of the prompts, one at a time."""
    return prompts[:, :3].flip(0)


@torch.no_grad()
def reference_logits(policy: Policy, prompts: torch.Tensor) -> torch.Tensor:
    """Logits [B, 4, V] of a policy after prompts [B, P] and after each of three more tokens, without a cache."""
    tokens = torch.cat([prompts, _following(prompts)], 1)
    count, length = tokens.shape
    hidden = policy(tokens.flatten(), Layout([i * length for i in range(count + 1)])).view(count, length, -1)
    return policy.logits(hidden[:, prompts.shape[1] - 1 :].flatten(0, 1)).view(count, -1, policy.config.vocab_size)


def require_same_logits(truth: torch.Tensor, model: LlamaCpp, prompts: torch.Tensor, tolerance: float) -> float:
    """Whether llama.cpp computes the same function, prompts at once and then token by token from its cache.

    Args:
        truth: `reference_logits` of our policy in float32, whose weights are the file's.
        model: made for as many prompts [B, P].
        tolerance: the greatest root mean square of differences, in standard deviations of the truth.
    Returns: it, in these units. Raises: RuntimeError if it is above the tolerance, which no race may pass over.
    """
    found = torch.from_numpy(model.logits(prompts.numpy(), _following(prompts).numpy()))
    difference = float((found - truth).square().mean().sqrt() / truth.std())
    if not difference <= tolerance:
        raise RuntimeError(f"llama.cpp's logits must differ from ours by at most {tolerance:g} of their standard deviation, got {difference:.3g}")
    return difference
