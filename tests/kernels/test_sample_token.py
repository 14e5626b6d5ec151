"""sample_token on the CPU: the op is the C++ core's, and the plain-torch reference draws the same tokens from the same noise."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paradigm import _core
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.sample_token import Draw, noise_bits, sample_token

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "temperature": {"temperature": 0.6},
    "greedy": {"temperature": 0.0, "top_k": 3},
    "top_k": {"top_k": 7},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "top_k and top_p": {"top_k": 12, "top_p": 0.9},
    "all, hot": {"temperature": 1.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    "top_k past the end": {"top_k": 10_000, "top_p": 0.99},
}
Drawn = tuple[Tensor, Tensor, Tensor]


def random_logits(rows: int, vocabulary: int, scale: float = 2.0) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(vocabulary)) * scale


def random_support(rows: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids of three masks and of none at all (-1)."""
    generator = torch.Generator().manual_seed(1)
    table = torch.randint(-(2**31), 2**31, (3, -(-vocabulary // 32)), generator=generator).to(torch.int32)
    table[:, 0] |= 1
    return (torch.arange(rows) % 4 - 1).to(torch.int32), table


def noise(rows: int) -> dict[str, Tensor]:
    return {
        "key": torch.arange(rows) * 7919 - 2**62,
        "trajectory": torch.arange(rows) + 2**33,
        "position": (torch.arange(rows) * 3 - 2).to(torch.int32),  # from 2^32 - 2 on
    }


def of_the_core(logits: Tensor, support: tuple[Tensor, Tensor] | None, **settings: Any) -> list[Tensor]:
    """ids, logprobs, kept_logmass, cut_logit, cut_id."""
    names = {"key": np.uint64, "trajectory": np.uint64, "position": np.uint32}
    given = {n: x.cpu().numpy() if isinstance(x, Tensor) else x for n, x in settings.items()}
    given = {n: x.view(names[n]) if n in names and isinstance(x, np.ndarray) else x for n, x in given.items()}
    if support is not None:
        given |= {"support": support[0].cpu().numpy(), "support_table": support[1].cpu().numpy().view(np.uint32)}
    return [torch.from_numpy(x) for x in _core.sample_token(logits.cpu().numpy(), with_cut=True, **given)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_op_is_the_core_and_the_reference_agrees(name: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_logits(40, 500)
    support = random_support(40, 500) if masked else None
    settings = {**noise(40), **FILTERS[name]}
    core = of_the_core(logits, support, **settings)
    for ours, theirs in zip(sample_token(logits, support=support, **settings), core):
        assert torch.equal(ours, theirs)
    monkeypatch.delitem(CPU, "sample_token")
    ids, logprobs, kept_logmass = sample_token(logits, support=support, **settings)
    assert torch.equal(ids, core[0])
    torch.testing.assert_close(logprobs, core[1], rtol=0, atol=2e-6)
    torch.testing.assert_close(kept_logmass, core[2], rtol=0, atol=2e-6)


def test_reference_draws_random123s_bits() -> None:
    values = {"key": torch.tensor([0x299F31D0A4093822, -1]), "trajectory": torch.tensor([0x0370734413198A2E, -1])}
    position = torch.tensor([0x05A308D3, -1], dtype=torch.int32)
    nothing = torch.zeros(2)
    bits = noise_bits(Draw(nothing, nothing, nothing, nothing, *values.values(), position), 35)
    for row in range(2):
        key, trajectory = (int(x[row]) % 2**64 for x in values.values())
        words = [trajectory % 2**32, trajectory >> 32]
        expected = [_core.philox4x32([i, int(position[row]) % 2**32, *words], [key % 2**32, key >> 32]) for i in range(9)]
        assert bits[row].tolist() == [word for words in expected for word in words][:35]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be >= 0 and finite, got -1.0"),
        ({"top_k": -1}, r"top_k must be in \[0, 2\^31\), got -1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"min_p": torch.tensor([0.0, 1.0])}, r"min_p must be in \[0, 1\), got 1.0"),
        ({"key": 2**64}, r"key must be in \[0, 2\^64\)"),
        ({"trajectory": torch.zeros(2)}, r"trajectory must be a number or torch.int64 \[2\] on cpu, got torch.float32"),
        ({"logits": torch.zeros(2, 5, dtype=torch.float64)}, r"logits must be float32 \[N, V\]"),
        ({"logits": torch.full((2, 5), torch.nan)}, "not NaN"),
    ],
)
def test_bad_input_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_token(**{"logits": torch.zeros(2, 5), **settings})


def test_largest_key_and_position_are_taken_as_they_are() -> None:
    logits, settings = random_logits(3, 40), {"key": 2**64 - 1, "trajectory": 2**63, "position": 2**32 - 1}
    assert torch.equal(sample_token(logits, **settings)[0], of_the_core(logits, None, **settings)[0])
