"""Where an RL stage's batches come from: the policy's own rollouts, new ones each step.

    tasks -> rollouts -> rewards less penalties -> groups that teach -> streams -> packed batches -> importance correction

Where the sampler is not exact, or rollouts are drawn ahead (`collector`), each step also measures how far its log-probs are from the learner's
(`importance.mismatch`), at the price of a forward pass over what is trained on.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from paradigm import distributed
from paradigm.advantage import SolvedTasks, batch_advantages, group_advantages, informative
from paradigm.batch import COEFFICIENT_STREAMS, PackedBatch
from paradigm.collector import Collector
from paradigm.evaluation import CORRECT, falsify
from paradigm.importance import corrected, mismatch
from paradigm.kernels.gae import gae
from paradigm.kl import Divergence
from paradigm.mixture_world import AnyWorld
from paradigm.objective import CrossEntropy, reduce_metrics
from paradigm.optimizer import Schedule
from paradigm.preference import best_and_worst
from paradigm.rewards import failing_nonfinite, overlong_penalty, penalized_rewards, rewards_by_decision, with_rewards
from paradigm.rl_stage import ACTOR_CRITIC, RL
from paradigm.sampler import Sampler
from paradigm.stage import Part, Update
from paradigm.timeline import span
from paradigm.trajectory import TrajectoryBuffer

# n tokens of all rollouts, B rollouts


class RolloutSource:
    """The policy's own rollouts: a pure function of the weights, the seed and the step.

    Every rank has all rollouts, with their advantages, and packs its share.

    Args:
        sampler: of the policy, whole.
        teacher: with objective "distillation", who teaches.
        documents: where `config.pretrain` > 0, a stream of documents.
        refresh: called before the sampler's policy is used, where that is a copy of the one that is trained.
    """

    def __init__(
        self, config: RL, sampler: Sampler, world: AnyWorld, seed: int, *, teacher: nn.Module | None = None, documents: Any = None,
        refresh: Callable[[], None] | None = None,
    ):  # fmt: skip
        if config.max_lag and distributed.world() > 1:
            raise ValueError(f"max_lag must be 0 on several ranks, whose collections and updates would talk across each other, got {config.max_lag}")
        self.config, self.sampler, self.world, self.seed = config, sampler, world, seed
        self.policy = sampler.policy
        self._collector = Collector(sampler, self._play, config.max_lag)
        self.teacher, self.documents = teacher, documents
        self._refresh = refresh if refresh is not None else lambda: None
        self.num_steps = config.steps
        self._started = 0  # steps before this one have been collected, or are being
        self.rollout_tokens = self.rollouts = 0
        self.reference = copy.deepcopy(self.policy) if config.needs_reference else None
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
        self._refresh()
        with span("collect"):
            rollouts, info = self._collect(step)
        parts: tuple[Part, ...] = ()
        if rollouts is not None:
            for kind, own, share in self._by_objective(rollouts):
                with span("prepare", "update"):
                    part, more = self._part(own, step, config.of_kind(kind), share)
                parts, info = (*parts, part), info | {f"{name}/{kind}" if kind else name: value for name, value in more.items()}
        if config.pretrain:
            taken = self.documents.take(config.pretrain_tokens)
            pack_tokens = max(config.pack_tokens, int(taken.lengths.max()))
            batches = PackedBatch.pack(taken, pack_tokens, rows="all", share=distributed.share(), ce=config.pretrain)
            parts = (*parts, Part(batches, CrossEntropy()))
        for _ in range(config.updates_per_step):
            yield Update(parts, info)
            info = {}
        if config.auxiliary_every and (step + 1) % config.auxiliary_every == 0:
            yield from self._auxiliary_phase()

    def close(self) -> None:
        """Ends what is collected ahead."""
        self._collector.close()

    def settle(self) -> None:
        """Waits until nothing is being collected, so that the world is free."""
        self._collector.settle()

    def _tasks(self, step: int) -> Any:
        return self.world.tasks("train", seed=step_seed(self.seed, step), n=self.config.tasks_per_step)

    def _play(self, sampler: Sampler, tasks: Sequence[Any], step: int, **options: Any) -> TrajectoryBuffer:
        config = self.config
        options |= {"group_size": config.group_size, "temperature": config.temperature, "max_tokens": config.max_tokens, "key": (self.seed, step)}
        environment = self.world.environment
        if not config.forced_errors:
            return sampler.collect(environment, tasks, **options)
        undisturbed = sampler.collect(environment, self._disturbed(tasks), **options)
        stats = sampler.stats
        forced = falsify(environment, undisturbed, np.random.default_rng([self.seed, step, 0xE44]))
        rollouts = sampler.collect(environment, tasks, **options, forced=forced)
        if stats is not None and sampler.stats is not None:
            sampler.stats += stats
        return rollouts

    def _disturbed(self, tasks: Sequence[Any]) -> Sequence[Any]:
        return tasks[: round(self.config.forced_errors * len(tasks))]

    def _start(self, step: int, version: int) -> None:
        """Begins a step's collection, of the tasks that are unsolved by now, with the weights after `version` steps."""
        tasks = self._tasks(step)
        if self.solved is None:
            self._collector.start(step, tasks, range(len(tasks)), version)
            return
        chosen = [i for i, task in enumerate(tasks) if self.solved.unsolved([task])]
        if chosen:
            self._collector.start(step, [tasks[i] for i in chosen], chosen, version)

    def _collect(self, step: int) -> tuple[TrajectoryBuffer | None, dict[str, Any]]:
        ahead = max(step, min(step + self.config.max_lag, self.num_steps - 1))
        for later in range(max(step, self._started) if self.config.max_lag else step, ahead + 1):
            self._start(later, step)
        self._started = ahead + 1
        solved: dict[str, Any] = {}
        collected = self._collector.take(step)
        rollouts = None if collected is None else collected.rollouts
        if self.solved is not None:
            solved["rollout/solved_tasks_skipped"] = float(self.config.tasks_per_step - (0 if rollouts is None else len(rollouts.tasks)))
        if collected is None or rollouts is None:
            return None, solved
        self.rollout_tokens += rollouts.num_tokens
        self.rollouts += len(rollouts)
        if self.solved is not None:
            solved["rollout/tasks_solved"] = float(self.solved.update(rollouts))
        info = {
            "rollout/reward_mean": float(rollouts.reward.mean()),
            # a reward model's scores are no verdicts
            **({} if self.config.reward_of else {"rollout/success": float((rollouts.reward >= CORRECT).mean())}),
            "rollout/action_tokens_mean": float(rollouts.num_actions.mean()),
            "rollout/failed": float(rollouts.failed.sum()),
            "rollout/length_limited": float((rollouts.stop_reason == 2).sum()),
            "rollout/tokens": float(rollouts.num_tokens),
        }
        disturbed = rollouts.task < len(self._disturbed(rollouts.tasks))
        if disturbed.any():
            info["rollout/recovery"] = float((rollouts.reward[disturbed] >= CORRECT).mean())
        reasons = Counter(notes["failure_reason"] for notes in rollouts.extras.values())
        info |= {f"rollout/failed_{reason}": float(count) for reason, count in reasons.items()}
        if self.config.max_lag:
            info |= {"rollout/lag": float(step - collected.version), "rollout/learner_idle_share": collected.idle_share}
        if (stats := collected.stats) is not None:
            seconds = {"model": stats.model_s, "core": stats.core_s, "environments": stats.wait_s, "all": stats.total_s}
            info |= {f"rollout/{name}_s": value for name, value in seconds.items()} | {"rollout/flops": float(stats.flops)}
            info["rollout/idle_share"] = stats.idle_share
            cache = ("prefixes_shared", "tokens_shared", "evictions", "tokens_recomputed")  # these may depend on who was ready first
            info |= {f"rollout/{name}": float(getattr(stats, name)) for name in cache}
        return rollouts, info | solved | kind_metrics(rollouts, self.world.kind_of)

    def _by_objective(self, rollouts: TrajectoryBuffer) -> Iterator[tuple[str, TrajectoryBuffer, float]]:
        """(kind, its rollouts, their share of all that did not fail) for each kind with an objective of its own; ("", the others, theirs)."""
        if not self.config.kinds:
            yield "", rollouts, 1.0
            return
        kind_of = self.world.kind_of
        assert kind_of is not None  # the recipe's kinds are a mixture's
        kinds = [kind_of(rollouts.tasks[task]) for task in rollouts.task.tolist()]
        owner = np.array([kind if kind in self.config.kinds else "" for kind in kinds])
        for kind in ("", *self.config.kinds):
            own = rollouts.select(owner == kind)
            if len(own):
                yield kind, own, float((~own.failed).sum() / max(1, (~rollouts.failed).sum()))

    def _part(self, rollouts: TrajectoryBuffer, step: int, config: RL | None = None, share: float = 1.0) -> tuple[Part, dict[str, Any]]:
        """The rollouts as packed batches, with what their rows weigh: `share` of what they would alone."""
        config, policy = config or self.config, self.policy
        info: dict[str, Any] = {}
        known = None
        if self.reference is not None and (config.objective == "dpo" or (config.kl and config.kl_estimator != "full")):
            known = action_log_probs(self.reference, rollouts, config.pack_tokens)
            owner = np.repeat(~rollouts.failed, rollouts.lengths)
            left = (rollouts.logprobs - known)[rollouts.action_mask & owner].sum(dtype=np.float64)
            info["rollout/kl"] = float(left / max(1, (~rollouts.failed).sum()))  # nats a rollout, by k1
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
        streams = self._streams(teaching, config)
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
        divisor: Any = "tokens" if pairs is not None else self._divisor(teaching, config)  # pairs count the same, whatever is averaged over
        if share != 1.0:
            streams = {name: stream * np.float32(share) if name in COEFFICIENT_STREAMS else stream for name, stream in streams.items()}
            divisor = divisor if pairs is None else max(len(pairs), 1) / share
        options = {"normalize": divisor, "pairs": pairs, "share": distributed.share(), "share_prompts": config.share_prompts}
        with span("pack", "update"):
            batches = PackedBatch.pack(teaching, pack_tokens, **options, **streams)
        differs = config.max_lag > 0 or not self.sampler.is_exact
        if batches and (config.correction is not None or differs):
            own = [log_probs(policy, batch) for batch in batches]
            if differs:
                info |= reduce_metrics(distributed.per_rank([mismatch(batch, logprob) for batch, logprob in zip(batches, own)]))
            if config.correction is not None:
                changed = [corrected(batch, logprob, config.correction) for batch, logprob in zip(batches, own)]
                batches, info = [batch for batch, _ in changed], info | reduce_metrics(distributed.per_rank([metrics for _, metrics in changed]))
        if config.auxiliary_every:
            self._replayed.append((teaching, streams["value_target"]))
        teacher = self.teacher
        if config.kl and config.kl_in == "loss" and config.kl_estimator == "full":
            teacher = self.reference
        return Part(batches, config.build_objective(), teacher, config.kl_direction), info

    def _streams(self, rollouts: TrajectoryBuffer, config: RL) -> dict[str, Any]:
        if config.objective in ACTOR_CRITIC:
            at = np.flatnonzero(rollouts.action_mask)
            earned = np.zeros(rollouts.num_tokens, np.float32)
            earned[at] = rewards_by_decision(rollouts, at)
            if config.bootstrap_truncated:  # the objective takes nothing to follow an episode, so that goes to its last decision
                owner = np.repeat(np.arange(len(rollouts)), rollouts.lengths)[at]
                is_last = np.diff(owner, append=-1) != 0
                values = truncation_values(self.policy, rollouts, config.pack_tokens)
                earned[at[is_last]] += config.gamma * values[owner[is_last]]
            return {"policy": 1.0, "value": config.value_coefficient, "reward": earned}
        if config.objective == "dpo":
            return {}
        if config.objective == "distillation":
            return {"divergence": 1.0}
        if config.advantage == "gae":
            return value_advantages(self.policy, rollouts, config)
        if config.advantage == "batch":
            return {"advantage": batch_advantages(rollouts)}
        return {"advantage": group_advantages(rollouts, config.normalize, leave_one_out=config.advantage == "leave_one_out")}

    def _divisor(self, rollouts: TrajectoryBuffer, config: RL) -> Any:
        average, num = config.average, max(int((~rollouts.failed).sum()), 1)
        if average in ("sums", "constant"):
            return float(num if average == "sums" else num * config.max_tokens)
        return average

    def _auxiliary_phase(self) -> Iterator[Update]:
        """PPG's: values are fitted to the targets of the whole phase, while the policy is held where it is now.

        Unlike the paper's, one network has both heads in the policy phase too, and the value loss there reaches all of it.
        """
        self._refresh()
        config, old = self.config, copy.deepcopy(self.policy)
        for _ in range(config.auxiliary_epochs):
            for rollouts, target in self._replayed:
                streams: dict[str, Any] = {"divergence": config.auxiliary_kl, "value": config.value_coefficient, "value_target": target}
                batches = PackedBatch.pack(rollouts, config.pack_tokens, share=distributed.share(), **streams)
                yield Update((Part(batches, Divergence(), old, "forward"),), {})
        self._replayed = []

    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on; waits for what is being collected ahead, which is part of it."""
        return {
            "rollout_tokens": self.rollout_tokens, "rollouts": self.rollouts,
            "solved": None if self.solved is None else self.solved.state_dict(),
            "documents": None if self.documents is None else self.documents.state_dict(),
            "ahead": self._collector.state_dict(), "started": self._started,
            "replayed": [{"target": target, "rollouts": buffer.arrays()} for buffer, target in self._replayed],
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rollout_tokens, self.rollouts = state["rollout_tokens"], state["rollouts"]
        if self.solved is not None:
            self.solved.load_state_dict(state["solved"])
        if self.documents is not None:
            self.documents.load_state_dict(state["documents"])
        self._collector.load_state_dict(state.get("ahead", ()), self._tasks)  # which earlier checkpoints lack
        self._started = state.get("started", 0)
        self._replayed = [(TrajectoryBuffer(entry["rollouts"]), entry["target"]) for entry in state["replayed"]]


def kind_metrics(rollouts: TrajectoryBuffer, kind_of: Callable[[Any], str] | None) -> dict[str, float]:
    """`rollout/success/KIND` and its like, for each kind of task among the rollouts; nothing where they are all of one kind."""
    if kind_of is None or not len(rollouts):
        return {}
    kinds = np.array([kind_of(rollouts.tasks[task]) for task in rollouts.task.tolist()])
    names = np.unique(kinds)
    metrics: dict[str, float] = {}
    for name in names.tolist() if len(names) > 1 else ():
        own = kinds == name
        values = {
            "success": (rollouts.reward[own] >= CORRECT).mean(), "reward_mean": rollouts.reward[own].mean(),
            "action_tokens_mean": rollouts.num_actions[own].mean(), "failed": rollouts.failed[own].sum(), "rollouts": own.sum(),
        }  # fmt: skip
        metrics |= {f"rollout/{metric}/{name}": float(value) for metric, value in values.items()}
    return metrics


@torch.no_grad()
def by_token(rollouts: TrajectoryBuffer, pack_tokens: int, of: Callable[[PackedBatch], torch.Tensor]) -> np.ndarray:
    """float32 [n], for each action token what `of` says of its row; 0 elsewhere. `of` gets batches on the host, on each rank its share, and
    returns [N]."""
    values = np.zeros(rollouts.num_tokens, np.float32)
    for batch in PackedBatch.pack(rollouts, pack_tokens, normalize="none", share=distributed.share()):
        starts = torch.from_numpy(rollouts.offsets)[batch.trajectory] - batch.layout.cu_seqlens[batch.document]
        values[(starts + batch.position + 1).numpy()] = of(batch).cpu().numpy()  # a token's row is the position before it
    return distributed.summed(values)


def action_log_probs(policy: Any, rollouts: TrajectoryBuffer, pack_tokens: int) -> np.ndarray:
    """float32 [n], the log-prob of each action token under `policy`; 0 elsewhere."""
    return by_token(rollouts, pack_tokens, lambda batch: log_probs(policy, batch))


def log_probs(policy: Any, batch: PackedBatch) -> torch.Tensor:
    """float32 [N], of a batch that lies on the host, wherever the policy is."""
    with span("log-probs", "update"):
        return policy.log_probs(batch.to(policy.head_weight.device)).cpu()  # type: ignore[no-any-return]


@torch.no_grad()
def value_advantages(policy: Any, rollouts: TrajectoryBuffer, config: RL) -> dict[str, Any]:
    """GAE's streams over the decisions of each trajectory: token fields [n] `advantage`, `value_target`, and the coefficient `value`.

    A decision is worth what `policy.heads["value"]` says before it; the one after it is the same seat's next. Actions are taken for one
    token long: a longer one is as many decisions. Advantages are scaled to a standard deviation of 1 over the whole set.
    """

    values = by_token(rollouts, config.pack_tokens, lambda batch: _values(policy, batch, batch.position))
    owner = np.repeat(np.arange(len(rollouts)), rollouts.lengths)
    at = np.flatnonzero(rollouts.action_mask & ~rollouts.failed[owner])
    cuts = np.searchsorted(owner[at], np.arange(len(rollouts) + 1))
    advantage, target = np.zeros_like(values), np.zeros_like(values)
    end = truncation_values(policy, rollouts, config.pack_tokens) if config.bootstrap_truncated else np.zeros(len(rollouts), np.float32)
    estimates = gae(
        torch.from_numpy(rewards_by_decision(rollouts, at)), torch.from_numpy(values[at]), torch.from_numpy(end),
        torch.from_numpy(cuts.astype(np.int32)), gamma=config.gamma, lam=config.lam,
    ).numpy()  # fmt: skip
    target[at] = estimates + values[at]
    advantage[at] = estimates / (estimates.std() + 1e-6)
    return {"advantage": advantage, "value": config.value_coefficient, "value_target": target}


@torch.no_grad()
def truncation_values(policy: Any, rollouts: TrajectoryBuffer, pack_tokens: int) -> np.ndarray:
    """float32 [B], what the value head expects after the last token of each trajectory that was cut short; 0 for the others and for failed ones."""
    values = np.zeros(len(rollouts), np.float32)
    cut = np.flatnonzero(rollouts.truncated & ~rollouts.failed)
    for batch in PackedBatch.pack(rollouts.select(cut), pack_tokens, rows="all", normalize="none", share=distributed.share()):
        documents, first_rows = np.unique(batch.document.numpy(), return_index=True)
        ends = batch.layout.cu_seqlens[1:][torch.from_numpy(documents)].long() - 1
        values[cut[batch.trajectory.numpy()[first_rows]]] = _values(policy, batch, ends).cpu().numpy()
    return distributed.summed(values)


def _values(policy: Any, batch: PackedBatch, position: torch.Tensor) -> torch.Tensor:
    """float32 [len(position)], the value head at these tokens of a batch that lies on the host."""
    there = batch.to(policy.head_weight.device)
    hidden = policy(there.tokens, there.layout).index_select(0, position.to(there.tokens.device))
    return policy.heads["value"](hidden).reshape(-1).float()


def step_seed(seed: int, step: int) -> int:
    """A task seed for each (seed, step): not seed + step, or runs would share tasks."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint32)[0])


