"""What a collection of rollouts tells about itself."""

from __future__ import annotations

import dataclasses
from collections import Counter

__all__ = ["CollectionStats"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectionStats:
    """What a call of `collect` did and what its time went to; token counts and FLOPs are the sampler's own, without opponents'.

    Attributes:
        num_episodes, num_failed: episodes played, and those among them that failed.
        failure_reasons: failed episodes by what went wrong: "raise" (an exception of the environment's), "garbage" (an answer that is none),
            "reward" (not finite), "no_action" (it ended before it asked), "illegal", "player", "stopped", or an exception's own
            `failure_reason`, as of `paradigm.environments.Workers`.
        steps: forward passes.
        tokens_prefilled, tokens_sampled: prompt and observation tokens fed in chunks, and what is fed again after an eviction; tokens drawn.
        prefixes_shared, tokens_shared: sequences that took over the beginning of their prompt from another; tokens not prefilled for that.
        evictions, tokens_recomputed: sequences that lost their blocks of the cache to older ones; tokens fed again, for that or for new weights.
        swaps: of these evictions, those of sequences that kept what earlier weights had made, which was copied out instead.
        tokens_ahead, tokens_overrun: tokens fed while the step that drew them was out, where steps overlap; those of them behind an end that
            was not foreseen, for which something was drawn in vain.
        model_s, core_s, wait_s, total_s: seconds in the policies with the drawing of tokens; in the core's planning; waiting for
            environments while no policy could run; in all.
        flops: useful floating-point operations (`policy.flops`; 0 if the policy does not tell), a function of the trajectories alone: what
            precedes the last action of each that did not fail is fed once, a group's common prompt once for all of it, and every action's
            logits are computed.
    """

    num_episodes: int
    num_failed: int
    failure_reasons: dict[str, int]
    steps: int
    tokens_prefilled: int
    tokens_sampled: int
    prefixes_shared: int
    tokens_shared: int
    evictions: int
    tokens_recomputed: int
    swaps: int
    tokens_ahead: int
    tokens_overrun: int
    model_s: float
    core_s: float
    wait_s: float
    total_s: float
    flops: int

    def __add__(self, other: CollectionStats) -> CollectionStats:
        """Of two collections, one after the other."""
        own, more = dataclasses.asdict(self), dataclasses.asdict(other)
        reasons = Counter(own.pop("failure_reasons")) + Counter(more.pop("failure_reasons"))
        return CollectionStats(**{name: value + more[name] for name, value in own.items()}, failure_reasons=dict(reasons))

    @property
    def idle_share(self) -> float:
        """The share of the time in which the policies were idle, waiting for environments."""
        return self.wait_s / self.total_s if self.total_s else 0.0
