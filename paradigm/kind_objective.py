"""What an RL stage may do otherwise on one kind of a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["KindObjective", "Name"]

Name = Literal[
    "reinforce", "rloo", "reinforce++", "ppo", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "icepop", "scalerl", "vtrace", "upgo", "alphastar", "ppg",
    "dpo", "distillation",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KindObjective:
    """Options of `RL`, which explains them, for the rollouts of one kind.

    What is left out is as in the stage; with an `objective` of the kind's own, as in its paper.
    """

    objective: Name | None = None
    advantage: Literal["group", "leave_one_out", "batch", "gae", "none"] | None = None
    normalize: Literal["std", "batch", "none"] | None = None
    average: Literal["tokens", "trajectories", "groups", "sums", "constant"] | None = None
    gamma: float | None = None
    lam: float | None = None
    value_coefficient: float | None = None
    entropy: float | None = None
    clip_low: float | None = None
    clip_high: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None
    kl: float | None = None
    kl_in: Literal["loss", "reward"] | None = None
    kl_estimator: Literal["k1", "k2", "k3", "full"] | None = None
    drop_uninformative: bool | None = None
    overlong_share: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.objective == "distillation":
            raise ValueError("objective of a kind must not be 'distillation', whose teacher is the stage's")
