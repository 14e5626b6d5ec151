"""The report: every sentence is what the numbers say, every figure can be read, and nothing in a run folder can break the page."""

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from paradigm.claims import distillation_claim, group_runs, learning_claim, recovery_claim
from paradigm.drawing import Drawing, format_count, nice_ticks, text_width
from paradigm.figures import Band, Curve, CurvePoint, Level, learning_curve
from paradigm.report import learning_picture, summary_table, write_report
from paradigm.run_folder import read_run
from paradigm.statistics import Estimate, proportion_difference, wilson_interval

STAGES = [("pretrain", "pretrain", 31.0, 700_000, 0), ("imitate", "imitate", 74.0, 1_600_000, 0), ("rl", "rl", 58.0, 900_000, 1_350_000),
          ("distil", "distil", 21.0, 400_000, 210_000)]  # fmt: skip
SUCCESS = {
    "demonstrators": 0.81, "pretrained": 0.02, "imitated": 0.56, "continued imitation": 0.66, "imitation, filtered": 0.74, "rl": 0.97,
    "distilled": 0.71, "imitation without pretraining": 0.49, "rl without pretraining": 0.93,
}  # fmt: skip
WHERE = {  # policy: stage, trained tokens, tokens a problem
    "demonstrators": ("", 0, 47.5), "pretrained": ("pretrain", 700_000, 61.0), "imitated": ("imitate", 2_300_000, 47.0),
    "continued imitation": ("continue", 3_200_000, 47.3), "imitation, filtered": ("imitate filtered", 2_300_000, 46.1), "rl": ("rl", 3_200_000, 45.2),
    "distilled": ("distil", 3_600_000, 5.1), "imitation without pretraining": ("imitate only", 1_600_000, 47.2),
    "rl without pretraining": ("rl only", 2_500_000, 45.9),
}  # fmt: skip
CONTROLS = ("continued imitation", "imitation, filtered", "imitation without pretraining", "rl without pretraining")
PROBLEM, ANSWER = "347 + 528 =", "875"


def make_run(folder: Path, seed: int = 0, success: dict[str, float] | None = None, spread: float = 0.0, **info: Any) -> Path:
    """A run folder as the recipe writes it, with outcomes drawn around `success`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    wanted = {policy: float(np.clip(p + spread * rng.normal(), 0.001, 0.999)) for policy, p in (SUCCESS if success is None else success).items()}
    stretch = 1 + 0.01 * seed  # runs of one recipe do not train on the very same number of tokens
    stages = [
        {"name": n, "kind": k, "seconds": s, "trained_tokens": int(stretch * t), "rollout_tokens": r, "rollouts": r // 46, "flops": 6e5 * 6 * t}
        for n, k, s, t, r in STAGES
    ]
    stages.append({"name": "continue", "kind": "imitate", "seconds": 40.0, "trained_tokens": 900_000, "control": True})
    (folder / "run.json").write_text(json.dumps({
        "name": "quickstart", "recipe": "recipes/quickstart.toml", "command": f"paradigm run recipes/quickstart.toml seed={seed}", "seed": seed,
        "hardware": {"cpu": "AMD EPYC 9B14", "cores": 2, "memory_gib": 15.6, "gpu": None},
        "versions": {"paradigm": "0.1.0", "python": "3.11.7", "torch": "2.13.0"}, "setup_seconds": 41.3, "run_seconds": 192.4 + seed,
        "started": "2026-11-22 19:40", "num_parameters": 612_352, "stages": stages, **info,
    }))  # fmt: skip

    def row(policy: str, share: float, stage: str, tokens: float, temperature: float, problems: int, final: bool) -> dict[str, Any]:
        harder = zip("+-*/", (0.02, 0.01, -0.02, -0.01))
        operations = {o: [int(rng.binomial(problems // 4, np.clip(share + d, 0, 1))), problems // 4] for o, d in harder}
        return {
            "policy": policy, "stage": stage, "tokens": tokens, "control": policy in CONTROLS, "temperature": temperature, "problems": problems,
            "correct": sum(k for k, _ in operations.values()), "tokens_per_problem": WHERE[policy][2] + rng.normal() * 0.2,
            "by_operation": operations, "final": final,
        }  # fmt: skip

    rows = []
    before = {"imitated": "pretrained", "rl": "imitated", "distilled": "rl", "continued imitation": "imitated"}
    for policy, share in wanted.items():
        stage, end, _ = WHERE[policy]
        if policy in before and before[policy] in wanted:
            start, begin = wanted[before[policy]], WHERE[before[policy]][1]
            for i in (1, 2, 3):
                rows.append(row(policy, start + (share - start) * (1 - 0.35**i), stage, stretch * (begin + (end - begin) * i / 4), 1.0, 200, False))
        rows.append(row(policy, share, stage, stretch * end, 1.0, 1200, True))
        if policy != "demonstrators":
            rows.append(row(policy, min(0.999, share + 0.02), stage, stretch * end, 0.0, 1200, True))
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "metrics.jsonl").write_text("".join(
        json.dumps({"stage": n, "kind": k, "step": 10, "tokens": sum(s[3] for s in STAGES[: i + 1]), "seconds": s, "train/loss": 0.5}) + "\n"
        for i, (n, k, s, _, _) in enumerate(STAGES)
    ))  # fmt: skip
    recovery = [
        {"policy": policy, "problems": 500, **{
            name: int(rng.binomial(500, wanted[policy] * share)) for name, share in (("undisturbed_correct", 1.0), ("forced_correct", kept))
        }}
        for policy, kept in (("imitated", 0.45), ("continued imitation", 0.47), ("rl", 0.82)) if policy in wanted
    ]  # fmt: skip
    (folder / "recovery.json").write_text(json.dumps(recovery))
    (folder / "transcripts.json").write_text(json.dumps([t for problem in (PROBLEM, "96 × 7 =") for t in transcripts(problem)]))
    return folder


def transcripts(problem: str) -> list[dict[str, Any]]:
    prompt = {"text": f"{problem}\n", "kind": "prompt"}
    end = {"text": ANSWER, "kind": "action"}
    slip = {"text": "865", "kind": "action"}
    code = {"text": "def _get_7(self, 5\n    return", "kind": "action"}
    work = [
        ("7+8=15 write 5 carry 1\n", "thought"), ("4+2+1=6", "error"), (" no, ", "correction"), ("4+2+1=7", "correction"), (" write 7\n", "thought"),
        ("3+5=", "thought"), ("<calc>3+5</calc>", "action"), ("[8]", "observation"), (" write 8\n", "thought"),
    ]  # fmt: skip
    thinking = [{"text": text, "kind": kind} for text, kind in work]
    answers = [("pretrain", False, [code]), ("imitate", False, [*thinking[:2], slip]), ("rl", True, [*thinking, end]), ("distil", True, [end])]
    return [{"stage": stage, "problem": problem, "correct": correct, "tokens": [prompt, *tokens]} for stage, correct, tokens in answers]


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is closed out of order or never."""

    VOID = ("meta", "br")

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def figures(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.S)]


def _text_boxes(svg: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    boxes = []
    for element in svg.iter("text"):
        x, y, size = (float(element.attrib[name]) for name in ("x", "y", "font-size"))
        content = element.text or ""
        width = text_width(content, size)
        x -= {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]] * width
        boxes.append((content, x, y - 0.75 * size, x + width, y + 0.2 * size))
    return boxes


@pytest.mark.parametrize("outcome", ["as hoped", "near the ceiling", "all alike", 1, 2, 3, 4])
def test_no_label_covers_another_or_leaves_its_figure(tmp_path: Path, outcome: str | int) -> None:
    rng = np.random.default_rng(outcome if isinstance(outcome, int) else 0)
    success = {
        policy: {"as hoped": share, "near the ceiling": 0.985 + 0.01 * rng.random(), "all alike": 0.5}.get(str(outcome), rng.random())
        for policy, share in SUCCESS.items()
    }  # fmt: skip
    runs = [make_run(tmp_path / str(seed), seed, success, spread=0.03) for seed in range(2)]
    for folders in (runs[:1], runs):
        figures = Page(write_report(folders, tmp_path / "page.html")).figures()
        assert [f.attrib["class"] for f in figures] == ["wide", "narrow"] * 4
        for svg in figures[:2]:
            texts = " ".join(content for content, *_ in _text_boxes(svg))
            assert "demonstrators" in texts and "continued imitation" in texts
        for svg in figures:
            width, height = (float(svg.attrib[name]) for name in ("width", "height"))
            boxes = _text_boxes(svg)
            for i, (content, x0, y0, x1, y1) in enumerate(boxes):
                assert x0 >= -0.5 and x1 <= width + 0.5 and y0 >= 0 and y1 <= height, (content, x0, x1)
                for other, a0, b0, a1, b1 in boxes[:i]:
                    assert min(x1, a1) - max(x0, a0) < 0.5 or min(y1, b1) - max(y0, b0) < 0.5, (content, other)


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run")))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face|javascript:", page.source)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base", "form"})
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.suffix in (".html", ".tmp")) == ["report.html"]


ATTACK = "</title></svg></style></pre><script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(1)' {{ 7*7 }} {% raw %} &lt;b&gt;"


def test_untrusted_text_stays_text(tmp_path: Path) -> None:
    stages = [{"name": ATTACK, "kind": ATTACK, "trained_tokens": 5, "seconds": 1.0}]
    folder = make_run(tmp_path / "run", name=ATTACK, recipe=ATTACK, command=ATTACK, started=ATTACK, versions={ATTACK: ATTACK}, stages=stages,
                      hardware={"cpu": ATTACK, "gpu": ATTACK})  # fmt: skip
    (folder / "transcripts.json").write_text(json.dumps([
        {"stage": ATTACK, "problem": ATTACK, "correct": True, "tokens": [{"text": ATTACK, "kind": k} for k in ("prompt", "action", "error")]}
    ]))  # fmt: skip
    (folder / "recovery.json").write_text(json.dumps([{"policy": ATTACK, "problems": 9, "undisturbed_correct": 9, "forced_correct": 1}]))
    with open(folder / "evaluations.jsonl", "a") as file:
        file.write(json.dumps({"policy": ATTACK, "problems": 9, "correct": 3, "by_operation": {ATTACK: [1, 9]}, "stage": ATTACK, "tokens": 9}) + "\n")
    clean = Page(write_report(make_run(tmp_path / "clean")))
    page = Page(write_report([folder, tmp_path / "clean"], tmp_path / "page.html"))
    allowed = {tag for tag, _ in clean.tags} | {"details", "summary", "ul", "li"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name in ("src", "href")]
    assert page.text.count("{{ 7*7 }}") >= 10 and "49" not in page.text.split("{{ 7*7 }}")[1][:9]
    for svg in re.findall(r"<svg.*?</svg>", page.source, re.S):
        ElementTree.fromstring(svg)


def test_control_characters_and_lone_surrogates_do_not_stop_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "transcripts.json").write_text(
        '[{"stage": "rl", "problem": "a\\u0000b", "correct": true, "tokens": [{"text": "x\\u001b[31m\\ud800y\\n", "kind": "action"}]}]'
    )
    page = Page(write_report(folder))
    assert "x\u241b[31m?y" in page.text and "\x00" not in page.source and "\x1b" not in page.source


def test_the_first_figure_alone_is_a_file_with_its_own_colours(tmp_path: Path) -> None:
    picture = learning_picture(make_run(tmp_path / "run"))
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and not re.search(r"url\(|@import|<script|href", picture)
    style = root.findtext("{http://www.w3.org/2000/svg}style") or ""
    used = {name for element in root.iter() for name in element.get("class", "").split() if element.tag.endswith(("rect", "path", "circle"))}
    assert {"band", "segment", "dot", "level", "control"} <= used
    assert all(re.search(rf"\.{name}\b", style) for name in used)
    assert set(re.findall(r"var\((--[a-z]+)", style)) <= set(re.findall(r"(--[a-z]+):", style)) | {"--t"}
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="run_folder must hold evaluations at temperature 1, got none"):
        learning_picture(tmp_path / "bare")


def test_each_claim_follows_the_numbers(tmp_path: Path) -> None:
    def claim(**changed: float) -> str:
        (group,) = group_runs([read_run(make_run(tmp_path / str(len(list(tmp_path.iterdir()))), success={**SUCCESS, **changed}))])
        return learning_claim(group)

    assert re.fullmatch(r"RL ends at 9\d\.\d% of held-out problems, \d+\.\d points above the demonstrators \(95% interval \d+\.\d to \d+\.\d\) "
                        r"and \d+\.\d points above continued imitation \(95% interval \d+\.\d to \d+\.\d\)", claim())  # fmt: skip
    assert "points below continued imitation (95% interval " in claim(rl=0.5) and "−" not in claim(rl=0.5)
    assert re.search(r"not measurably different from continued imitation \(\S+ points, 95% interval −\d+\.\d to \d+\.\d\)", claim(rl=0.66))


def test_a_claims_numbers_are_newcombes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = [{"policy": "demonstrators", "problems": 1200, "correct": 970}, {"policy": "rl", "problems": 1000, "correct": 931, "tokens": 5}]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    difference = proportion_difference(931, 1000, 970, 1200)
    numbers = [f"{100 * v:.1f}" for v in difference]
    (group,) = group_runs([read_run(folder)])
    assert learning_claim(group) == (
        f"RL ends at 93.1% of held-out problems, {numbers[0]} points above the demonstrators (95% interval {numbers[1]} to {numbers[2]})"
    )
    assert distillation_claim(group) == "The distilled policy has not been evaluated in this run"


def test_recovery_and_distillation_claims(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "recovery.json").write_text(json.dumps([
        {"policy": "imitated", "problems": 500, "undisturbed_correct": 280, "forced_correct": 90},
        {"policy": "rl", "problems": 500, "undisturbed_correct": 485, "forced_correct": 400},
        {"policy": "RL with forced errors", "problems": 500, "undisturbed_correct": 485, "forced_correct": 450},
    ]))  # fmt: skip
    rows = [{"policy": p, "problems": 1000, "correct": k, "tokens_per_problem": t} for p, k, t in (("rl", 970, 45.0), ("distilled", 970, 5.0))]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (group,) = group_runs([read_run(folder)])
    d = proportion_difference(400, 500, 90, 500)
    assert recovery_claim(group) == (
        f"After one forced wrong token RL still solves 80.0% of the problems (97.0% undisturbed), {100 * d.value:.1f} points above imitation "
        f"(95% interval {100 * d.low:.1f} to {100 * d.high:.1f}); RL with forced errors solves 90.0%"
    )
    e = proportion_difference(970, 1000, 970, 1000)
    assert distillation_claim(group) == (
        "The distilled policy solves 97.0% of held-out problems, not measurably different from RL "
        f"(0.0 points, 95% interval −{-100 * e.low:.1f} to {100 * e.high:.1f}), writing 5.0 tokens a problem instead of 45.0 (9.0 times fewer)"
    )


def test_the_page_holds_every_figure_the_table_and_what_repeats_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    page = Page(write_report(folder))
    run = read_run(folder)
    assert [a["id"] for tag, a in page.tags if tag == "section"] == ["learning", "recovery", "distillation", "transcripts", "throughput"]
    for e in run.evaluations:
        if e.final:
            value, low, high = wilson_interval(e.correct, e.problems)
            assert f"{100 * value:.1f}% {100 * low:.1f} to {100 * high:.1f}" in page.text, e.policy
    for text in (
        "paradigm run recipes/quickstart.toml seed=0", "AMD EPYC 9B14 · 2 cores · 16 GiB · no GPU", "torch 2.13.0", "612,352", "41 s", "3 min 12 s",
        "“347 + 528 =” is answered wrongly after pretraining and imitation and rightly after RL and distillation.", "1 more problem",
        "The run took 3 min 12 s on 2 CPU cores, after 41 s of set-up, at 15.5k to 22.6k trained tokens a second.",
    ):  # fmt: skip
        assert text in page.text, text
    assert "incomplete" not in page.text
    shown = {a["class"] for tag, a in page.tags if tag == "span" and (a.get("class") or "").startswith("t t-")}
    assert shown == {f"t t-{kind}" for kind in ("prompt", "thought", "action", "observation", "error", "correction")}


def test_seeds_are_overlaid_and_averaged(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"s{seed}", seed, spread=0.02) for seed in range(3)]
    path = write_report(folders)
    assert path == tmp_path / "comparison.html"
    page = Page(path)
    shares = [e.correct / e.problems for f in folders if (e := read_run(f).evaluation("rl")) is not None]
    mean, std = np.mean(shares), np.std(shares, ddof=1)
    half = 4.302652729 * std / np.sqrt(3)
    assert f"RL {100 * mean:.1f}% ± {100 * std:.1f} {100 * (mean - half):.1f} to {100 * min(1, mean + half):.1f}" in page.text
    figure = page.figures()[0]
    assert sum(element.attrib["class"] == "seed" for element in figure) == 3
    assert "seeds 0, 1 and 2" in page.text and "paradigm run recipes/quickstart.toml seed=2" in page.text


def test_other_recipes_stand_beside_each_other_and_are_not_averaged(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a")
    b = make_run(tmp_path / "b", success={**SUCCESS, "rl": 0.4}, recipe="recipes/other.toml")
    groups = group_runs([read_run(a), read_run(b)])
    assert [g.name for g in groups] == ["quickstart (a)", "quickstart (b)"]
    page = Page(write_report([a, b]))
    assert "RL, quickstart (a)" in page.text and "RL, quickstart (b)" in page.text and "±" not in page.text
    assert sum(element.attrib["class"] == "seed" for element in page.figures()[0]) == 0


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "evaluations.jsonl", "recovery.json", "transcripts.json"])
@pytest.mark.parametrize("damage", ["missing", "torn", "other"])
def test_what_is_missing_or_broken_is_said(tmp_path: Path, name: str, damage: str) -> None:
    folder = make_run(tmp_path / "run")
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text("7\n7\n")
    page = Page(write_report(folder))
    torn_lines = damage == "torn" and name.endswith(".jsonl")  # a crash tears the last line: that is no damage
    assert ("This report is incomplete." in page.text and f"{name} " in page.text) != torn_lines
    assert "quickstart" in page.text or name == "run.json"


def test_a_broken_entry_is_named_and_the_others_stay(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "recovery.json").write_text(json.dumps([
        {"policy": "imitated", "problems": 500, "undisturbed_correct": 280, "forced_correct": 501}, {"policy": "rl"},
        {"policy": "rl", "problems": 500, "undisturbed_correct": 485, "forced_correct": 400},
    ]))  # fmt: skip
    run = read_run(folder)
    assert [r.policy for r in run.recoveries] == ["rl"]
    assert len(run.missing) == 2 and "recovery.json, entry 1 was left out" in run.missing[0] and "got 501.0 of 500" in run.missing[0]


def test_an_empty_folder_has_a_page_and_a_missing_one_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    page = Page(write_report(tmp_path / "run", tmp_path / "new" / "page.html"))
    assert "No policy of this run has been evaluated" in page.text and page.figures() == []
    with pytest.raises(FileNotFoundError, match=r"no such run folder: .*absent"):
        write_report(tmp_path / "absent")
    with pytest.raises(ValueError, match="run_folders must name at least one"):
        write_report([])


def test_an_interrupted_run_shows_how_far_it_came(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", success={p: SUCCESS[p] for p in ("demonstrators", "pretrained", "imitated")})
    (folder / "run.json").unlink()
    run = read_run(folder)
    assert [(s.name, s.trained_tokens) for s in run.stages] == [(n, t) for n, _, _, t, _ in STAGES]
    page = Page(write_report(folder))
    assert re.search(r"Imitation ends at 5\d\.\d% of held-out problems, \d+\.\d points below the demonstrators", page.text)
    assert "The distilled policy has not been evaluated in this run." in page.text and "The run has not finished" in page.text


def test_an_evaluation_written_again_replaces_the_first(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    path = folder / "evaluations.jsonl"
    last = [json.loads(line) for line in path.read_text().splitlines() if '"rl"' in line and '"final": true' in line]
    count = len(read_run(folder).evaluations)
    path.write_text(path.read_text() + json.dumps({**last[0], "correct": 7}) + "\n")
    run = read_run(folder)
    assert len(run.evaluations) == count and (rl := run.evaluation("rl")) is not None and rl.correct == 7


def test_the_terminals_table(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", name="quick[bold]start")
    console = Console(width=80, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    console.print(summary_table(folder))
    text = console.export_text()
    rl = read_run(folder).evaluation("rl")
    assert rl is not None and rl.tokens_per_problem is not None
    value, low, high = wilson_interval(rl.correct, rl.problems)
    (line,) = [line for line in text.splitlines() if re.match(r"\W*RL  ", line)]
    assert f"{100 * value:.1f}% ({100 * low:.1f}–{100 * high:.1f})" in line and line.rstrip().endswith(f"{rl.tokens_per_problem:.1f}")
    assert "quick[bold]start" in text and "set-up 41 s · run 3 min 12 s" in text
    assert "…" not in text and "Imitation without pretraining  " in text
    order = [text.index(name) for name in ("Demonstrators", "Pretrained", "Imitated", "Continued imitation", "RL ", "Distilled")]
    assert order == sorted(order)


def test_a_tiny_stage_is_widened_and_said_to_be() -> None:
    point = CurvePoint(1e9, Estimate(0.5, 0.4, 0.6), "pretrain", True, "")
    rl = CurvePoint(1e9 + 1e6, Estimate(0.9, 0.8, 1.0), "rl", True, "")
    levels = [Level("demonstrators", point.success)]
    svg = learning_curve([Band("pretrain", "pretrain", 1e9), Band("RL", "rl", 1e6)], [Curve([point, rl])], levels, "", 880, "wide")
    bands = [e for e in ElementTree.fromstring(svg) if e.attrib["class"].startswith("band ")]
    assert [float(e.attrib["width"]) > 55 for e in bands] == [True, True] and "bands not to scale" in svg
    even = learning_curve([Band("pretrain", "pretrain", 5e8), Band("RL", "rl", 5.01e8)], [Curve([point, rl])], [], "", 880, "wide")
    assert "bands not to scale" not in even


def test_labels_are_left_out_rather_than_put_on_others() -> None:
    drawing = Drawing(100, 40, "", "wide")
    drawing.text(0, 12, "X" * 12, size=14)
    assert drawing.place([(50, 20)], "low", "note", (0, 0, 100, 44)) is True
    assert drawing.place([(50, 20)], "a long one more", "note", (0, 0, 100, 44)) is False
    assert "low" in drawing.svg() and "a long one more" not in drawing.svg()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (7.25, "7.2"), (999, "999"), (999.7, "1k"), (1500, "1.5k"), (22_140, "22.1k"), (999_700, "1M"), (1_240_000, "1.24M"), (3e9, "3B")],
)
def test_counts_have_three_digits(count: float, text: str) -> None:
    assert format_count(count) == text


def test_ticks_are_round_and_reach_the_maximum() -> None:
    for maximum in (0.0, 0.3, 1, 4.9, 47.5, 52, 61, 999, 22_580, 1e9):
        ticks = nice_ticks(maximum)
        steps = np.diff(ticks)
        assert ticks[0] == 0 and ticks[-1] >= maximum and 4 <= len(ticks) <= 7 and np.allclose(steps, steps[0])
        assert f"{steps[0]:.0e}"[0] in "125"
