"""Training in shards equals training alone, and checkpoints do not know on how many ranks they were made: real groups over gloo."""

import hashlib

import numpy as np
import pytest
import torch

from paradigm import compiled as compilation
from paradigm import distributed
from paradigm.batch import PackedBatch
from paradigm.learner import Learner, Schedule
from paradigm.objective import CrossEntropy
from paradigm.optimizer import Muon
from paradigm.recipe_run import apply
from paradigm.sharding import Copies, is_sharded, whole
from paradigm.stage import Part, Update
from tests.distributed_cases import run_ranks
from tests.learner_cases import assert_same_state, documents, small_policy

STEPS = 6
BFLOAT16 = {"dtype": "bfloat16", "learning_rate": 1e-3}  # low, or what rounds otherwise soon is another policy


def learner_of(optimizer="adamw", dtype="float32", **options):
    """(policy in both its copies, learner); a small norm, so that every step is clipped."""
    policy = Copies(small_policy(dtype))
    made = Muon(policy.trained, learning_rate=0.02, weight_decay=0.1) if optimizer == "muon" else None
    rate = {} if made else {"learning_rate": 0.02}
    schedule = Schedule(kind="linear", total_steps=2 * STEPS)
    return policy, Learner(policy.trained, made, schedule, **{"max_grad_norm": 0.1, "ema": 0.9, **rate, **options})


def imitated(learner, first=0, steps=STEPS, spoilt=(), **pack):
    """Rows of metrics of steps over one set of documents each, of which the ranks have their shares; the smallest sets are 3 documents."""
    found = []
    for step in range(first, first + steps):
        buffer = documents(n=3 + 4 * (step % 3), seed=step)
        streams = {"ce": 1.0, "value": 0.5, "value_target": 0.25}
        batches = PackedBatch.pack(buffer, 20, rows="all", share=distributed.share(), **streams, **pack)
        if step in spoilt and distributed.rank() == distributed.world() - 1:
            batches[0].streams["value_target"][0] = float("nan")
        row = apply(learner, Update((Part(batches, CrossEntropy()),), {}))
        found.append({name: float(value) for name, value in row.items()})
    return found


def outcome(policy, learner, rows):
    """All that a run says of itself, the same on every rank, and on any number of them."""
    policy.gather()
    weights = {name: p.detach().float().numpy().copy() for name, p in policy.whole.named_parameters()}
    counts = {name: getattr(learner, name) for name in ("num_steps", "num_skipped", "num_tokens", "num_rows", "flops")}
    return rows, weights, counts


def trained(options, how):
    policy, learner = learner_of(**options)
    assert is_sharded(policy.trained.head_weight) == (distributed.world() > 1)
    return outcome(policy, learner, imitated(learner, **how))


def assert_close(found, expected, tolerance=1e-5):
    (rows, weights, counts), (known_rows, known_weights, known_counts) = found, expected
    assert counts == known_counts
    for row, known in zip(rows, known_rows, strict=True):
        assert row == pytest.approx(known, rel=tolerance, abs=tolerance, nan_ok=True)
    for name, weight in known_weights.items():
        np.testing.assert_allclose(weights[name], weight, rtol=10 * tolerance, atol=10 * tolerance, err_msg=name)


def trained_compiled(compiled):
    """In shards, by layers that are recomputed and compiled: FSDP makes their weights whole around both."""
    if compiled:  # in a process of its own
        compilation.BACKEND = "aot_eager"
    policy, learner = learner_of()
    policy.trained.exact = False
    policy.trained.compiled, policy.trained.recomputed_layers = compiled, 1
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # of this process, whatever it has run
    rows = imitated(learner)
    assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] > before) == compiled
    return outcome(policy, learner, rows)


def test_compiled_layers_train_in_shards() -> None:
    plain, (first, second) = trained_compiled(False), run_ranks(2, trained_compiled, True)
    assert_close(first, plain)
    assert_close(second, plain)


def trained_fp8(compiled):
    """By float8 products, with one layer recomputed."""
    if compiled:  # in a process of its own
        compilation.BACKEND = "aot_eager"
    policy = Copies(small_policy("bfloat16", head_dim=16))
    policy.trained.exact = False
    policy.trained.fp8, policy.trained.compiled, policy.trained.recomputed_layers = True, compiled, 1
    learner = Learner(policy.trained, learning_rate=1e-3)
    return outcome(policy, learner, imitated(learner))


def test_float8_products_train_in_shards() -> None:
    alone = trained_fp8(False)
    for found in run_ranks(2, trained_fp8, True):
        assert_close(found, alone, tolerance=1e-2)


@pytest.mark.parametrize(
    ("world", "options", "how"),
    [
        (2, {}, {}),
        (4, {}, {}),  # more ranks than documents: some have an empty batch
        (2, {"optimizer": "muon", "max_grad_norm": None}, {"normalize": "trajectories"}),
        (2, {"trainable": "heads.*"}, {}),
    ],
)
def test_losses_and_weights_are_those_of_one_process(world, options, how) -> None:
    expected = trained(options, how)
    moved = [np.abs(expected[1][name] - p.detach().numpy()).max() for name, p in small_policy().named_parameters()]
    assert len(expected[0]) > 5 and max(moved) > 0.02, "a policy that hardly moves proves nothing"
    for found in run_ranks(world, trained, options, how):
        assert_close(found, expected)


def test_low_precision_has_its_masters_in_shards() -> None:
    expected = trained(BFLOAT16, {})
    for found in run_ranks(2, trained, BFLOAT16, {}):
        assert_close(found, expected, tolerance=1e-2)  # each rank's gradients round by themselves


def test_a_spoilt_batch_of_one_rank_is_skipped_by_all() -> None:
    options, how = {"max_nonfinite": 3}, {"spoilt": (1, 4)}
    expected = trained(options, how)
    assert expected[2]["num_skipped"] == 2 and expected[0][1]["train/loss"] != expected[0][1]["train/loss"]
    for found in run_ranks(2, trained, options, how):
        assert_close(found, expected)
    for error in run_ranks(2, trained, {"max_nonfinite": 2}, {"spoilt": (1, 2)}, may_fail=True):
        assert isinstance(error, FloatingPointError), "every rank says so"


def test_the_whole_copy_is_what_is_trained() -> None:
    run_ranks(2, gathered_when_asked)


def gathered_when_asked():
    policy, learner = learner_of()
    own = dict(policy.whole.named_parameters())
    before = {name: p.detach().clone() for name, p in own.items()}
    imitated(learner, steps=1)
    assert all(torch.equal(p, before[name]) for name, p in own.items())
    policy.gather()
    assert not any(torch.equal(p, before[name]) for name, p in own.items())
    with learner.averaged():
        policy.gather()
        assert all(torch.equal(p, whole(learner.ema[name])) for name, p in own.items())


def resumed(folder, name, options, before, first):
    """Goes on from the checkpoint `before` and writes `name`; what is loaded must be written again with the same bits."""
    policy, learner = learner_of(**options)
    if before is not None:
        assert learner.load_checkpoint(folder / before) == {"step": first}
        learner.save_checkpoint(folder / f"{name}-again", {"step": first})
    rows = imitated(learner, first, 3)
    learner.save_checkpoint(folder / name, {"step": first + 3})
    return outcome(policy, learner, rows)


def digests(folder):
    """Hashes of a checkpoint's files, but for the manifest, which numbers checkpoints."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("options", [{"optimizer": "muon"}, BFLOAT16], ids=["muon", "adamw with masters"])
def test_checkpoints_go_from_1_to_2_to_4_ranks_and_back(tmp_path, options) -> None:
    before, rows = None, []
    for part, world in enumerate((1, 2, 4, 1)):
        name = f"{part}-of-{world}"
        found = run_ranks(world, resumed, tmp_path, name, options, before, 3 * part)
        rows += found[0][0]
        if before is not None:
            again = digests(tmp_path / f"{name}-again")
            assert again == digests(tmp_path / before), "weights, masters, average, optimizer and counters: every bit"
            assert "learner.safetensors" in again and "policy/model.safetensors" in again
        before = name
    policy, learner = learner_of(**options)
    expected = outcome(policy, learner, imitated(learner, steps=12))
    assert_close((rows, *found[0][1:]), expected, tolerance=1e-2 if "dtype" in options else 1e-5)
    if "optimizer" not in options:  # one of its own making cannot be known from the checkpoint
        _, learner = learner_of(**options)
        learner.load_checkpoint(tmp_path / "1-of-2")
        assert_same_state(Learner.load(tmp_path / "1-of-2").state_dict(), learner.state_dict())
