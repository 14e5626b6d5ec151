"""Generalized advantage estimates over packed episodes (Schulman et al., arXiv:1506.02438, eq. 16).

    delta_t = r_t + gamma V_{t+1} - V_t;  A_t = delta_t + gamma lam A_{t+1},  V past the last decision being the bootstrap.

Of float32 streams on a GPU it is Triton's (gae_triton.py), on the CPU C++; everything else takes the reference.
"""

# T decisions, B episodes

from __future__ import annotations

import torch
from torch import Tensor

from paradigm.kernels.checks import check_floating
from paradigm.kernels.cpu_slots import cpu_slot, runs_triton
from paradigm.kernels.flags import reads_data
from paradigm.kernels.operators import is_traced, operator


def gae(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Generalized advantage estimates over packed episodes (Schulman et al., arXiv:1506.02438, eq. 16). No gradient.

    Args:
        rewards: float32 [T], reward received after decision t.
        values: float32 [T], value before decision t.
        bootstrap: float32 [B], value after each episode's last decision; 0 where it terminated.
        cu_seqlens: int32 [B + 1], episode boundaries in T. On a GPU, which nothing waits for, an episode whose boundaries are wrong has NaN
            where it lies in T, and `check_flags` raises: see kernels/flags.py.
        gamma, lam: discount and trace decay, in [0, 1].
    Returns: float32 [T]. Raises: ValueError if the shapes disagree.
    """
    if is_traced():
        return _operator(rewards.detach(), values.detach(), bootstrap.detach(), cu_seqlens, gamma, lam)  # type: ignore[no-any-return]
    return _run(rewards, values, bootstrap, cu_seqlens, gamma, lam)


def _run(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float) -> Tensor:
    check_episodes(cu_seqlens, bootstrap, rewards=rewards, values=values)
    check_unit(gamma=gamma, lam=lam)
    if rewards.dtype == values.dtype == bootstrap.dtype == torch.float32:
        forward = cpu_slot("gae", rewards)
        if runs_triton(rewards):
            from paradigm.kernels.gae_triton import gae_forward as forward  # Triton takes a second to import
        if forward is not None:
            return forward(rewards, values, bootstrap, cu_seqlens, gamma, lam)  # type: ignore[no-any-return]
    return gae_reference(rewards, values, bootstrap, cu_seqlens, gamma=gamma, lam=lam)


_operator = operator("gae", _run, lambda rewards, *_: rewards.new_empty(rewards.shape))


def check_episodes(cu_seqlens: Tensor, bootstrap: Tensor, **streams: Tensor) -> None:
    """Raises ValueError unless every stream is [T], bootstrap [B], and cu_seqlens int32 [B + 1] cuts T, all on one device."""
    name, first = next(iter(streams.items()))
    for other, stream in streams.items():
        if stream.dim() != 1 or stream.shape != first.shape:
            raise ValueError(f"{other} must be one-dimensional with {name}'s length, got {list(stream.shape)} and {list(first.shape)}")
    check_floating(**streams, bootstrap=bootstrap)
    if bootstrap.dim() != 1:
        raise ValueError(f"bootstrap must be one-dimensional, got {list(bootstrap.shape)}")
    if cu_seqlens.shape != (bootstrap.numel() + 1,) or cu_seqlens.dtype != torch.int32:
        raise ValueError(f"cu_seqlens must be int32 [{bootstrap.numel() + 1}], got {cu_seqlens.dtype} {list(cu_seqlens.shape)}")
    devices = {str(x.device) for x in (*streams.values(), bootstrap, cu_seqlens)}
    if len(devices) > 1:
        raise ValueError(f"{', '.join(streams)}, bootstrap and cu_seqlens must be on one device, got {sorted(devices)}")
    if reads_data(first) and (cu_seqlens[0] != 0 or cu_seqlens[-1] != first.numel() or bool((cu_seqlens.diff() < 0).any())):
        raise ValueError(f"cu_seqlens must rise from 0 to {first.numel()}, got {cu_seqlens[:4].tolist()} ... {int(cu_seqlens[-1])}")


def check_unit(**values: float) -> None:
    """Raises ValueError for a value outside [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")


def last_and_next(values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    """(index of each episode's decisions in a [longest, B] grid, the value after each decision [T])."""
    lengths = cu_seqlens.diff().long()
    next_values = torch.cat([values[1:], values.new_zeros(min(1, values.numel()))])
    full = lengths > 0
    next_values[cu_seqlens[1:][full].long() - 1] = bootstrap[full]
    episode = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths)
    step = torch.arange(values.numel(), device=values.device) - cu_seqlens[:-1].long()[episode]
    return step * len(lengths) + episode, next_values


def discounted_sums(terms: Tensor, decays: Tensor, index: Tensor, num_episodes: int) -> Tensor:
    """x_t = terms_t + decays_t x_{t+1} within episodes; all episodes advance together."""
    longest = int(index.max()) // num_episodes + 1 if index.numel() else 0
    grid, decay = (x.new_zeros(longest * num_episodes).index_copy(0, index, x).view(longest, num_episodes) for x in (terms, decays))
    for step in range(longest - 2, -1, -1):
        grid[step] += decay[step] * grid[step + 1]
    return grid.flatten()[index]


@torch.no_grad()
def gae_reference(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *, gamma: float, lam: float) -> Tensor:
    """`gae` in plain torch, all episodes advancing together."""
    check_episodes(cu_seqlens, bootstrap, rewards=rewards, values=values)
    index, next_values = last_and_next(values, bootstrap, cu_seqlens)
    deltas = rewards + gamma * next_values - values
    return discounted_sums(deltas, torch.full_like(deltas, gamma * lam), index, bootstrap.numel())
