"""The stages. They differ only in where trajectories come from and what weight each predicted token carries:

    pretrain   documents                          1 on every token
    imitate    demonstrations, noisy ones too     1 on action tokens
    reward     pairs of dialogues                 the sign of their difference, on last tokens, of a reward head
    rl         the policy's own rollouts          advantage x clipped importance ratio, on action tokens
    distil     own rollouts that were verified    1 on action tokens

Each is a source of updates (stage.py), and all share one loop, `RecipeRun.train`. RL has files of its own: its options in rl_stage.py, its source
in rollout_source.py; and the reward model has reward_stage.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from paradigm import distributed
from paradigm.batch import PackedBatch
from paradigm.evaluation import CORRECT
from paradigm.objective import CrossEntropy
from paradigm.reward_stage import Reward
from paradigm.rl_stage import RL
from paradigm.stage import Part, Stage, Update
from paradigm.trajectory import TrajectoryBuffer


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Next-token prediction on real text and worked problems.

    tokens: how many to train on. step_tokens: of these, per step. text: "stdlib" (the Python standard library's sources), or a file,
    folder or corpus. text_share: share of the text among the tokens, the rest being worked problems. text_bytes: how much text to
    read at most. document_tokens: longer documents are cut into windows of this many. problems: how many are worked. held_out_every: one in so many
    windows of the text is kept for measuring the loss on it (0: none). width: how many times as wide as the recipe's policy the one is that is made
    here, from scratch.
    """

    kind: ClassVar[str] = "pretrain"
    tokens: int = 1_000_000
    step_tokens: int = 8192
    text: str = "stdlib"
    text_share: float = 0.5
    text_bytes: int = 8_000_000
    document_tokens: int = 256
    problems: int = 40_000
    held_out_every: int = 0
    width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out_every < 0 or self.held_out_every == 1:
            raise ValueError(f"held_out_every must be 0 or >= 2, got {self.held_out_every}")
        if self.width < 1 or (self.width > 1 and self.start != "scratch"):
            raise ValueError(f"width must be >= 1, and 1 but where start is 'scratch', got {self.width} with {self.start!r}")


@dataclass(frozen=True, kw_only=True)
class Imitate(Stage):
    """Next-action prediction on demonstrations.

    tokens: how many to train on. match_tokens_of: instead, as many as that earlier stage trained on. step_tokens: per step.
    problems: how many to demonstrate. filtered: keep only the demonstrations that the verifier accepts.
    """

    kind: ClassVar[str] = "imitate"
    tokens: int = 1_000_000
    match_tokens_of: str = ""
    step_tokens: int = 8192
    problems: int = 30_000
    filtered: bool = False


@dataclass(frozen=True, kw_only=True)
class Distil(Stage):
    """Imitation of the policy's own verified rollouts, the thinking removed: observe-plan-act becomes observe-act.

    problems: how many to attempt; samples_per_problem: attempts each. min_reward: the least that a rollout must have earned.
    keep_thoughts: train on the work as well as on the answer. tokens, step_tokens: as for imitation. max_tokens: the longest rollout.
    """

    kind: ClassVar[str] = "distil"
    problems: int = 20_000
    samples_per_problem: int = 1
    min_reward: float = CORRECT
    keep_thoughts: bool = False
    tokens: int = 500_000
    step_tokens: int = 8192
    temperature: float = 1.0
    max_tokens: int = 256


LABELS = {"pretrain": "pretrained", "imitate": "imitated", "reward": "reward model", "rl": "rl", "distil": "distilled"}
STAGES: dict[str, type[Stage]] = {stage.kind: stage for stage in (Pretrain, Imitate, Reward, RL, Distil)}


class StreamSource:
    """Fixed data: documents (every token weighs 1) or demonstrations (action tokens weigh 1), `step_tokens` of it a step.

    Every rank draws the whole step's, and packs its share.
    """

    def __init__(self, stream: Any, *, tokens: int, step_tokens: int, pack_tokens: int, rows: Literal["action", "all"]):
        self.stream, self.step_tokens, self.pack_tokens, self.rows = stream, step_tokens, pack_tokens, rows
        self.num_steps = max(1, round(tokens / step_tokens))

    @property
    def num_updates(self) -> int:
        return self.num_steps

    def updates(self, step: int) -> Iterator[Update]:
        documents = self.stream.take(self.step_tokens)
        pack_tokens = max(self.pack_tokens, int(documents.lengths.max()))
        batches = PackedBatch.pack(documents, pack_tokens, rows=self.rows, share=distributed.share(), ce=1.0)
        yield Update((Part(batches, CrossEntropy()),), {})

    def state_dict(self) -> dict[str, Any]:
        return {"stream": self.stream.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state["stream"])


def verified(rollouts: TrajectoryBuffer) -> TrajectoryBuffer:
    """Only what the verifier gave its full score."""
    return rollouts.select((rollouts.reward >= CORRECT) & ~rollouts.failed)
