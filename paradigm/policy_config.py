"""The shape of a policy, and its Hugging Face config.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch

from paradigm.rope import normalise_rope_scaling

Family = Literal["llama", "qwen2", "qwen3"]
LayerType = Literal["full_attention", "sliding_attention"]

_ARCHITECTURES: dict[str, Family] = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
_DTYPES = ("float32", "bfloat16", "float16")
# what transformers assumes where config.json is silent
_DEFAULT_THETA, _DEFAULT_EPS, _DEFAULT_RANGE = 10000.0, 1e-6, 0.02
_DEFAULT_POSITIONS: dict[Family, int] = {"llama": 2048, "qwen2": 32768, "qwen3": 32768}
_QWEN3_HEAD_DIM, _QWEN_WINDOW, _QWEN_FULL_LAYERS = 128, 4096, 28


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """The shape of a `Policy`; defaults in brackets depend on other fields.

    Args:
        vocab_size: tokens V, embedded and predicted.
        hidden_size: width D of the residual stream.
        num_layers, num_heads: blocks, and query heads in each.
        num_kv_heads: key and value heads; must divide `num_heads` [num_heads].
        head_dim: width of a head, even [hidden_size // num_heads].
        intermediate_size: width of the SwiGLU layer.
        family: which architecture this is, hence which optional parts it has: Qwen2 has biases on q, k and v, Qwen3 has QK-norm.
        rope_theta, rope_scaling: base of RoPE's wavelengths; a scaling as in config.json (see paradigm.rope), or None.
        rope_length: rotate `dynamic` and `longrope` as in sequences of this many tokens; None goes by each token's own position.
        max_position_embeddings: tokens in a sequence that the model was made for (a fact, not a limit).
        rms_norm_eps: added to the mean square before the root.
        tie_word_embeddings: predict with the embedding matrix.
        attention_bias: biases on the attention projections [family == "qwen2"].
        mlp_bias: biases on the MLP projections (Llama only).
        qk_norm: RMSNorm on each query and key head [family == "qwen3"].
        sliding_window: tokens, itself included, that a token sees in layers of type "sliding_attention" (Qwen2 and Qwen3 only).
        layer_types: "full_attention" or "sliding_attention" for each layer [all "full_attention"].
        heads: names of scalar heads, such as "value" and "reward".
        initializer_range: standard deviation of new weights.
        dtype: of the parameters: "float32", "bfloat16" or "float16".
        extra: entries of config.json that mean nothing here; written back as they came.
    Raises: ValueError naming the field, the rule and the value.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    family: Family = "qwen3"
    rope_theta: float = _DEFAULT_THETA
    rope_scaling: dict[str, Any] | None = None
    rope_length: int | None = None
    max_position_embeddings: int = 4096
    rms_norm_eps: float = _DEFAULT_EPS
    tie_word_embeddings: bool = False
    attention_bias: bool | None = None
    mlp_bias: bool = False
    qk_norm: bool | None = None
    sliding_window: int | None = None
    layer_types: tuple[LayerType, ...] | None = None
    heads: tuple[str, ...] = ()
    initializer_range: float = _DEFAULT_RANGE
    dtype: str = "float32"
    extra: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.family not in _ARCHITECTURES.values():
            raise ValueError(f"family must be one of {', '.join(_ARCHITECTURES.values())}, got {self.family!r}")
        for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_position_embeddings"):
            _check_positive(name, getattr(self, name))
        for name in ("num_kv_heads", "head_dim", "rope_length", "sliding_window"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
                raise ValueError(f"{name} must be a number > 0, got {value!r}")
        if self.head_dim is None and self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size must be a multiple of num_heads = {self.num_heads} unless head_dim is given, got {self.hidden_size}")
        defaults: dict[str, Any] = {
            "num_kv_heads": self.num_heads,
            "head_dim": self.hidden_size // self.num_heads,
            "attention_bias": self.family == "qwen2",
            "qk_norm": self.family == "qwen3",
            "layer_types": ("full_attention",) * self.num_layers,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "layer_types", tuple(cast(tuple[LayerType, ...], self.layer_types)))
        object.__setattr__(self, "heads", tuple(self.heads))
        self._check_family()
        scaling = normalise_rope_scaling(self.rope_scaling, head_dim=self.width, max_position_embeddings=self.max_position_embeddings)
        object.__setattr__(self, "rope_scaling", scaling)

    def _check_family(self) -> None:
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads must divide num_heads = {self.num_heads}, got {self.num_kv_heads}")
        if self.width % 2:
            raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")
        if self.family == "llama" and self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size of a llama must be a multiple of num_heads = {self.num_heads}, got {self.hidden_size}")
        if self.family == "qwen2" and not self.attention_bias:
            raise ValueError(f"attention_bias of a qwen2 must be true, got {self.attention_bias}")
        if self.mlp_bias and self.family != "llama":
            raise ValueError(f"mlp_bias must be false for {self.family}, got {self.mlp_bias}")
        if self.qk_norm != (self.family == "qwen3"):
            raise ValueError(f"qk_norm must be {self.family == 'qwen3'} for {self.family}, got {self.qk_norm}")
        types = cast(tuple[str, ...], self.layer_types)
        if len(types) != self.num_layers or not set(types) <= {"full_attention", "sliding_attention"}:
            raise ValueError(f'layer_types must be "full_attention" or "sliding_attention" for each of {self.num_layers} layers, got {types}')
        if "sliding_attention" in types and (self.sliding_window is None or self.family == "llama"):
            raise ValueError(f"sliding_attention layers need sliding_window and qwen2 or qwen3, got {self.sliding_window} and {self.family}")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {self.dtype!r}")
        if len(set(self.heads)) != len(self.heads) or not all(isinstance(name, str) and name.isidentifier() for name in self.heads):
            raise ValueError(f"heads must be distinct identifiers, got {self.heads}")

    @property
    def kv_heads(self) -> int:
        """num_kv_heads, resolved."""
        return cast(int, self.num_kv_heads)

    @property
    def width(self) -> int:
        """head_dim, resolved."""
        return cast(int, self.head_dim)

    @property
    def torch_dtype(self) -> torch.dtype:
        """dtype as torch's."""
        return cast(torch.dtype, getattr(torch, self.dtype))

    def window(self, layer: int) -> int | None:
        """Tokens, itself included, that a token sees in this layer; None for all."""
        return self.sliding_window if cast(tuple[str, ...], self.layer_types)[layer] == "sliding_attention" else None

    def to_hugging_face(self) -> dict[str, Any]:
        """The content of config.json, in the form that transformers 4.4x and 5.x both read."""
        architecture = next(name for name, family in _ARCHITECTURES.items() if family == self.family)
        types = cast(tuple[str, ...], self.layer_types)
        written: dict[str, Any] = {
            "architectures": [architecture],
            "model_type": self.family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "hidden_act": "silu",
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.attention_bias,
            "initializer_range": self.initializer_range,
            "dtype": self.dtype,
            "torch_dtype": self.dtype,  # transformers before 4.56
        }
        if self.family == "llama":
            written["mlp_bias"] = self.mlp_bias
        else:
            is_sliding = "sliding_attention" in types
            written["use_sliding_window"] = is_sliding
            written["sliding_window"] = self.sliding_window
            # transformers before 4.53 knows only that the layers from this one on slide
            written["max_window_layers"] = types.index("sliding_attention") if is_sliding else self.num_layers
            written["layer_types"] = list(types)
        if self.rope_scaling is not None and self.rope_scaling["rope_type"] == "longrope":  # transformers 4 reads it from out here
            written["original_max_position_embeddings"] = self.rope_scaling["original_max_position_embeddings"]
        if self.heads:
            written["paradigm_heads"] = list(self.heads)
        if self.rope_length is not None:
            written["paradigm_rope_length"] = self.rope_length
        return {**self.extra, **written}

    @classmethod
    def from_hugging_face(cls, entries: Mapping[str, Any]) -> PolicyConfig:
        """Read the content of config.json as transformers 4 or 5 wrote it; entries that mean nothing here are kept in `extra`.

        Raises: ValueError for another architecture, a variant that is not supported (quantised weights, another activation), a missing
            entry or one out of range.
        """
        left = dict(entries)
        family = _family(left)
        if left.pop("quantization_config", None) is not None:
            raise ValueError("config.json has quantization_config; weights must be plain floating point: dequantise the checkpoint first")
        activation = left.pop("hidden_act", "silu")
        if activation not in ("silu", "swish"):
            raise ValueError(f"config.json hidden_act must be silu, got {activation!r}")
        missing = [n for n in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size") if n not in left]
        if missing:
            raise ValueError(f"config.json must have {', '.join(missing)}")
        if family == "qwen2" and left.pop("attention_bias", True) is not True:
            raise ValueError("config.json attention_bias of a qwen2 must be true or absent, got False")
        max_positions = left.pop("max_position_embeddings", _DEFAULT_POSITIONS[family])
        theta, scaling = _rope(left)
        num_layers = left.pop("num_hidden_layers")
        window, types = _sliding(left, family, num_layers)
        dtype = left.pop("dtype", None) or left.get("torch_dtype") or "float32"
        left.pop("torch_dtype", None)
        return cls(
            family=family,
            vocab_size=left.pop("vocab_size"),
            hidden_size=left.pop("hidden_size"),
            num_layers=num_layers,
            num_heads=left.pop("num_attention_heads"),
            num_kv_heads=left.pop("num_key_value_heads", None),
            head_dim=left.pop("head_dim", _QWEN3_HEAD_DIM if family == "qwen3" else None),
            intermediate_size=left.pop("intermediate_size"),
            rope_theta=theta,
            rope_scaling=scaling,
            rope_length=left.pop("paradigm_rope_length", None),
            max_position_embeddings=max_positions,
            rms_norm_eps=left.pop("rms_norm_eps", _DEFAULT_EPS),
            tie_word_embeddings=bool(left.pop("tie_word_embeddings", False)),
            attention_bias=True if family == "qwen2" else bool(left.pop("attention_bias", False)),
            mlp_bias=bool(left.pop("mlp_bias", False)),
            sliding_window=window,
            layer_types=types,
            heads=tuple(left.pop("paradigm_heads", ())),
            initializer_range=left.pop("initializer_range", _DEFAULT_RANGE),
            dtype=dtype.removeprefix("torch."),
            extra=left,
        )


def widened(config: PolicyConfig, times: int) -> PolicyConfig:
    """The shape of a policy so many times as wide: with as many more heads of the same size."""
    names = ("hidden_size", "num_heads", "num_kv_heads", "intermediate_size")
    return dataclasses.replace(config, **{name: getattr(config, name) * times for name in names})


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def _family(left: dict[str, Any]) -> Family:
    """Take the architecture's name out of config.json; `model_type` decides where there is no list of architectures."""
    names, model_type = left.pop("architectures", None) or [], left.pop("model_type", None)
    name = names[0] if names else next((known for known, family in _ARCHITECTURES.items() if family == model_type), None)
    if name not in _ARCHITECTURES:
        raise ValueError(f"config.json must be of {', '.join(_ARCHITECTURES)}, got architectures={names}, model_type={model_type!r}")
    return _ARCHITECTURES[name]


def _rope(left: dict[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Take RoPE's entries out of config.json: transformers 5 keeps all in rope_parameters, 4 in rope_theta and rope_scaling."""
    scaling = dict(left.pop("rope_parameters", None) or left.pop("rope_scaling", None) or {})
    left.pop("rope_scaling", None)
    outer_theta = left.pop("rope_theta", None)
    theta = scaling.pop("rope_theta", None) or outer_theta or _DEFAULT_THETA
    partial = left.pop("partial_rotary_factor", None)
    if partial is not None:
        scaling.setdefault("partial_rotary_factor", partial)
    original = left.pop("original_max_position_embeddings", None)
    if original is not None and (scaling.get("rope_type") or scaling.get("type")) in ("yarn", "longrope", "su", "llama3"):
        scaling["original_max_position_embeddings"] = original
    return float(theta), scaling or None


def _sliding(left: dict[str, Any], family: Family, num_layers: int) -> tuple[int | None, tuple[LayerType, ...] | None]:
    """Take the sliding window's entries out of config.json (Qwen2 and Qwen3; Llama has none)."""
    if family == "llama":
        return None, None
    window = left.pop("sliding_window", _QWEN_WINDOW)
    if not left.pop("use_sliding_window", False):
        window = None
    first = left.pop("max_window_layers", _QWEN_FULL_LAYERS)
    types = left.pop("layer_types", None)
    if types is not None:
        types = tuple(types)
        if window is None:  # transformers drops the window in this case, so that every layer sees everything
            types = ("full_attention",) * len(types)
        return window, types
    if window is None:
        return None, None
    return window, tuple("sliding_attention" if layer >= first else "full_attention" for layer in range(num_layers))
