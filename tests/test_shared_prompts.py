"""Shared prompts: found where groups have them, packed once without a bit changed, and counted once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm.batch import PackedBatch
from paradigm.sampler import Sampler
from paradigm.shared_prompts import rollout_flops, shared_prompt_lengths, tree
from paradigm.trajectory import TrajectoryBuffer
from tests.policy_cases import make
from tests.sampler_cases import Scripted, ask, over


def buffer_of(rows, groups, **fields) -> TrajectoryBuffer:
    """Rows of text in which what follows a bar is action: "ab|cd"."""
    prompts, texts = [row.index("|") for row in rows], [row.replace("|", "") for row in rows]
    mask = [i >= prompt for prompt, text in zip(prompts, texts) for i in range(len(text))]
    offsets = np.cumsum([0, *map(len, texts)])
    return TrajectoryBuffer.from_arrays([ord(c) % 96 for c in "".join(texts)], offsets, action_mask=mask, group=groups, **fields)


def test_the_common_prompt_ends_where_anyone_acts_or_differs() -> None:
    rows = ["abcd|xy", "abc|dxy", "abcd|z", "abXd|z", "abcd|x", "|xy", "|xy", "ab|c", "ab|c"]
    buffer = buffer_of(rows, [0, 0, 1, 1, 2, 3, 3, 4, 4], seat=[0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert shared_prompt_lengths(buffer, np.arange(9)).tolist() == [3, 3, 2, 2, 0, 0, 0, 0, 0], "a seat is compared with the same seat only"
    assert shared_prompt_lengths(buffer, np.array([0, 4])).tolist() == [0, 0]
    assert shared_prompt_lengths(buffer, np.array([], np.int64)).tolist() == []
    whole = TrajectoryBuffer.from_arrays([1, 2, 1, 2], [0, 2, 4], group=[0, 0])  # no actions: the last token stays each one's own
    assert shared_prompt_lengths(whole, np.arange(2)).tolist() == [1, 1]


def test_a_tree_by_hand() -> None:
    built = tree([[0, 1], [2]], np.array([5, 4, 3]), np.array([3, 3, 0]))
    assert built.trajectory.tolist() == [0, 0, 1, 2] and built.parent.tolist() == [-1, 0, 0, -1] and built.own.tolist() == [1, 2, 3]
    assert built.start.tolist() == [0, 3, 3, 0] and built.stop.tolist() == [3, 5, 4, 3] and built.lengths.tolist() == [3, 2, 1, 3]


def test_a_packed_group_by_hand() -> None:
    buffer = buffer_of(["abc|xy", "abc|z", "k|l"], [7, 7, 9])
    (batch,) = PackedBatch.pack(buffer, 16, share_prompts=True, advantage=1.0)
    assert "".join(chr(t) for t in batch.tokens + 0) == "".join(chr(ord(c) % 96) for c in "abcxyzkl")
    assert batch.layout.lengths == [3, 2, 1, 2] and batch.layout.parent == [-1, 0, 0, -1]
    assert batch.layout.positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 1]
    assert batch.position.tolist() == [2, 3, 2, 6] and batch.trajectory.tolist() == [0, 0, 1, 2], "two first actions are predicted from one place"
    assert batch.document.tolist() == [1, 1, 2, 3] and batch.to("cpu").document.tolist() == [1, 1, 2, 3]
    assert [chr(t + 96 if t < 32 else t) for t in batch.target.tolist()] == list("xyzl")
    (every,) = PackedBatch.pack(buffer, 16, share_prompts=True, rows="all")
    assert every.position.tolist() == [0, 1, 2, 3, 0, 1, 2, 6] and every.document.tolist() == [1, 1, 1, 1, 2, 2, 2, 3]
    cut = PackedBatch.pack(buffer, 5, share_prompts=True, advantage=1.0)
    assert sorted(b.num_tokens for b in cut) == [2, 4, 5]
    with pytest.raises(ValueError, match="share_prompts must be False with pairs"):
        PackedBatch.pack(buffer, 16, share_prompts=True, pairs=[[0, 1]])


@given(st.lists(st.tuples(st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=6), st.integers(21, 80))
@settings(max_examples=25, deadline=None)
def test_no_log_prob_changes(groups, max_tokens) -> None:
    """Groups of (prompt length, lengths of the responses)."""
    rng, policy = np.random.default_rng(len(groups) * max_tokens), make(num_layers=2)
    tokens, mask, offsets, group = [], [], [0], []
    for number, (prompt_length, responses) in enumerate(groups):
        prompt = rng.integers(0, 96, prompt_length).tolist()
        for length in responses:
            tokens += prompt + rng.integers(0, 96, length).tolist()
            mask += [False] * prompt_length + [True] * length
            offsets.append(len(tokens))
            group.append(number)
    buffer = TrajectoryBuffer.from_arrays(tokens, offsets, action_mask=mask, group=group)
    found = []
    for share in (False, True):
        batches = PackedBatch.pack(buffer, max_tokens, share_prompts=share, advantage=1.0 + np.arange(len(tokens)))
        assert all(b.num_tokens <= max_tokens for b in batches)
        rows = [(b.streams["advantage"], b.trajectory, b.target, policy.log_probs(b)) for b in batches]
        columns = [torch.cat(column) for column in zip(*rows)]
        order = torch.argsort(columns[0])  # every token has another advantage
        found.append([column[order] for column in columns])
        assert sum(b.num_tokens for b in batches) <= len(tokens)
    for apart, shared in zip(*found, strict=True):
        assert torch.equal(apart, shared)


def test_a_groups_prompt_counts_once_in_a_collections_flops() -> None:
    """3 tasks of 4 rollouts: a prompt of 20 tokens, 5 actions of which the last is not fed."""
    policy = make(num_layers=2)
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task, *range(19)], 5))
    sampler = Sampler(policy)
    rollouts = sampler.collect(worlds, [1, 2, 3], group_size=4, max_tokens=40)
    weights = 2 * (48 * 64 + 2 * 48 * 32 + 64 * 48 + 3 * 48 * 80)
    tokens = 3 * (20 + 4 * 4)
    pairs = 3 * (20 * 21 // 2 + 4 * (21 + 22 + 23 + 24))
    expected = 2 * weights * tokens + 2 * 96 * 48 * (12 * 5) + 4 * 4 * 16 * pairs * 2
    assert sampler.stats is not None and sampler.stats.flops == expected
    alone = Sampler(policy)
    alone.collect(worlds, [1, 2, 3], group_size=1, max_tokens=40)
    assert alone.stats is not None and expected < 4 * alone.stats.flops
    # with a window of 8, and every rollout on its own
    narrow = make("qwen2", num_layers=1, sliding_window=8, layer_types=("sliding_attention",))
    within = 12 * (8 * 9 // 2 + 16 * 8) - 9 * (8 * 9 // 2 + 12 * 8)
    fed_once = rollout_flops(narrow, rollouts, [0])
    linear = 2 * (weights // 2) * tokens + 2 * 96 * 48 * (12 * 5)
    assert fed_once == linear + 4 * 4 * 16 * within
    assert rollout_flops(narrow, rollouts, [1]) == 0 and rollout_flops(object(), rollouts, [0]) == 0
