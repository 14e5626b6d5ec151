"""One run, or several compared, as one self-contained page: each figure under a sentence computed from the data (`claims.py`).

The page needs no network, no scripts and no fonts of its own, and its content security policy forbids all three; transcripts are untrusted text,
so everything is escaped. What a run did not leave behind is said on the page instead of failing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from paradigm.claims import (
    Group,
    Measured,
    distillation_claim,
    group_runs,
    in_order,
    learning_claim,
    policy_name,
    recovery_claim,
    stage_label,
    stage_phrase,
    throughput_claim,
)
from paradigm.drawing import format_count, format_percent, svg_file
from paradigm.figures import (
    Band,
    Curve,
    CurvePoint,
    Level,
    ScatterPoint,
    accuracy_against_tokens,
    interval_text,
    learning_curve,
    paired_bars,
    throughput_bars,
)  # fmt: skip
from paradigm.kind_report import kind_sections
from paradigm.match_report import match_sections, match_table, match_tiles
from paradigm.metrics import format_duration
from paradigm.preference_report import preference_sections, preference_table, preference_tiles
from paradigm.run_folder import Evaluation, Run, Transcript, read_run
from paradigm.statistics import Estimate, mean_over_seeds, wilson_interval

__all__ = ["learning_picture", "summary_table", "write_report"]

_WIDE, _NARROW = 880, 348
_CONTROL_CHARACTERS = {i: chr(0x2400 + i) for i in range(32) if chr(i) not in "\n\t"} | {127: "\u2421"}
TOKEN_KINDS = {
    "prompt": "problem", "thought": "scratch work", "action": "action", "observation": "injected observation", "error": "error",
    "forced": "forced error", "correction": "correction",
}  # fmt: skip


def write_report(run_folders: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the page of a run, or of several compared: seeds of one recipe are averaged, other recipes stand beside each other.

    Args:
        run_folders: one run directory or several (see `run_folder.py` for what they hold); files may be missing or partial.
        out: where to write; by default `report.html` in the run's folder, or `comparison.html` beside the first of several.
    Returns: the path written, atomically. Raises: FileNotFoundError for a folder that is not there, ValueError for no folder.
    """
    folders = [run_folders] if isinstance(run_folders, str | Path) else list(run_folders)
    if not folders:
        raise ValueError("run_folders must name at least one run folder, got none")
    runs = [read_run(folder) for folder in folders]
    path = Path(out) if out is not None else runs[0].folder / "report.html" if len(runs) == 1 else runs[0].folder.parent / "comparison.html"
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(_resource("report.html"))
    page = template.render(_page(runs, group_runs(runs)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(page.encode("utf-8", errors="replace"))  # lone surrogates in a transcript are not UTF-8
    os.replace(temporary, path)
    return path


def learning_picture(run_folder: str | Path) -> str:
    """The page's first figure alone, as an SVG file with its own light and dark colours.

    Raises: as `write_report`; ValueError for a run in which nothing was measured.
    """
    run = read_run(run_folder)
    group = Group(run.name, [run])
    bands, curves, levels = _learning_parts([group])
    if not curves:
        raise ValueError(f"run_folder must hold evaluations at temperature 1, got none in {run.folder}")
    svg = learning_curve(bands, curves, levels, learning_claim(group), _WIDE, "picture")
    return svg_file(svg, f"svg{{font-family:system-ui,sans-serif;background:var(--page)}}{_resource('figures.css')}")


def _resource(name: str) -> str:
    return resources.files("paradigm").joinpath(name).read_text(encoding="utf-8")


def summary_table(run_folder: str | Path) -> Table:
    """The terminal's last word on a run: stage × success × tokens per problem (or × opponent), set-up and run seconds apart.

    Raises: as `write_report`.
    """
    run = read_run(run_folder)
    if run.is_about_preferences:
        return preference_table(run)
    if run.opponents:
        return match_table(run)
    group = Group(run.name, [run])
    table = Table("policy", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left")
    table.title = Text(f"{run.name}: success on held-out problems, 95% intervals")
    for header in ("sampled, T = 1", "greedy", "tokens"):  # 80 columns hold them all
        table.add_column(header, justify="right", no_wrap=True)
    for policy in group.policies():
        successes = [group.success(policy, temperature) for temperature in (1.0, 0.0)]
        cells = [f"{format_percent(s.estimate.value)} ({100 * s.estimate.low:.1f}–{100 * s.estimate.high:.1f})" if s else "–" for s in successes]
        tokens = group.tokens_per_problem(policy)
        table.add_row(Text(policy_name(policy).label), *cells, f"{tokens:.1f}" if tokens is not None else "–")
    times = [
        f"{name} {format_duration(seconds)}"
        for name, seconds in (("set-up", run.info.get("setup_seconds")), ("run", run.info.get("run_seconds"))) if isinstance(seconds, int | float)
    ]  # fmt: skip
    table.caption = Text(" · ".join(["tokens: written a problem, at T = 1", *times]))
    return table


def _page(runs: Sequence[Run], groups: Sequence[Group]) -> dict[str, Any]:
    """Everything that the template shows."""
    title = _listed([group.name for group in groups])
    speeds = {group.name: _speeds(group) for group in groups}
    transcripts, shown_run = next(((run.transcripts, run) for run in runs if run.transcripts), ([], runs[0]))
    problems = list(dict.fromkeys(t.problem for t in transcripts))

    def claim(sentence: Callable[[Group], str]) -> list[tuple[str, str]]:
        return [(group.name if len(groups) > 1 else "", sentence(group) + ".") for group in groups]

    def text(claims: list[tuple[str, str]]) -> str:
        return " ".join(f"{name}: {sentence}" if name else sentence for name, sentence in claims)

    learning, recovery, distillation = claim(learning_claim), claim(recovery_claim), claim(distillation_claim)
    throughput = claim(lambda group: throughput_claim(group, [row[2] for row in speeds[group.name]]))
    prefers = [group.runs[0].is_about_preferences for group in groups]
    tiles = (preference_tiles if prefers[0] else match_tiles if groups[0].opponents else _tiles)(groups[0]) if len(groups) == 1 else []
    return {
        "title": title, "subtitle": _subtitle(runs), "num_runs": len(runs), "seeds": any(len(g.runs) > 1 for g in groups),
        "figure_style": Markup(_resource("figures.css")),
        "missing": [(run.name, note) for run in runs for note in run.missing],
        "matches": match_sections(groups, claim, _figure), "preferences": preference_sections(groups, claim),
        "problems_asked": any(not group.opponents and not about for group, about in zip(groups, prefers)),
        "tiles": tiles if len(tiles) > 1 else [], "table": _table(groups), "operations": _operations(groups),
        "learning": {
            "claim": learning, "svg": _learning_figure(groups, text(learning)),
            "control": any(e.policy == "continued imitation" for run in runs for e in run.evaluations),
            "demonstrators": any(group.success("demonstrators") for group in groups),
        },
        "kinds": kind_sections(groups, claim, _learning_parts),
        "recovery": {"claim": recovery, "asked": any(run.asks_for("evaluation", "recovery") for run in runs),
                     **_recovery_figure(groups, text(recovery))},
        "distillation": {"claim": distillation, "svg": _distillation_figure(groups, text(distillation)),
                         "asked": any(run.has_stage("distil") for run in runs)},
        "problems": [_problem([t for t in transcripts if t.problem == problem], problem, shown_run) for problem in problems],
        "transcript_run": shown_run.name if len(runs) > 1 else "",
        "token_kinds": [(k, v) for k, v in TOKEN_KINDS.items() if any(token.kind == k for t in transcripts for token in t.tokens)],
        "throughput": {"claim": throughput, "svg": _throughput_figure(speeds, text(throughput)), "rows": _stage_rows(groups)},
        "facts": _facts(runs), "commands": list(dict.fromkeys(str(run.info["command"]) for run in runs if run.info.get("command"))),
    }  # fmt: skip


def _figure(draw: Callable[[float, str], str]) -> Markup:
    """A wide and a narrow drawing; the page's style shows one of them."""
    return Markup(draw(_WIDE, "wide") + draw(_NARROW, "narrow"))  # drawings escape their text


def _learning_parts(groups: Sequence[Group]) -> tuple[list[Band], list[Curve], list[Level]]:
    """Stages, curves along the trained tokens, and the demonstrators' level."""
    paths = [[s for s in run.stages if not s.control] for run in groups[0].runs]
    bands = [Band(stage_label(s.name), s.kind, sum(path[i].trained_tokens for path in paths) / len(paths)) for i, s in enumerate(paths[0])]
    curves, levels = [], []
    for group in groups:
        suffix = f" ({group.name})" if len(groups) > 1 else ""
        seeds = [_curve_points(run, [e for e in run.evaluations if not _is_control(e) and e.policy != "demonstrators"]) for run in group.runs]
        if len(seeds) > 1:
            curves += [Curve(list(points.values()), "seed", "") for points in seeds]
        curves.append(Curve(_mean_points(seeds), "main", group.name if suffix else ""))
        controls = []
        for run in group.runs:
            continued = [e for e in run.evaluations if e.policy == "continued imitation"]
            start = [e for e in run.evaluations if e.policy == "imitated" and e.final]
            controls.append(_curve_points(run, [*start, *continued] if continued else []))
        curves.append(Curve(_mean_points(controls), "control", f"continued imitation{suffix}"))
        if (demonstrators := group.success("demonstrators")) is not None:
            levels.append(Level(f"demonstrators{suffix}", demonstrators.estimate))
    return bands, [curve for curve in curves if curve.points], levels


def _learning_figure(groups: Sequence[Group], description: str) -> Markup | None:
    bands, curves, levels = _learning_parts(groups)
    return _figure(lambda width, css_class: learning_curve(bands, curves, levels, description, width, css_class)) if curves else None


def _is_control(evaluation: Evaluation) -> bool:
    return evaluation.control or policy_name(evaluation.policy).kind == "control"


def _curve_points(run: Run, evaluations: Sequence[Evaluation]) -> dict[tuple[str, str, int], CurvePoint]:
    """Points at temperature 1 along the tokens, each known by its stage, its policy and how many points of these came before."""
    kinds = {stage.name: stage.kind for stage in run.stages}
    points: dict[tuple[str, str, int], CurvePoint] = {}
    for e in sorted(evaluations, key=lambda e: e.tokens):
        if abs(e.temperature - 1) < 1e-6:
            success, ordinal = wilson_interval(e.correct, e.problems), sum(key[:2] == (e.stage, e.policy) for key in points)
            kind = policy_name(e.policy).kind
            tip = _tip(policy_name(e.policy).label, e.tokens, success)
            points[e.stage, e.policy, ordinal] = CurvePoint(e.tokens, success, kinds.get(e.stage, kind), e.final, tip)
    return points


def _mean_points(seeds: Sequence[dict[tuple[str, str, int], CurvePoint]]) -> list[CurvePoint]:
    """Points that every seed has, averaged in both directions, with the t interval over seeds; the points themselves for one seed."""
    if len(seeds) == 1:
        return list(seeds[0].values())
    mean = []
    for key, first in seeds[0].items():
        if all(key in points for points in seeds):
            summary = mean_over_seeds([points[key].success.value for points in seeds])
            tokens = sum(points[key].tokens for points in seeds) / len(seeds)
            success = Estimate(summary.mean, max(0.0, summary.low), min(1.0, summary.high))
            tip = f"{_tip(policy_name(key[1]).label, tokens, success)}, {len(seeds)} seeds"
            mean.append(CurvePoint(tokens, success, first.kind, first.final, tip))
    return mean


def _tip(label: str, tokens: float, success: Estimate) -> str:
    return f"{label}, {format_count(tokens)} trained tokens: {interval_text(success)}"


def _recovery_figure(groups: Sequence[Group], description: str) -> dict[str, Any]:
    """Bars for every policy on which an error was forced, and the same numbers as rows."""
    bars, rows = [], []
    for policy in in_order(p for group in groups for p in group.recovering()):
        for group in groups:
            if (found := group.recovery(policy)) is None:
                continue
            label = policy_name(policy).label + (f", {group.name}" if len(groups) > 1 else "")
            plain, forced = (m.estimate for m in found)
            bars.append((label, plain, forced))
            problems = sum(r.problems for run in group.runs if (r := run.recovery(policy)) is not None)
            lost = f"{100 * (plain.value - forced.value):.1f}".replace("-", "−")
            rows.append((label, interval_text(plain), interval_text(forced), lost, f"{problems:,}"))
    legend = ("undisturbed", "after one forced wrong token")
    svg = _figure(lambda width, css_class: paired_bars(bars, legend, description, width, css_class)) if bars else None
    return {"svg": svg, "rows": rows}


def _distillation_figure(groups: Sequence[Group], description: str) -> Markup | None:
    points: list[ScatterPoint] = []
    arrows: list[tuple[int, int]] = []
    for group in groups:
        at: dict[str, int] = {}
        for policy in ("demonstrators", "imitated", "rl", "distilled"):
            success, tokens = group.success(policy), group.tokens_per_problem(policy)
            if success is not None and tokens is not None:
                at[policy] = len(points)
                name = policy_name(policy)
                points.append(ScatterPoint(name.label + (f", {group.name}" if len(groups) > 1 else ""), name.kind, tokens, success.estimate))
        if "rl" in at and "distilled" in at:
            arrows.append((at["rl"], at["distilled"]))
    return _figure(lambda width, css_class: accuracy_against_tokens(points, arrows, description, width, css_class)) if points else None


def _speeds(group: Group) -> list[tuple[str, str, float, float | None]]:
    """(stage, kind, trained tokens/s, rollout tokens/s or None) over all runs of a group; controls left out."""
    rows = []
    for name, kind in dict.fromkeys((s.name, s.kind) for run in group.runs for s in run.stages if not s.control):
        stages = [s for run in group.runs for s in run.stages if (s.name, s.kind) == (name, kind) and s.seconds > 0]
        seconds = sum(s.seconds for s in stages)
        if seconds > 0:
            rolled = sum(s.rollout_tokens for s in stages)
            rows.append((stage_label(name), kind, sum(s.trained_tokens for s in stages) / seconds, rolled / seconds if rolled else None))
    return rows


def _throughput_figure(speeds: dict[str, list[tuple[str, str, float, float | None]]], description: str) -> Markup | None:
    rows = [(f"{name}, {group}" if len(speeds) > 1 else name, *rest) for group, bars in speeds.items() for name, *rest in bars]
    return _figure(lambda width, css_class: throughput_bars(rows, description, width, css_class)) if rows else None  # type: ignore[arg-type]


def _stage_rows(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Every stage of every run as it ran, controls included."""
    several = sum(len(group.runs) for group in groups) > 1
    return [
        {
            "stage": stage_label(stage.name) + (" (control)" if stage.control else ""), "run": _seed_name(run) if several else "",
            "seconds": format_duration(stage.seconds), "trained": format_count(stage.trained_tokens),
            "rolled": format_count(stage.rollout_tokens) if stage.rollout_tokens else "–",
            "rollouts": f"{stage.rollouts:,}" if stage.rollouts else "–",
            "gflops": f"{stage.flops / stage.seconds / 1e9:.1f}" if stage.flops and stage.seconds else "–",
        }
        for group in groups for run in group.runs for stage in run.stages
    ]  # fmt: skip


def _table(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Every policy as a row; groups beside each other."""
    rows = []
    for policy in in_order(p for group in groups for p in group.policies()):
        for group in groups:
            evaluations = group.evaluations(policy) or group.evaluations(policy, 0.0)
            if not evaluations:
                continue
            name, tokens = policy_name(policy), group.tokens_per_problem(policy)
            trained = sum(e.tokens for e in evaluations) / len(evaluations)
            rows.append({
                "label": name.label + (f", {group.name}" if len(groups) > 1 else ""), "kind": name.kind, "sampled": _cell(group.success(policy)),
                "greedy": _cell(group.success(policy, 0.0)), "tokens": f"{tokens:.1f}" if tokens is not None else "–",
                "trained": format_count(trained) if trained else "–", "problems": f"{sum(e.problems for e in evaluations):,}",
            })  # fmt: skip
    return rows


def _cell(measured: Measured | None) -> tuple[str, str, str]:
    """A success, its standard deviation over seeds if there are several, and its interval."""
    if measured is None:
        return "–", "", ""
    estimate = measured.estimate
    spread = f"± {100 * measured.std:.1f}" if measured.std is not None else ""
    return format_percent(estimate.value), spread, f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _operations(groups: Sequence[Group]) -> dict[str, Any]:
    """Success by operation at temperature 1: counts summed over the runs of a group, with Wilson's interval in the tooltip."""
    names = list(dict.fromkeys(o for g in groups for p in g.policies() for e in g.evaluations(p) for o in e.by_operation))
    rows = []
    for policy in in_order(p for group in groups for p in group.policies()):
        for group in groups:
            counts = [[e.by_operation[name] for e in group.evaluations(policy) if name in e.by_operation] for name in names]
            successes = [wilson_interval(sum(k for k, _ in c), sum(n for _, n in c)) if c else None for c in counts]
            if any(successes):
                cells = [(format_percent(e.value), interval_text(e)) if e else ("–", "") for e in successes]
                rows.append((policy_name(policy).label + (f", {group.name}" if len(groups) > 1 else ""), cells))
    return {"names": [{"*": "×", "/": "÷", "-": "−"}.get(n, n) for n in names], "rows": rows}


def _tiles(group: Group) -> list[dict[str, str]]:
    """The arc in four numbers."""
    tiles = []
    for policy in ("demonstrators", "continued imitation", "rl", "distilled"):
        success, tokens = group.success(policy), group.tokens_per_problem(policy)
        if success is not None:
            note = f"{tokens:.1f} tokens/problem" if tokens is not None else ""
            name = policy_name(policy)
            tiles.append({"label": name.label, "kind": name.kind, "value": format_percent(success.estimate.value), "note": note})
    return tiles


def _problem(transcripts: Sequence[Transcript], problem: str, run: Run) -> dict[str, Any]:
    """One problem through the stages; neighbouring tokens of one kind are joined."""
    kinds = {stage.name: stage.kind for stage in run.stages}
    stages = []
    for transcript in transcripts:
        pieces: list[list[str]] = []
        for token in transcript.tokens:
            text = token.text.translate(_CONTROL_CHARACTERS)
            if pieces and pieces[-1][0] == token.kind:
                pieces[-1][1] += text
            else:
                pieces.append([token.kind, text])
        stages.append({
            "stage": stage_label(transcript.stage), "kind": kinds.get(transcript.stage) or policy_name(transcript.stage).kind,
            "correct": transcript.correct, "pieces": pieces,
            "num_tokens": sum(t.kind in ("thought", "action", "error", "correction") for t in transcript.tokens),
        })  # fmt: skip
    right, wrong = ([stage_phrase(t.stage) for t in transcripts if t.correct is verdict] for verdict in (True, False))
    shown = " ".join(problem.translate(_CONTROL_CHARACTERS).split())
    shown = f"“{shown if len(shown) <= 60 else shown[:59] + '…'}”"
    if right and wrong:
        claim = f"{shown} is answered wrongly after {_listed(wrong)} and rightly after {_listed(right)}."
    else:
        where = "every stage shown" if len(transcripts) > 1 else _listed(right + wrong)
        claim = f"{shown} is answered {'rightly' if right else 'wrongly'} after {where}."
    return {"claim": claim, "stages": stages}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _seed_name(run: Run) -> str:
    return f"{run.name}, seed {run.info['seed']}" if "seed" in run.info else run.name


def _subtitle(runs: Sequence[Run]) -> str:
    """When, how large, which seeds."""
    info = runs[0].info
    parts = []
    started = info.get("started")
    if isinstance(started, int | float) and math.isfinite(started) and 0 <= started < 1e11:
        started = datetime.fromtimestamp(started).astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(started, str):
        parts.append(started)
    if isinstance(parameters := info.get("num_parameters"), int | float):
        parts.append(f"{format_count(parameters)} parameters")
    seeds = list(dict.fromkeys(str(run.info["seed"]) for run in runs if "seed" in run.info))
    if seeds:
        parts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {_listed(seeds)}")
    return " · ".join(parts)


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What somebody needs who wants to repeat the run; a fact on which the runs differ lists each value once."""

    def values(read: Callable[[dict[str, Any]], Any]) -> str:
        return ", ".join(dict.fromkeys(str(v) for run in runs if (v := read(run.info)) not in (None, "")))

    def hardware(info: dict[str, Any]) -> str:
        given = info.get("hardware")
        if not isinstance(given, dict):
            return ""
        parts = [str(given.get("cpu") or ""), f"{given['cores']} cores" if given.get("cores") else ""]
        parts += [f"{given['memory_gib']:.0f} GiB" if isinstance(given.get("memory_gib"), int | float) else "", str(given.get("gpu") or "no GPU")]
        return " · ".join(part for part in parts if part)

    def versions(info: dict[str, Any]) -> str:
        given = info.get("versions")
        return " · ".join(f"{k} {v}" for k, v in given.items()) if isinstance(given, dict) else ""

    def seconds(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda info: format_duration(info[name]) if isinstance(info.get(name), int | float) else ""

    facts = [
        ("Recipe", values(lambda i: i.get("recipe"))), ("Seed", values(lambda i: i.get("seed"))), ("Hardware", values(hardware)),
        ("Versions", values(versions)),
        ("Parameters", values(lambda i: f"{i['num_parameters']:,}" if isinstance(i.get("num_parameters"), int) else "")),
        ("Set-up", values(seconds("setup_seconds"))), ("Run", values(seconds("run_seconds"))), ("Started", values(lambda i: i.get("started"))),
    ]  # fmt: skip
    return [(name, value) for name, value in facts if value]
