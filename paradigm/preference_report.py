"""What the report and the terminal show of a run on preferences: reward models, answers judged by them, over-optimisation, and what was forgotten.

Every figure stands under a sentence computed from it, true whatever came out. Over several seeds it is the first run's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from paradigm.claims import Group, policy_name
from paradigm.drawing import ABOVE, BELOW, LEFT, Drawing, format_percent, nice_ticks
from paradigm.figures import interval_text
from paradigm.metrics import format_duration
from paradigm.run_folder import Preference, Run
from paradigm.statistics import Estimate, wilson_interval

__all__ = ["preference_sections", "preference_table", "preference_tiles"]

_WIDTH, _HEIGHT = 348, 260

Claims = Callable[[Callable[[Group], str]], list[tuple[str, str]]]


def preference_sections(groups: Sequence[Group], claim: Claims) -> dict[str, Any] | None:
    """The page's sections about preferences, or None if no run has any. Args: claim: a sentence about each group, as (name, sentence)."""
    runs = [group.runs[0] for group in groups if group.runs[0].preferences]
    if not runs:
        return None
    several = len(runs) > 1
    return {
        "models": {"claim": claim(_models_claim), "rows": [row for run in runs for row in _model_rows(run, several)]},
        "wins": {"claim": claim(_wins_claim), "rows": [row for run in runs for row in _policy_rows(run, several)]},
        "curves": {"claim": claim(_optimisation_claim), "figures": [svg for run in runs for svg in _curves(run, several)]},
        "text": {"claim": claim(_text_claim), "rows": [row for run in runs for row in _text_rows(run, several)]},
        "responses": [r for run in runs for r in _responses(run)],
    }  # fmt: skip


def _final(run: Run) -> list[Preference]:
    return [row for row in run.preferences if row.final]


def _models(run: Run) -> list[tuple[Preference, Estimate]]:
    return [(row, wilson_interval(row.correct, row.pairs)) for row in _final(run) if row.pairs]


def _trained(run: Run) -> list[Preference]:
    """The last figures of every policy that a reward model trained."""
    return [row for row in _final(run) if row.kind == "rl" and row.prompts]


def _start(run: Run, row: Preference) -> Preference | None:
    """Where a policy started: the one row that was written of it for the same scorer."""
    stages = run.info.get("resolved", {}).get("stages", [])
    start = next((stage.get("start") for stage in stages if stage.get("name") == row.stage), "")
    found = [other for other in _final(run) if other.kind == "start" and other.scorer == row.scorer]
    return next((other for other in found if other.stage == start), found[-1] if found else None)


def _win_rate(row: Preference) -> Estimate | None:
    games = row.wins + row.draws + row.losses
    return wilson_interval(row.wins + row.draws / 2, games) if games else None


def _phrase(row: Preference) -> str:
    return policy_name(row.policy).phrase


def _of_chance(estimate: Estimate) -> str:
    if estimate.low <= 0.5 <= estimate.high:
        return "not measurably different from chance"
    return "measurably above chance" if estimate.low > 0.5 else "measurably below chance"


def _models_claim(group: Group) -> str:
    """How reward models order pairs that they were not trained on."""
    models = _models(group.runs[0])
    if not models:
        return "No reward model of this run has been measured yet"
    said = [
        f"the {row.policy} orders {format_percent(e.value)} of {row.pairs:,} held-out pairs as people did (95% interval {100 * e.low:.1f} to "
        f"{100 * e.high:.1f}), {_of_chance(e)}" for row, e in models
    ]  # fmt: skip
    return _capital("; ".join(said))


def _wins_claim(group: Group) -> str:
    """Whose answers the gold reward model prefers."""
    run = group.runs[0]
    said = []
    for row in _trained(run):
        rate = _win_rate(row)
        start = _start(run, row)
        if rate is not None:
            other = _phrase(start) if start is not None else "the policy it started from"
            games = row.wins + row.draws + row.losses
            verb = "beats" if rate.low > 0.5 else "loses to" if rate.high < 0.5 else "is level with"
            interval = f"95% interval {100 * rate.low:.1f} to {100 * rate.high:.1f}"
            said.append(f"{_phrase(row)} {verb} {other} at {format_percent(rate.value)} of {games:,} prompts ({interval})")
    if not said:
        return "No gold reward model has compared two policies of this run yet"
    name = run.info.get("resolved", {}).get("evaluation", {}).get("gold")
    right = next((f", right on {format_percent(e.value)} of held-out pairs," for row, e in _models(run) if row.stage == name), "")
    return f"By the gold reward model{right} {', '.join(said)}"


def _optimisation_claim(group: Group) -> str:
    """What became of the reward that was trained on, and of the gold one."""
    run = group.runs[0]
    said = []
    for row in _trained(run):
        start = _start(run, row)
        if start is None or row.kl is None or row.proxy is None or start.proxy is None:
            continue
        gold = _difference(row.gold, start.gold)
        own = f"{row.proxy[0] - start.proxy[0]:+.2f}".replace("-", "−")
        told = f"{_phrase(row)}, {row.kl[0]:.1f} nats a response from where it started, has changed its own reward by {own}"
        said.append(told + (f" and the gold one by {_signed(gold)}" if gold is not None else ""))
    return _capital("; ".join(said)) if said else "No policy has been trained against a reward model yet"


def _text_claim(group: Group) -> str:
    """What RL cost on pretraining's text."""
    said = [f"{_signed(Estimate(*row.text_change))} by {_phrase(row)}" for row in _trained(group.runs[0]) if row.text_change is not None]
    if not said:
        return "The loss on pretraining's text was not measured after RL"
    return f"The loss on held-out pretraining text, in nats a token, was changed {', '.join(said)}"


def _difference(after: tuple[float, float, float] | None, before: tuple[float, float, float] | None) -> Estimate | None:
    """Of two means, as if their samples were independent, which is cautious: the prompts are the same."""
    if after is None or before is None:
        return None
    value = after[0] - before[0]
    down, up = math.hypot(after[0] - after[1], before[2] - before[0]), math.hypot(after[2] - after[0], before[0] - before[1])
    return Estimate(value, value - down, value + up)


def _signed(estimate: Estimate) -> str:
    digits = 3 if abs(estimate.value) < 0.1 else 2
    value, low, high = (f"{v:+.{digits}f}".replace("-", "−") for v in estimate)
    return f"{value} (95% interval {low} to {high})"


def _cell(value: tuple[float, float, float] | None, digits: int = 2) -> tuple[str, str]:
    if value is None:
        return "–", ""
    shown = [f"{v:.{digits}f}".replace("-", "−") for v in value]
    return shown[0], f"{shown[1]} to {shown[2]}"


def _label(run: Run, row: Preference, several: bool) -> str:
    return policy_name(row.policy).label + (f", {run.folder.name}" if several else "")


def _model_rows(run: Run, several: bool) -> list[dict[str, Any]]:
    return [
        {"label": _label(run, row, several), "pairs": f"{row.pairs:,}",
         "accuracy": (format_percent(e.value), f"{100 * e.low:.1f} to {100 * e.high:.1f}"),
         "loss": "–" if row.loss is None else f"{row.loss:.3f}", "unscored": f"{row.unscored:,}"}
        for row, e in _models(run)
    ]  # fmt: skip


def _policy_rows(run: Run, several: bool) -> list[dict[str, Any]]:
    rows = []
    for row in [r for r in _final(run) if r.kind == "start" and r.prompts] + _trained(run):
        rate = _win_rate(row)
        rows.append({
            "label": _label(run, row, several), "kind": policy_name(row.policy).kind, "kl": _cell(row.kl), "proxy": _cell(row.proxy),
            "gold": _cell(row.gold), "tokens": _cell(row.response_tokens, 1), "unscored": f"{row.unscored:,}",
            "wins": (format_percent(rate.value), f"{100 * rate.low:.1f} to {100 * rate.high:.1f}") if rate is not None else ("–", ""),
        })  # fmt: skip
    return rows


def _text_rows(run: Run, several: bool) -> list[dict[str, Any]]:
    return [
        {"label": _label(run, row, several), "cells": [_cell(getattr(row, name), 3) for name in
         ("text_loss", "text_change", "dialogue_loss", "dialogue_change")]}
        for row in _final(run) if row.dialogue_loss is not None
    ]  # fmt: skip


def _responses(run: Run) -> list[dict[str, Any]]:
    """The kept answers, prompt by prompt."""
    prompts = dict.fromkeys(str(r.get("prompt")) for r in run.responses)
    return [
        {"prompt": prompt, "answers": [
            {"label": policy_name(str(r.get("policy"))).label, "text": str(r.get("response")), "scores": ", ".join(
                f"{name} {r[name]:.2f}" for name in ("proxy", "gold") if isinstance(r.get(name), float))}
            for r in run.responses if r.get("prompt") == prompt
        ]}
        for prompt in prompts
    ]  # fmt: skip


def _curves(run: Run, several: bool) -> list[Markup]:
    """One small figure a trained policy: both rewards against the square root of the KL, on the same axes."""
    paths = []
    for last in _trained(run):
        start = _start(run, last)
        points = ([start] if start is not None else []) + [row for row in run.preferences if row.stage == last.stage and row.kl is not None]
        paths.append((_label(run, last, several), points))
    values = [v for _, points in paths for p in points for e in (p.proxy, p.gold) if e is not None for v in e]
    reach = max([math.sqrt(max(0.0, p.kl[0])) for _, points in paths for p in points if p.kl is not None], default=0.0)
    return [Markup(_curve(name, points, min(values), max(values), reach)) for name, points in paths if values]


def _curve(name: str, points: Sequence[Preference], low: float, high: float, reach: float) -> str:
    drawing = Drawing(_WIDTH, _HEIGHT, f"{name}: the reward trained on and the gold reward against the distance", "kind")
    left, right, top, bottom = 44.0, _WIDTH - 14.0, 30.0, _HEIGHT - 42.0
    across = nice_ticks(reach)
    step = nice_ticks(max(high - low, 1e-3))[1]
    first, last = math.floor(low / step), math.ceil(high / step)

    def place(distance: float, reward: float) -> tuple[float, float]:
        x = left + distance / across[-1] * (right - left)
        return x, bottom - (reward / step - first) / max(1, last - first) * (bottom - top)

    drawing.text(4, 14, name, "band-label", size=13)
    for number in range(first, last + 1):
        y = place(0, number * step)[1]
        drawing.line("grid", [(left, y), (right, y)], obstacle=False)
        drawing.text(left - 6, y + 4, f"{number * step:.3g}".replace("-", "−"), "tick", "end", 11)
    for tick in across:
        drawing.text(place(tick, 0)[0], bottom + 17, f"{tick:g}", "tick", "end" if tick == across[-1] else "middle", 11)
    drawing.text(right, _HEIGHT - 6, "square root of the KL, nats a response", "axis-title", "end", 11)
    for field, css in (("proxy", "kind-rl"), ("gold", "kind-demonstrator")):
        curve = [(p, math.sqrt(max(0.0, p.kl[0])), getattr(p, field)) for p in points if p.kl is not None and getattr(p, field) is not None]
        at = [place(distance, value[0]) for _, distance, value in curve]
        for start, end in pairwise(at):
            drawing.line(f"segment {css}", [start, end])
        for (point, distance, value), (x, y) in zip(curve, at):
            drawing.line(f"whisker {css}", [(x, place(0, value[1])[1]), (x, place(0, value[2])[1])])
            tip = f"{field} reward {value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f}) at {distance**2:.2f} nats, step {point.step}"
            drawing.dot(f"dot {css}", x, y, 4, tip)
        if at:
            label, limits = f"{field} {curve[-1][2][0]:.2f}".replace("-", "−"), (left + 2, top - 8, right, bottom - 2)
            drawing.place(at[::-1], label, "note", limits, (ABOVE, BELOW, LEFT), 12)
    return drawing.svg()


def preference_tiles(group: Group) -> list[dict[str, str]]:
    """The arc in numbers: how good the reward models are, and what the gold one says of the last policy of the main line."""
    run = group.runs[0]
    tiles = [
        {"label": _capital(row.policy), "kind": "other", "value": format_percent(e.value),
         "note": f"of held-out pairs, {100 * e.low:.1f} to {100 * e.high:.1f}"}
        for row, e in _models(run)
    ]  # fmt: skip
    for row in _trained(run):
        if (rate := _win_rate(row)) is not None:
            label = f"{policy_name(row.policy).label}, wins by gold"
            tiles.append({"label": label, "kind": policy_name(row.policy).kind, "value": format_percent(rate.value),
                          "note": f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"})  # fmt: skip
    return tiles


def preference_table(run: Run) -> Table:
    """The terminal's last word on a run on preferences."""
    table = Table("policy", box=box.SIMPLE_HEAD, pad_edge=False, min_width=72, title_justify="left", caption_justify="left")
    table.title = Text(f"{run.name}: answers to held-out prompts")
    for header in ("KL", "proxy", "gold", "wins by gold", "text loss"):  # 80 columns hold them all
        table.add_column(header, justify="right", no_wrap=True)
    start = [row for row in _final(run) if row.kind == "start" and row.prompts]
    for row in start + _trained(run):
        rate = _win_rate(row)
        change = f"{row.text_change[0]:+.3f}" if row.text_change is not None else "–"
        table.add_row(Text(policy_name(row.policy).label), _cell(row.kl)[0], _cell(row.proxy)[0], _cell(row.gold)[0],
                      f"{format_percent(rate.value)} ({100 * rate.low:.0f}–{100 * rate.high:.0f})" if rate is not None else "–", change)  # fmt: skip
    lines = ["KL: nats a response; text loss: its change, nats a token"]
    lines += [f"{row.policy}: {interval_text(e)} of {row.pairs:,} held-out pairs in order" for row, e in _models(run)]
    seconds = run.info.get("run_seconds")
    lines += [f"run {format_duration(seconds)}"] if isinstance(seconds, int | float) else []
    table.caption = Text("\n".join(lines))
    return table


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
