"""The reward model as a stage: it learns a rule from pairs, is measured on pairs it never saw, and survives being killed."""

import hashlib
import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from paradigm.config import ConfigError
from paradigm.policy import Policy, PolicyConfig
from paradigm.recipe_run import run_recipe
from paradigm.reward_stage import PairSource, Ranking, Reward, rank_pairs
from paradigm.sources.preference_pairs import PreferencePairs
from paradigm.tokenizer import Tokenizer
from paradigm.verifiers import RewardModel
from tests.preference_cases import POLICY, preference_recipe, write_pairs

STAGE = {"kind": "reward", "epochs": 12.0, "pairs_per_step": 16, "learning_rate": 1e-2, "half": "first", "evaluate_every": 10, "checkpoint_every": 2}


def rows_of(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    run_recipe(preference_recipe(folder, STAGE), folder / "run")
    return folder


def test_a_reward_model_learns_what_people_prefer(trained) -> None:
    rows = rows_of(trained / "run", "preferences.jsonl")
    assert [row["final"] for row in rows] == [False] * (len(rows) - 1) + [True] and len(rows) > 2
    last = rows[-1]
    assert last["kind"] == "reward" and last["pairs"] == 40 and last["correct"] == 40, "the rule is easy, and the pairs were held out"
    assert rows[0]["loss"] > last["loss"] and last["margin"] > 2 and last["unscored"] == 0
    metrics = rows_of(trained / "run", "metrics.jsonl")
    assert metrics[0]["preference/loss"] == pytest.approx(math.log(2), rel=1e-4) and metrics[-1]["preference/accuracy"] == 1
    # the demonstrations it was trained on score 0 on average
    model = RewardModel(Policy.from_pretrained(trained / "run" / "stages" / "reward" / "model"))
    pairs = PreferencePairs(trained / "pairs.jsonl", Tokenizer(), max_prompt_tokens=32, max_response_tokens=12)
    shown, _ = pairs.pairs(pairs.rows("train", "first"))
    scores = model.scores([t.tokens for t in shown])
    assert abs(scores[::2].mean()) < 1e-4 and scores[1::2].mean() < -2


def test_each_epoch_has_every_pair_once(tmp_path) -> None:
    pairs = PreferencePairs(write_pairs(tmp_path / "p.jsonl", 40), Tokenizer())
    source = PairSource(Reward(name="r", pairs_per_step=7, epochs=2.0), pairs, 0)
    seen = []
    for step in range(-(-2 * len(source.rows) // 7)):
        ((part,),) = (update.parts for update in source.updates(step))
        for batch in part.batches:
            ends = batch.layout.cu_seqlens.tolist()
            for chosen, rejected in batch.pairs.tolist():
                one, other = (batch.tokens[ends[d] : ends[d + 1]].tolist() for d in (chosen, rejected))
                assert one[:-2] == other[:-2] and (one[-2], other[-2]) == (ord("!"), ord(".")), "the first is the preferred one"
                seen.append(tuple(one))
    size = len(source.rows)
    assert len(set(seen[:size])) == len(set(seen[size : 2 * size])) == size and seen[:size] != seen[size : 2 * size]


def test_what_cannot_be_scored_counts_as_wrong(tmp_path) -> None:
    pairs = PreferencePairs(write_pairs(tmp_path / "p.jsonl", 40), Tokenizer())
    policy = Policy(PolicyConfig(**POLICY, heads=("reward",)), seed=0)
    assert rank_pairs(RewardModel(policy), pairs, np.arange(10)) == Ranking(10, 5.0, 0, pytest.approx(math.log(2)), 0.0), "a head of zeros ties"
    with torch.no_grad():
        policy.heads["reward"].bias.fill_(math.inf)
    ranking = rank_pairs(RewardModel(policy), pairs, np.arange(10))
    assert (ranking.pairs, ranking.correct, ranking.unscored) == (10, 0.0, 10)


def _train(recipe, folder: Path) -> None:
    os.setpgrp()
    run_recipe(recipe, folder)


def test_killed_it_ends_with_the_same_bits(trained) -> None:
    recipe = preference_recipe(trained, STAGE)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paradigm.recipe_run"])

    def steps() -> int:
        path = trained / "killed" / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    kills = 0
    for goal in (5, 13, 21):  # the second one after the points of the learning curve at 10
        process = context.Process(target=_train, args=(recipe, trained / "killed"))
        process.start()
        while process.is_alive() and steps() < goal:
            time.sleep(0.002)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills == 3, "each must land inside the stage"
    run_recipe(recipe, trained / "killed")
    digests = [
        {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (trained / name / "stages" / "reward" / "model").rglob("*.safetensors")}
        for name in ("run", "killed")
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 2
    assert rows_of(trained / "run", "preferences.jsonl") == rows_of(trained / "killed", "preferences.jsonl")


@pytest.mark.parametrize(
    ("stages", "values", "message"),
    [
        ([{**STAGE, "pairs_per_step": 0}], {}, "pairs_per_step must be >= 1, got 0"),
        ([{**STAGE, "epochs": 0.0}], {}, "epochs must be > 0, got 0"),
        ([STAGE], {"world": {}}, "data.pairs must be left out where the world is 'arithmetic'"),
        ([STAGE], {"world": {}, "data": {}}, "must have a world of kind 'preferences' for a reward stage, got 'reward'"),
        ([STAGE, {"kind": "rl"}], {}, r"rl.reward_of must name an earlier reward stage \(reward\) or a folder with a reward model, got ''"),
        ([{"kind": "rl", "reward_of": "reward"}, STAGE], {}, r"earlier reward stage \(none yet\)"),
        ([{"kind": "imitate", "filtered": True}], {}, "imitate.filtered must be false where the world is 'preferences'"),
        ([STAGE], {"evaluation": {"max_tokens": 43}}, "evaluation.max_tokens must hold the world's .* = 44, got 43"),
        ([{"kind": "distil"}], {}, "must not have a stage of kind 'distil', which needs verdicts"),
        ([STAGE], {"evaluation": {"gold": "golden"}}, r"evaluation.gold must name a reward stage \(reward\), got 'golden'"),
        ([STAGE], {"evaluation": {"text_of": "reward", "text_tokens": 9}}, "text_of must name a pretrain stage with held_out_every"),
        ([STAGE], {"data": {"pairs": "p", "vocabulary": 300}}, "policy.vocab_size must be at least data.vocabulary = 300, got 272"),
        ([{"kind": "pretrain", "width": 2}], {}, "width must be >= 1, and 1 but where start is 'scratch', got 2 with 'previous'"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(tmp_path, stages, values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        preference_recipe(tmp_path, *stages, **{"policy": {**POLICY, "vocab_size": 272}, **values})


def test_a_missing_file_says_what_to_give(tmp_path) -> None:
    for path in ("", str(tmp_path / "absent.jsonl")):
        with pytest.raises(ConfigError, match=r'give data.pairs=PATH: one JSON object a line with "chosen" and "rejected"'):
            run_recipe(preference_recipe(tmp_path, STAGE, data={"pairs": path}), tmp_path / "run")
