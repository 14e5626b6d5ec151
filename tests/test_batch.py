"""Packing: nothing lost, nothing padded, weights that add up whatever the cut."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm.batch import PackedBatch
from paradigm.kernels.layout import Layout
from paradigm.trajectory import TrajectoryBuffer


def _documents(lengths, **fields) -> TrajectoryBuffer:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TrajectoryBuffer.from_arrays(np.arange(offsets[-1]) % 251, offsets, **fields)


def test_lognormal_lengths_leave_at_most_two_percent_unfilled() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(180), 1.0, 5000)).astype(int), 1, 4096)
    batches = PackedBatch.pack(_documents(lengths), 16_384, rows="all")
    filled = [b.num_tokens for b in batches]
    assert sum(filled) == lengths.sum() and max(filled) <= 16_384
    assert 1 - sum(filled) / (16_384 * len(batches)) <= 0.02


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(40, 90))
@settings(max_examples=60, deadline=None)
def test_every_token_is_packed_once_and_predicted_by_the_one_before(lengths, max_tokens) -> None:
    buffer = _documents(lengths)
    batches = PackedBatch.pack(buffer, max_tokens, rows="all")
    assert all(b.num_tokens <= max_tokens for b in batches)
    packed = sorted(tuple(doc.tolist()) for b in batches for doc in np.split(b.tokens.numpy(), b.layout.cu_seqlens[1:-1].tolist()))
    assert packed == sorted(tuple(t.tokens.tolist()) for t in buffer if len(t) > 1)
    for b in batches:
        assert (b.tokens[b.position + 1] == b.target).all()
        starts = set(b.layout.cu_seqlens[:-1].tolist())
        assert not starts & set((b.position + 1).tolist()), "a row predicts across a boundary"
    rows = sum(b.num_rows for b in batches)
    assert rows == sum(max(n - 1, 0) for n in lengths)
    if rows:
        assert sum(float(b.streams["ce"].sum()) for b in batches) == pytest.approx(1.0, abs=1e-5)


def test_only_action_rows_with_weight_are_kept_and_shares_do_not_depend_on_the_cut() -> None:
    mask = np.array([0, 1, 1, 0, 1, 0, 1, 1], bool)
    buffer = TrajectoryBuffer.from_arrays(np.arange(8), [0, 5, 8], action_mask=mask, logprobs=-np.arange(8.0), version=np.arange(8))
    (whole,) = PackedBatch.pack(buffer, 8, advantage=[1.0, -2.0])
    assert whole.position.tolist() == [0, 1, 3, 5, 6] and whole.target.tolist() == [1, 2, 4, 6, 7]
    assert whole.streams["advantage"].tolist() == pytest.approx([0.2, 0.2, 0.2, -0.4, -0.4])
    assert whole.streams["behaviour_logprob"].tolist() == [-1, -2, -4, -6, -7]
    assert whole.version.tolist() == [1, 2, 4, 6, 7] and whole.trajectory.tolist() == [0, 0, 0, 1, 1]
    parts = PackedBatch.pack(buffer, 5, advantage=[1.0, -2.0])
    assert [b.streams["advantage"].tolist() for b in parts] == [pytest.approx([0.2] * 3), pytest.approx([-0.4] * 2)]
    (zero_weight_dropped,) = PackedBatch.pack(buffer, 8, advantage=[0.0, -2.0])
    assert zero_weight_dropped.streams["advantage"].tolist() == pytest.approx([-0.4, -0.4]), "absent rows still count"
    assert zero_weight_dropped.tokens.tolist() == [5, 6, 7], "a trajectory without rows costs no compute"
    (per_trajectory,) = PackedBatch.pack(buffer, 8, normalize="trajectories", advantage=[1.0, 1.0])
    assert per_trajectory.streams["advantage"].tolist() == pytest.approx([1 / 6] * 3 + [1 / 4] * 2)


def test_failed_trajectories_are_never_trained_on() -> None:
    buffer = _documents([4, 4], failed=[True, False], action_mask=True)
    (batch,) = PackedBatch.pack(buffer, 8)
    assert batch.num_tokens == 4 and batch.trajectory.unique().tolist() == [1]
    assert float(batch.streams["ce"].sum()) == pytest.approx(1.0)


def test_arrival_order_does_not_change_the_batches() -> None:
    rng = np.random.default_rng(1)
    buffer = _documents(rng.integers(1, 30, 40))
    shuffled = buffer.select(rng.permutation(40))
    for one, other in zip(PackedBatch.pack(buffer, 64, rows="all"), PackedBatch.pack(shuffled, 64, rows="all")):
        assert (one.tokens == other.tokens).all() and (one.position == other.position).all()


def test_bad_input_is_named() -> None:
    buffer = _documents([5, 9], action_mask=True)
    with pytest.raises(ValueError, match=r"max_tokens must hold the longest trajectory \(9 tokens\), got 8"):
        PackedBatch.pack(buffer, 8)
    with pytest.raises(ValueError, match="advantage must be a number"):
        PackedBatch.pack(buffer, 16, advantage=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="normalize must be"):
        PackedBatch.pack(buffer, 16, normalize="mean")
    with pytest.raises(ValueError, match="temperature must be the same"):
        PackedBatch.pack(_documents([2, 2], action_mask=True, temperature=[1.0, 0.5]), 16)


def test_a_batch_moves_with_what_the_host_knows_of_its_layout() -> None:
    [batch] = PackedBatch.pack(_documents([5, 3, 9]), 32, rows="all")
    batch = dataclasses.replace(batch, layout=Layout(batch.layout.cu_seqlens, parent=[-1, 0, 0]))
    moved = batch.to("meta")  # holds no numbers: nothing can have been read back
    tensors = (moved.tokens, moved.target, moved.layout.cu_seqlens, moved.layout.positions, *moved.streams.values())
    assert all(t.is_meta for t in tensors) and not batch.layout.cu_seqlens.is_meta
    assert (moved.layout.lengths, moved.layout.parent, moved.layout.max_length) == ([5, 3, 9], [-1, 0, 0], 9)


def test_groups_count_the_same_however_long_they_are():
    # group 0 has 3 + 1 actions, group 1 has 2: rows of 1 / (2 * 4) and 1 / (2 * 2)
    buffer = TrajectoryBuffer.from_arrays(np.arange(9), [0, 4, 6, 9], action_mask=[0, 1, 1, 1, 0, 1, 0, 1, 1], group=[0, 0, 1])
    (batch,) = PackedBatch.pack(buffer, 100, normalize="groups", advantage=1.0)
    assert batch.streams["advantage"].tolist() == [0.125] * 4 + [0.25] * 2
    assert batch.document.tolist() == [0, 0, 0, 1, 2, 2]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(40, 90), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_ranks_share_a_set_whose_counts_are_the_wholes(lengths, max_tokens, ranks) -> None:
    buffer = _documents(lengths)
    whole = PackedBatch.pack(buffer, max_tokens, rows="all", normalize="trajectories", ce=1.0)
    shares = [PackedBatch.pack(buffer, max_tokens, rows="all", normalize="trajectories", share=(r, ranks), ce=1.0) for r in range(ranks)]
    assert len({len(share) for share in shares}) == 1, "equally many batches each"
    assert all(b.num_tokens <= max_tokens for share in shares for b in share)

    def rows(batches):
        found = [zip(b.trajectory.tolist(), b.target.tolist(), b.streams["ce"].tolist()) for b in batches]
        return sorted(row for batch in found for row in batch)

    assert rows(b for share in shares for b in share) == rows(whole), "every row once, with the weight that it has in the whole"
    loads = [sum(b.num_tokens for b in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths), "dealt by tokens"


def test_ranks_share_whole_pairs() -> None:
    buffer = _documents([4, 3, 5, 2, 6, 3, 7], action_mask=np.ones(30, bool))
    pairs = [[0, 1], [2, 1], [3, 4], [5, 6]]
    shares = [PackedBatch.pack(buffer, 30, pairs=pairs, share=(r, 4)) for r in range(4)]
    assert [len(share) for share in shares] == [1] * 4
    found = [np.unique(b.trajectory.numpy())[b.pairs.numpy()].tolist() for (b,) in shares]
    assert sorted(pair for part in found for pair in part) == sorted(pairs) and [] in found
    assert sum(float(b.pair_weight.sum()) for (b,) in shares) == 1
