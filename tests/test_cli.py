"""The command on a tiny recipe: runs, stages, measurements, pages, and errors that say what was wrong."""

import json
from pathlib import Path

import pytest

from paradigm.cli import main
from paradigm.policy import Policy

RECIPE = """
name = "tiny"
slots = 32
[policy]
vocab_size = 272
hidden_size = 32
num_layers = 1
num_heads = 2
intermediate_size = 64
max_position_embeddings = 256
[world]
{world}
[evaluation]
problems = 8
{evaluation}
max_tokens = 48
[[stages]]
kind = "imitate"
tokens = 2048
step_tokens = 512
problems = 20
[[stages]]
kind = "rl"
steps = 2
tasks_per_step = 4
group_size = 2
max_tokens = 48
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(world='operations = "+"\ndigits = 1', evaluation='recovery = ["imitate"]'))
    return path


def test_a_run_and_what_one_does_with_it(recipe, capsys) -> None:
    assert main(["run", str(recipe), "--out", "first", "rl.steps=1", "seed=3"]) == 0
    info = json.loads(Path("first/run.json").read_text())
    assert [s["name"] for s in info["stages"]] == ["imitate", "rl"] and info["seed"] == 3
    assert info["resolved"]["stages"][1]["steps"] == 1, "an override after an option counts too"
    assert Path("first/report.html").stat().st_size > 1000
    assert "paradigm sample first" in capsys.readouterr().out
    assert main(["run", "--resume", "first"]) == 0
    assert json.loads(Path("first/run.json").read_text())["stages"] == info["stages"], "nothing is done twice"
    assert main(["eval", "first", "--problems", "4", "--stage", "imitate"]) == 0
    assert "of 4 right" in capsys.readouterr().out
    assert main(["sample", "first", "4+3", "--samples", "2"]) == 0
    assert capsys.readouterr().out.count("4+3") == 2
    assert main(["rl", str(recipe), "--from", "first/stages/imitate/model", "--out", "alone"]) == 0
    assert main(["report", "first", "alone", "--out", "both.html"]) == 0
    assert Path("both.html").exists()


def test_a_step_of_several_updates_counts_all_their_tokens(recipe) -> None:
    assert main(["run", str(recipe), "--out", "run", "rl.updates_per_step=3", "rl.objective=grpo"]) == 0  # its penalty weighs every rollout
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    trained = {stage["name"]: stage["trained_tokens"] for stage in json.loads(Path("run/run.json").read_text())["stages"]}
    assert trained["rl"] > 0
    for stage, tokens in trained.items():
        assert sum(row["train/tokens"] for row in rows if row["stage"] == stage) == tokens


def test_games_end_with_a_table_of_matches(recipe, capsys) -> None:
    recipe.write_text(RECIPE.format(world='kind = "connect_four"', evaluation='opponents = ["uniform", "imitate"]'))
    assert main(["run", str(recipe), "--out", "games"]) == 0
    rows = [json.loads(line) for line in Path("games/evaluations.jsonl").read_text().splitlines()]
    assert [(r["policy"], r["opponent"], r["temperature"]) for r in rows] == [
        ("imitated", "uniform", 1.0), ("imitated", "uniform", 0.0), ("rl", "uniform", 1.0), ("rl", "uniform", 0.0),
        ("rl", "imitate", 1.0), ("rl", "imitate", 0.0),
    ]  # fmt: skip
    assert all(r["wins"] + r["draws"] + r["losses"] == 8 for r in rows)
    shown = capsys.readouterr().out
    assert "games a match, each opening from both seats" in shown and "after rl: " in shown and "next:   paradigm sample games" in shown
    assert main(["sample", "games", "4435", "12"]) == 0
    shown = capsys.readouterr().out
    assert "X4435" in shown and "X12" in shown and "O" not in shown and shown.count(" player wins") + shown.count("a draw") == 2
    games = json.loads(Path("games/games.json").read_text())
    assert [(g["stage"], g["opponent"], g["opening"]) for g in games] == [("imitate", "uniform", 4), ("rl", "imitate", 4)]
    assert "by self-play" in Path("games/report.html").read_text()


def test_self_play_with_a_value_head_and_muon(recipe) -> None:
    recipe.write_text(RECIPE.format(world='kind = "connect_four"\nweak_share = 0.5', evaluation='opponents = ["uniform", "imitate"]'))
    assert main(["run", str(recipe), "rl.advantage=gae", "rl.group_size=1", "rl.entropy=0.01", "imitate.optimizer=muon", "--out", "games"]) == 0
    rows = [json.loads(line) for line in Path("games/metrics.jsonl").read_text().splitlines()]
    first = next(row for row in rows if row["stage"] == "rl")
    assert abs(first["policy/ratio"] - 1) < 1e-6 and first["value/rows"] > 0
    assert Policy.from_pretrained("games/stages/rl/model").config.heads == ("value",)
    assert Policy.from_pretrained("games/stages/imitate/model").config.heads == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.toml"], "no such file: absent.toml"),
        (["run", "tiny.toml", "rl.stepz=1"], "tiny.toml.rl: unknown key 'stepz'; did you mean 'steps'?"),
        (["run", "tiny.toml", "rl.steps=many"], "expected `int`, got `str`, got 'many'"),
        (["run", "tiny.toml", "rl.group_size=1"], "group_size must be >= 2"),
        (["run", "tiny.toml", "rl.start=nowhere"], "start must name an earlier stage (imitate), got 'nowhere'"),
        (["distil", "tiny.toml"], "has no stage of kind 'distil'; its stages are imitate, rl"),
        (["report", "."], "is no run directory"),
        (["run"], "needs a recipe file"),
    ],
)
def test_errors_name_what_was_wrong(recipe, capsys, arguments, message) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_a_folder_of_another_recipe_is_refused(recipe, capsys) -> None:
    assert main(["run", str(recipe), "--out", "mine"]) == 0
    assert main(["run", str(recipe), "--out", "mine", "rl.steps=5"]) == 1
    assert "holds a run of another recipe" in capsys.readouterr().err


def test_help_and_wrong_calls(capsys) -> None:
    assert main([]) == 2
    with pytest.raises(SystemExit):
        main(["rl", "--help"])
    assert "verdict" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["report", "a", "--nonsense"])
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err
