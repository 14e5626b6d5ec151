"""The sampler on worlds whose transcripts are worked out by hand, with policies that look only at the previous token."""

import threading

import numpy as np
import pytest
import torch

from paradigm.environments import ConnectFour
from paradigm.environments.protocol import Observation, Step
from paradigm.policy_step import PolicyStep
from paradigm.sampler import Sampler
from tests.sampler_cases import VOCAB, Banter, Scripted, TableLookup, ask, assert_same, legal_tokens, one_thread, over, random_table, successor  # noqa: F401  # one_thread is a fixture


def test_rollouts_depend_neither_on_slots_nor_threads_nor_arrival() -> None:
    policy, tasks = random_table(), list(range(12))
    forced = {trajectory: [(2, [4, 9]), (7, [13])] for trajectory in range(0, 72, 5)}

    def collect(slots: int, threads: int, pause_s: float, **options: int) -> object:
        sampler = Sampler(policy, slots=slots, **options)
        return sampler.collect(
            Banter(pause_s), tasks, group_size=3, key=(3, 1), temperature=0.9, top_k=20, forced=forced, max_tokens=48, threads=threads
        )

    expected = collect(256, 2, 0.0)
    assert len(expected) == 72 and expected.index.tolist() == list(range(72))
    assert {t.stop_reason for t in expected} == {"terminated", "length", "failed"}
    for slots, threads, pause_s, options in [(2, 1, 0.0, {}), (7, 2, 0.002, {}), (256, 7, 0.004, {}), (256, 1, 0.0, {"max_step_tokens": 5})]:
        assert_same(expected, collect(slots, threads, pause_s, **options))


def test_other_keys_and_seeds_give_other_rollouts() -> None:
    sampler = Sampler(random_table())
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1], 30))
    first = sampler.collect(worlds, ["x"], key=(0, 0))
    assert len({t.tokens.tobytes() for t in first}) == 8  # a group's members draw apart
    for key in [(1, 0), (0, 1), (0, 0, 1)]:
        assert (sampler.collect(worlds, ["x"], key=key).tokens != first.tokens).any()
    assert_same(first, sampler.collect(worlds, ["x"], key=(0, 0)))


def test_environment_seeds_are_shared_within_a_group_only() -> None:
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    worlds = Scripted(lambda task, seed, actions: over() if actions or seen[task].add(seed) else ask([1], 1))
    sampler = Sampler(random_table())
    sampler.collect(worlds, [0, 1], group_size=4, key=(5, 0))
    assert len(seen[0]) == len(seen[1]) == 1 and seen[0] != seen[1]
    sampler.collect(worlds, [0, 1], group_size=4, key=(5, 1))
    assert len(seen[0]) == 2


def test_a_transcript_token_by_token() -> None:
    def answer(task: str, seed: int, actions: list[list[int]]) -> Step:
        assert task == "count"
        if not actions:
            return ask([10, 20], 9, rewards=(0.5,), stop=[24], thought_until=22)  # says 21 22 23 24
        if len(actions) == 1:
            assert actions == [[21, 22, 23, 24]]
            return ask(np.array([30], np.uint8), 2, rewards=[1.0])  # says 31 32
        assert actions[1] == [31, 32]
        return Step([Observation([40, 41])], [2.0], truncated=True)

    sampler = Sampler(successor())
    sampler.version = 7
    (trajectory,) = sampler.collect(Scripted(answer), ["count"], group_size=1, temperature=0.0)
    assert trajectory.tokens.tolist() == [10, 20, 21, 22, 23, 24, 30, 31, 32, 40, 41]
    assert trajectory.action_mask.tolist() == [False, False, True, True, True, True, False, True, True, False, False]
    assert trajectory.segment.tolist() == [1, 1, 2, 3, 3, 3, 4, 3, 3, 4, 4]
    assert trajectory.decision.tolist() == [-1, -1, 0, 0, 0, 0, -1, 1, 1, -1, -1]
    assert trajectory.rewards.tolist() == [0, 0, 0, 0, 0, 1.5, 0, 0, 2, 0, 0]
    assert trajectory.version.tolist() == [0, 0, 7, 7, 7, 7, 0, 7, 7, 0, 0]
    assert (trajectory.support == -1).all() and (trajectory.modality == 0).all()
    logprob = float(torch.log_softmax(torch.tensor([20.0] + [0.0] * (VOCAB - 1)), 0)[0])
    np.testing.assert_allclose(trajectory.logprobs, np.where(trajectory.action_mask, logprob, 0), atol=1e-6)
    assert (trajectory.stop_reason, trajectory.terminated, trajectory.truncated, trajectory.failed) == ("truncated", False, True, False)
    assert (trajectory.index, trajectory.group, trajectory.task, trajectory.seat, trajectory.parent) == (0, 0, "count", 0, -1)
    assert trajectory.temperature == 1.0  # where greedy log-probs are taken


@pytest.mark.parametrize("rewards", [(3.0,), [3], {0: 3.0}, 3, np.float32(3), np.array([3.0])])
def test_forms_of_rewards(rewards: object) -> None:
    worlds = Scripted(lambda task, seed, actions: over(rewards) if actions else ask([1], 2, rewards=None))
    (trajectory,) = Sampler(successor()).collect(worlds, [0], group_size=1)
    assert trajectory.rewards.tolist() == [0, 0, 3]


def test_an_action_ends_at_its_limit_at_the_first_stop_or_at_a_leaf() -> None:
    lengths = {"limit": 5, "stop": 3, "leaf": 2, "many stops": 4}

    def answer(task: str, seed: int, actions: list[list[int]]) -> Step:
        if actions:
            assert len(actions[0]) == lengths[task]
            return over()
        if task == "leaf":
            return ask([1], 5, legal={(2, 3), (2, 4, 5), (6,)})
        stops = {"limit": None, "stop": [7, 4], "many stops": [20, 21, 22, 23, 24, 5, 6]}[task]
        return ask([1], 5 if task == "limit" else 1000, stop=stops)

    buffer = Sampler(successor()).collect(Scripted(answer), list(lengths), group_size=1, temperature=0.0)
    assert buffer.num_actions.tolist() == list(lengths.values()) and not buffer.failed.any()


def test_a_full_trajectory_ends_the_episode() -> None:
    endless = Scripted(lambda task, seed, actions: ask([1, 2], 3, rewards=(1.0,)))
    (trajectory,) = Sampler(successor()).collect(endless, [0], group_size=1, max_tokens=9)
    assert (trajectory.stop_reason, trajectory.truncated, trajectory.terminated, len(trajectory)) == ("length", True, False, 9)
    assert trajectory.decision.tolist() == [-1, -1, 0, 0, 0, -1, -1, 1, 1] and trajectory.reward == 2
    finishing = Scripted(lambda task, seed, actions: over() if actions else ask([1, 2], 3))
    (trajectory,) = Sampler(successor()).collect(finishing, [0], group_size=1, max_tokens=5)
    assert (trajectory.stop_reason, len(trajectory)) == ("terminated", 5)  # the action was whole, so the world judged it


def test_legal_sequences_are_a_trie_and_logprobs_are_over_the_legal_tokens() -> None:
    legal = [(4, 5, 6), (4, 5, 7), (4, 8), (9,), (33, 1)]
    spoken = []

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        spoken.extend(tuple(action) for action in actions[-1:])
        return over() if len(actions) == 3 else ask([2, task], 5, legal=legal)

    policy = random_table(scale=0.7)
    buffer = Sampler(policy).collect(Scripted(answer), list(range(20)), group_size=8, temperature=0.7, top_k=2)
    assert not buffer.failed.any() and set(spoken) <= set(legal) and len(set(spoken)) == len(legal)
    assert sorted(map(tuple, _legal_sets(buffer))) == [(1,), (4, 9, 33), (5, 8), (6, 7)]
    _check_logprobs(policy, buffer, temperature=0.7, top_k=2)


@pytest.mark.parametrize("filters", [{}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.2}])
def test_logprobs_and_kept_mass_without_a_mask(filters: dict[str, float]) -> None:
    policy = random_table()
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task], 12))
    _check_logprobs(policy, Sampler(policy).collect(worlds, list(range(8)), temperature=1.3, **filters), temperature=1.3, **filters)


def test_tokens_drawn_where_the_policy_is_are_the_ones_drawn_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    legal = [(4, 5, 6), (4, 5, 7), (4, 8), (9,), (33, 1)]

    def collect() -> object:
        worlds = Scripted(lambda task, seed, actions: over() if len(actions) == 4 else ask([2, task], 5, legal=legal if len(actions) % 2 else None))
        return Sampler(random_table()).collect(worlds, list(range(9)), group_size=3, key=(2**63, 5), temperature=0.8, top_k=20, top_p=0.9, min_p=0.01)

    expected = collect()
    assert (expected.support >= 0).any() and (expected.support[expected.action_mask] < 0).any()
    monkeypatch.setattr(PolicyStep, "_draw_on_host", PolicyStep._draw_on_device)
    assert_same(expected, collect())


def _legal_sets(buffer: object) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in np.unique(legal_tokens(buffer)[buffer.support >= 0], axis=0)]


def _check_logprobs(policy: TableLookup, buffer: object, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> None:
    acted = np.flatnonzero(buffer.action_mask)
    logits = policy.head_weight.detach().t()[buffer.tokens[acted - 1].astype(np.int64)].double() / temperature
    logits[~torch.from_numpy(legal_tokens(buffer)[acted])] = -torch.inf
    logp = torch.log_softmax(logits, dim=1)
    drawn = logp.gather(1, torch.from_numpy(buffer.tokens[acted].astype(np.int64))[:, None])[:, 0]
    np.testing.assert_allclose(buffer.logprobs[acted], drawn, atol=2e-6)
    p = logp.exp().sort(dim=1, descending=True).values
    keep = torch.ones_like(p, dtype=torch.bool)
    if top_k:
        keep[:, top_k:] = False
    keep &= p.cumsum(1) - p < top_p
    keep &= p >= min_p * p[:, :1]
    np.testing.assert_allclose(buffer.kept_logmass[acted], (p * keep).sum(1).log(), atol=2e-6)
    assert (drawn >= torch.where(keep, p, torch.inf).amin(1).log() - 1e-9).all()
    assert (buffer.logprobs[~buffer.action_mask] == 0).all() and (buffer.kept_logmass[~buffer.action_mask] == 0).all()


def test_forced_tokens_are_part_of_the_action_but_not_of_what_was_chosen() -> None:
    heard = []

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        heard.append(actions)
        return over((5.0,)) if len(actions) == 2 else ask([10], 3, stop=[45])

    forced = {0: [(1, [30, 40])], 1: [(0, [20, 30, 40]), (3, [45])], 2: [(2, [45])], 3: [(1, [20]), (2, [30, 40, 41])]}
    buffer = Sampler(successor(), slots=1).collect(Scripted(answer), [0, 1, 2, 3], group_size=1, temperature=0.0, forced=forced)
    assert heard[2::3] == [[[11, 30, 40], [11, 12, 13]], [[20, 30, 40], [45]], [[11, 12, 45], [11, 12, 13]], [[11, 20, 30], [40, 41, 42]]]
    first, second, third, fourth = buffer
    assert first.tokens.tolist() == [10, 11, 30, 40, 10, 11, 12, 13]
    assert first.action_mask.tolist() == [False, True, False, False, False, True, True, True]
    assert first.segment.tolist() == [1, 3, 4, 4, 4, 3, 3, 3] and first.decision.tolist() == [-1, 0, -1, -1, -1, 1, 1, 1]
    assert (first.logprobs[~first.action_mask] == 0).all() and first.rewards.tolist() == [0, 0, 0, 0, 0, 0, 0, 5]
    assert not second.action_mask.any() and second.rewards.tolist() == [0, 0, 0, 0, 0, 5]  # no action token: on the decision's last
    assert third.action_mask.tolist() == [False, True, True, False, False, True, True, True]
    assert fourth.decision.tolist() == [-1, 0, -1, -1, -1, -1, -1, 1]


def test_a_forced_token_that_is_not_legal_fails_its_episode() -> None:
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1], 3, legal=[(2, 3), (2, 4)]))
    buffer = Sampler(successor()).collect(worlds, [0, 1, 2], group_size=1, forced={0: [(0, [3])], 1: [(1, [5])], 2: [(1, [4])]})
    assert buffer.failed.tolist() == [True, True, False] and buffer[2].tokens.tolist() == [1, 2, 4]
    assert "not legal" in buffer.extras[0]["failure"] and 2 not in buffer.extras


def duet(task: int, seed: int, actions: list[list[int]]) -> Step:
    """Two seats by turns; each is shown what the other said, behind a token of its own."""
    rewards = (float(len(actions)), -float(len(actions)))
    if len(actions) == 4:
        return over(rewards, Observation([46], seat=0), Observation([47], seat=1))
    seat = len(actions) % 2
    prompts = [Observation([40], seat=0), Observation([42], seat=1)] if not actions else []
    said = actions[-1] if actions else []
    return Step([*prompts, Observation([20 + seat, *said], seat=seat, max_action_tokens=2)], rewards)


def test_each_seat_sees_only_its_own_stream() -> None:
    buffer = Sampler(successor()).collect(Scripted(duet, 2), [0, 1], group_size=2, temperature=0.0)
    assert len(buffer) == 8 and buffer.seat.tolist() == [0, 1] * 4 and buffer.index.tolist() == list(range(8))
    assert buffer.group.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    for zero, one in zip(buffer[0::2], buffer[1::2]):
        assert zero.tokens.tolist() == [40, 20, 21, 22, 20, 23, 24, 25, 26, 46]
        assert one.tokens.tolist() == [42, 21, 21, 22, 23, 24, 21, 25, 26, 27, 28, 47]
        assert zero.rewards.tolist() == [0, 0, 0, 3, 0, 0, 0, 0, 7, 0]  # 0 + 1 + 2 before its second decision, 3 + 4 after
        assert one.rewards.tolist() == [0, 0, 0, 0, 0, -6, 0, 0, 0, 0, -4, 0]  # 0 - 1 before its first decision, -2 - 3 after


def test_opponents_may_be_callables_players_and_samplers() -> None:
    seen = []

    def parrot(observation: Observation, seed: int) -> np.ndarray:
        assert observation.seat == 1 and observation.max_action_tokens == 2 and observation.legal is None
        seen.append(seed)
        return np.array([30, 31])

    sampler = Sampler(successor())
    own = sampler.collect(Scripted(duet, 2), [0, 1], group_size=2, temperature=0.0, opponents={1: parrot})
    assert own.seat.tolist() == [0] * 4 and own.index.tolist() == [0, 2, 4, 6] and own[0].tokens.tolist() == [40, 20, 21, 22, 20, 30, 31, 32, 33, 46]
    assert len(set(seen)) == len(seen) == 8
    first_seeds = sorted(seen)
    both = sampler.collect(Scripted(duet, 2), [0, 1], group_size=2, temperature=0.0, opponents={1: parrot}, record_players=True, threads=1)
    assert sorted(seen) == sorted(first_seeds * 2)  # a player's seeds are a function of key, trajectory and decision
    played = both[1]
    assert played.seat == 1 and played.tokens.tolist() == [42, 21, 21, 22, 30, 31, 21, 32, 33, 30, 31, 47]
    assert played.action_mask.sum() == 4 and (played.logprobs == 0).all() and played.decision.max() == 1

    rival = Sampler(TableLookup(20.0 * torch.roll(torch.eye(VOCAB), 2, dims=1)), slots=1)
    mixed = sampler.collect(Scripted(duet, 2), [0, 1], group_size=2, temperature=0.0, opponents={1: rival}, record_players=True)
    assert mixed[0].tokens.tolist() == [40, 20, 21, 22, 20, 24, 26, 27, 28, 46]
    assert mixed[1].tokens.tolist() == [42, 21, 21, 22, 24, 26, 21, 27, 28, 30, 32, 47]
    assert len(sampler.collect(Scripted(duet, 2), [0, 1], opponents={1: rival})) == 16
    assert_same(sampler.collect(Scripted(duet, 2), [0, 1], opponents={1: sampler}), sampler.collect(Scripted(duet, 2), [0, 1]))


class Onlooker:
    """Answers with a token that only the environment can tell it."""

    def act(self, environment: Scripted, observation: Observation, seed: int) -> list[int]:
        assert observation.tokens.tolist() == [1 + len(environment.actions)]
        return [10 * environment.task + len(environment.actions)]


def test_players_may_look_at_an_environment_in_python() -> None:
    world = Scripted(lambda task, seed, actions: over() if len(actions) == 3 else ask([1 + len(actions)], max_action_tokens=1))
    played = Sampler(None, vocab_size=VOCAB).collect(world, [1, 2], group_size=2, opponents={0: Onlooker()}, record_players=True, threads=2)
    assert [rollout.tokens.tolist() for rollout in played] == [[1, 10 * task, 2, 10 * task + 1, 3, 10 * task + 2] for task in (1, 1, 2, 2)]
    players = {0: Onlooker(), 1: Onlooker()}
    native = Sampler(None, vocab_size=256).collect(ConnectFour(), [""], group_size=1, opponents=players, record_players=True)
    assert all(rollout.failed and "Python only" in rollout.extras["failure"] for rollout in native)
    with pytest.raises(TypeError, match="object with act"):
        Sampler(None, vocab_size=VOCAB).collect(world, [1], opponents={0: "nobody"}, record_players=True)


def test_a_thread_that_steps_environments_is_one_thread_to_python() -> None:
    kept, threads = threading.local(), set()

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        kept.calls = getattr(kept, "calls", 0) + 1  # what a thread of Python's keeps is lost when its state is freed
        threads.add(threading.get_ident())
        counts.append(kept.calls)
        return over() if actions else ask([1, 2, 3], 2)

    counts: list[int] = []
    Sampler(successor()).collect(Scripted(answer), list(range(5)), group_size=1, threads=1)
    assert counts == list(range(1, 11)) and len(threads) == 1 and threading.get_ident() not in threads


def test_players_alone_need_no_policy() -> None:
    world = ConnectFour()
    player, sampler = world.uniform_player(), Sampler(None, vocab_size=272)
    both = {0: player, 1: player}
    games = [sampler.collect(world, world.tasks(0, 50), group_size=2, opponents=both, record_players=True, key=(4, 2), threads=n) for n in (1, 3)]
    assert_same(*games)
    assert len(games[0]) == 200 and games[0].terminated.all() and (games[0].reward.reshape(-1, 2).sum(1) == 0).all()
    assert (games[0].support[games[0].action_mask] >= 0).all()
    assert legal_tokens(games[0], 272)[np.flatnonzero(games[0].action_mask), games[0].tokens[games[0].action_mask]].all()
    assert len(sampler.collect(world, world.tasks(0, 5), opponents=both)) == 0


def test_a_native_world_and_its_python_face_give_the_same_trajectories() -> None:
    class Face:
        num_seats = 2

        def __init__(self) -> None:
            self.world = ConnectFour()

        def reset(self, task: str, seed: int) -> Step:
            return self.world.reset(task, seed)

        def step(self, action: np.ndarray) -> Step:
            return self.world.step(action)

    table = torch.randn(272, 272, generator=torch.Generator().manual_seed(0))
    world, sampler = ConnectFour(), Sampler(TableLookup(table), slots=20)
    options = {"group_size": 3, "key": (6, 1), "opponents": {1: world.uniform_player()}, "record_players": True}
    native = sampler.collect(world, world.tasks(2, 30), **options)
    assert native.terminated.all() and len({len(t) for t in native}) > 10
    assert_same(native, sampler.collect(Face(), world.tasks(2, 30), **options))
