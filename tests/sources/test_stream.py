"""Streams: every token once an epoch, in an order that depends on nothing but the seed, and resumed exactly."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm.sources.corpus import Corpus, write_corpus
from paradigm.sources.stream import CorpusStream, MixtureStream, permuted
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment


def _corpus(path: Path, lengths: list[int], *, framed: bool = False) -> Corpus:
    texts = [chr(ord("a") + i % 26) * n for i, n in enumerate(lengths)]
    return write_corpus(texts, path, Tokenizer(), shard_tokens=60, bos=framed, eos=framed)


def _draw(stream, count: int) -> list:
    return [stream.draw() for _ in range(count)]


@given(st.integers(1, 700), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_permutations_are_permutations(size: int, seed: int) -> None:
    order = permuted(np.arange(size), size, f"{seed}")
    assert sorted(order.tolist()) == list(range(size))
    some = np.arange(0, size, 3)
    assert np.array_equal(permuted(some, size, f"{seed}"), order[some])


def test_permutations_are_well_mixed() -> None:
    size = 1000
    orders = np.array([permuted(np.arange(size), size, f"{key}") for key in range(200)])
    # each place sees values spread over the whole range, and neighbours are no more alike than strangers
    assert abs(orders.mean(axis=0) - 499.5).max() < 5 * 288.7 / np.sqrt(200)
    neighbours = np.corrcoef(orders[:, :-1].ravel(), orders[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.01
    assert len({order.tobytes() for order in orders}) == 200


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_an_epoch_predicts_each_token_once(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], window: int) -> None:
    corpus = _corpus(tmp_path_factory.mktemp("c") / "c", lengths)
    stream = CorpusStream(corpus, seed=1, max_document_tokens=window)
    predicted: Counter = Counter()
    firsts: Counter = Counter()
    while stream.next_length() and stream.epoch == 0:
        document, start, length = stream.draw()
        assert (1 if start == 0 else 2) <= length <= window  # a further window has something to predict
        firsts[document] += start == 0
        predicted.update((document, position) for position in range(start + 1, start + length))
    assert predicted == Counter((d, p) for d, n in enumerate(lengths) for p in range(1, n))
    assert firsts == Counter(range(len(lengths)))


def test_samples_are_documents_without_actions(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", [5, 100, 7], framed=True)
    stream = CorpusStream(corpus, seed=3, max_document_tokens=32)
    handles = _draw(CorpusStream(corpus, seed=3, max_document_tokens=32), 6)
    buffer = stream.gather(handles)
    for trajectory, (document, start, length) in zip(buffer, handles):
        assert trajectory.tokens.tolist() == corpus.document(document)[start : start + length].tolist()
        assert trajectory.group == document and trajectory.stop_reason == "none"
    assert not buffer.action_mask.any() and (buffer.segment == Segment.DOCUMENT).all()
    taken = stream.take(70)
    assert taken.num_tokens <= 70 and taken.num_tokens + stream.next_length() > 70
    assert taken.index.tolist() == list(range(len(taken)))
    assert [t.group for t in taken] == [d for d, _, _ in handles[: len(taken)]]
    with pytest.raises(ValueError, match=r"num_tokens must be at least the next sample's"):
        stream.take(1)


def test_a_resumed_stream_brings_the_same_next_thousand_documents(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", [3 + i % 50 for i in range(700)])
    for consumed in (0, 1, 333, 699, 700, 701, 2500):  # before, inside, at and past the ends of epochs
        stream = CorpusStream(corpus, seed=7, max_document_tokens=40)
        _draw(stream, consumed)
        stream.next_length()  # looking ahead takes nothing
        state = json.loads(json.dumps(stream.state_dict()))
        expected = _draw(stream, 1000)
        resumed = CorpusStream(Corpus.open(tmp_path / "c"), seed=7, max_document_tokens=40)
        resumed.load_state_dict(state)
        assert _draw(resumed, 1000) == expected
        assert resumed.epoch == stream.epoch
    assert stream.epoch > 2


def test_epochs_and_seeds_differ_and_batches_do_not_matter(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", [8] * 300)
    stream = CorpusStream(corpus, seed=0)
    first, second = _draw(stream, 300), _draw(stream, 300)
    assert sorted(first) == sorted(second) and first != second
    assert _draw(CorpusStream(corpus, seed=1), 300) != first
    by_batches = CorpusStream(corpus, seed=0)
    assert [t.group for _ in range(30) for t in by_batches.take(80)] == [document for document, _, _ in first]


def test_a_state_of_another_stream_is_refused(tmp_path: Path) -> None:
    corpus, other = _corpus(tmp_path / "c", [8] * 9), _corpus(tmp_path / "d", [9] * 9)
    state = CorpusStream(corpus, seed=0).state_dict()
    for stream, name in [
        (CorpusStream(other, seed=0), "corpus"), (CorpusStream(corpus, seed=1), "seed"),
        (CorpusStream(corpus, seed=0, max_document_tokens=5), "max_document_tokens"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"state must be of a stream with {name}"):
            stream.load_state_dict(state)
    with pytest.raises(ValueError, match="max_document_tokens must be >= 2, got 1"):
        CorpusStream(corpus, seed=0, max_document_tokens=1)


def _mixture(tmp_path: Path) -> MixtureStream:
    paths = {name: tmp_path / name for name in ("long", "short")}
    if not paths["long"].exists():
        _corpus(paths["long"], [30 + i % 9 for i in range(40)])
        _corpus(paths["short"], [3 + i % 4 for i in range(90)])
    streams = {name: CorpusStream(Corpus.open(path), seed=5) for name, path in paths.items()}
    return MixtureStream({"long": (streams["long"], 1.0), "short": (streams["short"], 3.0)})


def test_a_mixture_keeps_its_shares_of_tokens_at_every_moment(tmp_path: Path) -> None:
    mixture = _mixture(tmp_path)
    total = Counter()
    for _ in range(2000):
        name, (_, _, length) = mixture.draw()
        total[name] += length
        assert abs(total["long"] - 0.25 * total.total()) <= 38
    assert mixture.num_tokens == total


def test_a_mixture_gathers_in_order_and_names_the_streams(tmp_path: Path) -> None:
    handles = _draw(_mixture(tmp_path), 40)
    mixture = _mixture(tmp_path)
    buffer = mixture.take(sum(handle[1][2] for handle in handles))
    assert [t.task for t in buffer] == [name for name, _ in handles]
    corpora = {name: Corpus.open(tmp_path / name) for name in ("long", "short")}
    assert [t.tokens.tolist() for t in buffer] == [corpora[name].document(document).tolist() for name, (document, _, _) in handles]


@pytest.mark.parametrize("consumed", [0, 17, 400])
def test_a_resumed_mixture_goes_on(tmp_path: Path, consumed: int) -> None:
    mixture = _mixture(tmp_path)
    _draw(mixture, consumed)
    state = json.loads(json.dumps(mixture.state_dict()))
    expected = _draw(mixture, 1000)
    resumed = _mixture(tmp_path)
    resumed.load_state_dict(state)
    assert _draw(resumed, 1000) == expected


def test_bad_mixtures_are_named(tmp_path: Path) -> None:
    stream = CorpusStream(_corpus(tmp_path / "c", [8]), seed=0)
    with pytest.raises(ValueError, match="at least one stream"):
        MixtureStream({})
    with pytest.raises(ValueError, match=r"streams\['a'\]: weight must be positive, got 0"):
        MixtureStream({"a": (stream, 0)})
    state = MixtureStream({"a": (stream, 1)}).state_dict()
    with pytest.raises(ValueError, match="weights"):
        MixtureStream({"a": (stream, 2)}).load_state_dict(state)


def test_held_out_windows_are_the_others_and_the_same_for_every_seed(tmp_path) -> None:
    corpus = _corpus(tmp_path / "c", [90, 3, 41, 77, 1, 60])

    def windows(**options) -> set:
        stream, seen = CorpusStream(corpus, max_document_tokens=10, **options), set()
        while stream.next_length() and stream.epoch == 0:
            seen.add(stream.draw())
        return seen

    kept, held_out = windows(seed=1, held_out_every=4), windows(seed=1, held_out_every=4, held_out=True)
    assert kept | held_out == windows(seed=1) and not kept & held_out and len(held_out) > 4
    assert held_out == windows(seed=2, held_out_every=4, held_out=True)
    with pytest.raises(ValueError, match="corpus must have more windows of 10 tokens to hold out one in 4"):
        CorpusStream(_corpus(tmp_path / "small", [5]), 0, max_document_tokens=10, held_out_every=4)
    with pytest.raises(ValueError, match="held_out_every must be >= 2, or 0 where held_out is False, got 0 with True"):
        CorpusStream(corpus, 0, held_out=True)
