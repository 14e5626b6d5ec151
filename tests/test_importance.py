"""Weights of rollouts that another policy sampled, and the batches that carry them."""

import math

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.importance import ImportanceCorrection, corrected, importance_weights, mismatch
from paradigm.trajectory import TrajectoryBuffer

RATIO = torch.tensor([2.0, 0.25, 1.5, 4.0])


def weights(**options):
    return importance_weights(RATIO.log(), torch.zeros(4), torch.tensor([0, 0, 1, 1]), 2, ImportanceCorrection(**options)).tolist()


def test_by_hand():
    assert weights(high=1.75) == pytest.approx([1.75, 0.25, 1.5, 1.75])
    assert weights(kind="mask", low=0.5, high=3.0) == pytest.approx([2.0, 0.0, 1.5, 0.0])
    # products 0.5 and 6
    assert weights(level="sequence", high=2.0) == pytest.approx([0.5, 0.5, 2.0, 2.0])
    assert weights(level="sequence", kind="mask", low=0.25, high=5.0) == pytest.approx([0.5, 0.5, 0.0, 0.0])


def packed(logprobs, advantage):
    buffer = TrajectoryBuffer.from_arrays(np.arange(8), [0, 4, 8], action_mask=[0, 1, 1, 1] * 2, logprobs=np.asarray(logprobs, np.float32))
    (batch,) = PackedBatch.pack(buffer, 100, advantage=np.asarray(advantage, np.float32), normalize="none")
    return batch


def test_a_corrected_batch_weighs_advantages_and_takes_ratios_to_the_learner():
    batch = packed([-1.0] * 8, [2.0] * 4 + [-1.0] * 4)
    own = torch.tensor([0.0, math.log(2), -math.log(4), math.log(3), 0.0, 0.0]) - 1.0
    changed, metrics = corrected(batch, own, ImportanceCorrection(high=2.0))
    torch.testing.assert_close(changed.streams["advantage"], torch.tensor([2.0, 4.0, 0.5, -2.0, -1.0, -1.0]))
    assert torch.equal(changed.streams["behaviour_logprob"], own)
    assert metrics["importance/cut_sum"] == 1 and metrics["importance/rows"] == 6
    assert metrics["importance/weight_max"].item() == pytest.approx(3.0)
    by_sequence, _ = corrected(batch, own, ImportanceCorrection(level="sequence", kind="mask", low=0.4, high=2.0))
    torch.testing.assert_close(by_sequence.streams["advantage"], torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))


def test_mismatch_by_hand():
    batch = packed([-1.0] * 8, [1.0] * 8)
    metrics = mismatch(batch, torch.tensor([-1.0, -0.5, -1.0, -1.25, -1.0, -1.0]))
    by_hand = math.exp(0.5) - 1 - 0.5 + math.exp(-0.25) - 1 + 0.25
    expected = {"mismatch/rows": 6, "mismatch/distance_sum": 0.75, "mismatch/distance_max": 0.5, "mismatch/k3_sum": by_hand}
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, rel=1e-5)
    assert not any(value for name, value in mismatch(batch, torch.full((6,), -1.0)).items() if name != "mismatch/rows")


def test_without_mismatch_every_weight_is_one_bit_for_bit():
    batch = packed(np.linspace(-3, -0.1, 8), np.linspace(-1, 1, 8))
    for options in ({}, {"kind": "mask", "low": 0.5}, {"level": "sequence"}):
        changed, metrics = corrected(batch, batch.streams["behaviour_logprob"].clone(), ImportanceCorrection(**options))
        assert torch.equal(changed.streams["advantage"], batch.streams["advantage"]) and metrics["importance/cut_sum"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "clip"}, "kind must be 'truncate' or 'mask', got 'clip'"),
        ({"level": "batch"}, "level must be 'token' or 'sequence', got 'batch'"),
        ({"low": 0.5}, "low must be 0 with kind 'truncate'.*got 0.5"),
        ({"kind": "mask", "low": 2.0}, r"low must be in \[0, 1\], got 2"),
        ({"high": 0.5}, "high must be >= 1, got 0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ImportanceCorrection(**options)


def test_a_batch_without_advantages_is_refused():
    buffer = TrajectoryBuffer.from_arrays(np.arange(4), [0, 4], action_mask=[0, 1, 1, 1])
    (batch,) = PackedBatch.pack(buffer, 100, ce=1.0)
    with pytest.raises(ValueError, match="batch must have the stream 'advantage'"):
        corrected(batch, torch.zeros(3), ImportanceCorrection())
