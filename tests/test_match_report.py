"""The report of a run that plays games: sentences, curve, bars, board and the terminal's table, from what the run left."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paradigm.claims import game_claim, group_runs, match_claim, opponents_claim
from paradigm.figures import game_board
from paradigm.match_report import match_tiles
from paradigm.report import summary_table, write_report
from paradigm.run_folder import read_run
from paradigm.statistics import wilson_interval

GAME = {"stage": "rl", "opponent": "imitate", "moves": "4152637374747", "opening": 4, "seat": 0, "score": 1.0}


def match(policy: str, stage: str, opponent: str, wins: int, draws: int, losses: int, temperature: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"policy": policy, "stage": stage, "tokens": {"imitate": 2e6, "rl": 3e6}[stage], "control": False, "final": True, "opponent": opponent,
            "temperature": temperature, "problems": wins + draws + losses, "correct": wins + draws / 2, "wins": wins, "draws": draws,
            "losses": losses, **more}  # fmt: skip


MATCHES = [
    match("imitated", "imitate", "uniform", 120, 4, 76, tokens=1e6, final=False),
    match("imitated", "imitate", "uniform", 800, 20, 180), match("imitated", "imitate", "uniform", 930, 10, 60, 0.0),
    match("imitated", "imitate", "demonstrator", 130, 20, 850), match("imitated", "imitate", "demonstrator", 300, 40, 660, 0.0),
    match("rl", "rl", "imitate", 110, 2, 88, tokens=2.5e6, final=False),
    match("rl", "rl", "uniform", 950, 0, 50), match("rl", "rl", "uniform", 990, 0, 10, 0.0),
    match("rl", "rl", "demonstrator", 310, 20, 670), match("rl", "rl", "demonstrator", 400, 20, 580, 0.0),
    match("rl", "rl", "imitate", 670, 40, 290), match("rl", "rl", "imitate", 560, 20, 420, 0.0),
]  # fmt: skip


def make_games(folder: Path, rows: list[dict[str, Any]] = MATCHES, games: list[dict[str, Any]] | None = None, **info: Any) -> Path:
    folder.mkdir(parents=True)
    stages = [
        {"name": "imitate", "kind": "imitate", "seconds": 100.0, "trained_tokens": 2_000_000},
        {"name": "rl", "kind": "rl", "seconds": 50.0, "trained_tokens": 1_000_000, "rollout_tokens": 1_000_000, "rollouts": 40_000},
    ]
    (folder / "run.json").write_text(json.dumps({
        "name": "connect_four", "recipe": "recipes/connect_four.toml", "command": "paradigm run recipes/connect_four.toml", "seed": 0,
        "hardware": {"cpu": "AMD EPYC 9B14", "cores": 2}, "run_seconds": 161.0, "stages": stages, **info,
    }))  # fmt: skip
    (folder / "metrics.jsonl").write_text("")
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "games.json").write_text(json.dumps([GAME] if games is None else games))
    return folder


def text_of(path: Path) -> str:
    page = path.read_text(encoding="utf-8").split("<body>")[1]
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(title|svg)[^>]*>", r"<\1>", page)).split())


def test_the_claims_are_the_numbers(tmp_path: Path) -> None:
    (group,) = group_runs([read_run(make_games(tmp_path / "run"))])
    value, low, high = (100 * v for v in wilson_interval(690, 1000))
    greedy = [100 * v for v in wilson_interval(570, 1000)]
    assert match_claim(group) == (
        f"RL by self-play beats imitation, with {value:.1f}% of the points in 1,000 games (95% interval {low:.1f} to {high:.1f}), both sampling; "
        f"both greedy, it beats imitation, with {greedy[0]:.1f}% (95% interval {greedy[1]:.1f} to {greedy[2]:.1f})"
    )
    assert opponents_claim(group) == (
        "Against random moves imitation scores 81.0% and RL scores 95.0%; against the demonstrator imitation scores 14.0% and RL scores 32.0%"
    )
    assert game_claim(group) == "Moving first, RL beats imitation in a game of 13 moves"
    assert [(t["label"], t["value"]) for t in match_tiles(group)] == [
        ("RL against imitation", "69.0%"), ("RL against the demonstrator", "32.0%"), ("RL against random moves", "95.0%"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wins", "losses", "claim"),
    [(505, 495, "RL by self-play is level with imitation, with 50.5% of the points in 1,000 games"),
     (300, 700, "RL by self-play loses to imitation, with 30.0% of the points in 1,000 games")],
)  # fmt: skip
def test_a_disappointing_match_is_said_to_be_one(tmp_path: Path, wins: int, losses: int, claim: str) -> None:
    rows = [match("imitated", "imitate", "uniform", 90, 0, 10), match("rl", "rl", "imitate", wins, 0, losses)]
    (group,) = group_runs([read_run(make_games(tmp_path / "run", rows, games=[{**GAME, "score": 0.0}]))])
    assert match_claim(group).startswith(claim) and match_claim(group).endswith("both sampling at temperature 1")
    assert game_claim(group) == "Moving first, RL loses to imitation in a game of 13 moves"


def test_the_page_shows_matches_and_nothing_about_problems(tmp_path: Path) -> None:
    path = write_report(make_games(tmp_path / "run"))
    page, text = path.read_text(encoding="utf-8"), text_of(path)
    assert re.findall(r'<section id="(\w+)"', page) == ["matches", "opponents", "game", "throughput"]
    assert "incomplete" not in text and "problem" not in text.replace("problems asked", "")
    figures = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert [f.attrib["class"] for f in figures] == ["wide", "narrow"] * 2 + ["game"] + ["wide", "narrow"]
    curve = figures[0]
    dots = [e for e in curve if e.attrib["class"].startswith("dot ")]
    assert len(dots) == 7, "the points at temperature 1, one line an opponent"
    assert any("RL against imitation, 2.5M trained tokens: 55.5%" in (e[0].text or "") for e in dots)
    for row in MATCHES:
        if row["final"]:
            value, low, high = (100 * v for v in wilson_interval(row["correct"], row["problems"]))
            assert f"{row['wins']:,} {row['draws']:,} {row['losses']:,} {value:.1f}% {low:.1f} to {high:.1f}" in text
    for wanted in ("paradigm run recipes/connect_four.toml", "AMD EPYC 9B14 · 2 cores", "2 min 41 s", "the first 4 of them the opening"):
        assert wanted in text, wanted


def test_a_board_numbers_every_move_and_rings_the_four() -> None:
    svg = ElementTree.fromstring(game_board("4152637374747", ("RL", "Imitated"), ("rl", "imitate"), "", "game"))
    stones = [e for e in svg if e.attrib["class"].startswith("stone") and e.attrib["r"] == "17"]
    assert len(stones) == 13 and sum(e.attrib["class"] == "hole" for e in svg) == 42 - 13
    numbers = [e.text for e in svg if e.attrib["class"] in ("number", "second-number")]
    assert sorted(map(int, filter(None, numbers))) == list(range(1, 14))
    drawn = ElementTree.fromstring(game_board("1212121", ("A", "B"), ("rl", "demonstrator"), "", "game"))
    ringed = [e[0].text for e in drawn if "four" in e.attrib["class"]]
    assert ringed == [f"move {n}: A, column 1" for n in (1, 3, 5, 7)]


def test_what_is_missing_or_broken_is_said(tmp_path: Path) -> None:
    folder = make_games(tmp_path / "run", games=[{**GAME, "moves": "99"}])
    assert "games.json, entry 1 was left out" in read_run(folder).missing[0]
    (folder / "games.json").unlink()
    rows = [*MATCHES, {**MATCHES[1], "wins": 7}]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = text_of(write_report(folder))
    assert "games.json is missing" in text and "wins + draws + losses must be problems" in text and "No game of this run was kept." in text


def test_several_seeds_are_averaged_and_several_recipes_compared(tmp_path: Path) -> None:
    folders = [make_games(tmp_path / f"s{seed}", seed=seed) for seed in range(2)]
    assert "beats imitation, with 69.0% of the points in 2,000 games" in text_of(write_report(folders))
    other = make_games(tmp_path / "other", recipe="recipes/other.toml")
    assert "RL, connect_four (s0)" in text_of(write_report([folders[0], other]))


def test_the_terminals_table_fits(tmp_path: Path) -> None:
    console = Console(width=80, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    console.print(summary_table(make_games(tmp_path / "run")))
    text = console.export_text()
    low, high = (f"{100 * v:.1f}" for v in wilson_interval(690, 1000)[1:])
    assert re.search(rf"RL +imitated +69\.0% \({low}–{high}\) +57\.0% \(\S+\) +670–40–290", text), text
    assert "run 2 min 41 s" in text and "…" not in text and max(map(len, text.splitlines())) <= 80
