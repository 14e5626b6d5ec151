"""The sampler at the memory limit: shared prompts, eviction and re-computation change no bit of a token or a log-prob."""

from collections.abc import Callable

import torch

from paradigm.batch import PackedBatch
from paradigm.environments.protocol import Observation, Step
from paradigm.policy import Policy, PolicyConfig
from paradigm.policy_step import PolicyStep
from paradigm.sampler import CollectionStats, Sampler
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, one_thread, over  # noqa: F401  # a fixture

VOCAB = 64
MAX_TOKENS = 96
LEGAL = [(4, 5, 6), (4, 5, 7), (4, 8), (9,), (33, 1)]


def make(dtype: str = "float32", seed: int = 0) -> Policy:
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32,
                          initializer_range=0.5, dtype=dtype)  # fmt: skip
    return Policy(config, seed=seed)


def prompt(task: int, length: int, *, shared: bool) -> list[int]:
    """With `shared`, tasks have 33 tokens in common; else they differ from the second token on."""
    head = [1] * 33 if shared else [2, task % VOCAB, task // VOCAB]
    return (head + [(3 * i + task) % VOCAB for i in range(length)])[:length]


def one_turn(shared: bool) -> Callable[..., Step]:
    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        if actions:
            return over()
        # long actions, so that many sequences grow at once however slowly environments answer
        return ask(prompt(task, 17 + 7 * task % 37, shared=shared), 24 + task % 17, legal=LEGAL if task % 4 == 0 else None)

    return answer


def turns_of_two(shared: bool) -> Callable[..., Step]:
    """Two seats speak by turns, each hearing the other; every other action is one of the legal ones."""

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        turn, given = len(actions), []
        if turn == 4:
            return over((1.0, -1.0))
        if turn == 0:
            given = [Observation(prompt(2 * task + seat, 17 + (7 * task + 16 * seat) % 36, shared=shared), seat=seat) for seat in (0, 1)]
        said = actions[-1] if actions else [task % VOCAB]
        asked = Observation(said, seat=turn % 2, max_action_tokens=6 + task % 17, legal=LEGAL if turn % 2 else None)
        return Step([*given, asked], (0.0, 0.0))

    return answer


def collect(
    policy: Policy, worlds: Scripted, num_episodes: int, group_size: int, slots: int, **options: int
) -> tuple[TrajectoryBuffer, CollectionStats]:
    sampler = Sampler(policy, slots=slots, **options)
    tasks = list(range(num_episodes // group_size))
    buffer = sampler.collect(worlds, tasks, group_size=group_size, key=(4, num_episodes), max_tokens=MAX_TOKENS, temperature=0.9)
    assert sampler.stats is not None and not buffer.failed.any()
    return buffer, sampler.stats


def greatest_difference(policy: Policy, buffer: TrajectoryBuffer) -> float:
    """Between the recorded log-probs and the policy's own of the same weights."""
    batches = PackedBatch.pack(buffer, max_tokens=8192)
    return max(float((policy.log_probs(batch) - batch.streams["behaviour_logprob"]).abs().max()) for batch in batches)


def test_a_groups_prompt_is_prefilled_once_and_again_under_new_weights() -> None:
    policy, worlds = make(), Scripted(lambda task, seed, actions: over() if actions else ask(prompt(task, 70, shared=False), 9))
    for slots, max_step_tokens in ((256, 2048), (3, 2048), (256, 13)):
        with torch.no_grad():
            policy.model.layers[0].mlp.down_proj.weight.mul_(-1)
        buffer, stats = collect(policy, worlds, 24, 8, slots, max_step_tokens=max_step_tokens)
        assert (stats.prefixes_shared, stats.evictions) == (3 * 7, 0)
        # all where who has the prompt is fed it now, all but the last token where it was before, or 4 blocks of 16 if it has left
        assert 3 * 7 * 64 < stats.tokens_shared <= 3 * 7 * 70 and (stats.tokens_shared == 3 * 7 * 70 or (slots, max_step_tokens) != (256, 2048))
        assert stats.tokens_prefilled == 24 * 70 - stats.tokens_shared and stats.tokens_sampled == 24 * 9
        assert greatest_difference(policy, buffer) == 0.0
        alone, unshared = collect(policy, worlds, 24, 8, 1, block_size=80)
        assert_same(buffer, alone)
        assert unshared.prefixes_shared == 0 and unshared.flops == stats.flops


def test_no_log_prob_differs_over_10_000_trajectories_with_eviction() -> None:
    num_trajectories = 0
    for dtype, share in (("float32", 2), ("bfloat16", 1)):
        policy = make(dtype)
        for shared in (True, False):
            for num_seats, turns, num_episodes in ((1, one_turn, 384 * share), (2, turns_of_two, 96 * share)):
                worlds, buffers = Scripted(turns(shared), num_seats), []
                for slots, cache_tokens in ((1, MAX_TOKENS), (7, 2 * MAX_TOKENS), (256, 3 * MAX_TOKENS)):
                    buffer, stats = collect(
                        policy, worlds, num_episodes, 8 if shared else 1, slots, cache_tokens=cache_tokens, max_step_tokens=512 if slots == 1 else 61
                    )
                    if shared:
                        assert stats.prefixes_shared > len(buffer) // 2
                    else:  # nobody finds a prompt but its own, after an eviction
                        assert stats.prefixes_shared <= stats.evictions
                    assert (stats.evictions > 0) == (stats.tokens_recomputed > 0) == (slots * num_seats > 1)
                    assert greatest_difference(policy, buffer) == 0.0
                    buffers.append(buffer)
                    num_trajectories += len(buffer)
                assert (buffers[0].support >= 0).any() and (buffers[0].support[buffers[0].action_mask] < 0).any()
                for buffer in buffers[1:]:
                    assert_same(buffers[0], buffer)
    assert num_trajectories >= 10_000


def test_blocks_are_copied_in_the_order_asked_for() -> None:
    policy = make()
    swaps = [("copy", 0, [1, 2]), ("copy", 1, [1, 3]), ("copy", 2, [2, 4]), ("copy", 3, [5, 2]), ("copy", 4, [4, 1])]
    caches = [policy.new_cache(6, 16) for _ in range(2)]
    for blocks, drawn in zip((caches[0].keys, caches[0].values), (1, 2)):
        blocks.copy_(torch.randn(blocks.shape, generator=torch.Generator().manual_seed(drawn)))
    caches[1].keys.copy_(caches[0].keys), caches[1].values.copy_(caches[0].values)
    PolicyStep(policy, caches[0], is_exact=True)._copy_blocks(caches[0], swaps)
    for _, _, (source, to) in swaps:
        for blocks in (caches[1].keys, caches[1].values):
            blocks[:, to] = blocks[:, source]
    assert torch.equal(caches[0].keys, caches[1].keys) and torch.equal(caches[0].values, caches[1].values)
