"""Weights that change under unfinished rollouts, with shared prompts and eviction: whose log-prob and version each token carries."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.environments.protocol import Step
from paradigm.kernels.layout import Layout
from paradigm.learner import Learner
from paradigm.objective import PPOClip
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import CollectionStats, Sampler
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, one_thread, over  # noqa: F401  # a fixture

VOCAB, MAX_TOKENS = 64, 128


def make(seed: int, dtype: str = "float32") -> Policy:
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32,
                          initializer_range=0.5, dtype=dtype)  # fmt: skip
    return Policy(config, seed=seed)


def two_turns(task: int, seed: int, actions: list[list[int]]) -> Step:
    """Prompts of several blocks, of which the first two are everybody's; long actions; one observation between them."""
    if len(actions) == 2:
        return over()
    return ask([1] * 33 + [task] * 5 if not actions else [2, 3, 4], 24 + task % 5, legal=[(4, 5), (6,)] if task == 3 and not actions else None)


def collect(
    policies: list[Policy], every: int, on_update: Literal["recompute", "keep"], **options: Any
) -> tuple[TrajectoryBuffer, CollectionStats]:
    """Collects with the first policy's weights, and after each `every` steps goes on to the next one's."""
    sampler = Sampler(make(seed=99, dtype=policies[0].config.dtype), **options)
    sampler.update_weights(policies[0], version=100)
    num_steps = 0

    def between_steps() -> None:
        nonlocal num_steps
        if num_steps % every == 0 and 0 < num_steps // every < len(policies):
            assert sampler.update_weights(policies[num_steps // every], on_update=on_update) == 100 + num_steps // every
        num_steps += 1

    buffer = sampler.collect(
        Scripted(two_turns), list(range(6)), group_size=4, key=(3, 1), max_tokens=MAX_TOKENS, temperature=0.9, between_steps=between_steps, threads=1
    )
    assert sampler.stats is not None and not buffer.failed.any()
    assert (np.unique(buffer.version[buffer.action_mask]) == np.arange(100, 100 + len(policies))).all()
    return buffer, sampler.stats


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{"slots": 24}, {"slots": 24, "cache_tokens": 2 * MAX_TOKENS, "max_step_tokens": 61}], ids=["roomy", "evicting"])
def test_after_an_update_with_recomputation_log_probs_are_the_new_weights_bit_for_bit(dtype: str, options: dict[str, int]) -> None:
    policies = [make(seed, dtype) for seed in range(3)]
    buffer, stats = collect(policies, 20, "recompute", **options)
    assert stats.prefixes_shared > 20 and stats.tokens_recomputed > 500 and stats.swaps == 0 and (stats.evictions > 0) == (len(options) > 1)
    num_mixed = 0
    for batch in PackedBatch.pack(buffer, max_tokens=4096):
        for version, policy in enumerate(policies, start=100):
            own = batch.version == version
            assert torch.equal(policy.log_probs(batch)[own], batch.streams["behaviour_logprob"][own])
        for row in range(batch.num_sequences):
            num_mixed += len(batch.version[batch.document == row].unique()) > 1
    assert num_mixed > 5, "trajectories must continue across updates"


def kept_log_probs(policies: list[Policy], trajectory: Any, temperature: float) -> np.ndarray:
    """What a trajectory's drawn tokens come to if each token's keys and values are made by the weights of when it was fed, and stay.

    The token at a place was fed in the step that drew the next one, so under that one's version; prompts and observations with the token
    drawn behind them. One token a call, over a cache of its own; the trajectory was fed from its beginning without a break in versions.
    """
    cache = policies[0].new_cache(1 + -(-len(trajectory) // 16), 16)
    table = torch.arange(1, cache.num_blocks, dtype=torch.int32)[None]
    drawn = np.flatnonzero(trajectory.action_mask)
    expected = np.zeros(len(trajectory), np.float32)
    with torch.no_grad():
        for place in range(len(trajectory) - 1):
            behind = drawn[drawn > place]
            if not len(behind):
                break
            policy = policies[trajectory.version[behind[0]] - 100]
            layout = Layout.paged(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([place], dtype=torch.int32),
                                  torch.tensor([place + 1], dtype=torch.int32), torch.zeros(1, dtype=torch.int32), table, cache)  # fmt: skip
            hidden = policy(torch.tensor([trajectory.tokens[place]]), layout)
            if trajectory.action_mask[place + 1]:
                logits = policy.logits(hidden)[0].double() / temperature
                expected[place + 1] = torch.log_softmax(logits, 0)[trajectory.tokens[place + 1]]
    return expected


def test_kept_contexts_stay_what_they_were_also_when_they_are_copied_out_of_the_cache_and_back() -> None:
    policies = [make(seed) for seed in range(3)]
    roomy, stats = collect(policies, 20, "keep", slots=24)
    assert stats.evictions == stats.swaps == stats.tokens_recomputed == 0
    num_mixed = 0
    for trajectory in roomy:
        if trajectory.support.max() >= 0:
            continue  # its log-probs are over the legal tokens alone
        np.testing.assert_allclose(trajectory.logprobs, kept_log_probs(policies, trajectory, 0.9), atol=2e-5, err_msg=str(trajectory.index))
        num_mixed += len(np.unique(trajectory.version[trajectory.action_mask])) > 1
    assert num_mixed > 10
    for batch in PackedBatch.pack(roomy, max_tokens=4096):
        first, behaviour = batch.version == 100, batch.streams["behaviour_logprob"]
        assert torch.equal(policies[0].log_probs(batch)[first], behaviour[first])
        assert not torch.equal(policies[2].log_probs(batch)[batch.version == 102], behaviour[batch.version == 102])


def test_a_swapped_sequence_goes_on_as_if_it_had_stayed() -> None:
    """One update at the first step, before which all have been prefilled: its context is as old in either cache."""

    def run(**options: int) -> tuple[TrajectoryBuffer, CollectionStats]:
        sampler = Sampler(make(seed=0), slots=6, **options)
        seen = []

        def between_steps() -> None:
            seen.append(sampler._at_work[0].core.counters(0)["tokens_sampled"])  # type: ignore[index]
            if sampler.version == 0 and seen[-1] == 6:
                sampler.update_weights(make(seed=1), on_update="keep")

        worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task] * 6, 80))
        buffer = sampler.collect(worlds, list(range(6)), group_size=1, max_tokens=96, between_steps=between_steps, threads=1)
        assert sampler.stats is not None and 6 in seen
        return buffer, sampler.stats

    (stayed, roomy), (swapped, tight) = run(), run(cache_tokens=160)
    assert roomy.swaps == 0 and tight.swaps == tight.evictions > 3 and tight.tokens_recomputed == 0
    assert_same(stayed, swapped)
    assert (stayed.version[stayed.action_mask].reshape(6, 80) == [0] + [1] * 79).all()


def test_the_objective_sees_each_tokens_own_behaviour_log_prob_and_version() -> None:
    policies = [make(seed) for seed in range(2)]
    buffer, _ = collect(policies, 20, "recompute", slots=24)
    batches = PackedBatch.pack(buffer, max_tokens=8192, advantage=1.0)
    (batch,) = batches
    at = np.flatnonzero(buffer.action_mask)
    order = torch.argsort(batch.trajectory, stable=True)
    assert np.array_equal(batch.version[order].numpy(), buffer.version[at])
    assert np.array_equal(batch.streams["behaviour_logprob"][order].numpy(), buffer.logprobs[at])
    metrics = Learner(policies[1]).forward_backward(batch, PPOClip(clip_high=1e9))
    ratio = (policies[1].log_probs(batch) - batch.streams["behaviour_logprob"]).exp()
    assert (ratio[batch.version == 101] == 1).all() and (ratio[batch.version == 100] != 1).any()
    assert metrics["policy/ratio_max"].item() == pytest.approx(float(ratio.max()), rel=1e-4)


def test_updates_between_collections_and_what_is_refused() -> None:
    sampler, other = Sampler(make(0)), make(1)
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task], 5))
    assert sampler.update_weights(dict(other.state_dict())) == 1
    buffer = sampler.collect(worlds, [1, 2], group_size=2, max_tokens=20)
    assert (buffer.version[buffer.action_mask] == 1).all()
    expected = Sampler(other).collect(worlds, [1, 2], group_size=2, max_tokens=20)
    assert np.array_equal(buffer.logprobs, expected.logprobs)
    narrow = {**other.state_dict(), "model.norm.weight": torch.ones(8)}
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: sampler.update_weights(narrow), r"weights\['model.norm.weight'\] must have shape \[16\], got \[8\]"),
        (lambda: sampler.update_weights({}), "missing or unexpected"),
        (lambda: sampler.update_weights(3), "weights must be a module, tensors by name or a function, got int"),  # type: ignore[arg-type]
        (lambda: sampler.update_weights(other, 1), "version must be greater than 1, got 1"),
        (lambda: sampler.update_weights(other, on_update="drop"), "on_update must be 'recompute' or 'keep', got 'drop'"),  # type: ignore[arg-type]
    ]
    for attempt, message in refused:
        with pytest.raises(ValueError, match=message):
            attempt()
    assert sampler.version == 1 and torch.equal(sampler.policy.head_weight, other.head_weight)


def test_an_opponents_weights_may_change_too() -> None:
    """Two policies play by turns; only the one whose weights changed is fed again."""

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        return over((0.0, 0.0)) if len(actions) == 6 else ask([task, len(actions)], 8, (0.0, 0.0), seat=len(actions) % 2)

    ours, theirs, later = Sampler(make(0)), Sampler(make(1)), make(2)
    num_steps = 0

    def between_steps() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 25:
            theirs.update_weights(later)

    buffer = ours.collect(Scripted(answer, 2), [1, 2, 3], group_size=2, opponents={1: theirs}, record_players=True, max_tokens=60,
                          between_steps=between_steps, threads=1)  # fmt: skip
    for seat, policies in ((0, [make(0)]), (1, [make(1), later])):
        for batch in PackedBatch.pack(buffer.select(buffer.seat == seat), max_tokens=1000):
            for version, policy in enumerate(policies):
                own = batch.version == version
                assert own.any() and torch.equal(policy.log_probs(batch)[own], batch.streams["behaviour_logprob"][own])
            assert batch.version.max() == len(policies) - 1
    twin = Sampler(ours.policy)
    with pytest.raises(ValueError, match="two samplers at work have the same policy"):
        ours.collect(Scripted(answer, 2), [1], opponents={1: twin}, max_tokens=60, between_steps=lambda: ours.update_weights(later) and None)
