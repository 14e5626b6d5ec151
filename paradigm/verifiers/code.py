"""Verdicts on programs. The program runs in one sandbox and the tests in another; between them go calls and plain values, one at a time.

What the program controls is only what it answers to a call: it never sees a test, an expected value or a call to come, and its answers
are compared as plain data (ints, strings, lists, ...) where it cannot reach. `docs/sandbox.md` has the threat model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paradigm.verifiers.code_harness import WireError, encode, parse
from paradigm.verifiers.code_tasks import CodeTask, FunctionCase, ProgramCase, extract_program
from paradigm.verifiers.sandbox import Sandbox, SandboxLimits, SandboxProcess, SandboxUnavailable
from paradigm.verifiers.verdict import Verdict

__all__ = ["CaseOutcome", "CodeJudgement", "CodeVerifier"]

Reveal = Literal["nothing", "calls", "tests"]

_HARNESS = Path(__file__).with_name("code_harness.py")
_MAX_PROGRAM_BYTES = 100_000  # one argument of a program may have 131,072
_MAX_COMPLAINT_BYTES = 65536  # what of a program's making is parsed outside the sandboxes
_NUMBER = re.compile(rb"[-+]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,4})?")
_ENDS = {
    "timeout": "it ran past its time limit",
    "memory": "it used more memory than it may",
    "output": "it wrote more than it may",
}


@dataclass(frozen=True)
class CaseOutcome:
    """One test: whether it passed, the call and its outcome, and what the test wanted."""

    passed: bool
    seen: str
    wanted: str


@dataclass(frozen=True)
class CodeJudgement:
    """A verdict and what it rests on.

    Attributes:
        outcomes: of the tests, in order; none if the program did not come to them.
        problem: why the program did not come to its tests.
    """

    verdict: Verdict
    outcomes: tuple[CaseOutcome, ...] = ()
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every test did."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    def feedback(self, reveal: Reveal) -> str:
        """What a policy may read of it.

        Args:
            reveal: `nothing`: that it failed; `calls`: the first failing call and what came of it; `tests`: what was wanted, too, which
                lets a policy answer that call by heart.
        """
        if self.passed:
            return "All tests passed."
        if self.verdict.error is not None or reveal == "nothing":
            return "The tests failed."
        failed = next(((i, outcome) for i, outcome in enumerate(self.outcomes, 1) if not outcome.passed), None)
        if failed is None:
            return f"The program failed: {self.problem}."
        number, outcome = failed
        wanted = f" Wanted: {outcome.wanted}" if reveal == "tests" and outcome.wanted else ""
        return f"Test {number} failed: {outcome.seen}.{wanted}"


class CodeVerifier:
    """Judges programs. Safe with threads.

    Args:
        limits: of the program, over all its tests where it is a function, of each run where it is a program from stdin to stdout.
        python: the interpreter that runs it; None: the one that runs this.
    Raises: SandboxUnavailable, saying what to install or allow.
    """

    def __init__(self, limits: SandboxLimits | None = None, *, python: str | None = None):
        self.limits = limits or SandboxLimits(output_kib=4096)
        self._sandbox = Sandbox(self.limits, python=python)
        # the tests wait for the program; what they do with its answers is bounded as well
        patient = dataclasses.replace(
            self.limits, wall_seconds=self.limits.wall_seconds + 5, memory_mib=1024, num_processes=4, scratch_mib=1, output_kib=16384
        )
        self._tests_sandbox = Sandbox(patient, python=python)
        self._harness = _HARNESS.read_text()

    def __call__(self, task: CodeTask, response: str) -> Verdict:
        """The verdict on a response. Never raises on what a policy wrote."""
        return self.judge(task, response).verdict

    def judge(self, task: CodeTask, response: str) -> CodeJudgement:
        """The verdict and the outcome of each test.

        An `error` in the verdict says that the tests or this machine failed, not the program: no function of a policy's can cause one.
        """
        program = extract_program(task, response)
        try:
            size = len(program.encode())
        except UnicodeEncodeError:
            return _failed("the program is not text")
        if size > _MAX_PROGRAM_BYTES or "\0" in program:
            return _failed(f"the program must have at most {_MAX_PROGRAM_BYTES} bytes, none of them 0")
        try:
            if task.entry_point is None:
                return self._judge_program(task, program)
            return self._judge_function(task, task.entry_point, program)
        except (SandboxUnavailable, OSError) as error:
            return CodeJudgement(Verdict(0.0, error=f"the sandbox failed: {error}"))

    def _judge_program(self, task: CodeTask, program: str) -> CodeJudgement:
        outcomes = []
        for test in task.tests:
            assert isinstance(test, ProgramCase)
            result = self._sandbox.run_python(program, test.stdin.encode())
            if result.reason == "ok":
                passed = _same_output(result.stdout, test.stdout.encode(), task.tolerance)
                seen = f"it wrote {_text(result.stdout)}"
            else:
                passed = False
                seen = _ENDS.get(result.reason) or f"it exited with {result.status}: {_text(result.stderr[-500:])}"
            outcomes.append(CaseOutcome(passed, f"on input {_text(test.stdin.encode())} {seen}", _text(test.stdout.encode())))
        return _scored(task, outcomes)

    def _judge_function(self, task: CodeTask, entry_point: str, program: str) -> CodeJudgement:
        with self._side("candidate") as candidate, self._side("tests") as tests:
            if candidate.read_line() != b'["up"]' or tests.read_line() != b'["up"]':
                complaint = (candidate.kill().stderr + tests.kill().stderr).decode(errors="replace")[-500:]
                return CodeJudgement(Verdict(0.0, error=f"the sandbox's interpreter did not start: {complaint}"))
            tests.watch(candidate)
            talk = _Talk(candidate)
            answer = talk.ask(["load", task.prompt, program, entry_point])
            if answer != b'["loaded"]':
                return _failed(f"it did not load: {_complaint(answer)}")
            shown = [test if isinstance(test, str) else _case_message(test) for test in task.tests]
            seed = hashlib.sha256(json.dumps([shown, program]).encode()).hexdigest()
            tests.send(_line(["judge", task.prompt, entry_point, shown, seed, task.tolerance]))
            while True:
                line = tests.read_line()
                if line is None:
                    why = _ENDS.get(tests.killed_for or "", "they ended before their time")
                    if talk.num_asked > 1:  # the program's answers may have been what they could not bear
                        return _failed(f"the tests did not end: {why}")
                    return CodeJudgement(Verdict(0.0, error=f"the tests failed: {why}: {_text(tests.kill().stderr[-500:])}"))
                kind, *rest = json.loads(line)
                if kind == "done":
                    break
                tests.send(talk.ask(["call", *rest]) + b"\n")
            results, unsupported = rest
            if unsupported is not None:
                return CodeJudgement(Verdict(0.0, error=f"the tests failed: {unsupported}"))
            if talk.answered and candidate.unread:
                return _failed("it wrote to its channel without being asked")
            return _scored(task, [CaseOutcome(*result) for result in results])

    @contextmanager
    def _side(self, role: str) -> Iterator[SandboxProcess]:
        sandbox = self._sandbox if role == "candidate" else self._tests_sandbox
        with sandbox.start(sandbox.python_command(self._harness, role)) as process:
            yield process


class _Talk:
    """Questions to the candidate, one at a time, each with a nonce that its answer must repeat."""

    def __init__(self, candidate: SandboxProcess):
        self._candidate = candidate
        self._end: str | None = None
        self.num_asked = 0

    @property
    def answered(self) -> bool:
        """Whether every question was answered."""
        return self._end is None

    def ask(self, message: list[Any]) -> bytes:
        """The answer as the candidate wrote it, without its nonce; `["odd", why]` if there is none that may be read on."""
        self.num_asked += 1
        if self._end is None:
            nonce = secrets.token_hex(16).encode()
            if self._candidate.unread:
                return self._ended("it wrote to its channel without being asked")
            self._candidate.send(nonce + b" " + _line(message))
            line = self._candidate.read_line()
            if line is None:
                return self._ended(_ENDS.get(self._candidate.killed_for or "", "it ended itself, or closed its channel"))
            if line.startswith(nonce + b" ") and line.isascii():
                return line[len(nonce) + 1 :]
            return self._ended("it wrote to its channel what was no answer")
        return self._ended(self._end)

    def _ended(self, why: str) -> bytes:
        self._end = why
        return _line(["odd", why])[:-1]


def _line(message: list[Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _case_message(case: Any) -> dict[str, Any]:
    assert isinstance(case, FunctionCase)
    return {"args": encode(list(case.args)), "kwargs": encode(case.kwargs), "expected": encode(case.expected), "raises": case.raises}


def _complaint(answer: bytes) -> str:
    """The last word of an answer that the program, too, may have written."""
    if len(answer) <= _MAX_COMPLAINT_BYTES:
        try:
            message = parse(answer)
        except WireError:
            message = None
        if isinstance(message, list) and message and isinstance(message[-1], str):
            return message[-1][:500]
    return "it answered what was no answer"


def _failed(problem: str) -> CodeJudgement:
    return CodeJudgement(Verdict(0.0, problem), problem=problem)


def _scored(task: CodeTask, outcomes: list[CaseOutcome]) -> CodeJudgement:
    num_passed = sum(outcome.passed for outcome in outcomes)
    share = num_passed / len(task.tests)
    evidence = f"{num_passed} of {len(task.tests)} tests passed"
    failed = next((outcome for outcome in outcomes if not outcome.passed), None)
    if failed is not None:
        evidence += f"; {failed.seen}; wanted: {failed.wanted}"
    return CodeJudgement(Verdict(share if task.scoring == "share" else float(share == 1.0), evidence), tuple(outcomes))


def _text(data: bytes) -> str:
    words = data.decode(errors="replace")
    return repr(words if len(words) <= 300 else words[:300] + "...")


def _same_output(got: bytes, expected: bytes, tolerance: float | None) -> bool:
    lines, wanted = ([line.rstrip() for line in text.rstrip().split(b"\n")] for text in (got, expected))
    if lines == wanted or tolerance is None:
        return lines == wanted
    rows = [(line.split(), want.split()) for line, want in zip(lines, wanted)]
    if len(lines) != len(wanted) or any(len(words) != len(wants) for words, wants in rows):
        return False
    return all(_same_word(word, want, tolerance) for words, wants in rows for word, want in zip(words, wants))


def _same_word(word: bytes, want: bytes, tolerance: float) -> bool:
    if word == want:
        return True
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(want)):
        return False
    return math.isclose(float(word), float(want), rel_tol=tolerance, abs_tol=tolerance)
