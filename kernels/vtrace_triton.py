"""`vtrace` in Triton: a program an episode, which goes backwards in blocks of steps, as `gae`'s does.

With x_t = vs_t - V_t, the scan runs over e_t = x_{t+1} = delta_{t+1} + gamma c_{t+1} e_{t+1}, which is 0 at the last step, and then
    vs_t = V_t + delta_t + gamma c_t e_t;   advantage_t = min(pg_rho_clip, w_t) (r_t + gamma (V_{t+1} + e_t) - V_t)
A step's bits depend on the steps from it on alone.
"""

# T decisions, B episodes

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.flags import flag
from paradigm.kernels.gae_triton import TILE, compose, episode_bounds


@triton.jit
def _correction(  # type: ignore[no-untyped-def]
    steps, here, end, logprob, behaviour_logprob, rewards, values, after, gamma, trace, rho_clip, c_clip
):  # fmt: skip
    """(V_t, r_t + gamma V_{t+1}, w_t, delta_t, gamma c_t)"""
    ratio = tl.exp(tl.load(logprob + steps, mask=here, other=0.0) - tl.load(behaviour_logprob + steps, mask=here, other=0.0))
    value = tl.load(values + steps, mask=here, other=0.0)
    following = tl.load(values + steps + 1, mask=here & (steps + 1 < end), other=0.0)
    following = tl.where(steps + 1 < end, following, after)
    outlook = tl.load(rewards + steps, mask=here, other=0.0) + gamma * following
    return value, outlook, ratio, _clipped(ratio, rho_clip) * (outlook - value), trace * _clipped(ratio, c_clip)


@triton.jit
def _clipped(ratio, largest):  # type: ignore[no-untyped-def]
    return tl.where(ratio > largest, largest, ratio)  # keeps NaN, as torch.clamp does


@triton.jit(do_not_specialize=["num_decisions"])
def _vtrace_kernel(  # type: ignore[no-untyped-def]
    logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens, targets, advantages, bad_cuts, num_decisions, gamma, trace, rho_clip,
    c_clip, pg_rho_clip, BLOCK: tl.constexpr,
):  # fmt: skip
    episode = tl.program_id(0)
    first, end, after = episode_bounds(cu_seqlens, bootstrap, bad_cuts, episode, num_decisions)
    carried = 0.0
    for number in range(tl.cdiv(end - first, BLOCK)):
        steps = end - (number + 1) * BLOCK + tl.arange(0, BLOCK)
        here, has_next = steps >= first, (steps >= first) & (steps + 1 < end)
        _, _, _, delta, decay = _correction(
            steps + 1, has_next, end, logprob, behaviour_logprob, rewards, values, after, gamma, trace, rho_clip, c_clip
        )
        decays, terms = tl.associative_scan((decay, tl.where(has_next, delta, 0.0)), 0, compose, reverse=True)
        excess = decays * carried + terms
        value, outlook, ratio, delta, decay = _correction(
            steps, here, end, logprob, behaviour_logprob, rewards, values, after, gamma, trace, rho_clip, c_clip
        )
        tl.store(targets + steps, value + (delta + decay * excess), mask=here)
        tl.store(advantages + steps, _clipped(ratio, pg_rho_clip) * (outlook + gamma * excess - value), mask=here)
        carried = tl.sum(tl.where(tl.arange(0, BLOCK) == 0, excess, 0.0), 0)


def vtrace_forward(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float,
    rho_clip: float, c_clip: float, pg_rho_clip: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(value targets, advantages) of float32 streams."""
    inputs = [x.contiguous() for x in (logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens)]
    targets, advantages = torch.full_like(inputs[0], torch.nan), torch.full_like(inputs[0], torch.nan)
    scalars = [float(x) for x in (gamma, gamma * lam, rho_clip, c_clip, pg_rho_clip)]
    if bootstrap.numel():
        _vtrace_kernel[(bootstrap.numel(),)](*inputs, targets, advantages, flag("cu_seqlens", rewards.device), rewards.numel(), *scalars, **TILE)
    return targets, advantages
