"""An RL stage's rows by hand: what each option does to the streams of rollouts, and that a source goes on after a checkpoint."""

import json

import numpy as np
import pytest
import torch

from paradigm.advantage import group_advantages, informative
from paradigm.learner import Learner
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.recipe_run import apply
from paradigm.rewards import rewards_by_decision, with_rewards
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource, action_log_probs
from paradigm.sampler import Sampler
from paradigm.state_format import decode_state, encode_state
from paradigm.world import World, WorldConfig

CONFIG = PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, heads=("value",))


def source_of(objective, policy=None, **options) -> RolloutSource:
    policy = Policy(CONFIG, seed=0) if policy is None else policy
    teacher = Policy(CONFIG, seed=1) if objective == "distillation" else None
    defaults = {"steps": 4, "tasks_per_step": 2, "group_size": 4, "max_tokens": 64, "teacher": "other" if teacher else ""}
    config = RL.of(objective, name="rl", **{**defaults, **options})
    return RolloutSource(config, Sampler(policy, slots=16), World(WorldConfig(kind="connect_four"), seed=0), 0, teacher=teacher)


def first_rows(source):
    """(rollouts as the source collects them in step 0, its packed streams in the order of the rollouts' action tokens)."""
    rollouts, _ = source_of("ppo")._collect(0)
    update = next(source.updates(0))
    (batch,) = update.parts[0].batches
    order = torch.argsort(batch.trajectory, stable=True)
    return rollouts, {name: stream[order].numpy() for name, stream in batch.streams.items()}, batch, update.info


def test_averages_by_hand() -> None:
    for average, divisor in {
        "tokens": lambda r, own: r.num_actions.sum(),
        "trajectories": lambda r, own: len(r) * r.num_actions[own],
        "groups": lambda r, own: 2 * np.bincount(r.group, weights=r.num_actions)[r.group[own]],
        "sums": lambda r, own: len(r),
        "constant": lambda r, own: len(r) * 64,
    }.items():
        # a penalty that weighs all rows, so that none is absent
        rollouts, streams, _, _ = first_rows(source_of("ppo", average=average, kl=0.5))
        own = np.repeat(np.arange(len(rollouts)), rollouts.num_actions)
        expected = group_advantages(rollouts, "none")[own] / divisor(rollouts, own)
        np.testing.assert_allclose(streams["advantage"], expected, rtol=1e-5, err_msg=average)
        np.testing.assert_allclose(streams["kl"], np.broadcast_to(0.5 / divisor(rollouts, own), len(own)), rtol=1e-5, err_msg=average)


@pytest.mark.parametrize("objective", ["ppo", "gspo", "vtrace"])
def test_shared_prompts_change_the_tokens_of_an_update_and_not_its_gradient(objective) -> None:
    gradients, tokens = [], []
    for share in (False, True):
        policy = Policy(CONFIG, seed=0)
        source, learner = source_of(objective, policy, share_prompts=share), Learner(policy)
        ((part,),) = (update.parts for update in source.updates(0))
        for batch in part.batches:
            learner.forward_backward(batch, part.objective)
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
        tokens.append(sum(batch.num_tokens for batch in part.batches))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().max() > 1e-3 and tokens[1] < tokens[0]
    with pytest.raises(ValueError, match="share_prompts must be false with objective 'dpo'"):
        RL.of("dpo", name="rl", share_prompts=True)


@pytest.mark.parametrize("objective", ["scalerl", "dapo"])
def test_groups_without_spread_are_dropped_before_the_average(objective) -> None:
    # penalties that differ within every group must not make it look informative
    source = source_of(objective, tasks_per_step=4, group_size=2, overlong_share=0.9 if objective == "dapo" else 0.0)
    rollouts, _ = source_of("ppo", tasks_per_step=4, group_size=2)._collect(0)
    kept, dropped = informative(rollouts)
    assert 0 < dropped < 8, "the case must have groups of both kinds"
    (batch,) = next(source.updates(0)).parts[0].batches
    assert batch.num_sequences == kept.sum() and batch.num_rows == rollouts.num_actions[kept].sum()
    if objective == "scalerl":
        weights = group_advantages(rollouts.select(kept), "batch")
        teaching = rollouts.select(kept)
        rows = np.bincount(teaching.group, weights=teaching.num_actions)
        expected = weights / (rows[teaching.group] * (rows > 0).sum())
        np.testing.assert_allclose(batch.streams["advantage"].numpy(), expected[batch.trajectory], rtol=1e-5)


def test_penalties_in_the_reward_reach_the_advantages() -> None:
    policy = Policy(CONFIG, seed=0)
    source = source_of("rloo", policy, kl=0.5, kl_schedule="linear")
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rollouts, _ = source._collect(1)
    part, _ = source._part(rollouts, 1)
    # at step 1 of 4 a linear schedule is at 3/4
    known = action_log_probs(source.reference, rollouts, 8192)
    left = (rollouts.logprobs - known)[rollouts.action_mask]
    assert np.abs(left).max() > 1e-3, "the reference must differ"
    owner = np.repeat(np.arange(len(rollouts)), rollouts.num_actions)
    rewards = rollouts.reward - 0.375 * np.bincount(owner, weights=left, minlength=len(rollouts))
    expected = []
    for i in range(len(rollouts)):
        others = (rollouts.group == rollouts.group[i]) & (rollouts.seat == rollouts.seat[i])
        others[i] = False
        expected.append((rewards[i] - rewards[others].mean()) / len(rollouts))
    (batch,) = part.batches
    np.testing.assert_allclose(batch.streams["advantage"].numpy(), np.array(expected)[batch.trajectory.numpy()], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", ["grpo", "reinforce++", "ppo", "dpo"])
def test_rollouts_without_finite_rewards_are_counted_and_not_trained_on(objective) -> None:
    source = source_of(objective)
    rollouts, info = source._collect(0)
    assert 0 <= info["rollout/idle_share"] <= 1 and info["rollout/failed"] == 0
    rewards = rollouts.rewards.copy()
    spoilt = np.flatnonzero(rollouts.group == 0)[:3]
    rewards[rollouts.offsets[1:][spoilt] - 1] = [np.nan, np.inf, -np.inf]
    without = rollouts.select(np.setdiff1d(np.arange(len(rollouts)), spoilt))
    part, info = source._part(with_rewards(rollouts, rewards), 0)
    expected, _ = source._part(without, 0)
    assert info["rollout/nonfinite_rewards"] == 3
    for ours, theirs in zip(part.batches, expected.batches, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.target, theirs.target)
        for name, stream in ours.streams.items():
            assert torch.equal(stream, theirs.streams[name]) and stream.isfinite().all(), name


class Broken:
    num_seats = 2

    def tasks(self, seed: int, n: int, plies: int) -> list[str]:
        return [str(plies)] * n

    def reset(self, task: str, seed: int) -> None:
        raise OSError("no world today")

    def step(self, action: np.ndarray) -> None: ...


@pytest.mark.parametrize("objective", ["grpo", "ppo", "dapo", "dpo", "vtrace"])
def test_a_world_that_always_fails_is_reported_and_teaches_nothing(objective) -> None:
    source = source_of(objective)
    source.world.environment = Broken()
    update = next(source.updates(0))
    assert update.info["rollout/failed"] == update.info["rollout/failed_raise"] == 16
    assert all(batch.num_rows == 0 for part in update.parts for batch in part.batches)


def test_overlong_rollouts_are_punished() -> None:
    plain, _, batch, _ = first_rows(source_of("ppo"))
    longest = int(plain.lengths.max())
    source = source_of("reinforce", max_tokens=longest, overlong_share=0.5)
    rollouts, _ = source._collect(0)
    part, _ = source._part(rollouts, 0)
    margin = round(0.5 * longest)
    penalty = np.clip((longest - margin - rollouts.lengths) / margin, -1, 0)
    assert penalty.min() < -0.5
    rollouts.rewards[rollouts.offsets[1:] - 1] += penalty.astype(np.float32)
    (batch,) = part.batches
    expected = group_advantages(rollouts, "none") / rollouts.num_actions.sum()
    np.testing.assert_allclose(batch.streams["advantage"].numpy(), expected[batch.trajectory.numpy()], rtol=1e-3, atol=1e-6)


def test_actor_critics_get_rewards_and_whole_trajectories() -> None:
    rollouts, streams, batch, _ = first_rows(source_of("vtrace"))
    at = np.flatnonzero(rollouts.action_mask)
    np.testing.assert_array_equal(streams["reward"], rewards_by_decision(rollouts, at))
    np.testing.assert_allclose(streams["policy"], 1 / len(at), rtol=1e-6)
    assert batch.num_rows == len(at) and np.abs(streams["reward"]).sum() > 0


def test_pairs_are_a_groups_best_and_worst() -> None:
    rollouts, streams, batch, _ = first_rows(source_of("dpo", average="sums", kl_estimator="full"))
    reward = rollouts.reward[batch.trajectory[torch.searchsorted(batch.document, batch.pairs.long())].numpy()]
    assert len(reward) > 0 and (reward[:, 0] > reward[:, 1]).all() and (batch.pair_weight * len(reward) == 1).all()
    # before any update the policy is the reference
    assert np.array_equal(streams["reference_logprob"], streams["behaviour_logprob"])


def test_distillation_goes_to_the_teacher() -> None:
    policy = Policy(CONFIG, seed=0)
    source, learner = source_of("distillation", policy, steps=8, tasks_per_step=8), Learner(policy, learning_rate=0.03)
    with torch.no_grad():
        source.teacher.head_weight.mul_(20)  # else it hardly prefers any token
    losses = [apply(learner, update)["train/loss"].item() for step in range(8) for update in source.updates(step)]
    assert losses[-1] < 0.5 * losses[0]


def written(state):
    """What a checkpoint would give back."""
    value, tensors = encode_state(state)
    return decode_state(json.loads(json.dumps(value)), tensors.__getitem__)


@pytest.mark.parametrize(
    ("objective", "options"),
    [("ppg", {"auxiliary_every": 2, "auxiliary_epochs": 1}), ("scalerl", {"drop_solved": 0.5, "tasks_per_step": 10})],
)
def test_a_source_goes_on_after_a_checkpoint(objective, options) -> None:
    policy = Policy(CONFIG, seed=0)
    source, learner = source_of(objective, policy, **options), Learner(policy)
    for update in source.updates(0):
        apply(learner, update)
    state = written(source.state_dict())
    again = source_of(objective, policy, **options)
    again.load_state_dict(state)
    ours, theirs = list(source.updates(1)), list(again.updates(1))
    assert len(ours) == len(theirs) == (3 if objective == "ppg" else 1)
    if objective == "scalerl":
        assert ours[0].info["rollout/solved_tasks_skipped"] == theirs[0].info["rollout/solved_tasks_skipped"] > 0
    for one, other in zip(ours, theirs):
        for left, right in zip(one.parts[0].batches, other.parts[0].batches, strict=True):
            assert torch.equal(left.tokens, right.tokens) and left.streams.keys() == right.streams.keys()
            assert all(torch.equal(left.streams[name], right.streams[name]) for name in left.streams)


def test_forced_errors_are_compared_among_themselves(monkeypatch) -> None:
    """The rollouts of a share of the tasks each go on after a token that they did not choose, and no others do."""
    config = RL.of("ppo", name="rl", steps=1, tasks_per_step=4, group_size=4, max_tokens=32, forced_errors=0.5)
    seen = []

    def falsify(environment, rollouts, draw):  # an untrained policy writes no results to falsify
        seen.append(rollouts)
        return {int(index): [(1, [ord("7")])] for index in rollouts.index}

    monkeypatch.setattr("paradigm.rollout_source.falsify", falsify)
    source = RolloutSource(config, Sampler(Policy(CONFIG, seed=0), slots=16), World(WorldConfig(kind="arithmetic"), seed=0), 0)
    rollouts, info = source._collect(0)
    (undisturbed,) = seen
    assert undisturbed.index.tolist() == list(range(8)) and len(rollouts) == 16
    assert source.sampler.stats is not None and source.sampler.stats.num_episodes == 24
    for row, trajectory in enumerate(rollouts):
        start = int(np.argmax(trajectory.action_mask))
        if row < 8:
            assert trajectory.tokens[start + 1] == ord("7") and not trajectory.action_mask[start + 1]
            assert trajectory.tokens[start] == undisturbed[row].tokens[start]  # the same noise up to there
        else:
            assert trajectory.action_mask[start:].all()
    assert info["rollout/recovery"] == float((rollouts.reward[:8] >= 1).mean())


def test_all_tasks_solved_is_a_step_without_an_update() -> None:
    source = source_of("scalerl")
    source.solved.unsolved = lambda tasks: []
    (update,) = source.updates(0)
    assert update.parts == () and update.info == {"rollout/solved_tasks_skipped": 2.0}
    assert apply(Learner(source.sampler.policy), update) == {}


def test_the_auxiliary_phase_fits_values_and_holds_the_policy() -> None:
    policy = Policy(CONFIG, seed=0)
    source, learner = source_of("ppg", policy, auxiliary_every=1, auxiliary_epochs=20, steps=1), Learner(policy, learning_rate=0.01)
    _, *auxiliary = source.updates(0)
    assert source.num_updates == 21 and len(auxiliary) == 20
    assert all(update.parts[0].divergence == "forward" and update.parts[0].teacher is not policy for update in auxiliary)
    tokens = auxiliary[0].parts[0].batches[0]
    before = policy.log_probs(tokens)
    errors = [apply(learner, update)["value/error_squared"].item() for update in auxiliary]
    assert errors[-1] < 0.8 * errors[0]
    assert (policy.log_probs(tokens) - before).abs().mean() < 0.05
    assert len(list(source.updates(1))) == 21, "a phase is over its own rollouts"
