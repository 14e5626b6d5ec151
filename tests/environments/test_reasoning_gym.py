"""reasoning-gym's problems: the same ones for the same seed, splits that share no question, derivations that end in the right answer."""

import itertools
import re

import pytest

pytest.importorskip("reasoning_gym", reason='needs pip install "paradigm-trainer[reasoning]"')
from paradigm.environments.reasoning_gym import ReasoningGymProblems

SMALL = {
    "chain_sum": {"max_terms": 4, "max_digits": 2, "allow_negation": True},
    "basic_arithmetic": {"max_terms": 4, "max_digits": 2, "operators": ["+", "-"], "allow_parentheses": False},
    "gcd": {"max_value": 60}, "letter_counting": {"min_words": 2, "max_words": 4}, "spell_backward": {"max_word_len": 6},
    "simple_equations": {"max_terms": 2, "max_value": 10}, "number_filtering": {"max_numbers": 4}, "word_sequence_reversal": {"max_words": 3},
}  # fmt: skip


@pytest.mark.parametrize("generator", SMALL)
def test_demonstrations_are_right_and_their_steps_true(generator) -> None:
    problems = ReasoningGymProblems(generator, SMALL[generator])
    for task in problems.tasks(1, 60):
        problem = problems.problem(task)
        assert problem.prompt.endswith("\n") and problem.judge(problem.demonstration).score == 1.0
        work, _, answer = problem.demonstration.partition("#")
        for left, right in re.findall(r"([^;=]+)=([^;]+);", work):
            assert eval(left) == int(right), problem.demonstration
        if generator == "gcd":
            pairs = [tuple(map(int, step.split(","))) for step in work.split(";")[:-1]]
            assert all(after == (b, a % b) for (a, b), after in itertools.pairwise(pairs)) and pairs[-1][0] % pairs[-1][1] == 0
            assert int(answer) == pairs[-1][1]
        if generator == "letter_counting":
            letter = re.search(r'letter "(.)"', problem.prompt)[1]
            counts = [re.fullmatch(r"(.*):([0-9]+)", step).groups() for step in work.split(";")[:-1]]
            assert [int(n) for _, n in counts] == [sum(w.count(letter) for w, _ in counts[: i + 1]) for i in range(len(counts))]


def test_tasks_are_the_seeds_and_splits_share_no_question() -> None:
    problems, again = (ReasoningGymProblems("gcd", {"max_value": 40}) for _ in range(2))
    tasks = problems.tasks(3, 200)
    assert tasks == again.tasks(3, 200) and tasks[:50] == problems.tasks(3, 50) and tasks[:50] != problems.tasks(4, 50)
    prompts = {split: {problems.problem(t).prompt for t in problems.tasks(0, 120, split)} for split in ("train", "validation", "test")}
    assert not prompts["train"] & prompts["test"] and not prompts["train"] & prompts["validation"] and not prompts["test"] & prompts["validation"]
    assert len(prompts["train"]) == 120, "distinct while there are enough"


def test_answers_stand_after_the_first_mark() -> None:
    problems = ReasoningGymProblems("chain_sum", {"max_digits": 1})
    problem = problems.problem((5, 2))
    answer = problem.demonstration.rpartition("#")[2]
    assert problem.judge(f"so #{answer}").score == problem.judge(f"# {answer} \n").score == 1.0
    for response in (answer, "", "#", f"#{answer}#", f"#0#{answer}", f"{answer}#", f"#{answer} or 7"):
        assert problem.judge(response).score == 0.0


def test_what_is_no_task_or_no_generator_is_named() -> None:
    problems = ReasoningGymProblems("gcd")
    for task in (3, "x", (1,), (-1, 0), (0, 256), ("a", "b")):
        with pytest.raises(ValueError, match="task must be"):
            problems.problem(task)
    with pytest.raises(ValueError, match=r"generator must be one of reasoning-gym's, got 'chain_sums'; did you mean 'chain_sum'\?"):
        ReasoningGymProblems("chain_sums")
    with pytest.raises(ValueError, match=r"options of gcd have no 'max_valu'; did you mean 'max_value'\?"):
        ReasoningGymProblems("gcd", {"max_valu": 3})
    with pytest.raises(ValueError, match=r"options of gcd must be such that .*got {'min_numbers': 1}"):
        ReasoningGymProblems("gcd", {"min_numbers": 1})
    with pytest.raises(ValueError, match="options must leave 'seed' to the tasks"):
        ReasoningGymProblems("gcd", {"seed": 3})


def test_a_split_without_problems_is_an_error() -> None:
    with pytest.raises(ValueError, match="gcd must have problems of the split 'validation', got none among"):
        ReasoningGymProblems("gcd", {"min_value": 6, "max_value": 7}).tasks(0, 1, "validation")
