"""paradigm bench [subject ...] [--quick] [--out DIR] [--device cpu] [--trace FILE] [--show FILE ...]: measure, print tables, write records."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Record, Setting, measure, read_records, write_records
from benchmarks.machine import describe_machine, device_slug, is_installed
from paradigm.timeline import Timeline, shares

_HERE = Path(__file__).resolve().parent
_RESULTS = _HERE / "results"
_SHORT = {"rl": "rl_step"}


def subject_names() -> list[str]:
    """What can be measured: the files bench_*.py here."""
    return sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))


def load_subject(name: str) -> ModuleType:
    """The module of a subject. Raises: ValueError for an unknown one."""
    if name not in subject_names():
        raise ValueError(f"subject must be one of {', '.join(subject_names())}, got {name!r}")
    return importlib.import_module(f"benchmarks.bench_{name}")


@dataclasses.dataclass
class _Outcome:
    subject: str
    records: list[Record] = dataclasses.field(default_factory=list)
    error: str = ""
    path: Path | None = None


_EPILOG = """\
examples:
  {prog}                               what can be measured, against whom, and which rivals are missing
  {prog} grpo_step --quick             a smoke test in a minute: its figures mean little, and go nowhere without --out
  {prog} grpo_step sft_step            measure, print a table, write benchmarks/results/DATE-DEVICE-SUBJECT.jsonl
  {prog} all --out /tmp/results        everything
  {prog} rl --trace step.json          a whole RL step, and its timeline for ui.perfetto.dev or chrome://tracing
  {prog} --show benchmarks/results/*rollouts.jsonl
                                                the tables of records, taken anywhere

OMP_NUM_THREADS sets the threads, the same for all rivals of a race. Run on an idle machine: a busy one is reported, with its load, in each record.
What the figures mean, and what is unfair to whom: docs/benchmarks.md. The README's table is made of the newest records by
python -m benchmarks.readme.
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks") -> int:
    """Returns: the exit status, 1 if a subject failed (a missing rival is no failure)."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Measure paradigm beside its rivals: they take turns in one process, the machine's ceilings among them.",
        epilog=_EPILOG.format(prog=prog), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("subjects", nargs="*", metavar="subject", help="what to measure, or 'all'; without any, they are listed")
    parser.add_argument("--quick", action="store_true", help="a smoke test of a few rounds and small jobs: its figures mean little")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where the records go ({_RESULTS.relative_to(_HERE.parent)}; none with --quick)")
    parser.add_argument("--device", default="cpu", help="where paradigm and its rivals run, in torch's words: cpu, cuda, cuda:1")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="also write the timeline of a step as a Chrome trace (subject rl_step, or rl)")
    parser.add_argument("--list", action="store_true", help="say what can be measured (of the subjects named), and measure nothing")
    parser.add_argument("--show", nargs="+", type=Path, metavar="FILE", help="print the tables of record files, and measure nothing")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.show:
        for path in options.show:
            console.print(str(path), highlight=False)
            console.print(_table(read_records(path)))
        return 0
    options.subjects = [_SHORT.get(name, name) for name in options.subjects]
    unknown = [name for name in options.subjects if name not in (*subject_names(), "all")]
    if unknown:
        parser.error(f"subject must be one of {', '.join(subject_names())} or all, got {unknown[0]!r}")
    if options.trace is not None and not (len(options.subjects) == 1 and hasattr(load_subject(options.subjects[0]), "trace")):
        parser.error(f"--trace needs the one subject rl_step, got {', '.join(options.subjects) or 'none'}")
    chosen = subject_names() if "all" in options.subjects else options.subjects
    if options.list or not chosen:
        _list(console, chosen or subject_names())
        if not chosen and not options.list:
            console.print(f"\nTo measure: {prog} SUBJECT ... or all; {prog} --help says more.", highlight=False, markup=False)
        return 0
    setting = Setting(quick=options.quick, device=options.device)
    out = options.out or (None if options.quick else _RESULTS)
    machine = describe_machine(setting.device)
    console.print(f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads, commit {machine['commit']}", highlight=False)
    load = float(str(machine["load_average"]))
    if load > 0.5:
        console.print(f"[yellow]the machine is busy (load {load} on {os.cpu_count()} cores): figures are noise until it is not[/yellow]")
    outcomes = [_run(console, name, setting, out) for name in chosen]
    if options.trace is not None and not outcomes[0].error:
        timeline = load_subject(chosen[0]).trace(setting, options.trace)
        for table in _breakdown(timeline):
            console.print(table)
        console.print(f"timeline: {options.trace} (open it in ui.perfetto.dev or chrome://tracing)", highlight=False, markup=False)
    _summarise(console, outcomes)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _list(console: Console, chosen: Sequence[str]) -> None:
    for name in chosen:
        subject = load_subject(name)
        console.print(f"[bold]{name}[/bold]  {subject.SUMMARY}", highlight=False)
        for module, requirement in subject.RIVALS.items():
            state = "installed" if is_installed(module) else f"missing: pip install '{requirement}'"
            console.print(f"    {module}: {state}", highlight=False, markup=False)


def _run(console: Console, name: str, setting: Setting, out: Path | None) -> _Outcome:
    """Measures a subject. Whatever goes wrong in it is shown and kept as its outcome, so that the others still run."""
    outcome = _Outcome(name)
    started = time.monotonic()
    console.rule(f"{name}")
    try:
        subject = load_subject(name)
        console.print(subject.SUMMARY, highlight=False)
        if out is not None:
            day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            outcome.path = out / f"{day}-{device_slug(setting.device)}-{name}{'-quick' if setting.quick else ''}.jsonl"
        for number, case in enumerate(subject.cases(setting)):
            console.print(f"  {time.monotonic() - started:6.0f} s  {case.op} {case.shape} {case.dtype}", highlight=False, markup=False)
            records = list(measure(name, case, setting, subject.RIVALS, number))
            for r in records:
                figures = r.not_measured if r.rate is None else f"{r.rate:,.4g} {r.unit}" + ("" if r.ratio is None else f", {r.ratio:.2f}x")
                parts = "" if r.parts_ms is None else f" ({', '.join(f'{part} {ms:,.0f} ms' for part, ms in r.parts_ms.items() if ': ' not in part)})"
                console.print(f"            {r.provider}: {figures}{parts}", highlight=False, markup=False)
            outcome.records += records
            if outcome.path is not None:
                write_records(outcome.path, outcome.records)
    except Exception as error:  # a subject runs other people's code; its failure is reported here and in the exit status
        outcome.error = f"{type(error).__name__}: {error}"
        console.print(traceback.format_exc(), style="red", highlight=False, markup=False)
    if outcome.records:
        console.print(_table(outcome.records))
    return outcome


def _table(records: Sequence[Record]) -> Table:
    table = Table(show_lines=False, pad_edge=False)
    for title in ("op", "shape", "dtype", "provider", "ms", "p20", "p80", "rate", "of ceiling", "ratio", "of floor", "goal", "peak MiB"):
        table.add_column(title, justify="left" if title in ("op", "shape", "dtype", "provider") else "right", overflow="fold")
    previous = None
    for r in records:
        case = (r.op, r.shape, r.dtype)
        if previous not in (None, case):
            table.add_section()
        previous = case
        head = (*case, r.provider)
        if r.ms is None:
            table.add_row(*head, "", "", "", r.not_measured or "", "", "", "", "", "")
            continue
        share = "" if r.share_of_ceiling is None else f"{100 * r.share_of_ceiling:.3g}% {r.ceiling}"
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}x"
        aims = ([] if r.goal is None else [f"{r.goal:g}x"]) + ([] if r.limit_ms is None else [f"{r.limit_ms:g} ms"])
        aims += [] if r.floor_limit is None else [f"{r.floor_limit:g} of floor"]
        goal = f"{' '.join(aims)} {'yes' if r.is_reached else 'NO'}" if r.is_aimed_at else ""
        floor = "" if r.times_floor is None else f"{r.times_floor:.2f}"
        peaks = r.peak_mib if r.process_peak_mib is None else r.process_peak_mib
        peak = "" if peaks is None else f"{peaks:,.0f}"
        table.add_row(*head, f"{r.ms:.4g}", f"{r.p20:.4g}", f"{r.p80:.4g}", f"{r.rate:,.4g} {r.unit}", share, ratio, floor, goal, peak)
    return table


def _breakdown(timeline: Timeline) -> Iterator[Table]:
    """What the time of a step went to: parts that add up to it, then the spans by track."""
    seconds = timeline.breakdown()
    parts = Table("part of the step", "ms", "share", pad_edge=False)
    for name, share in shares(seconds).items():
        parts.add_row(name, f"{1e3 * seconds[name]:,.1f}", f"{100 * share:.1f}%")
    parts.add_row("whole step", f"{1e3 * sum(seconds.values()):,.1f}", "100%")
    yield parts
    spans = Table("track", "span", "times", "ms", pad_edge=False)
    for (track, name), (count, total) in timeline.busy().items():
        spans.add_row(track, name, f"{count:,}", f"{1e3 * total:,.1f}")
    yield spans


def _summarise(console: Console, outcomes: Sequence[_Outcome]) -> None:
    console.rule("summary")
    for outcome in outcomes:
        goals = [r for r in outcome.records if r.is_aimed_at]
        reached = sum(r.is_reached for r in goals)
        parts = [f"{len(outcome.records)} rows"] + ([f"{reached} of {len(goals)} goals reached"] if goals else [])
        parts += sorted({f"{r.provider}: {r.not_measured}" for r in outcome.records if r.not_measured})
        parts += [f"FAILED: {outcome.error}"] if outcome.error else []
        parts += [str(outcome.path)] if outcome.path is not None and outcome.records else []
        console.print(f"{outcome.subject}: {'; '.join(parts)}", highlight=False, markup=False)
        for r in goals:
            if not r.is_reached:
                console.print(f"    missed: {r.op} {r.shape} {r.dtype}, {r.provider}: {r.notes['outcome']}", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
