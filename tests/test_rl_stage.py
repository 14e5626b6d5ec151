"""RL stages by the name of their objective: the papers' constants, what a recipe may change, what is refused, and that each one trains."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from paradigm.actor_critic import ActorCritic
from paradigm.config import ConfigError
from paradigm.importance import ImportanceCorrection
from paradigm.kl import Divergence, KLPenalty
from paradigm.objective import CISPO, Combined, MaskedReinforce, PPOClip, Reinforce
from paradigm.policy import Policy
from paradigm.preference import DPO
from paradigm.recipe import Recipe, decode_recipe, load_recipe, recipe_values
from paradigm.recipe_run import RecipeRun, run_recipe
from paradigm.rl_stage import PAPERS, RL
from paradigm.rollout_driver import RolloutDriver
from paradigm.rollout_source import RolloutSource
from paradigm.sampler import Sampler
from paradigm.sequence_objective import GSPO

POLICY = {"vocab_size": 272, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}


def recipe_of(*stages: dict, **rl) -> Recipe:
    """Self-play from scratch, whose rewards differ from the first game on."""
    rl = {"kind": "rl", "steps": 2, "tasks_per_step": 2, "group_size": 4, "max_tokens": 64, "checkpoint_every": 1, **rl}
    if rl.get("objective") == "distillation":
        rl.setdefault("teacher", "imitate")
    world, evaluation = {"kind": "connect_four", "depth": 1}, {"problems": 2, "curve_problems": 2, "temperatures": [1.0]}
    return decode_recipe({"name": "tiny", "slots": 16, "policy": POLICY, "world": world, "evaluation": evaluation, "stages": [*stages, rl]})


IMITATE = {"kind": "imitate", "tokens": 512, "step_tokens": 512, "problems": 4}


def rows_of(folder: Path, stage: str) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage]


def weights_of(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return dict(Policy.from_pretrained(folder / "stages" / stage / "model").named_parameters())


@pytest.mark.parametrize("objective", PAPERS)
def test_a_tiny_stage_trains_with_each_objective(objective, tmp_path) -> None:
    options = {"auxiliary_every": 2, "auxiliary_epochs": 2} if objective == "ppg" else {}
    earlier = [IMITATE] if objective == "distillation" else []
    start = {"start": "scratch"} if objective == "distillation" else {}
    run_recipe(recipe_of(*earlier, objective=objective, **options, **start), tmp_path)
    rows = rows_of(tmp_path, "rl")
    assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert rows[-1]["train/grad_norm"] > 0
    untrained = Policy(decode_recipe({"name": "p", "policy": POLICY, "stages": [{"kind": "rl"}]}).policy, seed=0)
    trained = weights_of(tmp_path, "rl")
    assert any(not torch.equal(trained[name], parameter) for name, parameter in untrained.named_parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "reinforce", "advantage": "gae", "lam": 1.0},
        {"objective": "ppo", "kl": 0.1, "kl_estimator": "full", "kl_direction": "forward", "kl_schedule": "linear"},
        {"objective": "ppo", "kl": 0.1, "kl_in": "reward", "kl_estimator": "k2", "advantage": "gae"},
        {"objective": "gspo", "correction": {"level": "sequence", "kind": "mask", "high": 4.0}, "updates_per_step": 2},
        {"objective": "dapo", "correction": {}, "entropy": 0.01},
    ],
    ids=["learned baseline", "full forward KL", "KL in the reward", "masked sequences", "truncated tokens"],
)
def test_a_tiny_stage_trains_with_combinations(options, tmp_path) -> None:
    run_recipe(recipe_of(**options), tmp_path)
    rows = rows_of(tmp_path, "rl")
    assert len(rows) == 2 and all(row["train/grad_norm"] > 0 for row in rows)
    if "correction" in options:
        # zero staleness in exact mode
        assert rows[0]["importance/weight"] == 1 and rows[0]["importance/weight_max"] == 1 and rows[0]["importance/cut"] == 0
    if options.get("kl_estimator") == "full":
        assert "divergence/loss" in rows[0]


@pytest.mark.parametrize("options", [{"objective": "dapo"}, {"objective": "grpo", "correction": {}}], ids=["alone", "beside a correction"])
def test_fast_mode_logs_its_mismatch_at_every_step_and_exact_mode_has_none(options, tmp_path, monkeypatch) -> None:
    recipe = recipe_of(kl=0.01, **options)
    recipe = dataclasses.replace(recipe, policy=dataclasses.replace(recipe.policy, hidden_size=128, intermediate_size=256))
    run_recipe(recipe, tmp_path / "exact")
    assert not any(name.startswith("mismatch/") for row in rows_of(tmp_path / "exact", "rl") for name in row)
    monkeypatch.setattr(RecipeRun, "sampler", lambda run, policy: Sampler(policy, slots=run.recipe.slots, exact=False))
    run_recipe(recipe, tmp_path / "fast")
    rows = rows_of(tmp_path / "fast", "rl")
    assert len(rows) == 2
    for row in rows:
        assert row["mismatch/rows"] > 20 and 0 < row["mismatch/distance"] < row["mismatch/distance_max"] < 0.5
        assert 0 < row["mismatch/k3"] < row["mismatch/distance_max"] ** 2  # of the order of its square


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "ppg", "auxiliary_every": 3, "auxiliary_epochs": 1, "kl": 0.1, "kl_schedule": "cosine"},
        {"objective": "scalerl", "drop_solved": 0.5, "tasks_per_step": 6},
        {"objective": "alphastar", "updates_per_step": 2},
    ],
    ids=lambda options: options["objective"],
)
def test_an_interrupted_stage_ends_with_the_same_bits(options, tmp_path, monkeypatch) -> None:
    recipe = recipe_of(steps=4, **options)
    run_recipe(recipe, tmp_path / "undisturbed")
    updates = RolloutSource.updates

    def interrupted(source, step):
        if step == 2:
            raise KeyboardInterrupt
        return updates(source, step)

    monkeypatch.setattr(RolloutSource, "updates", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "interrupted")
    monkeypatch.undo()
    run_recipe(recipe, tmp_path / "interrupted")
    ours, theirs = weights_of(tmp_path / "interrupted", "rl"), weights_of(tmp_path / "undisturbed", "rl")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_stage_interrupted_within_a_collection_ends_with_the_same_bits(tmp_path, monkeypatch) -> None:
    """Some of its rollouts are over, others half drawn: all are drawn again from the checkpoint before, with the same noise."""
    recipe = recipe_of(steps=4, objective="grpo")
    run_recipe(recipe, tmp_path / "undisturbed")
    step, drivers = RolloutDriver.step, []

    def interrupted(driver):
        step(driver)
        drivers.extend([driver] if driver not in drivers else [])
        if len(drivers) >= 4 and driver.core.num_done > 0 and not driver.core.is_done:
            raise KeyboardInterrupt

    monkeypatch.setattr(RolloutDriver, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "interrupted")
    monkeypatch.undo()
    run_recipe(recipe, tmp_path / "interrupted")
    ours, theirs = weights_of(tmp_path / "interrupted", "rl"), weights_of(tmp_path / "undisturbed", "rl")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_pretraining_mix_adds_documents(tmp_path) -> None:
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    pretrain = {"kind": "pretrain", "tokens": 512, "step_tokens": 512, "text": str(tmp_path / "text.txt"), "text_share": 1.0, "document_tokens": 48}
    run_recipe(recipe_of(pretrain, objective="gspo", pretrain=0.5, pretrain_of="pretrain", pretrain_tokens=256), tmp_path / "run")
    row = rows_of(tmp_path / "run", "rl")[0]
    assert row["ce/rows"] > 100 and row["policy/rows"] > 0
    assert row["ce/loss"] == pytest.approx(0.5 * row["ce/nll"], rel=1e-4)
    with pytest.raises(ConfigError, match="pretrain_of must name a pretrain stage, got 'imitate'"):
        recipe_of(IMITATE, pretrain=0.5, pretrain_of="imitate")
    with pytest.raises(ConfigError, match=r"pretrain_of must name an earlier stage \(none yet\), got 'pretrain'"):
        recipe_of(pretrain=0.5, pretrain_of="pretrain")


def test_the_papers_constants_can_be_changed(tmp_path) -> None:
    assert RL.of("dapo", name="rl").clip_high == 0.28 and RL.of("dapo", name="rl", clip_high=0.3).clip_high == 0.3
    stage = recipe_of(objective="scalerl", drop_solved=0.0).stage("rl")
    assert (stage.normalize, stage.average, stage.drop_uninformative, stage.drop_solved) == ("batch", "groups", True, 0.0)
    path = tmp_path / "r.toml"
    values = "\n".join(f"{key} = {value!r}" for key, value in POLICY.items())
    path.write_text(f'name = "r"\n[policy]\n{values}\n[[stages]]\nkind = "rl"\nobjective = "grpo"\n')
    assert load_recipe(path).stage("rl").kl == 0.04
    changed = load_recipe(path, ["rl.objective=gspo", "rl.correction.level=sequence", "rl.clip_low=1e-3"])
    assert changed.stage("rl").clip_low == 1e-3 and changed.stage("rl").clip_high == 4e-4
    assert changed.stage("rl").correction == ImportanceCorrection(level="sequence")
    assert decode_recipe(recipe_values(changed)) == changed


def test_names_become_objectives() -> None:
    def built(name, **options):
        return RL.of(name, name="rl", **options).build_objective()

    assert built("reinforce") == built("rloo") == Reinforce()
    assert built("ppo") == built("dr_grpo") == built("reinforce++") == built("ppg") == PPOClip()
    assert built("grpo", entropy=0.1) == Combined(objectives=(PPOClip(entropy=True), KLPenalty()))
    assert built("dapo") == PPOClip(clip_high=0.28) and built("gspo") == GSPO() and built("dpo", beta=0.2) == DPO(beta=0.2)
    assert built("cispo") == built("scalerl") == CISPO() and built("icepop") == MaskedReinforce()
    assert built("vtrace") == ActorCritic() and built("upgo") == ActorCritic(advantages=("upgo",))
    assert built("alphastar") == ActorCritic(advantages=("vtrace", "upgo"), value_target="td_lambda", lam=0.8)
    assert built("distillation", teacher="imitate") == Divergence()
    assert built("ppo", kl=1.0, kl_estimator="full") == Combined(objectives=(PPOClip(), Divergence()))
    assert built("cispo", kl=1.0, kl_estimator="k2") == Combined(objectives=(CISPO(), KLPenalty(estimator="k2")))


TOKEN = ImportanceCorrection()


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("rloo", {"group_size": 1}, "group_size must be >= 2, since the group is the baseline, got 1"),
        ("dpo", {"group_size": 1}, "group_size must be >= 2, since pairs come from the group, got 1"),
        ("gspo", {"correction": TOKEN}, "correction.level must be 'sequence' with objective 'gspo'.*got 'token'"),
        ("gspo", {"advantage": "gae", "normalize": "none"}, "advantage must be one number a rollout with objective 'gspo'.*got 'gae'"),
        ("scalerl", {"correction": TOKEN}, "correction must be absent with objective 'scalerl', whose own weights correct"),
        ("vtrace", {"correction": TOKEN}, "correction must be absent with objective 'vtrace', whose own weights correct"),
        ("dpo", {"correction": TOKEN}, "correction must be absent with objective 'dpo', which has no ratio"),
        ("vtrace", {"advantage": "group"}, "advantage must be 'none' with objective 'vtrace', got 'group'"),
        ("ppo", {"advantage": "none"}, "advantage must not be 'none' with objective 'ppo', got 'none'"),
        ("ppo", {"advantage": "gae", "normalize": "std"}, "normalize must be 'none' with advantage 'gae', which has no group, got 'std'"),
        ("ppo", {"advantage": "batch", "drop_uninformative": True}, "drop_uninformative must be false with advantage 'batch'.*got true"),
        ("ppo", {"auxiliary_every": 4}, "auxiliary_every must be 0 with advantage 'group', which leaves no value targets, got 4"),
        ("ppo", {"kl": 0.1, "kl_estimator": "k1"}, "kl_estimator must be 'k2', 'k3' or 'full' in the loss.*got 'k1'"),
        ("ppo", {"kl": 0.1, "kl_estimator": "full", "kl_in": "reward"}, "kl_estimator must be 'k1', 'k2' or 'k3' in the reward, got 'full'"),
        ("ppo", {"kl": 0.1, "kl_direction": "forward"}, "kl_estimator must be 'full' for the forward direction.*got 'k3'"),
        ("gspo", {"kl": 0.1}, "kl_in must be 'reward' with objective 'gspo', which takes two passes, got 'loss'"),
        ("dpo", {"kl": 0.1}, "kl must be 0 with objective 'dpo', whose beta is its own, got 0.1"),
        ("dpo", {"entropy": 0.1}, "entropy must be 0 with objective 'dpo', got 0.1"),
        ("distillation", {}, "teacher must name a stage with objective 'distillation' and no other, got '' with 'distillation'"),
        ("ppo", {"teacher": "imitate"}, "teacher must name a stage with objective 'distillation' and no other, got 'imitate' with 'ppo'"),
        ("distillation", {"teacher": "a", "overlong_share": 0.1}, "overlong_share must be 0 with objective 'distillation'.*got 0.1"),
        ("ppo", {"pretrain": 0.1}, "pretrain_of must name a stage where pretrain > 0 and only there, got '' with 0.1"),
        ("ppo", {"lam": 1.5}, r"lam must be in \[0, 1\], got 1.5"),
        ("ppo", {"drop_solved": 2.0}, r"drop_solved must be in \[0, 1\], got 2"),
        ("dapo", {"overlong_share": 1.0}, r"overlong_share must be in \[0, 1\), got 1"),
        ("ppo", {"kl": -1.0}, "kl must be >= 0, got -1"),
        ("ppo", {"clip_low": 2.0}, r"clip_low must be in \[0, 1\], got 2"),
        ("cispo", {"max_ratio": 0.5}, "max_ratio must be >= 1, got 0.5"),
        ("dpo", {"beta": 0.0}, "beta must be > 0, got 0"),
        ("ppo", {"updates_per_step": 0}, "updates_per_step must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(objective, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        RL.of(objective, name="rl", **options)


def test_refusals_reach_whoever_reads_the_recipe() -> None:
    with pytest.raises(ConfigError, match=r"recipe.rl: correction.level must be 'sequence' with objective 'gspo', whose .*, got 'token'$"):
        recipe_of(objective="gspo", correction={"kind": "truncate"})
    with pytest.raises(ConfigError, match=r"recipe.rl.correction: unknown key 'hgih'; did you mean 'high'"):
        recipe_of(objective="ppo", correction={"hgih": 3.0})
    with pytest.raises(ConfigError, match=r"recipe.rl: objective must be one of reinforce, rloo, .*, got 'dappo' \(did you mean 'dapo'\?\)"):
        recipe_of(objective="dappo")
    with pytest.raises(ConfigError, match=r"recipe.rl.teacher must name an earlier stage \(none yet\), got 'imitate'"):
        recipe_of(objective="distillation")
