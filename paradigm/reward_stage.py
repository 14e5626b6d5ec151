"""The stage that trains a reward model: the policy's reward head, and the policy under it, on pairs of dialogues of which people preferred the first.

    loss of a pair = -log sigmoid(s_chosen - s_rejected),  s what the head says at a dialogue's last token      (`preference.BradleyTerry`)

(Ouyang et al., arXiv:2203.02155, eq. 1.) At the end the head's bias is shifted so that the demonstrations, here the preferred dialogues trained on,
score 0 on average, as there before RL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from paradigm import distributed
from paradigm.batch import PackedBatch
from paradigm.preference import BradleyTerry
from paradigm.sources.preference_pairs import Half, PreferencePairs
from paradigm.sources.stream import permuted
from paradigm.stage import Part, Stage, Update
from paradigm.verifiers import RewardModel


@dataclass(frozen=True, kw_only=True)
class Reward(Stage):
    """A reward model on the recipe's pairs of dialogues (`data.pairs`, in a world of kind "preferences").

    half: of the training split's conversations, "first", "second" or "all": models on different halves never saw the same one. epochs: passes over
    them; InstructGPT makes one, since more overfit. pairs_per_step: in one update. center: pulls scores to 0, see `BradleyTerry`.
    """

    kind: ClassVar[str] = "reward"
    half: Half = "all"
    epochs: float = 1.0
    pairs_per_step: int = 32
    center: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs must be > 0, got {self.epochs}")
        if self.pairs_per_step < 1:
            raise ValueError(f"pairs_per_step must be >= 1, got {self.pairs_per_step}")
        BradleyTerry(center=self.center)  # which refuses what is out of its range


class PairSource:
    """Pairs in a new order each epoch, `pairs_per_step` an update: a function of the seed and the step alone. Every rank packs its share."""

    def __init__(self, config: Reward, pairs: PreferencePairs, seed: int):
        self.config, self.pairs, self.seed = config, pairs, seed
        self.rows = pairs.rows("train", config.half)
        self.num_steps = max(1, round(config.epochs * len(self.rows) / config.pairs_per_step))

    @property
    def num_updates(self) -> int:
        return self.num_steps

    def updates(self, step: int) -> Iterator[Update]:
        size = len(self.rows)
        places = np.arange(step * self.config.pairs_per_step, (step + 1) * self.config.pairs_per_step)
        order = [permuted(places[places // size == epoch] % size, size, f"pairs/{self.seed}/{epoch}") for epoch in np.unique(places // size)]
        # a pair may come at the end of one epoch and again at the beginning of the next: twice in a batch, as two pairs of their own
        dialogues, pairs = self.pairs.pairs(self.rows[np.concatenate(order)])
        pack_tokens = max(self.config.pack_tokens, int(dialogues.lengths.reshape(-1, 2).sum(1).max()))
        batches = PackedBatch.pack(dialogues, pack_tokens, rows="none", pairs=pairs, share=distributed.share())
        yield Update((Part(batches, BradleyTerry(center=self.config.center)),), {})

    def state_dict(self) -> dict[str, Any]:
        return {"pairs": self.pairs.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["pairs"] != self.pairs.fingerprint:
            raise ValueError("data.pairs must hold the pairs that the checkpoint was trained on, and holds others")


class Ranking(NamedTuple):
    """How a reward model orders held-out pairs: of `pairs`, those it orders as people did (`correct`, equal scores counting half) and those it could
    not score; the mean loss and margin of the others."""

    pairs: int
    correct: float
    unscored: int
    loss: float
    margin: float


def rank_pairs(model: RewardModel, pairs: PreferencePairs, rows: np.ndarray) -> Ranking:
    """The order that a model gives to pairs; one that it cannot score counts as wrong."""
    dialogues, _ = pairs.pairs(rows)
    scores = model.scores([trajectory.tokens for trajectory in dialogues]).astype(np.float64).reshape(-1, 2)
    margin = scores[:, 0] - scores[:, 1]
    known = margin[np.isfinite(margin)]
    return Ranking(
        len(rows), float((known > 0).sum() + 0.5 * (known == 0).sum()), len(rows) - len(known),
        float(np.logaddexp(0, -known).mean()) if len(known) else float("nan"), float(known.mean()) if len(known) else float("nan"),
    )  # fmt: skip


@torch.no_grad()
def center_scores(policy: Any, pairs: PreferencePairs, rows: np.ndarray) -> float:
    """Shifts the reward head's bias so that the preferred dialogues of these pairs score 0 on average. Returns: the mean it took off.

    Raises: ValueError if that is not finite.
    """
    dialogues, _ = pairs.pairs(rows)
    scores = RewardModel(policy).scores([dialogues[i].tokens for i in range(0, len(dialogues), 2)])
    mean = float(scores.mean(dtype=np.float64))
    if not np.isfinite(mean):
        raise ValueError("the reward model's scores of what it was trained on must be finite, and some are not")
    policy.heads["reward"].bias.sub_(mean)
    return mean
