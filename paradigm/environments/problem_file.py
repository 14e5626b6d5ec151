"""Problems with answers from a JSONL file, judged as mathematics: GSM8K's form, and any with a problem and an answer a line."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paradigm.environments.splits import Split, split_of
from paradigm.environments.worked_problems import Problem
from paradigm.sources.corpus import read_jsonl
from paradigm.verifiers import MathematicsTask, MathematicsVerifier

__all__ = ["MARKER", "ProblemFile"]

MARKER = "####"


@dataclass(frozen=True)
class _Row:
    question: str
    reference: str
    solution: str


class ProblemFile:
    """The problems of a file. A task is a row's number; a row's split is that of its question (`split_of`).

    A response has its answer after `####`, where `verifiers.MathematicsVerifier` looks for it.

    Args:
        path: JSON objects, one a line.
        form: "gsm8k": `answer` is a worked solution that ends with `#### ` and the answer; "answers": `answer` is the answer alone.
        question, answer, solution: the fields' names; `solution`, with form "answers", names worked solutions, if there are any.
        strictness: how answers are compared, see `MathematicsTask`.
    Raises: FileNotFoundError, ValueError naming file and line of what does not fit, or if nothing is there.
    """

    def __init__(
        self, path: str | Path, *, form: Literal["gsm8k", "answers"] = "gsm8k", question: str = "question", answer: str = "answer",
        solution: str = "", strictness: Literal["text", "number", "symbolic"] = "number", verifier: MathematicsVerifier | None = None,
    ):  # fmt: skip
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a JSONL file of problems, got {str(path)!r}")
        self._verifier = verifier or MathematicsVerifier()
        self._rows: list[_Row] = []
        self._tasks: list[MathematicsTask] = []
        for number, record in read_jsonl(path):
            try:
                row = _row(record, form, question, answer, solution)
                self._tasks.append(MathematicsTask(prompt=row.question, answer=row.reference, form="hash", strictness=strictness))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            self._rows.append(row)
        if not self._rows:
            raise ValueError(f"{path} must hold at least one problem, got none")
        self._splits = np.array([split_of(row.question) for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[int]:
        """n problems of a split in an order of the seed's, none twice before all have come once.

        Raises: ValueError where the split has none.
        """
        rows = np.flatnonzero(self._splits == split)
        if not len(rows):
            raise ValueError(f"a file of {len(self._rows)} problems must have some of the split {split!r}, got none")
        draw = np.random.default_rng(seed)
        rounds = [draw.permutation(rows) for _ in range(-(-n // len(rows)))]
        return np.concatenate([np.zeros(0, np.int64), *rounds])[:n].tolist()

    def problem(self, task: Any) -> Problem:
        """The problem of a task. Raises: ValueError for what is no task."""
        if not isinstance(task, int) or not 0 <= task < len(self._rows):
            raise ValueError(f"task must be the row of one of {len(self._rows)} problems, got {task!r}")
        row = self._rows[task]
        return Problem(f"{row.question}\n", functools.partial(self._verifier, self._tasks[task]), row.solution)


def _row(record: Mapping[str, Any], form: str, question: str, answer: str, solution: str) -> _Row:
    for name in (question, answer, *([solution] if solution else [])):
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise ValueError(f"field {name!r} must be a string that is not empty, got fields {sorted(record)[:8]}")
    asked, answered = record[question].strip(), record[answer].strip()
    if form == "answers":
        work = f"{record[solution].strip()}\n" if solution else ""
        return _Row(asked, answered, f"{work}{MARKER} {answered}")
    work, marker, reference = answered.rpartition(MARKER)
    if not marker or MARKER in work:
        raise ValueError(f"field {answer!r} must hold {MARKER} once, got {answered[-60:]!r}")
    return _Row(asked, reference.strip(), answered)
