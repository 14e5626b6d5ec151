"""Human preferences: pairs of dialogues of which the first was preferred, from a JSONL file.

    a dialogue = its prompt in the tokenizer's chat form, up to the header of the last assistant turn; the response; the token that ends a turn

The pieces are tokenised apart, as they are when a policy answers the prompt. What belongs to one conversation goes by its first turn: its split
(`splits.split_of`), and its half, so that a scorer trained on one half has never seen a conversation of the other.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paradigm.environments.splits import Split, split_of
from paradigm.sources.corpus import read_jsonl
from paradigm.sources.demonstrations import of_masked
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["FORMS", "Half", "PreferencePairs", "dialogue_texts"]

# n tokens, P pairs

_log = logging.getLogger(__name__)

FORMS = (
    'one JSON object a line with "chosen" and "rejected": dialogues as text ("\\n\\nHuman: ...\\n\\nAssistant: ...", as in Anthropic\'s hh-rlhf) '
    'or as lists of {"role", "content"}; or two responses to a "prompt"'
)
Half = Literal["all", "first", "second"]
Message = dict[str, str]
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ \t]?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class _Dialogue:
    """The turns before the last, and the last, which is an assistant's."""

    prompt: tuple[Message, ...]
    response: str

    @property
    def opening(self) -> str:
        return self.prompt[0]["content"]


class PreferencePairs:
    """The pairs of a file. A task is a row's number; its prompt is that of the preferred dialogue.

    Prompts longer than max_prompt_tokens lose their oldest turns, up to a question; a pair whose last question alone is longer is left out, and so is
    one whose dialogues are the same. Responses are cut at max_response_tokens, end token included, as a policy's are. What was left out is logged.

    Args:
        path: JSON objects, one a line, see `FORMS`.
        tokenizer: must have a chat template.
        max_prompt_tokens, max_response_tokens: >= 1.
    Raises: ValueError naming file and line of what does not fit, or if nothing is left; FileNotFoundError.
    """

    def __init__(self, path: str | Path, tokenizer: Tokenizer, *, max_prompt_tokens: int = 512, max_response_tokens: int = 256):
        if max_prompt_tokens < 1 or max_response_tokens < 1:
            raise ValueError(f"max_prompt_tokens and max_response_tokens must be >= 1, got {max_prompt_tokens} and {max_response_tokens}")
        if tokenizer.end_id is None:
            raise ValueError("tokenizer must have a token that ends a turn, got none")
        self.tokenizer, self.end = tokenizer, int(tokenizer.end_id)
        self._max_prompt, self._max_response = max_prompt_tokens, max_response_tokens
        self._rows: list[tuple[_Dialogue, np.ndarray, np.ndarray]] = []
        lengths: list[int] = []  # of their prompts
        num_long = num_same = 0
        read = list(_read(Path(path)))
        responses = tokenizer.encode_batch([dialogue.response for pair in read for dialogue in pair])
        for number, pair in enumerate(read):
            prompts = [self._prompt(dialogue.prompt) for dialogue in pair]
            whole = [None if prompt is None else self._joined(prompt, responses[2 * number + i]) for i, prompt in enumerate(prompts)]
            if whole[0] is None or whole[1] is None:
                num_long += 1
            elif np.array_equal(whole[0], whole[1]):
                num_same += 1
            else:
                self._rows.append((pair[0], whole[0], whole[1]))
                lengths.append(prompts[0].size)  # type: ignore[union-attr]
        if num_long or num_same:
            told = "%s: left out %d pairs whose question is longer than %d tokens, and %d of two equal dialogues"
            _log.info(told, path, num_long, max_prompt_tokens, num_same)
        if not self._rows:
            raise ValueError(f"{path} must hold at least one pair, got none ({num_long} were too long, {num_same} of two equal dialogues)")
        self._lengths = np.array(lengths)
        self._splits = np.array([split_of(dialogue.opening) for dialogue, _, _ in self._rows])
        self._halves = np.array([_half_of(dialogue.opening) for dialogue, _, _ in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all dialogues' tokens."""
        digest = hashlib.sha256()
        for _, chosen, rejected in self._rows:
            for tokens in (chosen, rejected):
                digest.update(tokens.size.to_bytes(4, "little") + np.ascontiguousarray(tokens, "<i4").tobytes())
        return digest.hexdigest()

    def rows(self, split: Split, half: Half = "all") -> np.ndarray:
        """int64 [P], the pairs of a split, and of a half of it. Raises: ValueError if there are none."""
        found = np.flatnonzero((self._splits == split) & ((self._halves == half) | (half == "all")))
        if not found.size:
            part = f"split {split!r}" + (f", half {half!r}" if half != "all" else "")
            raise ValueError(f"a file of {len(self)} pairs must have some of the {part}, got none: give more pairs")
        return found

    def held_out(self, half: Half, n: int, *, has_seen: bool = False) -> np.ndarray:
        """int64 [P], at most n pairs that a scorer trained on a half of the training split has never seen: the test split's, then those of the
        other half of the training split, unless what it was made of has seen the preferred dialogues of both (`has_seen`), as imitation does."""
        rows = [self.rows("test")]
        if half != "all" and not has_seen:
            rows.append(self.rows("train", "second" if half == "first" else "first"))
        return np.concatenate(rows)[:n]

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[int]:
        """n prompts of a split in an order of the seed's, none twice before all have come once. Raises: as `rows`."""
        rows, draw = self.rows(split), np.random.default_rng(seed)
        rounds = [draw.permutation(rows) for _ in range(-(-n // len(rows)))]
        return np.concatenate([np.zeros(0, np.int64), *rounds])[:n].tolist()

    def prompt(self, task: Any) -> np.ndarray:
        """int32 [n], the prompt of a row, or of a text as its only question. Raises: ValueError for what is neither, or is too long."""
        if isinstance(task, str):
            tokens = self._prompt(({"role": "user", "content": task},))
            if tokens is None:
                raise ValueError(f"a question must have at most {self._max_prompt} tokens in the chat form, got {task[:80]!r}...")
            return tokens
        return self._row(task)[1][: self._lengths[task]]

    def text(self, task: Any) -> str:
        """The last question of a prompt."""
        return task if isinstance(task, str) else self._row(task)[0].prompt[-1]["content"]

    def pairs(self, rows: np.ndarray) -> tuple[TrajectoryBuffer, np.ndarray]:
        """The dialogues of pairs, preferred ones at even places; and int32 [P, 2], which of them make a pair."""
        dialogues = [self._rows[row][1 + i] for row in rows.tolist() for i in (0, 1)]
        buffer = TrajectoryBuffer.from_arrays(
            np.concatenate([np.zeros(0, np.int32), *dialogues]), np.cumsum([0, *(d.size for d in dialogues)]), group=np.repeat(rows, 2)
        )
        return buffer, np.arange(len(dialogues), dtype=np.int32).reshape(-1, 2)

    def demonstrations(self, rows: np.ndarray) -> TrajectoryBuffer:
        """The preferred dialogues, their last response as the action."""
        tokens = [self._rows[row][1] for row in rows.tolist()]
        masks = [np.arange(t.size) >= self._lengths[row] for row, t in zip(rows.tolist(), tokens)]
        tasks = rows.tolist()
        return of_masked(tokens, masks, group=np.arange(len(tasks)), task=np.arange(len(tasks)), tasks=tasks)

    def _row(self, task: Any) -> tuple[_Dialogue, np.ndarray, np.ndarray]:
        if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < len(self):
            raise ValueError(f"task must be the row of one of {len(self)} pairs, or a question, got {task!r}")
        return self._rows[task]

    def _prompt(self, messages: tuple[Message, ...]) -> np.ndarray | None:
        """The chat form of as many of the last turns as fit; None if not even the last does."""
        for start, message in enumerate(messages):
            if start > 0 and message["role"] != "user":  # templates may put more before an assistant's turn that comes first
                continue
            tokens, _ = self.tokenizer.encode_chat(messages[start:], add_generation_prompt=True)
            if tokens.size <= self._max_prompt:
                return tokens
        return None

    def _joined(self, prompt: np.ndarray, response: np.ndarray) -> np.ndarray:
        return np.concatenate([prompt, np.append(response, np.int32(self.end))[: self._max_response]])


def dialogue_texts(path: str | Path) -> Iterator[str]:
    """The text of every turn of the training split, for learning a vocabulary. Raises: as `PreferencePairs`."""
    for chosen, rejected in _read(Path(path)):
        if split_of(chosen.opening) == "train":
            yield from (message["content"] for message in chosen.prompt)
            yield from (chosen.response, rejected.response)


def _half_of(opening: str) -> str:
    return "first" if hashlib.blake2b(opening.encode(), digest_size=8, person=b"half").digest()[0] % 2 else "second"


def _read(path: Path) -> Iterator[tuple[_Dialogue, _Dialogue]]:
    if not path.is_file():
        raise FileNotFoundError(f"path must be a JSONL file of preference pairs, got {str(path)!r}")
    for number, record in read_jsonl(path):
        try:
            yield _dialogue(record, "chosen"), _dialogue(record, "rejected")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}; a file of preference pairs has {FORMS}") from error


def _dialogue(record: Mapping[str, Any], field: str) -> _Dialogue:
    messages = _messages(record.get(field), field)
    if "prompt" in record:
        prompt = _messages(record["prompt"], "prompt", "user")
        # a list of messages may repeat the prompt
        messages = messages if messages[: len(prompt)] == prompt else prompt + messages
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError(f"{field!r} must be a dialogue that ends with an assistant's turn, got {str(record[field])[:80]!r}")
    return _Dialogue(tuple(messages[:-1]), messages[-1]["content"])


def _messages(value: Any, field: str, role: str = "assistant") -> list[Message]:
    """Turns from a text or from messages; a text without marks of turns is one turn of `role`."""
    if isinstance(value, str):
        pieces = _TURN.split(value)
        if len(pieces) == 1:
            return [{"role": role, "content": value.strip()}]
        if pieces[0].strip():
            raise ValueError(f"{field!r} must begin with 'Human: ' or 'Assistant: ', got {value[:80]!r}")
        return [{"role": _ROLES[who], "content": text.strip()} for who, text in zip(pieces[1::2], pieces[2::2])]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{field!r} must be a text or a list of messages, got {str(value)[:80]!r}")
    for message in value:
        if not isinstance(message, Mapping) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError(f"{field!r} must hold messages with a role and a content, got {str(message)[:80]!r}")
    return [{"role": message["role"], "content": message["content"]} for message in value]
