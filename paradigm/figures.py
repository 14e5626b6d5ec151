"""The report's figures as inline SVG: numbers in, one `<svg>` out. Colours and type come from the page, so they follow its light and dark schemes.

Each figure is drawn for a width in pixels at which its text has its real size; the page holds a wide and a narrow drawing and shows one.
Values are fractions (`Estimate`), shown as percentages; every mark has a tooltip (`<title>`); all text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paradigm.drawing import ABOVE, BELOW, LEFT, RIGHT, Drawing, format_count, format_percent, nice_ticks, px, text_width
from paradigm.statistics import Estimate

__all__ = [
    "Band", "Curve", "CurvePoint", "Level", "ScatterPoint", "accuracy_against_tokens", "game_board", "interval_text", "learning_curve",
    "paired_bars", "throughput_bars",
]  # fmt: skip

_KINDS = ("pretrain", "imitate", "rl", "distil", "control", "demonstrator")
_SOLVED = "held-out problems solved, sampling at temperature 1"


class Band(NamedTuple):
    """A stage's share of the token axis: its name, kind and trained tokens."""

    name: str
    kind: str
    tokens: float


class CurvePoint(NamedTuple):
    """Success after `tokens` trained tokens; `final` points end a stage and carry a label."""

    tokens: float
    success: Estimate
    kind: str
    final: bool
    tip: str


@dataclass(frozen=True)
class Curve:
    """`style`: main (coloured by stage, dots with intervals), seed (thin, no dots) or control (dashed). A label is written at its end."""

    points: Sequence[CurvePoint]
    style: str = "main"
    label: str = ""


class Level(NamedTuple):
    """A horizontal line with its interval, such as the demonstrators' success."""

    label: str
    success: Estimate


class ScatterPoint(NamedTuple):
    label: str
    kind: str
    tokens: float
    success: Estimate


class _Bar(NamedTuple):
    """One row of bars: values with a class for their colour, a text at their end and a tooltip."""

    label: str
    values: Sequence[tuple[float, str, str, str]]


def learning_curve(bands: Sequence[Band], curves: Sequence[Curve], levels: Sequence[Level], description: str, width: float, css_class: str,
                   title: str = _SOLVED) -> str:  # fmt: skip
    """Success over all trained tokens: a coloured band a stage, dots with 95% intervals, horizontal levels, dashed controls."""
    narrow = width < 500
    small = 11 if narrow else 12
    drawing = Drawing(width, 320 if narrow else 400, description, css_class)
    left, right, top, bottom = (40, width - 10, 58, drawing.height - 46) if narrow else (48, width - 16, 58, drawing.height - 50)
    reached = max([p.tokens for c in curves for p in c.points], default=0.0)
    place_x, edges, to_scale = _token_axis(bands, reached, left, right)

    def place_y(fraction: float) -> float:
        return bottom - max(0.0, min(1.0, fraction)) * (bottom - top)

    drawing.text(left if not narrow else 4, 14, title, "axis-title", size=12)
    for band, x0, x1 in zip(bands, edges, edges[1:]):
        tip = f"{band.name}: {format_count(band.tokens)} trained tokens"
        drawing.shape("rect", f"band {_kind(band.kind)}", tip, x=x0, y=26, width=max(0.0, x1 - x0 - 1.5), height=bottom - 26, rx=3)
        _fitting_text(drawing, (x0 + x1) / 2, 42, x1 - x0 - 8, (f"{band.name} · {format_count(band.tokens)}", band.name), 11 if narrow else 12)
    for percent in range(0, 101, 25):
        drawing.line("grid", [(left, place_y(percent / 100)), (right, place_y(percent / 100))], obstacle=False)
        drawing.text(left - 6, place_y(percent / 100) + 4, f"{percent}%", "tick", "end", 11)
    _token_ticks(drawing, bands, edges, bottom, left, right)
    axis = "trained tokens over the whole run" + ("" if to_scale else " (bands not to scale)")
    drawing.text(right, drawing.height - 6, axis, "axis-title", "end", small)

    for level in levels:
        y0, y1 = place_y(level.success.high), place_y(level.success.low)
        drawing.shape("rect", "level-interval", x=left, y=y0, width=right - left, height=max(0.5, y1 - y0))
        y = place_y(level.success.value)
        drawing.line("level", [(left, y), (right, y)], _interval_tip(level.label, level.success))
    places = [[(place_x(p.tokens), place_y(p.success.value)) for p in c.points] for c in curves]
    for curve, xy in zip(curves, places):
        if curve.style == "main":
            for start, end, point in zip(xy, xy[1:], curve.points[1:]):
                drawing.line(f"segment {_kind(point.kind)}", [start, end])
        elif len(xy) > 1:
            drawing.line(curve.style, xy, curve.label)
    order = {"control": 0, "seed": 1, "main": 2}  # the run itself lies on top
    for curve, xy in sorted(zip(curves, places), key=lambda pair: order[pair[0].style]):
        for point, (x, y) in zip(curve.points, xy) if curve.style != "seed" else ():
            colour = _kind(point.kind if curve.style == "main" else "control")
            drawing.line(f"whisker {colour}", [(x, place_y(point.success.low)), (x, place_y(point.success.high))])
            drawing.dot(f"dot {colour}", x, y, 5 if point.final else 3.5, point.tip)
    limits = (left + 2, top - 8, right - 2, bottom - 2)
    for curve, xy in zip(curves, places):
        for point, (x, y) in zip(curve.points, xy) if curve.style == "main" else ():
            if point.final:
                drawing.place([(x, y)], format_percent(point.success.value), "value", limits)
    for level in levels:
        anchors = [(left + 2 + share * (right - left), place_y(level.success.value)) for share in (0.0, 0.3, 0.6, 0.9)]
        drawing.place(anchors, f"{level.label} {format_percent(level.success.value)}", "note", limits, (ABOVE, BELOW), small)
    for curve, xy in zip(curves, places):
        if curve.label:
            value = f" {format_percent(curve.points[-1].success.value)}" if curve.style == "control" else ""
            drawing.place(xy[:0:-1] or xy, curve.label + value, "note", limits, (BELOW, ABOVE, RIGHT), small)
    return drawing.svg()


def paired_bars(rows: Sequence[tuple[str, Estimate, Estimate]], legend: tuple[str, str], description: str, width: float, css_class: str,
                title: str = _SOLVED, styles: tuple[str, str] = ("plain", "forced")) -> str:  # fmt: skip
    """Two bars with 95% intervals a row (success undisturbed, success after a forced error), from 0 to 100%."""
    bars = []
    for label, plain, forced in rows:
        values = [
            (e.value, f"bar {style}", format_percent(e.value), _interval_tip(f"{label}, {name}", e))
            for e, style, name in zip((plain, forced), styles, legend)
        ]  # fmt: skip
        bars.append(_Bar(label, values))
    ticks = [(t / 100, f"{t}%") for t in range(0, 101, 25)]
    intervals = [(plain, forced) for _, plain, forced in rows]
    return _bars(bars, list(zip(styles, legend)), ticks, 1.0, title, description, width, css_class, intervals)


def throughput_bars(rows: Sequence[tuple[str, str, float, float | None]], description: str, width: float, css_class: str) -> str:
    """Tokens a second of each stage (name, kind, trained tokens/s, rollout tokens/s or None)."""
    bars = []
    for name, kind, trained, rolled in rows:
        values = [(trained, f"bar {_kind(kind)}", f"{format_count(trained)}/s", f"{name}: {trained:,.0f} trained tokens a second")]
        if rolled:
            values.append((rolled, f"bar rollout {_kind(kind)}", f"{format_count(rolled)}/s", f"{name}: {rolled:,.0f} rollout tokens a second"))
        bars.append(_Bar(name, values))
    steps = nice_ticks(max([v[0] for b in bars for v in b.values], default=1.0))
    legend = [("trained", "trained"), ("rollout trained", "rolled out")] if any(r[3] for r in rows) else [("trained", "trained")]
    title = "tokens a second of the stage's whole wall time"
    return _bars(bars, legend, [(t, format_count(t)) for t in steps], steps[-1], title, description, width, css_class)


def accuracy_against_tokens(points: Sequence[ScatterPoint], arrows: Sequence[tuple[int, int]], description: str, width: float, css_class: str) -> str:
    """Success against tokens written a problem, with an arrow from each thinking policy to its distilled one (indices of `points`)."""
    narrow = width < 500
    drawing = Drawing(width, 300 if narrow else 360, description, css_class)
    left, right, top, bottom = (40 if narrow else 48), width - 16, 34, drawing.height - 46
    steps = nice_ticks(1.1 * max([p.tokens for p in points], default=1.0))
    drawing.text(4 if narrow else left, 14, _SOLVED, "axis-title")
    for percent in range(0, 101, 25):
        y = bottom - percent / 100 * (bottom - top)
        drawing.line("grid", [(left, y), (right, y)], obstacle=False)
        drawing.text(left - 6, y + 4, f"{percent}%", "tick", "end", 11)
    for step in steps:
        x = left + step / steps[-1] * (right - left)
        drawing.text(x, bottom + 17, format_count(step), "tick", "end" if step == steps[-1] else "middle", 11)
    drawing.text(right, drawing.height - 6, "tokens written a problem (mean)", "axis-title", "end")

    def place_y(fraction: float) -> float:
        return bottom - fraction * (bottom - top)

    xy = [(left + p.tokens / steps[-1] * (right - left), place_y(p.success.value)) for p in points]
    for start, end in arrows:
        _arrow(drawing, xy[start], xy[end])
    for point, (x, y) in zip(points, xy):
        drawing.line(f"whisker {_kind(point.kind)}", [(x, place_y(point.success.low)), (x, place_y(point.success.high))])
        drawing.dot(f"dot {_kind(point.kind)}", x, y, 6, f"{_interval_tip(point.label, point.success)}, {point.tokens:.1f} tokens a problem")
    limits, sides = (left + 2, 18, right, bottom - 2), (RIGHT, BELOW, ABOVE, LEFT, (-1, 1), (-1, -1))
    for point, (x, y) in zip(points, xy):
        drawing.place([(x, y)], f"{point.label} {format_percent(point.success.value)}", "note", limits, sides)
    return drawing.svg()


def game_board(moves: str, names: tuple[str, str], kinds: tuple[str, str], description: str, css_class: str) -> str:
    """A game of Connect-Four as one board: each stone carries the number of its move, the last four in a row are ringed.

    Args:
        moves: columns "1" to "7" in order. names, kinds: of the player who moves first and of the other.
    """
    cell = 44
    drawing = Drawing(7 * cell + 8, 6 * cell + 54, description, css_class)
    for i, (name, kind) in enumerate(zip(names, kinds)):
        y = 10.0 + 20 * i
        drawing.shape("circle", f"stone {_kind(kind)}" + (" second" if i else ""), cx=12, cy=y, r=7)
        drawing.text(26, y + 4, f"{name} ({'second' if i else 'first'})", "note")
    stones: dict[tuple[int, int], int] = {}
    for number, move in enumerate(moves):
        column = int(move) - 1
        stones[column, sum(c == column for c, _ in stones)] = number
    drawing.shape("rect", "board", x=4, y=42, width=7 * cell, height=6 * cell, rx=8)
    lines = _fours(stones)
    for column in range(7):
        for row in range(6):
            x, y = 4 + (column + 0.5) * cell, 42 + (5.5 - row) * cell
            place = (column, row)
            if place not in stones:
                drawing.shape("circle", "hole", cx=x, cy=y, r=17)
                continue
            number = stones[place]
            player = number % 2
            tip = f"move {number + 1}: {names[player]}, column {column + 1}"
            ring = " four" if place in lines else ""
            drawing.shape("circle", f"stone {_kind(kinds[player])}{' second' if player else ''}{ring}", tip, cx=x, cy=y, r=17)
            drawing.text(x, y + 4.5, str(number + 1), "second-number" if player else "number", "middle", 13)
    return drawing.svg()


def _fours(stones: dict[tuple[int, int], int]) -> set[tuple[int, int]]:
    """The places of every four in a row of one player."""
    found: set[tuple[int, int]] = set()
    for column, row in stones:
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            line = [(column + i * dx, row + i * dy) for i in range(4)]
            if all(place in stones for place in line) and len({stones[place] % 2 for place in line}) == 1:
                found.update(line)
    return found


def _bars(rows: Sequence[_Bar], legend: Sequence[tuple[str, str]], ticks: Sequence[tuple[float, str]], maximum: float, title: str, description: str,
          width: float, css_class: str, intervals: Sequence[Sequence[Estimate]] = ()) -> str:  # fmt: skip
    """Horizontal bars in rows: labels in a column of their own, or above the bars where that would leave too little room."""
    narrow = width < 500
    thick, gap, head = 15, 3, 18 if narrow else 0
    heights = [len(row.values) * (thick + gap) + head + 14 for row in rows]
    drawing = Drawing(width, 62 + sum(heights) + 24, description, css_class)
    left = 4 if narrow else 24 + max([text_width(row.label, 13) for row in rows], default=0)
    right = width - 62
    drawing.text(4, 14, title, "axis-title")
    x = 4.0
    for swatch, name in legend:
        drawing.shape("rect", f"bar {swatch}", x=x, y=26, width=12, height=12, rx=2)
        drawing.text(x + 18, 36, name, "note")
        x += 18 + text_width(name, 12) + 18
    bottom = 52 + sum(heights)
    for value, label in ticks:
        at = left + value / maximum * (right - left)
        drawing.line("grid", [(at, 52), (at, bottom)], obstacle=False)
        drawing.text(at, bottom + 16, label, "tick", "start" if value == 0 and narrow else "middle", 11)
    y = 52.0
    for i, (row, height) in enumerate(zip(rows, heights)):
        inner = y + 7
        if narrow:
            drawing.text(left, inner + 11, row.label, "row-label", size=13)
        else:
            drawing.text(left - 12, inner + (height - 14) / 2 + 3, row.label, "row-label", "end", 13)
        for j, (value, style, text, tip) in enumerate(row.values):
            y0 = inner + head + j * (thick + gap)
            end = left + value / maximum * (right - left)
            drawing.shape("rect", style, tip, x=left, y=y0, width=max(1.0, end - left), height=thick, rx=2)
            if intervals:
                low, high = (left + v / maximum * (right - left) for v in intervals[i][j][1:])
                middle = y0 + thick / 2
                ends = "".join(f"M{px(x)},{px(middle - 3)}v6" for x in (low, high))
                drawing.shape("path", "bar-whisker", d=f"M{px(low)},{px(middle)}H{px(high)}{ends}")
                end = max(end, high)
            drawing.text(end + 6, y0 + thick - 3.5, text, "value")
        y += height
    return drawing.svg()


def _token_axis(bands: Sequence[Band], reached: float, left: float, right: float) -> tuple[Callable[[float], float], list[float], bool]:
    """Tokens to px, the px edges of the bands, and whether all is to scale: a band too thin to be read is widened."""
    lengths = [band.tokens for band in bands]
    beyond = max(0.0, reached - sum(lengths))  # points past the last band, drawn at its right without a colour
    lengths += [beyond] if beyond > 0 or not bands else []
    whole = sum(lengths) or 1.0
    floor = min(64 / (right - left), 0.8 / len(lengths))
    floors = [floor if i < len(bands) or not bands else 0.0 for i in range(len(lengths))]
    to_scale = all(length / whole >= least for length, least in zip(lengths, floors))
    extra = [max(0.0, length / whole - least) for length, least in zip(lengths, floors)]  # the wide ones give what the thin ones need
    spare = (1 - sum(floors)) / (sum(extra) or 1.0)
    widths = [length / whole for length in lengths] if to_scale else [least + spare * e for least, e in zip(floors, extra)]
    edges, starts = [left], [0.0]
    for length, share in zip(lengths, widths):
        edges.append(edges[-1] + share * (right - left))
        starts.append(starts[-1] + length)

    def place(tokens: float) -> float:
        for start, end, x0, x1 in zip(starts, starts[1:], edges, edges[1:]):
            if tokens <= end:
                return x0 + (x1 - x0) * (tokens - start) / (end - start) if end > start else x1
        return edges[-1]

    return place, edges, to_scale


def _token_ticks(drawing: Drawing, bands: Sequence[Band], edges: Sequence[float], bottom: float, left: float, right: float) -> None:
    """Tokens at the edges of the bands, leaving out those that would touch a neighbour; the last one always stays."""
    totals = [sum(b.tokens for b in bands[:i]) for i in range(len(bands) + 1)]
    texts = [format_count(total) for total in totals]
    stop = edges[len(bands)] - text_width(texts[-1], 11) - 8 if bands else right
    until = -math.inf
    for i, (x, text) in enumerate(zip(edges, texts)):
        half = text_width(text, 11) / 2
        if i == len(bands):
            drawing.text(x, bottom + 17, text, "tick", "end", 11)
        elif i == 0:
            drawing.text(left, bottom + 17, text, "tick", "start", 11)
            until = left + 2 * half
        elif x - half > until + 8 and x + half < stop:
            drawing.text(x, bottom + 17, text, "tick", "middle", 11)
            until = x + half


def _fitting_text(drawing: Drawing, x: float, y: float, room: float, choices: Sequence[str], size: float) -> None:
    """The first of `choices` that fits; the last one is cut where none does, and left out where not even four letters fit."""
    for text in choices:
        if text_width(text, size) <= room:
            drawing.text(x, y, text, "band-label", "middle", size)
            return
    kept = choices[-1]
    while kept and text_width(kept + "…", size) > room:
        kept = kept[:-1]
    if len(kept) >= 4:
        drawing.text(x, y, kept + "…", "band-label", "middle", size)


def _arrow(drawing: Drawing, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From dot to dot, stopping short of both; nothing if they touch."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    if length < 40:
        return
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    tip = (end[0] - 12 * ux, end[1] - 12 * uy)
    drawing.line("arrow", [(start[0] + 12 * ux, start[1] + 12 * uy), (tip[0] - 4 * ux, tip[1] - 4 * uy)])
    wings = [(tip[0] - 10 * ux - s * 5 * uy, tip[1] - 10 * uy + s * 5 * ux) for s in (1, -1)]
    drawing.shape("path", "arrow-head", d=f"M{px(tip[0])},{px(tip[1])}" + "".join(f"L{px(x)},{px(y)}" for x, y in wings) + "Z")


def interval_text(estimate: Estimate) -> str:
    """`81.0% (78.7 to 83.1)`."""
    return f"{format_percent(estimate.value)} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _interval_tip(label: str, estimate: Estimate) -> str:
    return f"{label}: {format_percent(estimate.value)}, 95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _kind(kind: str) -> str:
    """The CSS class of a stage's kind; anything unknown gets the neutral colour."""
    return f"kind-{kind}" if kind in _KINDS else "kind-other"
