"""The verdict on an answer with a citation: is it right, and does the quotation stand where it is said to, and say so?

A response is `answer("None", "json.dumps", "indent=None")`: the answer, the document, and words quoted from it, as JSON strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from paradigm.verifiers.verdict import Verdict

__all__ = ["CitationTask", "CitationVerifier", "Span"]

_STRING = r'"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"'
_ANSWER = re.compile(rf"answer\(({_STRING}), ?({_STRING}), ?({_STRING})\)")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a document."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class CitationTask:
    """A question on documents.

    Attributes:
        answers: the right answers: spellings of the same thing.
        evidence: where a document says so; a quotation must hold one of these whole. Empty: any words of a document that hold the answer serve.
    Raises: ValueError if there is no answer, or an empty one.
    """

    prompt: str
    answers: tuple[str, ...]
    evidence: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise ValueError(f"answers must hold at least one and no empty one, got {self.answers!r}")


class CitationVerifier:
    """Judges answers with citations. Nothing is normalised: letters that look alike, and other spaces, are other letters.

    Args:
        documents: texts by name.
        max_response: characters of a response.
        max_quotation: characters of a quotation; quoting all there is proves nothing.
    Raises: ValueError unless both limits are >= 1.
    """

    def __init__(self, documents: Mapping[str, str], *, max_response: int = 2000, max_quotation: int = 200):
        if max_response < 1 or max_quotation < 1:
            raise ValueError(f"max_response and max_quotation must be >= 1, got {max_response} and {max_quotation}")
        self.documents, self._max_response, self._max_quotation = documents, max_response, max_quotation

    def check(self, task: CitationTask) -> None:
        """Raises: ValueError if the evidence of `task` is not in the documents, does not hold an answer, or is too long to be quoted."""
        for span in task.evidence:
            text = self.documents.get(span.document, "")[span.start : span.end]
            if not 0 <= span.start < span.end or len(text) != span.end - span.start or len(text) > self._max_quotation:
                raise ValueError(f"evidence must be 1 to {self._max_quotation} characters of a document, got {span} for {task.prompt!r}")
            if not any(_holds(text, answer) for answer in task.answers):
                raise ValueError(f"evidence must hold an answer, got {text!r} for {task.prompt!r}")

    def __call__(self, task: CitationTask, response: str) -> Verdict:
        """The verdict on a response. Never raises on what a policy wrote."""
        if len(response) > self._max_response:
            return Verdict(0.0, f"longer than {self._max_response} characters")
        match = _ANSWER.fullmatch(response)
        if match is None:
            return Verdict(0.0, 'a response must be answer("...", "document", "quotation")')
        try:
            answer, document, quotation = (json.loads(part) for part in match.groups())
        except ValueError as error:
            return Verdict(0.0, f"a string of the answer is none: {error}")
        if answer not in task.answers:
            return Verdict(0.0, f"{_shown(answer)} instead of {_shown(task.answers[0])}")
        text = self.documents.get(document)
        if text is None:
            return Verdict(0.0, f"there is no document {_shown(document)}")
        if not 1 <= len(quotation) <= self._max_quotation:
            return Verdict(0.0, f"a quotation must have 1 to {self._max_quotation} characters, it has {len(quotation)}")
        if quotation not in text:
            return Verdict(0.0, f"{_shown(document)} does not say {_shown(quotation)}")
        if not any(_holds(quotation, right) for right in task.answers):
            return Verdict(0.0, f"{_shown(quotation)} does not hold the answer")
        # an occurrence that begins at the evidence's start or before, and ends at its end or after
        if task.evidence and not any(
            span.document == document and text.find(quotation, max(0, span.end - len(quotation)), span.start + len(quotation)) >= 0
            for span in task.evidence
        ):
            return Verdict(0.0, f"{_shown(quotation)} of {_shown(document)} is not where the answer is given")
        return Verdict(1.0, f"{_shown(document)} says {_shown(quotation)}")


def _holds(text: str, answer: str) -> bool:
    """Whether `answer` stands in `text`, not as part of a longer word or number."""
    start = text.find(answer)
    while start >= 0:
        end = start + len(answer)
        opens = start == 0 or not (_WORD.match(answer[0]) and _WORD.match(text[start - 1]))
        closes = end == len(text) or not (_WORD.match(answer[-1]) and _WORD.match(text[end]))
        if opens and closes:
            return True
        start = text.find(answer, start + 1)
    return False


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:80] + "...")
