"""One trajectory as coloured text: what was given, thought, done, injected, got wrong and corrected; whole, or as its tokens come."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from rich.text import Text

from paradigm.environments import ArithmeticLabel
from paradigm.environments.text_codec import PaddedCodec
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, Trajectory

_KINDS = {
    Segment.DOCUMENT: "prompt", Segment.PROMPT: "prompt", Segment.THOUGHT: "thought", Segment.ACTION: "action", Segment.OBSERVATION: "observation",
}  # fmt: skip
_MISTAKES = {ArithmeticLabel.WRONG: "error", ArithmeticLabel.CORRECTED: "correction"}
STYLES = {
    "prompt": "bold", "thought": "", "action": "bold green", "observation": "cyan", "error": "bold red", "correction": "yellow", "forced": "magenta",
}  # fmt: skip


def token_kinds(trajectory: Trajectory, environment: Any) -> list[str]:
    """What each token of a trajectory is: prompt, thought, action, observation, error or correction."""
    if hasattr(environment, "of_task"):  # a mixture
        environment = environment.of_task(trajectory.task)
    kinds = [_KINDS[Segment(segment)] for segment in trajectory.segment.tolist()]
    if hasattr(environment, "classify"):
        for i, label in enumerate(environment.classify(trajectory.tokens, trajectory.action_mask).tolist()):
            kinds[i] = _MISTAKES.get(ArithmeticLabel(label), kinds[i])
    return kinds


def transcript(trajectory: Trajectory, environment: Any, tokenizer: Tokenizer | None = None) -> list[dict[str, str]]:
    """Runs of tokens of the same kind as [{"text", "kind"}], in the tokenizer's text; None: bytes. The token that ends a text is left out."""
    tokenizer = tokenizer or Tokenizer()
    codec = PaddedCodec(tokenizer)
    parts = []
    for kind, group in groupby(zip(token_kinds(trajectory, environment), trajectory.tokens.tolist()), key=lambda pair: pair[0]):
        text = codec.decode([token for _, token in group if token != tokenizer.eos_id])
        if text:
            parts.append({"text": text, "kind": kind})
    return parts


class Transcriber:
    """The transcript of a trajectory that is still growing. A token counts as wrong or corrected by what has come up to its event."""

    def __init__(self, environment: Any, tokenizer: Tokenizer | None = None, task: Any = None):
        tokenizer = tokenizer or Tokenizer()
        self._environment = environment.of_task(task) if hasattr(environment, "of_task") else environment  # of a mixture
        self._said, self._eos = tokenizer.token_bytes(), tokenizer.eos_id
        self._seen = Trajectory.from_arrays([])
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character's bytes may come one by one

    def add(self, tokens: np.ndarray, action_mask: np.ndarray, segment: np.ndarray) -> Iterator[dict[str, str]]:
        """Yields [{"text", "kind"}] of the next tokens, arrays [n]."""
        fields = {"tokens": tokens, "action_mask": action_mask, "segment": segment}
        seen = {name: np.concatenate([getattr(self._seen, name), added]) for name, added in fields.items()}
        self._seen = Trajectory.from_arrays(**seen)
        new = list(zip(token_kinds(self._seen, self._environment), self._seen.tokens.tolist()))[-len(tokens) :]
        for kind, group in groupby(new, key=lambda pair: pair[0]):
            yield {"text": "".join(self._text_of(token) for _, token in group), "kind": kind}

    def _text_of(self, token: int) -> str:
        if token < len(self._said) and self._said[token]:
            return self._decoder.decode(self._said[token])
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest if token == self._eos else f"{rest}<{token}>"


def as_text(parts: list[dict[str, str]]) -> Text:
    """A transcript for the terminal, on one line: line ends are shown as spaces, bytes that would steer the terminal as dots."""
    line = Text()
    for part in parts:
        shown = "".join(c if c.isprintable() else " " if c == "\n" else "·" for c in part["text"])
        line.append(shown, style=STYLES[part["kind"]])
    return line
