"""What moves the weights: the learning-rate schedule as a function of the step, AdamW over parameters grouped by decay, and Muon."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from paradigm.sharding import fitted, whole

__all__ = ["Muon", "Schedule", "adamw", "decay_groups", "freeze", "orthogonalized"]

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


def obeys_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step leaves weights, state and step counts as they are where its attribute `found_inf` is 1."""
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        return all(group["fused"] for group in optimizer.param_groups)
    return isinstance(optimizer, Muon)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) on matrices, AdamW on the rest: embeddings, norms, biases and scalar heads.

        M <- mu M + (1 - mu) G,   U = (1 - mu) G + mu M,   W <- (1 - lr wd) W - lr sqrt(max(m, n)) orthogonal(U)        W [m, n]

    where orthogonal(U) is near the orthogonal matrix closest to U, by five steps of a Newton-Schulz iteration. The factor gives an update
    whose entries have a root mean square near 1, as AdamW's have, so both parts share one learning rate; Moonlight (arXiv:2502.16982)
    takes 0.2 of that. Matrices of one shape go through the iteration together. Of a sharded model every rank takes the iteration of all
    matrices, made whole for it, and moves its own rows: momentum stays sharded, the iteration is not shared out.

    Args:
        model: whose parameters are trained; frozen ones are left out.
        learning_rate, weight_decay: of both parts; what `decay_groups` exempts does not decay.
        momentum: mu. betas, eps: of AdamW.
    """

    def __init__(
        self, model: nn.Module, *, learning_rate: float, weight_decay: float = 0.0, momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8,
    ):  # fmt: skip
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))}
        heads = {id(p) for name, p in model.named_parameters() if name.startswith(("lm_head.", "heads."))}

        def is_matrix(parameter: Tensor) -> bool:
            return parameter.dim() == 2 and id(parameter) not in embeddings | heads

        groups = []
        for group in decay_groups(model, weight_decay):
            for matrices in (True, False):
                if chosen := [p for p in group["params"] if is_matrix(p) == matrices]:
                    groups.append({**group, "params": chosen, "matrices": matrices})
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "betas": betas, "eps": eps})
        self._counted: list[dict[str, Any]] = []  # states whose count the last step raised

    found_inf: Tensor | None = None
    """As torch's fused optimizers have it: 0-dim float32 on the device, where 1 makes a step leave everything as it is. Whoever learns later that
    it was 1 calls `uncount`: steps are counted on the host."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient. `closure` must be None."""
        if closure is not None:
            raise ValueError("closure must be None")
        self._counted = []
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            (self._move_matrices if group["matrices"] else self._move_rest)(moved, group)

    def uncount(self) -> None:
        """Takes the last step out of the count that the corrections of AdamW's means go by."""
        for state in self._counted:
            state["step"] -= 1
        self._counted = []

    @contextmanager
    def _moving(self, *tensors: Tensor) -> Iterator[None]:
        """What the block does to these is undone where `found_inf` is 1."""
        before = [] if self.found_inf is None else [tensor.clone() for tensor in tensors]
        yield
        for tensor, own in zip(tensors, before):
            torch.where(cast(Tensor, self.found_inf) > 0, own, tensor, out=tensor)

    def _move_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"]
            with self._moving(momentum):
                momentum.lerp_(gradient, 1 - group["momentum"])
            by_shape.setdefault(parameter.shape, []).append((parameter, whole(torch.lerp(gradient, momentum, group["momentum"]))))
        for shape, pairs in by_shape.items():
            updates = orthogonalized(torch.stack([update for _, update in pairs]))
            for (parameter, _), update in zip(pairs, updates):
                shrunk, rate = 1 - group["lr"] * group["weight_decay"], group["lr"] * math.sqrt(max(shape))
                with self._moving(parameter):
                    parameter.mul_(shrunk).add_(fitted(update, parameter), alpha=-rate)

    def _move_rest(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
            state["step"] += 1
            self._counted.append(state)
            with self._moving(parameter, state["mean"], state["square"]):
                state["mean"].lerp_(gradient, 1 - first)
                state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
                scale = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonalized(matrices: Tensor) -> Tensor:
    """Near the orthogonal matrices closest to these, float [B, m, n]: singular values all end between about 0.7 and 1.2.

    Five steps of X <- a X + (b A + c A A) X, A = X X^T, from X / |X|; the coefficients are those of Jordan et al. (2024).
    """
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x.mT if matrices.shape[1] > matrices.shape[2] else x
