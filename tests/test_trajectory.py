"""Trajectories: views, selection, concatenation and files keep every field."""

import pickle

import numpy as np
import pytest
import torch

from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS, Trajectory, TrajectoryBuffer


def _buffer(seed: int, lengths: list[int]) -> TrajectoryBuffer:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n, b = int(offsets[-1]), len(lengths)
    return TrajectoryBuffer.from_arrays(
        rng.integers(0, 256, n), offsets, action_mask=rng.random(n) < 0.5, rewards=rng.random(n), logprobs=-rng.random(n),
        support=rng.integers(-1, 2, n), support_table=rng.integers(0, 2**32, (2, 9), dtype=np.uint32), values=rng.random(n),
        group=np.arange(b) // 2, task=np.arange(b) // 2, index=rng.permutation(b), stop_reason=rng.integers(0, 5, b),
        tasks=[f"task {i}" for i in range((b + 1) // 2)], key=(7, 3), environment="world", extras={1: {"note": "x"}},
    )  # fmt: skip


def _assert_same(a: Trajectory, b: Trajectory) -> None:
    for name in TOKEN_FIELDS:
        if name == "support":
            masks = [[None if r < 0 else t._buffer.support_table[r].tolist() for r in t.support] for t in (a, b)]
            assert masks[0] == masks[1]
        else:
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in set(SCALAR_FIELDS) - {"group", "task"}:
        assert getattr(a, name) == getattr(b, name), name
    assert a.task == b.task and a.extras == b.extras


def test_views_share_the_buffers_memory_with_numpy_and_torch() -> None:
    buffer = _buffer(0, [3, 4])
    assert np.shares_memory(buffer[1].tokens, buffer.tokens)
    torch.from_numpy(buffer[1].tokens)[0] = 99
    assert buffer.tokens[3] == 99


def test_select_and_concatenate_keep_every_field() -> None:
    a, b = _buffer(1, [3, 0, 5]), _buffer(2, [2, 2])
    both = TrajectoryBuffer.concatenate([a, b])
    assert len(both) == 5 and both.num_tokens == 12
    for i, original in enumerate([*a, *b]):
        _assert_same(both[i], original)
    assert both.group.tolist() == [0, 0, 1, 2, 2]
    _assert_same(both.select([4, 1])[0], b[1])
    assert [t.index for t in a.sorted_by_index()] == [0, 1, 2]


def test_files_and_pickles_round_trip(tmp_path) -> None:
    buffer = _buffer(3, [1, 6, 2])
    buffer.save(tmp_path / "t.safetensors")
    for copy in (TrajectoryBuffer.load(tmp_path / "t.safetensors"), pickle.loads(pickle.dumps(buffer))):
        assert copy.key == (7, 3) and copy.environment == "world"
        for one, other in zip(buffer, copy):
            _assert_same(one, other)
    _assert_same(pickle.loads(pickle.dumps(buffer[1])), buffer[1])


def test_reward_is_the_sum_over_the_trajectorys_own_tokens() -> None:
    buffer = TrajectoryBuffer.from_arrays(np.arange(5), [0, 2, 2, 5], rewards=[1, 0, 0.5, 0, 0.25])
    assert buffer.reward.tolist() == [1.0, 0.0, 0.75]
    assert buffer[2].reward == 0.75
    spoiled = TrajectoryBuffer.from_arrays(np.arange(4), [0, 2, 4], rewards=[np.nan, 0, 1, 0])
    assert np.isnan(spoiled.reward[0]) and spoiled.reward[1] == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offsets": [0, 3]}, "offsets must rise from 0 to the 4 tokens"),
        ({"offsets": [0, 3, 2, 4]}, "offsets must rise"),
        ({"offsets": [0, 4], "rewards": [1.0]}, r"rewards must have shape \[4\], got \[1\]"),
        ({"offsets": [0, 4], "reward": 1.0}, r"got \['reward'\]"),
        ({"offsets": [0, 4], "support": [0, -1, -1, -1]}, "support must index the 0 rows"),
    ],
)
def test_wrong_arrays_are_named(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        TrajectoryBuffer.from_arrays(np.zeros(4), **fields)
