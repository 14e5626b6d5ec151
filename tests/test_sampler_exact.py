"""Exact mode with a real policy: what the sampler recorded is what the learner computes, bit for bit, however the rollout was scheduled."""

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.environments import Arithmetic, ConnectFour
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, one_thread, over  # noqa: F401  # a fixture

VOCAB = 272


def make(dtype: str, seed: int = 0, **changes: object) -> Policy:
    shape = {"vocab_size": VOCAB, "hidden_size": 48, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 24,
             "intermediate_size": 80, "initializer_range": 0.3}  # fmt: skip
    return Policy(PolicyConfig(**{**shape, "dtype": dtype, **changes}), seed=seed)


def play(policy: Policy, kind: str, slots: int, threads: int = 2, **options: int) -> TrajectoryBuffer:
    sampler = Sampler(policy, slots=slots, **options)
    if kind == "arithmetic":
        world = Arithmetic()
        return sampler.collect(world, world.tasks(3, 6), group_size=4, key=(8, 1), max_tokens=60, temperature=0.8, threads=threads)
    world = ConnectFour()
    return sampler.collect(world, world.tasks(3, 5), group_size=2, key=(8, 2), max_tokens=120, top_p=0.9, threads=threads)


@pytest.mark.parametrize("kind", ["arithmetic", "connect_four"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rollouts_are_the_same_bits_however_scheduled_and_the_learners(dtype: str, kind: str) -> None:
    policy = make(dtype)
    expected = play(policy, kind, 256)
    assert not expected.failed.any() and expected.action_mask.sum() > 150
    ways = [(1, 1, 1, {}), (7, 1, 3, {}), (256, 2, 1, {}), (256, 1, 1, {"max_step_tokens": 17}), (5, 1, 2, {"block_size": 32})]
    for slots, torch_threads, threads, options in ways:
        torch.set_num_threads(torch_threads)
        assert_same(expected, play(policy, kind, slots, threads, **options))
    for max_tokens in (128, 4096):
        for batch in PackedBatch.pack(expected, max_tokens=max_tokens):
            recomputed = policy.log_probs(batch)
            assert recomputed.dtype == torch.float32
            assert torch.equal(recomputed, batch.streams["behaviour_logprob"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wide_policy_and_a_wide_vocabulary(dtype: str) -> None:
    policy = make(dtype, hidden_size=1280, num_layers=1, num_heads=4, head_dim=64, intermediate_size=96, vocab_size=1000, initializer_range=0.1)
    worlds = Scripted(lambda task, seed, actions: over() if len(actions) == 2 else ask([task, 7, 900], 5, stop=[3]))
    buffers = [Sampler(policy, slots=slots).collect(worlds, list(range(9)), group_size=2, key=(1, 1), max_tokens=40) for slots in (3, 64)]
    assert_same(*buffers)
    for batch in PackedBatch.pack(buffers[0], max_tokens=64):
        assert torch.equal(policy.log_probs(batch), batch.streams["behaviour_logprob"])


def test_prompts_longer_than_a_step_are_fed_in_chunks() -> None:
    policy = make("float32")
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task + i % 50 for i in range(70 + task)], 6))
    whole = Sampler(policy, slots=8).collect(worlds, list(range(8)), group_size=1, max_tokens=100)
    sampler = Sampler(policy, slots=8, max_step_tokens=13)
    assert_same(whole, sampler.collect(worlds, list(range(8)), group_size=1, max_tokens=100))
    assert sampler.stats is not None and sampler.stats.steps >= sum(70 + i for i in range(8)) / 13
    assert sampler.stats.tokens_prefilled == sum(70 + i for i in range(8)) and sampler.stats.flops > 0


def test_sequences_wait_for_room_in_a_small_cache() -> None:
    policy = make("float32")
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task + 1], 20))
    roomy = Sampler(policy, slots=16)
    expected = roomy.collect(worlds, list(range(10)), group_size=1, max_tokens=32)
    assert roomy.stats is not None and roomy.stats.evictions == roomy.stats.tokens_recomputed == 0
    tight = Sampler(policy, slots=16, cache_tokens=64)
    assert_same(expected, tight.collect(worlds, list(range(10)), group_size=1, max_tokens=32))
    assert tight.stats is not None and 20 < tight.stats.steps <= 10 * 20  # more than one sequence at a time, but not all of them
    assert 0 < tight.stats.evictions <= tight.stats.tokens_recomputed and tight.stats.flops == roomy.stats.flops
    with pytest.raises(ValueError, match=r"cache_tokens must hold a trajectory of max_tokens=65, which takes 80 .* got 64: it can never fit"):
        tight.collect(worlds, [0], max_tokens=65)


def test_weights_may_change_between_collections_and_fast_mode_agrees_closely() -> None:
    policy = make("float32")
    sampler, fast = Sampler(policy, slots=7), Sampler(policy, slots=7, exact=False)
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task + 1], 12))
    before = sampler.collect(worlds, list(range(4)), max_tokens=40)
    roughly = fast.collect(worlds, list(range(4)), max_tokens=40)
    assert policy.exact  # fast mode was the other sampler's alone
    same = (before.tokens == roughly.tokens).reshape(32, -1).all(1)
    assert same.mean() > 0.9
    np.testing.assert_allclose(before.logprobs.reshape(32, -1)[same], roughly.logprobs.reshape(32, -1)[same], atol=1e-4)
    with torch.no_grad():
        policy.model.layers[0].mlp.down_proj.weight.mul_(-1)
    after = sampler.collect(worlds, list(range(4)), max_tokens=40)
    assert (after.logprobs != before.logprobs).any()
    for batch in PackedBatch.pack(after, max_tokens=200):
        assert torch.equal(policy.log_probs(batch), batch.streams["behaviour_logprob"])


def test_one_slot_is_one_game_at_a_time() -> None:
    policy, world = make("float32"), ConnectFour()
    one, many = Sampler(policy, slots=1), Sampler(policy, slots=256)
    alone, together = (each.collect(world, world.tasks(3, 5), group_size=2, key=(8, 2), max_tokens=120) for each in (one, many))
    assert_same(alone, together)
    assert one.stats is not None and many.stats is not None
    assert one.stats.steps == one.stats.tokens_sampled == int(alone.action_mask.sum()) > 2 * many.stats.steps
    tight = Sampler(policy, slots=16, cache_tokens=128)  # room for one trajectory: games take it from each other, and a game's seats too
    assert_same(alone, tight.collect(world, world.tasks(3, 5), group_size=2, key=(8, 2), max_tokens=120))
    assert tight.stats is not None and tight.stats.evictions > 5


def test_two_policies_play_against_each_other() -> None:
    world = ConnectFour()
    ours, theirs = make("float32"), make("bfloat16", seed=1)
    games = [
        Sampler(ours, slots=slots).collect(
            world, world.tasks(1, 4), group_size=2, key=(2, 2), max_tokens=120, opponents={1: Sampler(theirs, slots=3)}, record_players=True
        )
        for slots in (1, 100)
    ]
    assert_same(*games)
    for seat, policy in enumerate((ours, theirs)):
        for batch in PackedBatch.pack(games[0].select(games[0].seat == seat), max_tokens=1000):
            assert torch.equal(policy.log_probs(batch), batch.streams["behaviour_logprob"])
