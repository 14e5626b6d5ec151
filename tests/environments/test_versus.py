"""Games against an opponent as worlds of one seat: what is heard, rewards by seat, copies, splits, and players that err."""

import copy

import numpy as np
import pytest

from paradigm import Sampler
from paradigm.environments import ConnectFour, Environment, NoisyPlayer, Observation, Versus
from paradigm.environments.players import action_of
from paradigm.environments.versus import SeatPlayer


def first_column(observation, seed):
    """Plays the first legal column."""
    return list(observation.legal[0])


def _text(step):
    return "".join(bytes(np.asarray(o.tokens).tolist()).decode() for o in step.observations)


def test_the_policy_hears_what_its_seat_hears():
    world = Versus(ConnectFour(), first_column)
    assert isinstance(world, Environment)
    step = world.reset(("", 0), 3)
    assert _text(step) == "X" and [bytes(move) for move in step.observations[0].legal] == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    assert _text(world.step([ord("4")])) == "1" and _text(world.step([ord("4")])) == "1" and _text(world.step([ord("4")])) == "1"
    other, third = world.clone(), copy.deepcopy(world)
    step = world.step([ord("4")])
    assert step.terminated and step.rewards == (1.0,), "four in a column, before the opponent has a fourth"
    with pytest.raises(RuntimeError, match="reset"):
        world.step([ord("4")])
    for copied in (other, third):
        assert not copied.step([ord("5")]).rewards[0] > 0 or not copied.asked
    assert _text(world.reset(("", 1), 3)) == "O1", "in the other seat it first hears the opponent's move"
    assert _text(world.reset(("22", 1), 3)) == "O221"


def test_a_lost_game_is_worth_less_than_nothing():
    world = Versus(ConnectFour(), first_column)
    world.reset(("", 1))
    for move in b"234":
        step = world.step([move])
    assert step.terminated and step.rewards == (-1.0,) and step.observations[0].max_action_tokens == 0


def test_the_opponent_is_a_function_of_the_seed():
    world = Versus(ConnectFour(), ConnectFour().uniform_player())

    def heard(seed):
        world.reset(("", 1), seed)
        return "".join(_text(world.step(world.asked.legal[0])) for _ in range(3))

    assert heard(1) == heard(1) and len({heard(seed) for seed in range(12)}) > 6


def test_openings_of_different_splits_are_different():
    world = Versus(ConnectFour(), first_column, opening_plies=3)
    parts = {split: set(world.tasks(0, 400, split)) for split in ("train", "validation", "test")}
    assert not parts["train"] & parts["test"] and not parts["train"] & parts["validation"] and not parts["validation"] & parts["test"]
    assert {len(opening) for opening, _ in parts["train"]} == {0, 1, 2, 3} and {seat for _, seat in parts["test"]} == {0, 1}
    assert world.tasks(5, 30) == world.tasks(5, 30) != world.tasks(6, 30) and len(world.tasks(5, 30)) == 30
    with pytest.raises(ValueError, match="opening_plies must leave openings to the split"):
        Versus(ConnectFour(), first_column).tasks(0, 1, "validation")


def test_players_err_as_often_as_they_are_told():
    observation = Observation([], legal=[[1], [2], [3], [4]], max_action_tokens=1)
    always_four = lambda observation, seed: [4]  # noqa: E731
    played = [NoisyPlayer(always_four, 0.4).act(None, observation, seed)[0] for seed in range(2000)]
    assert 0.65 < np.mean(np.array(played) == 4) < 0.75 and set(played) == {1, 2, 3, 4}, "one error in four is the same move"
    with pytest.raises(ValueError, match=r"error_rate must be in \[0, 1\], got 1.5"):
        NoisyPlayer(always_four, 1.5)
    with pytest.raises(ValueError, match="legal"):
        NoisyPlayer(always_four, 0.5).act(None, Observation([]), 0)


def test_demonstrations_of_a_native_game():
    game = ConnectFour()
    strong = game.demonstrator(depth=4, random_move_rate=0.0)
    world = Versus(game, game.uniform_player(), opening_plies=2)
    world.reset(("44", 0))
    assert action_of(SeatPlayer(strong), world, None, 0) == np.asarray(strong.act(world.game._world, world.asked, 0)).tolist()
    sampler = Sampler(None, vocab_size=256)
    good = sampler.collect(world, world.tasks(0, 40), group_size=1, opponents={0: SeatPlayer(strong)}, record_players=True)
    noise = NoisyPlayer(SeatPlayer(strong), 1.0)
    poor = sampler.collect(world, world.tasks(0, 40), group_size=1, opponents={0: noise}, record_players=True)
    assert not good.failed.any() and not poor.failed.any()
    assert (good.reward == 1).mean() > 0.9 > 0.75 > (poor.reward == 1).mean()


def test_any_two_player_game_of_open_spiel():
    pytest.importorskip("pyspiel")
    from paradigm.environments import OpenSpiel

    game = OpenSpiel("tic_tac_toe", observe="moves", actions="numbers")
    world = Versus(game, first_column)
    assert _text(world.reset(("4", 1))) == "1\n4"
    assert _text(world.reset(("", 1))) == "1\n0" and _text(world.step([ord("8")])) == "1"
    step = world.step([ord("4")])
    assert step.terminated and step.rewards == (-1.0,), "three in the first row"


def test_bad_arguments_are_named():
    class Alone:
        num_seats = 1

    with pytest.raises(ValueError, match="two seats, got 1"):
        Versus(Alone(), first_column)
    with pytest.raises(ValueError, match="opening_plies must be >= 0, got -1"):
        Versus(ConnectFour(), first_column, opening_plies=-1)
    with pytest.raises(ValueError, match="seat 0 or 1"):
        Versus(ConnectFour(), first_column).reset(("", 2))
