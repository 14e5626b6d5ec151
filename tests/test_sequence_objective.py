"""GSPO: a sequence's ratio, its clipping and its derivatives."""

import math

import pytest
import torch

from paradigm.objective import PPOClip
from paradigm.sequence_objective import GSPO
from tests.objective_cases import assert_derivatives, batch_of, random_sequences


def gspo_in_plain_torch(objective, batch):
    def loss(logprob, entropy, streams):
        total = -(streams["entropy"] * entropy).sum() if objective.entropy else 0.0
        for b in range(batch.num_sequences):
            rows = batch.document == b
            ratio = torch.exp((logprob - streams["behaviour_logprob"])[rows].mean())
            advantage = streams["advantage"][rows].sum()
            total = total - torch.min(ratio * advantage, torch.clamp(ratio, 1 - objective.clip_low, 1 + objective.clip_high) * advantage)
        return total

    return loss


@pytest.mark.parametrize("objective", [GSPO(), GSPO(clip_low=0.1, clip_high=0.05), GSPO(clip_low=0.2, clip_high=0.2, entropy=True)], ids=repr)
def test_loss_and_derivatives_against_autograd(objective):
    batch = batch_of()
    got = assert_derivatives(objective, gspo_in_plain_torch(objective, batch), batch, *random_sequences())
    assert got.metrics["policy/rows"] == 26 and 0 < got.metrics["policy/clipped_sum"] <= 26


def test_by_hand():
    # two sequences of two rows, ratios exp(0.2) and exp(-0.1), A = 1 and -1 as shares 1 / (2 * 2): both clipped at 0.05 but for their sign
    behaviour = torch.zeros(4)
    logprob = torch.tensor([0.1, 0.3, -0.2, 0.0])
    streams = {"advantage": torch.tensor([0.25, 0.25, -0.25, -0.25]), "behaviour_logprob": behaviour}
    rows = GSPO(clip_low=0.05, clip_high=0.05).coefficients(logprob, torch.zeros(4), streams, batch_of((2, 2)))
    torch.testing.assert_close(rows.loss, torch.tensor([-1.05 / 4, -1.05 / 4, 0.95 / 4, 0.95 / 4]))
    assert not rows.dlogprob.any() and rows.metrics["policy/clipped_sum"] == 4
    wide = GSPO(clip_low=0.5, clip_high=0.5).coefficients(logprob, torch.zeros(4), streams, batch_of((2, 2)))
    torch.testing.assert_close(wide.dlogprob, torch.tensor([-math.exp(0.2)] * 2 + [math.exp(-0.1)] * 2) / 4)


def test_sequences_of_one_row_are_ppo():
    lengths = (1,) * 8
    logprob, entropy, streams = random_sequences(lengths)
    ours = GSPO(clip_low=0.2, clip_high=0.2).coefficients(logprob, entropy, streams, batch_of(lengths))
    ppo = PPOClip().rows(logprob, entropy, streams)
    torch.testing.assert_close(ours.loss, ppo.loss)
    torch.testing.assert_close(ours.dlogprob, ppo.dlogprob)


def test_rows_without_advantage_take_no_part_whatever_they_hold():
    logprob, entropy, streams = random_sequences((2, 2))
    streams = {**streams, "advantage": streams["advantage"].clone(), "behaviour_logprob": streams["behaviour_logprob"].clone()}
    streams["advantage"][1], streams["behaviour_logprob"][1] = 0.0, math.inf
    got = GSPO(clip_low=1.0, clip_high=9.0).coefficients(logprob, entropy, streams, batch_of((2, 2)))
    alone = torch.tensor([0, 2, 3])
    kept = {name: stream[alone] for name, stream in streams.items()}
    expected = GSPO(clip_low=1.0, clip_high=9.0).coefficients(logprob[alone], entropy[alone], kept, batch_of((1, 2)))
    torch.testing.assert_close(got.dlogprob[alone], expected.dlogprob)
    assert got.dlogprob[1] == 0 and got.loss[1] == 0


def test_bad_bounds():
    with pytest.raises(ValueError, match=r"clip_low must be in \[0, 1\], got 2"):
        GSPO(clip_low=2.0)
    with pytest.raises(ValueError, match="clip_high must be >= 0, got -1"):
        GSPO(clip_high=-1.0)
