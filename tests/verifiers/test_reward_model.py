"""The reward model as a verifier: the same score alone, in a batch and from many threads; what it cannot score is counted and raises nothing."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from paradigm.kernels.layout import Layout
from paradigm.policy import Policy, PolicyConfig
from paradigm.verifiers import RewardModel

CONFIG = PolicyConfig(vocab_size=64, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=48, max_position_embeddings=40, heads=("reward",))


@pytest.fixture
def policy() -> Policy:
    policy = Policy(CONFIG, seed=0)
    with torch.no_grad():
        policy.heads["reward"].weight.normal_(generator=torch.Generator().manual_seed(1))
        policy.heads["reward"].bias.fill_(0.25)
    return policy


def dialogues(n: int = 24) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 64, draw.integers(1, 41)).astype(np.int32) for _ in range(n)]


def test_a_score_is_the_heads_output_at_the_last_token(policy) -> None:
    given = dialogues(5)
    with torch.no_grad():
        expected = [
            policy.heads["reward"](policy(torch.from_numpy(d), Layout([0, len(d)])))[-1].item() for d in given
        ]  # fmt: skip
    assert RewardModel(policy).scores(given).tolist() == expected, "bit for bit"


def test_a_score_does_not_depend_on_its_company(policy) -> None:
    given = dialogues()
    alone = RewardModel(policy).scores(given)
    assert (RewardModel(policy, pack_tokens=50).scores(given[::-1])[::-1] == alone).all()
    threaded = RewardModel(policy)
    with ThreadPoolExecutor(12) as pool:
        for _ in range(3):
            assert list(pool.map(threaded.reward, given)) == alone.tolist()
    assert threaded.num_scored == 3 * len(given) and threaded.num_errors == 0


def test_threads_that_wait_are_answered_together(policy, monkeypatch) -> None:
    model, sizes = RewardModel(policy), []
    scores = RewardModel._scores
    monkeypatch.setattr(RewardModel, "_scores", lambda self, asked: sizes.append(len(asked)) or scores(self, asked))
    with ThreadPoolExecutor(8) as pool:
        with model._model:  # as if it were at work
            asked = [pool.submit(model.reward, d) for d in dialogues(8)]
            while len(model._waiting) < 8:
                pass
        assert len({f.result() for f in asked}) > 1
    assert sizes == [8]


@pytest.mark.parametrize("bad", [[], [1] * 41, [64], [-1], [2**40]], ids=["empty", "too long", "unknown", "negative", "huge"])
def test_what_cannot_be_scored_has_an_error_and_leaves_the_others_alone(policy, bad) -> None:
    model = RewardModel(policy)
    scores = model.scores([[1, 2], np.array(bad, np.int64), [3]])
    assert np.isnan(scores[1]) and scores[[0, 2]].tolist() == RewardModel(policy).scores([[1, 2], [3]]).tolist()
    verdict = model(np.array(bad, np.int64))
    assert verdict.score == 0 and "must have 1 to 40 known tokens and a finite score" in verdict.error
    assert (model.num_scored, model.num_errors) == (2, 2)


def test_a_verdict_is_the_chance_of_being_preferred_to_a_score_of_0(policy) -> None:
    model = RewardModel(policy)
    (score,) = model.scores([[1, 2, 3]]).tolist()
    (verdict,) = model.verdicts([[1, 2, 3]])
    assert verdict.score == pytest.approx(1 / (1 + math.exp(-score))) and verdict.evidence == f"reward {score:.4f}" and verdict.error is None
    assert model.verdict(0.0).score == 0.5 and model.verdict(-1e30).score == 0.0 and model.verdict(1e30).score == 1.0
    assert model.verdict(math.nan).error and model.verdict(math.inf).error


def test_scores_that_are_not_finite_are_counted(policy) -> None:
    with torch.no_grad():
        policy.heads["reward"].weight.fill_(math.inf)
    model = RewardModel(policy)
    assert np.isnan(model.scores(dialogues(3))).all() and model.num_errors == 3 and model([5]).error


def test_a_policy_without_the_head_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy must have heads\['reward'\], got \['value'\]: train it by a stage of kind 'reward'"):
        RewardModel(Policy(PolicyConfig(**{**vars(CONFIG), "heads": ("value",)})))
    with pytest.raises(ValueError, match="max_tokens and pack_tokens must be >= 1, got 0 and 8192"):
        RewardModel(Policy(CONFIG), max_tokens=0)
