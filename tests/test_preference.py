"""Pairs of trajectories: DPO, the reward model's loss, how pairs are packed, and that the learner trains on them."""

import math

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.learner import Learner
from paradigm.preference import DPO, BradleyTerry, best_and_worst
from paradigm.trajectory import TrajectoryBuffer
from tests.learner_cases import VOCABULARY, Bigram, documents, small_policy
from tests.objective_cases import assert_derivatives, batch_of, random_sequences

PAIRS = [[0, 1], [3, 2], [3, 5]]


def test_dpo_by_hand():
    # gains over the reference 0.5 and -0.5 with beta 1: margin 1
    logprob = torch.tensor([-0.75, -0.75, -1.5], dtype=torch.float64)
    batch = batch_of((2, 1), [[0, 1]])
    rows = DPO(beta=1.0).coefficients(logprob, torch.zeros(3), {"reference_logprob": torch.full_like(logprob, -1.0)}, batch)
    assert rows.loss.tolist() == pytest.approx([math.log(1 + math.exp(-1)), 0, 0])
    slope = 1 / (1 + math.exp(1))
    assert rows.dlogprob.tolist() == pytest.approx([-slope, -slope, slope])
    assert rows.metrics["preference/accuracy_sum"] == 1 and rows.metrics["preference/margin_sum"] == pytest.approx(1)


def test_bradley_terry_by_hand():
    batch = batch_of((1, 1), [[1, 0]])
    head = torch.tensor([2.0, 1.0], dtype=torch.float64)
    rows = BradleyTerry(center=0.5).coefficients(torch.zeros(0), torch.zeros(0), {"head": head}, batch)
    # scores 1 preferred to 2: -log sigmoid(-1) + 0.5 * 9
    assert rows.loss.sum().item() == pytest.approx(math.log(1 + math.exp(1)) + 4.5)
    slope = 1 / (1 + math.exp(-1))
    assert rows.dhead.tolist() == pytest.approx([slope + 3, -slope + 3])


@pytest.mark.parametrize("objective", [DPO(), DPO(beta=2.0, label_smoothing=0.2)], ids=repr)
def test_dpo_against_autograd(objective):
    batch = batch_of(pairs=PAIRS)

    def loss(logprob, entropy, streams):
        total = 0.0
        gain = [(logprob - streams["reference_logprob"])[batch.document == b].sum() for b in range(batch.num_sequences)]
        for preferred, other in PAIRS:
            margin = objective.beta * (gain[preferred] - gain[other])
            e = objective.label_smoothing
            total = total - (1 - e) * torch.log(torch.sigmoid(margin)) - e * torch.log(torch.sigmoid(-margin))
        return total / len(PAIRS)

    logprob, entropy, streams = random_sequences()
    del streams["head"]
    assert_derivatives(objective, loss, batch, logprob, entropy, streams)


def test_bradley_terry_against_autograd():
    batch, objective = batch_of(pairs=PAIRS), BradleyTerry(center=0.1)

    def loss(logprob, entropy, streams):
        s = streams["head"]
        return sum(-torch.log(torch.sigmoid(s[w] - s[l])) + 0.1 * (s[w] + s[l]) ** 2 for w, l in PAIRS) / len(PAIRS) + 0.0 * logprob.sum()

    head = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_derivatives(objective, loss, batch, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), {"head": head})


def test_best_and_worst_of_each_group():
    buffer = TrajectoryBuffer.from_arrays(
        np.zeros(9), np.arange(10), rewards=[1, 3, 2, 5, 5, 0, 9, 1, 2], group=[0, 0, 0, 1, 1, 2, 2, 3, 3], failed=[0, 0, 0, 0, 0, 0, 1, 0, 0],
    )  # fmt: skip
    assert best_and_worst(buffer).tolist() == [[1, 0], [8, 7]]
    assert best_and_worst(buffer).dtype == np.int32 and best_and_worst(buffer.select([3, 4])).shape == (0, 2)


def test_joined_pairs_lie_in_one_batch_and_cutting_changes_nothing():
    buffer = documents(n=9)
    pairs = np.array([[0, 1], [1, 2], [3, 4], [6, 5]])
    whole = PackedBatch.pack(buffer, 1000, rows="all", pairs=pairs)
    parts = PackedBatch.pack(buffer, int(buffer.lengths[:3].sum()), rows="all", pairs=pairs)
    assert len(whole) == 1 and len(parts) > 1
    for batches in (whole, parts):
        assert sorted(_trajectories(batch)[pair].tolist() for batch in batches for pair in batch.pairs) == pairs.tolist()
        assert all((batch.pair_weight == 0.25).all() for batch in batches)
    assert all(batch.pairs.dtype == torch.int32 and not {7, 8} & set(_trajectories(batch).tolist()) for batch in whole + parts)
    gradients = []
    for batches in (whole, parts):
        learner = Learner(Bigram())
        for batch in batches:
            streams = {**batch.streams, "reference_logprob": torch.full((batch.num_rows,), -2.0)}
            learner.forward_backward(PackedBatch(**{**vars(batch), "streams": streams}), DPO())
        gradients.append([p.grad.clone() for name, p in learner.policy.named_parameters() if not name.startswith("heads")])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def _trajectories(batch):
    return batch.trajectory[torch.searchsorted(batch.document, torch.arange(batch.num_sequences))]


@pytest.mark.parametrize("kind", [Bigram, lambda: small_policy(heads=("reward",))], ids=["module", "policy"])
def test_the_learner_trains_a_reward_head_at_last_tokens(kind):
    # the preferred of a pair ends in token 1, the other in token 2
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, VOCABULARY, 40)
    tokens[4::5] = np.arange(8) % 2 + 1
    buffer = TrajectoryBuffer.from_arrays(tokens, np.arange(9) * 5)
    policy = kind()
    if "reward" not in policy.heads:
        policy.heads["reward"] = torch.nn.Linear(8, 1)
    learner = Learner(policy, learning_rate=0.05)
    batches = PackedBatch.pack(buffer, 20, rows="none", pairs=np.arange(8).reshape(4, 2))
    assert sum(batch.num_rows for batch in batches) == 0 and len(batches) == 2
    losses = []
    for _ in range(20):
        metrics = [learner.forward_backward(batch, BradleyTerry()) for batch in batches]
        losses.append(sum(m["train/loss"].item() for m in metrics))
        learner.step()
    assert losses[-1] < 0.1 * losses[0]
    assert sum(m["preference/accuracy_sum"].item() for m in metrics) == 4


def test_dpo_moves_probability_from_the_other_to_the_preferred():
    buffer = documents(n=4, seed=2)
    learner = Learner(Bigram(), learning_rate=0.02)
    (batch,) = PackedBatch.pack(buffer, 1000, rows="all", pairs=[[0, 1], [2, 3]])
    with torch.no_grad():
        hidden = learner.policy(batch.tokens, batch.layout)[batch.position]
        known = (hidden @ learner.policy.head_weight.t()).log_softmax(1).gather(1, batch.target[:, None]).squeeze(1)
    batch = PackedBatch(**{**vars(batch), "streams": {**batch.streams, "reference_logprob": known}})
    first = learner.forward_backward(batch, DPO())
    assert first["train/loss"].item() == pytest.approx(math.log(2), rel=1e-5) and first["preference/margin_sum"].abs() < 1e-5
    learner.step()
    for _ in range(10):
        last = learner.forward_backward(batch, DPO())
        learner.step()
    assert last["train/loss"] < first["train/loss"] and last["preference/accuracy_sum"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": [[0, 0]]}, "pairs must name two of the 8 trajectories each"),
        ({"pairs": [[0, 8]]}, "pairs must name two of the 8 trajectories each"),
        ({"pairs": [0, 1]}, r"pairs must be integers \[P, 2\], got int64 \[2\]"),
        ({"pairs": [[0, 1]], "max_tokens": 8}, "max_tokens must hold the trajectories that pairs join"),
        ({"rows": "some"}, "rows must be 'action', 'all' or 'none', got 'some'"),
    ],
)
def test_bad_pairs(options, message):
    with pytest.raises(ValueError, match=message):
        PackedBatch.pack(documents(), **{"max_tokens": 100, **options})


def test_what_needs_pairs_says_so():
    (batch,) = PackedBatch.pack(documents(), 100, rows="all", ce=1.0, reference_logprob=-1.0)
    policy = Bigram()
    with pytest.raises(ValueError, match="pairs must be given for DPO, got a batch without"):
        Learner(policy).forward_backward(batch, DPO())
    with pytest.raises(ValueError, match=r"policy must have heads\['reward'\] for BradleyTerry, got \['value'\]"):
        Learner(policy).forward_backward(batch, BradleyTerry())
    with pytest.raises(ValueError, match="beta must be > 0, got 0"):
        DPO(beta=0)
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 0.5\), got 0.5"):
        DPO(label_smoothing=0.5)


def test_a_pair_with_a_failed_member_is_left_out():
    buffer = TrajectoryBuffer.from_arrays(np.arange(12), [0, 4, 8, 12], action_mask=[0, 1, 1, 1] * 3, failed=[0, 1, 0])
    (batch,) = PackedBatch.pack(buffer, 100, pairs=[[0, 1], [2, 0]])
    assert batch.pairs.tolist() == [[1, 0]] and batch.pair_weight.tolist() == [1.0]
    assert PackedBatch.pack(buffer, 100, pairs=[[0, 1]]) == []
