"""Small programming tasks that are written by the thousand: a chain of operations on a number, in words, to be a Python expression.

    # add 3, then square, then take the remainder by 7
    def f(x):
        return (x + 3) ** 2 % 7

Every task comes with its solution, and with a wrong one: a step left out, or one with another number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from paradigm.environments.splits import Split, split_of
from paradigm.verifiers import CodeJudgement, CodeTask, FunctionCase, Verdict
from paradigm.verifiers.code import CaseOutcome

__all__ = ["KnownPrograms", "ProgramTasks", "Programmer"]

_INPUTS = (-7, -1, 0, 1, 2, 5, 10, 23)
_ENTRY_POINT = "f"
_NUMBERS = tuple(range(2, 10))
_ATOM, _POWER, _PRODUCT, _SUM = range(4, 0, -1)  # how tightly Python binds


@dataclass(frozen=True)
class _Operation:
    """words and code may hold the number `{k}`, code the expression so far `{x}`, which must bind as tightly as `needs`; the result as `binds`."""

    words: str
    code: str
    needs: int
    binds: int
    apply: Callable[[int, int], int]


_OPERATIONS = (
    _Operation("add {k}", "{x} + {k}", _SUM, _SUM, lambda x, k: x + k),
    _Operation("subtract {k}", "{x} - {k}", _SUM, _SUM, lambda x, k: x - k),
    _Operation("subtract from {k}", "{k} - {x}", _PRODUCT, _SUM, lambda x, k: k - x),
    _Operation("multiply by {k}", "{x} * {k}", _PRODUCT, _PRODUCT, lambda x, k: x * k),
    _Operation("divide by {k}, rounding down", "{x} // {k}", _PRODUCT, _PRODUCT, lambda x, k: x // k),
    _Operation("take the remainder by {k}", "{x} % {k}", _PRODUCT, _PRODUCT, lambda x, k: x % k),
    _Operation("square", "{x} ** 2", _ATOM, _POWER, lambda x, k: x**2),
    _Operation("take the absolute value", "abs({x})", 0, _ATOM, lambda x, k: abs(x)),
    _Operation("take at least {k}", "max({x}, {k})", 0, _ATOM, lambda x, k: max(x, k)),
    _Operation("take at most {k}", "min({x}, {k})", 0, _ATOM, lambda x, k: min(x, k)),
)

Chain = tuple[tuple[int, int], ...]  # (row of _OPERATIONS, number)


@dataclass(frozen=True)
class ProgramTasks:
    """Different tasks, in a random order; `len` is their number.

    Args:
        n: how many. steps: operations in each, from steps[0] to steps[1]. seed: of the drawing.
    Attributes:
        tasks: what `Code` takes. chains: the operations of each.
    Raises: ValueError unless n >= 1 and 1 <= steps[0] <= steps[1], and where so many different tasks are not found.
    """

    n: int = 4000
    steps: tuple[int, int] = (1, 3)
    seed: int = 0
    tasks: tuple[CodeTask, ...] = field(init=False)
    chains: tuple[Chain, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be >= 1, got {self.n}")
        low, high = self.steps
        if not 1 <= low <= high:
            raise ValueError(f"steps must be (least, most), 1 <= least <= most, got {self.steps}")
        draw, found = np.random.default_rng(self.seed), dict[str, tuple[CodeTask, Chain]]()
        for _ in range(20 * self.n):
            chain = tuple((int(draw.integers(len(_OPERATIONS))), int(draw.choice(_NUMBERS))) for _ in range(draw.integers(low, high + 1)))
            prompt = f"# {', then '.join(_OPERATIONS[row].words.format(k=k) for row, k in chain)}\ndef {_ENTRY_POINT}(x):\n"
            if prompt not in found:
                cases = tuple(FunctionCase(args=(x,), expected=_value(chain, x)) for x in _INPUTS)
                found[prompt] = CodeTask(prompt=prompt, entry_point=_ENTRY_POINT, tests=cases), chain
            if len(found) == self.n:
                break
        else:
            raise ValueError(f"n must be at most the different tasks of {low} to {high} steps, got {self.n}, found {len(found)}")
        object.__setattr__(self, "tasks", tuple(task for task, _ in found.values()))
        object.__setattr__(self, "chains", tuple(chain for _, chain in found.values()))

    def __len__(self) -> int:
        return self.n

    def rows(self, seed: int, n: int, split: Split) -> list[int]:
        """Rows of one split (`split_of` the prompt), shuffled; a longer list starts with the shorter one of the same seed."""
        own = [row for row, task in enumerate(self.tasks) if split_of(task.prompt) == split]
        return [own[row] for row in np.random.default_rng(seed).permutation(len(own))[:n]]

    def solution(self, row: int) -> str:
        """What completes the prompt of a task."""
        return _written(self.chains[row])

    def wrong_solution(self, row: int, seed: int) -> str:
        """The same with one step left out or changed, so that some input has another value; where no such change is found, a constant."""
        chain, draw = self.chains[row], np.random.default_rng(seed)
        for _ in range(20):
            at = int(draw.integers(len(chain)))
            instead = () if len(chain) > 1 and draw.random() < 0.5 else ((chain[at][0], int(draw.choice(_NUMBERS))),)
            other = (*chain[:at], *instead, *chain[at + 1 :])
            if any(_value(other, x) != _value(chain, x) for x in _INPUTS):
                return _written(other)
        return "    return None\n"


class KnownPrograms:
    """Judges the solutions of `ProgramTasks`, right and wrong, by knowing them: demonstrations need no sandbox."""

    def __init__(self, programs: ProgramTasks):
        self._solutions = {task.prompt: programs.solution(row) for row, task in enumerate(programs.tasks)}

    def judge(self, task: CodeTask, response: str) -> CodeJudgement:
        """The verdict on a program of `Programmer`, whose wrong ones are known to be wrong."""
        is_right = response == self._solutions[task.prompt]
        return CodeJudgement(Verdict(float(is_right)), (CaseOutcome(is_right, "", ""),))


class Programmer:
    """A player of `Code` that writes solutions, of which some are wrong.

    Args:
        error_rate: probability of a wrong one.
    Raises: ValueError unless that is in [0, 1].
    """

    def __init__(self, programs: ProgramTasks, error_rate: float):
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must be in [0, 1], got {error_rate}")
        self._programs, self._error_rate = programs, error_rate
        self._rows = {task.prompt: row for row, task in enumerate(programs.tasks)}

    def act(self, environment: object, observation: object, seed: int) -> list[int]:
        """The program's bytes, and the zero byte that ends it."""
        row = self._rows[bytes(np.asarray(observation.tokens, np.uint8)).decode()]  # type: ignore[attr-defined]
        is_wrong = np.random.default_rng(seed).random() < self._error_rate
        written = self._programs.wrong_solution(row, seed) if is_wrong else self._programs.solution(row)
        return [*written.encode(), 0]


def _value(chain: Chain, x: int) -> int:
    return reduce(lambda value, step: _OPERATIONS[step[0]].apply(value, step[1]), chain, x)


def _written(chain: Chain) -> str:
    text, binds = "x", _ATOM
    for row, k in chain:
        operation = _OPERATIONS[row]
        inner = f"({text})" if binds < operation.needs else text
        text, binds = operation.code.format(x=inner, k=k), operation.binds
    return f"    return {text}\n"
