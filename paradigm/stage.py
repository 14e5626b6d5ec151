"""What every stage has, and what a stage's source hands to the loop that trains on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import nn

from paradigm.batch import PackedBatch
from paradigm.objective_rows import Objective, SequenceObjective


class Part(NamedTuple):
    """Batches of one kind, and what their rows are weighed by; see `Learner.forward_backward` for the teacher."""

    batches: list[PackedBatch]
    objective: Objective | SequenceObjective
    teacher: nn.Module | None = None
    divergence: Literal["forward", "reverse"] = "forward"


class Update(NamedTuple):
    """One optimizer step: its gradient is the sum over all parts. `info` is worth logging beside the learner's metrics."""

    parts: tuple[Part, ...]
    info: Mapping[str, Any]


class Source(Protocol):
    """Where a stage's batches come from. `updates(step)` is a function of the step and of the state alone."""

    num_steps: int

    @property
    def num_updates(self) -> int:
        """Optimizer steps of the whole stage: what the learning rate's schedule is a function of."""

    def updates(self, step: int) -> Iterator[Update]:
        """The updates of one step."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage has.

    name: what to call it (its kind by default). label: what to call its policy in reports (by default "imitated" and the like).
    start: the stage whose weights it starts from, "previous" (the last one that is no control and no reward model) or "scratch". control: a
    comparison beside the main line, which the next stage does not start from. optimizer: "adamw", or "muon", which learns more from each step and
    takes longer over it. learning_rate,
    schedule, warmup_steps, weight_decay, max_grad_norm: the optimiser's. pack_tokens: the most tokens in one packed batch. recomputed_layers: so
    many layers compute their forward pass again within the backward pass instead of keeping it, which changes no result; -1: as few as memory asks.
    compile: whether the trained policy's layers go through torch.compile, see `Policy.compiled`; by default in fast mode on CUDA.
    fp8: whether its projections take float8 products while it trains, see `Policy.fp8`; only in fast mode and in bfloat16.
    checkpoint_every, evaluate_every: steps between whole checkpoints, and between points of the learning curve (0: only at the end).
    trace_steps: this many steps, the first of a process, are recorded in stages/NAME/trace.json, a timeline that Perfetto opens.
    """

    kind: ClassVar[str]
    name: str = ""
    label: str = ""
    start: str = "previous"
    control: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int = 10
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    pack_tokens: int = 8192
    recomputed_layers: int = -1
    compile: bool | None = None
    fp8: bool = False
    checkpoint_every: int = 100
    evaluate_every: int = 0
    trace_steps: int = 0

    def __post_init__(self) -> None:
        for field in ("learning_rate", "max_grad_norm", "pack_tokens", "checkpoint_every"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be > 0, got {getattr(self, field)}")
        for field in ("warmup_steps", "weight_decay", "evaluate_every", "trace_steps"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be >= 0, got {getattr(self, field)}")
        if self.recomputed_layers < -1:
            raise ValueError(f"recomputed_layers must be -1 or more, got {self.recomputed_layers}")

    @classmethod
    def defaults(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Options that follow from others which a recipe gives (the paper's own for an objective), in place of the class's.

        Raises: ValueError if nothing follows, since such a value is unknown.
        """
        return {}
