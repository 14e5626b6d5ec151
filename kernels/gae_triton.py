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

from paradigm.kernels.flags import flag
from paradigm.kernels.flags_triton import raise_flag


@triton.jit
def compose(later_decay, later_term, decay, term):  # type: ignore[no-untyped-def]
    """x -> decay (later_decay x + later_term) + term"""
    return decay * later_decay, decay * later_term + term


@triton.jit
def episode_bounds(cu_seqlens, bootstrap, bad_cuts, episode, num_decisions):  # type: ignore[no-untyped-def]
    """(first, end, the value after it) of an episode: within what there is whatever cu_seqlens says, and NaN if that is wrong."""
    first, end = tl.load(cu_seqlens + episode), tl.load(cu_seqlens + episode + 1)
    is_bad = (first < 0) | (end < first) | (end > num_decisions) | ((episode == 0) & (first != 0))
    is_bad = is_bad | ((episode == tl.num_programs(0) - 1) & (end != num_decisions))
    raise_flag(bad_cuts, is_bad, episode, end)
    after = tl.where(is_bad, float("nan"), tl.load(bootstrap + episode))
    return tl.maximum(first, 0), tl.minimum(end, num_decisions), after


@triton.jit(do_not_specialize=["num_decisions"])
def _gae_kernel(  # type: ignore[no-untyped-def]
    rewards, values, bootstrap, cu_seqlens, advantages, bad_cuts, num_decisions, gamma, decay, BLOCK: tl.constexpr
):  # fmt: skip
    episode = tl.program_id(0)
    first, end, after = episode_bounds(cu_seqlens, bootstrap, bad_cuts, episode, num_decisions)
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
    advantages = torch.full_like(rewards, torch.nan)
    if bootstrap.numel():
        _gae_kernel[(bootstrap.numel(),)](
            rewards, values, bootstrap, cu_seqlens, advantages, flag("cu_seqlens", rewards.device), rewards.numel(), float(gamma), float(gamma * lam),
            **TILE,
        )
    return advantages
