"""The learner: it sums the weighted losses of packed batches, and moves a policy's weights.

It knows nothing of stages: an objective and a batch's streams say what each predicted token weighs. Whoever packed has divided by the
counts of the whole set, so calls of `forward_backward` between two steps add up to the gradient of the set, however it is cut.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from paradigm import distributed
from paradigm.allocator import keep_freed_memory
from paradigm.batch import PackedBatch
from paradigm.batch_loss import backward
from paradigm.checkpoint import load_checkpoint, save_checkpoint
from paradigm.kernels import check_flags
from paradigm.kernels.flags import check_taken, take_flags
from paradigm.objective_rows import Objective, SequenceObjective
from paradigm.optimizer import Muon, Schedule, adamw, decay_groups, freeze, obeys_found_inf
from paradigm.policy import Policy
from paradigm.sharding import fitted_slots, gathered, whole
from paradigm.timeline import span
from paradigm.trained_weights import TrainedWeights
from paradigm.transfer import Transfer
from paradigm.weights import HEADS_FILE, read_safetensors, read_weights

__all__ = ["Learner", "Schedule"]

_log = logging.getLogger(__name__)
_COUNTERS = ("num_steps", "num_skipped", "num_skipped_in_a_row", "num_tokens", "num_rows", "flops")
_SUMMED = ("num_tokens", "num_rows", "flops")  # over the ranks, at every step


class _Found(NamedTuple):
    """What a step of a late learner found: whether the loss is finite, the gradient, and each of the named parameters' gradients; kernels' flags."""

    step: int
    names: list[str]
    finite: Transfer
    flags: dict[torch.device, Transfer]


class Learner:
    """Trains a policy: `forward_backward` on each batch of a set, then `step`.

    Parameters in bfloat16 or float16 get float32 master weights, which the optimizer moves (its state is float32 too) and from which they are
    rounded after each step; gradients are summed in float32. Otherwise the dtype of everything is the policy's own.

    A step whose loss or gradient is not finite is skipped: weights, optimizer state and average stay as they were, and it is counted. A late
    learner has the device itself decide that, and waits for nothing in `forward_backward` and `step`: what a step found (counts of skipped
    steps, warnings, errors, its part in the average) is booked by the next one, or by `settle`, which whatever reads the state calls. The weights
    are the same bits. Otherwise `step` waits for the device once.

    Of a policy in shards (`sharding.shard`) every rank has a learner, and makes the same calls of it with its own batches, equally many
    (`PackedBatch.pack(..., share=...)`): the gradient is the sum over the ranks, whose norm, skipped steps and counts are those of all.

    Of a policy on the CPU it lets the process keep memory that steps free (`allocator.keep_freed_memory`).

    Args:
        policy: any module with `forward(tokens, layout) -> hidden [T, D]` and `head_weight` [V, D]; `heads["value"]` for value losses, and
            `flops(num_tokens, layout, num_predictions=, backward=)` to count work.
        optimizer: any torch optimizer over parameters of the policy that has taken no step yet; None is AdamW (decoupled decay, none on norms,
            biases and embeddings). It is the learner's from now on.
        schedule: multiplies each group's own learning rate; None leaves it alone.
        max_grad_norm: the gradient's global norm is clipped to this; None does not clip.
        max_nonfinite: this many skipped steps in a row are an error.
        ema: decay per step, in (0, 1), of a float32 moving average of the trained weights; see `averaged`.
        late: book what a step found one step later. That takes one rank, and an optimizer that can leave everything as it is because of a number
            on the device: `adamw`, torch's own Adam and AdamW with fused=True, or `Muon`. None: where possible, for a policy on CUDA.
        trainable: glob pattern or patterns of parameter names (`"heads.*"`); the others are frozen (requires_grad_(False)). None trains all
            that require a gradient.
        learning_rate: of the default optimizer; 3e-4 unless given.
        weight_decay: of the default optimizer; 0.1 unless given.
    Raises: ValueError if an argument is out of range, a pattern matches nothing, the optimizer has foreign parameters or has
        moved already, or `late` is True where it is not possible.
    """

    num_steps: int
    """Calls of `step`, skipped ones included: what the schedule is a function of."""
    num_skipped: int
    num_skipped_in_a_row: int
    num_tokens: int
    """Input tokens seen by `forward_backward`, over all steps."""
    num_rows: int
    flops: int
    """Floating-point operations of training as the policy counts them; 0 if it does not."""

    def __init__(
        self, policy: nn.Module, optimizer: torch.optim.Optimizer | None = None, schedule: Schedule | None = None,
        max_grad_norm: float | None = 1.0, *, max_nonfinite: int = 5, ema: float | None = None, trainable: str | Sequence[str] | None = None,
        learning_rate: float | None = None, weight_decay: float | None = None, late: bool | None = None,
    ):  # fmt: skip
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be > 0 or None, got {max_grad_norm}")
        if max_nonfinite < 1:
            raise ValueError(f"max_nonfinite must be >= 1, got {max_nonfinite}")
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema must be in (0, 1) or None, got {ema}")
        if optimizer is not None and (learning_rate is not None or weight_decay is not None):
            raise ValueError("learning_rate and weight_decay must be None with an optimizer, whose groups have their own")
        if policy.head_weight.is_cpu:
            keep_freed_memory()
        self.policy: Any = policy
        self.schedule, self.max_grad_norm, self.max_nonfinite = schedule, max_grad_norm, max_nonfinite
        self._trainable = trainable if trainable is None or isinstance(trainable, str) else tuple(trainable)
        freeze(policy, self._trainable)
        if optimizer is None:
            groups = decay_groups(policy, 0.1 if weight_decay is None else weight_decay)
            if not groups:
                raise ValueError("policy must have a parameter that requires a gradient, got none")
        else:
            groups = optimizer.param_groups
        if optimizer is not None and optimizer.state:
            raise ValueError("optimizer must not have taken a step, since its state would not be that of the weights it is given here")
        self._weights = TrainedWeights(policy, groups, ema)
        if optimizer is None:
            optimizer = adamw(groups, learning_rate=3e-4 if learning_rate is None else learning_rate)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        can_be_late = distributed.world() == 1 and obeys_found_inf(optimizer)
        if late and not can_be_late:
            raise ValueError(f"late must not be True with {type(optimizer).__name__} over {distributed.world()} ranks: see Learner")
        self.late = can_be_late and policy.head_weight.is_cuda if late is None else late
        self._found: _Found | None = None  # by the last step of a late learner, not yet booked
        self._loss_is_finite: Tensor | None = None
        self.num_steps = self.num_skipped = self.num_skipped_in_a_row = self.num_tokens = self.num_rows = self.flops = 0
        self._summed = [0 for _ in _SUMMED]  # at the last step, over all ranks

    def forward_backward(
        self, batch: PackedBatch, objective: Objective | SequenceObjective, *, teacher: nn.Module | None = None,
        divergence: Literal["forward", "reverse"] = "forward",
    ) -> dict[str, Tensor]:  # fmt: skip
        """Adds the gradient of a batch's loss to that of the batches since the last step.

        A batch with a stream `value_target` adds the loss of the value head, sum over rows of value_i (v_i - value_target_i)^2 / 2, the stream
        `value` being the coefficient.

        Args:
            batch: a PackedBatch; brought to the policy's device if it lies elsewhere.
            objective: what its streams mean.
            teacher: a policy over the same vocabulary whose whole distribution the rows are pulled to, with coefficient stream `divergence`.
            divergence: "forward" is KL(teacher || policy), "reverse" KL(policy || teacher).
        Returns: 0-dim float32 tensors on the policy's device, which nothing has waited for. Sums, and `_max`, to be joined over batches by
            `objective.reduce_metrics`: train/loss, train/tokens, train/rows, train/flops, and the objective's.
        Raises: ValueError if a stream, pairs or a head is missing.
        """
        total, metrics = backward(self.policy, batch, objective, teacher=teacher, divergence=divergence)
        self._weights.sum_gradients()
        finite = torch.isfinite(total)
        self._loss_is_finite = finite if self._loss_is_finite is None else self._loss_is_finite & finite
        return {"train/loss": total, **self._count(batch, total.device), **metrics}

    def _count(self, batch: PackedBatch, device: torch.device) -> dict[str, Tensor]:
        num_rows = batch.position.numel()
        flops = 0
        if hasattr(self.policy, "flops"):
            flops = self.policy.flops(batch.num_tokens, batch.layout, num_predictions=num_rows, backward=True)
        self.num_tokens += batch.num_tokens
        self.num_rows += num_rows
        self.flops += flops
        counts = {"train/tokens": batch.num_tokens, "train/rows": num_rows, "train/flops": flops}
        return {name: torch.full((), float(count), device=device) for name, count in counts.items()}

    @torch.no_grad()
    def step(self) -> Tensor:
        """Clips the summed gradient, moves the weights unless something is not finite, and clears the gradient.

        Returns: 0-dim float32, the gradient's global norm before clipping.
        Raises: RuntimeError without a `forward_backward` before; FloatingPointError after `max_nonfinite` skipped steps in a row; ValueError if a
            kernel met bad data on a GPU since the last step (`kernels.check_flags`). The last two come from a late learner for the step before, in
            which case nothing moves.
        """
        with span("optimizer", "update"):
            return self._step()

    def _step(self) -> Tensor:
        gradients = self._weights.gradients()
        if self._loss_is_finite is None or not gradients:
            raise RuntimeError("step() must follow a forward_backward() that reaches a trained parameter")
        if self.late:
            return self._step_late(self._loss_is_finite, gradients)
        norm = whole(torch.nn.utils.get_total_norm(gradients.values()))
        finite = torch.stack([self._loss_is_finite, torch.isfinite(norm)]).tolist()  # the step's one wait
        check_flags()
        loss_is_finite, gradient_is_finite = self._join_ranks(*finite)
        try:
            if loss_is_finite and gradient_is_finite:
                self._move(norm)
                self.num_skipped_in_a_row = 0
            else:
                bad = [name for name, gradient in gradients.items() if not torch.isfinite(whole(gradient)).all()]
                self._skip(self.num_steps, loss_is_finite, bad)
        finally:
            self.num_steps += 1
            self._clear_gradients()
        return norm

    def _step_late(self, loss_is_finite: Tensor, gradients: dict[str, Tensor]) -> Tensor:
        try:
            self.settle()  # the step before is long done: behind it the device has all that this one's forward_backward gave it
            norms = torch.stack(torch._foreach_norm(list(gradients.values())))
            norm = torch.linalg.vector_norm(norms)  # as get_total_norm has it
            finite = torch.cat([torch.stack([loss_is_finite, torch.isfinite(norm)]), torch.isfinite(norms)])
            self._move(norm, (~finite[:2].all()).float())
            flags = {device: Transfer(taken) for device, taken in take_flags().items()}
            self._found = _Found(self.num_steps, list(gradients), Transfer(finite), flags)
        finally:
            self.num_steps += 1
            self._clear_gradients()
        return norm

    @torch.no_grad()
    def settle(self) -> None:
        """Waits until what the last step of a late learner found is known, and books it. Raises: as `step`."""
        found, self._found = self._found, None
        if found is None:
            return
        loss_is_finite, gradient_is_finite, *each = found.finite.tolist()
        if loss_is_finite and gradient_is_finite:
            self.num_skipped_in_a_row = 0
            self._weights.average()
        elif isinstance(self.optimizer, Muon):
            self.optimizer.uncount()
        check_taken({device: flags.tolist() for device, flags in found.flags.items()})
        if not (loss_is_finite and gradient_is_finite):
            self._skip(found.step, loss_is_finite, [name for name, is_finite in zip(found.names, each) if not is_finite])

    def _join_ranks(self, loss_is_finite: bool, gradient_is_finite: bool) -> tuple[bool, bool]:
        """Whether these are finite on every rank; makes the counters those of all."""
        own = [getattr(self, name) - before for name, before in zip(_SUMMED, self._summed)]
        bad_losses, bad_gradients, *counts = distributed.totals([not loss_is_finite, not gradient_is_finite, *own])
        self._summed = [before + count for before, count in zip(self._summed, counts)]
        for name, count in zip(_SUMMED, self._summed):
            setattr(self, name, count)
        return not bad_losses, not bad_gradients

    def _clear_gradients(self) -> None:
        self._loss_is_finite = None
        self._weights.clear_gradients()

    def _move(self, norm: Tensor, found_inf: Tensor | None = None) -> None:
        """found_inf: of a late learner, 1 if nothing is to move; the average is then for `settle`."""
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._weights.moved.values(), self.max_grad_norm, norm)
        if self.schedule is not None:
            ratio = self.schedule.ratio(self.num_steps)
            for group in self.optimizer.param_groups:
                rate = group["initial_lr"] * ratio
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        optimizer: Any = self.optimizer
        optimizer.found_inf = found_inf
        optimizer.step()
        self._weights.round_masters()
        if found_inf is None:
            self._weights.average()

    def _skip(self, step: int, loss_is_finite: bool, bad: Sequence[str]) -> None:
        """bad: the parameters whose gradients are not finite."""
        self.num_skipped += 1
        self.num_skipped_in_a_row += 1
        where = f" ({bad[0]}{f' and {len(bad) - 1} more' if len(bad) > 1 else ''})" if bad else " (its norm overflows)"
        what = f"the gradient{where}" if loss_is_finite else "the loss"
        _log.warning("step %d skipped: %s is not finite (%d in a row)", step, what, self.num_skipped_in_a_row)
        if self.num_skipped_in_a_row >= self.max_nonfinite:
            raise FloatingPointError(
                f"{what} is not finite at step {step}, the {self.num_skipped_in_a_row}th skipped step in a row "
                f"(max_nonfinite={self.max_nonfinite}); the weights are those of the last good step: lower the learning rate or look at the data"
            )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the policy has the moving average of its weights (`ema`); then its own again. Raises: RuntimeError without `ema`."""
        self.settle()
        with self._weights.averaged():
            yield

    @property
    def ema(self) -> dict[str, Tensor] | None:
        """The moving average by name, if it is kept."""
        return self._weights.ema

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first parameter group in the last step (before any: its base value)."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on, by reference: weights, masters, average, optimizer, counters, and the options of the learner.

        Shards are gathered on rank 0, tensor by tensor on its CPU, while the others have None for each: what is saved does not depend on the
        number of ranks. All of them must call.
        Raises: RuntimeError between `forward_backward` and `step`: gradients are not saved; as `settle`.
        """
        if self._loss_is_finite is not None:
            raise RuntimeError("a Learner must be saved after step(), before the next forward_backward(): gradients are not saved")
        self.settle()
        schedule = None if self.schedule is None else dataclasses.asdict(self.schedule)
        return gathered({
            **self._weights.state(),
            "optimizer": {"kind": type(self.optimizer).__name__, "trained": self._trained_names(), "state": self.optimizer.state_dict()},
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "options": {
                "schedule": schedule, "max_grad_norm": self.max_grad_norm, "max_nonfinite": self.max_nonfinite, "ema": self._weights.decay,
                "trainable": self._trainable,
            },
        })  # fmt: skip

    def _trained_names(self) -> list[list[str]]:
        names = {id(moved): name for name, moved in self._weights.moved.items()}
        return [[names[id(p)] for p in group["params"]] for group in self.optimizer.param_groups]

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, copying it (each rank its own shards of it); options stay this learner's own.

        Raises: ValueError, before anything is changed, if it is of another architecture, precision, optimizer, or set of trained parameters.
        """
        self._weights.check_state(state)
        saved, kind = state["optimizer"], type(self.optimizer).__name__
        if saved["kind"] != kind:
            raise ValueError(f"optimizer must be {saved['kind']}, as in the saved learner, got {kind}")
        if saved["trained"] != self._trained_names():
            raise ValueError(
                f"optimizer must have the saved learner's groups of {[len(names) for names in saved['trained']]} parameters with the same names, "
                f"got {[len(group['params']) for group in self.optimizer.param_groups]}"
            )
        self._weights.load_state(state)
        moved = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.load_state_dict(copy.deepcopy(fitted_slots(saved["state"], moved)))
        for name in _COUNTERS:
            setattr(self, name, state["counters"][name])
        self._summed = [state["counters"][name] for name in _SUMMED]
        self._found = None
        self._clear_gradients()

    def save_checkpoint(self, path: str | os.PathLike[str], extra: Any = None) -> None:
        """Writes a whole checkpoint (see `checkpoint.save_checkpoint`): this learner's state, and whatever `extra` the caller needs to go on.

        A `Policy` lies in the folder `policy`, in the Hugging Face format.
        Raises: OSError if the disk refuses, TypeError if `extra` cannot be written, RuntimeError between `forward_backward` and `step`.
        """
        parts: dict[str, Any] = {"learner": self.state_dict(), "extra": extra}
        if not isinstance(self.policy, Policy):
            save_checkpoint(path, parts)
            return
        policy, weights = self.policy, parts["learner"].pop("weights")
        save_checkpoint(path, parts, lambda folder: policy.save_pretrained(folder / "policy", weights=weights))

    def load_checkpoint(self, path: str | os.PathLike[str]) -> Any:
        """Goes on from a checkpoint, bit for bit. Returns: its `extra`. Raises: CheckpointError as `checkpoint.load_checkpoint`, and ValueError as
        `load_state_dict`, both before anything is changed.
        """
        parts = _read(Path(path))
        self.load_state_dict(parts["learner"])
        return parts["extra"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """`save_checkpoint` with nothing extra."""
        self.save_checkpoint(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], policy: nn.Module | None = None, optimizer: torch.optim.Optimizer | None = None) -> Learner:
        """A learner as it was saved, options included.

        Args:
            path: the checkpoint's folder.
            policy: a module of the saved architecture; None opens the saved `Policy` on the CPU.
            optimizer: needed if the saved learner had one of its own making.
        Raises: as `load_checkpoint`; ValueError if `policy` is None and no `Policy` was saved.
        """
        parts = _read(Path(path))
        if policy is None:
            if not (Path(path) / "policy").is_dir():
                raise ValueError(f"policy must be given, since {path} holds the weights of a module that is no Policy")
            policy = Policy.from_pretrained(Path(path) / "policy")
        options = dict(parts["learner"]["options"])
        options["schedule"] = None if options["schedule"] is None else Schedule(**options["schedule"])
        learner = cls(policy, optimizer, **options)
        learner.load_state_dict(parts["learner"])
        return learner


def _read(path: Path) -> dict[str, Any]:
    parts, folder = load_checkpoint(path), path / "policy"
    if "weights" not in parts["learner"]:
        weights = {name: tensor for _, name, tensor in read_weights(folder)}
        if (folder / HEADS_FILE).exists():
            weights |= dict(read_safetensors(folder / HEADS_FILE))
        parts["learner"]["weights"] = weights
    return parts
