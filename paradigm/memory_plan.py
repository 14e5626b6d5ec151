"""What a stage will hold in memory, from its configuration and before it begins: a table, and a refusal that names the key to turn.

    always          weights, float32 masters, optimizer state, other policies, the sampler's pool of keys and values, rollouts
    and the most of
    update          gradients, activations of one packed batch, what the backward pass of one layer needs besides
    rollout         a step of decoding
    measuring       another pool, that of held-out measurements

Activations are measured: what autograd keeps for a token, of one layer and of two of them, from forward passes of a few tokens of a policy of this
shape, dtype and device. The rest is counted. Not counted are the libraries themselves, environments, and what an allocator keeps: glibc's keeps
so much that recomputation shows on a CPU only with MALLOC_MMAP_THRESHOLD_=65536 in the environment.

Where a stage does not say how many layers compute their forward pass again within the backward pass, it is as few as let the plan fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from paradigm.config import ConfigError
from paradigm.kernels.layout import Layout
from paradigm.kernels.linear_logprob import chunk_rows
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.rl_stage import RL
from paradigm.sampler import default_blocks
from paradigm.stage import Stage

__all__ = ["Activations", "Entry", "MemoryPlan", "available_bytes", "plan_stage", "saved_per_token"]

Phase = Literal["always", "update", "rollout", "measuring"]
_TOKEN_BYTES = 48  # of a stored trajectory, all fields
_ROLLOUT_COPIES = 2  # the core's, and those selected from it


class Entry(NamedTuple):
    """What takes memory, when, how much, and the key of a recipe that it grows with ("" where there is none)."""

    name: str
    phase: Phase
    num_bytes: int
    key: str = ""


class Activations(NamedTuple):
    """Bytes that autograd keeps of a forward pass for each token fed, weights aside: outside the layers, of a layer, of one that is recomputed."""

    outside: int
    layer: int
    recomputed: int

    def of(self, num_layers: int, num_recomputed: int) -> int:
        """Bytes a token, at the moment when the most is kept: while a recomputed layer is there as a whole, too."""
        kept = num_layers - num_recomputed
        return self.outside + max(kept, num_recomputed > 0) * self.layer + num_recomputed * self.recomputed


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A stage's entries and the limit, in bytes. `batch_tokens`: of the largest packed batch; `per_token`: what each of them takes; `pack_tokens`:
    how many the configuration would allow; `recomputed_layers`: what the policy is to be told, see `Policy.recomputed_layers`."""

    stage: str
    device: str
    entries: tuple[Entry, ...]
    limit: int
    pack_tokens: int
    batch_tokens: int
    per_token: int
    recomputed_layers: int = 0

    def of(self, phase: Phase) -> int:
        """Bytes of a phase, without what lasts."""
        return sum(entry.num_bytes for entry in self.entries if entry.phase == phase)

    @property
    def peak(self) -> int:
        """The most bytes at a time."""
        return self.of("always") + max(self.of("update"), self.of("rollout"), self.of("measuring"))

    def lines(self) -> list[str]:
        """A short table, for a log."""
        width = max(len(entry.name) for entry in self.entries)
        entries = [entry for entry in self.entries if entry.num_bytes >= 2**19]
        shown = [f"  {e.name:<{width}}  {_mib(e.num_bytes):>9}  {'' if e.phase == 'always' else e.phase}" for e in entries]
        again = f"; layers computed again in the backward pass: {self.recomputed_layers}" if self.recomputed_layers else ""
        head = f"{self.stage}: memory planned on {self.device}, at most {_mib(self.peak)} of {_mib(self.limit)}{again}"
        return [head, *(line.rstrip() for line in shown)]

    def check(self) -> None:
        """Raises: ConfigError naming the key to turn if the plan exceeds the limit."""
        if self.peak <= self.limit:
            return
        phase = max(("update", "rollout", "measuring"), key=lambda name: self.of(name))  # type: ignore[arg-type]
        relevant = sorted((e for e in self.entries if e.phase in ("always", phase)), key=lambda e: -e.num_bytes)
        room = self.limit - (self.peak - self.batch_tokens * self.per_token)
        advice = f"{self.stage}.pack_tokens <= {room // self.per_token} (it is {self.pack_tokens}) would fit"
        if phase != "update" or room < self.per_token:
            first = next((e for e in relevant if e.key), relevant[0])
            advice = f"turn down {first.key or 'the policy'} first, with which {first.name} ({_mib(first.num_bytes)}) grow"
        largest = ", ".join(f"{e.name} {_mib(e.num_bytes)}" for e in relevant[:3])
        raise ConfigError(
            f"{self.stage} needs {_mib(self.peak)} on {self.device} ({largest}), more than {_mib(self.limit)}: {advice}, or raise "
            "memory_limit_gib if there is more"
        )


def plan_stage(
    stage: Stage, policy: Any, *, slots: int, evaluation_tokens: int, limit_gib: float = 0.0, shards: int = 1
) -> MemoryPlan:
    """The plan of a stage.

    Args:
        policy: which is trained, on its device and in its dtype.
        slots: sequences sampled at once. evaluation_tokens: the longest rollout of held-out measurements.
        limit_gib: what may be used; 0: all that the device has.
        shards: ranks that masters, gradients and optimizer state are divided by.
    Raises: ConfigError if more layers are to be recomputed than there are.
    """
    layers, asked = policy.config.num_layers, stage.recomputed_layers
    if asked > layers:
        raise ConfigError(f"{stage.name}.recomputed_layers must be at most {layers}, the policy's layers, got {asked}")
    saved = saved_per_token(policy.config, policy.head_weight.dtype, policy.device)
    limit = round(limit_gib * 2**30) if limit_gib else available_bytes(policy.device)
    for recomputed in range(layers) if asked < 0 else (asked,):  # the last layer's backward pass comes first: it would be whole anyway
        plan = _plan(stage, policy, saved, recomputed, slots=slots, evaluation_tokens=evaluation_tokens, limit=limit, shards=shards)
        if plan.peak <= limit:
            break
    return plan


def _plan(
    stage: Stage, policy: Any, saved: Activations, recomputed: int, *, slots: int, evaluation_tokens: int, limit: int, shards: int
) -> MemoryPlan:
    config: PolicyConfig = policy.config
    device, dtype = policy.device, policy.head_weight.dtype
    size, width, ff = dtype.itemsize, config.hidden_size, config.intermediate_size
    weights = _bytes(policy)
    trained = [p for p in policy.parameters() if p.requires_grad]
    numel = sum(p.numel() for p in trained)
    is_low = size < 4
    moved = 4 if is_low else size
    tokens = min(stage.pack_tokens, _step_tokens(stage))
    heads = config.num_heads * config.width
    kept_bytes = saved.of(config.num_layers, recomputed)
    # of one layer's backward pass, and of the rows that the head predicts: hidden states, their gradient and a copy
    passing = size * max(4 * ff + 2 * width, 3 * heads + 4 * width) + 3 * size * width
    entries = [
        Entry("weights", "always", weights),
        Entry("float32 masters", "always", 4 * numel // shards if is_low else 0),
        Entry("optimizer state", "always", _optimizer_elements(trained, stage.optimizer) * moved // shards, "optimizer"),
        Entry("gradients", "update", numel * (4 + size if is_low else size) // shards),
        Entry("activations", "update", tokens * kept_bytes, f"{stage.name}.pack_tokens"),
        Entry("backward of a layer, head", "update", tokens * passing + _head_bytes(config), f"{stage.name}.pack_tokens"),
    ]
    decoding = min(2048, slots * 8) * size * (3 * ff + 4 * width + 3 * heads) + 2 * 4 * slots * config.vocab_size
    packed = weights if policy.exact else 0  # the decoder's own arrangement
    if isinstance(stage, RL):
        sampled, kept = stage.max_tokens, stage.tasks_per_step * stage.group_size * stage.max_tokens * _TOKEN_BYTES * _ROLLOUT_COPIES
        count = min(slots, stage.tasks_per_step * stage.group_size)
        entries += [
            Entry("keys and values", "always", _pool_bytes(config, size, sampled, count), f"slots or {stage.name}.max_tokens"),
            Entry("rollouts", "always", kept, f"{stage.name}.tasks_per_step"),
            Entry("decoding", "rollout", decoding + packed, "slots"),
        ]
        others = stage.needs_reference + bool(stage.teacher) + bool(stage.auxiliary_every)
        copies = 1 + stage.max_lag if stage.max_lag else 0  # of the policy that plays, and of the weights that wait for it
        entries += [
            Entry("reference, teacher", "always", others * weights, f"{stage.name}.kl"),
            Entry("weights that play", "always", copies * weights, f"{stage.name}.max_lag"),
        ]
    measured = _pool_bytes(config, size, evaluation_tokens, slots)
    entries.append(Entry("keys and values of measurements", "measuring", measured + decoding + packed, "slots or evaluation.max_tokens"))
    return MemoryPlan(
        stage=stage.name, device=str(device), entries=tuple(entries), limit=limit, pack_tokens=stage.pack_tokens, batch_tokens=tokens,
        per_token=kept_bytes + passing, recomputed_layers=recomputed,
    )  # fmt: skip


def _step_tokens(stage: Stage) -> int:
    """The most that a step can have to train on."""
    if isinstance(stage, RL):
        return stage.tasks_per_step * stage.group_size * stage.max_tokens + stage.pretrain_tokens * (stage.pretrain > 0)
    return int(getattr(stage, "step_tokens", stage.pack_tokens))


def saved_per_token(config: PolicyConfig, dtype: torch.dtype, device: torch.device | str) -> Activations:
    """What autograd keeps of a forward pass, measured on one layer and on two of them; a recomputed one keeps the two rows that go into it."""
    slopes = []
    for layers in (1, 2):
        one = replace(config, num_layers=layers, vocab_size=16, heads=(), sliding_window=None, layer_types=None)
        policy = Policy(one).to(device, dtype)
        few, more = (_saved(policy, tokens) for tokens in (64, 128))
        slopes.append((more - few) / 64)
    first, second = slopes
    return Activations(round(2 * first - second), round(second - first), 2 * dtype.itemsize * config.hidden_size)


def _saved(policy: Policy, num_tokens: int) -> int:
    """Bytes of the storages that a forward pass leaves for its backward pass, those of weights aside; each counts once."""
    own = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    tokens = torch.zeros(num_tokens, dtype=torch.int32, device=policy.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = policy(tokens, Layout([0, num_tokens]))
    total = sum(storage.nbytes() for storage in kept.values())
    del hidden
    return total


def _head_bytes(config: PolicyConfig) -> int:
    """What the head's backward pass takes: logits of a chunk of rows, their gradients and a copy, and the float32 sum of the weight's."""
    return 4 * config.vocab_size * (3 * chunk_rows(config.vocab_size) + config.hidden_size)


def _pool_bytes(config: PolicyConfig, size: int, max_tokens: int, slots: int, block: int = 16) -> int:
    """The sampler's pool of keys and values."""
    block_bytes = 2 * config.num_layers * config.kv_heads * config.width * block * size
    return block_bytes * default_blocks(block_bytes, math.ceil(max_tokens / block), slots)


def _optimizer_elements(trained: Sequence[Tensor], optimizer: str) -> int:
    """Numbers that AdamW (two a parameter) or Muon (one for a matrix) keeps."""
    return sum(p.numel() * (1 if optimizer == "muon" and p.dim() == 2 else 2) for p in trained)


def _bytes(module: nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters())


def available_bytes(device: torch.device | str) -> int:
    """Of a CUDA device, all of its memory; of the host, what is there for this process, a control group's limit included."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return total


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB" if num_bytes < 10 * 2**30 else f"{num_bytes / 2**30:,.1f} GiB"
