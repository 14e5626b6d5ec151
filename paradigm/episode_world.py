"""Worlds of episodes in Python: what the stages and the measurements need of programs, proofs, documents, games against an opponent, grids,
web pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from paradigm.config import ConfigError
from paradigm.episode_kinds import open_episodes
from paradigm.evaluation import summarize
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.world import WorldConfig


class EpisodeWorld:
    """What the stages and the measurements need of a world (see `World`), for the kinds of `episode_kinds.KINDS`.

    Raises: ConfigError for options that the kind lacks or refuses; ImportError, SandboxUnavailable and BrowserUnavailable, saying what is missing.
    """

    is_game = False
    kind_of = None

    def __init__(self, config: WorldConfig, seed: int):
        self.config, self.seed = config, seed
        self._episodes = open_episodes(config.kind, config.options, f"world.{getattr(config, 'name', config.kind)}.options")
        self.environment = self._episodes.environment
        self.demonstrator = self._episodes.demonstrator
        self._players = Sampler(None, vocab_size=Tokenizer().vocab_size)

    def tasks(self, split: Literal["train", "validation", "test"], seed: int, n: int) -> Sequence[Any]:
        """n tasks of a split; where it has fewer, all of them over and over, each time in another order.

        Raises: ConfigError where it has none.
        """
        found: list[Any] = []
        while len(found) < n:
            own_seed = seed if not found else int(np.random.SeedSequence([seed, len(found)]).generate_state(1, np.uint32)[0])
            more = self._episodes.tasks(own_seed, n - len(found), split)
            if not more:
                raise ConfigError(f"world must have tasks of the split {split!r}, got none of kind {self.config.kind!r}")
            found += more
        return found

    def held_out(self, n: int) -> Sequence[Any]:
        """n tasks that no stage trains on, the same ones for every policy, or as many as there are."""
        return list(self._episodes.tasks(0, n, "test"))

    def transfer_tasks(self, n: int) -> Sequence[Any]:
        return []

    def shown_tasks(self) -> Sequence[Any]:
        return self.held_out(1)

    def describe(self, task: Any) -> str:
        return self._episodes.describe(task)

    def posed(self, text: str) -> Any:
        raise ConfigError("tasks of this world cannot be typed; leave them out to see held-out ones")

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """Episodes of n tasks as the demonstrator plays them; any that failed are left out."""
        tasks = self.tasks("train", self.seed, n) if split == "train" else self.held_out(n)
        world = self._episodes.demonstrated_in or self.environment
        players = {0: self.demonstrator}
        shown = self._players.collect(world, tasks, group_size=1, opponents=players, record_players=True, key=(self.seed, key))
        return shown.select(~shown.failed) if shown.failed.any() else shown

    def evaluate_demonstrators(self, n: int) -> dict[str, Any] | None:
        """The demonstrators' own success on held-out tasks."""
        return dataclasses.asdict(summarize(self.demonstrations(n, split="test", key=1)))

    def documents(self, n: int) -> TrajectoryBuffer:
        """Demonstrations as plain documents, for pretraining; of the training split only."""
        shown = self.demonstrations(n, key=2)
        return TrajectoryBuffer.from_arrays(shown.tokens, shown.offsets, environment=self.environment.name)
