"""Tasks whose answers are programs: HumanEval's form, functions with cases or assertions, programs from stdin to stdout; read from JSONL."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["CodeTask", "FunctionCase", "ProgramCase", "extract_program", "load_code_tasks"]

_KEYS = {"task_id", "prompt", "entry_point", "test", "tests", "canonical_solution", "scoring", "tolerance"}


@dataclass(frozen=True, kw_only=True)
class FunctionCase:
    """One call and what it must return, or the name of the exception that it must raise. All of it plain data."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    expected: Any = None
    raises: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProgramCase:
    """What a program reads and what it must write; spaces at the ends of lines and empty lines at the end do not count."""

    stdin: str = ""
    stdout: str


@dataclass(frozen=True, kw_only=True)
class CodeTask:
    """A prompt, and tests that the policy never sees.

    Attributes:
        prompt: what the policy reads. Where it is code (imports, helpers, the function's header), the program and the tests see its names.
        entry_point: the function under test; None: the answer is a program from stdin to stdout.
        tests: assertions as source text, which call the function by its name or by `candidate`, or define HumanEval's `check(candidate)`;
            or cases. Each counts as one.
        scoring: `all`: 1 if every test passes, else 0; `share`: the share that passes.
        tolerance: numbers of cases may differ by so much, relatively or absolutely; None: not at all.
        name: for reports.
    Raises: ValueError if there is no test, or one of the wrong kind.
    """

    prompt: str
    entry_point: str | None = None
    tests: tuple[str | FunctionCase | ProgramCase, ...]
    scoring: Literal["all", "share"] = "all"
    tolerance: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.tests:
            raise ValueError("tests must hold at least one, got none")
        if self.scoring not in ("all", "share"):
            raise ValueError(f"scoring must be all or share, got {self.scoring!r}")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be in [0, 1), got {self.tolerance}")
        if self.entry_point is not None and not self.entry_point.isidentifier():
            raise ValueError(f"entry_point must be a function's name, got {self.entry_point!r}")
        kinds = ProgramCase if self.entry_point is None else (str, FunctionCase)
        for test in self.tests:
            if not isinstance(test, kinds):
                wanted = "inputs and outputs without an entry_point" if self.entry_point is None else "assertions or cases with an entry_point"
                raise ValueError(f"tests must be {wanted}, got {str(test)[:80]!r}")


def load_code_tasks(path: str | Path) -> list[CodeTask]:
    """Reads JSONL (or .jsonl.gz), one task a line.

    {"prompt", "entry_point", "test"} is HumanEval's form; {"prompt", "entry_point", "tests"} holds assertions ("assert f(1) == 2") or cases
    ({"args", "kwargs", "expected"} or {"args", "raises"}); {"prompt", "tests"} holds {"stdin", "stdout"}. Each may have "task_id",
    "scoring" and "tolerance".

    Raises: ValueError, naming the line, for what is no task.
    """
    path = Path(path)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    tasks = []
    for number, line in enumerate(content.decode().splitlines(), 1):
        if not line.strip():
            continue
        try:
            tasks.append(_task(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return tasks


def _task(record: Any) -> CodeTask:
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise ValueError("a task must be an object with a prompt")
    unknown = sorted(set(record) - _KEYS)
    if unknown:
        raise ValueError(f"keys of a task must be among {sorted(_KEYS)}, got {unknown}")
    if ("test" in record) == ("tests" in record):
        raise ValueError("a task must have either test or tests")
    given = [record["test"]] if "test" in record else record["tests"]
    tests = tuple(test if isinstance(test, str) else _case(test) for test in given)
    options = {key: record[key] for key in ("entry_point", "scoring", "tolerance") if key in record}
    return CodeTask(prompt=record["prompt"], tests=tests, name=str(record.get("task_id", "")), **options)


def _case(case: dict[str, Any]) -> FunctionCase | ProgramCase:
    if "stdout" in case:
        return ProgramCase(**case)
    if ("expected" in case) == ("raises" in case):
        raise ValueError(f"a case must have stdout, expected or raises, got {sorted(case)}")
    return FunctionCase(**(case | {"args": tuple(case.get("args", ()))}))


def extract_program(task: CodeTask, response: str) -> str:
    """The program in a response: its first fenced block, or all of it; after the prompt if it goes on where the prompt ends."""
    program = _first_block(response)
    if task.entry_point is None:
        return program
    defined = re.compile(rf"^(?:async[ \t]+def|def|class)[ \t]+{task.entry_point}\b|^{task.entry_point}[ \t]*[:=]", re.MULTILINE)
    return program if defined.search(program) else task.prompt + program


def _first_block(response: str) -> str:
    # by lines: a regular expression would take quadratic time on many fences that nobody closes
    lines = response.split("\n")
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith("```")), None)
    if start is None:
        return response
    end = next((i for i in range(start + 1, len(lines)) if lines[i].strip() == "```"), len(lines))
    return "\n".join(lines[start + 1 : end]) + "\n"
