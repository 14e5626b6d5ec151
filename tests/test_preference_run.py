"""A recipe on preferences from pretraining to its report, each stage of it alone, and what is measured on the way."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paradigm.claims import Group
from paradigm.cli import main
from paradigm.policy import Policy
from paradigm.preference_report import preference_sections, preference_table
from paradigm.recipe import load_recipe, recipe_values
from paradigm.recipe_run import RecipeRun, run_recipe
from paradigm.reward_stage import Reward
from paradigm.rollout_source import RolloutSource
from paradigm.run_folder import read_run
from paradigm.verifiers import RewardModel
from tests.preference_cases import POLICY, preference_recipe

VOCABULARY = 288
RL = {"kind": "rl", "start": "imitate", "reward_of": "reward", "objective": "ppo", "advantage": "gae", "steps": 4, "tasks_per_step": 8,
      "group_size": 2, "max_tokens": 48, "evaluate_every": 2, "checkpoint_every": 1, "learning_rate": 5e-3, "warmup_steps": 0}  # fmt: skip
MIX = {"pretrain": 0.5, "pretrain_of": "pretrain", "pretrain_tokens": 128}
KL = {"kl": 0.02, "kl_in": "reward", "kl_estimator": "k1"}


def recipe_of(folder: Path):
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 300)
    text = {"text": str(folder / "text.txt"), "text_share": 0.5, "document_tokens": 32, "held_out_every": 5, "step_tokens": 512}
    reward = {"kind": "reward", "epochs": 6.0, "pairs_per_step": 16, "learning_rate": 1e-2}
    return preference_recipe(
        folder,
        {"kind": "pretrain", "tokens": 4096, **text},
        {"kind": "imitate", "tokens": 4096, "step_tokens": 512},
        {**reward, "half": "first", "start": "imitate"},
        {"kind": "pretrain", "name": "gold-pretrain", "start": "scratch", "control": True, "width": 2, "tokens": 1024, **text},
        {**reward, "name": "gold", "label": "gold reward model", "start": "gold-pretrain", "half": "second"},
        {**RL, **KL, **MIX},
        {**RL, **MIX, "name": "rl-no-kl", "label": "rl without KL", "control": True},
        {**RL, **KL, "name": "rl-no-mix", "label": "rl without the pretraining mix", "control": True, "objective": "rloo",
         "advantage": "leave_one_out"},
        policy={**POLICY, "vocab_size": VOCABULARY}, data={"pairs": str(folder / "pairs.jsonl"), "vocabulary": VOCABULARY},
        evaluation={"problems": 16, "curve_problems": 8, "max_tokens": 48, "gold": "gold", "text_of": "pretrain", "text_tokens": 512},
    )  # fmt: skip


def rows_of(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chatgpt")
    run_recipe(recipe_of(folder), folder / "run")
    return folder


def test_what_is_measured(ran) -> None:
    rows = rows_of(ran / "run", "preferences.jsonl")
    assert [(r["stage"], r["kind"], r["step"]) for r in rows if r["stage"].startswith("rl") or r["kind"] == "start"] == [
        ("imitate", "start", 0), *((name, "rl", step) for name in ("rl", "rl-no-kl", "rl-no-mix") for step in (2, 4)),
    ]  # fmt: skip
    final = {r["stage"]: r for r in rows if r["final"] and r["kind"] != "start"}
    start = next(r for r in rows if r["kind"] == "start")
    assert start["kl"] == [0, 0, 0] and start["scorer"] == "reward" and start["unscored"] == 0
    for name in ("rl", "rl-no-kl", "rl-no-mix"):
        row = final[name]
        assert row["wins"] + row["draws"] + row["losses"] == row["prompts"] == start["prompts"] > 4
        assert row["kl"][0] != 0 and all(math.isfinite(x) for field in ("proxy", "gold", "kl", "text_loss", "text_change") for x in row[field])
    # a change is the difference of two losses, on the same documents
    assert final["rl"]["text_change"][0] == pytest.approx(final["rl"]["text_loss"][0] - final["imitate"]["text_loss"][0], abs=1e-6)
    assert final["rl"]["dialogue_change"][0] == pytest.approx(final["rl"]["dialogue_loss"][0] - final["imitate"]["dialogue_loss"][0], abs=1e-6)
    assert {final[name]["pairs"] for name in ("reward", "gold")} == {16} and "text_loss" in final["gold-pretrain"]


def test_the_figures_are_those_of_the_policies_that_were_saved(ran) -> None:
    run = RecipeRun(recipe_of(ran), ran / "run")
    stage = run.recipe.stage("rl")
    answers = run.preferences._answers(run.load_policy("rl"), stage)
    row = next(r for r in rows_of(ran / "run", "preferences.jsonl") if r["stage"] == "rl" and r["final"])
    assert answers.proxy.mean() == pytest.approx(row["proxy"][0], rel=1e-6) and answers.gold.mean() == pytest.approx(row["gold"][0], rel=1e-6)
    model = RewardModel(Policy.from_pretrained(ran / "run" / "stages" / "reward" / "model"))
    assert model.scores([t.tokens for t in answers.rollouts]).tolist() == answers.proxy.tolist()
    gold = Policy.from_pretrained(ran / "run" / "stages" / "gold" / "model")
    assert gold.config.hidden_size == 2 * model.policy.config.hidden_size and gold.config.num_heads == 4
    # against itself every prompt is a draw
    start = run.policy_before(stage)[0], answers
    assert run.preferences._against(answers, start) == {"wins": 0, "draws": len(answers.proxy), "losses": 0}


def test_what_a_reward_model_has_seen_by_way_of_imitation_is_not_held_out(ran) -> None:
    run = RecipeRun(recipe_of(ran), ran / "run")
    seen = run.preferences._has_seen_dialogues
    reward, gold = (run.recipe.stage(name) for name in ("reward", "gold"))
    assert seen(reward) and seen(gold) and not seen(replace(reward, start="scratch"))  # gold's pretraining shows it dialogues too
    rows = [r for r in rows_of(ran / "run", "preferences.jsonl") if r["kind"] == "reward" and r["final"]]
    pairs = run.world.pairs
    assert [r["pairs"] for r in rows] == [16, 16] and pairs.rows("test").size >= 16


def test_rewards_are_the_models_and_the_kl_is_logged(ran) -> None:
    metrics = [row for row in rows_of(ran / "run", "metrics.jsonl") if row["stage"] == "rl"]
    assert len(metrics) == 4 and metrics[0]["rollout/kl"] == pytest.approx(0, abs=1e-6) and metrics[-1]["rollout/kl"] != 0
    assert all("rollout/success" not in row and row["rollout/failed"] == 0 and row["ce/rows"] > 0 and row["value/rows"] > 0 for row in metrics)
    assert all("ce/rows" not in row for row in rows_of(ran / "run", "metrics.jsonl") if row["stage"] == "rl-no-mix")


def test_interrupted_rl_ends_with_the_same_bits_and_measurements(ran, monkeypatch) -> None:
    folder, recipe = ran / "again", recipe_of(ran)
    # as if it had been stopped before RL
    shutil.copytree(ran / "run", folder)
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | {"stages": info["stages"][:5]}))
    kept = [row for row in rows_of(folder, "preferences.jsonl") if not row["stage"].startswith("rl") and row["kind"] != "start"]
    (folder / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    for name in ("rl", "rl-no-kl", "rl-no-mix"):
        shutil.rmtree(folder / "stages" / name)
    updates = RolloutSource.updates

    def interrupted(source, step):
        if step == 3:
            raise KeyboardInterrupt
        return updates(source, step)

    monkeypatch.setattr(RolloutSource, "updates", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, folder)
    monkeypatch.undo()
    RecipeRun(recipe, folder).train(recipe.stage("rl"))
    one, other = (Policy.from_pretrained(ran / name / "stages" / "rl" / "model").state_dict() for name in ("run", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    expected = [row for row in rows_of(ran / "run", "preferences.jsonl") if not row["stage"].startswith("rl-")]
    assert rows_of(folder, "preferences.jsonl") == expected


def test_the_report_says_what_came_out(ran) -> None:
    run = read_run(ran / "run")
    assert run.missing == [] and run.is_about_preferences
    assert main(["report", str(ran / "run")]) == 0
    page = (ran / "run" / "report.html").read_text()
    for part in ("reward-models", "wins", "over-optimisation", "forgetting"):
        assert f'id="{part}"' in page
    assert "incomplete" not in page and 'id="learning"' not in page and page.count('<svg class="kind"') == 3
    row = next(r for r in run.preferences if r.stage == "reward" and r.final)
    assert f"The reward model orders {100 * row.correct / row.pairs:.1f}% of 16 held-out pairs as people did" in page
    shown = json.loads((ran / "run" / "responses.json").read_text())
    assert [r["stage"] for r in shown] == ["imitate"] * 3 + ["rl"] * 3 + ["rl-no-kl"] * 3 + ["rl-no-mix"] * 3
    table = preference_table(run)
    assert table.row_count == 4
    sections = preference_sections([Group("g", [run])], lambda sentence: [("", sentence(Group("g", [run])))])
    assert len(sections["wins"]["rows"]) == 4 and len(sections["text"]["rows"]) == 6


def test_commands(ran, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = ran / "run"
    assert main(["sample", str(run), "tea 3?"]) == 0 and "tea 3?" in capsys.readouterr().out
    assert main(["eval", str(run)]) == 1 and "measured by reward models, see preferences.jsonl" in capsys.readouterr().err
    recipe = Path(__file__).parents[1] / "recipes" / "chatgpt.toml"
    assert main(["run", str(recipe)]) == 1 and "give data.pairs=PATH" in capsys.readouterr().err
    small = [f"data.pairs={ran / 'pairs.jsonl'}", "evaluation.problems=16", "world.max_prompt_tokens=32", "world.max_action_tokens=12"]
    weights = ["--from", str(run / "stages" / "imitate" / "model")]
    assert main(["reward", str(recipe), *weights, "--out", "alone", *small, "reward.epochs=1", "reward.half=all"]) == 0
    (row,) = rows_of(tmp_path / "alone", "preferences.jsonl")
    assert row["kind"] == "reward" and "held-out pairs in order" in capsys.readouterr().out
    scorer = f"rl.reward_of={tmp_path / 'alone' / 'stages' / 'reward' / 'model'}"
    steps = ["rl.steps=1", "rl.tasks_per_step=4", "rl.pretrain=0.0", "rl.pretrain_of=", "rl.evaluate_every=0"]
    assert main(["rl", str(recipe), *weights, "--out", "ppo", *small, *steps, scorer]) == 0
    assert [r["kind"] for r in rows_of(tmp_path / "ppo", "preferences.jsonl")] == ["start", "rl"]
    assert main(["rl", str(recipe), *weights, "--out", "none", *small, *steps]) == 1
    assert "rl.reward_of must name an earlier reward stage (none yet) or a folder with a reward model, got 'reward'" in capsys.readouterr().err


def test_the_recipe_that_ships() -> None:
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "chatgpt.toml")
    rl, without_kl, without_mix = (recipe.stage(name) for name in ("rl", "rl-no-kl", "rl-no-mix"))
    assert rl.kl == 0.02 and rl.kl_in == "reward" and rl.kl_estimator == "k1" and rl.advantage == "gae" and rl.pretrain > 0
    values = [{k: v for k, v in stage.items() if k not in ("name", "label", "control")} for stage in recipe_values(recipe)["stages"][-3:]]
    differing = [{k for k in values[0] if values[0][k] != other[k]} for other in values[1:]]
    assert differing == [{"kl", "kl_in", "kl_estimator"}, {"pretrain", "pretrain_of", "pretrain_tokens"}]
    assert without_kl.control and without_mix.control and not without_kl.needs_reference
    assert [(stage.half, stage.start) for stage in recipe.stages if isinstance(stage, Reward)] == [("first", "scratch"), ("second", "scratch")]
    assert recipe.initial == "smollm2" and recipe.stage("pretrain").text_share == 1, "so that reward models have seen no dialogue"
