"""Overlapping steps: on the CPU, where they gain nothing, they run by the code of the GPU, and no bit of a rollout may differ."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.async_sampler import AsyncSampler
from paradigm.batch import PackedBatch
from paradigm.environments import Arithmetic, ConnectFour
from paradigm.environments.protocol import Observation, Step
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Banter, Scripted, ask, assert_same, mixed_turns, one_thread, over, random_table  # noqa: F401  # a fixture

VOCAB, MAX_TOKENS = 272, 96


def make(dtype: str = "float32", seed: int = 0) -> Policy:
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=48,
                          initializer_range=0.4, dtype=dtype)  # fmt: skip
    return Policy(config, seed=seed)


def play_turns(policy: Policy, **options: Any) -> tuple[TrajectoryBuffer, Sampler]:
    sampler = Sampler(policy, tokenizer=Tokenizer(), **options)
    forced = {trajectory: [(2, [4, 9]), (7, [13])] for trajectory in range(3, 48, 5) if trajectory // 4 % 4 in (1, 2)}
    buffer = sampler.collect(
        Scripted(mixed_turns), list(range(12)), group_size=4, key=(8, 3), max_tokens=MAX_TOKENS, stop=["q"], forced=forced, threads=2
    )
    return buffer, sampler


def play_arithmetic(policy: Policy, **options: Any) -> tuple[TrajectoryBuffer, Sampler]:
    sampler, world = Sampler(policy, **options), Arithmetic()
    return sampler.collect(world, world.tasks(3, 6), group_size=4, key=(8, 1), max_tokens=60, temperature=0.8, top_k=40, threads=2), sampler


def play_connect_four(policy: Policy, **options: Any) -> tuple[TrajectoryBuffer, Sampler]:
    sampler, world = Sampler(policy, **options), ConnectFour()
    rival = Sampler(make(seed=5), slots=3, overlap=options.get("overlap"))
    return sampler.collect(world, world.tasks(3, 4), group_size=2, key=(8, 2), max_tokens=120, opponents={1: rival}, record_players=True), sampler


@pytest.mark.parametrize("play", [play_turns, play_arithmetic, play_connect_four])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_overlapping_changes_no_bit(dtype: str, play: Callable[..., tuple[TrajectoryBuffer, Sampler]]) -> None:
    policy = make(dtype)
    expected, plain = play(policy, slots=256)
    assert not expected.failed.all()
    assert plain.stats is not None and plain.stats.tokens_ahead == plain.stats.tokens_overrun == 0
    num_ahead = num_overrun = 0
    for slots, options in ((1, {}), (7, {}), (256, {}), (256, {"max_step_tokens": 17}), (16, {"cache_tokens": 160})):
        found, sampler = play(policy, slots=slots, overlap=True, **options)
        assert_same(expected, found)
        stats = sampler.stats
        assert stats is not None and (stats.tokens_sampled, stats.flops) == (plain.stats.tokens_sampled, plain.stats.flops)
        num_ahead, num_overrun = num_ahead + stats.tokens_ahead, num_overrun + stats.tokens_overrun
    own = expected.select(expected.seat == 0)
    for batch in PackedBatch.pack(own, max_tokens=1024):
        assert torch.equal(policy.log_probs(batch), batch.streams["behaviour_logprob"])
    if play is play_connect_four:  # every move is one of the legal ones
        assert num_ahead == num_overrun == 0
    else:
        assert num_ahead > 300 and num_overrun > 20


def test_episodes_that_fail_and_environments_that_take_their_time() -> None:
    policy = random_table()

    def collect(overlap: bool, slots: int, pause_s: float) -> TrajectoryBuffer:
        return Sampler(policy, slots=slots, overlap=overlap).collect(
            Banter(pause_s), list(range(12)), group_size=3, key=(4, 4), temperature=0.9, max_tokens=64, threads=3
        )

    expected = collect(False, 256, 0.0)
    assert expected.failed.any() and not expected.failed.all()
    for slots, pause_s in ((2, 0.0), (9, 0.002), (256, 0.002)):
        assert_same(expected, collect(True, slots, pause_s))


@pytest.mark.parametrize("on_update", ["recompute", "keep"])
def test_weights_change_when_no_step_is_out(on_update: Any) -> None:
    policies = [make(seed=seed) for seed in range(3)]
    sampler = Sampler(make(seed=99), slots=12, overlap=True)
    sampler.update_weights(policies[0], version=100)
    num_steps = 0

    def between_steps() -> None:
        nonlocal num_steps
        if num_steps in (9, 23):
            sampler.update_weights(policies[1 if num_steps == 9 else 2], on_update=on_update)
        num_steps += 1

    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1] * 33 + [task], 30 + task % 5, stop=[3]))
    buffer = sampler.collect(worlds, list(range(8)), group_size=4, key=(3, 1), max_tokens=MAX_TOKENS, between_steps=between_steps, threads=1)
    assert set(buffer.version[buffer.action_mask]) == {100, 101, 102}
    assert sampler.stats is not None and sampler.stats.tokens_ahead > 100
    for batch in PackedBatch.pack(buffer, max_tokens=4096):
        for version, policy in enumerate(policies, start=100):
            own = batch.version == version
            same = policy.log_probs(batch)[own] == batch.streams["behaviour_logprob"][own]
            assert bool(same.all()) or (on_update == "keep" and version > 100)


def test_requests_come_and_go_while_steps_overlap() -> None:
    policy, world = make(), Scripted(lambda task, seed, actions: over() if len(actions) == 2 else ask([task, 7, 9], 9, stop=[3, 8]))
    expected = Sampler(policy, slots=64).collect(world, list(range(30)), group_size=1, key=(5, 5), max_tokens=40)

    async def play() -> dict[int, TrajectoryBuffer]:
        finished = {}
        async with AsyncSampler(Sampler(policy, slots=9, overlap=True), world, key=(5, 5), max_tokens=40) as rollouts:
            requests = []
            for index in range(30):
                requests.append(await rollouts.submit(index, index=index, hold=index % 4 == 0))
                if index % 3 == 2:
                    requests[-1].cancel()
                await asyncio.sleep(0.001 * (index % 2))
            for index, request in enumerate(requests):
                if index % 3 != 2:
                    finished[index] = await request.result()
                if index % 4 == 0:
                    request.release()
        return finished

    finished = asyncio.run(play())
    assert len(finished) == 20
    for index, buffer in finished.items():
        alone = expected.select(np.flatnonzero(expected.index == index))
        assert np.array_equal(buffer.tokens, alone.tokens) and np.array_equal(buffer.logprobs, alone.logprobs)


def test_sequences_are_asked_while_steps_overlap() -> None:
    policy = make()
    answers = []
    for overlap in (False, True):
        with Sampler(policy, slots=6, overlap=overlap).sequences(max_tokens=48, key=(1, 2)) as sequences:
            first = sequences([5, 6, 7])
            drawn = first.sample(max_tokens=9, stop=[3]).result()
            forks = [first.fork() for _ in range(3)]
            told = [fork.sample(max_tokens=6).result() for fork in forks]
            scored = forks[0].score([9, 9, 4]).result()
            answers.append([drawn.tokens, drawn.logprobs, scored.logprobs, *(t.tokens for t in told), *(t.logprobs for t in told)])
    assert all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def test_observations_of_both_seats_behind_an_overrun_token() -> None:
    """The place behind a stop is written again by what the environment says."""
    policy = random_table()

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        if len(actions) == 6:
            return over((0.0, 0.0))
        said = actions[-1] if actions else [task]
        return Step([Observation(said, seat=len(actions) % 2, max_action_tokens=12, stop=list(range(0, 48, 4)))], (0.0, 0.0))

    buffers = []
    for overlap, slots in ((False, 64), (True, 64), (True, 2)):
        sampler = Sampler(policy, slots=slots, overlap=overlap)
        buffers.append(sampler.collect(Scripted(answer, 2), list(range(20)), group_size=2, key=(6, 6), max_tokens=200))
        assert sampler.stats is not None and (sampler.stats.tokens_overrun > 50) == overlap
    assert_same(buffers[0], buffers[1])
    assert_same(buffers[0], buffers[2])
