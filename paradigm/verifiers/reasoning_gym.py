"""Verdicts by reasoning-gym's own scorers (arXiv:2505.24760): full marks or nothing, since part marks are what a policy learns to collect.

Scorers that compare texts or read plain numbers run here. All others run in a sandbox, since what they do with an answer may be to evaluate it
(sympy, `eval`) or to work for ever (`1e999999999` as a fraction). What no scorer should be asked is refused before: numbers that are not, look-alike
characters, texts far longer than the answer, and what would run something where it is evaluated, since that could write its own verdict. A verdict
is as lenient as the scorer: number_sorting's takes numbers that are off by up to 1.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import json
import random
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np

from paradigm.verifiers.answer_workers import AnswerWorkers
from paradigm.verifiers.verdict import Verdict

__all__ = ["ReasoningGymVerifier", "import_reasoning_gym", "kept_random_state"]

# scorers of their own that were read: they compare texts and parse numbers, in time linear in the answer
_PLAIN = frozenset({
    "bitwise_arithmetic", "chain_sum", "decimal_arithmetic", "decimal_chain_sum", "letter_jumble", "number_sorting", "products", "spell_backward",
    "word_sorting",
})  # fmt: skip
_NO_NUMBER = re.compile(r"(?<![a-z])[+-]?s?(nan|inf|infinity|oo|zoo)[0-9]*(?![a-z])", re.IGNORECASE)
# what would run something in a scorer that evaluates: a call of anything but a function of mathematics, an attribute, a way to hide either
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_FUNCTIONS = frozenset({"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt", "Abs"})
_TRICK = re.compile(r"__|[\])}'\"]\s*\(|[A-Za-z_\])}'\"]\s*\.|\.\s*[A-Za-z_]|[#\\@;]|\blambda\b")
_NUMBER = re.compile(r"[-+]?[0-9][0-9,]*(\.[0-9]*)?")
_LOCK = threading.RLock()


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Within the block one thread at a time; after it Python's and NumPy's global random numbers go on as before: some generators seed them."""
    with _LOCK:
        ours, numpys = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)


@functools.lru_cache(maxsize=1)
def import_reasoning_gym() -> Any:
    """The package. Raises: ImportError naming the extra."""
    with kept_random_state():
        try:
            import reasoning_gym
            import reasoning_gym.dataset
            import reasoning_gym.factory
        except ImportError as error:
            raise ImportError("reasoning-gym's generators need it: pip install 'paradigm-trainer[reasoning]'") from error
    return reasoning_gym


class ReasoningGymVerifier:
    """Judges answers to one generator's problems. Safe with threads; never raises on what a policy wrote.

    Args:
        generator: reasoning-gym's name of it.
        options: of its configuration, `seed` and `size` among them or not.
        seconds: CPU time for one answer of a scorer that runs in the sandbox, whole seconds.
        num_workers: sandboxes, started when first needed.
    Raises: ImportError naming the extra; ValueError for an unknown generator or option, with the nearest known one, or a refused value.
    """

    def __init__(self, generator: str, options: Mapping[str, Any] | None = None, *, seconds: int = 5, num_workers: int = 1):
        self.generator, self.options = generator, dict(options or {})
        self._seconds, self._num_workers = seconds, num_workers
        package = import_reasoning_gym()
        known = package.factory.DATASETS
        if generator not in known:
            raise ValueError(f"generator must be one of reasoning-gym's, got {generator!r}{_nearest(generator, known)}")
        dataset_class, config_class = known[generator]
        names = [field.name for field in fields(config_class)]
        for name in self.options:
            if name not in names:
                raise ValueError(f"options of {generator} have no {name!r}{_nearest(name, names)}")
        self.dataset(0, 1)
        scorer = dataset_class.score_answer
        self.is_sandboxed = scorer is not package.dataset.ProceduralDataset.score_answer and generator not in _PLAIN
        self._workers: AnswerWorkers | None = None
        self._lock = threading.Lock()

    def dataset(self, seed: int, size: int) -> Any:
        """The generator's problems of one seed. Raises: ValueError for options that it refuses."""
        with kept_random_state():
            try:
                return import_reasoning_gym().create_dataset(self.generator, **{"seed": seed, "size": size} | self.options)
            except (AssertionError, TypeError, ValueError) as error:
                raise ValueError(f"options of {self.generator} must be such that {error}, got {self.options}") from error

    def __call__(self, dataset: Any, index: int, entry: Mapping[str, Any], answer: str) -> Verdict:
        """The verdict on an answer to `entry`, which is `dataset[index]`.

        Raises: ImportError or SandboxUnavailable, saying what to install, when a scorer that needs the sandbox is first asked.
        """
        reference = str(entry["answer"] or "")
        refused = _refused(answer, reference)
        if refused is not None:
            return Verdict(0.0, refused)
        if not self.is_sandboxed:
            if reference in answer and answer != reference and not _NUMBER.fullmatch(answer):
                return Verdict(0.0, "the answer has more than one thing in it")  # word_sorting and letter_jumble stop reading at their last word
            try:
                full = dataset.score_answer(answer, entry) >= 1.0
            except Exception as error:  # the scorer's own fault: an answer that it cannot read is not the right one
                return Verdict(0.0, f"the scorer cannot read it: {type(error).__name__}")
            return Verdict(float(full), f"{answer[:80]} {'is right' if full else 'is not right'}")
        if _runs(answer, reference):
            return Verdict(0.0, "the answer would run something")
        options = {"seed": dataset.config.seed, "size": dataset.config.size} | self.options
        said = self._ready().ask(self.generator, options, index, json.loads(json.dumps(entry, default=str)), answer)
        if said is None:
            return Verdict(0.0, error="the sandbox's reasoning-gym did not start")
        relation = {b"true": "is right", b"false": "is not right"}.get(said, "takes too long, or too much memory, to score")
        return Verdict(float(said == b"true"), f"{answer[:80]} {relation}")

    def _ready(self) -> AnswerWorkers:
        with self._lock:
            if self._workers is None:
                needed = _with_requirements("reasoning-gym")
                self._workers = AnswerWorkers(
                    "reasoning_gym", needed, seconds=self._seconds, num_workers=self._num_workers, scratch_mib=4
                )
            return self._workers


def _refused(answer: str, reference: str) -> str | None:
    """Why an answer is not even scored."""
    if not answer:
        return "there is no answer"
    if len(answer) > 200 + 4 * len(reference):
        return f"the answer is longer than {200 + 4 * len(reference)} characters"
    if not answer.replace("\n", "").isprintable():
        return "the answer has characters that cannot be printed"
    if reference.isascii() and not answer.isascii() and reference:
        return "the answer has characters beyond ASCII"
    if _NO_NUMBER.search(answer) and not _NO_NUMBER.search(reference):
        return "the answer has a number that is none"
    return None


def _runs(answer: str, reference: str) -> bool:
    calls = {name for name in _CALL.findall(answer) if name not in _FUNCTIONS}
    return bool(calls - set(_CALL.findall(reference)) or (_TRICK.search(answer) and not _TRICK.search(reference)))


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known)[:12])}"


def _with_requirements(name: str) -> list[str]:
    """An installed distribution and all that it requires, optional parts left out."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        found[name.lower()] = None
        waiting += [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line]
    return list(found)
