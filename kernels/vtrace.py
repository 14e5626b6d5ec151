"""V-trace targets and advantages over packed episodes (Espeholt et al., arXiv:1802.01561, eq. 1 and section 4.2).

    rho_t = min(rho_clip, w_t), c_t = lam min(c_clip, w_t), w_t = exp(logprob_t - behaviour_logprob_t)
    vs_t = V_t + delta_t + gamma c_t (vs_{t+1} - V_{t+1}),  delta_t = rho_t (r_t + gamma V_{t+1} - V_t)
    advantage_t = min(pg_rho_clip, w_t) (r_t + gamma vs_{t+1} - V_t)

Of float32 streams on a GPU it is Triton's (vtrace_triton.py), on the CPU C++; everything else takes the reference.
"""

# T decisions, B episodes

from __future__ import annotations

import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import cpu_slot, runs_triton
from paradigm.kernels.gae import check_episodes, check_unit, discounted_sums, last_and_next
from paradigm.kernels.operators import is_traced, operator


def vtrace(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *,
    gamma: float, lam: float = 1.0, rho_clip: float = 1.0, c_clip: float = 1.0, pg_rho_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Off-policy corrected value targets and policy-gradient advantages. No gradient.

    Args:
        logprob, behaviour_logprob: float32 [T], log-probs of decision t under the learner's and the behaviour policy.
        rewards: float32 [T], reward received after decision t.
        values: float32 [T], value before decision t.
        bootstrap: float32 [B], value after each episode's last decision; 0 where it terminated.
        cu_seqlens: int32 [B + 1], episode boundaries in T; see `gae`.
        gamma, lam: discount and trace decay, in [0, 1].
        rho_clip, c_clip, pg_rho_clip: >= 0, the paper's rho-bar, c-bar, and the rho-bar of the advantage.
    Returns: (value targets, advantages), float32 [T]. Raises: ValueError if the shapes disagree or a number is out of range.
    """
    if is_traced():
        detached = (x.detach() for x in (logprob, behaviour_logprob, rewards, values, bootstrap))
        return _operator(*detached, cu_seqlens, gamma, lam, rho_clip, c_clip, pg_rho_clip)  # type: ignore[no-any-return]
    return _run(logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens, gamma, lam, rho_clip, c_clip, pg_rho_clip)


def _run(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, gamma: float, lam: float,
    rho_clip: float, c_clip: float, pg_rho_clip: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    _check(logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens, gamma, lam, rho_clip, c_clip, pg_rho_clip)
    inputs = (logprob, behaviour_logprob, rewards, values, bootstrap)
    if all(x.dtype == torch.float32 for x in inputs):
        forward = cpu_slot("vtrace", rewards)
        if runs_triton(rewards):
            from paradigm.kernels.vtrace_triton import vtrace_forward as forward  # Triton takes a second to import
        if forward is not None:
            return forward(*inputs, cu_seqlens, gamma, lam, rho_clip, c_clip, pg_rho_clip)  # type: ignore[no-any-return]
    return vtrace_reference(*inputs, cu_seqlens, gamma=gamma, lam=lam, rho_clip=rho_clip, c_clip=c_clip, pg_rho_clip=pg_rho_clip)


_operator = operator("vtrace", _run, lambda logprob, *_: (logprob.new_empty(logprob.shape), logprob.new_empty(logprob.shape)))


def _check(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor,
    gamma: float, lam: float, rho_clip: float, c_clip: float, pg_rho_clip: float,
) -> None:
    check_episodes(cu_seqlens, bootstrap, logprob=logprob, behaviour_logprob=behaviour_logprob, rewards=rewards, values=values)
    check_unit(gamma=gamma, lam=lam)
    for name, value in (("rho_clip", rho_clip), ("c_clip", c_clip), ("pg_rho_clip", pg_rho_clip)):
        if not value >= 0:
            raise ValueError(f"{name} must be >= 0, got {value}")


@torch.no_grad()
def vtrace_reference(
    logprob: Tensor, behaviour_logprob: Tensor, rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *,
    gamma: float, lam: float = 1.0, rho_clip: float = 1.0, c_clip: float = 1.0, pg_rho_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`vtrace` in plain torch, all episodes advancing together."""
    _check(logprob, behaviour_logprob, rewards, values, bootstrap, cu_seqlens, gamma, lam, rho_clip, c_clip, pg_rho_clip)
    index, next_values = last_and_next(values, bootstrap, cu_seqlens)
    ratio = (logprob - behaviour_logprob).exp()
    deltas = ratio.clamp(max=rho_clip) * (rewards + gamma * next_values - values)
    targets = values + discounted_sums(deltas, gamma * lam * ratio.clamp(max=c_clip), index, bootstrap.numel())
    _, next_targets = last_and_next(targets, bootstrap, cu_seqlens)
    return targets, ratio.clamp(max=pg_rho_clip) * (rewards + gamma * next_targets - values)
