"""The newest records of each subject on each machine, of which the README's table and plots are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Record, read_records

__all__ = ["Newest", "Point", "dates", "machine_name", "machines", "newest"]

_HERE = Path(__file__).resolve().parent
_FILE = re.compile(r"(\d{4}-\d\d-\d\d)-(.+)-([a-z_0-9]+)\.jsonl")
_MACHINES = {
    "epyc-family-26-2c": "2 cores of a Zen 5 (AVX-512 BF16)", "epyc-2c": "2 cores of a Zen 4 (AVX-512 BF16)",
    "xeon-processor-2c": "2 cores of a Xeon (AMX)",
}  # fmt: skip

Newest = Mapping[tuple[str, str], tuple[Path, Sequence[Record]]]


class Point(NamedTuple):
    """Which record: op, dtype and provider, and a piece of its shape or config."""

    op: str
    piece: str
    dtype: str
    provider: str = "paradigm"

    def matches(self, record: Record) -> bool:
        where = f"{record.shape}; {record.config};"
        return (record.op, record.dtype, record.provider) == (self.op, self.dtype, self.provider) and self.piece in where

    def among(self, records: Sequence[Record]) -> Record | None:
        """The first that was measured, if any."""
        return next((r for r in records if self.matches(r) and r.ms is not None), None)


def newest(results: Path) -> Newest:
    """The newest records of each (machine, subject), by the date in the file's name; those of `--quick` are none."""
    subjects = sorted((path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py")), key=len, reverse=True)
    found: dict[tuple[str, str], tuple[Path, Sequence[Record]]] = {}
    for path in sorted(results.glob("*.jsonl")):
        named = _FILE.fullmatch(path.name)
        subject = next((s for s in subjects if path.stem.endswith(f"-{s}")), None)
        if named is not None and subject is not None:
            found[path.stem[len(named[1]) + 1 : -len(subject) - 1], subject] = (path, read_records(path))
    return found


def machines(files: Newest) -> list[str]:
    """The machines, the one with the newest record first."""
    return sorted({machine for machine, _ in files}, key=lambda m: (*dates(files, m)[::-1], m), reverse=True)


def machine_name(machine: str) -> str:
    """What a reader calls it."""
    return _MACHINES.get(machine, machine)


def dates(files: Newest, machine: str) -> tuple[str, str]:
    """Of a machine's oldest and newest file."""
    days = sorted(path.name[:10] for (m, _), (path, _) in files.items() if m == machine)
    return days[0], days[-1]
