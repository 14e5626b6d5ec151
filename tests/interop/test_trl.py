"""Losses and gradients equal those of TRL, whose trainers' own loss methods are called on log-probs instead of a model."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl.experimental.gkd import GKDTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from paradigm.advantage import group_advantages
from paradigm.importance import ImportanceCorrection, importance_weights
from paradigm.kernels.policy_loss import policy_loss
from paradigm.kl import Divergence
from paradigm.objective import CISPO, GRPO, PPOClip, Reinforce
from paradigm.preference import DPO, BradleyTerry
from paradigm.sequence_objective import GSPO
from paradigm.trajectory import TrajectoryBuffer
from tests.objective_cases import LENGTHS, batch_of, padded, random_sequences

B, LONGEST = len(LENGTHS), max(LENGTHS)
ACCELERATOR = SimpleNamespace(
    num_processes=1, sync_gradients=True, device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x,
)  # fmt: skip


class Attributes:
    """A trainer's `self`: what its loss reads and was not given counts as switched off."""

    def __init__(self, **given):
        vars(self).update(given)

    def __getattr__(self, name):
        return None


def trl_grpo(logprob, advantage, streams, **options):
    """(loss, its derivative by each row's log-prob) of GRPOTrainer._compute_loss; `advantage` is one a sequence."""
    leaf = logprob.clone().requires_grad_()
    table, mask = padded(leaf)
    trainer = Attributes(
        model=SimpleNamespace(training=True), accelerator=ACCELERATOR, _metrics={"train": defaultdict(list)}, aux_loss_enabled=False,
        top_entropy_quantile=1.0, beta=0.0, current_gradient_accumulation_steps=1, max_completion_length=LONGEST, use_vllm=False,
        vllm_importance_sampling_correction=True, importance_sampling_level="token", epsilon_low=0.2, epsilon_high=0.2,
        args=Attributes(use_bias_correction_kl=False, steps_per_generation=1), _entropy_bonus_enabled=False,
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (table, torch.zeros_like(table), None),
    )  # fmt: skip
    vars(trainer).update(options)
    old, _ = padded(streams["behaviour_logprob"])
    reference, _ = padded(streams["reference_logprob"])
    ids = torch.zeros(B, LONGEST, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": mask.long(), "advantages": advantage,
        "old_per_token_logps": old, "ref_per_token_logps": reference, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    if "weights" in streams:
        inputs["importance_sampling_ratio"] = padded(streams["weights"])[0]
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def case(normalize, seed=3):
    """Random rows whose advantage and kl are divided as `PackedBatch.pack(normalize=...)` would."""
    logprob, entropy, streams = random_sequences(seed=seed)
    document = batch_of().document
    advantage = torch.randn(B, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)[document]
    share = 1 / {"trajectories": lengths * B, "tokens": torch.tensor(float(sum(LENGTHS))), "constant": torch.tensor(float(B * LONGEST))}[normalize]
    streams |= {"advantage": advantage[document] * share, "kl": 0.04 * share.expand(len(document))}
    return logprob, entropy, streams, advantage


def assert_equal(rows, expected):
    loss, gradient = expected
    torch.testing.assert_close(rows.loss.sum(), loss, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(rows.dlogprob, gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("objective", "normalize", "options"),
    [
        (GRPO(), "trajectories", {"loss_type": "grpo", "beta": 0.04}),
        (PPOClip(), "constant", {"loss_type": "dr_grpo"}),
        (PPOClip(clip_high=0.28), "tokens", {"loss_type": "dapo", "epsilon_high": 0.28}),
        (CISPO(max_ratio=1.3), "tokens", {"loss_type": "cispo", "epsilon_high": 1.3}),
        (GSPO(clip_low=0.03, clip_high=0.04), "trajectories",
         {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04}),
    ],
    ids=["grpo", "dr_grpo", "dapo", "cispo", "gspo"],
)  # fmt: skip
def test_policy_losses(objective, normalize, options):
    logprob, entropy, streams, advantage = case(normalize)
    got = objective.rows(logprob, entropy, streams) if objective.pointwise else objective.coefficients(logprob, entropy, streams, batch_of())
    assert_equal(got, trl_grpo(logprob, advantage, streams, **options))


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_corrected_loss(level):
    logprob, entropy, streams, advantage = case("trajectories")
    mismatch = 0.3 * torch.randn(len(logprob), dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    correction = ImportanceCorrection(kind="truncate", level=level, high=1.1)
    weights = importance_weights(streams["behaviour_logprob"] + mismatch, streams["behaviour_logprob"], batch_of().document, B, correction)
    expected = trl_grpo(logprob, advantage, streams | {"weights": weights}, loss_type="grpo", use_vllm=True)
    assert_equal(PPOClip().rows(logprob, entropy, streams | {"advantage": streams["advantage"] * weights}), expected)


def test_dpo():
    pairs = [[b, b + B // 2] for b in range(B // 2)]  # TRL's batch is [chosen, rejected]
    logprob, entropy, streams = random_sequences(spread=2.0)
    leaf = logprob.clone().requires_grad_()
    table, mask = padded(leaf)
    reference = padded(streams["reference_logprob"])[0].sum(1)
    mask = torch.cat([torch.zeros(B, 1, dtype=torch.bool), mask], 1).long()
    trainer = Attributes(
        model=SimpleNamespace(training=True), accelerator=ACCELERATOR, _metrics={"train": defaultdict(list)}, aux_loss_enabled=False,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=0.3, loss_types=["sigmoid"],
        loss_weights=[1.0], args=Attributes(), use_weighting=False, _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    outputs = SimpleNamespace(log_probs=table, entropy=table, mean_logits=table, is_top1=table > 0)
    inputs = {
        "input_ids": torch.zeros(B, LONGEST + 1, dtype=torch.long), "attention_mask": torch.ones(B, LONGEST + 1), "completion_mask": mask,
        "ref_chosen_logps": reference[: B // 2], "ref_rejected_logps": reference[B // 2 :],
    }  # fmt: skip
    loss = DPOTrainer._compute_loss(trainer, lambda **kwargs: outputs, inputs, False)
    got = DPO(beta=0.3).coefficients(logprob, entropy, streams, batch_of(pairs=pairs))
    assert_equal(got, (loss.detach(), torch.autograd.grad(loss, leaf)[0]))


@pytest.mark.parametrize("center", [0.0, 0.01])
def test_reward_model(center):
    scores = torch.randn(B, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaf = scores.clone().requires_grad_()
    trainer = Attributes(
        model=SimpleNamespace(training=True), accelerator=ACCELERATOR, _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
        args=Attributes(center_rewards_coefficient=center or None),
    )  # fmt: skip
    loss = RewardTrainer.compute_loss(trainer, lambda **kwargs: SimpleNamespace(logits=leaf[:, None]), {"attention_mask": torch.ones(B, 3)})
    batch = batch_of((1,) * B, [[b, b + B // 2] for b in range(B // 2)])
    got = BradleyTerry(center=center).coefficients(torch.zeros(0), torch.zeros(0), {"head": scores}, batch)
    torch.testing.assert_close(got.loss.sum(), loss.detach())
    torch.testing.assert_close(got.dhead, torch.autograd.grad(loss, leaf)[0])


@pytest.mark.parametrize(("divergence", "beta"), [("forward", 0), ("reverse", 1)])
def test_distillation_from_a_teacher(divergence, beta):
    # GKD's generalised Jensen-Shannon divergence is the forward divergence at 0 and the reverse at 1
    generator = torch.Generator().manual_seed(4)
    hidden, weight = (torch.randn(n, 8, dtype=torch.float64, generator=generator).requires_grad_() for n in (10, 20))
    teacher = tuple(torch.randn(n, 8, dtype=torch.float64, generator=generator) for n in (10, 20))
    streams = {"divergence": torch.full((10,), 0.1, dtype=torch.float64)}
    loss, _, _ = policy_loss(
        hidden, weight, torch.zeros(10, dtype=torch.long), streams, objective=Divergence(), temperature=0.7, teacher=teacher, divergence=divergence
    )
    expected = GKDTrainer.generalized_jsd_loss((hidden @ weight.T)[None], (teacher[0] @ teacher[1].T)[None], beta=beta, temperature=0.7) / 10
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-8)
    for ours, theirs in zip(torch.autograd.grad(loss, [hidden, weight]), torch.autograd.grad(expected, [hidden, weight])):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_rloo_on_its_own_rollouts():
    # RLOOTrainer computes advantages within its generation loop: (sum of the group - r) / (G - 1) is the baseline
    rewards = np.random.default_rng(0).normal(size=B).astype(np.float32)
    buffer = TrajectoryBuffer.from_arrays(np.zeros(B), np.arange(B + 1), rewards=rewards, group=np.repeat(np.arange(2), B // 2))
    advantage = torch.from_numpy(group_advantages(buffer, "none", leave_one_out=True)).double()
    grouped = torch.from_numpy(rewards).double().view(2, -1)
    theirs = (grouped - (grouped.sum(1, keepdim=True) - grouped) / (B // 2 - 1)).flatten()
    torch.testing.assert_close(advantage, theirs, rtol=1e-5, atol=1e-6)
    # their ratio is the whole sequence's; at 1 its gradient is REINFORCE's
    logprob, entropy, _ = random_sequences()
    leaf = logprob.clone().requires_grad_()
    table, mask = padded(leaf)
    trainer = Attributes(
        model=SimpleNamespace(training=True), accelerator=ACCELERATOR, _metrics={"train": defaultdict(list)}, aux_loss_enabled=False,
        epsilon_low=0.2, epsilon_high=0.2, _get_per_token_logps_and_entropies=lambda *args, **kwargs: (table, torch.zeros_like(table), None),
    )  # fmt: skip
    ids = torch.zeros(B, LONGEST, dtype=torch.long)
    inputs = {"prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1] + 1, "completion_ids": ids, "completion_mask": mask.double(),
              "old_logps": padded(logprob)[0].sum(1), "advantages": theirs}  # fmt: skip
    loss = RLOOTrainer._compute_loss(trainer, None, inputs)
    ours = Reinforce().rows(logprob, entropy, {"advantage": theirs[batch_of().document] / B})
    torch.testing.assert_close(ours.dlogprob, torch.autograd.grad(loss, leaf)[0], rtol=1e-5, atol=1e-8)
