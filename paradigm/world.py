"""A recipe's world: the environment, who demonstrates in it, and how success in it is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from paradigm.environments import Arithmetic, ConnectFour
from paradigm.evaluation import summarize
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, TrajectoryBuffer

_KINDS_WITH_OPTIONS = ("code", "metamath", "documents", "open_spiel", "minigrid", "computer")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The environment and its demonstrator.

    kind: "arithmetic", "connect_four", "reasoning_gym", "gsm8k", "problems", "preferences", one of `episode_kinds`, or a "mixture" of several
    `kinds`.
    Arithmetic: operations, digits of an operand, products (numbers of digits of the operands of `*`; none: those of `arithmetic_tasks`),
    calculator (a tool for partial products); demonstrators get a step wrong at error_rate and notice it at notice_rate.
    Connect-Four: demonstrators search depth plies and move at random at random_move_rate; games of demonstrations and RL start from 0 to
    opening_plies random moves, and in weak_share of the demonstrated games the demonstrator's opponent is the uniform player.
    reasoning_gym: a generator by its name, and options of its configuration.
    code, metamath, documents, open_spiel, minigrid, computer, and connect_four in a mixture: options, see `paradigm.episode_kinds`.
    gsm8k, problems: path names a JSONL file (by default the recipe's data.path), whose fields are question and answer; problems may have worked
    solutions in the field solution, and their answers are compared with a strictness of "text", "number" or "symbolic"; calculator says whether
    annotations `<<48/2=` are answered.
    preferences: path names a JSONL file of pairs of dialogues (by default the recipe's data.pairs); max_prompt_tokens: longer prompts lose their
    oldest turns.
    max_action_tokens: the longest response to reasoning_gym, gsm8k, problems and preferences.
    """

    kind: Literal[
        "arithmetic", "connect_four", "reasoning_gym", "gsm8k", "problems", "preferences", "code", "metamath", "documents", "open_spiel", "minigrid",
        "computer", "mixture",
    ] = "arithmetic"  # fmt: skip
    operations: str = "+-*/"
    digits: int = 3
    products: tuple[tuple[int, int], ...] = ()
    calculator: bool = True
    error_rate: float = 0.1
    notice_rate: float = 0.4
    depth: int = 4
    random_move_rate: float = 0.2
    opening_plies: int = 4
    weak_share: float = 0.0
    generator: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    question: str = "question"
    answer: str = "answer"
    solution: str = ""
    strictness: Literal["text", "number", "symbolic"] = "number"
    max_action_tokens: int = 256
    max_prompt_tokens: int = 512
    kinds: tuple[KindConfig, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.weak_share <= 1:
            raise ValueError(f"weak_share must be in [0, 1], got {self.weak_share}")
        if self.max_action_tokens < 1:
            raise ValueError(f"max_action_tokens must be >= 1, got {self.max_action_tokens}")
        for name, value, kinds in (
            ("generator", self.generator, ("reasoning_gym",)),
            ("options", self.options, ("reasoning_gym", *_KINDS_WITH_OPTIONS, *self._games_with_options)),
            ("path", self.path, ("gsm8k", "problems", "preferences")), ("kinds", self.kinds, ("mixture",)),
        ):  # fmt: skip
            if value and self.kind not in kinds:
                raise ValueError(f"{name} must be left out where kind is {self.kind!r}, got {value!r}")
        if self.kind == "reasoning_gym" and not self.generator:
            raise ValueError("generator must name one of reasoning-gym's, got ''")
        if self.kind == "mixture":
            self._check_kinds()

    @property
    def _games_with_options(self) -> tuple[str, ...]:
        return ()

    def _check_kinds(self) -> None:
        names = [kind.name for kind in self.kinds]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"kinds must have names of their own, got {twice[0]!r} twice")
        if all(kind.transfer for kind in self.kinds):
            raise ValueError(f"kinds must hold at least one that is trained on, got {', '.join(names) or 'none'}")

    @property
    def trained_kinds(self) -> tuple[str, ...]:
        """Names of a mixture's kinds that are trained on."""
        return tuple(kind.name for kind in self.kinds if not kind.transfer)


@dataclass(frozen=True, kw_only=True)
class KindConfig(WorldConfig):
    """One kind of a mixture: a world of one seat; connect_four is played against an opponent.

    name: what it is called in metrics and reports. weight: its share of the tasks, against the others' weights. transfer: never trained on, only
    measured. optional: left out of the mixture where a package or a program that it needs is missing.
    """

    name: str
    weight: float = 1.0
    transfer: bool = False
    optional: bool = False

    @property
    def _games_with_options(self) -> tuple[str, ...]:
        return ("connect_four",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "mixture":
            raise ValueError(f"kind of {self.name!r} must be a world of one seat, got {self.kind!r}")
        if self.kind == "preferences":
            raise ValueError(f"kind of {self.name!r} must be one whose answers are right or wrong, got 'preferences'")
        if not self.name or "/" in self.name:
            raise ValueError(f"name of a kind must be a word without a slash, got {self.name!r}")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight of {self.name!r} must be > 0, got {self.weight}")


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
        """n tasks of a split; games have no splits, only openings: of no random move, of one, and so on by turns."""
        if self.is_game:
            # not of opening_plies alone: a match starts from the empty board, and nobody would ever have learned the first moves
            lengths = self.config.opening_plies + 1
            by_length = [self.environment.tasks(seed, -(-n // lengths), plies=plies) for plies in range(lengths)]
            return [opening for openings in zip(*by_length) for opening in openings][:n]
        return self.environment.tasks(seed, n, split, **self._ranges)

    @property
    def _ranges(self) -> dict[str, Any]:
        return {"operations": self.config.operations, "digits": self.config.digits, "products": self.config.products}

    def held_out(self, n: int) -> Sequence[Any]:
        """n tasks that no stage trains on, the same ones for every policy."""
        return self.tasks("test", seed=0, n=n)

    def transfer_tasks(self, n: int) -> Sequence[Any]:
        """n held-out tasks of kinds that are never trained on: none, but in a mixture."""
        return []

    def shown_tasks(self) -> Sequence[Any]:
        """The held-out tasks whose answers are kept after each stage."""
        return self.held_out(4)[3:]

    def describe(self, task: Any) -> str:
        """A task for a person."""
        return task.decode() if isinstance(task, bytes) else str(task)

    def posed(self, text: str) -> Any:
        """The task that a person typed."""
        return text

    def match_openings(self, n: int) -> Sequence[Any]:
        """n openings for matches between players, of opening_plies random moves each."""
        return self.environment.tasks(1, n, plies=self.config.opening_plies)

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """Episodes of the demonstrator, in every seat but where a game has the uniform player as its opponent (`weak_share`)."""
        seed = self.seed if split == "train" else 0
        weak = round(self.config.weak_share * n) if self.is_game else 0
        parts = [self._demonstrated(self.tasks(split, seed, n - weak), {}, (self.seed, key))]
        if self.is_game:
            # both play as one should: a seat's stream teaches its own moves and those that it hears
            parts[0].action_mask |= parts[0].segment == Segment.OBSERVATION
        for seat, count in enumerate(((weak + 1) // 2, weak // 2)):
            if count:
                openings = self.tasks(split, seed + 1 + seat, count)
                games = self._demonstrated(openings, {1 - seat: self.environment.uniform_player()}, (self.seed, key + 2 * (1 + seat)))
                parts.append(games.select(games.seat == seat))
        return TrajectoryBuffer.concatenate(parts) if len(parts) > 1 else parts[0]

    def _demonstrated(self, tasks: Sequence[Any], others: dict[int, Any], key: tuple[int, int]) -> TrajectoryBuffer:
        players = dict.fromkeys(range(self.environment.num_seats), self.demonstrator) | others
        return self._players.collect(self.environment, tasks, group_size=1, opponents=players, record_players=True, key=key)

    def evaluate_demonstrators(self, n: int) -> dict[str, Any] | None:
        """The demonstrators' own success on held-out tasks; None where demonstrations are right by construction."""
        return dataclasses.asdict(summarize(self.demonstrations(n, split="test", key=1), self.kind_of))

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
