"""A game of two seats as a world of one: the policy has one seat, a given player the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.players import action_of
from paradigm.environments.protocol import Observation, Step, copied
from paradigm.environments.splits import Split, split_of

__all__ = ["SeatPlayer", "Versus"]


class Versus:
    """A game against one opponent, whose moves are the world's. A task is a pair (opening, the policy's seat).

    The policy hears what its seat hears, and gets its seat's rewards; what the opponent does is a pure function of the game's state, the
    episode's seed and the number of its move.

    Args:
        game: of two seats, with `tasks(seed, n, plies=...)` for openings; it is cloned, never played.
        opponent: a player of it, see `action_of`.
        opening_plies: tasks open with 0 to so many uniform moves.
    Raises: ValueError unless the game has two seats and opening_plies >= 0.
    """

    num_seats = 1

    def __init__(self, game: Any, opponent: Any, *, opening_plies: int = 0):
        if game.num_seats != 2:
            raise ValueError(f"game must have two seats, got {game.num_seats}")
        if opening_plies < 0:
            raise ValueError(f"opening_plies must be >= 0, got {opening_plies}")
        self.game, self.opponent = copied(game), opponent
        self.name = f"{game.name}/versus"
        self._opening_plies = opening_plies
        self._seat = self._seed = self._num_replies = 0
        self.asked: Any = None  # the game's own observation, which awaits the policy's move

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[tuple[str, int]]:
        """n openings of one split with the policy's seat, the same ones more than once where there are few; see `split_of`.

        Games of different splits may come to the same positions later. Raises: ValueError where a split has none of them.
        """
        draw = np.random.default_rng(seed)
        found: list[tuple[str, int]] = []
        for _ in range(100):
            for plies in range(self._opening_plies + 1):
                for opening in self.game.tasks(int(draw.integers(1 << 31)), n, plies=plies):
                    found += [(opening, seat) for seat in (0, 1) if split_of(f"{opening}/{seat}") == split]
            if len(found) >= n:
                return [found[row] for row in draw.permutation(len(found))[:n]]
        raise ValueError(f"opening_plies must leave openings to the split {split!r}, got {self._opening_plies}")

    def reset(self, task: tuple[str, int], seed: int = 0) -> Step:
        """Starts a game, up to the policy's move. Raises: ValueError for what is no task, and for a game that ends before."""
        opening, seat = task
        if seat not in (0, 1):
            raise ValueError(f"task must be a pair (opening, seat 0 or 1), got {task!r}")
        self._seat, self._seed, self._num_replies = int(seat), seed, 0
        step = self._answered(self.game.reset(opening, seed))
        if self.asked is None:
            raise ValueError(f"task must leave the policy a move, got {task!r}")
        return step

    def step(self, action: ArrayLike) -> Step:
        """Makes the policy's move, and the opponent's. Raises: what the game raises; RuntimeError before a reset or after the end."""
        if self.asked is None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        return self._answered(self.game.step(action))

    def clone(self) -> Versus:
        """A copy in the same state, with the same opponent."""
        other = object.__new__(Versus)
        other.__dict__.update(self.__dict__)
        other.game = copied(self.game)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Versus:
        return self.clone()

    def _answered(self, step: Any) -> Step:
        """What the policy's seat hears until it is asked, or the game is over."""
        heard: list[np.ndarray] = []
        reward = 0.0
        while True:
            reward += float(step.rewards[self._seat])
            heard += [np.asarray(o.tokens, np.int32) for o in step.observations if o.seat == self._seat]
            asked = next((o for o in step.observations if o.max_action_tokens > 0), None)
            is_over = step.terminated or step.truncated
            if is_over or asked is None or asked.seat == self._seat:
                break
            seed = int(np.random.SeedSequence([self._seed, self._num_replies]).generate_state(1, np.uint64)[0])
            self._num_replies += 1
            step = self.game.step(np.asarray(action_of(self.opponent, self.game, asked, seed), np.int32))
        tokens = np.concatenate(heard) if heard else np.zeros(0, np.int32)
        self.asked = None if is_over else asked
        if self.asked is None:
            return Step([Observation(tokens)] if len(tokens) else [], (reward,), terminated=step.terminated, truncated=step.truncated)
        options = {name: getattr(asked, name) for name in ("legal", "stop", "max_action_tokens", "thought_until")}
        return Step([Observation(tokens, **options)], (reward,))


class SeatPlayer:
    """A game's player, in the seat that `Versus` leaves to the policy."""

    def __init__(self, player: Any):
        self._player = player

    def act(self, environment: Versus, observation: Observation, seed: int) -> list[int]:
        """The tokens of its move."""
        return action_of(self._player, environment.game, environment.asked, seed)
