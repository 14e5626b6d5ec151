"""Questions on documents as an environment: the calls, what comes back, splits, demonstrations, and rollouts through the sampler."""

import copy
import sys

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import BM25Search, Documents, Environment
from paradigm.sources.library_questions import library_questions
from paradigm.verifiers import CitationTask, Span

pytest.importorskip("bm25s")

DOCUMENTS = {
    "json.dumps": "def dumps(obj, *, indent=None):\n    return obj\n",
    "json.loads": "def loads(text):\n    raise TypeError(text)\n",
    "zoo.animals": "def animals():\n    return ['bear', 'wolf', 'bear']\n",
    "zoo.bear": "def bear():\n    return 'bear bear bear'\n",
}
QUESTIONS = [
    CitationTask(prompt="Indent of json.dumps?", answers=("None",), evidence=(Span("json.dumps", 18, 29),)),
    CitationTask(prompt="Raised by json.loads?", answers=("TypeError",), evidence=(Span("json.loads", 21, 36),)),
]


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def _write(environment, line):
    return environment.step(list(f"{line}\n".encode()))


def test_search_ranks_by_words():
    search = BM25Search(DOCUMENTS)
    assert search("bear", 9) == ["zoo.bear", "zoo.animals"] and search("bear", 1) == ["zoo.bear"]
    assert search("JSON dumps!", 2) == ["json.dumps", "json.loads"]
    assert search("json", 4) == search("json json json", 4) and len(search("json", 4)) == 2
    for query in ("", "?", "nowhere", "\0", "\u200b", "_" * 10_000, "x " * 100_000):
        assert search(query, 3) == []


def test_search_agrees_with_the_formula():
    """BM25 with Lucene's idf, k1 1.5 and b 0.75, worked out here."""
    words = {name: f"{name} {text}".lower() for name, text in DOCUMENTS.items()}
    split = {name: "".join(c if c.isalnum() else " " for c in text).split() for name, text in words.items()}
    mean = np.mean([len(found) for found in split.values()])

    def score(name, query):
        total = 0.0
        for word in query.split():
            count, having = split[name].count(word), sum(word in found for found in split.values())
            idf = np.log(1 + (len(split) - having + 0.5) / (having + 0.5))
            total += idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(split[name]) / mean))
        return total

    for query in ("bear", "json dumps", "def return wolf", "text raise"):
        ranked = sorted((name for name in split if score(name, query) > 0), key=lambda name: -score(name, query))
        assert BM25Search(DOCUMENTS)(query, 4) == ranked


def test_an_episode():
    environment = Documents(DOCUMENTS, QUESTIONS, num_results=2, max_passage=9, max_action_tokens=55)
    assert isinstance(environment, Environment)
    step = environment.reset(1)
    assert _text(step) == "Raised by json.loads?\n"
    assert (step.observations[0].stop, step.observations[0].max_action_tokens) == ((10,), 55)
    assert _text(_write(environment, "search(loads json)")) == "[json.loads]\ndef loads\n[json.dumps]\ndef dumps\n"
    assert environment.shown == ("json.loads", "json.dumps")
    other = environment.clone()
    assert _text(_write(environment, "read(json.loads)")) == DOCUMENTS["json.loads"] + "\n"
    step = _write(environment, 'answer("TypeError", "json.loads", "raise TypeError")')
    assert step.terminated and step.rewards == (1.0,) and step.observations == [] and environment.verdict.score == 1.0
    with pytest.raises(RuntimeError, match="reset"):
        _write(environment, "read(json.loads)")
    assert other.num_calls == 1
    step = _write(copy.deepcopy(other), 'answer("TypeError", "json.loads", "TypeError(text)")')
    assert step.terminated and step.rewards == (0.0,)


def test_calls_that_are_none_are_told_and_counted():
    environment = Documents(DOCUMENTS, QUESTIONS, max_calls=5, max_read=4)
    environment.reset(0)
    assert _text(_write(environment, "search(giraffe)")) == "? nothing found\n"
    assert _text(_write(environment, "read(../../etc/passwd)")) == "? no such document\n"
    assert _text(_write(environment, "read(zoo.bear)")) == "def \n"
    for line in ("grep(bear)",):
        assert _text(_write(environment, line)).startswith("? write search(words)")
    step = _write(environment, "search(bear)")
    assert step.terminated and step.rewards == (0.0,) and "5 lines" in environment.verdict.evidence
    environment.reset(0)
    for line in ("", "search(bear", "Search(bear)", " search(bear)", "search(bear) read(zoo.bear)x", "\0"):
        assert _text(_write(environment.clone(), line)).startswith("? write"), line
    assert _write(environment, "answer(").rewards == (0.0,)


def test_questions_on_the_standard_library():
    documents, questions = library_questions(1_000_000)
    environment = Documents(documents, questions)
    parts = {split: environment.tasks(0, 10**6, split) for split in ("train", "validation", "test")}
    assert sorted(row for part in parts.values() for row in part) == list(range(len(questions)))
    assert 0.65 < len(parts["train"]) / len(questions) < 0.95 and parts["validation"] and len(parts["test"]) > 10
    assert environment.tasks(1, 9) == environment.tasks(1, 20)[:9] != environment.tasks(2, 9)
    sampler = Sampler(None, vocab_size=256)
    rows, player = environment.tasks(0, 60), {0: environment.demonstrator()}
    rollouts = sampler.collect(environment, rows, group_size=1, opponents=player, record_players=True)
    assert all(rollout.reward == 1.0 and not rollout.failed for rollout in rollouts)
    found = 0
    for row in rows:
        environment.reset(row)
        environment.step(environment.demonstrator().act(environment, None, 0))
        found += questions[row].evidence[0].document in environment.shown
    assert found > 0.8 * len(rows)


def test_rollouts_of_a_policy_of_random_weights():
    policy = Policy(PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    environment = Documents(DOCUMENTS, QUESTIONS, max_action_tokens=8, max_calls=3)
    rollouts = Sampler(policy, slots=8).collect(environment, [0, 1], group_size=3, key=(1, 0), threads=2)
    assert len(rollouts) == 6 and all(rollout.terminated and rollout.reward == 0.0 and not rollout.failed for rollout in rollouts)


def test_bad_arguments_are_named():
    for name in ("max_action_tokens", "max_calls", "num_results", "max_passage", "max_read"):
        with pytest.raises(ValueError, match=name):
            Documents(DOCUMENTS, QUESTIONS, **{name: 0})
    with pytest.raises(ValueError, match="questions"):
        Documents(DOCUMENTS, [])
    with pytest.raises(ValueError, match="evidence"):
        Documents(DOCUMENTS, [CitationTask(prompt="p", answers=("None",), evidence=(Span("json.dumps", 0, 4),))])
    environment = Documents(DOCUMENTS, QUESTIONS, search=lambda words, n: [])
    with pytest.raises(ValueError, match="task"):
        environment.reset(2)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step([10])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[documents\]"):
        Documents(DOCUMENTS, QUESTIONS)
