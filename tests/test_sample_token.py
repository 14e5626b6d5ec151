"""Token sampling against exact distributions, transformers' warpers and float64; its results depend on a row alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from paradigm import _core

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "top_k": {"top_k": 7},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "all": {"top_k": 12, "top_p": 0.9, "min_p": 0.05},
    "temperature": {"temperature": 0.6},
    "everything": {"temperature": 1.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
}


def random_logits(n: int, vocab_size: int, scale: float = 2.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, vocab_size)) * scale).astype(np.float32)


def support_table(legal: np.ndarray) -> np.ndarray:
    """bool [S, V] -> uint32 [S, ceil(V / 32)], bit v % 32 of word v // 32."""
    padded = np.zeros((legal.shape[0], -(-legal.shape[1] // 32) * 32), dtype=bool)
    padded[:, : legal.shape[1]] = legal
    return np.packbits(padded, axis=1, bitorder="little").view("<u4")


def warped(logits: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """float64 scores [n, V] after transformers' warpers in its own order, -inf where a token is filtered."""
    processors = LogitsProcessorList()
    if "temperature" in settings:
        processors.append(TemperatureLogitsWarper(float(settings["temperature"])))
    if "top_k" in settings:
        processors.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        processors.append(TopPLogitsWarper(float(np.float32(settings["top_p"]))))
    if "min_p" in settings:
        processors.append(MinPLogitsWarper(float(settings["min_p"])))
    return processors(torch.zeros(len(logits), 1, dtype=torch.long), torch.from_numpy(logits).double()).numpy()


def kept_tokens(logits: np.ndarray, **settings: Any) -> np.ndarray:
    """bool [n, V]: the tokens that the filters keep."""
    *_, cut_logit, cut_id = _core.sample_token(logits, with_cut=True, **settings)
    above = logits > cut_logit[:, None]
    return above | ((logits == cut_logit[:, None]) & (np.arange(logits.shape[1]) <= cut_id[:, None]))


def assert_same(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> None:
    for x, y in zip(a, b):
        np.testing.assert_array_equal(x, y)


def test_philox_gives_random123s_published_answers() -> None:
    f = 0xFFFFFFFF
    assert _core.philox4x32([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert _core.philox4x32([f] * 4, [f] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert _core.philox4x32(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_noise_keys_differ_in_every_argument() -> None:
    keys = {_core.noise_key(seed, step, attempt) for seed in range(10) for step in range(10) for attempt in range(3)}
    assert len(keys) == 300 and all(0 <= key < 2**64 for key in keys)
    assert _core.noise_key(3, 4) == _core.noise_key(3, 4, 0) != _core.noise_key(4, 3)


@pytest.mark.parametrize("vocab_size", [1, 5, 16, 31, 100, 1003])
def test_token_is_the_gumbel_argmax_of_the_documented_noise(vocab_size: int) -> None:
    n, key, position = 5, _core.noise_key(1, 2), 77
    logits, trajectory = random_logits(n, vocab_size, seed=vocab_size), np.arange(n, dtype=np.uint64) + 2**33
    ids, *_ = _core.sample_token(logits, key=key, trajectory=trajectory, position=position)
    for i in range(n):
        words = [
            _core.philox4x32([block, position, int(trajectory[i]) % 2**32, int(trajectory[i]) >> 32], [key % 2**32, key >> 32])
            for block in range(-(-vocab_size // 4))
        ]
        uniform = (np.array(words).reshape(-1)[:vocab_size] + 0.5) * 2.0**-32
        assert ids[i] == np.argmax(logits[i].astype(np.float64) - np.log(-np.log1p(-uniform)))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "legal"])
@pytest.mark.parametrize("name", FILTERS)
def test_million_draws_follow_the_exact_distribution(name: str, masked: bool) -> None:
    settings, vocab_size, num_draws, num_calls = FILTERS[name], 45, 1_000_000, 10
    row = random_logits(1, vocab_size, 1.5, seed=11)
    legal = np.random.default_rng(5).random((1, vocab_size)) < 0.6
    scores = warped(np.where(legal, row, -np.inf) if masked else row, settings)[0]
    expected = np.exp(scores - scores.max())
    expected *= num_draws / expected.sum()
    support: dict[str, Any] = {"support": 0, "support_table": support_table(legal)} if masked else {}
    counts = np.zeros(vocab_size, dtype=np.int64)
    logits = np.repeat(row, num_draws // num_calls, axis=0)
    for call in range(num_calls):
        trajectory = np.arange(len(logits), dtype=np.uint64) + call * len(logits)
        ids, *_ = _core.sample_token(logits, key=_core.noise_key(0, 1), trajectory=trajectory, position=call, **settings, **support)
        counts += np.bincount(ids, minlength=vocab_size)
    assert counts[expected == 0].sum() == 0
    drawn = expected > 0
    assert drawn.sum() > 1 and expected[drawn].min() > 5
    assert stats.chisquare(counts[drawn], expected[drawn]).pvalue > 1e-3


@pytest.mark.parametrize("vocab_size", [20, 272, 1000, 5003])
@pytest.mark.parametrize("scale", [0.3, 3.0, 12.0])
@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 1}, {"top_k": 10}, {"top_k": 300}, {"top_k": 100_000}, {"top_p": 0.1}, {"top_p": 0.95}, {"top_p": 0.999},
        {"min_p": 0.3}, {"min_p": 1e-4}, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 2.0, "min_p": 0.02},
        {"temperature": 1.3, "top_k": 50, "top_p": 0.9, "min_p": 0.05}, {"top_k": 40, "top_p": 0.999},
    ],
    ids=str,
)
def test_filters_keep_what_transformers_keeps(vocab_size: int, scale: float, settings: dict[str, Any]) -> None:
    logits = random_logits(8, vocab_size, scale, seed=vocab_size)
    expected = warped(logits, settings)
    np.testing.assert_array_equal(kept_tokens(logits, **settings), expected > -np.inf)
    _, _, kept_logmass = _core.sample_token(logits, **settings)
    scaled = torch.from_numpy(logits).double() / settings.get("temperature", 1.0)
    truth = torch.from_numpy(expected).logsumexp(1) - scaled.logsumexp(1)
    np.testing.assert_allclose(kept_logmass, truth.numpy(), rtol=1e-6, atol=1e-6)


def test_ties_are_kept_and_won_by_the_lowest_id() -> None:
    logits = np.zeros((1, 700), dtype=np.float32)
    assert kept_tokens(logits, top_k=33).nonzero()[1].tolist() == list(range(33))
    assert kept_tokens(logits, top_p=0.5).nonzero()[1].tolist() == list(range(350))
    assert kept_tokens(logits, min_p=0.999).all()
    assert kept_tokens(logits, top_k=100, top_p=0.25).sum() == 25
    logits[0, [5, 600]] = 1.0
    assert kept_tokens(logits, top_k=1).nonzero()[1].tolist() == [5]
    assert kept_tokens(logits, top_k=3).nonzero()[1].tolist() == [0, 5, 600]
    assert _core.sample_token(logits, temperature=0)[0][0] == 5


def test_greedy_takes_the_largest_legal_logit_at_temperature_one() -> None:
    logits = random_logits(50, 333)
    legal = np.random.default_rng(0).random((50, 333)) < 0.1
    table, rows = support_table(legal), np.arange(50)
    ids, logprobs, kept_logmass = _core.sample_token(logits, temperature=0, top_k=3, support=rows, support_table=table)
    masked = np.where(legal, logits, -np.inf)
    np.testing.assert_array_equal(ids, masked.argmax(1))
    np.testing.assert_array_equal(logprobs, _core.row_logprob(logits, ids, support=rows, support_table=table)[0])
    np.testing.assert_array_equal(logprobs, kept_logmass)


@pytest.mark.parametrize("vocab_size", [1, 3, 17, 272, 4099, 40_000])
@pytest.mark.parametrize("temperature", [1.0, 0.35, 1.9])
def test_logprob_and_entropy_match_float64_over_the_legal_tokens(vocab_size: int, temperature: float) -> None:
    n = 12
    logits = random_logits(n, vocab_size, 3.0, seed=1)
    legal = np.random.default_rng(1).random((n, vocab_size)) < 0.5
    legal[:, 0] = True
    for support in ({}, {"support": np.arange(n), "support_table": support_table(legal)}):
        ids, logprobs, kept_logmass = _core.sample_token(logits, temperature=temperature, key=9, trajectory=np.arange(n), **support)
        scaled = torch.from_numpy(logits).double() / float(np.float32(temperature))
        if support:
            scaled = scaled.masked_fill(~torch.from_numpy(legal), -torch.inf)
            assert legal[np.arange(n), ids].all()
        truth = scaled.log_softmax(1)
        np.testing.assert_allclose(logprobs, truth.numpy()[np.arange(n), ids], atol=2e-6, rtol=0)
        assert (kept_logmass == 0).all()
        learner_logprobs, entropy = _core.row_logprob(logits, ids, temperature=temperature, **support)
        np.testing.assert_array_equal(learner_logprobs, logprobs)
        probabilities = truth.exp()
        np.testing.assert_allclose(entropy, -torch.special.xlogy(probabilities, probabilities).sum(1).numpy(), atol=3e-6, rtol=1e-6)


def test_illegal_target_has_logprob_minus_infinity() -> None:
    legal = np.zeros((1, 40), dtype=bool)
    legal[0, 35] = True
    logprob, entropy = _core.row_logprob(random_logits(2, 40), np.array([35, 34]), support=0, support_table=support_table(legal))
    assert logprob.tolist() == [0.0, -np.inf] and entropy.tolist() == [0.0, 0.0]


def test_huge_and_infinite_logits() -> None:
    logits = random_logits(6, 100)
    logits[0] += 1e6
    logits[1] *= 1e30
    logits[2, 1:] = -np.inf
    logits[3, 7] = 3e38
    logits[4, :50] = -3e38
    ids, logprobs, _ = _core.sample_token(logits, key=4)
    assert (ids[2], ids[3], logprobs[2], logprobs[3]) == (0, 7, 0.0, 0.0) and ids[1] == logits[1].argmax() and ids[4] >= 50
    truth = torch.from_numpy(logits).double().log_softmax(1).numpy()[np.arange(6), ids]
    np.testing.assert_allclose(logprobs, truth, atol=2e-6)
    for settings in FILTERS.values():
        filtered_ids, filtered_logprobs, _ = _core.sample_token(logits, key=4, **settings)
        assert np.isfinite(filtered_logprobs).all() and (filtered_ids[2], filtered_ids[3]) == (0, 7)


def test_rows_depend_on_nothing_but_themselves() -> None:
    n, vocab_size = 40, 3001
    rng = np.random.default_rng(3)
    logits = random_logits(n, vocab_size, seed=2)
    legal = rng.random((5, vocab_size)) < 0.3
    rows: dict[str, Any] = {
        "temperature": rng.choice([0, 0.7, 1, 1.4], n).astype(np.float32),
        "top_k": rng.choice([0, 5, 400], n).astype(np.int32),
        "top_p": rng.choice([1, 0.9], n).astype(np.float32),
        "min_p": rng.choice([0, 0.02], n).astype(np.float32),
        "trajectory": rng.integers(0, 2**40, n).astype(np.uint64),
        "position": rng.integers(0, 2**31, n).astype(np.uint32),
        "key": rng.integers(0, 2**63, n).astype(np.uint64),
        "support": rng.integers(-1, 5, n).astype(np.int32),
    }

    def draw(x: np.ndarray, **settings: Any) -> tuple[np.ndarray, ...]:
        return _core.sample_token(x, support_table=support_table(legal), **settings)

    whole = draw(logits, **rows)
    for num_threads in (2, 3, 16):
        assert_same(whole, draw(logits, num_threads=num_threads, **rows))
    for isa in ("baseline", "avx2", "avx512"):
        try:
            assert_same(whole, draw(logits, isa=isa, **rows))
        except ValueError as error:
            assert "where the processor has it" in str(error)
    order = rng.permutation(n)
    shuffled = draw(logits[order], **{name: values[order] for name, values in rows.items()})
    assert_same(tuple(x[order] for x in whole), shuffled)
    for i in (0, 17, 39):
        alone = draw(logits[i : i + 1], **{name: values[i : i + 1] for name, values in rows.items()})
        assert_same(tuple(x[i : i + 1] for x in whole), alone)
    strided = np.full((n, vocab_size + 5), np.nan, dtype=np.float32)
    strided[:, :vocab_size] = logits
    assert_same(whole, draw(strided[:, :vocab_size], **rows))
    assert_same(whole, draw(np.asfortranarray(logits), **rows))


def test_raw_forms_read_torch_tensors_in_place() -> None:
    logits = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    parameters = [torch.ones(4), torch.zeros(4, dtype=torch.int32), torch.ones(4), torch.zeros(4)]
    noise = [torch.full((4,), 9), torch.arange(4), torch.arange(4, dtype=torch.int32)]
    ids, logprobs, kept_logmass = torch.empty(4, dtype=torch.int32), torch.empty(4), torch.empty(4)
    inputs, outputs = [x.data_ptr() for x in (*parameters, *noise)], [x.data_ptr() for x in (ids, logprobs, kept_logmass)]
    _core.sample_token_raw(logits.data_ptr(), 4, 100, 100, *inputs, 0, 0, 0, 0, *outputs, 1)
    expected = _core.sample_token(logits.numpy(), key=9, trajectory=np.arange(4), position=np.arange(4))
    assert_same((ids.numpy(), logprobs.numpy(), kept_logmass.numpy()), expected)
    targets, entropies = ids.long(), torch.empty(4)
    _core.row_logprob_raw(
        logits.data_ptr(), 4, 100, 100, targets.data_ptr(), 1.0, 0, 0, 0, 0, logprobs.data_ptr(), entropies.data_ptr(), 1
    )
    assert_same((logprobs.numpy(), entropies.numpy()), _core.row_logprob(logits.numpy(), targets.numpy()))
    for wrong, message in ([logits.data_ptr(), 4], "more than the 2"), ([0] * 14, "13 arguments, got 14"), ([0.5] * 13, "argument 1"):
        with pytest.raises(TypeError, match=message):
            _core.row_logprob_raw(*wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.5}, r"temperature\[0\] must be 0 or a positive normal float, got -0.5"),
        ({"temperature": np.nan}, r"temperature\[0\] must be 0 or a positive normal float, got nan"),
        ({"temperature": np.inf}, r"temperature\[0\] must be 0 or a positive normal float, got inf"),
        ({"top_k": -1}, r"top_k\[0\] must be >= 0, got -1"),
        ({"top_p": 0.0}, r"top_p\[0\] must be in \(0, 1\], got 0"),
        ({"top_p": np.array([1, 1.5, 1])}, r"top_p\[1\] must be in \(0, 1\], got 1.5"),
        ({"min_p": 1.0}, r"min_p\[0\] must be in \[0, 1\), got 1"),
        ({"min_p": -0.1}, r"min_p\[0\] must be in \[0, 1\), got -0.1"),
        ({"support": 3, "support_table": np.ones((2, 2), np.uint32)}, r"support\[0\] must be -1 or a row of the table of 2, got 3"),
        ({"support": 0, "support_table": np.ones((2, 1), np.uint32)}, r"support_table's row length must be at least .* = 2 words, got 1"),
        ({"num_threads": 0}, "num_threads must be >= 1, got 0"),
        ({"key": np.zeros(2, np.uint64)}, r"key must be a number or an array \[n = 3\], got 1 dimensions with 2 values"),
        ({"isa": "mmx"}, "isa must be best, baseline.* got mmx"),
        ({"support": np.array([-1, 0, -1]), "support_table": np.zeros((1, 2), np.uint32)}, "row 1 must have a legal token .* got none"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.sample_token(random_logits(3, 50), **settings)


def test_bad_rows_are_named() -> None:
    logits = random_logits(3, 50)
    logits[2, 41] = np.nan
    expected = r"logits\[2\] must be below \+inf and not NaN for every legal token, got nan for token 41"
    for call in (lambda: _core.sample_token(logits), lambda: _core.row_logprob(logits, np.zeros(3, np.int64))):
        with pytest.raises(ValueError, match=expected):
            call()
    with pytest.raises(ValueError, match=r"logits must be float32 \[n, V\], got float64 with 2 dimensions"):
        _core.sample_token(logits.astype(np.float64))
    good = random_logits(3, 50)
    with pytest.raises(ValueError, match=r"targets\[1\] must be in \[0, vocab_size = 50\), got 50"):
        _core.row_logprob(good, np.array([0, 50, 1]))
    with pytest.raises(ValueError, match=r"targets must be int64 \[n = 3\], got 2 values"):
        _core.row_logprob(good, np.array([0, 1]))
    with pytest.raises(ValueError, match="temperature must be a positive normal float, got 0"):
        _core.row_logprob(good, np.zeros(3, np.int64), temperature=0.0)
