"""The gradient that reaches the weights, of objectives that take two passes and of heads, against autograd through the whole module."""

import copy

import numpy as np
import pytest
import torch

from paradigm.actor_critic import ActorCritic
from paradigm.batch import PackedBatch
from paradigm.batch_loss import backward
from paradigm.kernels.vtrace import vtrace
from paradigm.kl import Divergence
from paradigm.objective import Combined, CrossEntropy, KLPenalty, PPOClip
from paradigm.preference import BradleyTerry
from paradigm.sequence_objective import GSPO
from tests.learner_cases import Bigram, documents, small_policy


def rows_of(policy, batch):
    """(hidden, log-prob, entropy) of the batch's rows, differentiable."""
    hidden = policy(batch.tokens, batch.layout)[batch.position]
    logs = (hidden @ policy.head_weight.t()).log_softmax(1)
    return hidden, logs.gather(1, batch.target[:, None]).squeeze(1), -(logs.exp() * logs).sum(1)


def gradients(policy):
    found = {name: None if p.grad is None else p.grad.clone() for name, p in policy.named_parameters()}
    policy.zero_grad(set_to_none=True)
    return found


def assert_same_gradients(policy, batches, objective, loss, **options):
    for batch in batches:
        total, _ = backward(policy, batch, objective, **options)
    ours = gradients(policy)
    expected = loss(policy)
    expected.backward()
    theirs = gradients(policy)
    if len(batches) == 1:
        torch.testing.assert_close(total, expected.detach(), rtol=1e-4, atol=1e-6)
    for name, gradient in theirs.items():
        if gradient is not None and gradient.any():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_gspo_reaches_the_weights_however_the_set_is_cut():
    buffer = documents(n=6)
    streams = {"advantage": np.array([1, -1, 0.5, 2, -0.5, 1], np.float32), "entropy": 0.1}
    (whole,) = PackedBatch.pack(buffer, 1000, rows="all", normalize="trajectories", **streams)
    parts = PackedBatch.pack(buffer, int(buffer.lengths.max()) + 3, rows="all", normalize="trajectories", **streams)
    assert len(parts) > 1

    def loss(policy):
        _, logprob, entropy = rows_of(policy, whole)
        total = -(whole.streams["entropy"] * entropy).sum()
        for b in range(whole.num_sequences):
            rows = whole.document == b
            ratio = (logprob - whole.streams["behaviour_logprob"])[rows].mean().exp()
            advantage = whole.streams["advantage"][rows].sum()
            total = total - torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return total

    for batches in ([whole], parts):
        assert_same_gradients(Bigram(), batches, GSPO(clip_low=0.2, clip_high=0.2, entropy=True), loss)


def test_actor_critic_trains_the_policy_and_its_value_head():
    buffer = documents(n=6, seed=1)
    reward = np.random.default_rng(0).normal(size=buffer.num_tokens).astype(np.float32)
    (batch,) = PackedBatch.pack(buffer, 1000, rows="all", policy=1.0, value=0.5, reward=reward)

    def loss(policy):
        hidden, logprob, _ = rows_of(policy, batch)
        value = policy.heads["value"](hidden).squeeze(1)
        counts = torch.bincount(batch.document)
        cuts = torch.cat([torch.zeros(1), counts.cumsum(0)]).int()
        inputs = (batch.streams["behaviour_logprob"], batch.streams["reward"], value.detach(), torch.zeros(6), cuts)
        target, advantage = vtrace(logprob.detach(), *inputs, gamma=0.9)
        policy_loss = -(batch.streams["policy"] * advantage * logprob).sum()
        return policy_loss + 0.5 * (batch.streams["value"] * (value - target) ** 2).sum()

    assert_same_gradients(Bigram(), [batch], ActorCritic(gamma=0.9), loss)


def test_a_reward_model_is_judged_at_last_tokens():
    buffer = documents(n=4, seed=3)
    (batch,) = PackedBatch.pack(buffer, 1000, rows="none", pairs=[[1, 0], [2, 3]])

    def loss(policy):
        scores = [policy.heads["value"](policy(batch.tokens, batch.layout))[end - 1, 0] for end in buffer.offsets[1:]]
        return -0.5 * ((scores[1] - scores[0]).sigmoid().log() + (scores[2] - scores[3]).sigmoid().log())

    class OfTheValueHead(BradleyTerry):
        head = "value"

    assert_same_gradients(Bigram(), [batch], OfTheValueHead(), loss)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_full_divergence_from_a_reference_is_added_to_a_surrogate(direction):
    policy, reference = Bigram(), Bigram()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.3)
    (batch,) = PackedBatch.pack(documents(n=4), 1000, rows="all", advantage=np.array([1, -1, 2, 1], np.float32), divergence=0.3)

    def loss(policy):
        hidden, logprob, _ = rows_of(policy, batch)
        logs = (hidden @ policy.head_weight.t()).log_softmax(1)
        with torch.no_grad():
            known = (rows_of(reference, batch)[0] @ reference.head_weight.t()).log_softmax(1)
        ratio = (logprob - batch.streams["behaviour_logprob"]).exp()
        advantage = batch.streams["advantage"]
        surrogate = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum()
        full = (known.exp() * (known - logs)).sum(1) if direction == "forward" else (logs.exp() * (logs - known)).sum(1)
        return surrogate + (batch.streams["divergence"] * full).sum()

    objective = Combined(objectives=(PPOClip(), Divergence()))
    assert_same_gradients(policy, [batch], objective, loss, teacher=reference, divergence=direction)


def test_a_sampled_penalty_averages_to_the_full_divergence():
    # over all next tokens of one state, each weighed by its probability: what K3 estimates is what the teacher's path computes
    policy = Bigram()
    reference = copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.2)
    (batch,) = PackedBatch.pack(documents(n=2), 1000, rows="all", divergence=1.0, normalize="none")
    total, _ = backward(policy, batch, Divergence(), teacher=reference, divergence="reverse")
    with torch.no_grad():
        ours, theirs = ((rows_of(p, batch)[0] @ p.head_weight.t()).log_softmax(1) for p in (policy, reference))
        streams = {"kl": ours.exp().flatten(), "reference_logprob": theirs.flatten()}
        estimated = KLPenalty().rows(ours.flatten(), torch.zeros_like(ours).flatten(), streams).loss.sum()
    torch.testing.assert_close(estimated, total, rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_named():
    (batch,) = PackedBatch.pack(documents(), 1000, rows="all", divergence=1.0)
    with pytest.raises(ValueError, match=r"teacher must be given with Divergence.*got None"):
        backward(Bigram(), batch, Divergence())
    with pytest.raises(ValueError, match="teacher must be None with GSPO, which is not pointwise"):
        backward(Bigram(), *PackedBatch.pack(documents(), 1000, rows="all", advantage=1.0), GSPO(), teacher=Bigram())
    (batch,) = PackedBatch.pack(documents(), 1000, rows="all", policy=1.0, value=1.0, reward=1.0)
    headless = Bigram()
    del headless.heads["value"]
    with pytest.raises(ValueError, match=r"policy must have heads\['value'\] for ActorCritic, got \[\]"):
        backward(headless, batch, ActorCritic())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("exact", [None, False])
def test_an_empty_batch_gives_every_weight_a_gradient_of_zero(dtype, exact) -> None:
    """Ranks that sum gradients must all have them, those without a document left too."""
    streams = {"ce": 1.0, "value": 0.5, "value_target": 0.2}
    shares = [PackedBatch.pack(documents(n=1), 20, rows="all", share=(rank, 2), **streams) for rank in range(2)]
    (batch,) = next(share for share in shares if share[0].num_tokens == 0)
    policy = small_policy().to(dtype)
    policy.exact = exact
    total, metrics = backward(policy, batch, CrossEntropy())
    assert total == 0 and not any(metrics.values())
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())
