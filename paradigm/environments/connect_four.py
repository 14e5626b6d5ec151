"""Connect-Four on 7 columns of 6 rows, two seats; seat 0 moves first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm import _core
from paradigm.environments.protocol import Step

__all__ = ["ConnectFour"]


class ConnectFour:
    """The native world. A seat's stream is `X` (seat 0) or `O` (seat 1), the opening, then its moves and the other's by turns.

    A move is one of the tokens `1` to `7`; the legal ones are listed. The seat that does not move hears the move, the last one
    included. Reward at the end: 1 for the winner, -1 for the loser, 0 for a draw. A task is an opening that does not end the
    game, such as `4435`; the empty one is the whole game.

    Args:
        encoding: int32 [256], the token id of each byte; None: the byte itself.
    Raises: ValueError if two bytes in use share an id or one has none.
    """

    name = "connect_four"
    num_seats = 2

    def __init__(self, *, encoding: ArrayLike | None = None):
        self.encoding = None if encoding is None else np.ascontiguousarray(encoding, np.int32)
        self.native = _core.connect_four_environment(self.encoding)
        self._world: Any = None

    def reset(self, task: str | bytes = "", seed: int = 0) -> Step:
        """Starts a game. Raises: ValueError if `task` is no opening."""
        self._world = self._world or self.native.make()
        return self._world.reset(task, seed)

    def step(self, action: ArrayLike) -> Step:
        """Plays one token. Raises: ValueError for an illegal move; RuntimeError before the first reset."""
        if self._world is None:
            raise RuntimeError("step needs a reset before it")
        return self._world.step(np.asarray(action, np.int32))

    def clone(self) -> ConnectFour:
        """A copy in the same state."""
        copy = ConnectFour(encoding=self.encoding)
        copy._world = self._world and self._world.clone()
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.encoding,)

    def tasks(self, seed: int, n: int, plies: int = 2) -> list[str]:
        """n openings of `plies` uniform legal moves after which the game goes on. Raises: ValueError unless plies is in 0 to 20."""
        return _core.connect_four_openings(seed, n, plies)

    def demonstrator(self, *, depth: int = 4, random_move_rate: float = 0.2) -> _core.NativePlayer:
        """An alpha-beta player of fixed depth that moves at random now and then, as a pure function of (position, seed).

        Args:
            depth: plies looked ahead; leaves count open windows of four.
            random_move_rate: probability of a uniform legal move instead.
        Raises: ValueError unless depth is in 1 to 42 and the rate in [0, 1].
        """
        return _core.alpha_beta_player(depth, random_move_rate)

    def uniform_player(self) -> _core.NativePlayer:
        """A player of uniform legal moves."""
        return _core.uniform_player()


def _rebuild(encoding: ArrayLike | None) -> ConnectFour:
    return ConnectFour(encoding=encoding)
