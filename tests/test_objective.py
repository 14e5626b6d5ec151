import math

import pytest
import torch

from paradigm.objective import (
    CISPO,
    GRPO,
    Combined,
    CrossEntropy,
    EntropyBonus,
    KLPenalty,
    MaskedReinforce,
    PPOClip,
    Reinforce,
    check_streams,
    kl_estimate,
    reduce_metrics,
)
from paradigm.sequence_objective import GSPO

OBJECTIVES = [
    CrossEntropy(), EntropyBonus(), KLPenalty(), KLPenalty(estimator="k2"), KLPenalty(estimator="k3", sampled_from="reference"),
    Reinforce(), Reinforce(entropy=True), PPOClip(), PPOClip(clip_low=0.1, clip_high=0.4, dual_clip=1.5, entropy=True), GRPO(),
    GRPO(clip_high=0.3, entropy=True), CISPO(max_ratio=1.3), CISPO(max_ratio=1.2, min_ratio=0.8, entropy=True),
    MaskedReinforce(max_ratio=1.5, min_ratio=0.7), Combined(objectives=(PPOClip(), CrossEntropy(), EntropyBonus(), KLPenalty())),
]  # fmt: skip


def random_rows(n, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal():
        return torch.randn(n, dtype=torch.float64, generator=generator)

    logprob = -normal().abs() - 0.1
    streams = {
        "ce": normal().abs(), "advantage": normal(), "kl": normal().abs(), "entropy": normal().abs(),
        "behaviour_logprob": logprob + 0.4 * normal(), "reference_logprob": logprob + 0.5 * normal(),
    }  # fmt: skip
    for name in ("ce", "advantage", "kl", "entropy"):
        streams[name][torch.rand(n, generator=generator) < 0.25] = 0.0
    return logprob, normal().abs(), streams


def loss_in_plain_torch(objective, logprob, entropy, streams):
    """The same losses from the papers' formulas, for autograd to differentiate."""
    if isinstance(objective, Combined):
        return sum(loss_in_plain_torch(part, logprob, entropy, streams) for part in objective.objectives)
    loss = torch.zeros_like(logprob)
    if isinstance(objective, CrossEntropy):
        loss = -streams["ce"] * logprob
    if isinstance(objective, Reinforce):
        loss = -streams["advantage"] * logprob
    if isinstance(objective, CISPO):
        ratio = torch.exp(logprob - streams["behaviour_logprob"]).detach()
        within = (ratio >= objective.min_ratio) & (ratio <= objective.max_ratio)
        cut = torch.zeros(()) if isinstance(objective, MaskedReinforce) else torch.clamp(ratio, objective.min_ratio, objective.max_ratio)
        loss = -torch.where(within, ratio, cut) * streams["advantage"] * logprob
    if isinstance(objective, PPOClip | GRPO):
        advantage, ratio = streams["advantage"], torch.exp(logprob - streams["behaviour_logprob"])
        surrogate = torch.min(ratio * advantage, torch.clamp(ratio, 1 - objective.clip_low, 1 + objective.clip_high) * advantage)
        if getattr(objective, "dual_clip", None) is not None:
            surrogate = torch.where(advantage < 0, torch.max(surrogate, objective.dual_clip * advantage), surrogate)
        loss = -surrogate
    if isinstance(objective, GRPO | KLPenalty):
        difference = streams["reference_logprob"] - logprob
        kind = getattr(objective, "estimator", "k3")
        if getattr(objective, "sampled_from", "policy") == "reference":
            difference = -difference
        loss = loss + streams["kl"] * {"k2": difference**2 / 2, "k3": torch.exp(difference) - difference - 1}[kind]
    if isinstance(objective, EntropyBonus) or getattr(objective, "entropy", False):
        loss = loss - streams["entropy"] * entropy
    return loss


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_loss_and_derivatives_against_autograd(objective):
    logprob, entropy, streams = random_rows(4000)
    leaf, entropy_leaf = logprob.clone().requires_grad_(), entropy.clone().requires_grad_()
    expected = loss_in_plain_torch(objective, leaf, entropy_leaf, streams)
    dlogprob, dentropy = torch.autograd.grad(expected.sum(), [leaf, entropy_leaf], allow_unused=True)
    got = objective.rows(logprob, entropy, streams)
    torch.testing.assert_close(got.loss, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.dlogprob, torch.zeros_like(logprob) if dlogprob is None else dlogprob, rtol=1e-12, atol=1e-12)
    if dentropy is None:
        assert got.dentropy is None
    else:
        torch.testing.assert_close(got.dentropy, dentropy, rtol=1e-12, atol=1e-12)


def test_ppo_by_hand():
    # ratios 2, 2, 0.5, 0.5, 1.1 with advantages of either sign, bounds [0.8, 1.2]
    ratio = torch.tensor([2.0, 2.0, 0.5, 0.5, 1.1])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 3.0])
    rows = PPOClip().rows(ratio.log(), torch.zeros(5), {"advantage": advantage, "behaviour_logprob": torch.zeros(5)})
    torch.testing.assert_close(rows.loss, torch.tensor([-1.2, 2.0, -0.5, 0.8, -3.3]))
    torch.testing.assert_close(rows.dlogprob, torch.tensor([0.0, 2.0, -0.5, 0.0, -3.3]))
    assert rows.metrics["policy/clipped_sum"] == 2
    assert rows.metrics["policy/ratio_max"] == pytest.approx(2.0)
    assert rows.metrics["policy/ratio_sum"] == pytest.approx(6.1)
    # (r - 1) - log r of each
    assert rows.metrics["policy/behaviour_kl_sum"] == pytest.approx(sum(r - 1 - math.log(r) for r in ratio.tolist()), rel=1e-5)


def test_dual_clip_bounds_a_negative_advantage():
    # r = 5, A = -1: the surrogate -5 is raised to 3 * -1 and passes no gradient; r = 2 stays
    ratio = torch.tensor([5.0, 2.0])
    streams = {"advantage": torch.tensor([-1.0, -1.0]), "behaviour_logprob": torch.zeros(2)}
    rows = PPOClip(dual_clip=3.0).rows(ratio.log(), torch.zeros(2), streams)
    torch.testing.assert_close(rows.loss, torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(rows.dlogprob, torch.tensor([0.0, 2.0]))


def test_grpo_by_hand():
    # on policy (r = 1), reference twice as likely: K3 = 2 - log 2 - 1, derivative 1 - 2
    streams = {name: torch.tensor([value]) for name, value in
               {"advantage": 0.5, "behaviour_logprob": -1.0, "kl": 0.1, "reference_logprob": -1.0 + math.log(2)}.items()}  # fmt: skip
    rows = GRPO().rows(torch.tensor([-1.0]), torch.zeros(1), streams)
    assert rows.loss.item() == pytest.approx(-0.5 + 0.1 * (1 - math.log(2)), rel=1e-6)
    assert rows.dlogprob.item() == pytest.approx(-0.5 - 0.1, rel=1e-6)
    assert rows.metrics["kl/k3_sum"].item() == pytest.approx(1 - math.log(2), rel=1e-6)


def test_cispo_and_the_mask_by_hand():
    # ratios 2, 0.25, 1.5 with A = -1, 2, 3 and logprob -1: truncated at 1.5; masked outside [0.5, 1.5]
    logprob = torch.full((3,), -1.0)
    ratio = torch.tensor([2.0, 0.25, 1.5])
    streams = {"advantage": torch.tensor([-1.0, 2.0, 3.0]), "behaviour_logprob": logprob - ratio.log()}
    rows = CISPO(max_ratio=1.5).rows(logprob, torch.zeros(3), streams)
    torch.testing.assert_close(rows.dlogprob, torch.tensor([1.5, -0.5, -4.5]))
    torch.testing.assert_close(rows.loss, torch.tensor([-1.5, 0.5, 4.5]))
    masked = MaskedReinforce(max_ratio=1.75).rows(logprob, torch.zeros(3), streams)
    torch.testing.assert_close(masked.dlogprob, torch.tensor([0.0, 0.0, -4.5]))
    assert masked.metrics["policy/clipped_sum"] == 2


def test_before_any_update_every_ratio_is_one_and_ppo_is_reinforce():
    logprob, entropy, streams = random_rows(500)
    streams["behaviour_logprob"] = logprob.clone()
    rows = PPOClip().rows(logprob, entropy, streams)
    num = int(rows.metrics["policy/rows"])
    assert num == int((streams["advantage"] != 0).sum())
    assert rows.metrics["policy/ratio_sum"] == num
    assert rows.metrics["policy/ratio_max"] == 1
    assert rows.metrics["policy/clipped_sum"] == 0
    torch.testing.assert_close(rows.dlogprob, Reinforce().rows(logprob, entropy, streams).dlogprob, rtol=0, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_rows_of_zero_coefficient_contribute_nothing(objective):
    # off an objective's own rows the other streams and even the log-prob may hold anything
    streams = {name: torch.zeros(3) for name in objective.streams}
    for name in ("behaviour_logprob", "reference_logprob"):
        if name in streams:
            streams[name] = torch.tensor([-1e6, math.inf, -math.inf])
    rows = objective.rows(torch.tensor([0.0, -math.inf, -5.0]), torch.tensor([1.0, 2.0, math.inf]), streams)
    assert torch.equal(rows.loss, torch.zeros(3))
    assert torch.equal(rows.dlogprob, torch.zeros(3))
    assert rows.dentropy is None or torch.equal(rows.dentropy, torch.zeros(3))
    for name, value in rows.metrics.items():
        assert value == 0, name


def test_combined_equals_each_kind_of_row_alone():
    logprob, entropy, streams = random_rows(64)
    rollout = torch.arange(64) < 40
    streams["advantage"] = torch.where(rollout, streams["advantage"], 0.0)
    streams["ce"] = torch.where(rollout, 0.0, streams["ce"])
    both = Combined(objectives=(PPOClip(), CrossEntropy())).rows(logprob, entropy, streams)
    ppo, ce = PPOClip().rows(logprob, entropy, streams), CrossEntropy().rows(logprob, entropy, streams)
    assert torch.equal(both.loss[rollout], ppo.loss[rollout])
    assert torch.equal(both.loss[~rollout], ce.loss[~rollout])
    assert torch.equal(both.dlogprob, ppo.dlogprob + ce.dlogprob)
    assert both.metrics == {**ppo.metrics, **ce.metrics}


def test_missing_streams_are_named():
    message = r"GRPO needs the streams .*lacks \['kl', 'reference_logprob'\] and has \['advantage', 'behaviour_logprob'\]"
    with pytest.raises(ValueError, match=message):
        check_streams(GRPO(), {"advantage": torch.zeros(1), "behaviour_logprob": torch.zeros(1)})
    check_streams(CrossEntropy(), {"ce": torch.zeros(1), "advantage": torch.zeros(1)})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PPOClip(clip_low=1.5), r"clip_low must be in \[0, 1\], got 1.5"),
        (lambda: PPOClip(clip_high=-0.1), "clip_high must be >= 0, got -0.1"),
        (lambda: PPOClip(dual_clip=1.0), "dual_clip must be > 1 or None, got 1.0"),
        (lambda: CISPO(max_ratio=0.5), "max_ratio must be >= 1, got 0.5"),
        (lambda: MaskedReinforce(min_ratio=1.5), r"min_ratio must be in \[0, 1\], got 1.5"),
        (lambda: Combined(objectives=(PPOClip(), GSPO())), "objectives must be pointwise, got GSPO"),
        (lambda: GRPO(clip_low=-1.0), r"clip_low must be in \[0, 1\], got -1"),
        (lambda: KLPenalty(estimator="k4"), "estimator must be 'k1', 'k2' or 'k3', got 'k4'"),
        (lambda: KLPenalty(sampled_from="teacher"), "sampled_from must be 'policy' or 'reference', got 'teacher'"),
        (lambda: Combined(objectives=()), "at least one objective"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("sampled_from", ["policy", "reference"])
def test_kl_estimators_average_to_the_divergence(sampled_from):
    # exact expectations over a distribution of 8 tokens rather than samples
    generator = torch.Generator().manual_seed(5)
    policy, reference = (torch.randn(8, dtype=torch.float64, generator=generator).mul(0.3).log_softmax(0) for _ in range(2))
    sampler, other = (policy, reference) if sampled_from == "policy" else (reference, policy)
    divergence = (sampler.exp() * (sampler - other)).sum()
    values = {kind: kl_estimate(policy, reference, estimator=kind, sampled_from=sampled_from).value for kind in ("k1", "k2", "k3")}
    mean = {kind: (sampler.exp() * value).sum() for kind, value in values.items()}
    torch.testing.assert_close(mean["k1"], divergence)
    torch.testing.assert_close(mean["k3"], divergence)
    assert mean["k2"] == pytest.approx(divergence.item(), rel=0.2)  # biased in third order
    assert (values["k3"] >= 0).all()


def test_k3_keeps_its_digits_near_zero():
    value = kl_estimate(torch.tensor([-1.0]), torch.tensor([-1.0 + 2**-10])).value.item()
    x = 2.0**-10
    assert value == pytest.approx(x * x / 2 + x**3 / 6, rel=1e-3)  # exp(x) - 1 - x in float32 is 8% off here


def test_metrics_of_micro_batches_reduce_to_those_of_the_whole():
    logprob, entropy, streams = random_rows(90)
    objective = Combined(objectives=(GRPO(), CrossEntropy()))
    whole = reduce_metrics([objective.rows(logprob, entropy, streams).metrics])
    cuts = [slice(0, 7), slice(7, 60), slice(60, 60), slice(60, 90)]
    parts = [objective.rows(logprob[c], entropy[c], {k: v[c] for k, v in streams.items()}).metrics for c in cuts]
    reduced = reduce_metrics(parts)
    assert set(reduced) == set(whole) and "policy/ratio" in whole
    for name, value in whole.items():
        torch.testing.assert_close(reduced[name], value, msg=name)
    active = streams["advantage"] != 0
    torch.testing.assert_close(whole["policy/ratio"], (logprob - streams["behaviour_logprob"])[active].exp().mean())
