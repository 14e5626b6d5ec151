"""Endless, shuffled, resumable streams of what lies on disk.

Shuffling keeps no list: the order of an epoch is a keyed permutation computed on demand, a Feistel network over just enough bits with cycle walking
(Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). So the whole state of a stream is (epoch, cursor), and a resumed stream goes on as
if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from paradigm.sources.corpus import Corpus
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["CorpusStream", "MixtureStream", "SampleStream", "permuted"]

# n tokens, B samples

_ROUNDS = 8
_BLOCK = 512  # places of an epoch's order that are computed at once


def permuted(places: np.ndarray, size: int, key: str) -> np.ndarray:
    """Where a keyed permutation of 0 ... size - 1 puts the given places.

    Args:
        places: integers [n] in [0, size).
        size: number of things permuted, 1 <= size < 2**62.
        key: which permutation.
    Returns: int64 [n].
    """
    bits = max(int(size - 1).bit_length(), 2)
    left_bits, right_bits = np.uint64(bits // 2), np.uint64(bits - bits // 2)
    keys = np.frombuffer(hashlib.blake2b(key.encode(), digest_size=8 * _ROUNDS).digest(), dtype="<u8")
    values = np.asarray(places, dtype=np.uint64).copy()
    pending = np.arange(values.size)
    while pending.size:
        walked = values[pending]
        high, low = left_bits, right_bits
        for round_key in keys:
            left, right = walked >> low, walked & _mask(low)
            walked = (right << high) | (left ^ (_mixed(right + round_key) & _mask(high)))
            high, low = low, high
        values[pending] = walked
        pending = pending[walked >= size]
    return values.astype(np.int64)


def _mask(bits: np.uint64) -> np.uint64:
    return np.uint64((1 << int(bits)) - 1)


def _mixed(values: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class SampleStream(Protocol):
    """An endless stream of trajectories, drawn one by one and fetched together.

    Anything that has these methods can be mixed: `next_length` looks at the next sample without taking it, `draw` takes it and returns a handle, and
    `gather` turns handles into a buffer.
    """

    def next_length(self) -> int: ...
    def draw(self) -> Any: ...
    def gather(self, handles: Sequence[Any]) -> TrajectoryBuffer: ...
    def take(self, num_tokens: int) -> TrajectoryBuffer: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def take(stream: SampleStream, num_tokens: int) -> TrajectoryBuffer:
    """The next samples of a stream, as many as fit into num_tokens, at least one.

    Returns: a buffer whose `index` counts from 0 in stream order. Raises: ValueError if the next sample alone is longer than num_tokens.
    """
    if stream.next_length() > num_tokens:
        raise ValueError(f"num_tokens must be at least the next sample's {stream.next_length()} tokens, got {num_tokens}")
    handles, total = [], 0
    while total + stream.next_length() <= num_tokens:
        total += stream.next_length()
        handles.append(stream.draw())
    buffer = stream.gather(handles)
    buffer.index = np.arange(len(buffer), dtype=np.int64)
    return buffer


class CorpusStream:
    """A corpus's documents without end, each epoch in a new order.

    A document longer than max_document_tokens comes as several windows, scattered over the epoch like any other samples. Neighbouring windows share
    one token, so that over an epoch each token but a document's first is predicted exactly once. A sample is a trajectory of segment 0 without
    actions, to be packed with rows="all"; its `group` is the document's number in the corpus.

    Args:
        corpus: the documents.
        seed: decides the order.
        max_document_tokens: longest sample, at least 2.
        held_out_every: one in so many windows, the same ones for every seed, is left out; 0 leaves out none.
        held_out: the stream is of those windows instead of the others.
    """

    def __init__(self, corpus: Corpus, seed: int, *, max_document_tokens: int = 1024, held_out_every: int = 0, held_out: bool = False):
        if max_document_tokens < 2:
            raise ValueError(f"max_document_tokens must be >= 2, got {max_document_tokens}")
        if held_out_every < 0 or held_out_every == 1 or (held_out and not held_out_every):
            raise ValueError(f"held_out_every must be >= 2, or 0 where held_out is False, got {held_out_every} with {held_out}")
        self._corpus, self._seed, self._window = corpus, seed, max_document_tokens
        self._held_out_every, self._held_out = held_out_every, held_out
        # Places 0 ... len(corpus) - 1 stand for documents' first windows; one more place for each stride of the row of all tokens stands for a
        # further window of the document there. A document has at least as many of those as it needs; the spare ones are passed over.
        self._stride = max_document_tokens - 1
        self._size = len(corpus) + -(-corpus.num_tokens // self._stride)
        self._epoch = self._cursor = 0
        self._block: tuple[int, int] | None = None
        self._samples = np.zeros((0, 3), np.int64)
        if held_out_every and not self._samples_at(np.arange(min(self._size, 1 << 16)))[:, 2].any():
            raise ValueError(f"corpus must have more windows of {max_document_tokens} tokens to hold out one in {held_out_every}, got {corpus}")

    @property
    def epoch(self) -> int:
        """How often the whole corpus has been drawn."""
        return self._epoch

    def next_length(self) -> int:
        """Tokens of the next sample."""
        return int(self._next()[2])

    def draw(self) -> tuple[int, int, int]:
        """Takes the next sample. Returns: document, first token in it, number of tokens."""
        document, start, length = self._next().tolist()
        self._cursor += 1
        return document, start, length

    def gather(self, handles: Sequence[tuple[int, int, int]]) -> TrajectoryBuffer:
        """The samples' tokens."""
        windows = [self._corpus.window(*handle) for handle in handles]
        offsets = np.cumsum([0, *(window.size for window in windows)])
        tokens = np.concatenate(windows) if windows else np.zeros(0, np.int32)
        return TrajectoryBuffer.from_arrays(tokens, offsets=offsets, group=np.array([document for document, _, _ in handles], np.int64))

    def take(self, num_tokens: int) -> TrajectoryBuffer:
        """The next samples that together have at most num_tokens tokens, at least one; see `take`."""
        return take(self, num_tokens)

    def _next(self) -> np.ndarray:
        """The sample at the cursor, which moves over places that stand for nothing."""
        while True:
            if self._cursor >= self._size:
                self._epoch, self._cursor = self._epoch + 1, 0
            block = (self._epoch, self._cursor // _BLOCK)
            if block != self._block:
                start = block[1] * _BLOCK
                places = permuted(np.arange(start, min(start + _BLOCK, self._size)), self._size, f"corpus/{self._seed}/{self._epoch}")
                self._samples, self._block = self._samples_at(places), block
            ahead = np.flatnonzero(self._samples[self._cursor % _BLOCK :, 2])
            if ahead.size:
                self._cursor += int(ahead[0])
                return self._samples[self._cursor % _BLOCK]
            self._cursor += len(self._samples) - self._cursor % _BLOCK

    def _samples_at(self, places: np.ndarray) -> np.ndarray:
        """(document, start, length) of each place, int64 [n, 3]; length 0 where a place stands for nothing."""
        corpus, stride = self._corpus, self._stride
        samples = np.zeros((places.size, 3), np.int64)
        extra = places >= len(corpus)
        position = (places - len(corpus)) * stride
        samples[:, 0] = np.where(extra, 0, places)
        samples[extra, 0] = corpus.documents_at(position[extra])
        first, end = corpus.bounds(samples[:, 0])
        # the first multiple of the stride inside the document stands for its second window
        samples[:, 1] = np.where(extra, (position // stride - -(-first // stride) + 1) * stride, 0)
        left = end - first - samples[:, 1]
        samples[:, 2] = np.where(left > np.where(extra, 1, 0), np.minimum(left, self._window), 0)
        if self._held_out_every:
            samples[(places % self._held_out_every == 0) != self._held_out, 2] = 0
        return samples

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands; JSON can hold it."""
        return {
            "epoch": self._epoch, "cursor": self._cursor, "seed": self._seed, "max_document_tokens": self._window,
            "corpus": self._corpus.fingerprint,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken. Raises: ValueError if that stream had another corpus, seed or window."""
        check_same(self.state_dict(), state, ("corpus", "seed", "max_document_tokens"))
        self._epoch, self._cursor = int(state["epoch"]), int(state["cursor"])


class MixtureStream:
    """Several streams in one, so that each contributes its share of tokens.

    The next sample always comes from the stream furthest behind its share (ties to the first named), so the shares hold at every moment to within one
    sample, without chance. A sample that answers no task of its own has the name of its stream as its `task`.

    Args:
        streams: {name: (stream, weight)}; weights are shares of tokens, and need not sum to 1.
    Raises: ValueError if there is no stream, or a weight is not positive.
    """

    def __init__(self, streams: Mapping[str, tuple[SampleStream, float]]):
        if not streams:
            raise ValueError("streams must name at least one stream, got none")
        for name, (_, weight) in streams.items():
            if not weight > 0 or weight == float("inf"):
                raise ValueError(f"streams[{name!r}]: weight must be positive, got {weight}")
        self._streams = {name: stream for name, (stream, _) in streams.items()}
        self._weights = {name: float(weight) for name, (_, weight) in streams.items()}
        self._num_tokens = dict.fromkeys(streams, 0)

    @property
    def num_tokens(self) -> dict[str, int]:
        """Tokens drawn from each stream so far."""
        return dict(self._num_tokens)

    def _next_name(self) -> str:
        return min(self._streams, key=lambda name: self._num_tokens[name] / self._weights[name])

    def next_length(self) -> int:
        """Tokens of the next sample."""
        return self._streams[self._next_name()].next_length()

    def draw(self) -> tuple[str, Any]:
        """Takes the next sample. Returns: the stream's name and that stream's own handle."""
        name = self._next_name()
        self._num_tokens[name] += self._streams[name].next_length()
        return name, self._streams[name].draw()

    def gather(self, handles: Sequence[tuple[str, Any]]) -> TrajectoryBuffer:
        """The samples, in the order of their handles."""
        names = [name for name in self._streams if any(name == drawn for drawn, _ in handles)]
        if not names:
            return TrajectoryBuffer.from_arrays(np.zeros(0, np.int32), offsets=[0])
        parts, places = [], []
        for name in names:
            mine = [place for place, (drawn, _) in enumerate(handles) if drawn == name]
            part = self._streams[name].gather([handles[place][1] for place in mine])
            if not part.tasks:
                part.tasks, part.task = [name], np.zeros(len(part), np.int64)
            parts.append(part)
            places += mine
        return TrajectoryBuffer.concatenate(parts).select(np.argsort(np.array(places), kind="stable"))

    def take(self, num_tokens: int) -> TrajectoryBuffer:
        """The next samples that together have at most num_tokens tokens, at least one; see `take`."""
        return take(self, num_tokens)

    def state_dict(self) -> dict[str, Any]:
        """Where the mixture and each of its streams stand; JSON can hold it."""
        streams = {name: stream.state_dict() for name, stream in self._streams.items()}
        return {"weights": dict(self._weights), "num_tokens": dict(self._num_tokens), "streams": streams}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken. Raises: ValueError if that mixture had other streams or weights."""
        check_same(self.state_dict(), state, ("weights",))
        self._num_tokens = {name: int(state["num_tokens"][name]) for name in self._streams}
        for name, stream in self._streams.items():
            stream.load_state_dict(state["streams"][name])


def check_same(mine: Mapping[str, Any], state: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises ValueError naming the first of `names` in which a saved state is not of this stream."""
    for name in names:
        if name not in state or state[name] != mine[name]:
            raise ValueError(f"state must be of a stream with {name} {mine[name]!r}, got {state.get(name)!r}")
