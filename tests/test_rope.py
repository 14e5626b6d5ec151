"""Rotary tables against the formulas worked out by hand; equality with transformers' models lies in tests/interop/test_transformers.py."""

import math

import pytest
import torch

from paradigm.rope import RotaryTable, inverse_frequencies, normalise_rope_scaling

PLAIN = {"head_dim": 8, "theta": 100.0, "max_position_embeddings": 32}


def scaling(kind: str, **entries: object) -> dict:
    result = normalise_rope_scaling({"rope_type": kind, **entries}, head_dim=8, max_position_embeddings=32)
    assert result is not None
    return result


def test_plain_angles() -> None:
    cos, sin = RotaryTable(scaling=None, **PLAIN)(torch.tensor([0, 3, 5000]))
    angles = torch.tensor([[p * 100.0 ** (-2 * c / 8) for c in range(4)] for p in (0, 3, 5000)], dtype=torch.float64)
    torch.testing.assert_close(cos, angles.cos().float(), rtol=0, atol=1e-3)
    torch.testing.assert_close(sin[:2], angles.sin().float()[:2], rtol=0, atol=1e-6)


def test_linear_divides_positions() -> None:
    plain, slow = RotaryTable(scaling=None, **PLAIN), RotaryTable(scaling=scaling("linear", factor=4.0), **PLAIN)
    torch.testing.assert_close(slow(torch.tensor([8, 20]))[0], plain(torch.tensor([2, 5]))[0])


def test_dynamic_stretches_the_base_by_position() -> None:
    table = RotaryTable(scaling=scaling("dynamic", factor=2.0), **PLAIN)
    plain = RotaryTable(scaling=None, **PLAIN)
    inside = torch.arange(32)
    torch.testing.assert_close(table(inside)[1], plain(inside)[1])
    base = 100.0 * (2.0 * 64 / 32 - 1) ** (8 / 6)
    wanted = [63 * base ** (-2 * c / 8) for c in range(4)]
    torch.testing.assert_close(table(torch.tensor([63]))[1][0], torch.tensor(wanted).sin(), rtol=0, atol=1e-4)


def test_longrope_changes_factors_at_the_original_length() -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 16}
    table = RotaryTable(scaling=scaling("longrope", factor=4.0, **factors), **PLAIN)
    magnitude = math.sqrt(1 + math.log(4.0) / math.log(16))
    cos, _ = table(torch.tensor([0, 15, 16]))
    frequency = torch.tensor([100.0 ** (-2 * c / 8) for c in range(4)])
    torch.testing.assert_close(cos, magnitude * torch.stack([0 * frequency, 15 * frequency, 16 * frequency / 2]).cos())


def test_yarn_keeps_fast_channels_and_slows_slow_ones() -> None:
    entries = {"factor": 4.0, "original_max_position_embeddings": 64}
    wide = {"head_dim": 64, "theta": 10000.0, "max_position_embeddings": 256}
    checked = normalise_rope_scaling({"rope_type": "yarn", **entries}, head_dim=64, max_position_embeddings=256)
    frequency, magnitude = inverse_frequencies(1, scaling=checked, **wide)
    plain, _ = inverse_frequencies(1, scaling=None, **wide)
    assert magnitude == pytest.approx(0.1 * math.log(4.0) + 1)
    assert frequency[0] == plain[0]
    torch.testing.assert_close(frequency[-1], plain[-1] / 4)
    assert (frequency <= plain).all() and (frequency >= plain / 4 * (1 - 1e-6)).all()


def test_llama3_keeps_short_waves_and_slows_long_ones() -> None:
    entries = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    frequency, _ = inverse_frequencies(1, scaling=scaling("llama3", **entries), **PLAIN)
    plain, _ = inverse_frequencies(1, scaling=None, **PLAIN)
    waves = 2 * math.pi / plain  # 6.3, 19.9, 62.8, 198.7 tokens; kept below 8, slowed above 32
    smooth = float((32 / waves[1] - 1) / 3)
    torch.testing.assert_close(frequency[0], plain[0])
    torch.testing.assert_close(frequency[1], (1 - smooth) * plain[1] / 8 + smooth * plain[1])
    torch.testing.assert_close(frequency[2:], plain[2:] / 8)


@pytest.mark.parametrize("kind", [None, "dynamic"])
def test_a_position_has_one_value_however_the_table_grew(kind: str | None) -> None:
    def table() -> RotaryTable:
        return RotaryTable(scaling=None if kind is None else scaling(kind, factor=2.0), **PLAIN)

    grown = table()
    grown(torch.tensor([5]))
    grown(torch.tensor([1500]))
    positions = torch.tensor([0, 5, 1023, 1024, 1500, 3999])
    for ours, fresh in zip(grown(positions), table()(positions)):
        assert torch.equal(ours, fresh)
    alone = torch.cat([table()(p[None])[0] for p in positions])
    assert torch.equal(alone, grown(positions)[0])


def test_no_positions() -> None:
    cos, sin = RotaryTable(scaling=None, **PLAIN)(torch.zeros(0, dtype=torch.int32))
    assert cos.shape == sin.shape == (0, 4)


def test_old_names() -> None:
    assert normalise_rope_scaling({"type": "linear", "factor": 2.0}, head_dim=8, max_position_embeddings=32) == {"rope_type": "linear", "factor": 2.0}
    assert normalise_rope_scaling({"rope_type": "default"}, head_dim=8, max_position_embeddings=32) is None
    checked = normalise_rope_scaling({"type": "yarn", "factor": 2.0}, head_dim=8, max_position_embeddings=32)
    assert checked == {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"rope_type": "spiral"}, "must be one of default, linear, dynamic, yarn, longrope, llama3, got 'spiral'"),
        ({"rope_type": "linear"}, "of type 'linear' must have 'factor'"),
        ({"rope_type": "linear", "factor": 0}, r"\['factor'\] must be a number > 0, got 0"),
        ({"rope_type": "longrope", "short_factor": [1.0] * 3, "long_factor": [1.0] * 4}, r"\['short_factor'\] must have head_dim / 2 = 4 entries"),
        ({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}, r"must be > low_freq_factor = 4, got 4"),
        ({"rope_type": "yarn", "factor": 2, "partial_rotary_factor": 0.5}, "must be 1 for these families, got 0.5"),
    ],
)
def test_wrong_scalings(entries: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalise_rope_scaling(entries, head_dim=8, max_position_embeddings=32)
