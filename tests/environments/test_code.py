"""Programming as an environment: turns, rewards, what is told of a failing test, and rollouts through the sampler."""

import copy
import time

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import Code, Environment
from paradigm.verifiers import CodeTask, CodeVerifier, FunctionCase, SandboxLimits
from tests.sandbox_cases import require_sandbox

require_sandbox()

TASKS = [
    CodeTask(prompt="def double(n):\n", entry_point="double", tests=(FunctionCase(args=(4,), expected=8), FunctionCase(args=(-1,), expected=-2))),
    CodeTask(prompt="Negate n.\n", entry_point="neg", tests=("assert neg(1) == -1", "assert neg(-2) == 2"), scoring="share"),
]


@pytest.fixture(scope="module")
def verifier():
    return CodeVerifier(SandboxLimits(wall_seconds=5, cpu_seconds=2))


def _policy():
    config = PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)
    return Policy(config)


def _write(environment, text):
    return environment.step([*text.encode(), 0])


def _text(step):
    (observation,) = step.observations
    return bytes(observation.tokens.tolist()).decode()


def test_one_turn(verifier):
    environment = Code(TASKS, verifier, max_action_tokens=99, thought_until=35)
    assert isinstance(environment, Environment) and environment.tasks() == [0, 1]
    (question,) = environment.reset(0).observations
    assert bytes(question.tokens.tolist()) == b"def double(n):\n" and question.tokens.dtype == np.int32
    assert (question.stop, question.max_action_tokens, question.thought_until) == ((0,), 99, 35)
    step = _write(environment, "    return 2 * n")
    assert step.terminated and step.rewards == (1.0,) and step.observations == [] and environment.verdict.score == 1.0
    with pytest.raises(RuntimeError, match="reset"):
        _write(environment, "x")
    environment.reset(0)
    step = environment.step(list(b"    return 2 * abs(n)"))  # the limit came before the stop
    assert step.terminated and step.rewards == (0.0,)
    environment.reset(1)
    assert _write(environment, "def neg(n): return -abs(n)").rewards == (0.5,)


@pytest.mark.parametrize(
    ("reveal", "told"),
    [
        ("nothing", "\n# The tests failed.\n"),
        ("calls", "\n# Test 2 failed: double(-1) returned 2.\n"),
        ("tests", "\n# Test 2 failed: double(-1) returned 2. Wanted: -2\n"),
    ],
)
def test_several_turns(verifier, reveal, told):
    environment = Code(TASKS, verifier, max_turns=3, reveal=reveal)
    environment.reset(0)
    step = _write(environment, "    return 2 * abs(n)")
    assert not step.terminated and step.rewards == (0.0,) and _text(step) == told
    other = environment.clone()
    step = _write(environment, "def double(n) return")
    assert not step.terminated
    program_failed = "\n# The program failed: it did not load: SyntaxError: expected ':' (<program>, line 1) (line 1).\n"
    assert _text(step) == ("\n# The tests failed.\n" if reveal == "nothing" else program_failed)
    step = _write(environment, "    return 2 * n")
    assert step.terminated and step.rewards == (1.0,)
    assert [_write(other, "    return n").terminated for _ in range(2)] == [False, True]
    assert copy.deepcopy(other).verdict.score == 0.0


def test_an_episode_repeats_word_for_word(verifier):
    programs = [
        "def double(n): raise ValueError(object(), {str(i) for i in range(9)})",
        "import random\ndef double(n): return random.random()",
        "def double(n):\n    while True: pass",
        "import os\ndef double(n): os._exit(1)",
    ]

    def episode():
        environment = Code(TASKS, verifier, max_turns=5)
        environment.reset(0)
        return [_text(_write(environment, program)) for program in programs]

    assert episode() == episode()


def test_tests_that_fail_themselves_cost_the_episode_and_are_counted(verifier, caplog):
    environment = Code([CodeTask(prompt="p", entry_point="f", tests=("assert 1 == 1",))], verifier)
    clone = environment.clone()
    environment.reset(0)
    with pytest.raises(RuntimeError, match="never called f"):
        _write(environment, "def f(): pass")
    assert environment.num_errors == clone.num_errors == 1 and "never called" in caplog.text


def test_rollouts_judge_programs_on_threads(verifier):
    """A policy of random weights writes what is no program; the sampler steps its environments side by side."""
    policy = _policy()
    environment = Code(TASKS, verifier, max_turns=2, max_action_tokens=8)
    sampler = Sampler(policy, slots=8)
    rollouts = sampler.collect(environment, environment.tasks(), group_size=3, key=(1, 0), threads=4)
    assert len(rollouts) == 6 and not any(rollout.failed for rollout in rollouts)
    assert all(rollout.terminated and rollout.reward == 0.0 for rollout in rollouts)
    again = sampler.collect(environment, environment.tasks(), group_size=3, key=(1, 0), threads=1)
    assert [rollout.tokens.tolist() for rollout in rollouts] == [rollout.tokens.tolist() for rollout in again]


def test_episodes_on_threads_wait_for_their_programs_together(verifier):
    class Sleeper:
        """Judges by a program that sleeps: time passes outside of Python's lock."""

        def judge(self, task, response):
            return verifier.judge(task, "import time\ndef double(n):\n    time.sleep(0.4)\n    return 0")

    policy = _policy()
    environment = Code(TASKS[:1], Sleeper(), max_action_tokens=2)
    sampler, seconds = Sampler(policy, slots=8), {}
    for threads in (1, 8):
        started = time.monotonic()
        sampler.collect(environment, [0], group_size=8, key=(1, 0), threads=threads)
        seconds[threads] = time.monotonic() - started
    assert seconds[8] < 0.6 * seconds[1]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max_turns": 0}, "max_turns"), ({"max_action_tokens": 0}, "max_action"), ({"reveal": "all"}, "reveal"), ({"feedback_format": ""}, "feedback")],
)
def test_bad_arguments_are_named(verifier, options, named):
    with pytest.raises(ValueError, match=named):
        Code(TASKS, verifier, **options)
    with pytest.raises(ValueError, match="tasks"):
        Code([], verifier)
    with pytest.raises(ValueError, match="task must be"):
        Code(TASKS, verifier).reset(2)
