"""Questions on the standard library: their evidence says what is answered, judged by the running Python itself."""

import ast
import importlib
import inspect

import pytest

from paradigm.sources.library_questions import library_questions
from paradigm.sources.standard_library import standard_library_files

MODULES = ("argparse", "csv", "difflib", "fractions", "heapq", "pprint", "shlex", "statistics", "string", "textwrap", "zipfile")


@pytest.fixture(scope="module")
def questions():
    return library_questions(1_000_000)


def test_documents_are_pieces_of_the_sources(questions):
    documents, tasks = questions
    assert len(documents) > 300 and len(tasks) > 100 and list(documents) == sorted(documents)
    assert library_questions(1_000_000) == questions
    texts = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): text for path, text in standard_library_files(1_000_000)}
    for name, text in documents.items():
        module = next(module for module in texts if name.startswith(module + ".") and text in texts[module])
        assert text.startswith(("def ", "async def ", "class ")) and len(text) <= 1500 and name.rpartition(".")[2] in text, module
    assert len({task.prompt for task in tasks}) == len(tasks)
    for kind in ("What is the default", "Which exception", "Which class"):
        assert sum(task.prompt.startswith(kind) for task in tasks) > 10


def test_evidence_is_where_it_says(questions):
    documents, tasks = questions
    for task in tasks:
        for span in task.evidence:
            text = documents[span.document][span.start : span.end]
            if task.prompt.startswith("What is the default of parameter "):
                name = task.prompt.split()[6]
                assert text.startswith(name) and text.endswith(task.answers[0])
                assert len({ast.dump(ast.parse(answer, mode="eval").body) for answer in task.answers}) == 1
            else:
                assert text.startswith("raise" if "exception" in task.prompt else "class") and text.endswith(task.answers[0])


def test_defaults_are_those_that_python_itself_tells(monkeypatch):
    """Of modules that can be imported anywhere."""
    files = [(path, text) for path, text in standard_library_files() if path.removesuffix(".py") in MODULES]
    monkeypatch.setattr("paradigm.sources.library_questions.standard_library_files", lambda max_bytes: files)
    _, tasks = library_questions()
    num_checked = 0
    for task in tasks:
        if not task.prompt.startswith("What is the default of parameter "):
            continue
        argument, name = task.prompt.rstrip("?").split()[6::2]
        found = importlib.import_module(name.split(".")[0])
        try:
            for part in name.split(".")[1:]:
                found = getattr(found, part)
            default = inspect.signature(inspect.unwrap(found)).parameters[argument].default
            wanted = ast.literal_eval(task.answers[0])
        except (AttributeError, KeyError, ValueError, TypeError):
            continue
        assert default == wanted, task
        num_checked += 1
    assert num_checked >= 20


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="max_document"):
        library_questions(max_document=0)
