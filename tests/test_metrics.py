"""Metrics: whole lines only, values as they were when logged, and a progress that fits where it is shown."""

import builtins
import io
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from paradigm.metrics import METRICS_FILE, MetricsLogger, Progress, format_duration, read_metrics, read_rows


def test_a_row_is_written_one_step_late_and_given_back(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.start_stage("imitate", "imitate")
    assert logger.log(1, {"train/loss": torch.tensor(0.5), "train/lr": 1e-3}, tokens=100) is None
    assert read_metrics(tmp_path) == []
    before = logger.log(2, {"train/loss": torch.tensor(0.25)}, tokens=200)
    assert before is not None and before["train/loss"] == 0.5
    (row,) = read_metrics(tmp_path)
    assert row.pop("seconds") >= 0
    assert row == {"stage": "imitate", "kind": "imitate", "step": 1, "tokens": 100, "train/loss": 0.5, "train/lr": 1e-3}
    logger.close()
    logger.close()
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]
    with pytest.raises(RuntimeError, match="is closed"):
        logger.log(3, {})


def test_an_accumulator_changed_after_logging_does_not_change_the_row(tmp_path: Path) -> None:
    total = torch.zeros((), requires_grad=False)
    with MetricsLogger(tmp_path) as logger:
        total += 3
        logger.log(1, {"train/loss": total})
        total.zero_()
    assert read_metrics(tmp_path)[0]["train/loss"] == 3


def test_every_kind_of_number_survives(tmp_path: Path) -> None:
    big = 2**40 + 1  # not a float32
    with MetricsLogger(tmp_path) as logger:
        logger.log(1, {
            "a/bf16": torch.tensor(0.5, dtype=torch.bfloat16), "a/long": torch.tensor(big), "a/bool": torch.tensor(True), "a/np": np.float32(0.25),
            "a/nan": torch.tensor(math.nan), "a/inf": math.inf, "a/minus": -math.inf, "a/none": None, "a/text": "naïve",
        })  # fmt: skip
    raw = (tmp_path / METRICS_FILE).read_text(encoding="utf-8")
    json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (row,) = read_metrics(tmp_path)
    assert (row["a/bf16"], row["a/long"], row["a/bool"], row["a/np"], row["a/none"], row["a/text"]) == (0.5, big, 1, 0.25, None, "naïve")
    assert isinstance(row["a/long"], int)
    assert math.isnan(row["a/nan"]) and row["a/inf"] == math.inf and row["a/minus"] == -math.inf


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.zeros(2), ValueError, r"'train/x' must be a number or a 0-dim tensor, got shape \[2\]"),
        ([1, 2], TypeError, "'train/x' must be a number.*got list"),
        (np.zeros(3), TypeError, "got ndarray"),
    ],
)
def test_what_is_not_a_number_is_refused_and_nothing_is_lost(tmp_path: Path, value: object, error: type[Exception], message: str) -> None:
    with MetricsLogger(tmp_path) as logger:
        logger.log(1, {"train/loss": 1.0})
        with pytest.raises(error, match=message):
            logger.log(2, {"train/x": value})
    assert [r["step"] for r in read_metrics(tmp_path)] == [1]


def test_a_torn_last_line_is_left_out_and_cut_on_opening(tmp_path: Path) -> None:
    with MetricsLogger(tmp_path) as logger:
        for step in (1, 2):
            logger.log(step, {"train/loss": step})
    path = tmp_path / METRICS_FILE
    path.write_bytes(path.read_bytes() + '{"step": 3, "note": "é'.encode()[:-1])  # torn inside a character
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]
    with MetricsLogger(tmp_path) as logger:
        logger.log(3, {})
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_corrupt_line_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text('{"step": 1}\n[1, 2]\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: not a JSON object"):
        read_metrics(tmp_path)
    assert read_rows(tmp_path / "absent.jsonl") == []


def _write_two_stages(folder: Path) -> None:
    with MetricsLogger(folder) as logger:
        for stage in ("pretrain", "rl"):
            logger.start_stage(stage, stage)
            for step in range(1, 6):
                logger.log(step, {"train/loss": step / 7})


def test_truncation_keeps_what_came_before_the_checkpoint(tmp_path: Path) -> None:
    for stage, step, kept in [("rl", 3, 8), ("rl", 0, 5), ("pretrain", 4, 4), ("pretrain", 5, 5), ("rl", 99, 10), ("distil", 0, 10)]:
        folder = tmp_path / f"{stage}{step}"
        _write_two_stages(folder)
        before = (folder / METRICS_FILE).read_bytes().splitlines()
        with MetricsLogger(folder) as logger:
            assert logger.truncate(stage, step) == 10 - kept, (stage, step)
            logger.log(step + 1, {})
        after = (folder / METRICS_FILE).read_bytes().splitlines()
        assert after[:-1] == before[:kept] and json.loads(after[-1])["step"] == step + 1, (stage, step)
        assert [p.name for p in folder.iterdir()] == [METRICS_FILE]


def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    script = f"""
import os, signal
from paradigm.metrics import MetricsLogger
logger = MetricsLogger({str(tmp_path)!r})
for step in range(500):
    logger.log(step, {{"train/note": "x" * 3000}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -9
    data = (tmp_path / METRICS_FILE).read_bytes()
    assert data.endswith(b"\n")
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(499))  # the last one was still waiting


def test_tensorboard_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith(("torch.utils.tensorboard", "tensorboard")):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[tensorboard\]"):
        MetricsLogger(tmp_path, tensorboard=True)


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason='needs pip install "paradigm-trainer[tensorboard]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLogger(tmp_path, tensorboard=True) as logger:
        for stage in ("imitate", "rl"):
            logger.start_stage(stage, stage)
            for step in (1, 2):
                logger.log(step, {"train/loss": torch.tensor(0.5 * step), "rollout/rollouts": torch.tensor(3), "train/note": "words", "plain": 7})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["imitate/rollout/rollouts", "imitate/train/loss", "rl/rollout/rollouts", "rl/train/loss"]
    for stage in ("imitate", "rl"):
        assert [(e.step, e.value) for e in events.Scalars(f"{stage}/train/loss")] == [(1, 0.5), (2, 1.0)]
        assert [(e.step, e.value) for e in events.Scalars(f"{stage}/rollout/rollouts")] == [(1, 3.0), (2, 3.0)]


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_without_a_terminal_writes_a_line_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock, out = _Clock(), io.StringIO()
    caplog.set_level(logging.INFO, logger="paradigm.metrics")
    with Progress("rl", 100, console=Console(file=out), clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.25
            progress.update(step, {"train/loss": 0.5, "rollout/reward_mean": 0.875, "throughput/tokens_per_second": 22_140} if step % 2 else None)
    assert out.getvalue() == ""
    assert [r.message for r in caplog.records] == [
        "rl 40% · loss 0.500 · reward 0.88 · 22.1k tok/s · 15 s left",
        "rl 80% · loss 0.500 · reward 0.88 · 22.1k tok/s · 5.0 s left",
        "rl 100% · loss 0.500 · reward 0.88 · 22.1k tok/s · done in 25 s",
    ]


def test_a_resumed_stage_counts_time_from_where_it_starts() -> None:
    clock = _Clock()
    progress = Progress("imitate", 100, done=90, console=Console(file=io.StringIO()), clock=clock)
    assert progress.status() == ""
    clock.now += 10
    progress.update(95)
    assert progress.status() == "10 s left"


def test_progress_on_a_terminal_is_one_line_of_80_columns() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, legacy_windows=False)
    with Progress("pretrain", 10, console=console) as progress:
        for step in range(1, 11):
            progress.update(step, {"train/loss": 1.25, "rollout/reward_mean": 0.5, "throughput/tokens_per_second": 950})
    text = out.getvalue()
    assert "100%" in text and "loss 1.250 · reward 0.50 · 950 tok/s · done in" in text
    assert text.count("\n") == 1  # the bar never wraps, else it would leave lines behind


def test_total_must_be_positive() -> None:
    with pytest.raises(ValueError, match="total must be > 0, got 0"):
        Progress("rl", 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
