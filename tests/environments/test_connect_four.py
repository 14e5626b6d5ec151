"""Connect-Four against an array implementation, the known game counts, OpenSpiel, and tactics the search must see."""

import numpy as np
import pytest

from paradigm.environments import Arithmetic, ConnectFour, Environment


class _Reference:
    """The rules on a list of columns."""

    def __init__(self):
        self.columns: list[list[int]] = [[] for _ in range(7)]
        self.plies, self.winner = 0, None

    def legal(self):
        return [c for c in range(7) if len(self.columns[c]) < 6]

    def cell(self, column, row):
        return self.columns[column][row] if 0 <= column < 7 and 0 <= row < len(self.columns[column]) else None

    def play(self, column):
        player = self.plies % 2
        self.columns[column].append(player)
        self.plies += 1
        row = len(self.columns[column]) - 1
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            reach = [0, 0]
            for side, sign in enumerate((1, -1)):
                while self.cell(column + sign * dx * (reach[side] + 1), row + sign * dy * (reach[side] + 1)) == player:
                    reach[side] += 1
            if sum(reach) >= 3:
                self.winner = player

    @property
    def over(self):
        return self.winner is not None or self.plies == 42


def _asked(step):
    (asked,) = [o for o in step.observations if o.max_action_tokens > 0]
    return asked


def _columns(observation):
    return [token - ord("1") for (token,) in observation.legal]


def _game(players, opening="", seed=0):
    """Plays a game, checking each step against the reference. Returns rewards and both streams."""
    world, reference = ConnectFour().native.make(), _Reference()
    for move in opening:
        reference.play(int(move) - 1)
    step, streams = world.reset(opening, 0), [[], []]
    for ply in range(100):
        for observation in step.observations:
            streams[observation.seat] += list(observation.tokens)
        if step.terminated:
            break
        asked = _asked(step)
        assert asked.seat == reference.plies % 2
        assert _columns(asked) == reference.legal()
        action = players[asked.seat].act(world, asked, seed * 100 + ply)
        assert [action[0]] in asked.legal and len(action) == 1
        streams[asked.seat] += list(action)
        reference.play(int(action[0]) - ord("1"))
        step = world.step(action)
        assert step.terminated == reference.over and not step.truncated
    expected = [0.0, 0.0] if reference.winner is None else [1.0 - 2.0 * (seat != reference.winner) for seat in (0, 1)]
    assert step.rewards == expected
    return step.rewards, [bytes(stream).decode() for stream in streams]


def test_random_games_follow_the_reference_and_seats_hear_the_same_moves():
    environment = ConnectFour()
    uniform = environment.uniform_player()
    outcomes = []
    for seed, opening in enumerate(environment.tasks(1, 300, plies=3)):
        rewards, (first, second) = _game([uniform, uniform], opening, seed)
        assert first[0] == "X" and second[0] == "O" and first[1:] == second[1:] and first[1:4] == opening
        outcomes.append(tuple(rewards))
    assert {(1.0, -1.0), (-1.0, 1.0)} <= set(outcomes)


def _perft(world, step, plies):
    games = 0
    for sequence in _asked(step).legal:
        if plies == 1:
            games += 1
            continue
        next_world = world.clone()
        next_step = next_world.step(np.array(sequence, np.int32))
        games += 0 if next_step.terminated else _perft(next_world, next_step, plies - 1)
    return games


def test_game_counts():
    # depths to 8, where wins cut games short, are counted in csrc/tests/connect_four_test.cpp
    world = ConnectFour().native.make()
    assert [_perft(world, world.reset("", 0), plies) for plies in range(1, 7)] == [7, 49, 343, 2401, 16807, 117649]


def test_agrees_with_open_spiel():
    pyspiel = pytest.importorskip("pyspiel")
    game = pyspiel.load_game("connect_four")
    rng = np.random.default_rng(0)
    world = ConnectFour().native.make()
    for _ in range(300):
        state, step = game.new_initial_state(), world.reset("", 0)
        while not state.is_terminal():
            asked = _asked(step)
            assert asked.seat == state.current_player()
            assert _columns(asked) == state.legal_actions()
            column = int(rng.choice(state.legal_actions()))
            state.apply_action(column)
            step = world.step(np.array([ord("1") + column], np.int32))
        assert step.terminated
        assert step.rewards == state.returns()


def _mates(reference):
    """Columns by which the player to move wins at once."""
    wins = []
    for column in reference.legal():
        trial = _Reference()
        trial.columns, trial.plies = [list(c) for c in reference.columns], reference.plies
        trial.play(column)
        wins += [column] if trial.winner is not None else []
    return wins


def _other_side(reference):
    """The same stones with the other player to move."""
    trial = _Reference()
    trial.columns, trial.plies = [list(c) for c in reference.columns], reference.plies + 1
    return trial


@pytest.mark.parametrize("depth", [2, 4])
def test_the_search_wins_at_once_and_blocks(depth):
    environment = ConnectFour()
    player = environment.demonstrator(depth=depth, random_move_rate=0.0)
    world = environment.native.make()
    won = blocked = 0
    for opening in environment.tasks(11, 1500, plies=12):
        reference = _Reference()
        for move in opening:
            reference.play(int(move) - 1)
        column = int(player.act(world, _asked(world.reset(opening, 0)), 0)[0]) - ord("1")
        wins, threats = _mates(reference), _mates(_other_side(reference))
        if wins:
            assert column in wins
            won += 1
        elif len(threats) == 1:
            assert column == threats[0]
            blocked += 1
    assert won > 100 and blocked > 100


def test_depth_four_beats_uniform_and_never_moves_illegally():
    environment = ConnectFour()
    search, uniform = environment.demonstrator(random_move_rate=0.0), environment.uniform_player()
    won = 0
    for seed in range(200):
        seat = seed % 2
        rewards, _ = _game([search, uniform] if seat == 0 else [uniform, search], "", seed)
        won += rewards[seat] == 1.0
    assert won > 190


def test_random_move_rate_and_determinism():
    environment = ConnectFour()
    noisy, search = environment.demonstrator(random_move_rate=0.2), environment.demonstrator(random_move_rate=0.0)
    world = environment.native.make()
    asked = _asked(world.reset("4435", 0))
    moves = np.array([noisy.act(world, asked, seed)[0] for seed in range(4000)])
    assert (moves == [noisy.act(world, asked, seed)[0] for seed in range(4000)]).all()
    best = search.act(world, asked, 0)[0]
    assert abs((moves != best).mean() - 0.2 * 6 / 7) < 4 * np.sqrt(0.17 * 0.83 / 4000)
    uniform = np.array([environment.uniform_player().act(world, asked, seed)[0] for seed in range(7000)])
    counts = np.bincount(uniform - ord("1"), minlength=7)
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9  # chi-square of 6 degrees, one in ten thousand


def test_protocol_errors_and_encoding():
    environment = ConnectFour()
    assert isinstance(environment, Environment)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step([49])
    environment.reset("111111")
    for bad in ([49], [48], [50, 51], []):
        with pytest.raises(ValueError, match="action"):
            environment.step(bad)
    for bad in ("8", "1111111", "1212121", "x"):
        with pytest.raises(ValueError, match="task"):
            environment.reset(bad)
    with pytest.raises(ValueError, match="depth"):
        environment.demonstrator(depth=0)
    with pytest.raises(ValueError, match="plies"):
        environment.tasks(0, 1, plies=40)
    table = np.arange(256, dtype=np.int32) * 2
    other = ConnectFour(encoding=table)
    step = other.reset("44")
    assert step.observations[0].tokens.tolist() == [2 * ord("X"), 2 * ord("4"), 2 * ord("4")]
    clone = other.clone()
    assert other.step([2 * ord("1")]).observations[0].tokens.tolist() == [2 * ord("1")]
    assert len(_asked(clone.step([2 * ord("2")])).legal) == 7
    world = environment.native.make()
    observation = world.reset("", 0).observations[0]
    with pytest.raises(ValueError, match="arithmetic"):
        Arithmetic().demonstrator().act(world, observation, 0)
