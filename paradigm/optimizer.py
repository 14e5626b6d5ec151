"""What moves the weights: the learning-rate schedule as a function of the step, and AdamW over parameters grouped by decay."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Schedule", "adamw", "decay_groups", "freeze"]

_FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over its base value, a pure function of the number of updates done before.

    Warm-up is linear, (step + 1) / (warmup_steps + 1), so that step `warmup_steps` is the first at the full rate. Then, with
    p = (step - warmup_steps) / (total_steps - warmup_steps) rising from 0 to 1:

        constant   1
        linear     1 - p, scaled onto [min_ratio, 1]
        cosine     (1 + cos(pi p)) / 2, scaled onto [min_ratio, 1] (Loshchilov and Hutter, arXiv:1608.03983, without restarts)
        wsd        1 until total_steps - decay_steps, then linearly to min_ratio (warm-up, stable, decay: Hägele et al., arXiv:2405.18392)

    Past `total_steps` the ratio stays at its last value.

    kind: which. warmup_steps: updates below the full rate. total_steps: updates in all; not needed by "constant". min_ratio: where the decay
    ends. decay_steps: length of the decay of "wsd"; None is a fifth of total_steps.
    """

    kind: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int = 0
    total_steps: int | None = None
    min_ratio: float = 0.0
    decay_steps: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "linear", "constant", "wsd"):
            raise ValueError(f"kind must be 'cosine', 'linear', 'constant' or 'wsd', got {self.kind!r}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be >= 0, got {self.warmup_steps}")
        if self.kind != "constant" and self.total_steps is None:
            raise ValueError(f"total_steps must be given for kind {self.kind!r}, got None")
        if self.total_steps is not None and self.total_steps < 1:
            raise ValueError(f"total_steps must be >= 1, got {self.total_steps}")
        if not 0 <= self.min_ratio <= 1:
            raise ValueError(f"min_ratio must be in [0, 1], got {self.min_ratio}")
        if self.decay_steps is not None and self.kind != "wsd":
            raise ValueError(f"decay_steps must be None unless kind is 'wsd', got {self.decay_steps} with {self.kind!r}")
        if self.decay_steps is not None and self.decay_steps < 0:
            raise ValueError(f"decay_steps must be >= 0, got {self.decay_steps}")

    def ratio(self, step: int) -> float:
        """Learning rate of the update after `step` others, over its base value: in [0, 1]."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.kind == "constant" or self.total_steps is None:
            return 1.0
        start = self.warmup_steps
        if self.kind == "wsd":
            decay = self.total_steps // 5 if self.decay_steps is None else self.decay_steps
            start = max(start, self.total_steps - decay)
        if step < start:
            return 1.0
        progress = min((step - start) / (self.total_steps - start), 1.0) if self.total_steps > start else 1.0
        remaining = 0.5 * (1 + math.cos(math.pi * progress)) if self.kind == "cosine" else 1 - progress
        return self.min_ratio + (1 - self.min_ratio) * remaining


def freeze(model: nn.Module, trainable: str | Sequence[str] | None) -> None:
    """Stops the gradients of all parameters whose names match none of the glob patterns `trainable`; None stops none.

    Raises: ValueError if a pattern matches no parameter.
    """
    if trainable is None:
        return
    patterns = [trainable] if isinstance(trainable, str) else list(trainable)
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"trainable must match parameter names such as {names[:3]}, got {pattern!r}, which matches none")
    for name, parameter in model.named_parameters():
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: matrices decay; norms, biases (all that has fewer than two dimensions) and embeddings do not.

    A head tied to the embeddings counts as embeddings. Frozen parameters are left out, and so are groups without parameters.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))}
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (decayed if parameter.dim() >= 2 and id(parameter) not in embeddings else rest).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(
    groups: Iterable[dict[str, Any]], *, learning_rate: float, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8
) -> torch.optim.AdamW:
    """AdamW with decoupled decay (Loshchilov and Hutter, arXiv:1711.05101) over `decay_groups`: fused where the device has it, else foreach."""
    groups = list(groups)
    parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
    fused = all(p.device.type in _FUSED_DEVICES and p.is_floating_point() for p in parameters)
    implementation = {"fused": True} if fused else {"foreach": True}
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=eps, **implementation)
