"""Races: rivals take turns in one process, the machine's ceilings are measured between them, and each leaves a record.

A subject is a file bench_NAME.py with `SUMMARY` (one line), `RIVALS` (import name -> what to pip install) and `cases(setting)`, which yields a
`Case` a row group. It imports its rivals only where it builds them, so that one that is not installed is reported and not left out.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.apart import apart_peaks
from benchmarks.machine import Probe, ceiling_probes, describe_machine, peak_mib, synchronizer, versions
from paradigm.allocator import keep_freed_memory

__all__ = ["Case", "Contestant", "Record", "Samples", "Setting", "Timing", "fastest", "measure", "race", "read_records", "write_records"]

Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """How to measure: `quick` for a smoke test whose figures mean little; `device` in torch's words; `variant`, where a
    rival has several, the only one to build."""

    quick: bool = False
    device: str = "cpu"
    variant: str = ""

    @property
    def rounds(self) -> tuple[int, int]:
        """Least and greatest number of rounds of a race."""
        return (2, 3) if self.quick else (5, 31)

    @property
    def budget_s(self) -> float:
        """Seconds that the rounds of one case may take, if the least number of rounds fits."""
        return 2.0 if self.quick else 60.0


class Contestant(NamedTuple):
    """Somebody ready to run: `run` does the job once and returns the amount of work done, or None if that is the case's.

    parts: seconds of each part of the job by name, to which each run appends. variant: which of several ways was taken (see `fastest`).
    A run that holds threads or the like has a method `close`.
    """

    run: Callable[[], float | None]
    detail: str = ""
    parts: Mapping[str, list[float]] = {}
    variant: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One job done by several providers.

    Attributes:
        op, shape, dtype: what the job is, for the record.
        config: whatever else one needs to repeat it, such as the model.
        providers: by name, functions that build a contestant (not timed). One that raises ImportError is reported as missing.
        reference: the provider that ratios refer to.
        unit: of the rate, such as "tok/s".
        work: how much of the rate's numerator one run does; None: each run says.
        cost: floating-point operations ("matmul") or bytes ("copy") that one unit of work needs at least; 0 if that says nothing.
        ceiling: which ceiling the share refers to: "matmul float32", "matmul bfloat16" or "copy".
        goals: by provider, the least ratio aimed at.
        limits_ms: by provider, the most milliseconds a run that are aimed at.
        floors: by provider, another one that does only what it cannot do without, and the greatest multiple of its time that is aimed at.
        peaks_apart: also measure each provider's peak memory in a process of its own.
        once: each provider runs once, without a warm-up: a job of minutes.
        packages: distributions whose versions are recorded.
        unfair: what is unfair to whom.
        prediction: what we expected before measuring.
    """

    op: str
    shape: str
    dtype: str
    providers: Mapping[str, Callable[[], Contestant]]
    reference: str
    unit: str
    config: str = ""
    work: float | None = None
    cost: float = 0.0
    ceiling: str = ""
    goals: Mapping[str, float] = dataclasses.field(default_factory=dict)
    limits_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    floors: Mapping[str, tuple[str, float]] = dataclasses.field(default_factory=dict)
    peaks_apart: bool = False
    once: bool = False
    packages: tuple[str, ...] = ()
    unfair: str = ""
    prediction: str = ""


class Samples(NamedTuple):
    """Of one contestant: seconds of each of its samples, and the work that each did; both for a single run."""

    seconds: list[float]
    work: list[float]


class Timing(NamedTuple):
    """Median and the 20th and 80th percentiles of milliseconds a run, and the median of work a second."""

    ms: float
    p20: float
    p80: float
    rate: float

    @classmethod
    def of(cls, samples: Samples) -> Timing:
        ms = 1e3 * np.asarray(samples.seconds)
        p20, median, p80 = np.percentile(ms, (20, 50, 80))
        return cls(float(median), float(p20), float(p80), float(np.median(np.asarray(samples.work) / np.asarray(samples.seconds))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A row: one provider's result in one case. Where it was not measured, `not_measured` says why and the figures are None.

    ms, p20, p80 are milliseconds a run; rate is in `unit`; share_of_ceiling compares the useful work with the fastest probe of the
    same race; ratio is rate over the reference provider's; peak_mib is memory taken beyond what lay there before; parts_ms are the parts'
    medians; times_floor is the rate of the provider `floor` over this one's; process_peak_mib is the peak of a process that runs this
    provider alone, and step_peak_mib how much of that came after everything was built. Earlier records lack the last six fields.
    """

    subject: str
    op: str
    provider: str
    detail: str
    shape: str
    dtype: str
    config: str
    ms: float | None
    p20: float | None
    p80: float | None
    num_samples: int
    rate: float | None
    unit: str
    ceiling: str
    share_of_ceiling: float | None
    reference: str
    ratio: float | None
    goal: float | None
    limit_ms: float | None
    peak_mib: float | None
    not_measured: str | None
    ceilings: dict[str, float]
    device: str
    cores: int
    threads: int
    load_average: float
    platform: str
    versions: dict[str, str]
    commit: str
    date: str
    quick: bool
    notes: dict[str, str]
    parts_ms: dict[str, float] | None = None
    floor: str = ""
    times_floor: float | None = None
    floor_limit: float | None = None
    process_peak_mib: float | None = None
    step_peak_mib: float | None = None

    @property
    def is_aimed_at(self) -> bool:
        """Whether there is a goal or a limit, and it was measured."""
        pairs = ((self.goal, self.ratio), (self.limit_ms, self.ms), (self.floor_limit, self.times_floor))
        return any(aim is not None and got is not None for aim, got in pairs)

    @property
    def is_reached(self) -> bool:
        """Whether what was measured keeps its goal and its limit."""
        too_slow = self.goal is not None and self.ratio is not None and self.ratio < self.goal
        too_high = self.floor_limit is not None and self.times_floor is not None and self.times_floor > self.floor_limit
        return not too_slow and not too_high and not (self.limit_ms is not None and self.ms is not None and self.ms > self.limit_ms)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Raises: ValueError if the line is no object with exactly a record's fields; those that earlier records lack may be absent."""
        entries = json.loads(line)
        names = {field.name for field in dataclasses.fields(cls)}
        later = {field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
        if not isinstance(entries, dict) or (names ^ entries.keys()) - (later - entries.keys()):
            wrong = sorted((names ^ entries.keys()) - (later - entries.keys())) if isinstance(entries, dict) else type(entries).__name__
            raise ValueError(f"a record must have exactly its fields, got wrong or missing: {wrong}")
        return cls(**entries)


def race(
    contestants: Mapping[str, Callable[[], float | None]], *, rounds: tuple[int, int], budget_s: float = 60.0, work: float | None = None,
    min_sample_s: float = 0.005, clock: Clock = time.perf_counter, synchronize: Callable[[], object] = lambda: None, once: bool = False,
) -> dict[str, Samples]:  # fmt: skip
    """Lets the contestants take turns, so that what else the machine does hits all alike.

    After two runs each to warm up (the second of which is timed, to plan), every round takes one sample of each, beginning with another
    one each time. A sample repeats runs shorter than `min_sample_s`. Garbage is collected between samples, and by the contestants' own
    doing also within them.

    Args:
        contestants: by name, what to run; returns the work done, or None for `work`.
        rounds: least and greatest number of rounds; between them as many as fit.
        budget_s: seconds that the rounds may take.
        work: of one run, for contestants that do not say.
        clock: seconds.
        synchronize: called before each reading of the clock.
        once: one sample of each, of one run and without a warm-up.
    Returns: samples by name. Raises: ValueError if a contestant does not say its work and `work` is None.
    """
    repeats, planned_s = dict.fromkeys(contestants, 1), 0.0
    for name, run in contestants.items() if not once else ():
        run()
        gc.collect()
        seconds, _ = _sample(run, 1, work, clock, synchronize)
        repeats[name] = max(1, int(np.ceil(min_sample_s / max(seconds, 1e-9))))
        planned_s += seconds * repeats[name]
    num_rounds = 1 if once else int(np.clip(budget_s / max(planned_s, 1e-9), *rounds))
    results = {name: Samples([], []) for name in contestants}
    names = list(contestants)
    for number in range(num_rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            seconds, done = _sample(contestants[name], repeats[name], work, clock, synchronize)
            results[name].seconds.append(seconds)
            results[name].work.append(done)
    return results


def _sample(
    run: Callable[[], float | None], repeats: int, work: float | None, clock: Clock, synchronize: Callable[[], object]
) -> tuple[float, float]:
    done = 0.0
    synchronize()
    start = clock()
    for _ in range(repeats):
        amount = run()
        if amount is None:
            amount = work
        if amount is None:
            raise ValueError("work must be given for contestants that do not return it")
        done += amount
    synchronize()
    return (clock() - start) / repeats, done / repeats


def fastest(
    variants: Mapping[str, Callable[[], Callable[[], float | None]]], *, tries: int = 2, synchronize: Callable[[], object] = lambda: None,
    only: str = "", equal_work: bool = True,
) -> Contestant:  # fmt: skip
    """The fastest of the ways in which a rival can run: each is built, warmed up and tried; the detail says which won, and by how much.

    A variant whose build or first run raises NotImplementedError, ImportError or ValueError is passed over, if another one works. With the name
    `only` that one is built and not tried. Where runs of the variants do not do equal work, seconds for a unit of it decide.
    """
    best_s: dict[str, float] = {}
    built, failures = {}, {}
    if only:
        run = variants[only]()
        return Contestant(run, only, getattr(run, "parts", {}), only)
    for name, build in variants.items():
        try:
            built[name] = build()
            built[name]()
        except (NotImplementedError, ImportError, ValueError) as error:
            failures[name] = error
            continue
        samples = [_sample(built[name], 1, 1.0, time.perf_counter, synchronize) for _ in range(tries)]
        best_s[name] = min(seconds / (1.0 if equal_work else work) for seconds, work in samples)
    if not best_s:
        raise next(iter(failures.values()))
    winner = min(best_s, key=best_s.__getitem__)
    for name, run in built.items():
        if name != winner and hasattr(run, "close"):
            run.close()
    unit = "ms" if equal_work else "ms a unit of work"
    tried = [f"{name} {1e3 * s:.4g} {unit}" for name, s in sorted(best_s.items(), key=lambda entry: entry[1])]
    tried += [f"{name} does not run: {error}" for name, error in failures.items()]
    return Contestant(built[winner], f"{winner}, the fastest of: {'; '.join(tried)}", getattr(built[winner], "parts", {}), winner)


def measure(
    subject: str, case: Case, setting: Setting, rivals: Mapping[str, str] | None = None, number: int = 0
) -> Iterator[Record]:  # fmt: skip
    """Builds, races and records a case's providers, one record each, the missing ones included.

    Args:
        subject: its name.
        case: the job.
        setting: how.
        rivals: import name -> what to pip install, to name what is missing.
        number: which of the subject's cases it is, from 0.
    Raises: ValueError if the reference is none of the providers.
    """
    if case.reference not in case.providers:
        raise ValueError(f"reference must be one of {', '.join(case.providers)}, got {case.reference!r}")
    keep_freed_memory()  # our learner would, for all in this process
    machine = describe_machine(setting.device)
    contestants, missing = _build(case, rivals or {})
    probes = ceiling_probes(setting.device, quick=setting.quick)
    timed = {name: contestant.run for name, contestant in contestants.items()}
    synchronize = synchronizer(setting.device)
    ceilings, samples = {}, {}
    if timed:
        everybody = {**timed, **{f"ceiling: {name}": _counted(probe) for name, probe in probes.items()}}
        samples = race(everybody, rounds=setting.rounds, budget_s=setting.budget_s, work=case.work, synchronize=synchronize, once=case.once)
        ceilings = {name: _ceiling(samples[f"ceiling: {name}"], probe) for name, probe in probes.items()}
    timings = {name: Timing.of(samples[name]) for name in timed}
    parts = {name: _parts_ms(c.parts, len(samples[name].seconds)) for name, c in contestants.items()}
    peaks = {} if case.once else {name: peak_mib(run, setting.device) for name, run in timed.items()}
    for run in timed.values():
        if hasattr(run, "close"):
            run.close()
    apart = {name: apart_peaks(subject, number, name, c.variant, setting) for name, c in contestants.items()} if case.peaks_apart else {}
    for name in case.providers:
        timing = timings.get(name)
        ratio = timing.rate / timings[case.reference].rate if timing and case.reference in timings else None
        goal, (floor, floor_limit) = case.goals.get(name), case.floors.get(name, ("", None))
        times_floor = timings[floor].rate / timing.rate if timing and floor in timings else None
        process_peak, step_peak = apart.get(name, (None, None))
        share = None
        if timing and case.cost and case.ceiling in probes:
            share = timing.rate * case.cost / (ceilings[case.ceiling] * probes[case.ceiling].scale)
        yield Record(
            subject=subject, op=case.op, provider=name, detail=contestants[name].detail if name in contestants else "", shape=case.shape,
            dtype=case.dtype, config=case.config, ms=timing and timing.ms, p20=timing and timing.p20, p80=timing and timing.p80,
            num_samples=len(samples[name].seconds) if timing else 0, rate=timing and timing.rate, unit=case.unit, ceiling=case.ceiling,
            share_of_ceiling=share, reference=case.reference, ratio=ratio, goal=goal, limit_ms=case.limits_ms.get(name),
            peak_mib=peaks.get(name), parts_ms=parts.get(name) or None, floor=floor, times_floor=times_floor, floor_limit=floor_limit,
            process_peak_mib=process_peak, step_peak_mib=step_peak, not_measured=missing.get(name),
            ceilings={f"{name} {probe.unit}": ceilings[name] for name, probe in probes.items() if name in ceilings},
            versions=versions(case.packages), quick=setting.quick,
            notes={"unfair": case.unfair, "prediction": case.prediction, "outcome": _outcome(case, name, timing, ratio, times_floor)}, **machine,
        )  # type: ignore[arg-type]  # the machine's entries are the record's of the same names


def _build(case: Case, rivals: Mapping[str, str]) -> tuple[dict[str, Contestant], dict[str, str]]:
    contestants, missing = {}, {}
    for name, build in case.providers.items():
        try:
            contestants[name] = build()
        except ImportError as error:
            module = (error.name or "").split(".")[0]
            missing[name] = f"not measured: pip install '{rivals[module]}'" if module in rivals else f"not measured: {error}"
    return contestants, missing


def _parts_ms(parts: Mapping[str, list[float]], num_samples: int) -> dict[str, float]:
    """Medians of the last runs, those that were timed."""
    return {name: 1e3 * float(np.median(seconds[-num_samples:])) for name, seconds in parts.items() if seconds and num_samples}


def _counted(probe: Probe) -> Callable[[], float]:
    def run() -> float:
        probe.run()
        return probe.work

    return run


def _ceiling(samples: Samples, probe: Probe) -> float:
    return probe.work / min(samples.seconds) / probe.scale


def _outcome(case: Case, name: str, timing: Timing | None, ratio: float | None, times_floor: float | None) -> str:
    parts = []
    goal, limit_ms = case.goals.get(name), case.limits_ms.get(name)
    if ratio is not None and (name != case.reference or goal is not None):
        parts.append(f"{ratio:.3g}x {case.reference}" + ("" if goal is None else f" (goal {goal:g}x {'reached' if ratio >= goal else 'missed'})"))
    if timing is not None and limit_ms is not None:
        parts.append(f"{timing.ms:.4g} ms (limit {limit_ms:g} ms {'kept' if timing.ms <= limit_ms else 'missed'})")
    if times_floor is not None:
        floor, limit = case.floors[name]
        parts.append(f"{times_floor:.3g} times {floor} (limit {limit:g} {'kept' if times_floor <= limit else 'missed'})")
    return "; ".join(parts)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """One JSON object a line, in place of what the file held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(record.to_json() + "\n" for record in records), encoding="utf-8")


def read_records(path: Path) -> list[Record]:
    """What `write_records` wrote. Raises: ValueError if a line is no record."""
    return [Record.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
