"""A calculator for policies: `+ - * / //` and parentheses over plain decimals, exactly, as GSM8K's annotations `<<48/2=24>>` have it.

Nothing is evaluated by Python: a recursive descent over the characters, in rational numbers. There are no powers, so a result is no longer than its
expression.
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["calculate", "open_annotation"]

_MAX_CHARACTERS = 200
_MAX_DEPTH = 40
_PLACES = 6  # of a quotient that does not end
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_OPEN = re.compile(r"<<([^<>=\n]*)=\Z")


def calculate(expression: str) -> str | None:
    """The value of an expression as plain text: `24`, `0.5`, `-3.75`.

    Values with finitely many decimals are exact; others are rounded to 6 decimals, half to even. Spaces, and commas between digits, are passed over.

    Args:
        expression: digits, `.`, `+ - * / //` and parentheses, at most 200 characters and 40 parentheses deep.
    Returns: None for what is no expression, and for a division by zero.
    """
    if len(expression) > _MAX_CHARACTERS or not expression.isascii():
        return None
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", expression)
    try:
        value, end = _sum(text, 0, 0)
    except (ValueError, ZeroDivisionError):
        return None
    return _plain(value) if _skip(text, end) == len(text) else None


def open_annotation(text: str) -> str | None:
    """The expression of an annotation that ends a text and waits for its result: `48/2` for `... <<48/2=`; None if there is none."""
    found = _OPEN.search(text, max(0, len(text) - _MAX_CHARACTERS - 8))
    return None if found is None else found[1]


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] == " ":
        at += 1
    return at


def _sum(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _product(text, at, depth)
    while (at := _skip(text, at)) < len(text) and text[at] in "+-":
        other, end = _product(text, at + 1, depth)
        value, at = (value + other if text[at] == "+" else value - other), end
    return value, at


def _product(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _factor(text, at, depth)
    while (at := _skip(text, at)) < len(text) and text[at] in "*/":
        whole = text.startswith("//", at)
        other, end = _factor(text, at + 1 + whole, depth)
        value, at = (value * other if text[at] == "*" else Fraction(value // other) if whole else value / other), end
    return value, at


def _factor(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    at = _skip(text, at)
    if at < len(text) and text[at] in "+-":
        value, end = _factor(text, at + 1, depth + 1)
        return (-value if text[at] == "-" else value), end
    if at < len(text) and text[at] == "(":
        value, end = _sum(text, at + 1, depth + 1)
        end = _skip(text, end)
        if end == len(text) or text[end] != ")":
            raise ValueError("a parenthesis is not closed")
        return value, end + 1
    number = _NUMBER.match(text, at)
    if number is None:
        raise ValueError("no number")
    digits = number[0]
    return Fraction(f"0{digits}0" if "." in digits else digits), number.end()


def _plain(value: Fraction) -> str:
    places, rest = 0, value.denominator
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest != 1:
        places = _PLACES
    scaled = round(value * 10**places)
    whole, decimals = divmod(abs(scaled), 10**places)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole}" + (f".{decimals:0{places}d}".rstrip("0").rstrip(".") if places else "")
