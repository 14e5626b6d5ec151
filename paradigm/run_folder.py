"""What a run leaves in its folder, and how the report reads it back: every file may be missing, torn or partial.

- `run.json`: {"name", "recipe", "command", "seed", "hardware": {"cpu", "cores", "memory_gib", "gpu"}, "versions": {...}, "setup_seconds",
  "run_seconds", "started", "num_parameters", "stages": [`Stage`]}
- `metrics.jsonl`: see `metrics.py`
- `evaluations.jsonl`: `Evaluation`, one a line; a line written again after a resume replaces the one before
- `recovery.json`: [`Recovery`]
- `transcripts.json`: [`Transcript`]
- `games.json`: [`Game`], of a run that plays games
- `pass_at_k.json`: [`PassAtK`], of a run that makes several attempts
- `preferences.jsonl`: `Preference`, one a line, and `responses.json`: [{"policy", "stage", "prompt", "response", "proxy", "gold"}], in place of
  evaluations, transcripts and recoveries, of a run in a world of preferences
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
from paradigm.statistics import Estimate

__all__ = ["Evaluation", "Game", "PassAtK", "Preference", "Recovery", "Run", "Stage", "Transcript", "TranscriptToken", "read_run"]

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
    """One policy on the held-out problems, or in games against one opponent.

    `tokens` is trained tokens over the whole run at that point (for a control: over its own path); `temperature` 0 is greedy; `correct` may
    hold halves (draws); `by_operation` is {"+": [correct, problems]}, in a mixture by kind, and `transfer` the same of kinds never trained on;
    `final` is false for a point inside a stage. `opponent` is "uniform", "demonstrator", an earlier stage, or empty where the problems are no
    games; `wins`, `draws` and `losses` then add up to `problems`.
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
    transfer: dict[str, tuple[float, int]] = field(default_factory=dict)
    final: bool = True
    opponent: str = ""
    wins: int = 0
    draws: int = 0
    losses: int = 0

    def __post_init__(self) -> None:
        if self.opponent and (self.wins + self.draws + self.losses, self.wins + self.draws / 2) != (self.problems, self.correct):
            raise ValueError(
                f"wins + draws + losses must be problems, and wins + draws / 2 correct, got {self.wins}, {self.draws} and {self.losses} "
                f"of {self.problems}, {self.correct}"
            )
        for count, total in ((self.correct, self.problems), *self.by_operation.values(), *self.transfer.values()):
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


@dataclass(frozen=True, kw_only=True)
class PassAtK:
    """Several attempts at each of some problems: `pass_at` is {"8": [estimate, low, high]}; `kind` is empty for all kinds together, `transfer` says
    that they were never trained on."""

    policy: str
    stage: str
    problems: int
    samples: int
    pass_at: dict[str, tuple[float, float, float]]
    kind: str = ""
    control: bool = False
    transfer: bool = False

    def __post_init__(self) -> None:
        for k, (value, low, high) in self.pass_at.items():
            if not (k.isdecimal() and 0 <= low <= value <= high <= 1):
                raise ValueError(f"pass_at must map numbers to an estimate inside its interval, in [0, 1], got {k}: {value}, {low} to {high}")

    def estimate(self, k: str) -> Estimate:
        return Estimate(*self.pass_at[k])


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


@dataclass(frozen=True, kw_only=True)
class Game:
    """One game that a stage's policy played: columns "1" to "7" in order, the first `opening` of them not the players' choice.

    `seat` is the policy's, 0 moving first; `score` is 1, 0.5 or 0, the policy's.
    """

    stage: str
    opponent: str
    moves: str
    seat: int
    score: float
    opening: int = 0

    def __post_init__(self) -> None:
        if set(self.moves) - set("1234567") or any(self.moves.count(column) > 6 for column in "1234567"):
            raise ValueError(f"moves must be columns 1 to 7, six of each at most, got {self.moves!r}")


@dataclass(frozen=True, kw_only=True)
class Preference:
    """One measurement in a world of preferences, of a policy or of a reward model. Triples are a mean with the ends of its 95% interval.

    kind: the stage's, or "start": of the policy that stages of RL start from. Of a reward model: `correct` of `pairs` in people's order, those it
    could not score (`unscored`) among the wrong ones; mean loss and margin. Of a policy's answers to `prompts`, `unscored` of which have no score:
    proxy and gold reward; kl from where the stage started, nats a response; length in tokens; wins, draws and losses against the answers of that
    policy, by gold reward; scorer: the reward model that it was trained on. text_loss and dialogue_loss: nats a token on held-out pretraining text
    and preferred responses; their changes: since where the stage started.
    """

    policy: str
    stage: str
    kind: str
    step: int = 0
    tokens: float = 0
    control: bool = False
    final: bool = True
    pairs: int = 0
    correct: float = 0
    unscored: int = 0
    loss: float | None = None
    margin: float | None = None
    scorer: str = ""
    prompts: int = 0
    proxy: tuple[float, float, float] | None = None
    gold: tuple[float, float, float] | None = None
    kl: tuple[float, float, float] | None = None
    response_tokens: tuple[float, float, float] | None = None
    wins: int = 0
    draws: int = 0
    losses: int = 0
    text_loss: tuple[float, float, float] | None = None
    text_change: tuple[float, float, float] | None = None
    dialogue_loss: tuple[float, float, float] | None = None
    dialogue_change: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.pairs:
            raise ValueError(f"correct must be between 0 and pairs, got {self.correct} of {self.pairs}")
        for name in ("proxy", "gold", "kl", "response_tokens", "text_loss", "text_change", "dialogue_loss", "dialogue_change"):
            triple = getattr(self, name)
            if triple is not None and not (all(map(math.isfinite, triple)) and triple[1] <= triple[0] <= triple[2]):
                raise ValueError(f"{name} must be finite and inside its interval, got {triple}")


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
    games: list[Game]
    missing: list[str]
    attempts: list[PassAtK] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.info.get("name") or self.folder.name)

    @property
    def kinds(self) -> list[str]:
        """The kinds of problems of a mixture that are trained on; none if its world is no mixture."""
        world = _table(self.info, "resolved", "world")
        if world.get("kind") != "mixture":
            return []
        return list(dict.fromkeys(kind for e in self.evaluations for kind in e.by_operation))

    @property
    def is_about_preferences(self) -> bool:
        """Whether nothing in its world is right or wrong."""
        return _is_about_preferences(self.info)

    def has_stage(self, kind: str) -> bool:
        """Whether its recipe has a stage of a kind; true where the run left no recipe behind."""
        stages = _table(self.info, "resolved").get("stages")
        return any(stage.get("kind") == kind for stage in stages if isinstance(stage, Mapping)) if isinstance(stages, list) else True

    def asks_for(self, *path: str) -> bool:
        """Whether a key of its recipe holds anything; true where the run left no recipe behind."""
        return bool(_table(self.info, "resolved", *path[:-1]).get(path[-1], True))

    @property
    def opponents(self) -> list[str]:
        """Whom its policies played, in the order of the first match; none if its problems are no games."""
        return list(dict.fromkeys(e.opponent for e in self.evaluations if e.opponent))

    def policy_of(self, stage: str) -> str | None:
        """What the policy of a stage is called, or None if it was never evaluated."""
        return next((e.policy for e in self.evaluations if e.stage == stage), None)

    def evaluation(self, policy: str, temperature: float = 1.0, opponent: str = "") -> Evaluation | None:
        """The last final evaluation of a policy at a temperature (against an opponent)."""
        found = [e for e in self.evaluations if (e.policy, e.opponent) == (policy, opponent) and e.final and abs(e.temperature - temperature) < 1e-6]
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
    prefers = _is_about_preferences(info)
    evaluations = _convert(_read_lines(folder / "evaluations.jsonl", [] if prefers else missing), Evaluation, "evaluations.jsonl", missing)
    newest = {(e.policy, e.stage, e.tokens, e.temperature, e.control, e.final, e.opponent): e for e in evaluations}
    plays = any(e.opponent for e in evaluations)
    asked = [] if plays or prefers else missing  # a run of games has none of the files about problems, and the other way round
    recovering = asked if _table(info, "resolved", "evaluation").get("recovery", True) else []
    attempting = missing if _table(info, "resolved", "evaluation").get("pass_at") else []
    given = info.get("stages")
    stages = _convert(given if isinstance(given, list) else [], Stage, "run.json, stages", missing) or _stages_from_metrics(metrics)
    return Run(
        folder, info, stages, metrics, list(newest.values()),
        _convert(_read_json(folder / "recovery.json", list, recovering), Recovery, "recovery.json", missing),
        _convert(_read_json(folder / "transcripts.json", list, asked), Transcript, "transcripts.json", missing),
        _convert(_read_json(folder / "games.json", list, missing if plays else []), Game, "games.json", missing), missing,
        _convert(_read_json(folder / "pass_at_k.json", list, attempting), PassAtK, "pass_at_k.json", missing),
        _convert(_read_lines(folder / "preferences.jsonl", missing if prefers else []), Preference, "preferences.jsonl", missing),
        [row for row in _read_json(folder / "responses.json", list, []) if isinstance(row, dict)],
    )  # fmt: skip


def _is_about_preferences(info: Mapping[str, Any]) -> bool:
    return _table(info, "resolved", "world").get("kind") == "preferences"


def _table(info: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A table inside tables, empty where any of them is none."""
    value: Any = info
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


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
