"""Verdicts on mathematical answers: the one final answer of a response against a reference, as strictly as the task asks.

Texts and numbers are compared here, exactly. Everything else is read and compared by math-verify in a sandbox, since an answer may be made to
keep sympy busy for ever; what a policy writes for the parser's sake (several answers, the question restated, look-alike letters) is refused before.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from paradigm.verifiers.answer_workers import AnswerWorkers
from paradigm.verifiers.verdict import Verdict

__all__ = ["MathematicsTask", "MathematicsVerifier"]

_DISTRIBUTIONS = ("math-verify", "latex2sympy2_extended", "antlr4-python3-runtime", "sympy", "mpmath")
_MAX_RESPONSE = 1_000_000
_MAX_ANSWER = 300
_MAX_BOXES = 20

_NUMBER = re.compile(r"([-+]?)([0-9]{1,60}|[0-9]{1,3}(?:,[0-9]{3}){1,18})(\.[0-9]{1,60})?")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}|([^/]+)/([^/]+)")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|\\[A-Za-z]+")
_DIGITS = re.compile(r"[0-9]{21}")  # a fraction of longer ones comes as near to an irrational number as is compared
_DECIMAL = re.compile(r"[0-9]?\.[0-9]")
_ASSIGNMENT = re.compile(r"[A-Za-z]\s*=(?!.*=)")
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
_ADORNMENT = re.compile(r"^(?:[A-Za-z]\s*=\s*)?(?:\\\$)?|\^(?:\\circ|\{\\circ\})$")
_SPACE = re.compile(r"(?<![0-9.])\s+|\s+(?![0-9.])|\\[,;!]")
# a mark that one side has and the other lacks: readings about which math-verify is lenient
_MARKS = {
    "=": "an equation", r"<|>|\\(?:[lg]eq?|[lg]t)(?![a-z])": "an inequality", "%": "a percentage", r"\\pm": "two values",
    r"(?<!\\log)_": "an index", r"\$": "a dollar", ";": "several values", r"\|": "a bar", "~": "a tie", "&": "a cell", "[#?\"'`@]": "a mark",
}  # fmt: skip
# commands of LaTeX that mathematics is written with; others are refused, \text and \boxed among them
_COMMANDS = frozenset(
    (
        "frac", "dfrac", "tfrac", "sqrt", "pi", "cdot", "times", "div", "pm", "left", "right", "infty", "cup", "cap", "in", "ldots", "leq",
        "geq", "le", "ge", "ne", "neq", "lt", "gt", "theta", "alpha", "beta", "gamma", "phi", "lambda", "mu", "sigma", "omega", "sin",
        "cos", "tan", "sec", "csc", "cot", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "exp", "circ", "mathbb",
        "mathrm", "begin", "end", "pmatrix", "bmatrix", "emptyset", "setminus", "binom", "lfloor", "rfloor", "lceil", "rceil", "quad",
        "sum", "int", "lim", "to",
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MathematicsTask:
    """A problem and its answer.

    Attributes:
        answer: the reference, in LaTeX without dollars.
        form: where the response has its answer: in `\\\\boxed{}`, after `####` (to the end of the line), or on its last line.
        strictness: `text`: the same characters but for spaces; `number`: the same rational number, however written; `symbolic`: equal for
            math-verify, too, where either is no number.
    Raises: ValueError if the reference is none for this strictness.
    """

    prompt: str
    answer: str
    form: Literal["boxed", "hash", "last_line"] = "boxed"
    strictness: Literal["text", "number", "symbolic"] = "symbolic"

    def __post_init__(self) -> None:
        if self.form not in ("boxed", "hash", "last_line"):
            raise ValueError(f"form must be boxed, hash or last_line, got {self.form!r}")
        if self.strictness not in ("text", "number", "symbolic"):
            raise ValueError(f"strictness must be text, number or symbolic, got {self.strictness!r}")
        if not self.answer.strip() or len(self.answer) > _MAX_ANSWER:
            raise ValueError(f"answer must have 1 to {_MAX_ANSWER} characters, got {self.answer[:80]!r}")
        if self.strictness == "number" and _number(self.answer) is None:
            raise ValueError(f"answer must be a number where strictness is number, got {self.answer!r}")


class MathematicsVerifier:
    """Judges answers. Safe with threads; symbolic answers wait for one of its workers.

    Args:
        seconds: CPU time for one answer, whole seconds.
        num_workers: sandboxes that run math-verify, started when first needed.
    """

    def __init__(self, *, seconds: int = 5, num_workers: int = 2):
        if seconds < 1 or num_workers < 1:
            raise ValueError(f"seconds and num_workers must be >= 1, got {seconds} and {num_workers}")
        self._seconds, self._num_workers = seconds, num_workers
        self._workers: AnswerWorkers | None = None
        self._lock = threading.Lock()

    def __call__(self, task: MathematicsTask, response: str) -> Verdict:
        """The verdict on a response. Never raises on what a policy wrote.

        Raises: ImportError or SandboxUnavailable, saying what to install, when a symbolic answer first comes.
        """
        answer = _extract(task, response)
        if isinstance(answer, Verdict):
            return answer
        reference = task.answer.strip()
        if _compact(answer) == _compact(reference):
            return Verdict(1.0, f"{answer} is the reference")
        if task.strictness == "text":
            return Verdict(0.0, f"{answer} is not {reference}")
        wanted = _number(reference)
        if wanted is not None:
            # a number must be worked out: 347+586 equals 933, but restates the question
            given = _number(_ADORNMENT.sub("", answer))
            if given is None:
                return Verdict(0.0, f"{answer} is no plain number")
            return Verdict(float(given == wanted), f"{answer} {'equals' if given == wanted else 'differs from'} {reference}")
        refused = _refused(task.prompt, answer, reference)
        if refused is not None:
            return Verdict(0.0, f"{answer} {refused}")
        said = self._ready().ask(reference, answer)
        if said is None:
            return Verdict(0.0, error="the sandbox's math-verify did not start")
        relation = {b"true": "equals", b"false": "differs from"}.get(said, "takes too long, or too much memory, against")
        return Verdict(float(said == b"true"), f"{answer} {relation} {reference}")

    def _ready(self) -> AnswerWorkers:
        with self._lock:
            if self._workers is None:
                if importlib.util.find_spec("math_verify") is None:
                    raise ImportError("symbolic answers need math-verify: pip install 'paradigm-trainer[math]'")
                self._workers = AnswerWorkers("mathematics", _DISTRIBUTIONS, seconds=self._seconds, num_workers=self._num_workers)
            return self._workers


def _extract(task: MathematicsTask, response: str) -> str | Verdict:
    """The one answer, or the verdict that there is none."""
    if len(response) > _MAX_RESPONSE:
        return Verdict(0.0, f"longer than {_MAX_RESPONSE} characters")
    if task.form == "last_line":
        found = [response.rstrip().rpartition("\n")[2]]
    elif task.form == "hash":
        found = [part.partition("\n")[0] for part in response.split("####")[1:]]
    else:
        found = _boxes(response)
    if len(found) != 1:
        return Verdict(0.0, f"{len(found)} answers instead of one")
    answer = found[0].strip().strip("$").strip()
    if not 0 < len(answer) <= _MAX_ANSWER:
        return Verdict(0.0, f"the answer must have 1 to {_MAX_ANSWER} characters, it has {len(answer)}")
    if not (answer.isascii() and answer.isprintable()):
        return Verdict(0.0, f"the answer must be printable ASCII, got {answer[:40]!r}")
    return answer


def _boxes(response: str) -> list[str]:
    r"""Contents of each \boxed{}, of one where all say the same; an open or nested one counts as two, which no answer is."""
    boxes: list[str] = []
    end = 0
    while (start := response.find("\\boxed", end)) >= 0:
        depth, end = 0, start + len("\\boxed")
        if response[end : end + 1] != "{" or len(boxes) == _MAX_BOXES:
            return ["", ""]
        for position in range(end, min(len(response), end + 2 * _MAX_ANSWER)):
            depth += {"{": 1, "}": -1}.get(response[position], 0)
            if depth == 0:
                boxes.append(response[end + 1 : position])
                end = position
                break
        if depth or "\\boxed" in boxes[-1]:
            return ["", ""]
    return boxes[:1] if len(set(boxes)) == 1 else boxes


def _number(text: str) -> Fraction | None:
    """A plain integer, decimal or fraction, in digits of at most 60 places."""
    text = _compact(text).strip("$").replace("{,}", ",")
    fraction = _FRACTION.fullmatch(text)
    if fraction is not None:
        sign, *parts = fraction.groups()
        top, bottom = (_plain(part) for part in parts if part is not None)
        if top is None or not bottom:
            return None
        return -top / bottom if sign == "-" else top / bottom
    return _plain(text)


def _plain(text: str) -> Fraction | None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, decimals = match.groups()
    value = Fraction(whole.replace(",", "") + (decimals or ""))
    return -value if sign == "-" else value


def _compact(text: str) -> str:
    """Without spaces, but for those inside a number."""
    return _SPACE.sub("", text.strip())


def _refused(prompt: str, answer: str, reference: str) -> str | None:
    """Why an answer is not even compared."""
    if _DIGITS.search(answer) and not _DIGITS.search(reference):
        return "has a number of more than 20 digits"
    if len(_compact(answer)) >= 4 and _compact(answer) in _compact(prompt) and _compact(reference) not in _compact(prompt):
        return "restates the question"
    allowed = _COMMANDS | {word.lstrip("\\") for word in _WORD.findall(reference)}
    for word in _WORD.findall(answer):
        if word.lstrip("\\") not in allowed:
            return f"has a word that is no mathematics: {word}"
    letters = {letter for letter in _LETTER.findall(_ASSIGNMENT.sub("", answer, count=1))} - {*_LETTER.findall(reference), "e", "i"}
    if letters:  # math-verify takes x and X for the same
        return f"has {', '.join(sorted(letters))}, of which the reference knows nothing"
    for mark, what in _MARKS.items():
        if bool(re.search(mark, answer)) != bool(re.search(mark, reference)) and not (mark == "=" and _ASSIGNMENT.match(answer)):
            return f"has {what} where the reference has none, or none where it has one"
    if answer.count(",") != reference.count(","):
        return "has another number of parts"
    if "," in reference and _brackets(answer) != _brackets(reference):
        return "has other brackets"
    if _DECIMAL.search(answer) and not _DECIMAL.search(reference):
        return "is a decimal where the reference is exact"
    return None


def _brackets(text: str) -> tuple[str, str]:
    """The first and last sign of a list, pair, set or interval."""
    text = _compact(text).replace("\\left", "").replace("\\right", "").replace("\\{", "{").replace("\\}", "}")
    return (text[0], text[-1]) if text[0] in "([{" else ("", "")
