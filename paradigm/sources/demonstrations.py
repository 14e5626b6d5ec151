"""Demonstrations: what someone did, with masks that tell which tokens were theirs. Noisy ones are as welcome as expert ones.

They come from trajectories (in memory, or in the shard format), from chats, or from prompts with completions; streams of them are shuffled and
resumable as corpora are. A demonstration is never cut: half a solution teaches the wrong thing.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paradigm.sources.corpus import Corpus, read_jsonl
from paradigm.sources.shards import ShardWriter
from paradigm.sources.stream import check_same, permuted, take
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, Trajectory, TrajectoryBuffer

__all__ = ["DemonstrationStream", "Demonstrations", "of_masked"]

# n tokens, B demonstrations

logger = logging.getLogger(__name__)

_BLOCK = 512
_WRITE_ROWS = 1024


class Demonstrations:
    """A set of demonstrations; `len` is their number.

    Args:
        source: a buffer, or an open data set of trajectories, which stays on disk.
        rows: which of them, int64 [B], by default all.
    """

    def __init__(self, source: TrajectoryBuffer | Corpus, rows: np.ndarray | None = None):
        self._source = source
        self._rows = np.arange(len(source), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Demonstrations:
        """Demonstrations in a data set folder, or in a file written by `TrajectoryBuffer.save`. Errors are those of `Corpus.open`."""
        if Path(path).is_file():
            return cls(TrajectoryBuffer.load(path))
        return cls(Corpus.open(path, verify=verify))

    @classmethod
    def from_chat(
        cls, path: str | os.PathLike[str], tokenizer: Tokenizer, *, field: str = "messages", max_tokens: int | None = None
    ) -> Demonstrations:
        """Conversations, one JSON object a line, `{"messages": [{"role": ..., "content": ...}, ...]}`, in the tokenizer's chat form.

        Args:
            path: the JSONL file. An object may also have `tools`.
            tokenizer: its `encode_chat` marks the assistant's tokens, which become the actions.
            field: the field that holds the messages.
            max_tokens: longer conversations are left out, and their number logged.
        Raises: ValueError naming file and line of what does not fit, or if nothing is left.
        """

        def encode(record: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
            if not isinstance(record.get(field), list):
                raise ValueError(f"field {field!r} must be a list of messages, got {type(record.get(field)).__name__}")
            return tokenizer.encode_chat(record[field], tools=record.get("tools"))

        return cls(_read(Path(path), encode, max_tokens))

    @classmethod
    def from_completions(
        cls, path: str | os.PathLike[str], tokenizer: Tokenizer, *, prompt: str = "prompt", completion: str = "completion",
        bos: bool = True, eos: bool = True, max_tokens: int | None = None,
    ) -> Demonstrations:  # fmt: skip
        """Prompts with their completions, one JSON object a line. The two are tokenised apart, as they will be when the policy answers.

        Args:
            path: the JSONL file.
            tokenizer: cuts the text.
            prompt, completion: the fields' names.
            bos, eos: whether bos begins the prompt and eos, an action, ends the completion, if the tokenizer has them.
            max_tokens: longer ones are left out, and their number logged.
        Raises: ValueError naming file and line of what does not fit, or if nothing is left.
        """
        before = np.array([tokenizer.bos_id] if bos and tokenizer.bos_id is not None else [], dtype=np.int32)
        after = np.array([tokenizer.eos_id] if eos and tokenizer.eos_id is not None else [], dtype=np.int32)

        def encode(record: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
            for name in (prompt, completion):
                if not isinstance(record.get(name), str):
                    raise ValueError(f"field {name!r} must be a string, got fields {sorted(record)[:8]}")
            asked, answered = tokenizer.encode_batch([record[prompt], record[completion]])
            tokens = np.concatenate([before, asked, answered, after])
            return tokens, np.arange(tokens.size) >= before.size + asked.size

        return cls(_read(Path(path), encode, max_tokens))

    def __len__(self) -> int:
        return self._rows.size

    def __getitem__(self, number: int) -> Trajectory:
        return self.buffer([range(len(self))[number]])[0]

    @property
    def num_tokens(self) -> int:
        """Tokens of all demonstrations."""
        return int(self.lengths(np.arange(len(self))).sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens, the masks and the choice of rows."""
        digest = hashlib.sha256(self._rows.tobytes())
        if isinstance(self._source, Corpus):
            digest.update(self._source.fingerprint.encode())
        else:
            for array in (self._source.tokens, self._source.action_mask, self._source.offsets):
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def lengths(self, numbers: np.ndarray) -> np.ndarray:
        """Tokens of the given demonstrations, int64 [B]."""
        rows = self._rows[numbers]
        if isinstance(self._source, Corpus):
            first, end = self._source.bounds(rows)
            return end - first
        return self._source.lengths[rows]

    def buffer(self, numbers: Sequence[int] | np.ndarray | None = None) -> TrajectoryBuffer:
        """The given demonstrations in the given order, by default all, copied into memory."""
        rows = self._rows if numbers is None else self._rows[np.asarray(numbers, dtype=np.int64)]
        return self._source.buffer(rows) if isinstance(self._source, Corpus) else self._source.select(rows)

    def filtered(self, accept: Callable[[Trajectory], bool]) -> Demonstrations:
        """Those that a verdict accepts, such as `lambda t: t.reward > 0`. They are looked at a thousand at a time."""
        kept: list[int] = []
        for start in range(0, len(self), _WRITE_ROWS):
            numbers = np.arange(start, min(start + _WRITE_ROWS, len(self)))
            kept += [number for number, trajectory in zip(numbers.tolist(), self.buffer(numbers)) if accept(trajectory)]
        return Demonstrations(self._source, self._rows[np.array(kept, dtype=np.int64)])

    def stream(self, seed: int) -> DemonstrationStream:
        """All of them without end, each epoch in a new order."""
        return DemonstrationStream(self, seed)

    def save(self, out: str | os.PathLike[str], tokenizer: Tokenizer, *, overwrite: bool = False, shard_tokens: int = 1 << 22) -> Corpus:
        """Writes them as a data set folder, to be opened from disk. Raises: as `ShardWriter`."""
        name = tokenizer.fingerprint
        with ShardWriter(out, kind="trajectories", vocab_size=tokenizer.vocab_size, tokenizer=name, overwrite=overwrite) as writer:
            ends = np.cumsum(self.lengths(np.arange(len(self))))
            start = 0
            while start < len(self):
                base = ends[start - 1] if start else 0
                stop = max(int(np.searchsorted(ends, base + shard_tokens, side="right")), start + 1)
                writer.write_trajectories(self.buffer(np.arange(start, stop)))
                start = stop
            writer.commit()
        return Corpus.open(out)


class DemonstrationStream:
    """Demonstrations without end, each epoch in a new order, a pure function of (seed, epoch). The methods are those of `CorpusStream`."""

    def __init__(self, demonstrations: Demonstrations, seed: int):
        if not len(demonstrations):
            raise ValueError("demonstrations must hold at least one, got none")
        self._demonstrations, self._seed = demonstrations, seed
        self._fingerprint = demonstrations.fingerprint
        self._epoch = self._cursor = 0
        self._block: tuple[int, int] | None = None
        self._order = self._lengths = np.zeros(0, np.int64)

    @property
    def epoch(self) -> int:
        """How often all demonstrations have been drawn."""
        return self._epoch

    def _place(self) -> int:
        """Where the cursor stands in the current block of the order."""
        size = len(self._demonstrations)
        if self._cursor >= size:
            self._epoch, self._cursor = self._epoch + 1, 0
        block = (self._epoch, self._cursor // _BLOCK)
        if block != self._block:
            places = np.arange(block[1] * _BLOCK, min((block[1] + 1) * _BLOCK, size))
            self._order = permuted(places, size, f"demonstrations/{self._seed}/{self._epoch}")
            self._lengths, self._block = self._demonstrations.lengths(self._order), block
        return self._cursor % _BLOCK

    def next_length(self) -> int:
        """Tokens of the next demonstration."""
        place = self._place()
        return int(self._lengths[place])

    def draw(self) -> int:
        """Takes the next demonstration. Returns: its number."""
        place = self._place()
        number = int(self._order[place])
        self._cursor += 1
        return number

    def gather(self, handles: Sequence[int]) -> TrajectoryBuffer:
        """The demonstrations of these numbers."""
        return self._demonstrations.buffer(handles)

    def take(self, num_tokens: int) -> TrajectoryBuffer:
        """The next demonstrations that together have at most num_tokens tokens, at least one; see `paradigm.sources.stream.take`."""
        return take(self, num_tokens)

    def take_count(self, count: int) -> TrajectoryBuffer:
        """The next `count` demonstrations, whatever their length."""
        buffer = self.gather([self.draw() for _ in range(count)])
        buffer.index = np.arange(len(buffer), dtype=np.int64)
        return buffer

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands; JSON can hold it."""
        return {"epoch": self._epoch, "cursor": self._cursor, "seed": self._seed, "demonstrations": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken. Raises: ValueError if that stream had other demonstrations or another seed."""
        check_same(self.state_dict(), state, ("demonstrations", "seed"))
        self._epoch, self._cursor = int(state["epoch"]), int(state["cursor"])


def _read(path: Path, encode: Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]], max_tokens: int | None) -> TrajectoryBuffer:
    """A JSONL file's demonstrations."""
    if not path.is_file():
        raise FileNotFoundError(f"path must be a JSONL file, got {str(path)!r}")
    tokens: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    num_too_long = 0
    for number, record in read_jsonl(path):
        try:
            ids, mask = encode(record)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if not mask.any():
            raise ValueError(f"{path}:{number}: a demonstration must have at least one action, got {ids.size} tokens without any")
        if max_tokens is not None and ids.size > max_tokens:
            num_too_long += 1
            continue
        tokens.append(ids)
        masks.append(mask)
    if num_too_long:
        logger.warning("%s: left out %d demonstrations of more than %d tokens", path, num_too_long, max_tokens)
    if not tokens:
        raise ValueError(f"{path} must hold at least one demonstration, got none ({num_too_long} were too long)")
    return of_masked(tokens, masks)


def of_masked(tokens: Iterable[np.ndarray], masks: Sequence[np.ndarray], **fields: Any) -> TrajectoryBuffer:
    """Demonstrations from their tokens [n] and action masks [n]; `fields`: more of `TrajectoryBuffer.from_arrays`.

    Before the first action tokens are the prompt, behind it those of others are observations; each run of actions is a decision.
    """
    segments, decisions = [], []
    for mask in masks:
        starts = mask & ~np.concatenate([[False], mask[:-1]])
        decision = np.cumsum(starts) - 1
        segments.append(np.where(mask, Segment.ACTION, np.where(decision < 0, Segment.PROMPT, Segment.OBSERVATION)))
        decisions.append(np.where(mask, decision, -1))
    return TrajectoryBuffer.from_arrays(
        np.concatenate([np.zeros(0, np.int32), *tokens]),
        offsets=np.cumsum([0, *(mask.size for mask in masks)]),
        action_mask=np.concatenate([np.zeros(0, np.bool_), *masks]),
        segment=np.concatenate([np.zeros(0, np.int64), *segments]),
        decision=np.concatenate([np.zeros(0, np.int64), *decisions]),
        **fields,
    )
