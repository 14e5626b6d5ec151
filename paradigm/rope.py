"""Rotary position embeddings (Su et al., arXiv:2104.09864) with every scaling that transformers has for Llama, Qwen2 and Qwen3.

The formulas are transformers' (modeling_rope_utils.py), with one departure. There, `dynamic` and `longrope` choose the frequencies of *every*
token by the longest sequence of the batch, so a token's keys depend on its neighbours and on what comes later. Here a token at position p is
rotated as in a sequence of exactly p + 1 tokens: the same as transformers while sequences stay within the original length, and beyond it the
same as transformers decoding token by token with a cache. `rope_length=n` instead rotates every token as in a sequence of n tokens, which is
what transformers does for a whole sequence of n tokens fed at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# P positions, F = head_dim / 2 frequencies

ROPE_TYPES = ("linear", "dynamic", "yarn", "longrope", "llama3")
_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
_CHUNK = 1024  # positions are tabulated in calls of one shape, so that a value never depends on how far the table reaches


def normalise_rope_scaling(scaling: Mapping[str, Any] | None, *, head_dim: int, max_position_embeddings: int) -> dict[str, Any] | None:
    """Check a `rope_scaling` dictionary and name its kind by "rope_type" alone; plain RoPE becomes None.

    Args:
        scaling: as in config.json, its kind under "rope_type" or, in old files, "type".
        head_dim: width of an attention head.
        max_position_embeddings: stands in for a missing "original_max_position_embeddings", as in transformers.
    Raises: ValueError for an unknown kind, a missing entry or one out of range.
    """
    if scaling is None:
        return None
    scaling = dict(scaling)
    legacy = scaling.pop("type", None)
    kind = scaling.get("rope_type") or legacy or "default"
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"rope_scaling['partial_rotary_factor'] must be 1 for these families, got {scaling['partial_rotary_factor']}")
    scaling.pop("partial_rotary_factor", None)
    kind = "longrope" if kind == "su" else kind
    if kind == "default":
        return None
    if kind not in ROPE_TYPES:
        raise ValueError(f"rope_scaling['rope_type'] must be one of default, {', '.join(ROPE_TYPES)}, got {kind!r}")
    scaling["rope_type"] = kind
    if kind in ("yarn", "longrope", "llama3"):
        scaling.setdefault("original_max_position_embeddings", max_position_embeddings)
    for key in _REQUIRED[kind]:
        if scaling.get(key) is None:
            raise ValueError(f"rope_scaling of type {kind!r} must have {key!r}, got {sorted(scaling)}")
    for key in ("short_factor", "long_factor"):
        if kind == "longrope" and len(scaling[key]) != head_dim // 2:
            raise ValueError(f"rope_scaling[{key!r}] must have head_dim / 2 = {head_dim // 2} entries, got {len(scaling[key])}")
    for key in ("factor", "low_freq_factor", "high_freq_factor", "attention_factor", "original_max_position_embeddings"):
        value = scaling.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
            raise ValueError(f"rope_scaling[{key!r}] must be a number > 0, got {value!r}")
    if kind == "llama3" and not scaling["high_freq_factor"] > scaling["low_freq_factor"]:
        raise ValueError(
            f"rope_scaling['high_freq_factor'] must be > low_freq_factor = {scaling['low_freq_factor']}, got {scaling['high_freq_factor']}"
        )
    return scaling


def inverse_frequencies(
    length: Tensor | int, *, head_dim: int, theta: float, scaling: Mapping[str, Any] | None, max_position_embeddings: int
) -> tuple[Tensor, float]:
    """The angle per position of each channel pair, and the factor that cos and sin are multiplied by.

    Args:
        length: tokens in the sequence; an integer, or int64 [P] for one length per row. Matters to `dynamic` and `longrope` alone.
        head_dim: width of an attention head.
        theta: base of the wavelengths.
        scaling: from `normalise_rope_scaling`.
        max_position_embeddings: length that the model was made for; where `dynamic` starts to stretch.
    Returns: float32 [F] or [P, F], and the factor (1.0 but for yarn and longrope).
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    if scaling is None:
        return 1.0 / theta**exponent, 1.0
    kind: str = scaling["rope_type"]
    factor: Any = scaling.get("factor")
    if kind == "linear":
        return 1.0 / theta**exponent / factor, 1.0
    if kind == "dynamic":  # NTK-aware: stretch the base with the length (reddit users bloc97 and emozilla)
        stretch = torch.as_tensor(length, dtype=torch.float64).clamp(min=max_position_embeddings)[..., None]
        base = theta * (factor * stretch / max_position_embeddings - (factor - 1)) ** (head_dim / (head_dim - 2))
        return 1.0 / base.float() ** exponent, 1.0
    original = scaling["original_max_position_embeddings"]
    if kind == "yarn":
        return _yarn(exponent, head_dim, theta, scaling)
    if kind == "longrope":  # Ding et al., arXiv:2402.13753
        is_long = (torch.as_tensor(length) > original)[..., None]
        stretch = torch.where(is_long, torch.tensor(scaling["long_factor"]).float(), torch.tensor(scaling["short_factor"]).float())
        factor = factor if factor is not None else max_position_embeddings / original
        attention_factor = scaling.get("attention_factor")
        if attention_factor is None:
            attention_factor = 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(original))
        return 1.0 / (stretch * theta**exponent), attention_factor
    assert kind == "llama3"  # Llama 3.1: long waves are slowed down, short ones kept, those between interpolated
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    plain = 1.0 / theta**exponent
    wavelength = 2 * math.pi / plain
    smooth = (original / wavelength - low) / (high - low)
    frequency = torch.where(wavelength > original / low, plain / factor, plain)
    between = ~(wavelength < original / high) & ~(wavelength > original / low)
    return torch.where(between, (1 - smooth) * frequency / factor + smooth * frequency, frequency), 1.0


def _yarn(exponent: Tensor, head_dim: int, theta: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Peng et al., arXiv:2309.00071: interpolate the channels that turn fewer than beta_slow times, keep those above beta_fast."""
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]

    def magnitude(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    attention_factor = scaling.get("attention_factor")
    if attention_factor is None:
        mscale, mscale_all = scaling.get("mscale"), scaling.get("mscale_all_dim")
        attention_factor = magnitude(mscale) / magnitude(mscale_all) if mscale and mscale_all else magnitude(1.0)

    def correction_dim(num_rotations: float) -> float:
        return head_dim * math.log(original / (num_rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = correction_dim(scaling.get("beta_fast") or 32)
    high = correction_dim(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high = high + 0.001 if low == high else high
    kept = 1 - ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    frequency = theta**exponent
    return 1.0 / (factor * frequency) * (1 - kept) + 1.0 / frequency * kept, attention_factor


class RotaryTable:
    """cos and sin by position, computed in fp32 once and then gathered: a decode step costs one look-up.

    Not a module: it holds nothing that is trained or saved. On the CPU it grows with the largest position asked for. On other devices,
    where reading that position would synchronise, it reaches `max_position_embeddings` from the start, or what `reserve` was told.
    """

    def __init__(
        self, *, head_dim: int, theta: float, scaling: Mapping[str, Any] | None, max_position_embeddings: int, rope_length: int | None = None
    ):
        self._arguments: dict[str, Any] = {
            "head_dim": head_dim, "theta": theta, "scaling": scaling, "max_position_embeddings": max_position_embeddings
        }
        self._rope_length = rope_length
        self._max_position_embeddings = max_position_embeddings
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def reserve(self, num_positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Make the table reach `num_positions` on `device`. Returns: cos and sin, float32 [>= num_positions, F]."""
        table = self._tables.get(device)
        num_rows = 0 if table is None else table[0].shape[0]
        if table is None or num_rows < num_positions:
            goal = max(num_positions, min(2 * num_rows, self._max_position_embeddings))
            chunks = [self._chunk(start) for start in range(num_rows, goal, _CHUNK)]
            new = tuple(torch.cat(parts).to(device) for parts in zip(*chunks))
            table = (new[0], new[1]) if table is None else (torch.cat([table[0], new[0]]), torch.cat([table[1], new[1]]))
            self._tables[device] = table
        return table

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Args: positions: int32 or int64 [T]. Returns: cos and sin, float32 [T, F] (both halves of a head share them)."""
        cos, sin = self.tables(positions)
        return cos.index_select(0, positions), sin.index_select(0, positions)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin by position, float32 [more than positions has, F]."""
        if positions.device.type == "cpu":
            highest = int(positions.max()) + 1 if positions.numel() else 1
        else:
            highest = self._max_position_embeddings
        return self.reserve(highest, positions.device)

    def _chunk(self, start: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(start, start + _CHUNK)
        length = positions + 1 if self._rope_length is None else self._rope_length
        frequency, factor = inverse_frequencies(length, **self._arguments)
        angle = positions[:, None].float() * frequency
        return angle.cos() * factor, angle.sin() * factor
