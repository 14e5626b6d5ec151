"""A recipe's world: the environment, who demonstrates in it, and how success in it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from paradigm.environments import Arithmetic, ConnectFour
from paradigm.evaluation import summarize
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The environment and its demonstrator.

    kind: "arithmetic" or "connect_four". Arithmetic: operations, digits of an operand, products (numbers of digits of the operands of `*`;
    none: those of `arithmetic_tasks`), calculator (a tool for partial products); demonstrators get a step wrong at error_rate and
    notice it at notice_rate. Connect-Four: demonstrators search depth plies and move at random at random_move_rate; games of RL start
    from opening_plies random moves.
    """

    kind: Literal["arithmetic", "connect_four"] = "arithmetic"
    operations: str = "+-*/"
    digits: int = 3
    products: tuple[tuple[int, int], ...] = ()
    calculator: bool = True
    error_rate: float = 0.1
    notice_rate: float = 0.4
    depth: int = 4
    random_move_rate: float = 0.2
    opening_plies: int = 4


class World:
    """What the stages and the measurements need of a world. Tasks of the splits "train", "validation" and "test" are disjoint."""

    def __init__(self, config: WorldConfig, seed: int):
        self.config, self.seed = config, seed
        self._players = Sampler(None, vocab_size=Tokenizer().vocab_size)
        if config.kind == "arithmetic":
            self.environment: Any = Arithmetic(calculator=config.calculator)
            self.demonstrator = self.environment.demonstrator(error_rate=config.error_rate, notice_rate=config.notice_rate)
            self.kind_of: Callable[[Any], str] | None = operation_of
        else:
            self.environment = ConnectFour()
            self.demonstrator = self.environment.demonstrator(depth=config.depth, random_move_rate=config.random_move_rate)
            self.kind_of = None

    @property
    def is_game(self) -> bool:
        return self.environment.num_seats > 1

    def tasks(self, split: Literal["train", "validation", "test"], seed: int, n: int) -> Sequence[Any]:
        """n tasks of a split; games have no splits, only openings."""
        if self.is_game:
            return self.environment.tasks(seed, n, plies=self.config.opening_plies)
        return self.environment.tasks(seed, n, split, **self._ranges)

    @property
    def _ranges(self) -> dict[str, Any]:
        return {"operations": self.config.operations, "digits": self.config.digits, "products": self.config.products}

    def held_out(self, n: int) -> Sequence[Any]:
        """n tasks that no stage trains on, the same ones for every policy."""
        return self.tasks("test", seed=0, n=n)

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """Episodes with the demonstrator in every seat."""
        tasks = self.tasks(split, seed=self.seed if split == "train" else 0, n=n)
        players = dict.fromkeys(range(self.environment.num_seats), self.demonstrator)
        return self._players.collect(self.environment, tasks, group_size=1, opponents=players, record_players=True, key=(self.seed, key))

    def evaluate_demonstrators(self, n: int) -> dict[str, Any]:
        """The demonstrators' own success on held-out tasks."""
        result = summarize(self.demonstrations(n, split="test", key=1), self.kind_of)
        return {"problems": result.problems, "correct": result.correct, "tokens_per_problem": result.tokens_per_problem,
                "by_operation": result.by_operation}  # fmt: skip

    def documents(self, n: int) -> TrajectoryBuffer:
        """Worked problems as plain text, for pretraining; of the training split only."""
        texts = [text.encode() for text in self.environment.text(self.seed + 1, n, "train", **self._ranges)]
        lengths = np.array([len(text) for text in texts])
        tokens = np.frombuffer(b"".join(texts), np.uint8)
        return TrajectoryBuffer.from_arrays(tokens, np.concatenate([[0], np.cumsum(lengths)]), environment=self.environment.name)


def operation_of(task: Any) -> str:
    """The sign of a problem like `347+586`."""
    text = task.decode() if isinstance(task, bytes) else str(task)
    return next(c for c in text if c in "+-*/")
