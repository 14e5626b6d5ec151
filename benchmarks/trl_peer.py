"""TRL's trainers as contestants: their own training loop, unchanged, let go on by one optimizer step at a time."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["QUIET", "Stepped", "as_text", "compile_forward", "gradients_apart", "number_tokenizer", "timed"]

QUIET: dict[str, Any] = {  # what costs time and is no part of a step: reports, checkpoints, progress, recomputation
    "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "gradient_checkpointing": False,
    "dataloader_pin_memory": False, "max_steps": 1_000_000, "lr_scheduler_type": "constant", "optim": "adamw_torch_fused", "max_grad_norm": 1.0,
}  # fmt: skip


class _Stop(BaseException):
    """Unwinds a trainer's loop; no handler of errors is meant to catch it."""


def rest_openmp_threads() -> None:
    """Ends the calling thread's idle OpenMP threads, which come again when it needs them.

    libgomp keeps some for every thread that has ever used it, and while there are more of them than processors, none waits awake for its next work:
    whoever runs is then woken at each of its kernels, which tells where they are many and short.
    """
    for pause in _pauses():
        pause(1)  # omp_pause_soft


@functools.cache
def _pauses() -> list[Callable[[int], int]]:
    """Of the libgomps that have been loaded when first asked."""
    if sys.platform != "linux":
        return []
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
    found = (getattr(ctypes.CDLL(path), "omp_pause_resource_all", None) for path in sorted(paths))
    return [pause for pause in found if pause is not None]


class Stepped:
    """A trainer whose `train()` runs in a thread of its own and goes on by one optimizer step a call.

    The loop is stopped where a step begins, so that a call holds all that lies between: data, rollouts, gradient, clipping, update, bookkeeping.

    Args:
        build: makes the trainer, given a folder for its output and a callback to add.
        parts: seconds by part, that the trainer's wrapped methods append to (see `timed`).
        work: what a step does, given its number from 0; None: the case's.
    """

    def __init__(self, build: Callable[[str, Any], Any], *, parts: dict[str, list[float]] | None = None, work: Callable[[int], float] | None = None):
        from transformers import TrainerCallback

        turns = self

        class Turnstile(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                turns._pause()

        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._is_over = False
        self._error: BaseException | None = None
        self._folder = tempfile.TemporaryDirectory()
        for name in ("transformers", "trl", "accelerate", "datasets"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.trainer = build(self._folder.name, Turnstile())
        self.parts = {} if parts is None else parts
        self._work, self.num_steps = work, 0
        self._thread: threading.Thread | None = None

    def __call__(self) -> float | None:
        """One step. Raises: what the trainer raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, args=(torch.get_num_threads(),), daemon=True)
            self._thread.start()
            self._wait()  # until the first step begins
        before = {name: len(seconds) for name, seconds in self.parts.items()}
        rest_openmp_threads()
        start = time.perf_counter()
        self._go.release()
        self._wait()
        if "rollout" in self.parts:
            # a step in several micro-batches draws its rollouts once
            rollout_s = sum(self.parts["rollout"][before["rollout"] :])
            self.parts["rollout"][before["rollout"] :] = [rollout_s]
            self.parts["update"].append(time.perf_counter() - start - rollout_s)
        self.num_steps += 1
        return None if self._work is None else self._work(self.num_steps - 1)

    def close(self) -> None:
        """Ends the loop and lets the trainer go."""
        self._is_over = True
        if self._thread is not None:
            self._go.release()
            self._thread.join(timeout=60)
        self.trainer = None
        self._folder.cleanup()

    def _train(self, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        try:
            self.trainer.train()
        except _Stop:
            pass
        except BaseException as error:  # handed to whoever waits
            self._error = error
        self._paused.release()

    def _pause(self) -> None:
        rest_openmp_threads()
        self._paused.release()
        self._go.acquire()
        if self._is_over:
            raise _Stop

    def _wait(self) -> None:
        self._paused.acquire()
        if self._error is not None:
            raise self._error


def timed(trainer: Any, method: str, seconds: list[float]) -> None:
    """Lets each call of a trainer's method append how long it took."""
    function = getattr(trainer, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(trainer, method, call)


def compile_forward(model: Any, *, dynamic: bool) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Compiles a model's forward pass (and with it the backward) by torch.compile. The trainers' own `torch_compile=True` does it by environment
    variables, which would compile every later trainer of the process too, and generation with it.

    Args:
        dynamic: whether lengths differ from call to call.
    Returns: a context within which the model runs as it is written.
    """
    written, compiled = model.forward, torch.compile(model.forward, dynamic=dynamic)
    model.forward = compiled

    @contextlib.contextmanager
    def eager() -> Iterator[None]:
        model.forward = written
        try:
            yield
        finally:
            model.forward = compiled

    return eager


def gradients_apart(ours: Any, theirs: Any) -> float:
    """The distance of two modules' gradients, parameters matched by name, as a share of the second's norm."""
    other = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    apart = norm = 0.0
    for name, parameter in ours.named_parameters():
        apart += float((parameter.grad - other[name]).square().sum())
        norm += float(other[name].square().sum())
    return math.sqrt(apart / norm)


def number_tokenizer(vocab_size: int) -> Any:
    """A tokenizer of the words "t0", "t1", ..., whose end of text is an id that no model of `vocab_size` can draw."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({**{f"t{i}": i for i in range(vocab_size)}, "<end>": vocab_size}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="t0", padding_side="left")


def as_text(ids: Sequence[int]) -> str:
    """Ids as `number_tokenizer` reads them."""
    return " ".join(f"t{i}" for i in ids)
