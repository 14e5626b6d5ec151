"""Programs, proofs, documents, games, grids and web pages as kinds of a mixture: splits, demonstrators who err, what is missing, general.toml."""

import json
import logging
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paradigm.cli import main
from paradigm.config import ConfigError
from paradigm.environments import chromium
from paradigm.episode_kinds import KINDS
from paradigm.mixture_world import open_world
from paradigm.recipe import load_recipe
from paradigm.verifiers import SandboxUnavailable
from paradigm.world import KindConfig, WorldConfig

GENERAL = Path(__file__).parents[1] / "recipes" / "general.toml"
SMALL = {
    "code": ({"programs": 300}, "bwrap"), "metamath": ({"max_steps": 15, "error_rate": 0.05}, None),
    "documents": ({"source_bytes": 800_000}, "bm25s"), "open_spiel": ({"simulations": 20}, "pyspiel"), "connect_four": ({"depth": 2}, None),
    "minigrid": ({"error_rate": 0.2}, "minigrid"),
}  # fmt: skip


def opened(kind: str, **more):
    options, needs = SMALL[kind]
    if needs and not (shutil.which(needs) or find_spec(needs)):
        pytest.skip(f"{needs} is not installed")
    try:
        return open_world(KindConfig(name="own", kind=kind, options=options | more), 0)
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", SMALL)
def test_a_kind_has_splits_and_demonstrators_who_err(kind) -> None:
    world = opened(kind)
    train, test = ({repr(task) for task in world.tasks(split, 3, 120)} for split in ("train", "test"))
    assert train and test and not train & test
    held_out = world.held_out(10)
    assert held_out == world.held_out(10) and not {repr(task) for task in held_out} & train
    assert len(world.tasks("train", 1, 700)) == 700 and world.tasks("train", 1, 40) == world.tasks("train", 1, 40)
    shown = world.demonstrations(40)
    assert not shown.failed.any() and len(shown) >= 38 and shown.action_mask.any()
    assert 0.3 < (shown.reward >= 1).mean() <= 1
    again = world.demonstrations(40)
    assert again.tokens.tolist() == shown.tokens.tolist(), "a function of the seed"
    perfect = opened(kind, error_rate=0.0).demonstrations(25)
    assert (perfect.reward >= 1).mean() > (0.5 if kind in ("open_spiel", "connect_four") else 0.99), "games may be lost or drawn by the best"
    assert world.evaluate_demonstrators(20)["correct"] <= 20
    assert world.describe(held_out[0]) and world.shown_tasks() == world.held_out(1) and not world.transfer_tasks(3)
    assert len(world.documents(3)) == 3
    with pytest.raises(ConfigError, match="cannot be typed"):
        world.posed("x")


def test_demonstrators_err_as_they_are_told() -> None:
    assert 0.1 < 1 - (opened("metamath", error_rate=0.05).demonstrations(60).reward >= 1).mean() < 0.9
    assert (opened("connect_four", error_rate=1.0).demonstrations(60).reward >= 1).mean() < 0.9


def test_what_a_kind_refuses_is_named() -> None:
    for options, named in (({"max_step": 3}, "did you mean 'max_steps'"), ({"max_lines": 0}, "max_lines must be >= 1"),
                           ({"error_rate": 2.0}, "error_rate")):  # fmt: skip
        with pytest.raises(ConfigError, match=named):
            open_world(KindConfig(name="own", kind="metamath", options=options), 0)
    with pytest.raises(ConfigError, match="split 'train', got none"):
        open_world(KindConfig(name="own", kind="metamath", options={"max_steps": 1}), 0).tasks("train", 0, 3)
    with pytest.raises(ValueError, match="options must be left out where kind is 'connect_four'"):
        WorldConfig(kind="connect_four", options={"depth": 2})
    assert open_world(WorldConfig(kind="connect_four"), 0).is_game and not open_world(KindConfig(name="own", kind="connect_four"), 0).is_game


def test_an_optional_kind_is_left_out_where_something_is_missing(monkeypatch, caplog) -> None:
    for module in ("bm25s", "pyspiel", "minigrid"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(chromium, "_NAMES", ())
    kinds = [KindConfig(name="proofs", kind="metamath"), *(KindConfig(name=f"own {kind}", kind=kind, optional=True)
             for kind in ("documents", "open_spiel", "minigrid", "computer"))]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        world = open_world(WorldConfig(kind="mixture", kinds=tuple(kinds)), 0)
    assert world.left_out == ["own documents", "own open_spiel", "own minigrid", "own computer"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4 and all("left out" in line and "install" in line and "\n" not in line for line in said)
    assert "paradigm-trainer[documents]" in said[0] and "paradigm-trainer[minigrid]" in said[2] and "chromium" in said[3].lower()
    assert {name for name, _ in world.tasks("train", 0, 20)} == {"proofs"} and {name for name, _ in world.held_out(4)} == {"proofs"}
    with pytest.raises(ConfigError, match=r"kind 'words' needs what is missing here: .*paradigm-trainer\[documents\]"):
        open_world(WorldConfig(kind="mixture", kinds=(kinds[0], KindConfig(name="words", kind="documents"))), 0)
    with pytest.raises(ConfigError, match="all are left out: own documents"):
        open_world(WorldConfig(kind="mixture", kinds=(kinds[1],)), 0)


def test_general_recipe_from_its_first_stage_to_its_report(tmp_path, capsys) -> None:
    """All that the recipe does, a few steps of it, on the kinds that are there."""
    folder = tmp_path / "run"
    kinds = load_recipe(GENERAL).world.kinds
    assert {kind.kind for kind in kinds} >= {*KINDS, "arithmetic", "reasoning_gym"} and all(kind.optional for kind in kinds if kind.kind in KINDS)
    tiny = ["policy.hidden_size=16", "policy.num_layers=1", "policy.intermediate_size=32", "imitate.problems=30", "imitate.tokens=4096",
            "rl.steps=1", "rl.tasks_per_step=10", "rl.group_size=2", "rl.max_tokens=256", "evaluation.problems=10", "evaluation.curve_problems=10",
            "evaluation.temperatures=[1.0]", "evaluation.max_tokens=256", "continued.problems=20", "slots=32"]  # fmt: skip
    assert main(["run", str(GENERAL), "--out", str(folder), *tiny]) == 0
    info = json.loads((folder / "run.json").read_text())
    there = {kind.name for kind in kinds} - set(info["left_out"])
    assert {"calculator", "proofs", "connect_four"} <= there
    rows = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert {row["policy"] for row in rows} == {"demonstrators", "imitated", "rl", "continued imitation"}
    assert all(set(row["by_operation"]) == there for row in rows if row["policy"] != "demonstrators")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rl = next(row for row in metrics if row["stage"] == "rl")
    tried = {kind for kind in there if f"rollout/failed/{kind}" in rl}
    assert len(tried) >= 3 and not any(rl[f"rollout/failed/{kind}"] for kind in tried - {"computer"}), "a browser's limits are of the clock"
    page = (folder / "report.html").read_text()
    assert f"Of {len(there)} kinds of problems RL is measurably above imitation on" in page
    assert all(f"Success on {kind}" in page for kind in there)
    # going on where other kinds are there would be another run
    info["left_out"] = ["something"]
    (folder / "run.json").write_text(json.dumps(info))
    capsys.readouterr()
    assert main(["run", "--resume", str(folder)]) == 1
    assert "without the kinds ['something']" in capsys.readouterr().err
