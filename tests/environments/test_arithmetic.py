"""Worked arithmetic against a second implementation of its transcripts, and its noise against the formula."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

from paradigm.environments import (
    Arithmetic,
    ArithmeticLabel,
    Environment,
    arithmetic_classify,
    arithmetic_result_positions,
    arithmetic_split,
    arithmetic_tasks,
    arithmetic_text,
)
from paradigm.verifiers import verify_arithmetic


def _columns(top: str, bottom: str, shift: int = 0) -> str:
    bottom += "0" * shift
    width, carry, steps = max(len(top), len(bottom)), 0, ""
    for a, b in zip(reversed(top.zfill(width)), reversed(bottom.zfill(width))):
        total = int(a) + int(b) + carry
        steps += f"{a}+{b}+{carry}={total:02d};"
        carry = total // 10
    return steps


def _times(number: str, digit: str) -> str:
    carry, steps = 0, ""
    for a in reversed(number):
        total = int(a) * int(digit) + carry
        steps += f"{a}*{digit}+{carry}={total:02d};"
        carry = total // 10
    return steps


def _reference(problem: str, calculator: bool) -> str:
    """What a faultless demonstrator and the calculator write after the prompt, straight from the module's docstring."""
    operation = next(c for c in problem if c in "+-*/")
    left, right = problem.split(operation)
    steps = ""
    if operation == "+":
        steps, answer = _columns(left, right), int(left) + int(right)
    elif operation == "-":
        answer, borrow = int(left) - int(right), 0
        for a, b in zip(reversed(left), reversed(right.zfill(len(left)))):
            now = int(int(a) - int(b) - borrow < 0)
            steps += f"{a}-{b}-{borrow}={now}{int(a) - int(b) - borrow + 10 * now};"
            borrow = now
    elif operation == "/":
        answer, remainder = int(left) // int(right), ""
        for digit in left:
            dividend = remainder + digit
            quotient, rest = divmod(int(dividend), int(right))
            steps += f"{dividend}/{right}={quotient}r{rest};"
            remainder = str(rest)
    else:
        answer = int(left) * int(right)
        if len(right) == 1:
            steps = _times(left, right)
        elif len(left) == 1:
            steps = _times(right, left)
        else:
            partials = [str(int(left) * int(digit)) for digit in reversed(right)]
            for digit, partial in zip(reversed(right), partials):
                steps += (f"{left}*{digit}?" if calculator else _times(left, digit)) + f"{partial};"
            total = partials[0]
            for shift, partial in enumerate(partials[1:], 1):
                steps += (f"{total};" if shift > 1 else "") + _columns(total, partial, shift)
                total = str(int(total) + int(partial) * 10**shift)
    return f"{steps}#{answer}\n"


def _play(environment, player, task, seed):
    """Returns the stream, its action mask and the reward."""
    world = environment.native.make()
    step = world.reset(task, 0)
    tokens, mask = list(step.observations[0].tokens), [False] * len(step.observations[0].tokens)
    while True:
        action = player.act(world, step.observations[0], seed)
        assert len(action) <= step.observations[0].max_action_tokens
        tokens += list(action)
        mask += [True] * len(action)
        step = world.step(action)
        if step.terminated or step.truncated:
            return np.array(tokens, np.int32), np.array(mask), step.rewards[0]
        heard = step.observations[0].tokens
        tokens += list(heard)
        mask += [False] * len(heard)


def _text(tokens) -> str:
    return bytes(list(tokens)).decode()


@pytest.mark.parametrize(
    ("task", "written"),
    [
        ("347+586", "7+6+0=13;4+8+1=13;3+5+1=09;#933\n"),
        ("95+7", "5+7+0=12;9+0+1=10;#102\n"),
        ("586-347", "6-7-0=19;8-4-1=03;5-3-0=02;#239\n"),
        ("347*6", "7*6+0=42;4*6+4=28;3*6+2=20;#2082\n"),
        ("47*36", "47*6?282;47*3?141;2+0+0=02;8+1+0=09;2+4+0=06;0+1+0=01;#1692\n"),
        ("852/4", "8/4=2r0;05/4=1r1;12/4=3r0;#213\n"),
    ],
)
def test_hand_written_transcripts(task, written):
    environment = Arithmetic()
    tokens, _, reward = _play(environment, environment.demonstrator(error_rate=0.0), task, 0)
    assert _text(tokens) == f"{task}\n{written}"
    assert reward == 1.0
    assert _reference(task, True) == written


@pytest.mark.parametrize("calculator", [True, False])
def test_noiseless_demonstrations_and_documents_equal_the_reference(calculator):
    environment = Arithmetic(calculator=calculator)
    player = environment.demonstrator(error_rate=0.0)
    options = dict(digits=4, products=[(3, 1), (1, 3), (2, 2), (3, 3), (4, 2)])
    tasks = environment.tasks(5, 4000, **options)
    documents = environment.text(5, 4000, **options)
    for task, document in zip(tasks, documents):
        assert document == f"{task}\n{_reference(task, calculator)}"
        tokens, _, reward = _play(environment, player, task, 0)
        assert reward == 1.0
        assert _text(tokens) == document


def _step_is_right(step: str) -> bool:
    expression, result = step.split("=")
    if "r" in result:
        dividend, divisor = map(int, expression.split("/"))
        return divmod(dividend, divisor) == tuple(map(int, result.split("r")))
    value = eval(expression, {"__builtins__": {}})  # digits and signs of our own demonstrator
    return f"{value:02d}" == result if value >= 0 else f"1{value + 10}" == result


@pytest.mark.parametrize(("error_rate", "notice_rate"), [(0.1, 0.3), (0.3, 0.8), (0.5, 1.0), (0.05, 0.0)])
def test_noise_follows_the_formula_and_every_wrong_step_is_wrong(error_rate, notice_rate):
    environment = Arithmetic()
    player = environment.demonstrator(error_rate=error_rate, notice_rate=notice_rate)
    expected, variance, right, num_steps, num_wrong, num_withdrawn = 0.0, 0.0, 0.0, 0, 0, 0
    for seed, task in enumerate(environment.tasks(2, 4000)):
        tokens, mask, reward = _play(environment, player, task, seed)
        text = _text(tokens).split("\n", 1)[1]
        steps = [s for s in text.replace("?", ";").replace("!", "!;").split(";") if "=" in s]
        wrong = [s for s in steps if not s.endswith("!") and not _step_is_right(s)]
        withdrawn = [s for s in steps if s.endswith("!")]
        assert not any(_step_is_right(step[:-1]) for step in withdrawn)
        assert wrong or reward == 1.0
        codes = set(environment.classify(tokens, mask).tolist())
        assert (ArithmeticLabel.WRONG in codes) == bool(wrong)
        assert (ArithmeticLabel.CORRECTED in codes) == bool(withdrawn)
        clean = _reference(task, True).count("=")
        share = (1 - error_rate * (1 - notice_rate)) ** clean
        expected, variance, right = expected + share, variance + share * (1 - share), right + reward
        num_steps, num_wrong, num_withdrawn = num_steps + clean, num_wrong + len(wrong), num_withdrawn + len(withdrawn)
    cancelling = 4000 * 8 * (error_rate * (1 - notice_rate)) ** 2 / 10  # pairs of errors that make each other good
    assert -4 * math.sqrt(variance) <= right - expected <= 4 * math.sqrt(variance) + cancelling
    for count, rate in ((num_wrong, error_rate * (1 - notice_rate)), (num_withdrawn, error_rate * notice_rate)):
        assert abs(count - rate * num_steps) <= 4 * math.sqrt(num_steps * rate * (1 - rate))


def test_demonstrators_are_pure_in_seed_and_differ_between_seeds_and_problems():
    environment = Arithmetic()
    player = environment.demonstrator(error_rate=0.5, notice_rate=0.5)
    streams = {_text(_play(environment, player, "347+586", seed)[0]) for seed in range(20)}
    assert len(streams) > 10
    assert streams == {_text(_play(environment, player, "347+586", seed)[0]) for seed in range(20)}
    patterns = {tuple(_text(_play(environment, player, f"{a}+{a}", 3)[0]).count(c) for c in "!;") for a in range(100, 140)}
    assert len(patterns) > 2


def test_default_demonstrator_and_lengths_are_as_documented():
    environment = Arithmetic()
    player = environment.demonstrator()
    plays = [_play(environment, player, task, seed) for seed, task in enumerate(environment.tasks(9, 4000, "test"))]
    assert abs(np.mean([reward for *_, reward in plays]) - 0.80) < 0.03
    assert np.mean([len(tokens) for tokens, *_ in plays]) < 45


def test_tasks_are_in_range_distinct_and_start_with_the_shorter_list():
    tasks = arithmetic_tasks(3, 4000, digits=3)
    assert tasks[:1000] == arithmetic_tasks(3, 1000, digits=3)
    assert tasks != arithmetic_tasks(4, 4000, digits=3)
    for task, operation in zip(tasks, itertools.cycle("+-*/")):
        left, right = map(int, task.split(operation))
        if operation in "+-":
            assert max(left, right) < 1000
            assert operation == "+" or left >= right
        elif operation == "*":
            assert (100 <= left < 1000 and 2 <= right < 10) or (10 <= left < 100 and 10 <= right < 100)
        else:
            assert 2 <= right < 10 and 0 < left < 1000 and left % right == 0
    sums = [task for task in tasks if "+" in task]
    assert len(set(sums)) == len(sums)
    dividends = [int(task.split("/")[0]) for task in arithmetic_tasks(0, 200, operations="/", dividend_digits=6)]
    assert 100_000 < max(dividends) < 1_000_000


def test_splits_are_disjoint_mirrors_included_and_have_their_shares():
    names = ("train", "validation", "test")
    held = {name: set(arithmetic_tasks(1, 4000, name)) for name in names}
    for name, tasks in held.items():
        for task in tasks:
            assert arithmetic_split(task) == name
            if "+" in task or "*" in task:
                operation = "+" if "+" in task else "*"
                assert arithmetic_split(operation.join(reversed(task.split(operation)))) == name
    assert not held["train"] & held["test"] and not held["train"] & held["validation"] and not held["validation"] & held["test"]
    shares = np.array([[arithmetic_split(f"{a}-{b}") == name for name in names] for a in range(100, 300) for b in range(0, 100, 2)]).mean(0)
    assert np.abs(shares - [0.80, 0.05, 0.15]).max() < 0.015
    prompts = {document.split("\n")[0] for document in arithmetic_text(8, 2000, "train")}
    assert all(arithmetic_split(prompt) == "train" for prompt in prompts)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"operations": "+^"}, "operations"), ({"operations": ""}, "operations"), ({"digits": 0}, "digits"), ({"digits": 10}, "digits"),
        ({"products": [(0, 1)]}, "products"), ({"dividend_digits": 11}, "dividend_digits"), ({"split": "held-out"}, "split"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        arithmetic_tasks(0, 10, **options)


def test_result_positions_point_at_the_digits_of_every_step():
    environment = Arithmetic()
    player = environment.demonstrator(error_rate=0.3, notice_rate=0.5)
    for seed, task in enumerate(environment.tasks(4, 200)):
        tokens, _, _ = _play(environment, player, task, seed)
        positions = environment.result_positions(tokens)
        assert positions.dtype == np.int64 and positions.shape == (_text(tokens).count("="), 2)
        for first, second in positions:
            assert chr(tokens[first - 1]) == "=" and chr(tokens[second + 1]) in ";!"
            assert second - first == (2 if chr(tokens[first + 1]) == "r" else 1)
            assert chr(tokens[first]).isdigit() and chr(tokens[second]).isdigit()
    assert arithmetic_result_positions([]).shape == (0, 2)


def test_forcing_a_wrong_digit_shows_as_injected_in_a_wrong_step():
    environment = Arithmetic()
    tokens, mask, _ = _play(environment, environment.demonstrator(error_rate=0.0), "347+586", 0)
    at = environment.result_positions(tokens)[1, 1]
    tokens[at], mask[at] = ord("5"), False
    labels = arithmetic_classify(tokens, mask)
    assert _text(tokens[labels == ArithmeticLabel.WRONG]) == "4+8+1=1;"
    assert np.flatnonzero(labels == ArithmeticLabel.INJECTED).tolist() == [at]


def test_step_by_step_and_clone_and_pickle():
    environment = Arithmetic()
    assert isinstance(environment, Environment)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step([10])
    step = environment.reset("47*36")
    assert step.observations[0].legal is None and step.observations[0].stop == [10, 63] and step.observations[0].thought_until == ord("#")
    assert _text(environment.step(list(b"47*6?")).observations[0].tokens) == "282;"
    other = environment.clone()
    assert environment.step(list(b"#1692\n")).rewards == [1.0]
    assert _text(other.step(list(b"99*99?")).observations[0].tokens) == "E;"
    assert copy.deepcopy(Arithmetic(calculator=False)).reset("1+1").observations[0].stop == [10]
    table = np.arange(256, dtype=np.int32)[::-1] + 100
    again = pickle.loads(pickle.dumps(Arithmetic(encoding=table)))
    tokens, mask, reward = _play(again, again.demonstrator(error_rate=0.0), "852/4", 0)
    assert reward == 1.0
    assert bytes(355 - token for token in tokens.tolist()).decode() == "852/4\n8/4=2r0;05/4=1r1;12/4=3r0;#213\n"
    assert again.result_positions(tokens).shape == (3, 2)
    assert set(again.classify(tokens, mask)) == {ArithmeticLabel.PROMPT, ArithmeticLabel.RIGHT}
    with pytest.raises(ValueError, match="encoding"):
        Arithmetic(encoding=np.zeros(256, np.int32))
    with pytest.raises(ValueError, match="encoding"):
        Arithmetic(encoding=np.arange(10))
    with pytest.raises(ValueError, match="task"):
        environment.reset("3-5")
    with pytest.raises(ValueError, match="error_rate"):
        environment.demonstrator(error_rate=1.5)


def test_reward_agrees_with_the_python_verifier_on_whatever_is_written():
    environment = Arithmetic()
    rng = np.random.default_rng(0)
    alphabet = list(b"0123456789#;!\n?=")
    for trial in range(3000):
        task = f"{rng.integers(3)}+{rng.integers(3)}"
        written = bytes(rng.choice(alphabet, rng.integers(1, 6)).tolist()) if trial % 2 else f"#{rng.integers(5)}\n".encode()
        environment.reset(task)
        step = environment.step(list(written))
        if step.terminated:
            assert step.rewards[0] == verify_arithmetic(task, written.decode()).score
        else:
            assert step.rewards[0] == 0.0 and not written.endswith(b"\n")
