import pytest
import torch

from paradigm.checkpoint import CheckpointError
from paradigm.learner import Learner, Schedule
from paradigm.policy import Policy, PolicyConfig
from tests.learner_cases import VOCABULARY, Bigram, assert_same_state, copy_of, small_policy, train


def makers():
    options = {"schedule": Schedule(kind="wsd", warmup_steps=1, total_steps=7), "learning_rate": 0.03, "max_grad_norm": 0.5}
    return {
        "float32": (small_policy, options),
        "bfloat16 with average": (lambda: small_policy("bfloat16"), {**options, "ema": 0.9}),
        "frozen": (small_policy, {**options, "trainable": "model.layers.1.*"}),
        "a module that is no Policy": (Bigram, options),
    }


@pytest.mark.parametrize("case", makers())
def test_a_resumed_run_is_bit_identical(tmp_path, case):
    make, options = makers()[case]
    straight = Learner(make(), **options)
    train(straight, 3)
    straight.save_checkpoint(tmp_path / "step-3", {"cursor": 17, "key": (1, 2), "noise": torch.Generator().manual_seed(4)})
    train(straight, 3, first=3)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    resumed = Learner(model, **options)
    extra = resumed.load_checkpoint(tmp_path / "step-3")
    assert extra["cursor"] == 17 and extra["key"] == (1, 2) and isinstance(extra["noise"], torch.Generator)
    assert resumed.num_steps == 3 and resumed.num_tokens > 0
    train(resumed, 3, first=3)
    assert_same_state(resumed.state_dict(), straight.state_dict())


def test_load_makes_the_learner_that_was_saved(tmp_path):
    learner = Learner(small_policy("bfloat16"), schedule=Schedule(kind="linear", total_steps=9), ema=0.9, trainable="model.*", learning_rate=0.02)
    train(learner, 2)
    learner.save(tmp_path / "c")
    again = Learner.load(tmp_path / "c")
    assert_same_state(again.state_dict(), learner.state_dict())
    train(learner, 1, first=2)
    train(again, 1, first=2)
    assert_same_state(again.state_dict(), learner.state_dict())
    assert Policy.from_pretrained(tmp_path / "c" / "policy").config == small_policy("bfloat16").config

    Learner(Bigram()).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"policy must be given, since .* a module that is no Policy"):
        Learner.load(tmp_path / "other")
    assert Learner.load(tmp_path / "other", Bigram()).num_steps == 0


def refusals():
    wide = PolicyConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=1, heads=("value",))
    deep = PolicyConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_layers=3, num_heads=2, num_kv_heads=1, heads=("value",))

    def sgd():
        policy = small_policy()
        return Learner(policy, torch.optim.SGD(policy.parameters(), lr=0.1))

    return {
        "width": (lambda: Learner(Policy(wide)), r"policy must be that of the checkpoint, where .* is torch.float32 \[.*\], got torch.* \[.*32"),
        "depth": (lambda: Learner(Policy(deep)), r"policy must be that of the checkpoint, which has no model.layers.2"),
        "heads": (lambda: Learner(small_policy(heads=())), r"which has heads.value.bias of shape \[1\]; this one has none"),
        "dtype": (lambda: Learner(small_policy("bfloat16")), r"is torch.float32 .*, got torch.bfloat16"),
        "optimizer": (sgd, "optimizer must be AdamW, as in the saved learner, got SGD"),
        "frozen": (lambda: Learner(small_policy(), trainable="model.*"), "optimizer must have the saved learner's groups"),
        "average": (lambda: Learner(small_policy(), ema=0.5), "ema must be None, as in the saved learner, got 0.5"),
        "module": (lambda: Learner(Bigram()), "policy must be that of the checkpoint"),
    }


@pytest.mark.parametrize("case", refusals())
def test_another_architecture_or_optimizer_is_refused_before_anything_changes(tmp_path, case):
    saved = Learner(small_policy())
    train(saved, 1)
    saved.save_checkpoint(tmp_path / "c")
    make, message = refusals()[case]
    learner = make()
    before = copy_of(learner.state_dict())
    with pytest.raises(ValueError, match=message):
        learner.load_checkpoint(tmp_path / "c")
    assert_same_state(before, copy_of(learner.state_dict()))


def test_a_damaged_checkpoint_is_refused_before_anything_changes(tmp_path):
    learner = Learner(small_policy())
    train(learner, 1)
    learner.save_checkpoint(tmp_path / "c")
    file = tmp_path / "c" / "policy" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    train(learner, 1, first=1)
    before = copy_of(learner.state_dict())
    with pytest.raises(CheckpointError, match=r"policy/model.safetensors is damaged: expected SHA-256"):
        learner.load_checkpoint(tmp_path / "c")
    assert_same_state(before, copy_of(learner.state_dict()))


def test_a_loaded_state_is_a_copy():
    first, second = Learner(Bigram()), Learner(Bigram())
    train(first, 1)
    second.load_state_dict(first.state_dict())
    before = copy_of(first.state_dict())
    train(second, 2)
    assert_same_state(before, copy_of(first.state_dict()))
