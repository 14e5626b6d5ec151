"""The verdict on a worked arithmetic answer, in exact integers. `_core.arithmetic_verify`, which RL uses, is tested against it."""

from __future__ import annotations

import re

from paradigm.verifiers.verdict import Verdict

__all__ = ["verify_arithmetic"]

_MAX_BYTES = 16384
# [0-9], not \d: \d takes the digits of every script
_PROBLEM = re.compile(r"(0|[1-9][0-9]{0,8})([-+*/])(0|[1-9][0-9]{0,8})")
_ANSWER = re.compile(r"(0|[1-9][0-9]{0,17})\n")


def verify_arithmetic(problem: str, answer_text: str) -> Verdict:
    """Judges all that a policy wrote on a problem: 1 if it holds one `#` and ends with `#<the exact answer>\\n`, else 0.

    Nothing is evaluated; texts past 16,384 bytes, numbers with leading zeros or signs, digits of other scripts and second answers score 0.

    Args:
        problem: like `347+586`, `586-347` (not below 0), `47*36` or `852/4` (exact, by one digit).
        answer_text: scratch work and answer.
    Raises: ValueError if `problem` is none; never for `answer_text`.
    """
    expected = _answer(problem)
    if len(answer_text) > _MAX_BYTES or len(answer_text.encode(errors="surrogatepass")) > _MAX_BYTES:
        return Verdict(0.0, f"longer than {_MAX_BYTES} bytes")
    num_answers = answer_text.count("#")
    if num_answers != 1:
        return Verdict(0.0, f"{num_answers} answers instead of one")
    given = _ANSWER.fullmatch(answer_text, answer_text.index("#") + 1)
    if given is None:
        return Verdict(0.0, "the answer is not a plain number and a newline")
    if int(given[1]) != expected:
        return Verdict(0.0, f"{given[1]} instead of {expected}")
    return Verdict(1.0, f"{expected} is right")


def _answer(problem: str) -> int:
    match = _PROBLEM.fullmatch(problem)
    if match is not None:
        left, operation, right = int(match[1]), match[2], int(match[3])
        if operation == "+":
            return left + right
        if operation == "*":
            return left * right
        if operation == "-" and left >= right:
            return left - right
        if operation == "/" and 1 <= right <= 9 and left % right == 0:
            return left // right
    raise ValueError(f"problem must be like 347+586, 586-347, 47*36 or 852/4, got {problem[:40]!r}")
