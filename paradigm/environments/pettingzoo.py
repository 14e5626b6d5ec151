"""Any turn-based environment of PettingZoo (J. K. Terry et al., arXiv:2009.14471): its AEC interface, with discrete actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step
from paradigm.environments.space_text import (
    Split,
    action_sequences,
    levels,
    listed_action,
    number_names,
    observation_text,
    reset_seed,
    uniform_player,
)
from paradigm.environments.text_codec import ByteCodec, TextCodec

__all__ = ["PettingZoo"]


class PettingZoo:
    """An environment, a seat for each of its possible agents, in order. A task is the seed of a reset; None: the sampler's seed.

    The agent whose turn it is hears its observation in a line and is asked for one of the actions that `action_mask`, in its observation or its
    info, allows. Rewards are what every agent got from the action. Copies made within an episode play it again.

    Args:
        make: makes the environment, such as `lambda: pettingzoo.make("aec", "classic/tictactoe-v3")`.
        encode: from observations (without their mask) to text; None: as `observation_text` says.
        tokenizer: encodes all text; None: UTF-8 bytes.
        max_steps: the episode is truncated after so many actions.
    Raises: ImportError, saying what to install; ValueError for values out of range, parallel environments and spaces of other kinds.
    """

    def __init__(
        self, make: Callable[[], Any], *, encode: Callable[[Any], str] | None = None, tokenizer: TextCodec | None = None, max_steps: int = 1000
    ):
        try:
            from pettingzoo import AECEnv
        except ImportError as error:
            raise ImportError("PettingZoo's environments need it: pip install 'paradigm-trainer[pettingzoo]'") from error
        if max_steps < 1:
            raise ValueError(f"max_steps must be >= 1, got {max_steps}")
        self._make = make
        self._environment = make()
        if not isinstance(self._environment, AECEnv):
            raise ValueError(f"make must make a turn-based (AEC) environment, got a {type(self._environment).__name__}")
        self._agents = list(self._environment.possible_agents)
        self.num_seats = len(self._agents)
        self.name = f"pettingzoo/{self._environment.metadata.get('name', type(self._environment.unwrapped).__name__)}"
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._sequences, self._encoders = [], []
        self._hold_mask = []  # whether a mask stands beside what is seen
        for agent in self._agents:
            space = self._environment.action_space(agent)
            if type(space).__name__ != "Discrete" or int(space.start) != 0:
                raise ValueError(f"the action space of {agent!r} must be Discrete and start at 0, got {space}")
            self._sequences.append(action_sequences(number_names(int(space.n)), self._tokenizer))
            seen: Any = self._environment.observation_space(agent)
            parts = getattr(seen, "spaces", None)
            self._hold_mask.append(isinstance(parts, dict) and {"action_mask", "observation"} <= parts.keys())
            self._encoders.append(encode or observation_text(seen["observation"] if self._hold_mask[-1] else seen))
        self._max_steps = max_steps
        self._seed = -1
        self._actions: tuple[int, ...] = ()
        self._legal: dict[tuple[int, ...], int] = {}
        self._is_over, self._was_cut = True, False

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[int]:
        """n different seeds of one split, see `level_split`."""
        return levels(seed, n, split)

    def uniform_player(self) -> Any:
        """A player of uniform legal actions."""
        return uniform_player

    def reset(self, task: int | None = None, seed: int = 0) -> Step:
        """Starts an episode. Raises: ValueError unless `task` is None or >= 0."""
        self._seed, self._actions = reset_seed(task, seed), ()
        self._environment.reset(seed=self._seed)
        self._is_over = False
        return Step([self._ask()], (0.0,) * self.num_seats)

    def step(self, action: ArrayLike) -> Step:
        """Takes the asked agent's action. Raises: ValueError for one that is not listed; RuntimeError before a reset or after the end."""
        if self._is_over:
            raise RuntimeError("step needs a reset before it, and none after the end")
        taken = listed_action(self._legal, action)
        rewards = dict.fromkeys(self._agents, 0.0)
        self._advance(self._environment, taken, rewards)
        self._actions = (*self._actions, taken)
        world = self._environment
        terminated = not world.agents
        truncated = not terminated and len(self._actions) >= self._max_steps
        if terminated and self._was_cut:
            terminated, truncated = False, True
        self._is_over = terminated or truncated
        return Step([] if self._is_over else [self._ask()], tuple(rewards.values()), terminated=terminated, truncated=truncated)

    def clone(self) -> PettingZoo:
        """A copy in the same state."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._environment = self._make()
        if self._seed >= 0:
            other._environment.reset(seed=self._seed)
            for action in self._actions:
                other._advance(other._environment, action, dict.fromkeys(self._agents, 0.0))
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> PettingZoo:
        return self.clone()

    def _advance(self, world: Any, action: int | None, rewards: dict[str, float]) -> None:
        """Takes an action, then lets agents leave that are done; sums what everyone got."""
        world.step(action)
        for agent in world.agents:
            rewards[agent] += float(world.rewards[agent])
        self._was_cut = bool(world.agents) and all(world.truncations[agent] for agent in world.agents)
        while world.agents and (world.terminations[world.agent_selection] or world.truncations[world.agent_selection]):
            world.step(None)

    def _ask(self) -> Observation:
        world = self._environment
        agent = world.agent_selection
        seat = self._agents.index(agent)
        seen = world.observe(agent)
        holds_mask = self._hold_mask[seat]
        mask = seen["action_mask"] if holds_mask else world.infos[agent].get("action_mask")
        text = self._encoders[seat](seen["observation"] if holds_mask else seen)
        sequences = self._sequences[seat]
        self._legal = {sequence: row for row, sequence in enumerate(sequences) if mask is None or mask[row]}
        tokens = np.asarray(self._tokenizer.encode(f"{text}\n"), np.int32)
        return Observation(tokens, seat=seat, legal=list(self._legal), max_action_tokens=max(map(len, sequences)))
