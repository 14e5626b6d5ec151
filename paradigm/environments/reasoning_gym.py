"""reasoning-gym's generators (arXiv:2505.24760) as problems, and short derivations for those where a policy of this house's size needs them.

A response is scratch work, `#`, and the answer, which the generator's own scorer judges.
"""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paradigm.environments.splits import Split, split_of
from paradigm.environments.worked_problems import Problem
from paradigm.verifiers import Verdict
from paradigm.verifiers.reasoning_gym import ReasoningGymVerifier, kept_random_state

__all__ = ["MARKER", "ReasoningGymProblems", "derivation"]

MARKER = "#"
_BLOCK = 256  # problems of one of the generator's seeds
_PATIENCE = 2048  # problems drawn without a new one of the split, after which they may repeat


class ReasoningGymProblems:
    """One generator's problems. A task is a pair (seed of the generator, index).

    A problem belongs to the split that a hash of its question says (`split_of`), so no seed shows a problem of the test split in training.
    isomorphic_strings, knight_swap, polynomial_multiplication, ransom_note and word_ladder depend on Python's hash seed too, so that a run on them
    repeats only under the same PYTHONHASHSEED.

    Args:
        generator: reasoning-gym's name of it. options: of its configuration, without `seed` and `size`.
        verifier: None: one with its default limits.
    Raises: ImportError naming the extra; ValueError for unknown names, with the nearest known one.
    """

    def __init__(self, generator: str, options: Mapping[str, Any] | None = None, *, verifier: ReasoningGymVerifier | None = None):
        for name in ("seed", "size"):
            if name in (options or {}):
                raise ValueError(f"options must leave {name!r} to the tasks, got {options}")
        self.verifier = verifier or ReasoningGymVerifier(generator, options)
        self.generator = generator
        self._dataset = functools.lru_cache(maxsize=64)(lambda seed: self.verifier.dataset(seed, _BLOCK))
        self._entry = functools.lru_cache(maxsize=8192)(self._generated)

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[tuple[int, int]]:
        """n problems of a split, distinct while the generator has enough of them; a longer list starts with the shorter one of the same seed.

        Raises: ValueError where the split has none.
        """
        draw = np.random.default_rng([seed, zlib.crc32(f"{self.generator}/{split}".encode())])
        found: list[tuple[int, int]] = []
        seen: set[str] = set()
        waited = 0
        while len(found) < n:
            block = int(draw.integers(1 << 31))
            for index in range(_BLOCK):
                question = str(self._entry((block, index))["question"])
                if split_of(question) == split and (question not in seen or waited >= _PATIENCE):
                    waited = 0 if question not in seen else waited
                    seen.add(question)
                    found.append((block, index))
                else:
                    waited += 1
            if not found and waited >= _PATIENCE:
                raise ValueError(f"{self.generator} must have problems of the split {split!r}, got none among {waited}")
        return found[:n]

    def problem(self, task: Any) -> Problem:
        """The problem of a task. Raises: ValueError for what is no task."""
        try:
            seed, index = (int(part) for part in task)
        except (TypeError, ValueError) as error:
            raise ValueError(f"task must be a pair (seed, index), got {task!r}") from error
        if seed < 0 or not 0 <= index < _BLOCK:
            raise ValueError(f"task must be (a seed >= 0, an index below {_BLOCK}), got {task!r}")
        entry = self._entry((seed, index))
        prompt = str(entry["question"]).strip() + "\n"
        shown = "" if entry["answer"] is None else f"{derivation(self.generator, entry)}{MARKER}{entry['answer']}"
        return Problem(prompt, functools.partial(self._judge, seed, index), shown)

    def _judge(self, seed: int, index: int, response: str) -> Verdict:
        _, marker, answer = response.partition(MARKER)
        if not marker:
            return Verdict(0.0, f"there is no answer after {MARKER}")
        return self.verifier(self._dataset(seed), index, self._entry((seed, index)), answer.strip())

    def _generated(self, task: tuple[int, int]) -> Mapping[str, Any]:
        dataset = self._dataset(task[0])
        with kept_random_state():
            return dataset[task[1]]


def derivation(generator: str, entry: Mapping[str, Any]) -> str:
    """Scratch work for a problem, each step ended by `;`; empty for generators whose answers are written at once.

    Sums go term by term (`4-1=3;3-7=-4;`), a greatest common divisor goes by Euclid's remainders (`48,36;36,12;`), letters are counted word by
    word, from left to right (`hundred:1;and:1;`).
    """
    work = _DERIVATIONS.get(generator)
    return "" if work is None else work(entry["metadata"])


def _running_sum(metadata: Mapping[str, Any]) -> str:
    terms = re.fullmatch(r"-?[0-9]+(?: ?[-+] ?-?[0-9]+)*", metadata["expression"])
    if terms is None:  # basic_arithmetic with products or parentheses
        return ""
    first, *others = re.findall(r"(?:(?<=[0-9]) ?([-+]) ?)?(-?[0-9]+)", metadata["expression"])
    total, steps = int(first[1]), []
    for sign, number in others:
        after = total + int(number) if sign == "+" else total - int(number)
        steps.append(f"{total}{sign}{number}={after};")
        total = after
    return "".join(steps) if len(steps) > 1 else ""


def _euclid(metadata: Mapping[str, Any]) -> str:
    a, b = metadata["numbers"][:2]
    if len(metadata["numbers"]) != 2:
        return ""
    a, b = max(a, b), min(a, b)
    steps = [f"{a},{b};"]
    while b and a % b:
        a, b = b, a % b
        steps.append(f"{a},{b};")
    assert b == math.gcd(*metadata["numbers"])
    return "".join(steps)


def _letters(metadata: Mapping[str, Any]) -> str:
    total, steps = 0, []
    for word in metadata["span"]:
        total += word.lower().count(metadata["target_letter"])
        steps.append(f"{word.lower()}:{total};")
    return "".join(steps)


_DERIVATIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "chain_sum": _running_sum, "basic_arithmetic": _running_sum, "gcd": _euclid, "letter_counting": _letters,
}  # fmt: skip
