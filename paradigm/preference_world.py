"""A recipe's world of dialogues and human preferences between their last turns. Nothing in it is right or wrong: a reward model says what is worth
how much, once a stage has trained one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from paradigm.config import ConfigError
from paradigm.environments.dialogues import Dialogues
from paradigm.sources.preference_pairs import FORMS, PreferencePairs
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.verifiers import RewardModel
from paradigm.world import WorldConfig


class PreferenceWorld:
    """What the stages and the measurements need of a world (see `World`). A task is a pair's row, or a question.

    Demonstrations are the preferred responses; documents the preferred dialogues; both of the training split.
    """

    is_game = False
    demonstrator = None
    kind_of: Callable[[Any], str] | None = None

    def __init__(self, config: WorldConfig, seed: int, tokenizer: Tokenizer, path: str = ""):
        self.config, self.seed = config, seed
        self.pairs = PreferencePairs(
            pairs_file(config.path or path), tokenizer, max_prompt_tokens=config.max_prompt_tokens, max_response_tokens=config.max_action_tokens
        )
        self.environment = Dialogues(self.pairs.prompt, end=self.pairs.end, max_action_tokens=config.max_action_tokens)

    def judged_by(self, model: RewardModel) -> PreferenceWorld:
        """The same world, its rewards the scores of a model."""
        judged = copy.copy(self)
        judged.environment = self.environment.judged_by(model.reward)
        return judged

    def tasks(self, split: Literal["train", "validation", "test"], seed: int, n: int) -> Sequence[Any]:
        return self.pairs.tasks(seed, n, split)

    def held_out(self, n: int) -> Sequence[Any]:
        """n prompts that no stage trains on, the same ones for every policy; none twice, so there may be fewer."""
        return self.pairs.tasks(0, min(n, len(self.pairs.rows("test"))), "test")

    def transfer_tasks(self, n: int) -> Sequence[Any]:
        return []

    def shown_tasks(self) -> Sequence[Any]:
        return self.held_out(3)

    def describe(self, task: Any) -> str:
        """The last question."""
        return self.pairs.text(task)

    def posed(self, text: str) -> Any:
        return text

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """The preferred responses to n prompts."""
        return self.pairs.demonstrations(self.pairs.rows(split)[:n])

    def evaluate_demonstrators(self, n: int) -> dict[str, Any] | None:
        return None

    def documents(self, n: int, split: Literal["train", "test"] = "train") -> TrajectoryBuffer:
        """n preferred dialogues as plain documents."""
        shown = self.demonstrations(n, split=split)
        return TrajectoryBuffer.from_arrays(shown.tokens, shown.offsets, environment=self.environment.name)


def pairs_file(path: str) -> Path:
    """The file that `data.pairs` names. Raises: ConfigError saying what to give."""
    if not path or not Path(path).is_file():
        what = "got ''" if not path else f"and there is none at {path}"
        raise ConfigError(f"data.pairs must name a JSONL file of preference pairs, {what}; give data.pairs=PATH: {FORMS}")
    return Path(path)
