"""Where an RL stage's batches come from: the policy's own rollouts, new ones each step.

    tasks -> rollouts -> rewards less penalties -> groups that teach -> streams -> packed batches -> importance correction
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from paradigm.advantage import SolvedTasks, batch_advantages, group_advantages, informative
from paradigm.batch import PackedBatch
from paradigm.evaluation import CORRECT
from paradigm.importance import corrected
from paradigm.kernels.gae import gae
from paradigm.kl import Divergence
from paradigm.objective import CrossEntropy, reduce_metrics
from paradigm.optimizer import Schedule
from paradigm.preference import best_and_worst
from paradigm.rewards import failing_nonfinite, overlong_penalty, penalized_rewards, rewards_by_decision, with_rewards
from paradigm.rl_stage import ACTOR_CRITIC, RL
from paradigm.sampler import Sampler
from paradigm.stage import Part, Update
from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS, TrajectoryBuffer
from paradigm.world import World

# n tokens of all rollouts, B rollouts


class RolloutSource:
    """The policy's own rollouts: a pure function of the weights, the seed and the step.

    Args:
        teacher: with objective "distillation", who teaches.
        documents: where `config.pretrain` > 0, a stream of documents.
    """

    def __init__(
        self, config: RL, sampler: Sampler, world: World, seed: int, *, teacher: nn.Module | None = None, documents: Any = None,
    ):  # fmt: skip
        self.config, self.sampler, self.world, self.seed = config, sampler, world, seed
        self.teacher, self.documents = teacher, documents
        self.num_steps = config.steps
        self.rollout_tokens = self.rollouts = 0
        self.reference = copy.deepcopy(sampler.policy) if config.needs_reference else None
        self.objective = config.build_objective()
        self.solved = SolvedTasks(config.drop_solved, CORRECT) if config.drop_solved else None
        self._kl_schedule = Schedule(kind=config.kl_schedule, total_steps=config.steps)
        self._replayed: list[tuple[TrajectoryBuffer, np.ndarray]] = []  # since the last auxiliary phase: rollouts, and value targets [n]

    @property
    def num_updates(self) -> int:
        config = self.config
        phases = config.steps // config.auxiliary_every if config.auxiliary_every else 0
        return config.steps * config.updates_per_step + phases * config.auxiliary_every * config.auxiliary_epochs

    def updates(self, step: int) -> Iterator[Update]:
        config = self.config
        rollouts, info = self._collect(step)
        parts: tuple[Part, ...] = ()
        if rollouts is not None:
            part, more = self._part(rollouts, step)
            parts, info = (part,), info | more
        if config.pretrain:
            taken = self.documents.take(config.pretrain_tokens)
            batches = PackedBatch.pack(taken, max(config.pack_tokens, int(taken.lengths.max())), rows="all", ce=config.pretrain)
            parts = (*parts, Part(batches, CrossEntropy()))
        for _ in range(config.updates_per_step):
            yield Update(parts, info)
            info = {}
        if config.auxiliary_every and (step + 1) % config.auxiliary_every == 0:
            yield from self._auxiliary_phase()

    def _collect(self, step: int) -> tuple[TrajectoryBuffer | None, dict[str, Any]]:
        config = self.config
        tasks = self.world.tasks("train", seed=step_seed(self.seed, step), n=config.tasks_per_step)
        solved: dict[str, Any] = {}
        if self.solved is not None:
            known = len(tasks)
            tasks = self.solved.unsolved(tasks)
            solved = {"rollout/solved_tasks_skipped": float(known - len(tasks))}
            if not tasks:
                return None, solved
        self.sampler.version = step
        rollouts = self.sampler.collect(
            self.world.environment, tasks, group_size=config.group_size, temperature=config.temperature, max_tokens=config.max_tokens,
            key=(self.seed, step),
        )  # fmt: skip
        self.rollout_tokens += rollouts.num_tokens
        self.rollouts += len(rollouts)
        if self.solved is not None:
            solved["rollout/tasks_solved"] = float(self.solved.update(rollouts))
        info = {
            "rollout/reward_mean": float(rollouts.reward.mean()),
            "rollout/success": float((rollouts.reward >= CORRECT).mean()),
            "rollout/action_tokens_mean": float(rollouts.num_actions.mean()),
            "rollout/failed": float(rollouts.failed.sum()),
            "rollout/length_limited": float((rollouts.stop_reason == 2).sum()),
            "rollout/tokens": float(rollouts.num_tokens),
        }
        reasons = Counter(notes["failure_reason"] for notes in rollouts.extras.values())
        info |= {f"rollout/failed_{reason}": float(count) for reason, count in reasons.items()}
        if (stats := self.sampler.stats) is not None:
            seconds = {"model": stats.model_s, "core": stats.core_s, "environments": stats.wait_s, "all": stats.total_s}
            info |= {f"rollout/{name}_s": value for name, value in seconds.items()} | {"rollout/flops": float(stats.flops)}
            info["rollout/idle_share"] = stats.idle_share
            cache = ("prefixes_shared", "tokens_shared", "evictions", "tokens_recomputed")  # these may depend on who was ready first
            info |= {f"rollout/{name}": float(getattr(stats, name)) for name in cache}
        return rollouts, info | solved

    def _part(self, rollouts: TrajectoryBuffer, step: int) -> tuple[Part, dict[str, Any]]:
        """The rollouts as packed batches, with what their rows weigh."""
        config, policy = self.config, self.sampler.policy
        info: dict[str, Any] = {}
        known = None
        if self.reference is not None and (config.objective == "dpo" or config.kl_estimator != "full"):
            known = action_log_probs(self.reference, rollouts, config.pack_tokens)
        kl = config.kl * self._kl_schedule.ratio(step)
        rewards = rollouts.rewards
        if config.kl and config.kl_in == "reward":
            rewards = penalized_rewards(rollouts, known, kl, config.kl_estimator)  # type: ignore[arg-type]
        if config.overlong_share and rollouts.num_tokens:
            margin = max(1, round(config.overlong_share * config.max_tokens))
            rewards = rewards.copy()
            filled = rollouts.lengths > 0
            rewards[rollouts.offsets[1:][filled] - 1] += overlong_penalty(rollouts.lengths, max_length=config.max_tokens, margin=margin)[filled]
        teaching, num_nonfinite = failing_nonfinite(with_rewards(rollouts, rewards))
        info["rollout/nonfinite_rewards"] = float(num_nonfinite)
        if config.drop_uninformative:
            kept, dropped = informative(rollouts)  # by the verdict alone: penalties differ nearly always
            info["rollout/uninformative_groups"] = float(dropped)
            owner = np.repeat(kept, rollouts.lengths)
            teaching, known = teaching.select(kept), None if known is None else known[owner]
        streams = self._streams(teaching)
        if "advantage" in streams:
            info["rollout/nonzero_advantage_share"] = float((streams["advantage"] != 0).mean()) if len(teaching) else 0.0
        if config.entropy:
            streams["entropy"] = config.entropy
        if config.kl and config.kl_in == "loss":
            streams["divergence" if config.kl_estimator == "full" else "kl"] = kl
        if known is not None:
            streams["reference_logprob"] = known
        pairs = None
        pack_tokens = config.pack_tokens
        if config.objective == "dpo":
            pairs = best_and_worst(teaching)
            pairs = pairs[(teaching.num_actions[pairs] > 0).all(1)]
            pack_tokens = max(pack_tokens, int(teaching.lengths[pairs].sum(1).max(initial=0)))
        divisor: Any = "tokens" if pairs is not None else self._divisor(teaching)  # pairs count the same, whatever is averaged over
        batches = PackedBatch.pack(teaching, pack_tokens, normalize=divisor, pairs=pairs, **streams)
        if config.correction is not None:
            changed = [corrected(batch, log_probs(policy, batch), config.correction) for batch in batches]
            batches, info = [batch for batch, _ in changed], info | reduce_metrics([metrics for _, metrics in changed])
        if config.auxiliary_every:
            self._replayed.append((teaching, streams["value_target"]))
        teacher = self.teacher
        if config.kl and config.kl_in == "loss" and config.kl_estimator == "full":
            teacher = self.reference
        return Part(batches, self.objective, teacher, config.kl_direction), info

    def _streams(self, rollouts: TrajectoryBuffer) -> dict[str, Any]:
        config = self.config
        if config.objective in ACTOR_CRITIC:
            at = np.flatnonzero(rollouts.action_mask)
            earned = np.zeros(rollouts.num_tokens, np.float32)
            earned[at] = rewards_by_decision(rollouts, at)
            return {"policy": 1.0, "value": config.value_coefficient, "reward": earned}
        if config.objective == "dpo":
            return {}
        if config.objective == "distillation":
            return {"divergence": 1.0}
        if config.advantage == "gae":
            return value_advantages(self.sampler.policy, rollouts, config)
        if config.advantage == "batch":
            return {"advantage": batch_advantages(rollouts)}
        return {"advantage": group_advantages(rollouts, config.normalize, leave_one_out=config.advantage == "leave_one_out")}

    def _divisor(self, rollouts: TrajectoryBuffer) -> Any:
        average, num = self.config.average, max(int((~rollouts.failed).sum()), 1)
        if average in ("sums", "constant"):
            return float(num if average == "sums" else num * self.config.max_tokens)
        return average

    def _auxiliary_phase(self) -> Iterator[Update]:
        """PPG's: values are fitted to the targets of the whole phase, while the policy is held where it is now.

        Unlike the paper's, one network has both heads in the policy phase too, and the value loss there reaches all of it.
        """
        config, old = self.config, copy.deepcopy(self.sampler.policy)
        for _ in range(config.auxiliary_epochs):
            for rollouts, target in self._replayed:
                streams: dict[str, Any] = {"divergence": config.auxiliary_kl, "value": config.value_coefficient, "value_target": target}
                yield Update((Part(PackedBatch.pack(rollouts, config.pack_tokens, **streams), Divergence(), old, "forward"),), {})
        self._replayed = []

    def state_dict(self) -> dict[str, Any]:
        fields = (*TOKEN_FIELDS, *SCALAR_FIELDS, "offsets", "support_table")
        return {
            "rollout_tokens": self.rollout_tokens, "rollouts": self.rollouts,
            "solved": None if self.solved is None else self.solved.state_dict(),
            "documents": None if self.documents is None else self.documents.state_dict(),
            "replayed": [{"target": target, "rollouts": {name: getattr(buffer, name) for name in fields}} for buffer, target in self._replayed],
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rollout_tokens, self.rollouts = state["rollout_tokens"], state["rollouts"]
        if self.solved is not None:
            self.solved.load_state_dict(state["solved"])
        if self.documents is not None:
            self.documents.load_state_dict(state["documents"])
        self._replayed = [(TrajectoryBuffer(entry["rollouts"]), entry["target"]) for entry in state["replayed"]]


@torch.no_grad()
def by_token(rollouts: TrajectoryBuffer, pack_tokens: int, of: Callable[[PackedBatch], torch.Tensor]) -> np.ndarray:
    """float32 [n], for each action token what `of` says of its row; 0 elsewhere. `of` gets batches on the host and returns [N]."""
    values = np.zeros(rollouts.num_tokens, np.float32)
    for batch in PackedBatch.pack(rollouts, pack_tokens, normalize="none"):
        starts = torch.from_numpy(rollouts.offsets)[batch.trajectory] - batch.layout.cu_seqlens[batch.document]
        values[(starts + batch.position + 1).numpy()] = of(batch).cpu().numpy()  # a token's row is the position before it
    return values


def action_log_probs(policy: Any, rollouts: TrajectoryBuffer, pack_tokens: int) -> np.ndarray:
    """float32 [n], the log-prob of each action token under `policy`; 0 elsewhere."""
    return by_token(rollouts, pack_tokens, lambda batch: log_probs(policy, batch))


def log_probs(policy: Any, batch: PackedBatch) -> torch.Tensor:
    """float32 [N], of a batch that lies on the host, wherever the policy is."""
    return policy.log_probs(batch.to(policy.head_weight.device)).cpu()


@torch.no_grad()
def value_advantages(policy: Any, rollouts: TrajectoryBuffer, config: RL) -> dict[str, Any]:
    """GAE's streams over the decisions of each trajectory: token fields [n] `advantage`, `value_target`, and the coefficient `value`.

    A decision is worth what `policy.heads["value"]` says before it; the one after it is the same seat's next. Actions are taken for one
    token long: a longer one is as many decisions. Advantages are scaled to a standard deviation of 1 over the whole set.
    """

    def head(batch: PackedBatch) -> torch.Tensor:
        there = batch.to(policy.head_weight.device)
        hidden = policy(there.tokens, there.layout).index_select(0, there.position)
        return policy.heads["value"](hidden).reshape(-1).float()

    values = by_token(rollouts, config.pack_tokens, head)
    owner = np.repeat(np.arange(len(rollouts)), rollouts.lengths)
    at = np.flatnonzero(rollouts.action_mask & ~rollouts.failed[owner])
    cuts = np.searchsorted(owner[at], np.arange(len(rollouts) + 1))
    advantage, target = np.zeros_like(values), np.zeros_like(values)
    estimates = gae(
        torch.from_numpy(rewards_by_decision(rollouts, at)), torch.from_numpy(values[at]), torch.zeros(len(rollouts)),
        torch.from_numpy(cuts.astype(np.int32)), gamma=config.gamma, lam=config.lam,
    ).numpy()  # fmt: skip
    target[at] = estimates + values[at]
    advantage[at] = estimates / (estimates.std() + 1e-6)
    return {"advantage": advantage, "value": config.value_coefficient, "value_target": target}


def step_seed(seed: int, step: int) -> int:
    """A task seed for each (seed, step): not seed + step, or runs would share tasks."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint32)[0])


