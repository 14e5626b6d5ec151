"""Problems posed as text and answered with written work: the policy may use a calculator on the way, and a verifier judges what it wrote.

With the calculator, `<<48/2=` typed by the policy is answered by the injected observation `24>>`, GSM8K's form (Cobbe et al., arXiv:2110.14168); an
expression that has no value is answered by `error>>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.calculator import calculate, open_annotation
from paradigm.environments.protocol import IntArray, Observation, Step
from paradigm.environments.text_codec import TextCodec
from paradigm.verifiers import Verdict

__all__ = ["Problem", "WorkedProblems", "annotated_pieces"]

_ANNOTATION = re.compile(r"(<<[^<>=\n]*=)([^<>=\n]*>>)")
_ERROR = "error"


@dataclass(frozen=True)
class Problem:
    """What is asked, the judge of a response to it, and a response that demonstrates it (empty where there is none)."""

    prompt: str
    judge: Callable[[str], float | Verdict]
    demonstration: str = ""


class WorkedProblems:
    """Problems with worked answers, one seat. A response ends with an end-of-text token; the reward is its verdict's score.

    Args:
        problem_of: the problem that a task stands for; raises ValueError for what is no task.
        tokenizer: encodes prompts and the calculator's results, decodes responses.
        end: the token id that ends a response.
        calculator: whether annotations are answered.
        max_action_tokens: the longest response, without what the calculator says; one that is longer is judged as it stands.
        marker: text before which a response is labelled thought.
        vocab_size: ids of the tokenizer, needed with the calculator: an action ends with every token that holds a `=`.

    Attributes:
        verdict: of the last episode; None before it.
        num_errors: verdicts with an error since this environment was made, its clones' included.
    Raises: ValueError for values out of range.
    """

    name = "worked_problems"
    num_seats = 1

    def __init__(
        self, problem_of: Callable[[Any], Problem], tokenizer: TextCodec, *, end: int, calculator: bool = False, max_action_tokens: int = 256,
        marker: str = "#", vocab_size: int = 0,
    ):  # fmt: skip
        if max_action_tokens < 1:
            raise ValueError(f"max_action_tokens must be >= 1, got {max_action_tokens}")
        if calculator and vocab_size < 1:
            raise ValueError(f"vocab_size must be >= 1 with the calculator, got {vocab_size}")
        self._problem_of, self._tokenizer, self._end = problem_of, tokenizer, end
        self._max_action_tokens = max_action_tokens
        self._stop: tuple[int, ...] = (end,)
        if calculator:
            self._stop += tuple(i for i in range(vocab_size) if i != end and "=" in tokenizer.decode([i]))
        marked = list(tokenizer.encode(marker))
        self._thought_until = int(marked[0]) if len(marked) == 1 else -1
        self._errors = [0]  # shared with clones
        self._problem: Problem | None = None
        self._said: list[int] = []
        self._left = 0
        self.verdict: Verdict | None = None

    @property
    def num_errors(self) -> int:
        return self._errors[0]

    def reset(self, task: Any, seed: int = 0) -> Step:
        """Poses a problem. Raises: ValueError for what is no task."""
        self._problem, self.verdict = self._problem_of(task), None
        self._said, self._left = [], self._max_action_tokens
        return Step([self._ask(self._tokenizer.encode(self._problem.prompt))], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Answers an annotation, goes on after any other `=`, or judges.

        Raises: RuntimeError before a reset or after the end, and where the verifier gave no verdict, which fails the episode.
        """
        if self._problem is None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        tokens: list[int] = np.asarray(action, np.int32).tolist()
        self._left -= len(tokens)
        ended = bool(tokens) and tokens[-1] == self._end
        self._said += tokens[:-1] if ended else tokens
        if ended or self._left <= 0 or not tokens or tokens[-1] not in self._stop:
            return self._judged()
        # no more than an annotation can hold, so that a response of many `=` is not decoded over and over
        expression = open_annotation(self._tokenizer.decode(self._said[-256:]))
        if expression is None:
            return Step([self._ask([])], (0.0,))
        result: IntArray = np.asarray(self._tokenizer.encode(f"{calculate(expression) or _ERROR}>>"), np.int32)
        self._said += result.tolist()
        return Step([self._ask(result)], (0.0,))

    def clone(self) -> WorkedProblems:
        """A copy in the same state, of the same problems."""
        copy = object.__new__(WorkedProblems)
        copy.__dict__.update(self.__dict__)
        copy._said = list(self._said)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> WorkedProblems:
        return self.clone()  # verifiers hold locks and processes

    def _ask(self, tokens: Any) -> Observation:
        heard = np.asarray(tokens, np.int32)
        return Observation(heard, stop=self._stop, max_action_tokens=self._left, thought_until=self._thought_until)

    def _judged(self) -> Step:
        assert self._problem is not None
        response = self._tokenizer.decode(self._said)
        judge, self._problem = self._problem.judge, None
        try:
            given = judge(response)
            self.verdict = given if isinstance(given, Verdict) else Verdict(float(given))
        except (Exception, SystemExit) as error:  # whatever a verifier does on what a policy wrote, the run goes on
            self.verdict = Verdict(0.0, error=f"{type(error).__name__}: {error}")
        if self.verdict.error is not None:
            self._errors[0] += 1
            raise RuntimeError(f"no verdict: {self.verdict.error}")
        return Step([], (self.verdict.score,), terminated=True)


def annotated_pieces(text: str, *, calculator: bool) -> Iterator[tuple[str, bool]]:
    """A worked answer as pieces (text, whether the policy writes it): with the calculator, what follows the `=` of an annotation up to its `>>` is
    the tool's. Of GSM8K's results that the calculator would write otherwise (`9.00` for 9) its own are taken, as the policy will see them.
    """
    at = 0
    for found in _ANNOTATION.finditer(text) if calculator else ():
        yield text[at : found.end(1)], True
        yield f"{calculate(found[1][2:-1]) or _ERROR}>>", False
        at = found.end()
    if at < len(text):
        yield text[at:], True
