"""A weighted mixture of worlds, which is a world itself."""

from __future__ import annotations

import dataclasses
import logging
import time
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from paradigm.config import ConfigError
from paradigm.environments.chromium import BrowserUnavailable
from paradigm.environments.mixture import Mixture
from paradigm.episode_kinds import KINDS
from paradigm.episode_world import EpisodeWorld
from paradigm.evaluation import summarize
from paradigm.metrics import format_duration
from paradigm.preference_world import PreferenceWorld
from paradigm.text_world import TextWorld
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.verifiers import SandboxUnavailable
from paradigm.world import KindConfig, World, WorldConfig

_log = logging.getLogger(__name__)

_WORTH_SAYING = 5.0  # seconds


class MixtureWorld:
    """What the stages and the measurements need of a world (see `World`). A task is a pair (kind, the kind's own task).

    How many tasks each kind gets, and their order, are functions of the seed: systematic sampling, so no kind is a whole task from its share.

    Attributes:
        left_out: names of the optional kinds for which something is missing here.
    Raises: ConfigError where something is missing for a kind that is not optional, or for all that are trained on.
    """

    is_game = False
    demonstrator = None

    def __init__(self, config: WorldConfig, seed: int, tokenizer: Tokenizer, data: str = ""):
        self.config, self.seed = config, seed
        self._worlds: dict[str, AnyWorld] = {}
        for kind in config.kinds:
            try:
                self._worlds[kind.name] = open_world(kind, seed, tokenizer, data)
            except (ImportError, SandboxUnavailable, BrowserUnavailable) as error:
                if not kind.optional:
                    raise ConfigError(f"kind {kind.name!r} needs what is missing here: {error}") from error
                _log.warning("kind %r is left out: %s", kind.name, " ".join(str(error).split()))
        self.left_out = [kind.name for kind in config.kinds if kind.name not in self._worlds]
        self._weights = {kind.name: kind.weight for kind in config.kinds if not kind.transfer and kind.name in self._worlds}
        self._transfer = [kind.name for kind in config.kinds if kind.transfer and kind.name in self._worlds]
        if not self._weights:
            raise ConfigError(f"kinds must leave at least one that is trained on, but all are left out: {', '.join(self.left_out)}")
        self.environment: Mixture = Mixture({name: world.environment for name, world in self._worlds.items()})

    @staticmethod
    def kind_of(task: Any) -> str:
        """The kind that a task is of."""
        return str(task[0])

    def tasks(self, split: Literal["train", "validation", "test"], seed: int, n: int) -> Sequence[Any]:
        """n tasks of a split, of each trained kind its share."""
        draw = np.random.default_rng([seed, zlib.crc32(split.encode())])
        order = _shares(self._weights, n, draw)
        waiting = {}
        for name in self._weights:
            own_seed = int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint32)[0])
            waiting[name] = iter(self._worlds[name].tasks(split, own_seed, order.count(name)))
        return [(name, next(waiting[name])) for name in order]

    def held_out(self, n: int) -> Sequence[Any]:
        """n tasks that no stage trains on, the same ones for every policy, as many of each trained kind whatever its weight."""
        return self._evenly(list(self._weights), n)

    def transfer_tasks(self, n: int) -> Sequence[Any]:
        """n held-out tasks of kinds that are never trained on."""
        return self._evenly(self._transfer, n)

    def _evenly(self, names: Sequence[str], n: int) -> list[tuple[str, Any]]:
        counts = [n // len(names) + (i < n % len(names)) for i in range(len(names))]
        return [(name, task) for name, count in zip(names, counts) for task in (self._worlds[name].held_out(count) if count else ())]

    def shown_tasks(self) -> Sequence[Any]:
        """One held-out task of each trained kind."""
        return [(name, task) for name in self._weights for task in self._worlds[name].shown_tasks()]

    def describe(self, task: Any) -> str:
        return self._worlds[task[0]].describe(task[1])

    def posed(self, text: str) -> Any:
        """A problem of the first kind that can be typed."""
        for name, world in self._worlds.items():
            if isinstance(world, World):
                return name, world.posed(text)
        return next(iter(self._worlds.values())).posed(text)

    def demonstrations(self, n: int, *, split: Literal["train", "test"] = "train", key: int = 0) -> TrajectoryBuffer:
        """n demonstrations, of each trained kind its share."""
        order = _shares(self._weights, n, np.random.default_rng([self.seed, key]))
        parts = []
        for name in self._weights:
            if count := order.count(name):
                started = time.monotonic()
                part = self._worlds[name].demonstrations(count, split=split, key=key)
                if (seconds := time.monotonic() - started) > _WORTH_SAYING:
                    _log.info("%s: %d demonstrations in %s", name, count, format_duration(seconds))
                part.tasks = [(name, task) for task in part.tasks]
                parts.append(part)
        return TrajectoryBuffer.concatenate(parts)

    def evaluate_demonstrators(self, n: int) -> dict[str, Any] | None:
        """The success of the kinds' demonstrators, if any of them can be wrong."""
        if not any(self._worlds[name].demonstrator is not None for name in self._weights):
            return None
        return dataclasses.asdict(summarize(self.demonstrations(n, split="test", key=1), self.kind_of))

    def documents(self, n: int) -> TrajectoryBuffer:
        order = _shares(self._weights, n, np.random.default_rng([self.seed, 1]))
        return TrajectoryBuffer.concatenate([self._worlds[name].documents(order.count(name)) for name in self._weights if name in order])


AnyWorld = World | TextWorld | EpisodeWorld | MixtureWorld | PreferenceWorld


def open_world(config: WorldConfig, seed: int, tokenizer: Tokenizer | None = None, data: str = "") -> AnyWorld:
    """The world that a recipe configures.

    Args:
        tokenizer: of worlds that speak text; None: bytes. Native worlds and worlds of episodes speak bytes.
        data: the recipe's file of problems, or of preference pairs.
    Raises: ConfigError and ImportError, saying what is missing and where to get it.
    """
    in_bytes = Tokenizer()
    tokenizer = tokenizer or in_bytes
    if config.kind == "mixture":
        return MixtureWorld(config, seed, tokenizer, data)
    if config.kind == "preferences":
        return PreferenceWorld(config, seed, tokenizer, data)
    if config.kind in ("reasoning_gym", "gsm8k", "problems"):
        return TextWorld(config, seed, tokenizer, data)
    if tokenizer.fingerprint != in_bytes.fingerprint:
        raise ConfigError(f"the tokenizer must be that of bytes where a world's kind is {config.kind!r}, got the one that came with initial")
    if config.kind in KINDS and (config.kind != "connect_four" or isinstance(config, KindConfig)):
        return EpisodeWorld(config, seed)
    return World(config, seed)


def _shares(weights: dict[str, float], n: int, draw: np.random.Generator) -> list[str]:
    """n names in a random order, each as often as its share of the weights says, to within one."""
    names = list(weights)
    ends = np.cumsum([weights[name] for name in names]) / sum(weights.values())
    picked = np.searchsorted(ends, (np.arange(n) + draw.random()) / n, side="right").clip(max=len(names) - 1)
    return [names[i] for i in draw.permutation(picked)]
