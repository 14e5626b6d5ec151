"""Questions on documents: a search, a page, an answer with its citation, one call a line.

    Which exception does json.loads raise?
    search(json loads raise)            the policy's line, and the answer: names, each with its document's beginning
    [json.loads]
    def loads(s, *, cls=None, ...
    read(json.loads)                    the document, cut at `max_read` characters
    answer("TypeError", "json.loads", "raise TypeError")

A line that is none of these, or names no document, is answered `? ` and the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step, without_stop
from paradigm.environments.splits import Split, split_of
from paradigm.environments.text_codec import ByteCodec, TextCodec
from paradigm.verifiers import CitationTask, CitationVerifier, Verdict

__all__ = ["BM25Search", "Documents", "DocumentsDemonstrator"]

_CALL = re.compile(r"(search|read)\((.*)\)")
_WORDS = re.compile(r"[^\W_]+")
_MAX_QUERY_WORDS = 32
_ASKING = frozenset(["what", "is", "the", "default", "of", "parameter", "which", "exception", "does", "raise", "class", "derive", "from"])


class BM25Search:
    """Ranks documents by Okapi BM25 (S. Robertson et al., 1994), in Lucene's variant. Words are runs of letters and digits, in small letters.

    Args:
        documents: texts by name; a name's words count as its document's.
    Raises: ImportError, saying what to install.
    """

    def __init__(self, documents: Mapping[str, str]):
        try:
            from bm25s import BM25
        except ImportError as error:
            raise ImportError("searching documents needs bm25s: pip install 'paradigm-trainer[documents]'") from error
        self._names = list(documents)
        self._index = BM25(auto_compile=False)
        self._index.index([_words(f"{name} {text}") for name, text in documents.items()], show_progress=False)

    def __call__(self, query: str, n: int) -> list[str]:
        """Names of the n best documents that share a word with `query`, the best first; ties by order of the documents."""
        words = list(dict.fromkeys(_words(query)))[:_MAX_QUERY_WORDS]
        if not words:
            return []
        scores = self._index.get_scores(words)
        return [self._names[row] for row in np.argsort(-scores, kind="stable")[:n] if scores[row] > 0]


class Documents:
    """Questions to be answered from documents, one seat; a task is a question's row.

    The reward is the verifier's verdict on the answer; an episode without one in `max_calls` lines ends with 0.

    Args:
        documents: texts by name.
        questions: what is asked, and where the answers stand.
        search: called as search(words, n), returns names; None: `BM25Search`.
        tokenizer: encodes prompts and answers, decodes actions; None: UTF-8 bytes.
        stop: ids that end an action; by default the newline byte.
        max_action_tokens: the longest line.
        max_calls: lines a policy may write in an episode.
        num_results, max_passage: documents that a search finds; characters shown of each.
        max_read: characters that `read` shows.
        max_quotation: characters that an answer may quote.

    Attributes:
        verdict: on the last episode; None before its end.
    Raises: ValueError for values out of range and for questions whose evidence is not there; ImportError, saying what to install.
    """

    name = "documents"
    num_seats = 1

    def __init__(
        self,
        documents: Mapping[str, str],
        questions: Sequence[CitationTask],
        *,
        search: Callable[[str, int], Sequence[str]] | None = None,
        tokenizer: TextCodec | None = None,
        stop: Sequence[int] = (10,),
        max_action_tokens: int = 256,
        max_calls: int = 6,
        num_results: int = 3,
        max_passage: int = 200,
        max_read: int = 2000,
        max_quotation: int = 200,
    ):
        limits = {"max_action_tokens": max_action_tokens, "max_calls": max_calls, "num_results": num_results, "max_passage": max_passage,
                  "max_read": max_read}  # fmt: skip
        for argument, value in limits.items():
            if value < 1:
                raise ValueError(f"{argument} must be >= 1, got {value}")
        if not len(questions):
            raise ValueError("questions must hold at least one, got none")
        self.documents, self.questions = documents, questions
        self._verifier = CitationVerifier(documents, max_quotation=max_quotation)
        for question in questions:
            self._verifier.check(question)
        self._search = search or BM25Search(documents)
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._stop = tuple(stop)
        self._max_action_tokens, self._max_calls = max_action_tokens, max_calls
        self._num_results, self._max_passage, self._max_read = num_results, max_passage, max_read
        self._row = -1
        self.num_calls = 0
        self.shown: tuple[str, ...] = ()  # documents that searches found in this episode
        self.verdict: Verdict | None = None

    @property
    def question(self) -> CitationTask:
        """The one that is asked. Raises: RuntimeError before a reset."""
        if self._row < 0:
            raise RuntimeError("question needs a reset before it")
        return self.questions[self._row]

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[int]:
        """Rows of one split, shuffled; a longer list starts with the shorter one of the same seed.

        80, 5 and 15 in a hundred questions are in train, validation and test, by a hash of their words. Returns: n rows, or as many as there are.
        """
        found = [row for row, question in enumerate(self.questions) if split_of(question.prompt) == split]
        return [found[row] for row in np.random.default_rng(seed).permutation(len(found))[:n]]

    def demonstrator(self, *, error_rate: float = 0.0) -> DocumentsDemonstrator:
        """A player that searches for a question's words, reads what has the answer, and quotes it; see `DocumentsDemonstrator`."""
        return DocumentsDemonstrator(error_rate)

    def reset(self, task: int, seed: int = 0) -> Step:
        """Asks question `task`. Raises: ValueError if there is no such row."""
        if not 0 <= task < len(self.questions):
            raise ValueError(f"task must be the row of one of {len(self.questions)} questions, got {task}")
        self._row, self.num_calls, self.shown, self.verdict = int(task), 0, (), None
        return Step([self._ask(self.question.prompt)], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Takes one line. Raises: RuntimeError before a reset or after the end."""
        if self._row < 0 or self.verdict is not None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        line = self._tokenizer.decode(without_stop(action, self._stop))
        self.num_calls += 1
        if line.startswith("answer("):
            self.verdict = self._verifier(self.question, line)
        elif self.num_calls == self._max_calls:
            self.verdict = Verdict(0.0, f"no answer in {self._max_calls} lines")
        if self.verdict is not None:
            return Step([], (self.verdict.score,), terminated=True)
        return Step([self._ask(self._answer(line))], (0.0,))

    def clone(self) -> Documents:
        """A copy in the same state, of the same documents and questions."""
        copy = object.__new__(Documents)
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Documents:
        return self.clone()

    def _answer(self, line: str) -> str:
        call = _CALL.fullmatch(line)
        if call is None:
            return '? write search(words), read(document) or answer("...", "document", "quotation")'
        if call[1] == "search":
            found = list(self._search(call[2], self._num_results))
            self.shown = (*self.shown, *found)
            return "\n".join(f"[{name}]\n{self.documents[name][: self._max_passage]}" for name in found) or "? nothing found"
        text = self.documents.get(call[2])
        return "? no such document" if text is None else text[: self._max_read]

    def _ask(self, text: str) -> Observation:
        tokens = np.asarray(self._tokenizer.encode(text + "\n"), np.int32)
        return Observation(tokens, stop=self._stop, max_action_tokens=self._max_action_tokens)


class DocumentsDemonstrator:
    """Searches, reads the document with the evidence, and answers with it, as a pure function of (state, seed).

    Args:
        error_rate: probability that it answers with another word of the document, quoting it as it stands.
    Raises: ValueError unless that is in [0, 1].
    """

    def __init__(self, error_rate: float = 0.0):
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must be in [0, 1], got {error_rate}")
        self._error_rate = error_rate

    def act(self, environment: Documents, observation: Observation, seed: int) -> list[int]:
        """The next line's tokens. Raises: RuntimeError before a reset, ValueError for a question without evidence."""
        question = environment.question
        if not question.evidence:
            raise ValueError(f"a question to demonstrate must have evidence, got {question.prompt!r}")
        span = question.evidence[0]
        if environment.num_calls == 0:
            line = f"search({' '.join(word for word in _words(question.prompt) if word not in _ASKING)})"
        elif environment.num_calls == 1:
            line = f"read({span.document})"
        else:
            text = environment.documents[span.document]
            answer, quotation = question.answers[0], text[span.start : span.end]
            draw = np.random.default_rng(seed)
            others = [word for word in _WORDS.findall(text) if word not in question.answers]
            if others and draw.random() < self._error_rate:
                answer = quotation = others[int(draw.integers(len(others)))]
            parts = (answer, span.document, quotation)
            line = f"answer({', '.join(json.dumps(part, ensure_ascii=False) for part in parts)})"
        return list(environment._tokenizer.encode(line + "\n"))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]
