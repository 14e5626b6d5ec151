"""A run directory: what a recipe writes, and how it goes on after a kill.

    run.json            recipe, command, hardware, versions, seconds, and per stage what it cost
    metrics.jsonl       one line a step            evaluations.jsonl   one line a measurement
    recovery.json       transcripts.json           report.html
    preferences.jsonl   responses.json             in a world of preferences
    stages/NAME/checkpoints/step-000100            whole: weights, optimizer, data cursor, counters
    stages/NAME/model                              the stage's result, in the Hugging Face format
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paradigm.distributed import by_first, from_first
from paradigm.metrics import read_rows


@by_first
def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path, default: Any = None) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and GPU of this machine."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name, "cores": cores, "threads": torch.get_num_threads(), "memory_gib": round(memory, 1), "gpu": gpu}


def versions() -> dict[str, str]:
    try:
        own = version("paradigm-trainer")
    except PackageNotFoundError:
        own = "source tree"
    return {"paradigm": own, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


class RunWriter:
    """The files of one run. Everything appended here is cut back to the last checkpoint when an interrupted stage goes on.

    Of several ranks the first writes; the others have what it has read.
    """

    def __init__(self, folder: Path, *, name: str = "", seed: int = 0, recipe: str = ""):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        new = {
            "name": name, "recipe": recipe, "command": " ".join(["paradigm", *sys.argv[1:]]), "seed": seed, "hardware": hardware(),
            "versions": versions(), "setup_seconds": 0.0, "run_seconds": 0.0, "stages": [],
        }  # fmt: skip
        self.info: dict[str, Any] = from_first(lambda: read_json(folder / "run.json") or new)

    def save(self) -> None:
        write_json(self.folder / "run.json", self.info)

    def stage_folder(self, name: str) -> Path:
        path = self.folder / "stages" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finished(self, name: str) -> dict[str, Any] | None:
        """What a finished stage cost, or None."""
        return next((stage for stage in self.info["stages"] if stage["name"] == name), None)

    @by_first
    def add_evaluation(self, **record: Any) -> None:
        self._append("evaluations.jsonl", record)

    @by_first
    def add_preference(self, **record: Any) -> None:
        """A measurement where nothing is right or wrong, see `preference_evaluation`."""
        self._append("preferences.jsonl", record)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def evaluations(self) -> list[dict[str, Any]]:
        return from_first(lambda: read_rows(self.folder / "evaluations.jsonl"))

    def preferences(self) -> list[dict[str, Any]]:
        return from_first(lambda: read_rows(self.folder / "preferences.jsonl"))

    @by_first
    def keep_evaluations(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrites the measurements with only the wanted rows."""
        for path in (self.folder / "evaluations.jsonl", self.folder / "preferences.jsonl"):
            if not path.exists():
                continue
            temporary = path.with_name(f"{path.name}.partial")
            temporary.write_text("".join(json.dumps(row) + "\n" for row in read_rows(path) if wanted(row)), encoding="utf-8")
            os.replace(temporary, path)
