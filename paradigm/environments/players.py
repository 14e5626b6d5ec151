"""Players in Python's hands: one that errs now and then, and what asks any player for its action."""

from __future__ import annotations

from typing import Any

import numpy as np

from paradigm.environments.protocol import Observation

__all__ = ["NoisyPlayer", "action_of"]


def action_of(player: Any, environment: Any, observation: Any, seed: int) -> list[int]:
    """The tokens that a player answers `observation` with: a native one, an object with act(environment, observation, seed), or a callable of
    (observation, seed)."""
    if not hasattr(player, "act"):
        return list(player(observation, seed))
    # native players look at the native world, not at what wraps it
    seen = environment._world if hasattr(environment, "native") else environment
    return np.asarray(player.act(seen, observation, seed)).tolist()


class NoisyPlayer:
    """Plays as `player` does, but for a uniform legal action now and then, as a pure function of (state, seed).

    Args:
        error_rate: probability of it, at each action.
    Raises: ValueError unless that is in [0, 1].
    """

    def __init__(self, player: Any, error_rate: float):
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must be in [0, 1], got {error_rate}")
        self._player, self._error_rate = player, error_rate

    def act(self, environment: Any, observation: Observation, seed: int) -> list[int]:
        """The tokens of its action. Raises: ValueError where none are listed, and what the player raises."""
        if observation.legal is None:
            raise ValueError("a noisy player needs legal actions, got None")
        draw = np.random.default_rng(seed)
        if draw.random() < self._error_rate:
            return list(observation.legal[int(draw.integers(len(observation.legal)))])
        return action_of(self._player, environment, observation, seed)
