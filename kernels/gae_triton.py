"""`gae` in Triton: a program an episode, which goes backwards in blocks of steps and carries A from one to the next.

Within a block A_t = delta_t + gamma lam A_{t+1} is an associative scan, and so are `vtrace`'s sums, whose kernel is in vtrace_triton.py. Blocks
count from the episode's end, so that a step's bits depend on the steps after it alone.
"""

# T decisions, B episodes

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def compose(later_decay, later_term, decay, term):  # type: ignore[no-untyped-def]
    """x -> decay (later_decay x + later_term) + term"""
    return decay * later_decay, decay * later_term + term


@triton.jit
def episode_bounds(cu_seqlens, episode, num_decisions):  # type: ignore[no-untyped-def]
    """(first, end) of an episode, within what there is whatever cu_seqlens says."""
    first = tl.maximum(tl.load(cu_seqlens + episode), 0)
    return first, tl.minimum(tl.load(cu_seqlens + episode + 1), num_decisions)


@triton.jit(do_not_specialize=["num_decisions"])
def _gae_kernel(  # type: ignore[no-untyped-def]
    rewards, values, bootstrap, cu_seqlens, advantages, num_decisions, gamma, decay, BLOCK: tl.constexpr
):  # fmt: skip
    episode = tl.program_id(0)
    first, end = episode_bounds(cu_seqlens, episode, num_decisions)
    after = tl.load(bootstrap + episode)
    carried = 0.0
    for number in range(tl.cdiv(end - first, BLOCK)):
        steps = end - (number + 1) * BLOCK + tl.arange(0, BLOCK)
        here = steps >= first
        value = tl.load(values + steps, mask=here, other=0.0)
        following = tl.load(values + steps + 1, mask=here & (steps + 1 < end), other=0.0)
        following = tl.where(steps + 1 < end, following, after)
        delta = tl.load(rewards + steps, mask=here, other=0.0) + gamma * following - value
        decays, terms = tl.associative_scan((tl.full([BLOCK], decay, tl.float32), delta), 0, compose, reverse=True)
        advantage = decays * carried + terms
        tl.store(advantages + steps, advantage, mask=here)
        carried = tl.sum(tl.where(tl.arange(0, BLOCK) == 0, advantage, 0.0), 0)


TILE = {"BLOCK": 1024, "num_warps": 4, "enable_fp_fusion": False}


def gae_forward(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalized advantage estimates of float32 streams."""
    rewards, values, bootstrap, cu_seqlens = (x.contiguous() for x in (rewards, values, bootstrap, cu_seqlens))
    advantages = torch.empty_like(rewards)
    if bootstrap.numel():
        _gae_kernel[(bootstrap.numel(),)](
            rewards, values, bootstrap, cu_seqlens, advantages, rewards.numel(), float(gamma), float(gamma * lam), **TILE
        )
    return advantages
