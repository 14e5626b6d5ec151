"""Tokens drawn from the head without its logits: exactly those of the reference, with linear_logprob's log-probs, bit for bit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.linear_logprob import linear_logprob, logits
from paradigm.kernels.linear_sample_token import linear_sample_token, linear_sample_token_reference
from paradigm.kernels.sample_token import draw_of, sample_token
from tests.kernels.test_linear_logprob import make
from tests.kernels.test_sample_token import FILTERS, noise, random_support

DEFAULTS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture
def on_tiles(on_triton: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Triton path, in the interpreter with short tiles for the filters."""
    sampling = pytest.importorskip("paradigm.kernels.sample_token_triton")
    if not torch.cuda.is_available():
        monkeypatch.setattr(sampling, "TILE", 64)
        monkeypatch.setattr(sampling, "TILE_OPTIONS", {**sampling.TILE_OPTIONS, "TILE": 64})
        monkeypatch.setattr(sampling, "CUT_OPTIONS", {**sampling.CUT_OPTIONS, "TILE": 64, "BLOCK": 32})
    return pytest.importorskip("paradigm.kernels.linear_sample_token_triton")


def case(rows: int, vocabulary: int, dtype: torch.dtype, masked: bool, device: str) -> tuple[Tensor, Tensor, Any, dict[str, Any]]:
    hidden, weight = (x.detach() for x in make(rows, 24, vocabulary, dtype, False, spread=0.5)[:2])
    support = random_support(rows, vocabulary) if masked else None
    settings = {name: x.to(device) for name, x in noise(rows).items()}
    return hidden.to(device), weight.to(device), None if support is None else tuple(x.to(device) for x in support), settings


def assert_drawn(drawn: tuple[Tensor, ...], hidden: Tensor, weight: Tensor, support: Any, settings: dict[str, Any]) -> None:
    ids, logprobs, kept_logmass = (x.cpu() for x in drawn)
    hidden, weight = hidden.cpu(), weight.cpu()
    support = None if support is None else tuple(x.cpu() for x in support)
    draw = draw_of(hidden, {**DEFAULTS, **{name: x.cpu() if isinstance(x, Tensor) else x for name, x in settings.items()}})
    expected = linear_sample_token_reference(hidden, weight, draw, support)
    assert ids.dtype == torch.int32 and torch.equal(ids, expected[0])
    torch.testing.assert_close(logprobs, expected[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kept_logmass, expected[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["none", "greedy", "all, hot"])
def test_on_the_cpu_it_is_sample_token_of_the_logits(name: str, dtype: torch.dtype) -> None:
    hidden, weight, support, settings = case(70, 300, dtype, True, "cpu")
    settings |= FILTERS[name]
    drawn = linear_sample_token(hidden, weight, support=support, **settings)
    for a, b in zip(drawn, sample_token(logits(hidden, weight), support=support, **settings)):
        assert torch.equal(a, b)
    scored, _ = linear_logprob(hidden, weight, drawn[0], temperature=FILTERS[name].get("temperature", 1.0) or 1.0, support=support)
    assert torch.equal(drawn[1], scored)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("name", "dtype"), [
    ("none", torch.float32), ("none", torch.bfloat16), ("temperature", torch.float16), ("greedy", torch.bfloat16), ("all, hot", torch.float32),
])  # fmt: skip
def test_tokens_are_the_references_and_log_probs_linear_logprobs(on_tiles: Any, name: str, dtype: torch.dtype, masked: bool, device: str) -> None:
    rows = 5 if name == "all, hot" else 33  # the interpreter takes a row's filters step by step
    hidden, weight, support, settings = case(rows, 300, dtype, masked, device)
    settings |= FILTERS[name] if name != "greedy" else {"temperature": 0.0}
    drawn = linear_sample_token(hidden, weight, support=support, **settings)
    assert_drawn(drawn, hidden, weight, support, settings)
    temperature = settings.get("temperature", 1.0) or 1.0
    assert torch.equal(drawn[1], linear_logprob(hidden, weight, drawn[0], temperature=temperature, support=support)[0])
    if name == "greedy":
        assert torch.equal(drawn[2], drawn[1])


@pytest.mark.parametrize("device", DEVICES)
def test_rows_have_settings_of_their_own_and_depend_on_nothing_else(on_tiles: Any, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, support, settings = case(70, 140, torch.float32, True, device)
    settings["temperature"] = torch.tensor([0.0, 0.7, 1.3, 1.0, 0.5], device=device).repeat(14)
    whole = linear_sample_token(hidden, weight, support=support, **settings)
    assert_drawn(whole, hidden, weight, support, settings)
    some = torch.tensor([65, 3, 12, 40], device=device)
    of_some = {name: x[some] for name, x in settings.items()}
    strided = torch.cat([hidden, hidden], 1)[some][:, :24]
    for a, b in zip(linear_sample_token(strided, weight, support=(support[0][some], support[1]), **of_some), whole):
        assert torch.equal(a, b[some])
    settings["top_k"] = torch.where(torch.arange(70, device=device) % 16 == 2, 3, 0).int()
    monkeypatch.setattr(on_tiles, "_CHUNK_BYTES", 0)  # chunks of 64 rows
    assert_drawn(linear_sample_token(hidden, weight, support=support, **settings), hidden, weight, support, settings)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "rows", "vocabulary", "masked"), [
    (torch.float32, 1, 40, False), (torch.float32, 37, 300, True), (torch.bfloat16, 70, 513, False), (torch.float16, 130, 140, True),
])  # fmt: skip
def test_rows_without_filters_do_not_feel_those_that_have_some(
    on_tiles: Any, dtype: torch.dtype, rows: int, vocabulary: int, masked: bool, device: str
) -> None:
    """The same ids, log-probs and kept mass, bit for bit, as where no row is asked for filters; so an exact step may choose by what it holds."""
    hidden, weight, support, settings = case(rows, vocabulary, dtype, masked, device)
    settings["temperature"] = torch.tensor([1.0, 0.0, 0.3, 0.77, 2.5, 1.0, 1.1], device=device).repeat(rows)[:rows]
    plain = linear_sample_token(hidden, weight, support=support, **settings)
    off = {name: torch.full((rows,), value, device=device) for name, value in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0))}
    off["top_k"] = off["top_k"].int()
    is_filtered = torch.arange(rows, device=device) % 32 == 5  # the interpreter takes a row's filters step by step
    some = {"top_k": torch.where(is_filtered, 2, 0).int(), "top_p": torch.where(is_filtered, 0.7, 1.0), "min_p": off["min_p"]}
    for filters, rest in ((off, torch.ones_like(is_filtered)), (some, ~is_filtered)):
        found = linear_sample_token(hidden, weight, support=support, **settings, **filters)
        for a, b in zip(found, plain):
            assert torch.equal(a[rest], b[rest])
    if rows > 5:
        every = {**some, "top_k": torch.full_like(some["top_k"][is_filtered], 2), "top_p": torch.full_like(some["top_p"][is_filtered], 0.7)}
        every["min_p"] = off["min_p"][is_filtered]
        legal = None if support is None else (support[0][is_filtered], support[1])
        alone = linear_sample_token(hidden[is_filtered], weight, support=legal, **{n: x[is_filtered] for n, x in settings.items()}, **every)
        for a, b in zip(alone, found):
            assert torch.equal(a, b[is_filtered])
        assert bool((alone[2] < -0.01).any())


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_that_cannot_be_drawn_from_gets_no_token(on_tiles: Any, device: str) -> None:
    hidden, weight, _, settings = case(5, 140, torch.float32, False, device)
    whole = linear_sample_token(hidden, weight, **settings)
    table = torch.zeros(1, 5, dtype=torch.int32, device=device)
    support = (torch.tensor([-1, 0, -1, -1, -1], dtype=torch.int32, device=device), table)
    broken = hidden.clone()
    broken[3, 0] = torch.nan
    for filters in ({}, {"top_k": 200}):
        ids, logprobs, kept_logmass = linear_sample_token(broken, weight, support=support, **settings, **filters)
        assert ids[[1, 3]].tolist() == [-1, -1] and logprobs[[1, 3]].isnan().all() and kept_logmass[[1, 3]].isnan().all()
        assert torch.equal(ids[[0, 2, 4]], whole[0][[0, 2, 4]]) and torch.equal(logprobs[[0, 2, 4]], whole[1][[0, 2, 4]])
    assert [x.shape for x in linear_sample_token(hidden[:0], weight)] == [(0,)] * 3


@pytest.mark.parametrize("device", DEVICES)
def test_ties_go_to_the_lowest_id(on_tiles: Any, device: str) -> None:
    hidden, weight = torch.ones(2, 16, device=device), torch.zeros(300, 16, device=device)
    weight[[140, 141, 290]] = 1.0
    assert linear_sample_token(hidden, weight, temperature=0.0)[0].tolist() == [140, 140]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(40, 3)}, r"hidden and weight must be \[N, D\] and \[V, D\] of one dtype, got \[2, 4\] torch.float32 and \[40, 3\]"),
        ({"weight": torch.zeros(0, 4)}, "weight must have a row for each of at least one token, got 0 rows"),
        ({"weight": torch.zeros(40, 4, device="meta")}, "weight must be on the device of hidden, cpu, got meta"),
        ({"hidden": torch.zeros(2, 4).long(), "weight": torch.zeros(40, 4).long()}, "must be of a floating dtype, got torch.int64"),
        ({"temperature": -1.0}, "temperature must be >= 0 and finite, got -1.0"),
        ({"top_k": torch.zeros(3, dtype=torch.int32)}, r"top_k must be a number or torch.int32 \[2\] on cpu, got torch.int32 \[3\] on cpu"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_sample_token(**{"hidden": torch.zeros(2, 4), "weight": torch.zeros(40, 4), **change})
