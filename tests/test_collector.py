"""Rollouts drawn ahead: the lag is bounded, timing changes no bit, a checkpoint holds them, and they are corrected for."""

import copy
import dataclasses
import json
import time

import numpy as np
import pytest
import torch

from paradigm import distributed
from paradigm.collector import Collector
from paradigm.importance import ImportanceCorrection
from paradigm.kind_objective import KindObjective
from paradigm.learner import Learner
from paradigm.objective import reduce_metrics
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.recipe import decode_recipe
from paradigm.recipe_run import apply
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource
from paradigm.sampler import Sampler
from paradigm.state_format import decode_state, encode_state
from paradigm.world import World, WorldConfig

CONFIG = PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)
STEPS = 4


class Run:
    """A stage's source and learner, a step at a time; `weights` are those before each step."""

    def __init__(self, objective="ppo", **options):
        self.policy = Policy(CONFIG, seed=0)
        config = RL.of(objective, name="rl", **{"steps": STEPS, "tasks_per_step": 2, "group_size": 4, "max_tokens": 64, **options})
        self.source = RolloutSource(config, Sampler(self.policy, slots=16), World(WorldConfig(kind="connect_four"), seed=0), 0)
        self.learner = Learner(self.policy, learning_rate=1e-2)
        self.weights, self.rows, self.taken = [], [], []
        take = self.source._collector.take
        self.source._collector.take = lambda step: self.taken.append(take(step)) or self.taken[-1]

    def steps(self, numbers=range(STEPS), learner_s=0.0):
        for step in numbers:
            self.weights.append(copy.deepcopy(self.policy.state_dict()))
            row = {}
            for update in self.source.updates(step):
                time.sleep(learner_s)
                row |= {**update.info, **apply(self.learner, update)}
            self.rows.append({name: float(value) for name, value in row.items()})
        return self

    def bits(self):
        return torch.cat([p.detach().flatten() for p in self.policy.parameters()])


def slowed(run, seconds):
    play = run.source._collector._play
    run.source._collector._play = lambda *args, **options: (time.sleep(seconds), play(*args, **options))[1]
    return run


def through_a_file(state):
    value, tensors = encode_state(state)
    return decode_state(json.loads(json.dumps(value)), tensors.__getitem__)


@pytest.fixture(scope="module")
def lagging():
    return {lag: Run(max_lag=lag).steps() for lag in (1, 2)}


def test_a_step_is_drawn_with_the_weights_of_max_lag_steps_before(lagging) -> None:
    for lag, run in lagging.items():
        for step, (taken, row) in enumerate(zip(run.taken, run.rows)):
            drawn_from = max(0, step - lag)
            assert taken.version == drawn_from and row["rollout/lag"] == step - drawn_from <= lag and 0 <= row["rollout/learner_idle_share"] <= 1
            assert (taken.rollouts.version[taken.rollouts.action_mask] == drawn_from).all()
            policy = Policy(CONFIG, seed=None)
            policy.load_state_dict(run.weights[drawn_from])
            source = Run().source
            again = source._play(Sampler(policy, slots=3), source._tasks(step), step)
            np.testing.assert_array_equal(taken.rollouts.tokens, again.tokens)
            np.testing.assert_array_equal(taken.rollouts.logprobs, again.logprobs)
        assert not torch.equal(run.weights[0]["model.norm.weight"], run.weights[-1]["model.norm.weight"])


def test_who_is_slow_changes_no_bit(lagging) -> None:
    slow_rollouts, slow_learner = slowed(Run(max_lag=1), 0.2).steps(), Run(max_lag=1).steps(learner_s=0.2)
    for run in (slow_rollouts, slow_learner):
        assert torch.equal(run.bits(), lagging[1].bits())
    assert slow_rollouts.rows[-1]["rollout/learner_idle_share"] > slow_learner.rows[-1]["rollout/learner_idle_share"]
    assert not torch.equal(lagging[1].bits(), lagging[2].bits()) and not torch.equal(lagging[1].bits(), Run().steps().bits())


@pytest.mark.parametrize(("lag", "objective", "options"), [(1, "ppo", {}), (2, "scalerl", {"drop_solved": 0.2, "tasks_per_step": 4})])
def test_a_checkpoint_holds_what_was_drawn_ahead(lag, objective, options) -> None:
    whole = Run(objective, max_lag=lag, **options).steps()
    first = Run(objective, max_lag=lag, **options).steps(range(2))
    state = through_a_file(first.source.state_dict())
    assert [entry["step"] for entry in state["ahead"]] == list(range(2, min(2 + lag, STEPS)))
    second = Run(objective, max_lag=lag, **options)
    second.learner.load_state_dict(through_a_file(first.learner.state_dict()))
    second.source.load_state_dict(state)
    second.steps(range(2, STEPS))
    assert torch.equal(second.bits(), whole.bits())
    untimed = [{k: v for k, v in row.items() if not k.endswith("_s") and "idle" not in k} for row in (*second.rows, *whole.rows[2:])]
    assert untimed[:2] == untimed[2:]


def test_older_rollouts_are_weighed_by_how_likely_they_are_now(lagging) -> None:
    rows = lagging[1].rows
    assert rows[0]["mismatch/distance"] == 0 and rows[0]["importance/weight"] == 1, "nothing is stale in the first step, and the sampler is exact"
    assert all(row["mismatch/distance"] > 0 and row["mismatch/k3"] > 0 and row["importance/weight"] != 1 for row in rows[1:])
    run = Run(max_lag=1, updates_per_step=1).steps(range(1))
    (update,) = run.source.updates(1)
    ((batch,),) = (part.batches for part in update.parts)
    now = run.policy.log_probs(batch)
    torch.testing.assert_close(batch.streams["behaviour_logprob"], now, rtol=0, atol=0)
    metrics = reduce_metrics(distributed.per_rank([run.learner.forward_backward(batch, update.parts[0].objective)]))
    assert float(metrics["train/loss"]) != 0


def test_what_needs_a_correction_gets_or_demands_one() -> None:
    assert RL.of("ppo", max_lag=1).correction == ImportanceCorrection() and RL.of("ppo").correction is None
    assert RL.of("gspo", max_lag=1).correction == ImportanceCorrection(level="sequence")
    masks = ImportanceCorrection(kind="mask", low=0.5)
    assert RL.of("ppo", max_lag=1, correction=masks).correction == masks
    for objective in ("cispo", "vtrace", "dpo"):
        assert RL.of(objective, max_lag=1).correction is None, "its own weights correct, or it needs none"
    kinds = {"a": {"objective": "cispo"}, "b": {"objective": "gspo"}, "c": {"clip_high": 0.3}}
    recipe = {"name": "x", "policy": {"vocab_size": 272, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}}
    (stage,) = decode_recipe({**recipe, "stages": [{"kind": "rl", "max_lag": 2}]}).stages
    assert isinstance(stage, RL) and stage.correction == ImportanceCorrection()
    mixed = dataclasses.replace(stage, kinds={name: KindObjective(**own) for name, own in kinds.items()})
    assert [mixed.of_kind(name).correction for name in kinds] == [None, ImportanceCorrection(level="sequence"), ImportanceCorrection()]
    for options, message in (
        ({"max_lag": -1}, "max_lag must be >= 0"), ({"max_lag": 50}, "max_lag must be less than the 50 steps"),
        ({"max_lag": 1, "correction": None}, "correction must be given with max_lag > 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            RL.of("ppo", **options)
    with pytest.raises(ValueError, match="max_lag must be 0 with objective 'distillation'"):
        RL.of("distillation", teacher="t", max_lag=1)


def test_several_ranks_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(ValueError, match="max_lag must be 0 on several ranks"):
        Run(max_lag=1)


def test_a_failure_reaches_the_learner_and_closing_ends_what_is_at_work() -> None:
    sampler = Sampler(Policy(CONFIG, seed=0), slots=4)

    def fail(*args, **options):
        raise ValueError("no such task")

    broken = Collector(sampler, fail, max_lag=1)
    broken.start(0, ["a"], [0], 0)
    for ask in (broken.settle, broken.state_dict, lambda: broken.take(0)):
        with pytest.raises(ValueError, match="no such task"):
            ask()
    assert broken.take(1) is None, "it was not started"
    broken.close()
    steps = []

    def endless(sampler, tasks, step, between_steps):
        while True:
            steps.append(between_steps())
            time.sleep(0.001)

    collector = Collector(sampler, endless, max_lag=1)
    collector.start(0, ["a"], [0], 0)
    while not steps:
        time.sleep(0.001)
    collector.close()
    with pytest.raises(RuntimeError, match="closed"):
        collector.settle()
