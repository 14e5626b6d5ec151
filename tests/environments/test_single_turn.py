"""Single-turn environments: what a verifier returns becomes the reward, and what it breaks costs one episode."""

import copy
import logging
import sys

import numpy as np
import pytest

from paradigm.environments import Environment, from_verifier
from paradigm.verifiers import Verdict


def _reward(environment, text, task=0):
    environment.reset(task)
    step = environment.step(list(text.encode()))
    assert step.terminated and not step.truncated and step.observations == []
    return step.rewards[0]


def test_prompt_and_response_reach_the_verifier_and_its_score_the_reward():
    heard = []

    def verifier(prompt, response):
        heard.append((prompt, response))
        return response == prompt[::-1]

    environment = from_verifier(["abc", "déf"], verifier, max_action_tokens=9, thought_until=35)
    assert isinstance(environment, Environment)
    assert environment.tasks() == [0, 1]
    (question,) = environment.reset(1).observations
    assert question.tokens.tolist() == list("déf".encode()) and question.tokens.dtype == np.int32
    assert (question.seat, question.legal, question.stop, question.max_action_tokens, question.thought_until) == (0, None, (10,), 9, 35)
    assert _reward(environment, "fég\n", 1) == 0.0
    assert _reward(environment, "féd\n", 1) == 1.0
    assert environment.verdict == Verdict(1.0)
    assert _reward(environment, "cba") == 1.0  # the limit came before the stop
    assert heard == [("déf", "fég"), ("déf", "féd"), ("abc", "cba")]


def test_token_prompts_and_a_tokenizer():
    class Letters:
        def encode(self, text):
            return [ord(c) - 96 for c in text]

        def decode(self, tokens):
            return "".join(chr(t + 96) for t in tokens)

    environment = from_verifier(["ab", [7, 8]], lambda prompt, response: 0.25 * (response == "xy"), tokenizer=Letters(), stop=[0])
    assert environment.reset(0).observations[0].tokens.tolist() == [1, 2]
    assert environment.reset(1).observations[0].tokens.tolist() == [7, 8]
    assert environment.step([24, 25, 0]).rewards == (0.25,)


@pytest.mark.parametrize(
    ("verifier", "named"),
    [
        (lambda p, r: 1 / 0, "ZeroDivisionError"),
        (lambda p, r: float("nan"), "nan"),
        (lambda p, r: float("inf"), "inf"),
        (lambda p, r: 1.5, "1.5"),
        (lambda p, r: -0.1, "-0.1"),
        (lambda p, r: "good", "ValueError"),
        (lambda p, r: None, "TypeError"),
        (lambda p, r: Verdict(float("nan")), "nan"),
        (lambda p, r: sys.exit(3), "SystemExit"),
    ],
)
def test_a_verifier_that_fails_costs_its_episode_and_is_recorded(verifier, named, caplog):
    environment = from_verifier(["p"], verifier)
    clone = environment.clone()
    with caplog.at_level(logging.WARNING):
        assert _reward(environment, "x\n") == 0.0
    assert environment.verdict.score == 0.0 and named in environment.verdict.error
    assert named in caplog.text
    assert environment.num_errors == clone.num_errors == 1


def test_ctrl_c_is_not_swallowed():
    def verifier(prompt, response):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _reward(from_verifier(["p"], verifier), "x\n")


def test_clones_go_their_own_way_with_one_verifier():
    class Model:
        def __deepcopy__(self, memo):
            raise AssertionError("a verifier is never copied")

        def __call__(self, prompt, response):
            return Verdict(0.5, evidence=f"{prompt}{response}")

    environment = from_verifier(["a", "b"], Model())
    environment.reset(0)
    for other in (environment.clone(), copy.deepcopy(environment)):
        other.reset(1)
        other.step([10])
        assert other.verdict.evidence == "b"
    environment.step([120])
    assert environment.verdict == Verdict(0.5, "ax")


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="prompts"):
        from_verifier([], lambda p, r: 1.0)
    with pytest.raises(ValueError, match="max_action_tokens"):
        from_verifier(["a"], lambda p, r: 1.0, max_action_tokens=0)
    environment = from_verifier(["a"], lambda p, r: 1.0)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step([10])
    for task in (-1, 1):
        with pytest.raises(ValueError, match="task"):
            environment.reset(task)
