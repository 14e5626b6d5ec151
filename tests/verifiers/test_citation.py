"""Answers with citations that are right, and ones made for the parser or the search in the text: none of these is accepted."""

import json
import time

import pytest

from paradigm.sources.library_questions import library_questions
from paradigm.verifiers import CitationTask, CitationVerifier, Span

DUMPS = 'def dumps(obj, *, indent=None, sort_keys=False, mark="x"):\n    """None of these is None; see indent=None below."""\n    return indent\n'
DOCUMENTS = {
    "json.dumps": DUMPS,
    "json.dump": "def dump(obj, fp, *, indent=2, check=None):\n    return None\n",
    "json.load": "def load(fp):\n    raise ValueError(indent=None)\n",
    "math.digits": "def digits(n, base=10, most=100, least=1.5, neg=-1):\n    return n\n",
    "text.nothing": "",
    "text.question": "What is the default of parameter indent of json.dumps?",
}


def _span(document, words):
    start = DOCUMENTS[document].index(words)
    return Span(document, start, start + len(words))


TASK = CitationTask(
    prompt="What is the default of parameter indent of json.dumps?", answers=("None",), evidence=(_span("json.dumps", "indent=None"),)
)
TEN = CitationTask(prompt="What is the default of parameter base of math.digits?", answers=("10",), evidence=(_span("math.digits", "base=10"),))
ANY = CitationTask(prompt="What is most?", answers=("100",))
VERIFIER = CitationVerifier(DOCUMENTS)


def _answer(*parts):
    return f"answer({', '.join(json.dumps(part, ensure_ascii=False) for part in parts)})"


RIGHT = _answer("None", "json.dumps", "indent=None")

RESPONSES = {
    "nothing": "",
    "the answer alone": "None",
    "an empty call": "answer()",
    "one string": 'answer("None")',
    "two strings": 'answer("None", "json.dumps")',
    "four strings": 'answer("None", "json.dumps", "indent=None", "indent=None")',
    "an open call": RIGHT[:-1],
    "an open string": 'answer("None", "json.dumps", "indent=None)',
    "two calls": RIGHT + RIGHT,
    "two calls on lines": RIGHT + "\n" + RIGHT,
    "two answers": RIGHT + " or " + _answer("False", "json.dumps", "sort_keys=False"),
    "a word before": "It is " + RIGHT,
    "a word after": RIGHT + ".",
    "a space before": " " + RIGHT,
    "a newline after": RIGHT + "\n",
    "a zero byte after": RIGHT + "\0",
    "a nested call": f"answer({RIGHT})",
    "a call in the answer": _answer(RIGHT, "json.dumps", "indent=None"),
    "a call in the quotation": _answer("None", "json.dumps", RIGHT),
    "brackets": 'answer(["None", "json.dumps", "indent=None"])',
    "an object": 'answer({"answer": "None", "document": "json.dumps", "quotation": "indent=None"})',
    "a list of answers": 'answer(["None", "False"], "json.dumps", "indent=None")',
    "null": 'answer(null, "json.dumps", "indent=None")',
    "null for a document": 'answer("None", null, "indent=None")',
    "null for a quotation": 'answer("None", "json.dumps", null)',
    "numbers": "answer(1, 2, 3)",
    "NaN": "answer(NaN, NaN, NaN)",
    "infinity": "answer(Infinity, -Infinity, 1e999)",
    "true": "answer(true, true, true)",
    "single quotes": "answer('None', 'json.dumps', 'indent=None')",
    "no quotes": "answer(None, json.dumps, indent=None)",
    "typographic quotes": RIGHT.replace('"', "\u201c"),
    "triple quotes": RIGHT.replace('"', '"""'),
    "strings put together": 'answer("No" "ne", "json.dumps", "indent=None")',
    "semicolons": RIGHT.replace(", ", "; "),
    "a wide comma": RIGHT.replace(", ", "\uff0c"),
    "no commas": RIGHT.replace(", ", " "),
    "two spaces": RIGHT.replace(", ", ",  "),
    "newlines between": RIGHT.replace(", ", ",\n"),
    "a newline in a string": RIGHT.replace("indent=None", "\nindent=None"),
    "a bad escape": RIGHT.replace("indent", "\\xindent"),
    "half an escape": RIGHT.replace("indent", "\\u12"),
    "a backslash at the end": 'answer("None", "json.dumps", "indent=None\\")',
    "capitals": RIGHT.replace("answer", "ANSWER"),
    "a wide call": RIGHT.replace("answer", "\uff41nswer"),
    "another call": RIGHT.replace("answer", "search"),
    "an assignment": "answer = " + RIGHT,
    "keywords": 'answer(answer="None", document="json.dumps", quotation="indent=None")',
    "a star": 'answer(*["None", "json.dumps", "indent=None"])',
    "a comment": RIGHT[:-1] + " # )",
    "code": "__import__('os')._exit(0)",
    "code in a string": _answer("None", "json.dumps", "__import__('os')._exit(0)"),
    "a format": _answer("{answers[0]}", "{document}", "{quotation}"),
    "a pattern": _answer("None", "json.dumps", ".*None"),
    "a pattern for a document": _answer("None", ".*", "indent=None"),
    "a wildcard": _answer("*", "*", "*"),
    "megabytes": "answer(" * 500_000,
    "megabytes of brackets": "answer(" + "[" * 3_000_000,
    "megabytes of a string": 'answer("' + "x" * 3_000_000,
    "megabytes of escapes": 'answer("' + "\\" * 3_000_001 + '", "", "")',
    "a response as long as allowed": "answer(" + '"' * 1990,
    "escapes as long as allowed": 'answer("' + "\\\\" * 980 + '", "',
    "a surrogate": _answer("None", "json.dumps", "indent=None\ud800"),
    "an escaped surrogate": 'answer("None", "json.dumps", "\\ud800")',
}
PARTS = {
    # the answer
    "another answer": ("False", "json.dumps", "indent=None"),
    "an empty answer": ("", "json.dumps", "indent=None"),
    "a space": (" ", "json.dumps", "indent=None"),
    "spaces around": (" None ", "json.dumps", "indent=None"),
    "a newline after it": ("None\n", "json.dumps", "indent=None"),
    "small letters": ("none", "json.dumps", "indent=None"),
    "a Cyrillic letter": ("N\u043ene", "json.dumps", "indent=None"),
    "wide letters": ("\uff2e\uff4f\uff4e\uff45", "json.dumps", "indent=None"),
    "a zero-width space": ("No\u200bne", "json.dumps", "indent=None"),
    "a combining mark": ("None\u0301", "json.dumps", "indent=None"),
    "a zero byte": ("None\0", "json.dumps", "indent=None"),
    "two answers": ("None or False", "json.dumps", "indent=None"),
    "all answers": ("None, False, x, 2, 10", "json.dumps", "indent=None"),
    "the question": (TASK.prompt, "json.dumps", "indent=None"),
    "the quotation": ("indent=None", "json.dumps", "indent=None"),
    "a sentence": ("The default is None.", "json.dumps", "indent=None"),
    "null": ("null", "json.dumps", "indent=None"),
    "nan": ("nan", "json.dumps", "indent=None"),
    # the document
    "an unknown document": ("None", "json.dumpz", "indent=None"),
    "an empty document's name": ("None", "", "indent=None"),
    "another document": ("None", "json.dump", "check=None"),
    "another document's same words": ("None", "json.load", "indent=None"),
    "a document that says nothing": ("None", "text.nothing", "None"),
    "the question as a document": ("None", "text.question", "indent"),
    "itself": ("None", "answer", RIGHT),
    "the prompt": ("None", "prompt", TASK.prompt),
    "a file": ("None", "/etc/passwd", "None"),
    "a path": ("None", "../json.dumps", "indent=None"),
    "a name with a space": ("None", "json.dumps ", "indent=None"),
    "a name in capitals": ("None", "JSON.DUMPS", "indent=None"),
    "a Cyrillic name": ("None", "js\u043en.dumps", "indent=None"),
    "two names": ("None", "json.dumps, json.dump", "indent=None"),
    "an attribute": ("None", "__class__", "None"),
    # the quotation
    "an empty quotation": ("None", "json.dumps", ""),
    "a space quoted": ("None", "json.dumps", " "),
    "the answer quoted": ("None", "json.dumps", "None"),
    "the answer quoted with its sign": ("None", "json.dumps", "=None"),
    "the name cut": ("None", "json.dumps", "ndent=None"),
    "the answer cut": ("None", "json.dumps", "indent=Non"),
    "the answer elsewhere in the document": ("None", "json.dumps", "None of these"),
    "the same words elsewhere in the document": ("None", "json.dumps", "see indent=None below"),
    "the name elsewhere": ("None", "json.dumps", "return indent"),
    "another parameter": ("None", "json.dumps", "sort_keys=False"),
    "what is not there": ("None", "json.dumps", "indent = None"),
    "what is made up": ("None", "json.dumps", "The default of indent is None."),
    "words with an ellipsis": ("None", "json.dumps", "indent...None"),
    "parts put together": ("None", "json.dumps", "obj, indent=None"),
    "across documents": ("None", "json.dumps", "    return indent\ndef dump(obj, fp, *, indent=2, check=None"),
    "another document's words": ("None", "json.dumps", "check=None"),
    "in other spaces": ("None", "json.dumps", "obj,\u00a0*, indent=None"),
    "in other lines": ("None", "json.dumps", "indent=None,\nsort_keys"),
    "in capitals": ("None", "json.dumps", "INDENT=NONE"),
    "a Cyrillic letter quoted": ("None", "json.dumps", "indent=N\u043ene"),
    "a wide sign quoted": ("None", "json.dumps", "indent\uff1dNone"),
    "a zero-width space quoted": ("None", "json.dumps", "indent=\u200bNone"),
    "a soft hyphen quoted": ("None", "json.dumps", "in\u00addent=None"),
    "a zero byte quoted": ("None", "json.dumps", "indent=None\0"),
    "the whole document and more": ("None", "json.dumps", DUMPS + "\n"),
    "the document twice": ("None", "json.dumps", DUMPS * 2),
    "quotes around": ("None", "json.dumps", '"indent=None"'),
    "escapes of escapes": ("None", "json.dumps", "indent\\u003dNone"),
    "the question quoted": ("None", "json.dumps", TASK.prompt),
    "as much as fits": ("None", "json.dumps", "indent=None" + "x" * 1500),
}
TENS = {
    "a longer number's beginning": ("10", "math.digits", "most=10"),
    "a longer number": ("10", "math.digits", "most=100"),
    "the longer number as the answer": ("100", "math.digits", "most=100"),
    "a part of it": ("1", "math.digits", "base=1"),
    "a decimal": ("10.0", "math.digits", "base=10"),
    "a sum": ("5+5", "math.digits", "base=10"),
    "a power": ("1e1", "math.digits", "base=10"),
    "a sign": ("+10", "math.digits", "base=10"),
    "zeros before": ("010", "math.digits", "base=10"),
    "an underscore": ("1_0", "math.digits", "base=10"),
    "Arabic digits": ("\u0661\u0660", "math.digits", "base=10"),
    "wide digits": ("\uff11\uff10", "math.digits", "base=10"),
    "a small letter l": ("l0", "math.digits", "base=10"),
    "a letter O": ("1O", "math.digits", "base=10"),
    "hexadecimal": ("0xa", "math.digits", "base=10"),
    "a huge number": ("9" * 1500, "math.digits", "base=10"),
    "NaN": ("NaN", "math.digits", "base=10"),
}
ANYS = {
    "within a longer number": ("100", "math.digits", "100" * 2),
    "not in the quotation": ("100", "math.digits", "base=10, most="),
    "only its beginning": ("100", "math.digits", "most=10"),
    "in another document": ("100", "json.dumps", "most=100"),
}
HOSTILE = (
    {f"response: {name}": (TASK, response) for name, response in RESPONSES.items()}
    | {f"parts: {name}": (TASK, _answer(*parts)) for name, parts in PARTS.items()}
    | {f"ten: {name}": (TEN, _answer(*parts)) for name, parts in TENS.items()}
    | {f"any: {name}": (ANY, _answer(*parts)) for name, parts in ANYS.items()}
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_answer_passes(name):
    started = time.process_time()
    verdict = VERIFIER(*HOSTILE[name])
    assert verdict.score == 0.0 and verdict.evidence and verdict.error is None, verdict
    assert time.process_time() - started < 0.2
    assert len(verdict.evidence.encode()) < 1000


def test_there_are_at_least_a_hundred_of_them():
    assert len(HOSTILE) >= 140
    assert VERIFIER(TASK, RIGHT).score == VERIFIER(TEN, _answer("10", "math.digits", "base=10")).score == 1.0
    assert VERIFIER(ANY, _answer("100", "math.digits", "most=100,")).score == 1.0


def _true_ones(documents, tasks):
    for task in tasks:
        for spelling in task.answers:
            for span in task.evidence:
                text = documents[span.document]
                for before, after in ((0, 0), (7, 0), (0, 5), (20, 20), (3, 1)):
                    quotation = text[max(0, span.start - before) : span.end + after]
                    yield task, _answer(spelling, span.document, quotation)
                    parts = (json.dumps(part) for part in (spelling, span.document, quotation))  # \u escapes
                    yield task, f"answer({','.join(parts)})"


def test_no_true_answer_is_refused():
    documents, tasks = library_questions(1_000_000)
    verifier = CitationVerifier(documents)
    for task in tasks:
        verifier.check(task)
    answers = list(_true_ones(documents, tasks))
    assert len(tasks) >= 100 and len(set(answers)) >= 500
    for task, response in answers:
        verdict = verifier(task, response)
        assert verdict.score == 1.0 and verdict.error is None, (response, verdict)


def test_bad_tasks_are_named():
    for answers in ((), ("",), ("x", " ")):
        with pytest.raises(ValueError, match="answers"):
            CitationTask(prompt="p", answers=answers)
    for document, start, end in (("nothing", 0, 1), *(("json.dumps", *place) for place in ((5, 5), (-1, 4), (0, 999), (0, 3)))):
        with pytest.raises(ValueError, match="evidence"):
            VERIFIER.check(CitationTask(prompt="p", answers=("None",), evidence=(Span(document, start, end),)))
    with pytest.raises(ValueError, match="max_quotation"):
        CitationVerifier(DOCUMENTS, max_quotation=0)
