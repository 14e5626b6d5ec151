"""Any turn-based game of OpenSpiel (M. Lanctot et al., arXiv:1908.09453), its chance drawn from the episode's seed."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step
from paradigm.environments.space_text import action_sequences, listed_action, number_names, uniform_player
from paradigm.environments.text_codec import ByteCodec, TextCodec

__all__ = ["OpenSpiel"]


class OpenSpiel:
    """A game, a seat for each player. The seat to move is asked, with the legal actions listed; a reward is what returns grew by.

    A task is an opening, the players' actions by number, such as `4 0 8`; the empty one is the whole game. Seats hear the game's own words, one
    or more lines each time they are asked, or (`moves`) each other's actions.

    Args:
        game: what `pyspiel.load_game` takes, such as `leduc_poker` or `go(board_size=9)`.
        observe: `observation`: what the player sees now; where a game does not tell it, and with `information`, all that the player knows, from
            the beginning on; `moves`: first the seat's number, then every action and chance outcome as it is made, if nothing is hidden.
        actions: `names`: the game's own, each ended by a newline; `numbers`: of one length, ended by nothing.
        tokenizer: encodes all text; None: UTF-8 bytes.
        max_moves: the episode is truncated after so many; None: the game's own bound.
    Raises: ImportError, saying what to install; ValueError for values out of range, and for games of simultaneous moves or of chance that no seed
        repeats.
    """

    def __init__(
        self,
        game: str,
        *,
        observe: Literal["observation", "information", "moves"] = "observation",
        actions: Literal["names", "numbers"] = "names",
        tokenizer: TextCodec | None = None,
        max_moves: int | None = None,
    ):
        try:
            import pyspiel
        except ImportError as error:
            raise ImportError("OpenSpiel's games need it: pip install 'paradigm-trainer[open-spiel]'") from error
        if observe not in ("observation", "information", "moves"):
            raise ValueError(f"observe must be observation, information or moves, got {observe!r}")
        if actions not in ("names", "numbers"):
            raise ValueError(f"actions must be names or numbers, got {actions!r}")
        if max_moves is not None and max_moves < 1:
            raise ValueError(f"max_moves must be >= 1, got {max_moves}")
        self._spiel = pyspiel
        try:
            self.game = pyspiel.load_game(game)
        except pyspiel.SpielError as error:
            raise ValueError(f"game must be one of OpenSpiel's, got {game!r}: {error}") from error
        kind = self.game.get_type()
        if kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
            raise ValueError(f"game must be turn-based, got {game!r} of {kind.dynamics.name.lower()} moves")
        if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
            raise ValueError(f"game must list its chance outcomes, which no seed repeats otherwise, got {game!r}")
        self._is_open = kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION
        self._has_chance = kind.chance_mode != pyspiel.GameType.ChanceMode.DETERMINISTIC
        if observe == "moves" and not self._is_open:
            raise ValueError(f"observe must not be moves where something is hidden, got it for {game!r}")
        sees = {"observation": kind.provides_observation_string, "information": kind.provides_information_state_string, "moves": True}
        if observe == "observation" and not sees["observation"]:
            observe = "information"
        if not sees[observe]:
            raise ValueError(f"observe must be what {game!r} tells, got {observe!r}")
        self.name = f"open_spiel/{kind.short_name}"
        self.num_seats = int(self.game.num_players())
        self._observe, self._actions = observe, actions
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._numbers = number_names(self.game.num_distinct_actions())
        self._max_moves = max_moves or self.game.max_game_length()
        self.state: Any = None
        self._chance = np.random.default_rng(0)
        self._legal: dict[tuple[int, ...], int] = {}
        self._num_moves = 0
        self._is_over = True

    def tasks(self, seed: int, n: int, plies: int = 0) -> list[str]:
        """n openings of `plies` uniform legal actions after which the game goes on.

        Raises: ValueError for plies > 0 in a game of chance, whose legal actions differ from episode to episode, or past the game's end.
        """
        if plies and self._has_chance:
            raise ValueError(f"plies must be 0 in a game of chance, got {plies}")
        draw, openings = np.random.default_rng(seed), []
        for _ in range(100 * n):
            state = self.game.new_initial_state()
            moves: list[int] = []
            while len(moves) < plies and not state.is_terminal():
                moves.append(int(draw.choice(state.legal_actions())))
                state.apply_action(moves[-1])
            if not state.is_terminal():
                openings.append(" ".join(map(str, moves)))
            if len(openings) == n:
                return openings
        raise ValueError(f"plies must leave the game open, got {plies}")

    def uniform_player(self) -> Any:
        """A player of uniform legal actions."""
        return uniform_player

    def tree_search_player(self, num_simulations: int = 100, *, exploration: float = 1.4, num_rollouts: int = 1) -> Any:
        """OpenSpiel's Monte Carlo tree search with random playouts, a pure function of (state, seed).

        Raises: ValueError where something is hidden, or values are out of range.
        """
        if not self._is_open:
            raise ValueError("tree search needs a game in which nothing is hidden")
        if num_simulations < 2 or num_rollouts < 1:
            raise ValueError(f"num_simulations must be >= 2 and num_rollouts >= 1, got {num_simulations} and {num_rollouts}")
        return _TreeSearch(num_simulations, exploration, num_rollouts)

    def reset(self, task: str = "", seed: int = 0) -> Step:
        """Starts a game. Raises: ValueError if `task` is no opening, or one that ends the game."""
        self.state, self._num_moves, self._is_over = self.game.new_initial_state(), 0, True
        self._chance = np.random.default_rng(seed)
        heard = self._settle()
        for word in task.split():
            if not word.isdecimal() or int(word) not in self.state.legal_actions():
                raise ValueError(f"task must be legal actions by number, got {word!r} in {task!r}")
            heard += self._apply(int(word))
        if self.state.is_terminal():
            raise ValueError(f"task must leave the game open, got {task!r}")
        self._is_over = False
        return Step(self._observations(heard, first=True), (0.0,) * self.num_seats)

    def step(self, action: ArrayLike) -> Step:
        """Makes a move. Raises: ValueError for an illegal one; RuntimeError before a reset or after the end."""
        if self._is_over:
            raise RuntimeError("step needs a reset before it, and none after the end")
        move = listed_action(self._legal, action)
        before, mover = self.state.returns(), self.state.current_player()
        heard = self._apply(move)
        rewards = tuple(after - earlier for after, earlier in zip(self.state.returns(), before))
        self._num_moves += 1
        terminated = bool(self.state.is_terminal())
        truncated = not terminated and self._num_moves >= self._max_moves
        self._is_over = terminated or truncated
        return Step(self._observations(heard, mover=mover), rewards, terminated=terminated, truncated=truncated)

    def clone(self) -> OpenSpiel:
        """A copy in the same state."""
        other = object.__new__(OpenSpiel)
        other.__dict__.update(self.__dict__)
        other.state = self.state and self.state.clone()
        other._chance = copy.deepcopy(self._chance)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenSpiel:
        return self.clone()

    def _name(self, action: int) -> str:
        return self._numbers[action] if self._actions == "numbers" else f"{self.state.action_to_string(self.state.current_player(), action)}\n"

    def _apply(self, action: int) -> list[tuple[int, str]]:
        """Makes a move and lets chance act. Returns: who acted (-1: chance), and how, in text."""
        heard = [(self.state.current_player(), self._name(action))] if self._observe == "moves" else []
        self.state.apply_action(action)
        return heard + self._settle()

    def _settle(self) -> list[tuple[int, str]]:
        heard = []
        while self.state.is_chance_node():
            outcomes, weights = zip(*self.state.chance_outcomes())
            row = int(np.searchsorted(np.cumsum(weights), self._chance.random() * sum(weights), side="right"))
            outcome = outcomes[min(row, len(outcomes) - 1)]
            if self._observe == "moves":
                heard.append((-1, f"{self.state.action_to_string(self.state.current_player(), outcome)}\n"))
            self.state.apply_action(outcome)
        return heard

    def _observations(self, heard: list[tuple[int, str]], *, first: bool = False, mover: int = -2) -> list[Observation]:
        """What every seat hears; the one whose turn it is, is asked. The seat that moved does not hear its own move again."""
        asked = -1 if self._is_over else int(self.state.current_player())
        observations = []
        for seat in range(self.num_seats):
            text = f"{seat}\n" if first and self._observe == "moves" else ""
            skip = next((row for row, (who, _) in enumerate(heard) if who == mover), -1) if seat == mover else -1
            text += "".join(words for row, (_, words) in enumerate(heard) if row != skip)
            if seat == asked and self._observe == "observation":
                text = f"{self.state.observation_string(seat)}\n"
            elif seat == asked and self._observe == "information":
                text = f"{self.state.information_state_string(seat)}\n"
            tokens = np.asarray(self._tokenizer.encode(text), np.int32)
            if seat == asked:
                moves = self.state.legal_actions()
                sequences = self._sequences(moves)
                self._legal = dict(zip(sequences, moves))
                observations.append(Observation(tokens, seat=seat, legal=sequences, max_action_tokens=max(map(len, sequences))))
            elif text:
                observations.append(Observation(tokens, seat=seat))
        return observations

    def _sequences(self, moves: list[int]) -> list[tuple[int, ...]]:
        if self._actions == "numbers":
            return [tuple(int(token) for token in self._tokenizer.encode(self._numbers[move])) for move in moves]
        names = [self._name(move) for move in moves]
        action_sequences([name[:-1] for name in names], self._tokenizer)  # refuses names that are none
        return [tuple(int(token) for token in self._tokenizer.encode(name)) for name in names]


class _TreeSearch:
    def __init__(self, num_simulations: int, exploration: float, num_rollouts: int):
        self._num_simulations, self._exploration, self._num_rollouts = num_simulations, exploration, num_rollouts

    def act(self, environment: OpenSpiel, observation: Observation, seed: int) -> list[int]:
        """The tokens of the move it finds best."""
        spiel, number = environment._spiel, seed % (1 << 31)
        evaluator = spiel.RandomRolloutEvaluator(self._num_rollouts, number)
        bot = spiel.MCTSBot(environment.game, evaluator, self._exploration, self._num_simulations, 64, True, number, False)
        move = bot.step(environment.state.clone())
        return list(next(sequence for sequence, legal in environment._legal.items() if legal == move))
