"""A step of supervised fine-tuning on documents of many lengths: ours packed, TRL's SFTTrainer in the fastest of its modes with the same loss."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.harness import Case, Contestant, Setting, fastest
from benchmarks.models import PACK_TOKENS, SMALL, describe, make_policy, to_transformers
from benchmarks.products import Products
from benchmarks.trl_peer import QUIET, Stepped, compile_forward, gradients_apart, number_tokenizer

SUMMARY = "an SFT step on 64 documents of log-normal lengths (median 100), a 2.4M-parameter Qwen3, against TRL, fp32 and bf16, with its floor"
RIVALS = {"trl": "trl>=1.16", "transformers": "transformers>=5"}

LEARNING_RATE = 1e-4
_NUM_STEPS = 32  # after which documents come again

_UNFAIR = (
    "Given to TRL: torch.compile where that is faster, each step's documents sorted by length and so the least padding in micro-batches, no "
    "reports, no checkpoints, no recomputation of activations, fused AdamW, ids for text, and in bf16 weights and AdamW state in bf16. Its packing "
    "'wrapped' is left out, since it cuts documents and lets them attend to each other. To paradigm: it keeps float32 masters and state in bf16, "
    "packs within the step, computes each row's entropy and metrics, and is in exact mode. The floor has no attention, norms or optimizer."
)
_PREDICTION = (
    "1.3x in fp32, where products are most of both and only TRL's padding, its logits of [T, V] and its unfused norms are to be saved; more in bf16; "
    "1.35 times the floor"
)


class Job(NamedTuple):
    """Documents a step, of lengths exp(normal(ln median, 0.7)) between 8 and longest."""

    num_documents: int = 64
    median: int = 100
    longest: int = 512

    def steps(self, vocab_size: int) -> list[list[list[int]]]:
        """The documents of each step, each step's the shortest first."""
        rng = np.random.default_rng(0)
        lengths = np.exp(rng.normal(math.log(self.median), 0.7, (_NUM_STEPS, self.num_documents)))
        lengths = np.sort(np.clip(lengths.astype(int), 8, self.longest), axis=1)
        return [[rng.integers(0, vocab_size, n).tolist() for n in step] for step in lengths]


def cases(setting: Setting) -> Iterator[Case]:
    job = Job(num_documents=8, median=16, longest=40) if setting.quick else Job()
    steps = job.steps(SMALL["vocab_size"])
    tokens = [sum(map(len, step)) for step in steps]
    shortest, longest = (pick(len(document) for step in steps for document in step) for pick in (min, max))
    for dtype in ("float32",) if setting.quick else ("float32", "bfloat16"):
        cost = floor_of(tokens[0], job.num_documents, SMALL, dtype, "meta").flops / tokens[0]
        yield Case(
            op="SFT step", shape=f"{job.num_documents} documents of {np.mean(tokens) / job.num_documents:.0f} tokens in the mean, "
            f"{shortest} to {longest}", dtype=dtype, config=describe(SMALL), unit="tok/s", cost=cost, ceiling=f"matmul {dtype}",
            providers={
                "paradigm": _ours(job, SMALL, dtype, setting), "TRL": _trl(job, SMALL, dtype, setting),
                "products alone": lambda dtype=dtype: _floor(job, SMALL, dtype, setting),
            },
            reference="TRL", goals={"paradigm": 1.3} if dtype == "float32" else {}, floors={"paradigm": ("products alone", 1.6)}, peaks_apart=True,
            packages=("trl", "transformers", "accelerate"), unfair=_UNFAIR, prediction=_PREDICTION,
        )  # fmt: skip


def pack(documents: list[list[int]], max_tokens: int = PACK_TOKENS["float32"]) -> list[Any]:
    from paradigm.batch import PackedBatch
    from paradigm.trajectory import TrajectoryBuffer

    offsets = np.cumsum([0, *map(len, documents)])
    return PackedBatch.pack(TrajectoryBuffer.from_arrays(np.concatenate(documents), offsets), max_tokens, rows="all", ce=1.0)


def _ours(job: Job, shape: dict[str, Any], dtype: str, setting: Setting) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.learner import Learner
        from paradigm.objective import CrossEntropy

        learner, objective = Learner(make_policy(shape, dtype, setting.device), learning_rate=LEARNING_RATE), CrossEntropy()
        steps = job.steps(shape["vocab_size"])

        def run() -> float:
            documents = steps[learner.num_steps % _NUM_STEPS]
            for batch in pack(documents, PACK_TOKENS[dtype]):
                learner.forward_backward(batch, objective)
            learner.step()
            return float(sum(map(len, documents)))

        return Contestant(run)

    return build


def _trl(job: Job, shape: dict[str, Any], dtype: str, setting: Setting) -> Callable[[], Contestant]:
    def variant(mode: str, micro_batch: int, attention: str = "sdpa", compiled: bool = False) -> Callable[[], Stepped]:
        def build() -> Stepped:
            model = to_transformers(make_policy(shape, dtype, setting.device), attention)
            steps = job.steps(shape["vocab_size"])

            def trainer(folder: str, callback: Any) -> Any:
                made = make_trainer(steps, shape, model, folder, mode, micro_batch, setting.device, [callback])
                if compiled:
                    compile_forward(made.model, dynamic=True)
                return made

            return Stepped(
                trainer,
                work=lambda step: float(sum(map(len, steps[step % _NUM_STEPS]))),
            )

        return build

    def build() -> Contestant:
        import transformers
        import trl  # noqa: F401  what is missing is said before anything is built

        transformers.utils.logging.disable_progress_bar()
        n = job.num_documents
        sizes = (n // 4, n // 16) if n >= 64 else (n // 2,)
        variants = {f"{mode}, micro-batches of {size}": variant(mode, size) for mode in ("padded", "padding-free") for size in sizes}
        variants[f"padded, compiled, micro-batches of {sizes[0]}"] = variant("padded", sizes[0], compiled=True)
        variants[f"padded, eager, micro-batches of {sizes[0]}"] = variant("padded", sizes[0], "eager")
        contestant = fastest(variants, only=setting.variant, equal_work=False)
        mode = "padding-free" if contestant.variant.startswith("padding-free") else "padded"
        difference = "" if setting.variant else f"; {compare_gradients(shape, mode)}"
        return contestant._replace(detail=contestant.detail + difference)

    return build


def make_trainer(
    steps: list[list[list[int]]], shape: dict[str, Any], model: Any, folder: str, mode: str, micro_batch: int, device: str = "cpu",
    callbacks: Any = None,
) -> Any:  # fmt: skip
    """TRL's trainer over the documents in their order: "padded", or "padding-free", a micro-batch in one row with positions that start anew.

    Raises: ImportError without TRL.
    """
    import datasets
    import trl
    from torch.utils.data import SequentialSampler

    class InOrder(trl.SFTTrainer):
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset if dataset is None else dataset)

    arguments = trl.SFTConfig(
        output_dir=folder, per_device_train_batch_size=micro_batch, gradient_accumulation_steps=len(steps[0]) // micro_batch, max_length=None,
        padding_free=mode == "padding-free", learning_rate=LEARNING_RATE, bf16=False, use_cpu=device == "cpu",
        dataset_kwargs={"skip_prepare_dataset": True}, **QUIET,
    )  # fmt: skip
    documents = datasets.Dataset.from_dict({"input_ids": [document for step in steps for document in step]})
    return InOrder(model, args=arguments, train_dataset=documents, processing_class=number_tokenizer(shape["vocab_size"]), callbacks=callbacks)


def compare_gradients(shape: dict[str, Any], mode: str) -> str:
    """Losses and gradients of both on the same few documents and weights, in float32. Raises: RuntimeError if they differ by more than 1e-4."""
    from paradigm.learner import Learner
    from paradigm.objective import CrossEntropy

    documents = Job(num_documents=4, median=12, longest=30).steps(shape["vocab_size"])[0]
    policy = make_policy(shape, "float32")
    learner = Learner(policy)
    loss = sum(float(learner.forward_backward(batch, CrossEntropy())["train/loss"]) for batch in pack(documents))
    model = to_transformers(policy, "sdpa")
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer([documents], shape, model, folder, mode, len(documents))
        inputs = trainer.data_collator([{"input_ids": document} for document in documents])
        trainer.model.train()
        their_loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=torch.tensor(sum(len(d) - 1 for d in documents)))
        their_loss.backward()
    apart, loss_apart = gradients_apart(policy, trainer.model), abs(loss - float(their_loss.detach()))
    if not (apart <= 1e-4 and loss_apart <= 1e-4):
        raise RuntimeError(f"the losses differ: {loss} and {float(their_loss.detach())}, gradients by {apart:.2g} of their norm")
    return f"the same {len(documents)} documents give losses that differ by {loss_apart:.1g} and gradients by {apart:.1g} of their norm"


def floor_of(num_tokens: int, num_documents: int, shape: dict[str, Any], dtype: str, device: str) -> Products:
    """The products of a step: every token fed, every one but each document's first predicted."""
    num_batches = max(1, round(num_tokens / PACK_TOKENS[dtype]))
    passes = [(num_tokens // num_batches, (num_tokens - num_documents) // num_batches)] * num_batches
    return Products(shape, getattr(torch, dtype), device, training=passes)


def _floor(job: Job, shape: dict[str, Any], dtype: str, setting: Setting) -> Contestant:
    tokens = [sum(map(len, step)) for step in job.steps(shape["vocab_size"])]
    fed = round(float(np.mean(tokens)))
    products = floor_of(fed, job.num_documents, shape, dtype, setting.device)

    def run() -> float:
        products()
        return float(fed)

    return Contestant(run)
