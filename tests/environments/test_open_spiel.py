"""OpenSpiel's games through the adapter: rules, chance, what each seat may know, players, and rollouts through the sampler."""

import sys

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import ConnectFour, Environment, OpenSpiel

pyspiel = pytest.importorskip("pyspiel")


def _text(observation):
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def _asked(step):
    (asked,) = [observation for observation in step.observations if observation.max_action_tokens > 0]
    return asked


def _policy(vocab_size=256):
    return Policy(PolicyConfig(vocab_size=vocab_size, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))


GAMES = [
    "tic_tac_toe", "breakthrough(rows=5,columns=4)", "kuhn_poker(players=3)", "leduc_poker", "pig(winscore=20)", "liars_dice", "backgammon",
    "phantom_ttt", "chess", "2048",
]  # fmt: skip


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("actions", ["names", "numbers"])
def test_uniform_games_follow_the_library(game, actions):
    """Rewards, turns and legal actions are OpenSpiel's own along the same path."""
    environment = OpenSpiel(game, actions=actions, max_moves=60)
    assert isinstance(environment, Environment)
    for seed in range(3):
        step, total, moves = environment.reset("", seed), np.zeros(environment.num_seats), 0
        while not (step.terminated or step.truncated):
            asked = _asked(step)
            state = environment.state
            assert asked.seat == state.current_player() and len(asked.legal) == len(state.legal_actions())
            assert len(step.observations) == 1 and _text(asked)  # nobody hears what only the player may know
            action = environment.uniform_player()(asked, seed * 1000 + moves)
            step = environment.step(action)
            total += step.rewards
            moves += 1
        np.testing.assert_allclose(total, environment.state.returns())
        assert step.terminated == environment.state.is_terminal() and (step.terminated or moves == 60)
        with pytest.raises(RuntimeError, match="reset"):
            environment.step(action)


def test_connect_four_is_our_own():
    ours, theirs = ConnectFour(), OpenSpiel("connect_four", observe="moves", actions="numbers")
    rng = np.random.default_rng(0)
    for opening in ours.tasks(0, 20, plies=4):
        a, b = ours.reset(opening), theirs.reset(" ".join(str(int(move) - 1) for move in opening))
        while not a.terminated:
            assert [token - ord("1") for (token,) in _asked(a).legal] == [token - ord("0") for (token,) in _asked(b).legal]
            assert _asked(a).seat == _asked(b).seat
            (token,) = _asked(a).legal[rng.integers(len(_asked(a).legal))]
            a, b = ours.step([token]), theirs.step([token - 1])
            assert list(a.rewards) == list(b.rewards) and a.terminated == b.terminated
            assert [o.seat for o in a.observations] == [o.seat for o in b.observations] or a.terminated


def test_moves_are_heard_by_the_others_and_chance_by_all():
    environment = OpenSpiel("tic_tac_toe", observe="moves")
    step = environment.reset("4 0")
    assert [(o.seat, _text(o)) for o in step.observations] == [(0, "0\nx(1,1)\no(0,0)\n"), (1, "1\nx(1,1)\no(0,0)\n")]
    step = environment.step(list(b"x(2,2)\n"))
    assert [(o.seat, _text(o)) for o in step.observations] == [(1, "x(2,2)\n")] and bytes(_asked(step).legal[0]) == b"o(0,1)\n"
    assert environment.tasks(1, 5, plies=3) == environment.tasks(1, 5, plies=3) != environment.tasks(2, 5, plies=3)
    dice = OpenSpiel("pig(winscore=30)", observe="moves", actions="numbers")
    step = dice.reset("", 3)
    assert [_text(o) for o in step.observations] == ["0\n", "1\n"]
    step = dice.step(_asked(step).legal[0])
    heard = {o.seat: _text(o) for o in step.observations}
    assert heard[0].startswith("Roll") and heard[1] == f"0{heard[0]}"  # the first does not hear its own move again


def test_what_is_hidden_stays_hidden():
    """Over all deals of Kuhn poker, what a seat hears depends on its own card only, until the cards are shown by the rules."""
    environment = OpenSpiel("kuhn_poker", observe="information")
    heard = {}
    for seed in range(40):
        step = environment.reset("", seed)
        cards = environment.state.history()[:2]
        while not step.terminated:
            asked = _asked(step)
            moves = tuple(environment.state.history()[2:])
            assert heard.setdefault((asked.seat, cards[asked.seat], moves), _text(asked)) == _text(asked)
            step = environment.step(environment.uniform_player()(asked, seed))
    assert len({cards for (seat, cards, moves) in heard if seat == 0}) == 3
    with pytest.raises(ValueError, match="hidden"):
        OpenSpiel("kuhn_poker", observe="moves")
    with pytest.raises(ValueError, match="hidden"):
        environment.tree_search_player()


def test_chance_is_of_the_seed():
    environment = OpenSpiel("leduc_poker")
    deals = [tuple(environment.reset("", seed) and environment.state.history()) for seed in range(200)]
    assert deals == [tuple(environment.reset("", seed) and environment.state.history()) for seed in range(200)]
    counts = np.bincount([deal[0] for deal in deals], minlength=6)
    assert ((counts - 200 / 6) ** 2 / (200 / 6)).sum() < 25.7  # chi-square of 5 degrees, one in ten thousand
    step = environment.reset("", 5)
    while environment.state.move_number() < 3:
        step = environment.step(_asked(step).legal[-1])
    clone = environment.clone()
    paths = []
    for world in (environment, clone):
        a = step
        while not a.terminated:
            a = world.step(_asked(a).legal[-1])
        paths.append((world.state.history(), a.rewards))
    assert paths[0] == paths[1]


def test_self_play_and_opponents_through_the_sampler():
    sampler = Sampler(_policy(), slots=8)
    for game in ("tic_tac_toe", "leduc_poker"):
        environment = OpenSpiel(game)
        rollouts = sampler.collect(environment, ["", ""], group_size=3, key=(1, 0), threads=2)
        assert len(rollouts) == 12 and all(rollout.terminated and not rollout.failed for rollout in rollouts)
        by_game = [rollouts[2 * n].reward + rollouts[2 * n + 1].reward for n in range(6)]
        assert by_game == [0.0] * 6
        again = sampler.collect(environment, ["", ""], group_size=3, key=(1, 0), threads=1)
        assert [rollout.tokens.tolist() for rollout in rollouts] == [rollout.tokens.tolist() for rollout in again]
        against = sampler.collect(environment, [""], group_size=4, opponents={1: environment.uniform_player()})
        assert len(against) == 4 and all(rollout.seat == 0 and not rollout.failed for rollout in against)


def test_tree_search_beats_uniform():
    environment = OpenSpiel("tic_tac_toe", observe="moves", actions="numbers")
    sampler = Sampler(None, vocab_size=256)
    players = {0: environment.tree_search_player(60), 1: environment.uniform_player()}
    games = sampler.collect(environment, [""] * 12, group_size=1, opponents=players, record_players=True)
    assert not any(game.failed for game in games) and sum(game.reward for game in games if game.seat == 0) >= 9
    again = sampler.collect(environment, [""] * 12, group_size=1, opponents=players, record_players=True)
    assert [game.tokens.tolist() for game in games] == [game.tokens.tolist() for game in again]


def test_bad_arguments_are_named():
    for game, named in (("goofspiel", "turn-based"), ("matrix_pd", "simultaneous"), ("mfg_crowd_modelling", "turn-based"), ("no_such_game", "game")):
        with pytest.raises(ValueError, match=named):
            OpenSpiel(game)
    for options, named in (({"observe": "all"}, "observe"), ({"actions": "words"}, "actions"), ({"max_moves": 0}, "max_moves")):
        with pytest.raises(ValueError, match=named):
            OpenSpiel("tic_tac_toe", **options)
    with pytest.raises(ValueError, match="information"):
        OpenSpiel("breakthrough", observe="information")
    environment = OpenSpiel("tic_tac_toe")
    for task in ("9", "4 4", "x", "0 3 1 4 2", "-1"):
        with pytest.raises(ValueError, match="task"):
            environment.reset(task)
    environment.reset("4")
    for action in ([], [0], list(b"o(1,1)\n"), list(b"o(0,0)")):
        with pytest.raises(ValueError, match="action"):
            environment.step(action)
    with pytest.raises(ValueError, match="plies"):
        OpenSpiel("pig").tasks(0, 1, plies=1)
    with pytest.raises(ValueError, match="plies"):
        environment.tasks(0, 1, plies=9)
    with pytest.raises(ValueError, match="num_simulations"):
        environment.tree_search_player(1)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[open-spiel\]"):
        OpenSpiel("tic_tac_toe")
