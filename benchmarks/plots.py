"""The README's plots, of the newest records: throughput over the rivals', and how cost grows. Each is an SVG with its own light and dark colours.

The same records give the same bytes, so that a test can tell whether a file is older than they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from benchmarks.harness import Record
from benchmarks.newest import Newest, Point, dates, machine_name, machines
from paradigm.drawing import Drawing, format_count, nice_ticks, svg_file, text_width

__all__ = ["growth", "throughput"]

_STYLE = (
    "svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
    "--page:#fff;--rule:#dfe3e8;--ink:#14181f;--soft:#4b5563;--c0:#c25e00;--c1:#2f6fd0;--c2:#0f8a68}"
    "@media (prefers-color-scheme:dark){svg{--page:#0d1117;--rule:#303641;--ink:#eef1f5;--soft:#b6bec9;--c0:#ff9f45;--c1:#6ea8ff;--c2:#3ecf9f}}"
    "text{fill:var(--soft)}.name,.value{fill:var(--ink)}.value,.title{font-weight:600}.title{fill:var(--ink)}.page{fill:var(--page)}"
    ".grid{fill:none;stroke:var(--rule)}.one{fill:none;stroke:var(--ink);stroke-dasharray:4 3}"
    ".m0{fill:var(--c0)}.m1{fill:var(--c1)}.m2{fill:var(--c2)}"
    ".l0,.l1,.l2{fill:none;stroke-width:2}.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}"
)
_COLOURS = 3
_UNSHARED = "paradigm, prompts not shared in the update"
_BARS: tuple[tuple[str, str, Point], ...] = (
    ("GRPO step, fp32", "grpo_step", Point("GRPO step", "", "float32")),
    ("GRPO step, fp32, prompts not shared", "grpo_step", Point("GRPO step", "", "float32", _UNSHARED)),
    ("GRPO step, bf16", "grpo_step", Point("GRPO step", "", "bfloat16")),
    ("GRPO step, bf16, prompts not shared", "grpo_step", Point("GRPO step", "", "bfloat16", _UNSHARED)),
    ("SFT step, fp32", "sft_step", Point("SFT step", "", "float32")),
    ("SFT step, bf16", "sft_step", Point("SFT step", "", "bfloat16")),
    *((f"rollouts, {short}, batch {n}", "rollouts", Point("rollout", f"batch {n},", dtype, "paradigm exact"))
      for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16")) for n in (1, 32, 256)),
    ("token from 32,000 logits", "sample_token", Point("sample_token", "[256, 32000]; no filter,", "float32")),
    ("the same with top-k, top-p, min-p", "sample_token", Point("sample_token", "[256, 32000]; top_k=50 top_p=0.95 min_p=0.05,", "float32")),
    ("Connect-Four, native players", "connect_four", Point("connect_four", "", "int32", "paradigm, native players, 1 thread")),
)  # fmt: skip


def throughput(files: Newest) -> str:
    """Bars on a logarithmic axis: how many times the rival's rate ours is, by job and machine. Jobs that nobody measured are left out."""
    names = machines(files)[:_COLOURS]
    rows: list[tuple[str, list[tuple[int, Record]]]] = []
    for label, subject, point in _BARS:
        shown = [(i, point.among(files[machine, subject][1])) for i, machine in enumerate(names) if (machine, subject) in files]
        measured = [(i, record) for i, record in shown if record is not None and record.ratio is not None]
        if measured:
            rows.append((label, measured))
    thick, gap, top = 11, 3, 70
    height = top + sum(len(shown) * (thick + gap) + 8 for _, shown in rows) + 30
    drawing = Drawing(760, height, "Throughput of paradigm over that of its rivals", "plot")
    drawing.shape("rect", "page", x=0, y=0, width=760, height=height)
    drawing.text(8, 18, "throughput over the rival's, median of interleaved runs (log scale; more is better)", "title", size=13)
    _legend(drawing, files, names, {i for _, shown in rows for i, _ in shown})
    left, right, bottom = 250.0, 700.0, height - 26
    ratios = [record.ratio or 1.0 for _, shown in rows for _, record in shown]
    low, high = min([1.0, *ratios]), max([2.0, *ratios])

    def place(ratio: float) -> float:
        return left + math.log(ratio / low) / math.log(high / low) * (right - left)

    for power in range(math.floor(math.log2(low)), math.floor(math.log2(high)) + 1):
        if 2.0**power >= low:
            at = place(2.0**power)
            drawing.line("one" if power == 0 else "grid", [(at, top - 6), (at, bottom)], obstacle=False)
            drawing.text(at, bottom + 16, f"{2.0**power:g}x", "", "middle", 11)
    y = float(top)
    for label, shown in rows:
        drawing.text(left - 10, y + len(shown) * (thick + gap) / 2 + 3, label, "name", "end", 12)
        for number, record in shown:
            ratio = record.ratio or 1.0
            start, end = sorted((place(1.0), place(ratio)))
            tip = f"{label}, {machine_name(names[number])}: {ratio:.3g}x {record.reference}, {record.rate:,.4g} {record.unit}, commit {record.commit}"
            drawing.shape("rect", f"m{number}", tip, x=start, y=y, width=max(1.0, end - start), height=thick, rx=2)
            drawing.text(end + 5, y + thick - 1.5, f"{ratio:.2g}x", "value", size=11)
            y += thick + gap
        y += 8
    return svg_file(drawing.svg(), _STYLE)


def growth(files: Newest) -> str | None:
    """A panel for each dimension: useful work a second at each size, with the first machine's milliseconds. None where it was not measured."""
    names = machines(files)[:_COLOURS]  # the colours are those of the other plot
    by_op: dict[str, dict[int, list[Record]]] = {}
    for i, machine in enumerate(names):
        for record in files.get((machine, "growth"), (None, ()))[1]:
            if record.rate is not None:
                by_op.setdefault(record.op, {}).setdefault(i, []).append(record)
    if not by_op:
        return None
    width, panel_width, panel_height, top = 760, 370, 190, 56
    height = top + math.ceil(len(by_op) / 2) * panel_height + 6
    drawing = Drawing(width, height, "How the cost of training steps and rollouts grows", "plot")
    drawing.shape("rect", "page", x=0, y=0, width=width, height=height)
    drawing.text(8, 18, "useful GFLOP/s at each size (below it: ms a run)", "title", size=13)
    _legend(drawing, files, names, {i for series in by_op.values() for i in series})
    for number, (op, series) in enumerate(by_op.items()):
        _panel(drawing, op, series, 10 + number % 2 * panel_width, top + number // 2 * panel_height, panel_width - 20, panel_height)
    return svg_file(drawing.svg(), _STYLE)


def _panel(drawing: Drawing, op: str, series: Mapping[int, Sequence[Record]], x: float, y: float, width: float, height: float) -> None:
    left, right, top, bottom = x + 40, x + width - 10, y + 26, y + height - 44
    drawing.text(x, y + 12, op, "name", size=12)
    sizes = sorted({_size(record.provider) for records in series.values() for record in records})
    places = {size: left + (i + 0.5) * (right - left) / len(sizes) for i, size in enumerate(sizes)}
    ticks = nice_ticks(max(record.rate or 0.0 for records in series.values() for record in records))
    for tick in ticks:
        level = bottom - tick / ticks[-1] * (bottom - top)
        drawing.line("grid", [(left, level), (right, level)], obstacle=False)
        drawing.text(left - 5, level + 4, format_count(tick), "", "end", 10)
    for size in sizes:
        drawing.text(places[size], bottom + 14, f"{size:,}", "name", "middle", 11)
    for number, records in series.items():
        ordered = sorted(records, key=lambda record: _size(record.provider))
        xy = [(places[_size(r.provider)], bottom - (r.rate or 0.0) / ticks[-1] * (bottom - top)) for r in ordered]
        drawing.line(f"l{number}", xy)
        for record, (at, level) in zip(ordered, xy):
            drawing.dot(f"m{number}", at, level, 3.5, f"{record.provider}: {record.rate:,.3g} {record.unit}, {record.ms:,.4g} ms")
            if number == min(series):
                drawing.text(at, bottom + 28, f"{record.ms:.3g} ms", "", "middle", 10)


def _size(provider: str) -> int:
    """The number in "documents of 512", "16 slots" and their like."""
    found = re.search(r"\d+", provider)
    assert found is not None  # every size of the subject says its number
    return int(found[0])


def _legend(drawing: Drawing, files: Newest, names: Sequence[str], shown: Collection[int]) -> None:
    x = 8.0
    for number, machine in enumerate(names):
        if number not in shown:
            continue
        label = f"{machine_name(machine)}, {' to '.join(sorted(set(dates(files, machine))))}"
        drawing.shape("rect", f"m{number}", x=x, y=30, width=11, height=11, rx=2)
        drawing.text(x + 17, 40, label, "name", size=12)
        x += 17 + text_width(label, 12) + 24
