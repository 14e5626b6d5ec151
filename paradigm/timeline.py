"""What a step's time goes to: spans on named tracks, written as a Chrome trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.

    with recording() as timeline:           off without it: a span is then one comparison
        with span("forward", "update"):
            ...
    timeline.save("trace.json")
    timeline.breakdown()                    seconds of rollout, update, verification, ... that add up to the whole

Work of a policy that plays is on the track "rollout", of the learner on "update", of environments and verifiers on "environments", of checkpoints
and records on "records". A track has a line for each thread.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PARTS", "WAIT", "Span", "StepTrace", "Timeline", "is_recording", "recording", "shares", "span"]

WAIT = "wait for environments"
PARTS = ("rollout", "update", "rollout and update", "verification", "records", "idle")
_STEP = "step"
_TRACKS = (_STEP, "rollout", "environments", "update", "records")


class Span(NamedTuple):
    """What went on between two readings of the clock, in seconds, on which track and in which thread (its ident)."""

    name: str
    track: str
    thread: int
    start: float
    end: float


class Timeline:
    """Spans as they end, from any thread.

    Args:
        synchronize: called where a span begins and ends. On a GPU, what waits for the current stream: spans then hold the device's work, at the
            price that host and device no longer run side by side.
        clock: seconds.
    """

    def __init__(self, synchronize: Callable[[], object] | None = None, clock: Callable[[], float] = time.perf_counter):
        self.spans: list[Span] = []
        self._synchronize, self._clock = synchronize, clock

    @contextmanager
    def span(self, name: str, track: str = _STEP) -> Iterator[None]:
        start = self.now()
        try:
            yield
        finally:
            self.add(name, track, start, self.now())

    def now(self) -> float:
        """The clock, once the device is done."""
        if self._synchronize is not None:
            self._synchronize()
        return self._clock()

    def add(self, name: str, track: str, start: float, end: float) -> None:
        self.spans.append(Span(name, track, threading.get_ident(), start, end))

    def breakdown(self) -> dict[str, float]:
        """Seconds of the whole time by `PARTS`, which add up to it; see `shares` for fractions.

        "rollout" and "update" are the time in which only that runs, "rollout and update" that in which both do. "verification" is what environments
        and verifiers take while no policy works, "records" that of checkpoints and metrics, "idle" the rest. Whole is what the track "step" covers,
        or everything where it has nothing.
        """
        wholes = [(s.start, s.end) for s in self.spans if s.track == _STEP] or [(s.start, s.end) for s in self.spans]
        covers: dict[str, list[tuple[float, float]]] = {
            "whole": wholes,
            "rollout": [(s.start, s.end) for s in self.spans if s.track == "rollout" and s.name != WAIT],
            "wait": [(s.start, s.end) for s in self.spans if s.name == WAIT],
            "update": [(s.start, s.end) for s in self.spans if s.track == "update"],
            "environments": [(s.start, s.end) for s in self.spans if s.track == "environments"],
            "records": [(s.start, s.end) for s in self.spans if s.track == "records"],
        }
        seconds = dict.fromkeys(PARTS, 0.0)
        for length, active in _slices(covers):
            if "whole" in active:
                seconds[_part(active)] += length
        return seconds

    def busy(self) -> dict[tuple[str, str], tuple[int, float]]:
        """By (track, name): how many spans, and their seconds in all, the longest first."""
        found: dict[tuple[str, str], tuple[int, float]] = {}
        for s in self.spans:
            count, seconds = found.get((s.track, s.name), (0, 0.0))
            found[s.track, s.name] = count + 1, seconds + s.end - s.start
        return dict(sorted(found.items(), key=lambda entry: -entry[1][1]))

    def trace(self) -> dict[str, Any]:
        """The Chrome trace: complete events with times in microseconds from the first, and the names of the tracks."""
        lines: dict[tuple[str, int], int] = {}
        order = sorted(self.spans, key=lambda s: (_TRACKS.index(s.track) if s.track in _TRACKS else len(_TRACKS), s.start))
        events: list[dict[str, Any]] = []
        first = min((s.start for s in self.spans), default=0.0)
        for s in order:
            if (s.track, s.thread) not in lines:
                number = lines[s.track, s.thread] = len(lines) + 1
                same = sum(track == s.track for track, _ in lines)
                name = s.track if same == 1 else f"{s.track} {same}"
                events += [{"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}},
                           {"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": number, "args": {"sort_index": number}}]  # fmt: skip
            events.append({"ph": "X", "name": s.name, "cat": s.track, "pid": 1, "tid": lines[s.track, s.thread],
                           "ts": round(1e6 * (s.start - first), 3), "dur": round(1e6 * (s.end - s.start), 3)})  # fmt: skip
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def save(self, path: str | Path) -> None:
        """Writes `trace()` as JSON."""
        Path(path).write_text(json.dumps(self.trace(), separators=(",", ":")) + "\n", encoding="utf-8")


_current: Timeline | None = None
_NOTHING: AbstractContextManager[None] = nullcontext()


def is_recording() -> Timeline | None:
    """The timeline that spans go to now, if any."""
    return _current


def span(name: str, track: str = _STEP) -> AbstractContextManager[None]:
    """A context whose time is noted where a timeline is recording."""
    return _NOTHING if _current is None else _current.span(name, track)


@contextmanager
def recording(timeline: Timeline | None = None) -> Iterator[Timeline]:
    """Within it, the spans of all threads go to `timeline`, by default a new one. Raises: RuntimeError within another."""
    global _current
    if _current is not None:
        raise RuntimeError("recording() must not be entered twice")
    _current = timeline = Timeline() if timeline is None else timeline
    try:
        yield timeline
    finally:
        _current = None


class StepTrace:
    """Records the first `num_steps` steps of a loop: `for step in StepTrace(path, 3).each(range(100))`.

    Args:
        path: of the trace, written after each of them. timeline: where they go; its breakdown is that of all so far.
    """

    def __init__(self, path: str | Path, num_steps: int, timeline: Timeline | None = None):
        self.path, self.timeline = Path(path), Timeline() if timeline is None else timeline
        self._left = num_steps

    def each(self, steps: Iterable[int]) -> Iterator[int]:
        """The steps; what the loop does with one is a span "step", as long as they are recorded."""
        for step in steps:
            if self._left <= 0:
                yield step
                continue
            self._left -= 1
            try:
                with recording(self.timeline), span(_STEP):
                    yield step
            finally:  # also of a loop that is left
                self.timeline.save(self.path)


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Each part's fraction of their sum."""
    total = sum(seconds.values())
    return {name: value / total if total else 0.0 for name, value in seconds.items()}


def _part(active: set[str]) -> str:
    plays, learns = "rollout" in active and "wait" not in active, "update" in active  # planning waits inside its own span
    if plays or learns:
        return "rollout and update" if plays and learns else "rollout" if plays else "update"
    if "environments" in active or "wait" in active:
        return "verification"
    return "records" if "records" in active else "idle"


def _slices(covers: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[tuple[float, set[str]]]:
    """The time axis cut wherever something begins or ends: each piece's length, and what goes on in it."""
    edges = sorted((at, change, name) for name, parts in covers.items() for start, end in parts for at, change in ((start, 1), (end, -1)))
    depth = dict.fromkeys(covers, 0)
    before = edges[0][0] if edges else 0.0
    for at, change, name in edges:
        if at > before:
            yield at - before, {n for n, count in depth.items() if count}
            before = at
        depth[name] += change
