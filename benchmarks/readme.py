"""The README's throughput table and plots, made of the newest records of each subject on each machine: python -m benchmarks.readme [--check]."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import plots
from benchmarks.harness import Record
from benchmarks.newest import Point, dates, machine_name, machines, newest

__all__ = ["generated", "main", "render"]

_ROOT = Path(__file__).resolve().parent.parent
_BEGIN, _END = "<!-- made by python -m benchmarks.readme: begin -->", "<!-- made by python -m benchmarks.readme: end -->"


class Row(NamedTuple):
    """A line of the table: several points of one subject, shown side by side; beside: a provider that ours is also compared with."""

    what: str
    rival: str
    subject: str
    points: tuple[Point, ...]
    is_time: bool = False
    beside: str = ""


def _grpo(dtype: str) -> tuple[Point, ...]:
    return tuple(Point("GRPO step", "", dtype, provider) for provider in ("paradigm", "paradigm, prompts not shared in the update"))


def _rollouts(dtype: str) -> tuple[Point, ...]:
    return tuple(Point("rollout", f"batch {n},", dtype, "paradigm exact") for n in (1, 32, 256))


def _exact(op: str, dtype: str) -> tuple[Point, ...]:
    return tuple(Point(op, f"batch {n},", dtype, "exact") for n in (1, 32, 256))


def _beside_llama_cpp(what: str, model: str, batches: tuple[int, ...], dtype: str) -> Row:
    points = tuple(Point("rollout", f"{model}, batch {n},", dtype, "paradigm exact") for n in batches)
    return Row(what, "transformers.generate, llama.cpp", "llama_cpp", points, beside="llama.cpp")


def _draws(vocabulary: int) -> tuple[Point, ...]:
    filters = ("no filter,", "top_k=50,", "top_p=0.95,", "top_k=50 top_p=0.95 min_p=0.05,")
    return tuple(Point("sample_token", f"[256, {vocabulary}]; {piece}", "float32") for piece in filters)


_GAMES, _OPEN_SPIEL = "connect_four", "OpenSpiel from Python, trajectories kept"
_ROWS = (
    Row("a whole GRPO step, 2.4M parameters, fp32: prompts shared in the update / not", "TRL", "grpo_step", _grpo("float32"), True),
    Row("the same in bf16", "TRL", "grpo_step", _grpo("bfloat16"), True),
    Row("an SFT step, documents of many lengths: fp32 / bf16", "TRL", "sft_step", tuple(Point("SFT step", "", d) for d in ("float32", "bfloat16"))),
    Row("a training step, 2.4M parameters, fp32: documents of 50 / 512", "transformers", "train_step",
        tuple(Point("train step", f"2.4M, 8192 tokens in documents of {n};", "float32") for n in (50, 512))),
    Row("rollouts, 2.4M parameters, fp32: batch 1 / 32 / 256", "transformers.generate", "rollouts", _rollouts("float32")),
    Row("the same in bf16", "transformers.generate", "rollouts", _rollouts("bfloat16")),
    Row("exact mode beside fast mode, fp32, batch 1 / 32 / 256: rollouts", "our fast mode", "exactness", _exact("rollout", "float32")),
    Row("log-probs", "our fast mode", "exactness", _exact("log-probs", "float32")),
    Row("rollouts in bf16", "our fast mode", "exactness", _exact("rollout", "bfloat16")),
    Row("log-probs in bf16", "our fast mode", "exactness", _exact("log-probs", "bfloat16")),
    _beside_llama_cpp("rollouts, 1.8M parameters, fp32: batch 1 / 32 / 256", "1.8M", (1, 32, 256), "float32"),
    _beside_llama_cpp("the same in bf16", "1.8M", (1, 32, 256), "bfloat16"),
    _beside_llama_cpp("rollouts, SmolLM2-135M, fp32: batch 1 / 8 / 32", "SmolLM2", (1, 8, 32), "float32"),
    _beside_llama_cpp("the same in bf16", "SmolLM2", (1, 8, 32), "bfloat16"),
    Row("a token from [256, 32000] logits: no filter / top-k / top-p / all three", "the fastest way in torch", "sample_token", _draws(32000)),
    Row("the same from [256, 151936]", "the fastest way in torch", "sample_token", _draws(151936)),
    Row("Connect-Four, 1 thread: native players / plan and commit of uniform moves", _OPEN_SPIEL, _GAMES,
        tuple(Point(_GAMES, "", "int32", f"paradigm, {who}, 1 thread") for who in ("native players", "plan/commit of uniform ids"))),
    Row("planning and committing a step of 1,024 sequences: no cache / paged, prompts shared", "", "scheduler",
        tuple(Point("plan + commit", f"1024 decoding sequences{rest};", "int32") for rest in ("", ", paged")), True),
)  # fmt: skip


def render(root: Path = _ROOT) -> str:
    """The table and what it needs said, in Markdown, with links from the README's folder."""
    files = newest(root / "benchmarks" / "results")
    files = {key: value for key, value in files.items() if any(row.subject == key[1] for row in _ROWS)}
    names = machines(files)
    heads = [f"{machine_name(m)}, {' to '.join(sorted(set(dates(files, m))))}" for m in names]
    lines = [f"| what | rival | {' | '.join(heads)} |", f"|---|---|{'---|' * len(names)}"]
    missed: list[str] = []
    for row in _ROWS:
        cells = []
        for machine in names:
            path, records = files.get((machine, row.subject), (Path(), []))
            shown = [point.among(records) for point in row.points]
            others = [next((r for r in records if s and (r.shape, r.dtype, r.provider) == (s.shape, s.dtype, row.beside)), None) for s in shown]
            cells.append(_cell(row, shown, others, path.relative_to(root).as_posix() if records else "") if any(shown) else "not measured")
            missed += [f"* {r.op}, {r.shape}, {r.dtype}{', ' if (how := r.provider.removeprefix('paradigm').strip(', ')) else ''}{how}, on "
                       f"{_short(machine)}: {_misses(r)}" for r in shown if r is not None and r.is_aimed_at and not r.is_reached]  # fmt: skip
        if any(cell != "not measured" for cell in cells):
            lines.append(f"| {row.what} | {row.rival} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    if "\u2020" in text:
        text += "\n\u2020 Of a tree with uncommitted changes.\n"
    if missed:
        text += "\nGoals missed:\n" + "".join(re.sub(r"\s+", " ", line) + "\n" for line in missed)
    return text


def _misses(record: Record) -> str:
    """What of a record's outcome falls short, without what does not."""
    return "; ".join(part for part in record.notes["outcome"].split("; ") if part.endswith("missed)"))


def _short(machine: str) -> str:
    known = re.search(r"Zen \d|Xeon", machine_name(machine))
    return f"the {known[0]}" if known else machine


def _cell(row: Row, shown: Sequence[Record | None], others: Sequence[Record | None], link: str) -> str:
    first = next(r for r in shown if r is not None)
    dagger = "\u2020" if any(r is not None and r.commit.endswith("-dirty") for r in shown) else ""
    if row.is_time:
        ms = first.ms or 0.0
        scale, unit = (1e-3, "s") if ms >= 1000 else (1.0, "ms") if ms >= 1 else (1e3, "us")
        figures = _joined(shown, lambda r: _short_number((r.ms or 0) * scale))
    else:
        figures, unit = _joined(shown, lambda r: _short_number(r.rate or 0)), "rows/s" if row.subject == "sample_token" else first.unit
    floors = _joined(shown, lambda r: f"{r.times_floor:.2g}") if first.times_floor is not None else ""
    floor = f", {floors} times [the floor](docs/benchmarks.md#the-floor)" if floors else ""
    if not row.rival:
        return f"[{figures} {unit}]({link}){dagger}"
    ratios = _joined(shown, lambda r: _ratio(r.ratio))
    ours_to_others = [r.rate / o.rate if r and r.rate and o and o.rate else None for r, o in zip(shown, others)]
    beside = f" {first.reference}, **{' / '.join(_ratio(x) for x in ours_to_others)}** {row.beside}" if any(ours_to_others) else ""
    return f"{figures} {unit}, [**{ratios}**]({link}){dagger}{beside}{floor}"


def _ratio(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.2g}x"


def _joined(shown: Sequence[Record | None], figure: Callable[[Record], str]) -> str:
    return " / ".join("\u2013" if r is None else figure(r) for r in shown)


def _short_number(value: float) -> str:
    for scale, letter in ((1e6, "M"), (1e3, "k"), (1.0, "")):
        if value >= scale:
            return f"{value / scale:.2g}{letter}" if value / scale < 9.95 else f"{value / scale:.0f}{letter}"
    return f"{value:.2g}"


def generated(root: Path = _ROOT) -> dict[Path, str]:
    """What is made of the records, by file: the README with its table, and the plots. Raises: ValueError if the README lacks its marks."""
    files = newest(root / "benchmarks" / "results")
    images = {"throughput.svg": ("Throughput over the rivals'", plots.throughput(files)), "growth.svg": ("How cost grows", plots.growth(files))}
    drawn = {name: (title, svg) for name, (title, svg) in images.items() if svg is not None}
    shown = "".join(f"![{title}](docs/{name})\n\n" for name, (title, _) in drawn.items())
    readme = root / "README.md"
    made = {readme: replaced(readme.read_text(encoding="utf-8"), shown + render(root))}
    return made | {root / "docs" / name: svg for name, (_, svg) in drawn.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table into the README and the plots into docs/; with --check only says whether they are there. Returns: the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the README or a plot is out of date")
    options = parser.parse_args(arguments)
    old = [path for path, text in generated().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in old:
            sys.stderr.write(f"{path.name} is older than benchmarks/results: run python -m benchmarks.readme\n")
        return int(bool(old))
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
    return 0


def replaced(readme: str, table: str) -> str:
    """The README with the table between its marks. Raises: ValueError if it lacks them."""
    if readme.count(_BEGIN) != 1 or readme.count(_END) != 1:
        raise ValueError(f"README.md must have the lines {_BEGIN!r} and {_END!r} once each")
    head, rest = readme.split(_BEGIN)
    return f"{head}{_BEGIN}\n{table}{_END}{rest.split(_END)[1]}"


if __name__ == "__main__":
    sys.exit(main())
