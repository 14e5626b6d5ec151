"""Off-policy actor-critic: V-trace, UPGO and TD(lambda) over the decisions of a trajectory, from the value head as it is now.

    rho_t = min(pg_rho_clip, w_t),  w_t = exp(logprob_t - behaviour_logprob_t)
    V-trace    A_t = rho_t (r_t + gamma vs_{t+1} - V_t)                   (Espeholt et al., arXiv:1802.01561, section 4.2; `kernels.vtrace`)
    UPGO       A_t = rho_t (G_t - V_t)                                    (Vinyals et al., "Grandmaster level in StarCraft II", 2019, Methods)
    loss_t     -policy_t A_t logprob_t + value_t (V_t - target_t)^2 / 2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from paradigm.kernels.gae import check_episodes, check_unit, discounted_sums, gae, last_and_next
from paradigm.kernels.vtrace import vtrace
from paradigm.objective import EntropyBonus
from paradigm.objective_rows import ObjectiveRows, add_rows, masked, merge_metrics, row_metrics

__all__ = ["ActorCritic", "td_lambda_returns", "upgo_returns"]

# T decisions, B episodes, N prediction rows


def td_lambda_returns(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Lambda-returns, the value targets of TD(lambda) (Sutton, 1988; Sutton and Barto, eq. 12.2): generalized advantage estimates and values, added.

        G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1})

    Args: as `kernels.gae`. Returns: float32 [T]. Raises: ValueError as `kernels.gae`.
    """
    return gae(rewards, values, bootstrap, cu_seqlens, gamma=gamma, lam=lam) + values


@torch.no_grad()
def upgo_returns(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *, gamma: float) -> Tensor:
    """Upgoing returns: the trajectory is followed as long as it does at least as well as the value expects (AlphaStar, Methods).

        G_t = r_t + gamma (G_{t+1} if r_{t+1} + gamma V_{t+2} >= V_{t+1} else V_{t+1}),   after the last decision the bootstrap

    Args: as `kernels.gae`. Returns: [T]. Raises: ValueError as `kernels.gae`.
    """
    check_episodes(cu_seqlens, bootstrap, rewards=rewards, values=values)
    check_unit(gamma=gamma)
    index, next_values = last_and_next(values, bootstrap, cu_seqlens)
    deltas = rewards + gamma * next_values - values
    # G_t - V_t = delta_t + gamma [delta_{t+1} >= 0] (G_{t+1} - V_{t+1})
    _, next_deltas = last_and_next(deltas, torch.zeros_like(bootstrap), cu_seqlens)
    return values + discounted_sums(deltas, gamma * (next_deltas >= 0).to(deltas.dtype), index, bootstrap.numel())


@dataclass(frozen=True, kw_only=True)
class ActorCritic:
    """Policy gradient and value loss from rollouts of another policy; see the module for the equations. The ratios are those of the current policy.

    IMPALA is the default; UPGO alone is advantages=("upgo",); AlphaStar is advantages=("vtrace", "upgo"), value_target="td_lambda", lam=0.8
    (its two policy gradients are added). Nothing is bootstrapped where an episode ends: what comes after its last decision is worth 0, or, of an
    episode that was cut short, what the caller adds to the last `reward`.

    advantages: which policy gradients. value_target: "vtrace", or "td_lambda", which ignores the ratios. gamma, lam: discount, and trace decay of
    V-trace and of TD(lambda). rho_clip, c_clip, pg_rho_clip: V-trace's, the last of UPGO too.

    Streams: `policy` and `value`, the coefficients of the two losses (divided by the count), `reward`, what the decision earned, and
    `behaviour_logprob`; with `entropy=True` also `entropy`. `head` is the value head, which the learner adds.
    Metrics: policy/advantage, its ratio and how many were cut; the value loss's as `objective.value_loss`.
    """

    advantages: tuple[Literal["vtrace", "upgo"], ...] = ("vtrace",)
    value_target: Literal["vtrace", "td_lambda"] = "vtrace"
    gamma: float = 1.0
    lam: float = 1.0
    rho_clip: float = 1.0
    c_clip: float = 1.0
    pg_rho_clip: float = 1.0
    entropy: bool = False
    pointwise: ClassVar[bool] = False
    head: ClassVar[str] = "value"
    head_at: ClassVar[Literal["rows", "ends"]] = "rows"

    def __post_init__(self) -> None:
        if not self.advantages or not set(self.advantages) <= {"vtrace", "upgo"} or len(set(self.advantages)) < len(self.advantages):
            raise ValueError(f"advantages must be some of 'vtrace' and 'upgo', each once, got {self.advantages}")
        if self.value_target not in ("vtrace", "td_lambda"):
            raise ValueError(f"value_target must be 'vtrace' or 'td_lambda', got {self.value_target!r}")
        check_unit(gamma=self.gamma, lam=self.lam)
        for name in ("rho_clip", "c_clip", "pg_rho_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")

    @property
    def streams(self) -> tuple[str, ...]:
        needed = ("policy", "value", "reward", "behaviour_logprob")
        return (*needed, "entropy") if self.entropy else needed

    def coefficients(self, logprob: Tensor, entropy: Tensor, streams: Mapping[str, Tensor], batch: Any) -> ObjectiveRows:
        values, rewards, behaviour = streams["head"], streams["reward"], streams["behaviour_logprob"]
        counts = torch.zeros(batch.num_sequences, dtype=torch.int32, device=logprob.device).index_add(
            0, batch.document, torch.ones_like(batch.document, dtype=torch.int32)
        )
        cuts = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
        end = values.new_zeros(batch.num_sequences)
        ratio = (logprob - behaviour).exp()
        target, advantage = vtrace(
            logprob, behaviour, rewards, values, end, cuts,
            gamma=self.gamma, lam=self.lam, rho_clip=self.rho_clip, c_clip=self.c_clip, pg_rho_clip=self.pg_rho_clip,
        )  # fmt: skip
        if "vtrace" not in self.advantages:
            advantage = torch.zeros_like(advantage)
        if "upgo" in self.advantages:
            up = upgo_returns(rewards, values, end, cuts, gamma=self.gamma)
            advantage = advantage + ratio.clamp(max=self.pg_rho_clip) * (up - values)
        if self.value_target == "td_lambda":
            target = td_lambda_returns(rewards, values, end, cuts, gamma=self.gamma, lam=self.lam)
        policy, value = streams["policy"], streams["value"]
        active, error = policy != 0, values - target
        policy_loss, value_loss = -policy * advantage * masked(active, logprob), 0.5 * value * error * error
        metrics = row_metrics(
            "policy", active, policy_loss,
            advantage_sum=masked(active, advantage), ratio_sum=masked(active, ratio), ratio_max=masked(active, ratio),
            clipped_sum=(active & (ratio > self.pg_rho_clip)).to(ratio.dtype), entropy_sum=masked(active, entropy),
        )  # fmt: skip
        judged = value != 0
        values_seen = row_metrics("value", judged, value_loss, error_squared_sum=masked(judged, error * error), value_sum=masked(judged, values))
        result = ObjectiveRows(policy_loss + value_loss, -policy * advantage, None, merge_metrics(metrics, values_seen))
        if self.entropy:
            result = add_rows(result, EntropyBonus().rows(logprob, entropy, streams))
        return result._replace(dhead=value * error)
