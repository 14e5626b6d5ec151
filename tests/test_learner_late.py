"""A late learner: nothing in a step waits for the device, and the weights are those of one that waits, bad steps included."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from paradigm import learner as learner_module
from paradigm.kernels import flags
from paradigm.learner import Learner, Schedule
from paradigm.objective import CrossEntropy, PPOClip
from paradigm.optimizer import Muon
from paradigm.sequence_objective import GSPO
from tests.learner_cases import Bigram, assert_same_state, batches, copy_of, documents, small_policy, train

OPTIMIZERS = {
    "adamw": lambda policy: None,
    "adam": lambda policy: torch.optim.Adam(policy.parameters(), lr=0.02, fused=True),
    "muon": lambda policy: Muon(policy, learning_rate=0.02, weight_decay=0.1),
}


def step(learner, number, bad=""):
    hook = None
    if bad == "gradient":
        hook = learner.policy.model.norm.weight.register_hook(lambda g: g * np.inf)
    for batch in batches(documents(seed=number), max_tokens=20, ce=np.nan if bad == "loss" else 1.0):
        learner.forward_backward(batch, CrossEntropy())
    norm = learner.step()
    if hook is not None:
        hook.remove()
    return norm


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_moves_to_the_same_bits_and_leaves_them_after_bad_steps(optimizer, dtype):
    learners = []
    for late in (False, True):
        policy = small_policy(dtype)
        schedule = Schedule(kind="linear", total_steps=9)
        learners.append(Learner(policy, OPTIMIZERS[optimizer](policy), schedule, 0.05, ema=0.5, max_nonfinite=3, late=late))
    for number, bad in enumerate(["loss", "", "", "gradient", "loss", "", ""]):
        before = copy_of(learners[1]._weights.state()["weights"])
        norms = [step(learner, number, bad) for learner in learners]
        assert torch.equal(*norms) or bad
        assert torch.equal(copy_of(learners[1]._weights.state()["weights"])["/lm_head.weight"], before["/lm_head.weight"]) == bool(bad)
        assert_same_state(*(learner._weights.state()["weights"] for learner in learners))
    assert_same_state(*(learner.state_dict() for learner in learners))
    assert learners[1].num_skipped == 3 and learners[1].num_steps == 7


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_bad_step_is_booked_by_the_next(where, caplog):
    learner = Learner(small_policy(), ema=0.5, late=True)
    step(learner, 0)
    learner.settle()
    average = copy_of(learner.ema)
    with caplog.at_level(logging.WARNING):
        step(learner, 1, where)
        assert (learner.num_steps, learner.num_skipped, caplog.text) == (2, 0, "")
        step(learner, 2)
    what = "the loss" if where == "loss" else "the gradient (model.norm.weight)"
    assert f"step 1 skipped: {what} is not finite (1 in a row)" in caplog.text
    assert (learner.num_skipped, learner.num_skipped_in_a_row) == (1, 1)
    assert_same_state(average, copy_of(learner.ema))
    with learner.averaged():  # which books step 2
        assert learner.num_skipped_in_a_row == 0
        assert not torch.equal(learner.policy.head_weight, average["/lm_head.weight"])


def test_too_many_skipped_steps_in_a_row_stop_the_run_a_step_later():
    learner = Learner(small_policy(), max_nonfinite=2, late=True)
    before = copy_of(learner._weights.state()["weights"])
    step(learner, 0, "loss")
    step(learner, 1, "loss")
    with pytest.raises(FloatingPointError, match=r"the loss is not finite at step 1, the 2th skipped step in a row \(max_nonfinite=2\)"):
        step(learner, 2)
    assert_same_state(before, copy_of(learner._weights.state()["weights"]))
    assert learner.state_dict()["counters"]["num_skipped"] == 2


def test_what_kernels_found_is_raised_a_step_later(monkeypatch):
    monkeypatch.setattr(flags, "_FLAGS", {})
    learner = Learner(small_policy(), late=True)
    flags.flag("support", torch.device("cpu")).fill_((2**31 - 1 - 5) * 2**32 + 9)
    step(learner, 0)
    assert not any(flag.any() for flag in flags._FLAGS.values())
    with pytest.raises(ValueError, match=r"support row ids must be in \[-1, S\), got 9 in row 5 on cpu"):
        step(learner, 1)
    step(learner, 2)
    learner.settle()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_holds_what_the_last_step_found(tmp_path, optimizer):
    straight, saved, resumed = (Learner(policy, OPTIMIZERS[optimizer](policy), ema=0.9, late=True) for policy in (small_policy() for _ in range(3)))
    for learner in (straight, saved):
        step(learner, 0)
        step(learner, 1, "gradient")
    saved.save(tmp_path / "c")
    resumed.load_checkpoint(tmp_path / "c")
    assert resumed.num_skipped == 1
    for learner in (straight, resumed):
        train(learner, 2, first=2)
    assert_same_state(straight.state_dict(), resumed.state_dict())


class Unread:
    """In place of Transfer: nothing arrives, and all is well."""

    def __init__(self, tensor):
        self.size = tensor.numel()

    def tolist(self):
        return [True] * self.size


@pytest.mark.parametrize("objective", [PPOClip(), GSPO()], ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_step_reads_a_value(optimizer, objective, monkeypatch):
    """On tensors without data, where to read a value is an error."""
    monkeypatch.setattr(learner_module, "Transfer", Unread)
    monkeypatch.setattr(flags, "_FLAGS", {})  # Triton's interpreter leaves some, which would be read as raised
    policy = small_policy("bfloat16")
    angles = policy.rotary.reserve(64, torch.device("cpu"))
    policy.rotary = lambda positions: tuple(table.index_select(0, positions) for table in angles)  # on the CPU it looks at the positions
    (batch,) = batches(documents(), advantage=1.0, value_target=1.0, value=0.5)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in policy.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype))
        for late in (True, False):
            learner = Learner(policy, OPTIMIZERS[optimizer](policy), ema=0.5, late=late)
            for _ in range(2):
                learner.forward_backward(batch, objective)
                if not late:
                    with pytest.raises(DataDependentOutputException):
                        learner.step()
                    return
                learner.step()


def test_where_a_learner_is_late():
    policy = small_policy()
    assert not Learner(policy).late  # on the CPU
    for optimizer in (torch.optim.SGD(policy.parameters(), lr=0.1), torch.optim.AdamW(policy.parameters())):
        with pytest.raises(ValueError, match=f"late must not be True with {type(optimizer).__name__} over 1 ranks"):
            Learner(policy, optimizer, late=True)
    assert Learner(Bigram(), late=True).late
