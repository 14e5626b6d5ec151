"""A run's metrics: one JSON object a line in `metrics.jsonl`, and the progress of a stage on the terminal.

A row: {"stage", "kind", "step", "tokens", "seconds", "train/loss", "rollout/reward_mean", "throughput/tokens_per_second", ...}. `tokens` counts
trained tokens over the whole run, `seconds` the stage's wall time. Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity".

This is the one place where metrics come from the device to the host, a row late: `log` copies a step's 0-dim tensors into one tensor on their
device and sends that on its way, without waiting for it, and reads the row before, whose work is done by then.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console

from paradigm.transfer import Transfer

__all__ = ["METRICS_FILE", "MetricsLogger", "Progress", "format_duration", "read_metrics", "read_rows"]

METRICS_FILE = "metrics.jsonl"
_NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_logger = logging.getLogger(__name__)


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file. A last line that a crash tore is left out; a missing file has no rows.

    Raises: ValueError naming the line if any other line is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:  # UnicodeDecodeError included
            row = None
        if isinstance(row, dict):
            rows.append({key: _NOT_JSON.get(value, value) if isinstance(value, str) else value for key, value in row.items()})
        elif number < len(lines):
            raise ValueError(f"{path}, line {number}: not a JSON object")
    return rows


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run folder's metrics.jsonl, in the order they were written. Raises: as `read_rows`."""
    return read_rows(Path(folder) / METRICS_FILE)


class MetricsLogger:
    """Appends rows to `folder`/metrics.jsonl, each by a single write of a whole line; optionally to TensorBoard as well.

    Opening a folder that has rows already continues after them; `truncate` drops those past a checkpoint. `close` (or leaving the context)
    writes the last row. Errors of the file system are raised as they are.

    Args:
        folder: the run directory; made if it is missing.
        tensorboard: also write event files into `folder`/tensorboard.
    Raises: ImportError naming the extra if TensorBoard is asked for and missing.
    """

    def __init__(self, folder: str | Path, tensorboard: bool = False):
        self.path = Path(folder) / METRICS_FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stage, self._kind = "", ""
        self._stage_started = time.monotonic()
        self._pending: tuple[dict[str, Any], list[tuple[list[tuple[str, bool]], Transfer]]] | None = None  # (name, is whole) a tensor
        self._tensorboard = _summary_writer(self.path.parent / "tensorboard") if tensorboard else None
        _drop_torn_line(self.path)
        self._file: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def start_stage(self, stage: str, kind: str, seconds: float = 0.0) -> None:
        """Rows logged from here on belong to `stage` (its name) of `kind` (pretrain, imitate, rl, distil); `seconds` it already ran, on resume."""
        self._stage, self._kind = stage, kind
        self._stage_started = time.monotonic() - seconds

    def log(self, step: int, metrics: Mapping[str, Any], tokens: int | None = None) -> dict[str, Any] | None:
        """Take a row; write the one before.

        Args:
            step: optimizer steps done in this stage.
            metrics: `group/name` to a number, string, bool, None or 0-dim tensor on any device. `stage`, `kind` and `seconds` may be overridden.
            tokens: trained tokens so far, over the whole run.
        Returns: the row before, on the host (for `Progress`), or None for the first. Raises: ValueError on a tensor that is not 0-dim,
            TypeError on any other value, RuntimeError after `close`.
        """
        self._open_file()
        row: dict[str, Any] = {"stage": self._stage, "kind": self._kind, "step": step}
        if tokens is not None:
            row["tokens"] = int(tokens)
        row["seconds"] = round(time.monotonic() - self._stage_started, 3)
        on_device: dict[torch.device, tuple[list[tuple[str, bool]], list[torch.Tensor]]] = {}
        for name, value in metrics.items():
            row[name] = None  # keeps the order of the metrics
            if isinstance(value, torch.Tensor):
                if value.dim() != 0:
                    raise ValueError(f"metric {name!r} must be a number or a 0-dim tensor, got shape {list(value.shape)}")
                names, values = on_device.setdefault(value.device, ([], []))
                names.append((name, not value.is_floating_point()))
                values.append(value.detach().to(torch.float64))
            else:
                row[name] = _plain(name, value)
        written = self.flush()
        # stack copies: a later in-place change of an accumulator does not reach a row already taken
        self._pending = (row, [(names, Transfer(torch.stack(values))) for names, values in on_device.values()])
        return written

    def flush(self) -> dict[str, Any] | None:
        """Write the row that is waiting, if any, and return it. Call before a checkpoint is saved."""
        if self._pending is None:
            return None
        row, stacked = self._pending
        self._pending = None
        for names, values in stacked:
            for (name, whole), value in zip(names, values.tolist()):
                row[name] = int(value) if whole else value
        line = json.dumps({k: _json_number(v) for k, v in row.items()}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        data = memoryview(line.encode() + b"\n")
        while data:  # a disk that fills up may take part of a line: the rest raises, and the torn line is dropped by whoever opens next
            data = data[os.write(self._open_file(), data) :]
        if self._tensorboard is not None:
            for name, value in row.items():
                if "/" in name and isinstance(value, int | float):
                    self._tensorboard.add_scalar(f"{row['stage']}/{name}" if row["stage"] else name, value, row["step"])
        return row

    def truncate(self, stage: str, step: int) -> int:
        """Drop the rows that a run resumed from a checkpoint will write again: those of `stage` after `step`, and of every later stage.

        The file is replaced atomically. Returns: how many rows were dropped.
        """
        self.flush()
        rows = read_rows(self.path)
        reached = False
        keep = len(rows)
        for i, row in enumerate(rows):
            in_stage = row.get("stage") == stage
            reached = reached or in_stage
            if (in_stage and row.get("step", 0) > step) or (reached and not in_stage):
                keep = i
                break
        if keep < len(rows):
            lines = [line for line in self.path.read_bytes().split(b"\n") if line.strip()][:keep]
            temporary = self.path.with_suffix(".jsonl.tmp")
            with open(temporary, "wb") as file:
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
            os.close(self._open_file())
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        return len(rows) - keep

    def close(self) -> None:
        """Write the waiting row and close the files; closing twice is harmless."""
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            os.close(self._file)
            self._file = None
            if self._tensorboard is not None:
                self._tensorboard.close()

    def _open_file(self) -> int:
        if self._file is None:
            raise RuntimeError(f"the metrics logger of {self.path} is closed")
        return self._file

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Progress:
    """The progress of one stage: loss, reward, tokens a second and time left.

    On a terminal, one bar; elsewhere a plain log line (logger `paradigm.metrics`, level INFO) every `seconds_between_lines`, and one at the end.

    Args:
        label: what is shown in front, such as the stage's name.
        total: when `done` has this value the stage is finished; steps, tokens or seconds, > 0.
        done: where a resumed stage starts.
        console: where to draw; by default rich's own standard output.
    """

    def __init__(
        self, label: str, total: float, *, done: float = 0, console: Console | None = None,
        seconds_between_lines: float = 10.0, clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        if not total > 0:
            raise ValueError(f"total must be > 0, got {total}")
        self.label, self.total = label, total
        self._console = console if console is not None else Console()
        self._clock, self._between = clock, seconds_between_lines
        self._first = self._done = done
        self._started = self._last_line = clock()
        self._seen: dict[str, float] = {}
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            # here, not above: importing it draws from Python's global random numbers
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = (
                TextColumn("{task.description:<9}", markup=False), BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[status]}", markup=False),
            )  # fmt: skip
            self._bar = RichProgress(*columns, console=self._console, expand=True)
            self._task = self._bar.add_task(self.label, total=self.total, status="")
            self._bar.update(self._task, completed=self._done)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif error is None:
            self._write_line()

    def update(self, done: float, metrics: Mapping[str, Any] | None = None) -> None:
        """Set how much is done; `metrics` is a row on the host (what `MetricsLogger.log` returned), of which the newest value of each is shown."""
        self._done = done
        for key in ("train/loss", "rollout/reward_mean", "throughput/tokens_per_second"):
            value = (metrics or {}).get(key)
            if isinstance(value, int | float):
                self._seen[key] = value
        if self._bar is not None:
            self._bar.update(self._task, completed=done, status=self.status())
        elif self._clock() - self._last_line >= self._between:
            self._write_line()

    def status(self) -> str:
        """What stands beside the bar, such as `loss 0.312 · reward 0.87 · 22.1k tok/s · 42 s left`."""
        parts = []
        if (loss := self._seen.get("train/loss")) is not None:
            parts.append(f"loss {loss:.3f}")
        if (reward := self._seen.get("rollout/reward_mean")) is not None:
            parts.append(f"reward {reward:.2f}")
        if (speed := self._seen.get("throughput/tokens_per_second")) is not None:
            parts.append(f"{speed / 1000:.1f}k tok/s" if speed >= 1000 else f"{speed:.0f} tok/s")
        elapsed = self._clock() - self._started
        if self._done >= self.total:
            parts.append(f"done in {format_duration(elapsed)}")
        elif self._done > self._first:
            parts.append(f"{format_duration(elapsed * (self.total - self._done) / (self._done - self._first))} left")
        return " · ".join(parts)

    def _write_line(self) -> None:
        self._last_line = self._clock()
        status = self.status()
        _logger.info("%s %.0f%%%s", self.label, 100 * min(1.0, self._done / self.total), f" · {status}" if status else "")


def format_duration(seconds: float) -> str:
    """Seconds for a person: `0.4 s`, `42 s`, `3 min 12 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _plain(name: str, value: Any) -> Any:
    """A host value as JSON will hold it; numpy scalars included."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"metric {name!r} must be a number, string, None or 0-dim tensor, got {type(value).__name__}")


def _json_number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _drop_torn_line(path: Path) -> None:
    """Cut what a crash left behind the last line end, so that the next row starts a line of its own."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with open(path, "r+b") as file:
        data = file.read()
        if not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError('tensorboard=True needs the extra "tensorboard": pip install "paradigm-trainer[tensorboard]"') from error
    return SummaryWriter(str(folder))

