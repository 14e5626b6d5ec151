"""Worked arithmetic: `347+586\\n` is answered by `7+6+0=13;4+8+1=13;3+5+1=09;#933\\n`, and only `#933\\n` earns the reward.

Scratch work, one digit operation a step, each ended by `;`, or by `!` if it is withdrawn and done again:

    347+586   7+6+0=13;4+8+1=13;3+5+1=09;#933       a+b+carry=carry,digit
    586-347   6-7-0=19;8-4-1=03;5-3-0=02;#239       a-b-borrow=borrow,digit
    347*6     7*6+0=42;4*6+4=28;3*6+2=20;#2082      a*b+carry=carry,digit
    852/4     8/4=2r0;05/4=1r1;12/4=3r0;#213        remainder and next digit/divisor=quotient r remainder
    47*36     47*6?282;47*3?141;2+0+0=02;8+1+0=09;2+4+0=06;0+1+0=01;#1692

`47*6?` asks the calculator and `282;` is its reply, an observation; it multiplies numbers of at most six digits by one digit and
answers anything else `E;`. Without it the partial products are worked by columns and stated: `7*6+0=42;4*6+4=28;282;`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paradigm import _core
from paradigm.environments.protocol import Step

__all__ = [
    "Arithmetic",
    "ArithmeticLabel",
    "arithmetic_classify",
    "arithmetic_result_positions",
    "arithmetic_split",
    "arithmetic_tasks",
    "arithmetic_text",
]

Split = Literal["train", "validation", "test"]


class ArithmeticLabel(IntEnum):
    """What `arithmetic_classify` says of a token."""

    PROMPT = 0
    RIGHT = 1
    WRONG = 2  # of a step that is wrong and stands, of a wrong answer, of a query refused
    CORRECTED = 3  # of a step withdrawn by `!`
    INJECTED = 4  # not written by the policy: the calculator's reply, or a forced token


class Arithmetic:
    """The native world, one seat. The prompt is the task and a newline; an action ends with a newline (the answer) or `?` (a query).

    Reward 1 if all that was written holds one `#` and ends with `#<the exact answer>\\n`, else 0; the scratch work is never judged.
    An episode that outgrows twice its faultless solution and 16 tokens is truncated, with reward 0.

    Args:
        calculator: whether queries are answered; without it `?` ends no action.
        encoding: int32 [256], the token id of each byte; None: the byte itself. Bytes of no token may be negative, save those in use.
    Raises: ValueError if two bytes in use share an id or one has none.
    """

    name = "arithmetic"
    num_seats = 1

    def __init__(self, *, calculator: bool = True, encoding: ArrayLike | None = None):
        self.calculator = calculator
        self.encoding = _table(encoding)
        self.native = _core.arithmetic_environment(calculator, self.encoding)
        self._world: Any = None

    def reset(self, task: str | bytes, seed: int = 0) -> Step:
        """Starts `task`. Raises: ValueError unless it is like `347+586`, `586-347` (not below 0), `47*36` or `852/4` (exact, by one digit)."""
        self._world = self._world or self.native.make()
        return self._world.reset(task, seed)

    def step(self, action: ArrayLike) -> Step:
        """Takes one action, int32 [n]. Raises: RuntimeError before the first reset."""
        if self._world is None:
            raise RuntimeError("step needs a reset before it")
        return self._world.step(np.asarray(action, np.int32))

    def clone(self) -> Arithmetic:
        """A copy in the same state."""
        copy = Arithmetic(calculator=self.calculator, encoding=self.encoding)
        copy._world = self._world and self._world.clone()
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.calculator, self.encoding)

    def tasks(self, seed: int, n: int, split: Split = "train", **options: Any) -> list[str]:
        """See `arithmetic_tasks`."""
        return arithmetic_tasks(seed, n, split, **options)

    def text(self, seed: int, n: int, split: Split = "train", **options: Any) -> list[str]:
        """See `arithmetic_text`; the calculator's replies stand in it if there is one."""
        return arithmetic_text(seed, n, split, calculator=self.calculator, **options)

    def demonstrator(self, *, error_rate: float = 0.1, notice_rate: float = 0.3) -> _core.NativePlayer:
        """A player that writes worked solutions with noise, as a pure function of (problem, replies, seed).

        At the defaults about 80% of its answers to 3-digit tasks of the four operations are right: (1 - 0.1 * 0.7) ** steps.

        Args:
            error_rate: probability that a step's result is wrong.
            notice_rate: probability that a wrong step is withdrawn by `!` and done again rightly; else its digits are carried on.
        Raises: ValueError unless both are in [0, 1].
        """
        return _core.arithmetic_demonstrator(error_rate, notice_rate)

    @property
    def digit_tokens(self) -> list[int]:
        """The token ids of 0 to 9."""
        return [ord(digit) if self.encoding is None else int(self.encoding[ord(digit)]) for digit in "0123456789"]

    def result_positions(self, tokens: ArrayLike) -> NDArray[np.int64]:
        """See `arithmetic_result_positions`."""
        return arithmetic_result_positions(tokens, encoding=self.encoding)

    def classify(self, tokens: ArrayLike, action_mask: ArrayLike) -> NDArray[np.uint8]:
        """See `arithmetic_classify`."""
        return arithmetic_classify(tokens, action_mask, encoding=self.encoding)


def _rebuild(calculator: bool, encoding: NDArray[np.int32] | None) -> Arithmetic:
    return Arithmetic(calculator=calculator, encoding=encoding)


def _table(encoding: ArrayLike | None) -> NDArray[np.int32] | None:
    return None if encoding is None else np.ascontiguousarray(encoding, np.int32)


def arithmetic_tasks(
    seed: int,
    n: int,
    split: Split = "train",
    *,
    operations: str = "+-*/",
    digits: int = 3,
    products: Sequence[tuple[int, int]] | None = None,
    dividend_digits: int | None = None,
) -> list[str]:
    """Random problems of one split: 80, 5 and 15 in a hundred problems are in train, validation and test, by a hash of the problem.

    A sum or product and its mirror image share a split. Problems are distinct while the ranges hold enough of them; a longer list
    starts with the shorter one of the same seed.

    Args:
        operations: one problem of each after the other.
        digits: `+` and `-`: operands uniform below 10 ** digits, the larger first in `-`.
        products: `*`: numbers of digits of the two operands, drawn evenly; default ((digits, 1), (2, 2)). One-digit multipliers are 2 to 9.
        dividend_digits: `/`: a divisor from 2 to 9 and a quotient >= 1 such that the dividend has at most so many digits; default `digits`.
    Returns: n problems. Raises: ValueError for values out of range (1 to 9 digits), or where a split lacks a problem of some operation.
    """
    return _core.arithmetic_tasks(seed, n, split, operations, digits, list(products or ()), dividend_digits)


def arithmetic_text(seed: int, n: int, split: Split = "train", *, calculator: bool = True, **options: Any) -> list[str]:
    """Faultless worked problems as documents, the calculator's replies included. `options`: see `arithmetic_tasks`, whose problems they are."""
    return _core.arithmetic_documents(arithmetic_tasks(seed, n, split, **options), calculator)


def arithmetic_split(problem: str) -> Split:
    """The split that `problem` belongs to. Raises: ValueError if it is none."""
    return _core.arithmetic_split(problem)


def arithmetic_result_positions(tokens: ArrayLike, *, encoding: ArrayLike | None = None) -> NDArray[np.int64]:
    """Where the two result digits of each scratch step stand (carry or quotient, then digit or remainder), right and withdrawn steps alike.

    Args:
        tokens: int32 [n], a trajectory's tokens with or without its prompt.
    Returns: int64 [steps, 2].
    """
    return _core.arithmetic_result_positions(np.ascontiguousarray(tokens, np.int32), _table(encoding))


def arithmetic_classify(tokens: ArrayLike, action_mask: ArrayLike, *, encoding: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Labels each token of a trajectory, for reports.

    A step is judged by its own arithmetic: 7+6+0=12 is wrong, while one that copied a digit wrongly shows only in the answer.

    Args:
        tokens: int32 [n], the prompt first.
        action_mask: bool [n], the tokens that the policy wrote.
    Returns: uint8 [n] of `ArithmeticLabel`. Raises: ValueError if the lengths differ.
    """
    return _core.arithmetic_classify(np.ascontiguousarray(tokens, np.int32), np.ascontiguousarray(action_mask, np.bool_), _table(encoding))
