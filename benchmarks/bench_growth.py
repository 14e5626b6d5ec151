"""How the cost of a training step and of a collection grows, one dimension at a time; the rivals of a row are its own other sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.bench_grpo_step import Job, make_environment, make_sampler, roll_out
from benchmarks.harness import Case, Contestant, Setting
from benchmarks.models import SMALL, describe, make_policy

SUMMARY = "how a training step grows with document length, documents and vocabulary, and rollouts with group size and slots; useful GFLOP/s"
RIVALS: dict[str, str] = {}

_UNFAIR = (
    "Useful work differs between the sizes of a row, so read the rate (useful GFLOP/s) for how well a size is used and ms for what it costs. Rates "
    "of rollouts count a group's prompt once."
)
_PREDICTIONS = {
    "training step, document length": "useful GFLOP/s fall by less than a quarter from 32 to 2,048 tokens, where attention is half of the work",
    "training step, documents": "flat from 16 documents of 64 tokens on; at 1, half of that, the cost of a call of each operation showing",
    "training step, vocabulary": "useful GFLOP/s rise with the share of the head, which is one large product; memory does not grow with the logits",
    "rollouts, group size": "ms fall with shared prompts, by prefill's share of a quarter at most",
    "rollouts, slots": "useful GFLOP/s grow as slots do to 16, and are within a fifth of their greatest from 64 on",
}


def cases(setting: Setting) -> Iterator[Case]:
    few = setting.quick
    tokens = 512 if few else 4096
    lengths, counts = ((32, 256), (1, 4)) if few else ((32, 128, 512, 2048), (1, 4, 16, 64, 256))
    vocabularies, groups, slots = ((272, 4096), (1, 4), (2, 8)) if few else ((272, 4096, 32768), (1, 4, 16, 64), (1, 4, 16, 64, 256))
    job = Job(num_prompts=8, group_size=1, prompt_tokens=16, new_tokens=4) if few else Job(num_prompts=64, group_size=1)
    yield _case(setting, "training step, document length", f"{tokens} tokens", {
        f"documents of {n}": _training(SMALL, [n] * (tokens // n), setting) for n in lengths})  # fmt: skip
    yield _case(setting, "training step, documents", "documents of 64 tokens", {
        f"{n} documents": _training(SMALL, [64] * n, setting) for n in counts})  # fmt: skip
    yield _case(setting, "training step, vocabulary", f"{tokens // 4} tokens in documents of 64", {
        f"vocabulary {v}": _training({**SMALL, "vocab_size": v}, [64] * (tokens // 256), setting) for v in vocabularies})  # fmt: skip
    yield _case(setting, "rollouts, group size", f"{job.num_prompts} completions of {job.new_tokens} tokens, prompts of {job.prompt_tokens}", {
        f"groups of {g}": _rolling(job._replace(num_prompts=job.num_prompts // g, group_size=g), None, setting) for g in groups})  # fmt: skip
    yield _case(setting, "rollouts, slots", f"{job.num_prompts} completions of {job.new_tokens} tokens, prompts of {job.prompt_tokens}", {
        f"{s} slots": _rolling(job, s, setting) for s in slots})  # fmt: skip


def _case(setting: Setting, op: str, shape: str, providers: Mapping[str, Callable[[], Contestant]]) -> Case:
    return Case(
        op=op, shape=shape, dtype="float32", config=describe(SMALL), providers=providers, reference=next(iter(providers)), unit="GFLOP/s", cost=1e9,
        ceiling="matmul float32", unfair=_UNFAIR, prediction=_PREDICTIONS[op],
    )  # fmt: skip


def _training(shape: dict[str, Any], lengths: list[int], setting: Setting) -> Callable[[], Contestant]:
    """A forward, backward and AdamW on packed documents; work in useful GFLOP."""

    def build() -> Contestant:
        from paradigm.batch import PackedBatch
        from paradigm.learner import Learner
        from paradigm.objective import CrossEntropy
        from paradigm.trajectory import TrajectoryBuffer

        policy = make_policy({**shape, "max_position_embeddings": 4096}, "float32", setting.device)
        learner, offsets = Learner(policy, learning_rate=1e-4), np.cumsum([0, *lengths])
        tokens = torch.randint(shape["vocab_size"], (int(offsets[-1]),), generator=torch.Generator().manual_seed(0)).numpy()
        (batch,) = PackedBatch.pack(TrajectoryBuffer.from_arrays(tokens, offsets), len(tokens), rows="all", ce=1.0)
        batch = batch.to(policy.device)
        work = policy.flops(batch.num_tokens, batch.layout, num_predictions=batch.num_rows, backward=True) / 1e9

        def run() -> float:
            learner.forward_backward(batch, CrossEntropy())
            learner.step()
            return work

        return Contestant(run)

    return build


def _rolling(job: Job, slots: int | None, setting: Setting) -> Callable[[], Contestant]:
    """A collection; work in useful GFLOP, as the sampler counts it."""

    def build() -> Contestant:
        policy = make_policy(SMALL, "float32", setting.device)
        sampler, environment = make_sampler(policy, job), make_environment(SMALL["vocab_size"], job)
        if slots is not None:
            sampler.slots = slots

        def run() -> float:
            roll_out(sampler, environment, job)
            return sampler.stats.flops / 1e9

        return Contestant(run)

    return build
