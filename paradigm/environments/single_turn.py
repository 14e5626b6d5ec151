"""A prompt, one response, a verdict: a single-turn environment out of any Python function."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step, without_stop
from paradigm.environments.text_codec import ByteCodec, TextCodec
from paradigm.verifiers import Verdict

__all__ = ["SingleTurn", "from_verifier"]

logger = logging.getLogger(__name__)

Prompt = str | Sequence[int]
Verifier = Callable[[Any, str], "float | Verdict"]


class SingleTurn:
    """The environment that `from_verifier` makes; a task is the row of a prompt.

    Attributes:
        verdict: of the last episode; None before it.
        num_errors: verdicts with an error since this environment was made, its clones' included.
    """

    name = "single_turn"
    num_seats = 1

    def __init__(
        self,
        prompts: Sequence[Prompt],
        verifier: Verifier,
        *,
        tokenizer: TextCodec | None,
        stop: Sequence[int | str],
        max_action_tokens: int,
        thought_until: int,
    ):
        self._prompts = prompts
        self._verifier = verifier
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._stop = tuple(stop)
        self._stop_texts = tuple(text for text in stop if isinstance(text, str))
        self._max_action_tokens = max_action_tokens
        self._thought_until = thought_until
        self._errors = [0]  # shared with clones
        self._row = -1
        self.verdict: Verdict | None = None

    @property
    def num_errors(self) -> int:
        return self._errors[0]

    def tasks(self) -> list[int]:
        """Every prompt's row."""
        return list(range(len(self._prompts)))

    def reset(self, task: int, seed: int = 0) -> Step:
        """Poses prompt `task`. Raises: ValueError if there is no such row."""
        if not 0 <= task < len(self._prompts):
            raise ValueError(f"task must be the row of one of {len(self._prompts)} prompts, got {task}")
        self._row, self.verdict = int(task), None
        prompt = self._prompts[self._row]
        tokens = np.asarray(self._tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, np.int32)
        question = Observation(tokens, stop=self._stop, max_action_tokens=self._max_action_tokens, thought_until=self._thought_until)
        return Step([question], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Judges the response. A verifier that raises, or returns no score in [0, 1], costs this episode's reward and nothing else.

        Raises: RuntimeError before the first reset.
        """
        if self._row < 0:
            raise RuntimeError("step needs a reset before it")
        self.verdict = self._judge(self._prompts[self._row], without_stop(action, self._stop))
        if self.verdict.error is not None:
            self._errors[0] += 1
            logger.warning("verifier failed on prompt %d: %s", self._row, self.verdict.error)
        return Step([], (self.verdict.score,), terminated=True)

    def clone(self) -> SingleTurn:
        """A copy in the same state, of the same prompts and verifier."""
        copy = object.__new__(SingleTurn)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> SingleTurn:
        return self.clone()  # a verifier may hold a model; its copies would not fit

    def _judge(self, prompt: Prompt, response: list[int]) -> Verdict:
        try:
            text = self._tokenizer.decode(response)
            ends = [end for end in map(text.find, self._stop_texts) if end >= 0]
            given = self._verifier(prompt, text[: min(ends, default=len(text))])
            score = given.score if isinstance(given, Verdict) else float(given)
        except (Exception, SystemExit) as error:  # whatever the caller's function does on what a policy wrote, the run goes on
            return Verdict(0.0, error=f"{type(error).__name__}: {error}")
        if not (math.isfinite(score) and 0.0 <= score <= 1.0):
            return Verdict(0.0, error=f"score must be in [0, 1], got {score}")
        return given if isinstance(given, Verdict) else Verdict(score)


def from_verifier(
    prompts: Sequence[Prompt],
    verifier: Verifier,
    *,
    tokenizer: TextCodec | None = None,
    stop: Sequence[int | str] = (10,),
    max_action_tokens: int = 256,
    thought_until: int = -1,
) -> SingleTurn:
    """Makes a single-turn environment of any Python function.

    Args:
        prompts: text or token ids each.
        verifier: called as verifier(prompt, response) with the prompt as given and the response as text up to what stopped it;
            returns a score in [0, 1] or a `Verdict`. What it raises, and any other score, becomes a verdict of 0 with an error.
        tokenizer: encodes prompts given as text and decodes responses; None: UTF-8 bytes.
        stop: ids and texts that end a response; by default the newline byte. Texts need a sampler that has its tokenizer.
        max_action_tokens: the longest response.
        thought_until: response tokens before the first of this id are labelled thought; -1: none are.
    Raises: ValueError if there is no prompt, or max_action_tokens < 1.
    """
    if not len(prompts):
        raise ValueError("prompts must hold at least one, got none")
    if max_action_tokens < 1:
        raise ValueError(f"max_action_tokens must be >= 1, got {max_action_tokens}")
    return SingleTurn(prompts, verifier, tokenizer=tokenizer, stop=stop, max_action_tokens=max_action_tokens, thought_until=thought_until)
