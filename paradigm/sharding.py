"""Weights in shards: PyTorch's FSDP2 (`fully_shard`) around a policy, and what the learner, the optimizer and checkpoints need of it.

With one rank nothing is sharded, and every function here is the identity. With more, each parameter becomes a DTensor whose rows lie on the
ranks in turn, and so do its gradient, its float32 master, its average and its optimizer state. A block (an element of a ModuleList: a
transformer layer) is made whole when it runs and let go after; what lies outside the blocks (embeddings, heads, the last norm) while
`within` runs. Gradients are summed over the ranks, in float32 or wider, not averaged: whoever packed has divided by the counts of the whole set.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from paradigm import distributed

__all__ = ["Copies", "fitted", "fitted_slots", "gathered", "is_sharded", "shard", "whole", "within"]

T = TypeVar("T")


class _Root(nn.Module):
    """FSDP makes weights whole for a module's forward; here, for whatever function is to run with them, heads and losses included."""

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def shard(policy: nn.Module) -> nn.Module:
    """Shards a policy's weights over the ranks, in place, on this rank's device. To be called before its optimizer and learner are made.

    Returns: the policy, whose own forward must from then on be called in `within`.
    """
    if distributed.world() == 1:
        return policy
    # here, not above: they take as long to import as the rest of the library
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    place = distributed.device()
    mesh = init_device_mesh(place.type, (distributed.world(),))
    is_low = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in policy.parameters())
    rounding = MixedPrecisionPolicy(reduce_dtype=torch.float32 if is_low else None)
    root = _Root(policy.to(place))
    for module in (*_blocks(policy), root):
        fully_shard(module, mesh=mesh, mp_policy=rounding)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # a factor of 1 by itself asks for NCCL's own operation
    policy.__dict__["_root"] = root  # not a submodule, or the policy would hold itself
    return policy


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def within(policy: Any, function: Callable[[], T]) -> T:
    """`function()`, with the policy's weights whole while it runs, and again for the backward pass of the tensors that it returns."""
    root = getattr(policy, "_root", None)
    return function() if root is None else root(function)


def is_sharded(tensor: Any) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """A sharded tensor gathered on every rank; any other as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def gathered(state: T) -> T:
    """A nested state with every sharded tensor whole, on rank 0's CPU, one after another; the other ranks get None in their places."""
    if distributed.world() == 1:
        return state
    if is_sharded(state):
        full = whole(state)
        return full.cpu() if distributed.is_first() else None  # type: ignore[return-value]
    if isinstance(state, Mapping):
        return {key: gathered(value) for key, value in state.items()}  # type: ignore[return-value]
    if isinstance(state, list | tuple):
        items = [gathered(value) for value in state]
        return tuple(items) if isinstance(state, tuple) else items  # type: ignore[return-value]
    return state


def fitted(full: Tensor, own: Tensor) -> Tensor:
    """A whole tensor, the same on every rank, sharded as `own` is; nothing is sent. Where `own` is not sharded, `full` itself."""
    if not is_sharded(own):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(own.device), own.device_mesh, own.placements, src_data_rank=None)  # type: ignore[attr-defined]


def fitted_slots(state: Mapping[str, Any], parameters: Sequence[Tensor]) -> dict[str, Any]:
    """An optimizer's state dict of whole tensors with those that have the shape of their parameter sharded as it is."""


    def placed(value: Any, parameter: Tensor) -> Any:
        return fitted(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value

    slots = state["state"].items()
    return {**state, "state": {number: {name: placed(value, parameters[number]) for name, value in slot.items()} for number, slot in slots}}


class Copies:
    """A policy that is trained in shards, and the whole of it on every rank, for rollouts and measurements; with one rank both are the policy itself.

    trained: what a learner gets. whole: as `trained` was at the last `gather`.
    """

    def __init__(self, policy: nn.Module):
        self.whole: Any = policy.to(distributed.device())
        self.trained: Any = policy if distributed.world() == 1 else shard(copy.deepcopy(policy))

    @torch.no_grad()
    def gather(self) -> None:
        """Brings `whole` up to date."""
        if self.whole is not self.trained:
            for own, sharded in zip(self.whole.parameters(), self.trained.parameters()):
                own.copy_(whole(sharded))
