"""The four stages. They differ only in where trajectories come from and what weight each predicted token carries:

    pretrain   documents                          1 on every token
    imitate    demonstrations, noisy ones too     1 on action tokens
    rl         the policy's own rollouts          advantage x clipped importance ratio, on action tokens
    distil     own rollouts that were verified    1 on action tokens

Each is a source of packed batches, one a step; `train` is the loop they share.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from paradigm.advantage import group_advantages
from paradigm.batch import PackedBatch
from paradigm.evaluation import CORRECT
from paradigm.kernels.gae import gae
from paradigm.objective import GRPO, CrossEntropy, Objective, PPOClip, Reinforce
from paradigm.sampler import Sampler
from paradigm.trajectory import TrajectoryBuffer
from paradigm.world import World


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage has.

    name: what to call it (its kind by default). label: what to call its policy in reports (by default "imitated" and the like).
    start: the stage whose weights it starts from, "previous" or "scratch". control: a comparison beside the main line, which the next
    stage does not start from. optimizer: "adamw", or "muon", which learns more from each step and takes longer over it. learning_rate,
    schedule, warmup_steps, weight_decay, max_grad_norm: the optimiser's. pack_tokens: the most tokens in one packed batch.
    checkpoint_every, evaluate_every: steps between whole checkpoints, and between points of the learning curve (0: only at the end).
    """

    kind: ClassVar[str]
    name: str = ""
    label: str = ""
    start: str = "previous"
    control: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int = 10
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    pack_tokens: int = 8192
    checkpoint_every: int = 100
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        for field in ("learning_rate", "max_grad_norm", "pack_tokens", "checkpoint_every"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be > 0, got {getattr(self, field)}")
        for field in ("warmup_steps", "weight_decay", "evaluate_every"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be >= 0, got {getattr(self, field)}")


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Next-token prediction on real text and worked problems.

    tokens: how many to train on. step_tokens: of these, per step. text: "stdlib" (the Python standard library's sources), or a file,
    folder or corpus. text_share: share of the text among the tokens, the rest being worked problems. text_bytes: how much text to
    read at most. document_tokens: longer documents are cut into windows of this many. problems: how many are worked.
    """

    kind: ClassVar[str] = "pretrain"
    tokens: int = 1_000_000
    step_tokens: int = 8192
    text: str = "stdlib"
    text_share: float = 0.5
    text_bytes: int = 8_000_000
    document_tokens: int = 256
    problems: int = 40_000


@dataclass(frozen=True, kw_only=True)
class Imitate(Stage):
    """Next-action prediction on demonstrations.

    tokens: how many to train on. match_tokens_of: instead, as many as that earlier stage trained on. step_tokens: per step.
    problems: how many to demonstrate. filtered: keep only the demonstrations that the verifier accepts.
    """

    kind: ClassVar[str] = "imitate"
    tokens: int = 1_000_000
    match_tokens_of: str = ""
    step_tokens: int = 8192
    problems: int = 30_000
    filtered: bool = False


@dataclass(frozen=True, kw_only=True)
class RL(Stage):
    """Policy gradient on the policy's own rollouts; the only signal is the verifier's verdict.

    steps: updates. tasks_per_step x group_size rollouts each. objective: "reinforce", "ppo" or "grpo".
    advantage: "group" compares a whole rollout with the others of its task (and seat); "gae" learns a value head and credits each decision
    with how far the value rose after it, with the trace decay lam and the value loss weighed by value_coefficient.
    entropy: coefficient of the entropy bonus of "reinforce" and "ppo".
    kl: coefficient of GRPO's penalty for leaving the policy that the stage started from. normalize: what a group's advantages are
    divided by ("std" or "none"). updates_per_step: passes over the same rollouts.
    temperature: of sampling. max_tokens: the longest trajectory.
    """

    kind: ClassVar[str] = "rl"
    steps: int = 50
    tasks_per_step: int = 64
    group_size: int = 8
    objective: Literal["reinforce", "ppo", "grpo"] = "ppo"
    advantage: Literal["group", "gae"] = "group"
    lam: float = 0.95
    value_coefficient: float = 0.5
    entropy: float = 0.0
    normalize: Literal["std", "none"] = "none"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.001
    updates_per_step: int = 1
    temperature: float = 1.0
    max_tokens: int = 256
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_size < 2 and self.advantage == "group":
            raise ValueError(f"group_size must be >= 2, since the group is the baseline, got {self.group_size}")
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam must be in [0, 1], got {self.lam}")
        if self.entropy and self.objective == "grpo":
            raise ValueError(f"entropy must be 0 with objective 'grpo', got {self.entropy}")


@dataclass(frozen=True, kw_only=True)
class Distil(Stage):
    """Imitation of the policy's own verified rollouts, the thinking removed: observe-plan-act becomes observe-act.

    problems: how many to attempt; samples_per_problem: attempts each. min_reward: the least that a rollout must have earned.
    keep_thoughts: train on the work as well as on the answer. tokens, step_tokens: as for imitation. max_tokens: the longest rollout.
    """

    kind: ClassVar[str] = "distil"
    problems: int = 20_000
    samples_per_problem: int = 1
    min_reward: float = CORRECT
    keep_thoughts: bool = False
    tokens: int = 500_000
    step_tokens: int = 8192
    temperature: float = 1.0
    max_tokens: int = 256


LABELS = {"pretrain": "pretrained", "imitate": "imitated", "rl": "rl", "distil": "distilled"}
STAGES: dict[str, type[Stage]] = {stage.kind: stage for stage in (Pretrain, Imitate, RL, Distil)}


class Source(Protocol):
    """Where a stage's batches come from. `batches(step)` is a function of the step and of the state alone."""

    num_steps: int

    @property
    def objective(self) -> Objective:
        """What the rows are weighed by."""

    def batches(self, step: int) -> Iterator[tuple[list[PackedBatch], dict[str, float]]]:
        """The updates of one step: packed batches, with what is worth logging about them."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StreamSource:
    """Fixed data: documents (every token weighs 1) or demonstrations (action tokens weigh 1), `step_tokens` of it a step."""

    objective: Objective = CrossEntropy()

    def __init__(self, stream: Any, *, tokens: int, step_tokens: int, pack_tokens: int, rows: Literal["action", "all"]):
        self.stream, self.step_tokens, self.pack_tokens, self.rows = stream, step_tokens, pack_tokens, rows
        self.num_steps = max(1, round(tokens / step_tokens))

    def batches(self, step: int) -> Iterator[tuple[list[PackedBatch], dict[str, float]]]:
        documents = self.stream.take(self.step_tokens)
        yield PackedBatch.pack(documents, max(self.pack_tokens, int(documents.lengths.max())), rows=self.rows, ce=1.0), {}

    def state_dict(self) -> dict[str, Any]:
        return {"stream": self.stream.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state["stream"])


class RolloutSource:
    """The policy's own rollouts, new ones each step: a pure function of the weights, the seed and the step."""

    def __init__(self, config: RL, sampler: Sampler, world: World, seed: int):
        self.config, self.sampler, self.world, self.seed = config, sampler, world, seed
        self.num_steps = config.steps
        self.rollout_tokens = self.rollouts = 0
        self.reference = copy.deepcopy(sampler.policy) if config.objective == "grpo" else None
        self.objective = _objective(config)

    def batches(self, step: int) -> Iterator[tuple[list[PackedBatch], dict[str, float]]]:
        config = self.config
        tasks = self.world.tasks("train", seed=step_seed(self.seed, step), n=config.tasks_per_step)
        self.sampler.version = step
        rollouts = self.sampler.collect(
            self.world.environment, tasks, group_size=config.group_size, temperature=config.temperature, max_tokens=config.max_tokens,
            key=(self.seed, step),
        )  # fmt: skip
        self.rollout_tokens += rollouts.num_tokens
        self.rollouts += len(rollouts)
        if config.advantage == "gae":
            streams = value_advantages(self.sampler.policy, rollouts, config)
        else:
            streams = {"advantage": group_advantages(rollouts, normalize=config.normalize)}
        if config.entropy:
            streams["entropy"] = config.entropy
        if self.reference is not None:
            streams["kl"] = config.kl
        info = {
            "rollout/reward_mean": float(rollouts.reward.mean()),
            "rollout/success": float((rollouts.reward >= CORRECT).mean()),
            "rollout/action_tokens_mean": float(rollouts.num_actions.mean()),
            "rollout/failed": float(rollouts.failed.sum()),
            "rollout/length_limited": float((rollouts.stop_reason == 2).sum()),
            "rollout/tokens": float(rollouts.num_tokens),
            "rollout/nonzero_advantage_share": float((streams["advantage"] != 0).mean()),
        }
        if (stats := self.sampler.stats) is not None:
            seconds = {"model": stats.model_s, "core": stats.core_s, "environments": stats.wait_s, "all": stats.total_s}
            info |= {f"rollout/{name}_s": value for name, value in seconds.items()} | {"rollout/flops": float(stats.flops)}
            cache = ("prefixes_shared", "tokens_shared", "evictions", "tokens_recomputed")  # these may depend on who was ready first
            info |= {f"rollout/{name}": float(getattr(stats, name)) for name in cache}
        batches = PackedBatch.pack(rollouts, config.pack_tokens, **streams)
        if self.reference is not None:
            logprobs = [self.reference.log_probs(batch) for batch in batches]
            batches = [replace(batch, streams={**batch.streams, "reference_logprob": known}) for batch, known in zip(batches, logprobs)]
        for _ in range(config.updates_per_step):
            yield batches, info
            info = {}

    def state_dict(self) -> dict[str, Any]:
        return {"rollout_tokens": self.rollout_tokens, "rollouts": self.rollouts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rollout_tokens, self.rollouts = state["rollout_tokens"], state["rollouts"]


def _objective(config: RL) -> Objective:
    if config.objective == "reinforce":
        return Reinforce(entropy=config.entropy > 0)
    if config.objective == "ppo":
        return PPOClip(clip_low=config.clip_low, clip_high=config.clip_high, entropy=config.entropy > 0)
    return GRPO(clip_low=config.clip_low, clip_high=config.clip_high)


@torch.no_grad()
def value_advantages(policy: Any, rollouts: TrajectoryBuffer, config: RL) -> dict[str, Any]:
    """GAE's streams over the decisions of each trajectory: token fields [n] `advantage`, `value_target`, and the coefficient `value`.

    A decision is worth what `policy.heads["value"]` says before it; the one after it is the same seat's next. Actions are taken for one
    token long: a longer one is as many decisions. Advantages are scaled to a standard deviation of 1 over the whole set.
    """
    values = np.zeros(rollouts.num_tokens, np.float32)
    for batch in PackedBatch.pack(rollouts, config.pack_tokens, value=1.0, row=np.arange(rollouts.num_tokens), normalize="none"):
        hidden = policy(batch.tokens, batch.layout).index_select(0, batch.position)
        values[batch.streams["row"].long().numpy()] = policy.heads["value"](hidden).reshape(-1).float().numpy()
    owner = np.repeat(np.arange(len(rollouts)), rollouts.lengths)
    at = np.flatnonzero(rollouts.action_mask & ~rollouts.failed[owner])
    cuts = np.searchsorted(owner[at], np.arange(len(rollouts) + 1))
    advantage, target = np.zeros_like(values), np.zeros_like(values)
    estimates = gae(
        torch.from_numpy(rewards_by_decision(rollouts, at)), torch.from_numpy(values[at]), torch.zeros(len(rollouts)),
        torch.from_numpy(cuts.astype(np.int32)), gamma=1.0, lam=config.lam,
    ).numpy()  # fmt: skip
    target[at] = estimates + values[at]
    advantage[at] = estimates / (estimates.std() + 1e-6)
    return {"advantage": advantage, "value": config.value_coefficient, "value_target": target}


def rewards_by_decision(rollouts: TrajectoryBuffer, at: np.ndarray) -> np.ndarray:
    """float32 [len(at)], what each of the action tokens `at` earned: all rewards from it up to the trajectory's next action token."""
    rewards = np.where(np.repeat(rollouts.failed, rollouts.lengths), 0.0, rollouts.rewards)  # a failed one may hold NaN
    totals = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
    ends = rollouts.offsets[1:][np.searchsorted(rollouts.offsets, at, side="right") - 1]
    following = np.minimum(np.append(at[1:], rollouts.num_tokens), ends)
    return (totals[following] - totals[at]).astype(np.float32)


def step_seed(seed: int, step: int) -> int:
    """A task seed for each (seed, step): not seed + step, or runs would share tasks."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint32)[0])


def verified(rollouts: TrajectoryBuffer) -> TrajectoryBuffer:
    """Only what the verifier gave its full score."""
    return rollouts.select((rollouts.reward >= CORRECT) & ~rollouts.failed)
