"""What a run leaves in its folder, and how the report reads it back: every file may be missing, torn or partial.

- `run.json`: {"name", "recipe", "command", "seed", "hardware": {"cpu", "cores", "memory_gib", "gpu"}, "versions": {...}, "setup_seconds",
  "run_seconds", "started", "num_parameters", "stages": [`Stage`]}
- `metrics.jsonl`: see `metrics.py`
- `evaluations.jsonl`: `Evaluation`, one a line; a line written again after a resume replaces the one before
- `recovery.json`: [`Recovery`]
- `transcripts.json`: [`Transcript`]
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from paradigm.metrics import METRICS_FILE, read_rows

__all__ = ["Evaluation", "Recovery", "Run", "Stage", "Transcript", "TranscriptToken", "read_run"]

TokenKind = Literal["prompt", "thought", "action", "observation", "error", "correction", "forced"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage as it ran. `seconds` is wall time with rollouts and evaluation in it; `control` marks what is not on the main path."""

    name: str
    kind: str
    seconds: float = 0.0
    trained_tokens: int = 0
    rollout_tokens: int = 0
    rollouts: int = 0
    flops: float = 0.0
    control: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One policy on the held-out problems.

    `tokens` is trained tokens over the whole run at that point (for a control: over its own path); `temperature` 0 is greedy; `correct` may
    hold halves (draws); `by_operation` is {"+": [correct, problems]}; `final` is false for a point inside a stage.
    """

    policy: str
    problems: int
    correct: float
    stage: str = ""
    tokens: float = 0
    control: bool = False
    temperature: float = 1.0
    tokens_per_problem: float | None = None
    by_operation: dict[str, tuple[float, int]] = field(default_factory=dict)
    final: bool = True

    def __post_init__(self) -> None:
        for count, total in ((self.correct, self.problems), *self.by_operation.values()):
            if not (total > 0 and 0 <= count <= total):
                raise ValueError(f"correct must be between 0 and problems, and problems > 0, got {count} of {total}")
        if not (math.isfinite(self.tokens) and self.tokens >= 0 and math.isfinite(self.tokens_per_problem or 0)):
            raise ValueError(f"tokens and tokens_per_problem must be finite and >= 0, got {self.tokens} and {self.tokens_per_problem}")


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How often a policy still solved the same problems when one wrong token was forced on it, beside how often it did undisturbed."""

    policy: str
    problems: int
    undisturbed_correct: float
    forced_correct: float

    def __post_init__(self) -> None:
        for count in (self.undisturbed_correct, self.forced_correct):
            if not (self.problems > 0 and 0 <= count <= self.problems):
                raise ValueError(f"correct must be between 0 and problems, and problems > 0, got {count} of {self.problems}")


@dataclass(frozen=True)
class TranscriptToken:
    text: str
    kind: TokenKind


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """One problem as answered after one stage."""

    stage: str
    problem: str
    correct: bool
    tokens: list[TranscriptToken]


@dataclass(frozen=True)
class Run:
    """A run folder's content; `missing` says in sentences what could not be read."""

    folder: Path
    info: dict[str, Any]
    stages: list[Stage]
    metrics: list[dict[str, Any]]
    evaluations: list[Evaluation]
    recoveries: list[Recovery]
    transcripts: list[Transcript]
    missing: list[str]

    @property
    def name(self) -> str:
        return str(self.info.get("name") or self.folder.name)

    def evaluation(self, policy: str, temperature: float = 1.0) -> Evaluation | None:
        """The last final evaluation of a policy at a temperature."""
        found = [e for e in self.evaluations if e.policy == policy and e.final and abs(e.temperature - temperature) < 1e-6]
        return found[-1] if found else None

    def recovery(self, policy: str) -> Recovery | None:
        return next((r for r in self.recoveries if r.policy == policy), None)


def read_run(folder: str | Path) -> Run:
    """Read a run folder. What is missing or broken is named in `Run.missing`; only a folder that is not there raises FileNotFoundError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such run folder: {folder}")
    missing: list[str] = []
    info = _read_json(folder / "run.json", dict, missing)
    metrics = _read_lines(folder / METRICS_FILE, missing)
    evaluations = _convert(_read_lines(folder / "evaluations.jsonl", missing), Evaluation, "evaluations.jsonl", missing)
    newest = {(e.policy, e.stage, e.tokens, e.temperature, e.control, e.final): e for e in evaluations}
    given = info.get("stages")
    stages = _convert(given if isinstance(given, list) else [], Stage, "run.json, stages", missing) or _stages_from_metrics(metrics)
    return Run(
        folder, info, stages, metrics, list(newest.values()),
        _convert(_read_json(folder / "recovery.json", list, missing), Recovery, "recovery.json", missing),
        _convert(_read_json(folder / "transcripts.json", list, missing), Transcript, "transcripts.json", missing), missing,
    )  # fmt: skip


def _read_json(path: Path, kind: type[T], missing: list[str]) -> T:
    if not path.is_file():
        missing.append(f"{path.name} is missing")
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        missing.append(f"{path.name} cannot be read ({error})")
        return kind()
    if not isinstance(value, kind):
        missing.append(f"{path.name} holds a {type(value).__name__} where a {kind.__name__} belongs")
        return kind()
    return value


def _read_lines(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        missing.append(f"{path.name} is missing")
        return []
    try:
        return read_rows(path)
    except ValueError as error:
        missing.append(f"{path.name} cannot be read ({error})")
        return []


def _convert(rows: Iterable[Any], kind: type[T], where: str, missing: list[str]) -> list[T]:
    good = []
    for number, row in enumerate(rows, start=1):
        try:
            good.append(msgspec.convert(row, kind))
        except msgspec.ValidationError as error:
            missing.append(f"{where}, entry {number} was left out ({error})")
    return good


def _stages_from_metrics(rows: Iterable[Mapping[str, Any]]) -> list[Stage]:
    """What the metrics of an interrupted run still tell about its stages: tokens and seconds reached."""
    last: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if isinstance(row.get("stage"), str) and row["stage"]:
            last[row["stage"]] = row
    stages, before = [], 0
    for name, row in last.items():
        tokens = row.get("tokens")
        reached = int(tokens) if isinstance(tokens, int | float) else before
        seconds = row.get("seconds")
        stages.append(Stage(
            name=name, kind=str(row.get("kind", name)), trained_tokens=max(0, reached - before),
            seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        ))  # fmt: skip
        before = max(before, reached)
    return stages
