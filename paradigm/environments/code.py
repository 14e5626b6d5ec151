"""Programming: a prompt, a program, a verdict; with several turns, what a failing test saw comes back and the policy writes again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step, without_stop
from paradigm.environments.text_codec import ByteCodec, TextCodec
from paradigm.verifiers import CodeJudgement, CodeTask, CodeVerifier, Verdict

__all__ = ["Code"]

logger = logging.getLogger(__name__)


class Code:
    """Programs judged by their tests in a sandbox, one seat; a task is the row of a `CodeTask`.

    The reward is the last program's score, given at the end: when all tests pass, or after `max_turns` programs. Programs run outside
    the interpreter, so episodes on several threads are judged side by side and beside generation.

    Args:
        tasks: what to write, and its tests.
        verifier: judges programs; None: one with its default limits.
        tokenizer: encodes prompts and feedback, decodes programs; None: UTF-8 bytes.
        stop: ids that end a program; by default the zero byte.
        max_action_tokens: the longest program.
        max_turns: programs a policy may write in an episode.
        reveal: what of a failing test is told, see `CodeJudgement.feedback`. `tests` tells the expected value, which can be learned by heart.
        feedback_format: text around the feedback, which stands at `{}`.
        thought_until: program tokens before the first of this id are labelled thought; -1: none are.

    Attributes:
        verdict: on the last program; None before it.
        num_errors: programs that the tests or the machine gave no verdict on, its clones' included.
    Raises: ValueError for values out of range; SandboxUnavailable, saying what to install or allow.
    """

    name = "code"
    num_seats = 1

    def __init__(
        self,
        tasks: Sequence[CodeTask],
        verifier: CodeVerifier | None = None,
        *,
        tokenizer: TextCodec | None = None,
        stop: Sequence[int] = (0,),
        max_action_tokens: int = 1024,
        max_turns: int = 1,
        reveal: Literal["nothing", "calls", "tests"] = "calls",
        feedback_format: str = "\n# {}\n",
        thought_until: int = -1,
    ):
        if not len(tasks):
            raise ValueError("tasks must hold at least one, got none")
        for argument, value in (("max_action_tokens", max_action_tokens), ("max_turns", max_turns)):
            if value < 1:
                raise ValueError(f"{argument} must be >= 1, got {value}")
        if reveal not in ("nothing", "calls", "tests"):
            raise ValueError(f"reveal must be nothing, calls or tests, got {reveal!r}")
        if feedback_format.count("{}") != 1:
            raise ValueError(f"feedback_format must hold {{}} once, got {feedback_format!r}")
        self._tasks = tasks
        self._verifier = verifier or CodeVerifier()
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._stop = tuple(stop)
        self._max_action_tokens = max_action_tokens
        self._max_turns = max_turns
        self._reveal: Literal["nothing", "calls", "tests"] = reveal
        self._feedback_format = feedback_format
        self._thought_until = thought_until
        self._errors = [0]  # shared with clones
        self._row = -1
        self._turn = 0
        self.verdict: Verdict | None = None

    @property
    def num_errors(self) -> int:
        return self._errors[0]

    def tasks(self) -> list[int]:
        """Every task's row."""
        return list(range(len(self._tasks)))

    def reset(self, task: int, seed: int = 0) -> Step:
        """Poses task `task`. Raises: ValueError if there is no such row."""
        if not 0 <= task < len(self._tasks):
            raise ValueError(f"task must be the row of one of {len(self._tasks)} tasks, got {task}")
        self._row, self._turn, self.verdict = int(task), 0, None
        return Step([self._ask(self._tasks[self._row].prompt)], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Judges a program. Raises: RuntimeError before a reset or after the end, and where no verdict can be given, which fails the episode."""
        if self._row < 0:
            raise RuntimeError("step needs a reset before it, and none after the end")
        program = self._tokenizer.decode(without_stop(action, self._stop))
        task = self._tasks[self._row]
        judgement: CodeJudgement = self._verifier.judge(task, program)
        self.verdict = judgement.verdict
        self._turn += 1
        if self.verdict.error is not None:
            self._errors[0] += 1
            logger.warning("no verdict on task %d: %s", self._row, self.verdict.error)
            raise RuntimeError(f"no verdict on task {self._row} {task.name}: {self.verdict.error}")
        if judgement.passed or self._turn == self._max_turns:
            self._row = -1
            return Step([], (self.verdict.score,), terminated=True)
        return Step([self._ask(self._feedback_format.replace("{}", judgement.feedback(self._reveal)))], (0.0,))

    def clone(self) -> Code:
        """A copy in the same state, of the same tasks and verifier."""
        copy = object.__new__(Code)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Code:
        return self.clone()

    def _ask(self, text: str) -> Observation:
        tokens = np.asarray(self._tokenizer.encode(text), np.int32)
        return Observation(tokens, stop=self._stop, max_action_tokens=self._max_action_tokens, thought_until=self._thought_until)
