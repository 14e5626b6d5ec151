import logging

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.kernels.layout import Layout
from paradigm.learner import Learner, Schedule
from paradigm.objective import Combined, CrossEntropy, ObjectiveRows, PPOClip, Reinforce, reduce_metrics
from paradigm.trajectory import TrajectoryBuffer
from tests.learner_cases import Bigram, assert_same_state, batches, copy_of, documents, small_policy, train


def gradients(model, parts, objective):
    learner = Learner(model)
    metrics = reduce_metrics([learner.forward_backward(batch, objective) for batch in parts])
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, metrics


def plain_logprobs(model, batch):
    logits = model(batch.tokens, batch.layout)[batch.position].float() @ model.head_weight.float().t() / batch.temperature
    logp = logits.log_softmax(1)
    return logp.gather(1, batch.target[:, None])[:, 0], -(logp.exp() * logp).sum(1)


@pytest.mark.parametrize("make", [Bigram, small_policy])
def test_cutting_a_set_into_batches_changes_no_gradient(make):
    buffer = documents(n=12)
    advantage = np.random.default_rng(1).normal(size=12)
    streams = {"advantage": advantage, "ce": 0.3, "value_target": 1.5, "value": 0.5}
    objective = Combined(objectives=(PPOClip(), CrossEntropy()))
    whole, metrics = gradients(make(), batches(buffer, 1000, **streams), objective)
    parts = batches(buffer, 14, **streams)
    assert len(parts) >= 4
    cut, cut_metrics = gradients(make(), parts, objective)
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=0, atol=1e-6, msg=name)
    for name, value in metrics.items():
        torch.testing.assert_close(cut_metrics[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert metrics["train/tokens"] == buffer.num_tokens


def test_gradients_of_every_kind_of_row_against_autograd():
    buffer, model = documents(), Bigram()
    weights = {"ce": np.random.default_rng(2).random(buffer.num_tokens), "advantage": np.random.default_rng(3).normal(size=buffer.num_tokens)}
    (batch,) = batches(buffer, **weights, value_target=np.arange(8), value=0.25)
    got, metrics = gradients(model, [batch], Combined(objectives=(Reinforce(), CrossEntropy())))
    reference = Bigram()
    logprob, _ = plain_logprobs(reference, batch)
    value = reference.heads["value"](reference(batch.tokens, batch.layout)[batch.position])[:, 0]
    streams = batch.streams
    value_loss = 0.5 * (streams["value"] * (value - streams["value_target"]) ** 2).sum()
    loss = -((streams["ce"] + streams["advantage"]) * logprob).sum() + value_loss
    loss.backward()
    assert metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["value/loss"].item() == pytest.approx(value_loss.item(), rel=1e-5)
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_value_head_is_trained_alone():
    model = Bigram()
    learner = Learner(model, trainable="heads.*", learning_rate=0.05, weight_decay=0.0)
    (batch,) = batches(ce=0.0, value_target=1.5, value=1.0)
    losses = []
    for _ in range(150):
        losses.append(learner.forward_backward(batch, CrossEntropy())["value/loss"].item())
        learner.step()
    assert losses[-1] < 0.05 * losses[0]
    assert torch.equal(model.mix.weight, Bigram().mix.weight)


def test_illegal_tokens_and_temperature_reach_the_loss():
    # legal: tokens 0 to 3 on the second trajectory, all on the first
    fields = {"support": [-1, -1, -1, 0, 0, 0], "support_table": np.array([[0b1111]], np.uint32), "temperature": 0.5}
    buffer = TrajectoryBuffer.from_arrays([4, 9, 8, 3, 1, 2], [0, 3, 6], action_mask=True, **fields)
    (batch,) = PackedBatch.pack(buffer, 100)
    model = Bigram()
    loss = Learner(model).forward_backward(batch, CrossEntropy())["train/loss"]
    logits = model(batch.tokens, batch.layout)[batch.position] @ model.head_weight.t() / 0.5
    logits[2:, 4:] = -torch.inf
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, batch.target).item(), rel=1e-5)


class SequenceRatio:
    """A GSPO-like objective (arXiv:2507.18071, eq. 5, without clipping): each trajectory's ratio is the geometric mean of its tokens'."""

    pointwise = False
    streams = ("advantage", "behaviour_logprob")

    def coefficients(self, logprob, entropy, streams, batch):
        with torch.enable_grad():
            leaf, entropy_leaf = logprob.clone().requires_grad_(), entropy.clone().requires_grad_()
            loss = self.loss(leaf, entropy_leaf, streams, batch)
            dlogprob, dentropy = torch.autograd.grad(loss.sum(), [leaf, entropy_leaf])
        return ObjectiveRows(loss.detach(), dlogprob, dentropy, {"sequence/loss": loss.detach().sum()})

    @staticmethod
    def loss(logprob, entropy, streams, batch):
        _, sequence, count = torch.unique(batch.trajectory, return_inverse=True, return_counts=True)
        mean = torch.zeros(len(count)).index_add(0, sequence, logprob - streams["behaviour_logprob"]) / count
        return -mean.exp()[sequence] * streams["advantage"] - 0.01 * entropy


def test_objectives_that_join_rows_take_two_passes():
    buffer = documents()
    (batch,) = batches(buffer, advantage=np.arange(8) - 3.5)
    got, metrics = gradients(Bigram(), [batch], SequenceRatio())
    reference = Bigram()
    loss = SequenceRatio.loss(*plain_logprobs(reference, batch), batch.streams, batch).sum()
    loss.backward()
    assert metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    for name in got:
        torch.testing.assert_close(got[name], dict(reference.named_parameters())[name].grad, rtol=1e-4, atol=1e-6, msg=name)
    with pytest.raises(ValueError, match="teacher must be None with SequenceRatio"):
        Learner(Bigram()).forward_backward(batch, SequenceRatio(), teacher=Bigram())


def test_a_teacher_pulls_with_the_whole_distribution():
    (batch,) = batches(ce=0.0, divergence=0.5)
    teacher = Bigram(width=4)
    model, reference = Bigram(), Bigram()
    learner = Learner(model)
    loss = learner.forward_backward(batch, CrossEntropy(), teacher=teacher)["train/loss"]
    hidden = reference(batch.tokens, batch.layout)[batch.position]
    log_p = (hidden @ reference.head_weight.t()).log_softmax(1)
    log_q = (teacher(batch.tokens, batch.layout)[batch.position] @ teacher.head_weight.t()).log_softmax(1).detach()
    expected = (batch.streams["divergence"][:, None] * log_q.exp() * (log_q - log_p)).sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(model.mix.weight.grad, reference.mix.weight.grad, rtol=1e-4, atol=1e-6)
    assert teacher.mix.weight.grad is None


def test_before_any_update_every_ratio_is_exactly_one():
    policy = small_policy()
    buffer = documents()
    (batch,) = batches(buffer, advantage=np.arange(8) - 3.2)
    scored = {**batch.streams, "behaviour_logprob": policy.log_probs(batch)}
    object.__setattr__(batch, "streams", scored)
    learner = Learner(policy, learning_rate=0.01)
    metrics = reduce_metrics([learner.forward_backward(batch, PPOClip())])
    assert metrics["policy/ratio"] == 1 and metrics["policy/ratio_max"] == 1 and metrics["policy/clipped"] == 0
    learner.step()
    assert reduce_metrics([learner.forward_backward(batch, PPOClip())])["policy/ratio_max"] > 1


def test_steps_equal_a_plain_torch_loop():
    model, reference = Bigram(), Bigram()
    schedule = Schedule(kind="cosine", warmup_steps=2, total_steps=8)
    learner = Learner(model, schedule=schedule, learning_rate=0.02, weight_decay=0.3, max_grad_norm=0.05)
    decayed = [reference.mix.weight, reference.heads["value"].weight]
    rest = [p for p in reference.parameters() if not any(p is d for d in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95), foreach=False, fused=False)
    for step in range(6):
        parts = batches(documents(seed=step), max_tokens=20, ce=1.0, value_target=1.0, value=0.1)
        for batch in parts:
            learner.forward_backward(batch, CrossEntropy())
        norm = learner.step()
        optimizer.zero_grad()
        for batch in parts:
            logprob, _ = plain_logprobs(reference, batch)
            value = reference.heads["value"](reference(batch.tokens, batch.layout)[batch.position])[:, 0]
            (-(batch.streams["ce"] * logprob).sum() + 0.5 * (batch.streams["value"] * (value - 1) ** 2).sum()).backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.05)
        assert norm.item() == pytest.approx(expected_norm.item(), rel=1e-4) and norm > 0.05
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * schedule.ratio(step)
        optimizer.step()
        assert learner.learning_rate == pytest.approx(0.02 * schedule.ratio(step))
    for (name, parameter), expected in zip(model.named_parameters(), reference.parameters()):
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=2e-5, msg=name)


def test_any_optimizer_will_do():
    model = Bigram()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.5), Schedule(kind="linear", total_steps=2), max_grad_norm=None)
    before = model.mix.weight.detach().clone()
    (batch,) = batches()
    learner.forward_backward(batch, CrossEntropy())
    gradient = model.mix.weight.grad.clone()
    learner.step()
    torch.testing.assert_close(model.mix.weight, before - 0.5 * gradient)
    assert model.mix.weight.grad is None
    learner.forward_backward(batch, CrossEntropy())
    gradient, before = model.mix.weight.grad.clone(), model.mix.weight.detach().clone()
    learner.step()
    torch.testing.assert_close(model.mix.weight, before - 0.25 * gradient)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tiny_sequence_is_learned(dtype):
    policy = small_policy(dtype)
    buffer = TrajectoryBuffer.from_arrays([1, 5, 2, 9, 9, 3, 7, 1, 5, 4], [0, 10])
    (batch,) = batches(buffer)
    learner = Learner(policy, learning_rate=2e-2)
    losses = []
    for _ in range(60):
        losses.append(learner.forward_backward(batch, CrossEntropy())["train/loss"])
        learner.step()
    assert losses[0] > 2 and losses[-1] < 0.1


def test_low_precision_weights_have_float32_masters():
    model = Bigram(torch.bfloat16)
    learner = Learner(model, learning_rate=1e-5, weight_decay=0.0)
    before = model.mix.weight.detach().clone()
    for _ in range(3):
        (batch,) = batches()
        learner.forward_backward(batch, CrossEntropy())
        learner.step()
    master = learner.state_dict()["masters"]["mix.weight"]
    assert master.dtype == torch.float32 and model.mix.weight.dtype == torch.bfloat16
    # three updates of 1e-5 are far below bfloat16's spacing above 0.1; the master keeps them
    large = before.abs() > 0.1
    assert large.sum() > 50 and torch.equal(model.mix.weight[large], before[large])
    assert (master - before.float()).abs().max() == pytest.approx(3e-5, rel=0.1)
    states = learner.optimizer.state_dict()["state"].values()
    assert all(entry["exp_avg"].dtype == torch.float32 for entry in states)


def test_low_precision_gradients_are_summed_in_float32():
    model, exact = Bigram(torch.bfloat16), Bigram(torch.bfloat16)
    parts = batches(documents(n=200, seed=4), max_tokens=20)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=1.0), max_grad_norm=None)
    total = 0
    for batch in parts:
        learner.forward_backward(batch, CrossEntropy())
        exact.zero_grad()
        gradient = torch.autograd.grad(-(batch.streams["ce"] * plain_logprobs(exact, batch)[0]).sum(), [exact.norm.bias])[0]
        total = total + gradient.double()
    summed = learner._weights.moved["norm.bias"].grad
    assert summed.dtype == torch.float32
    torch.testing.assert_close(summed.double(), total, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(where, caplog):
    model = Bigram()
    learner = Learner(model, ema=0.5, learning_rate=0.1, max_nonfinite=3)
    train(learner, 1)
    before = copy_of({name: item for name, item in learner.state_dict().items() if name != "counters"})
    (good,), (bad,) = batches(), batches(ce=np.nan if where == "loss" else 1.0)
    hook = model.norm.bias.register_hook(lambda g: g * np.inf if where == "gradient" else g)
    learner.forward_backward(good, CrossEntropy())
    metrics = learner.forward_backward(bad, CrossEntropy())
    assert torch.isfinite(metrics["train/loss"]) == (where == "gradient")
    with caplog.at_level(logging.WARNING):
        learner.step()
    assert f"step 1 skipped: the {'loss' if where == 'loss' else 'gradient (norm.bias)'} is not finite (1 in a row)" in caplog.text
    assert_same_state(before, copy_of({name: item for name, item in learner.state_dict().items() if name != "counters"}))
    assert (learner.num_skipped, learner.num_skipped_in_a_row, learner.num_steps) == (1, 1, 2)
    assert all(p.grad is None for p in model.parameters())
    hook.remove()
    learner.forward_backward(good, CrossEntropy())
    learner.step()
    assert (learner.num_skipped, learner.num_skipped_in_a_row) == (1, 0)
    assert not torch.equal(model.mix.weight, before["/weights/mix.weight"])


def test_too_many_skipped_steps_in_a_row_stop_the_run():
    learner = Learner(Bigram(), max_nonfinite=2)
    (bad,) = batches(ce=np.nan)
    learner.forward_backward(bad, CrossEntropy())
    learner.step()
    learner.forward_backward(bad, CrossEntropy())
    with pytest.raises(FloatingPointError, match=r"the loss is not finite at step 1, the 2th skipped step in a row \(max_nonfinite=2\)"):
        learner.step()


def test_frozen_parameters_stay_and_have_no_state():
    model = Bigram()
    learner = Learner(model, trainable=["mix.*", "norm.bias"], learning_rate=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(learner, 2)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"mix.weight", "mix.bias", "norm.bias"}
    assert len(learner.optimizer.state_dict()["state"]) == 3


def test_the_moving_average():
    model = Bigram()
    learner = Learner(model, ema=0.75, learning_rate=0.1)
    expected = model.mix.weight.detach().clone()
    for step in range(3):
        train(learner, 1, step)
        expected = 0.75 * expected + 0.25 * model.mix.weight.detach()
    own = model.mix.weight.detach().clone()
    with learner.averaged():
        torch.testing.assert_close(model.mix.weight, expected)
        assert not torch.equal(model.mix.weight, own)
    assert torch.equal(model.mix.weight, own)
    with pytest.raises(RuntimeError, match="needs a Learner with ema"), Learner(Bigram()).averaged():
        pass


def test_work_is_counted():
    policy = small_policy()
    learner = Learner(policy)
    (batch,) = batches()
    metrics = learner.forward_backward(batch, CrossEntropy())
    expected = policy.flops(batch.num_tokens, batch.layout, num_predictions=batch.num_rows, backward=True)
    assert learner.flops == expected > 0 and metrics["train/flops"].item() == pytest.approx(expected, rel=1e-6)
    assert (learner.num_tokens, learner.num_rows) == (batch.num_tokens, batch.num_rows)
    assert all(value.dim() == 0 and not value.requires_grad for value in metrics.values())


def test_misuse_has_clear_errors():
    (batch,) = batches()
    learner = Learner(Bigram())
    with pytest.raises(RuntimeError, match="must follow a forward_backward"):
        learner.step()
    with pytest.raises(ValueError, match=r"PPOClip needs the streams .* lacks \['advantage'\]"):
        learner.forward_backward(batch, PPOClip())
    learner.forward_backward(batch, CrossEntropy())
    with pytest.raises(RuntimeError, match="must be saved after step"):
        learner.state_dict()
    (values,) = batches(ce=1.0, value_target=1.0)
    with pytest.raises(ValueError, match="streams must hold 'value'"):
        learner.forward_backward(values, CrossEntropy())
    (values,) = batches(ce=1.0, value_target=1.0, value=1.0)
    with pytest.raises(ValueError, match=r"policy must have heads\['value'\].*got \[\]"):
        Learner(small_policy(heads=())).forward_backward(values, CrossEntropy())


def foreign_optimizer():
    return Learner(Bigram(), torch.optim.SGD(Bigram().parameters(), lr=0.1))


def moved_optimizer():
    model = Bigram()
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return Learner(model, optimizer)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Learner(Bigram(), max_grad_norm=0.0), "max_grad_norm must be > 0 or None, got 0.0"),
        (lambda: Learner(Bigram(), max_nonfinite=0), "max_nonfinite must be >= 1, got 0"),
        (lambda: Learner(Bigram(), ema=1.0), r"ema must be in \(0, 1\) or None, got 1.0"),
        (lambda: Learner(Bigram(), trainable="absent.*"), r"trainable must match .*, got 'absent.\*'"),
        (lambda: Learner(Bigram(), torch.optim.SGD(Bigram().parameters(), lr=1), learning_rate=0.1), "learning_rate and weight_decay must be None"),
        (lambda: Learner(Bigram().requires_grad_(False)), "policy must have a parameter that requires a gradient"),
        (foreign_optimizer, "optimizer must hold parameters of the policy only"),
        (moved_optimizer, "optimizer must not have taken a step"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_layouts_of_the_tiny_module_do_not_leak():
    # the module that the tests above lean on: documents do not see each other
    model = Bigram()
    together = model(torch.tensor([1, 2, 3, 4]), Layout([0, 2, 4]))
    assert torch.equal(together[2:], model(torch.tensor([3, 4]), Layout([0, 2])))
