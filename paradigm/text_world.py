"""Worlds of problems in text: reasoning-gym's generators, GSM8K's form, and any file of problems and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from paradigm.config import ConfigError
from paradigm.environments import problem_file, reasoning_gym
from paradigm.environments.problem_file import ProblemFile
from paradigm.environments.reasoning_gym import ReasoningGymProblems
from paradigm.environments.text_codec import PaddedCodec
from paradigm.environments.worked_problems import WorkedProblems
from paradigm.sources.worked_solutions import worked_solutions
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.world import WorldConfig

_GSM8K = "https://github.com/openai/grade-school-math/blob/master/grade_school_math/data/train.jsonl"


class TextWorld:
    """What the stages and the measurements need of a world (see `World`), for kinds "reasoning_gym", "gsm8k" and "problems".

    Args:
        data: the file of problems where the configuration names none.
    Raises: ConfigError for a missing file, a tokenizer without an end-of-text token, and what the source of the problems refuses.
    """

    is_game = False
    demonstrator = None

    def __init__(self, config: WorldConfig, seed: int, tokenizer: Tokenizer, data: str = ""):
        self.config, self.seed, self._tokenizer = config, seed, tokenizer
        if tokenizer.eos_id is None:
            raise ConfigError("the tokenizer must have an end-of-text token, which ends a response")
        self._end = tokenizer.eos_id
        self.kind_of: Callable[[Any], str] | None = None
        self._problems: ReasoningGymProblems | ProblemFile
        if config.kind == "reasoning_gym":
            self._problems, self._marker, self._calculator = ReasoningGymProblems(config.generator, config.options), reasoning_gym.MARKER, False
            self.kind_of = lambda task: config.generator
        else:
            self._problems, self._marker, self._calculator = _file(config, data), problem_file.MARKER, config.calculator
        self.environment = WorkedProblems(
            self._problems.problem, PaddedCodec(tokenizer), end=self._end, calculator=self._calculator, max_action_tokens=config.max_action_tokens,
            marker=self._marker, vocab_size=tokenizer.vocab_size,
        )  # fmt: skip

    def tasks(self, split: Literal["train", "validation", "test"], seed: int, n: int) -> Sequence[Any]:
        """n tasks of a split."""
        return self._problems.tasks(seed, n, split)

    def held_out(self, n: int) -> Sequence[Any]:
        """n tasks that no stage trains on, the same ones for every policy; no problem twice, so there may be fewer."""
        return list({self.describe(task): task for task in reversed(self.tasks("test", seed=0, n=n))}.values())[::-1]

    def transfer_tasks(self, n: int) -> Sequence[Any]:
        return []

    def shown_tasks(self) -> Sequence[Any]:
        return self.held_out(1)

    def describe(self, task: Any) -> str:
        """The problem's text."""
        return self._problems.problem(task).prompt.strip()

    def posed(self, text: str) -> Any:
        raise ConfigError("problems of this world cannot be typed, since their answers would not be known; leave them out to see held-out ones")

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """Worked solutions of n problems."""
        return self._solutions(self.tasks(split, self.seed if split == "train" else 0, n))

    def evaluate_demonstrators(self, n: int) -> dict[str, Any] | None:
        return None

    def documents(self, n: int) -> TrajectoryBuffer:
        """Worked problems as plain documents, for pretraining; of the training split only."""
        shown = self._solutions(self.tasks("train", self.seed + 1, n))
        return TrajectoryBuffer.from_arrays(shown.tokens, shown.offsets, environment=self.environment.name)

    def _solutions(self, tasks: Sequence[Any]) -> TrajectoryBuffer:
        return worked_solutions(
            tasks, self._problems.problem, self._tokenizer, end=self._end, calculator=self._calculator, marker=self._marker
        )


def _file(config: WorldConfig, data: str) -> ProblemFile:
    path = config.path or data
    where = f"GSM8K's is at {_GSM8K}" if config.kind == "gsm8k" else "one JSON object a line, with the fields that the recipe's world names"
    if not path:
        raise ConfigError(f"data.path must name a JSONL file of problems, got ''; {where}")
    if not Path(path).is_file():
        raise ConfigError(f"data.path must name a JSONL file of problems, and there is none at {path}; {where}")
    return ProblemFile(
        path, form="gsm8k" if config.kind == "gsm8k" else "answers", question=config.question, answer=config.answer, solution=config.solution,
        strictness=config.strictness,
    )  # fmt: skip
