"""Worked problems: the calculator answers what the policy asks, masks tell whose tokens are whose, and a verdict ends the episode."""

import copy
from pathlib import Path

import numpy as np
import pytest

from paradigm.environments.problem_file import ProblemFile
from paradigm.environments.worked_problems import Problem, WorkedProblems, annotated_pieces
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.sampler import Sampler
from paradigm.sources.worked_solutions import worked_solutions
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment
from paradigm.verifiers import Verdict

END = 257
ROWS = [
    '{"question": "Ann has 48 eggs and sells half. How many are sold?", "answer": "She sells 48/2 = <<48/2=24>>24 eggs.\\n#### 24"}',
    '{"question": "Ben earns $12 an hour. What does he earn in 50 minutes?", "answer": "$<<12/60=0.2>>0.2.\\nSo $<<0.2*50=10.00>>10.\\n#### 10"}',
    '{"question": "Cy has 1,000 pens and buys 80. How many has he?", "answer": "He has <<1000+80=1080>>1,080.\\n#### 1,080"}',
]  # fmt: skip


@pytest.fixture
def problems(tmp_path: Path) -> ProblemFile:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(ROWS) + "\n")
    return ProblemFile(path)


def world_of(problem_of, **options) -> WorkedProblems:
    options = {"calculator": True, "marker": "####", "vocab_size": 272, **options}
    return WorkedProblems(problem_of, Tokenizer(), end=END, **options)


def say(world, text, end=False):
    return world.step([*text.encode(), *([END] if end else [])])


def heard(step) -> str:
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def test_an_annotation_is_answered_and_other_equal_signs_are_not(problems) -> None:
    world = world_of(problems.problem)
    first = world.reset(0)
    assert heard(first) == "Ann has 48 eggs and sells half. How many are sold?\n"
    assert set(first.observations[0].stop) == {END, ord("=")} and first.observations[0].max_action_tokens == 256
    step = say(world, "48/2 =")
    assert heard(step) == "" and step.observations[0].max_action_tokens == 250 and not step.terminated
    assert heard(say(world, " <<48/2=")) == "24>>"
    assert heard(say(world, "24, and <<7/0=")) == "error>>"
    step = say(world, "!\n#### 24", end=True)
    assert step.terminated and step.rewards == (1.0,) and world.verdict.score == 1.0
    with pytest.raises(RuntimeError, match="reset"):
        say(world, "more")


def test_the_answer_counts_whatever_the_calculator_said(problems) -> None:
    world = world_of(problems.problem)
    world.reset(0)
    say(world, "<<48/2=")
    assert say(world, "24\n#### 25", end=True).rewards == (0.0,)
    world.reset(2)
    assert say(world, "#### 1080", end=True).rewards == (1.0,)
    world.reset(2)
    assert say(world, "#### 1080\n#### 7", end=True).rewards == (0.0,), "two answers are none"


def test_without_the_calculator_nothing_stops_at_equal_signs(problems) -> None:
    world = world_of(problems.problem, calculator=False)
    assert tuple(world.reset(0).observations[0].stop) == (END,)
    assert say(world, "<<48/2=24>>24\n#### 24", end=True).rewards == (1.0,)


def test_a_response_ends_at_its_limit(problems) -> None:
    world = world_of(problems.problem, max_action_tokens=12)
    world.reset(0)
    assert say(world, "<<1+1=").observations[0].max_action_tokens == 6
    assert say(world, "abcdef").terminated, "what is over the limit is judged as it stands"


def test_clones_go_their_own_way(problems) -> None:
    world = world_of(problems.problem)
    world.reset(0)
    say(world, "<<48/2=")
    for other in (world.clone(), copy.deepcopy(world)):
        assert say(other, "\n#### 3", end=True).rewards == (0.0,)
    assert say(world, "\n#### 24", end=True).rewards == (1.0,)


@pytest.mark.parametrize("judge", [lambda r: 1 / 0, lambda r: float("nan"), lambda r: 1.5, lambda r: Verdict(0.0, error="too slow")])
def test_no_verdict_fails_the_episode_and_is_counted(judge) -> None:
    world = world_of(lambda task: Problem("p\n", judge))
    world.reset(0)
    with pytest.raises(RuntimeError, match="no verdict"):
        world.clone().step([END])
    assert world.num_errors == 1


def test_pieces_of_an_annotated_text() -> None:
    assert list(annotated_pieces("a <<6/3=2.00>>2 b", calculator=True)) == [("a <<6/3=", True), ("2>>", False), ("2 b", True)]
    assert list(annotated_pieces("<<1+1=2>>", calculator=True)) == [("<<1+1=", True), ("2>>", False)]
    assert list(annotated_pieces("a <<6/3=2>>2", calculator=False)) == [("a <<6/3=2>>2", True)]


def test_demonstrations_are_what_the_sampler_would_record(problems) -> None:
    shown = worked_solutions([0, 1, 2], problems.problem, Tokenizer(), end=END, calculator=True, marker="#")
    first = shown[0]
    ours = bytes(t for t, mine in zip(first.tokens.tolist(), first.action_mask) if mine and t < 256).decode()
    assert ours == "She sells 48/2 = <<48/2=24 eggs.\n#### 24" and first.tokens[-1] == END and first.action_mask[-1]
    told = bytes(first.tokens[first.segment == Segment.OBSERVATION].tolist()).decode()
    assert told == "24>>" and not first.action_mask[first.segment == Segment.OBSERVATION].any()
    assert b"10>>" in bytes(shown[1].tokens[shown[1].segment == Segment.OBSERVATION].tolist()), "10.00 as the calculator writes it"
    answer = bytes(first.tokens[(first.segment == Segment.ACTION)][:-1].tolist()).decode()
    assert answer == "#### 24" and (first.segment[first.action_mask] == Segment.THOUGHT).any()
    assert shown.reward.tolist() == [1, 1, 1]

    # forced to say the same, a policy gets the same tokens, segments and reward
    policy = Policy(PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16, max_position_embeddings=256))
    turns = [first.tokens[first.decision == d].tolist() for d in range(first.decision.max() + 1)]
    generated, forced = 0, []
    for turn in turns:
        # an action ends at each `=`, so the first of a turn that holds two is imposed in two parts
        forced.append((generated, turn))
        generated += len(turn)
    world = world_of(problems.problem, marker="#", max_action_tokens=200)
    (played,) = Sampler(policy, slots=2).collect(world, [0], group_size=1, key=(0, 0), forced={0: split_at_stops(forced)})
    assert played.tokens.tolist() == first.tokens.tolist() and played.reward == 1.0


def split_at_stops(forced):
    """Forced runs of tokens, cut where an action ends."""
    parts = []
    for start, tokens in forced:
        begin = 0
        for at, token in enumerate(tokens):
            if token == ord("=") or at + 1 == len(tokens):
                parts.append((start + begin, tokens[begin : at + 1]))
                begin = at + 1
    return parts


def test_a_tokenizer_whose_tokens_hold_more_than_an_equal_sign() -> None:
    tokenizer = Tokenizer.train_bpe(["x == y and a = b, 1+1=2 <<1+1=2>>2 #### 2 "] * 50, 300)
    world = WorkedProblems(
        lambda task: Problem("q\n", lambda r: float("#### 2" in r)), tokenizer, end=tokenizer.eos_id, calculator=True, marker="####",
        vocab_size=tokenizer.vocab_size,
    )  # fmt: skip
    stops = [i for i in world.reset(0).observations[0].stop if i != tokenizer.eos_id]
    assert len(stops) > 1 and all("=" in tokenizer.decode([i]) for i in stops)
    step = world.step(tokenizer.encode("so <<1+1="))
    assert tokenizer.decode(np.asarray(step.observations[0].tokens)) == "2>>"
    assert world.step([*tokenizer.encode("2\n#### 2"), tokenizer.eos_id]).rewards == (1.0,)


def test_files_that_do_not_fit_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a JSONL file of problems"):
        ProblemFile(tmp_path / "absent.jsonl")
    path = tmp_path / "p.jsonl"
    for text, message in (
        ('{"question": "q"}', "p.jsonl:1: field 'answer' must be a string"),
        ('{"question": "q", "answer": "no mark"}', "must hold #### once"),
        ('{"question": "q", "answer": "#### 1 #### 2"}', "must hold #### once"),
        ('{"question": "q", "answer": "#### many"}', "p.jsonl:1: answer must be a number"),
    ):
        path.write_text(text + "\n")
        with pytest.raises(ValueError, match=message):
            ProblemFile(path)
    path.write_text('{"problem": "1/2 + 1/2", "result": "\\\\frac{2}{2}", "work": "easy"}\n')
    file = ProblemFile(path, form="answers", question="problem", answer="result", solution="work", strictness="text")
    assert file.problem(0).demonstration == "easy\n#### \\frac{2}{2}" and file.problem(0).judge("#### \\frac{2}{2}").score == 1.0
    for task in (1, -1, "0", None):
        with pytest.raises(ValueError, match="task must be the row"):
            file.problem(task)


def test_splits_are_disjoint_and_orders_the_seeds(tmp_path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f'{{"question": "What is {i} + 1?", "answer": "#### {i + 1}"}}\n' for i in range(200)))
    file = ProblemFile(path)
    rows = {split: set(file.tasks(0, 200, split)) for split in ("train", "validation", "test")}
    assert sum(map(len, rows.values())) == 200 == len(set.union(*rows.values())) and 130 < len(rows["train"]) < 190 and len(rows["test"]) > 10
    assert file.tasks(3, 50) == file.tasks(3, 60)[:50] and file.tasks(3, 50) != file.tasks(4, 50)
    whole = len(rows["test"])
    assert sorted(file.tasks(0, 2 * whole, "test")) == sorted([*rows["test"]] * 2)
