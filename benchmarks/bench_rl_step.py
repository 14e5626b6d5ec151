"""A whole step of an RL stage as a run takes it, and what its time goes to: rollout, update, verification, records, idle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.bench_grpo_step import LEARNING_RATE, Job, floor_of, make_environment, make_sampler
from benchmarks.harness import Case, Contestant, Setting
from benchmarks.models import SMALL, describe, make_policy
from paradigm.timeline import PARTS, Timeline, recording, span

SUMMARY = "a whole RL step as a run takes it, with its breakdown; --trace FILE writes the timeline of one that ends with a checkpoint"
RIVALS: dict[str, str] = {}

_JOB = Job()
_QUICK_JOB = Job(num_prompts=2, group_size=4, prompt_tokens=8, new_tokens=6)
_STEPS = 1_000_000  # of the stage, which no race reaches the end of
_UNFAIR = (
    "No rival: grpo_step races the same job, without what a run writes down, against TRL. The verifier's threads and the sampler's share one "
    "interpreter. parts_ms: the first six add up to the step; the others are by span, some within others or beside them in another thread."
)
_PREDICTION = (
    "update three quarters, rollout a quarter, verification, records and idle together under 3%; rollouts a step ahead gain nothing on a CPU, "
    "whose cores both sides share, and cost a forward pass for the correction"
)


def cases(setting: Setting) -> Iterator[Case]:
    job = _QUICK_JOB if setting.quick else _JOB
    for dtype in ("float32", "bfloat16"):
        yield Case(
            op="RL step", shape=f"{job.num_completions} completions of {job.new_tokens} tokens in groups of {job.group_size}, prompts of "
            f"{job.prompt_tokens}", dtype=dtype, config=describe(SMALL), unit="steps/s", work=1.0, ceiling=f"matmul {dtype}",
            cost=floor_of(job, SMALL, dtype, "meta", share=True).flops, reference="paradigm",
            providers={
                "paradigm": _contestant(job, SMALL, dtype, setting),
                "paradigm, fast mode": _contestant(job, SMALL, dtype, setting, exact=False),
                "paradigm, rollouts a step ahead": _contestant(job, SMALL, dtype, setting, max_lag=1),
            },
            unfair=_UNFAIR, prediction=_PREDICTION,
        )  # fmt: skip


class RLStep:
    """A stage's loop, a step a call: the recipe's own source, learner and metrics."""

    def __init__(self, job: Job, shape: dict[str, Any], dtype: str, setting: Setting, *, exact: bool | None = None, **options: Any):
        from paradigm.learner import Learner
        from paradigm.metrics import MetricsLogger
        from paradigm.rl_stage import RL
        from paradigm.rollout_source import RolloutSource

        policy = make_policy(shape, dtype, setting.device)
        policy.exact = exact
        prompts = len(job.prompts(shape["vocab_size"]))
        world: Any = SimpleNamespace(
            environment=make_environment(shape["vocab_size"], job), kind_of=None,
            tasks=lambda split, seed, n: torch.randint(prompts, (n,), generator=torch.Generator().manual_seed(seed)).tolist(),
        )  # fmt: skip
        config = RL.of(
            "ppo", name="rl", steps=_STEPS, tasks_per_step=job.num_prompts, group_size=job.group_size, normalize="std", pack_tokens=2048,
            share_prompts=True, max_tokens=job.prompt_tokens + job.new_tokens, **options,
        )  # fmt: skip
        self._source = RolloutSource(config, make_sampler(policy, job), world, 0)
        self._learner = Learner(policy, learning_rate=LEARNING_RATE)
        self._folder = tempfile.TemporaryDirectory()
        self._logger = MetricsLogger(self._folder.name)
        self._synchronize = (lambda: torch.cuda.current_stream().synchronize()) if setting.device.startswith("cuda") else None
        self.parts: dict[str, list[float]] = {name: [] for name in PARTS}

    def __call__(self) -> None:
        timeline = self.recorded()
        for name, seconds in timeline.breakdown().items():
            self.parts[name].append(seconds)
        for (track, name), (_, seconds) in timeline.busy().items():
            if track != "step":
                self.parts.setdefault(f"{track}: {name}", []).append(seconds)

    def recorded(self, *, checkpoint: bool = False) -> Timeline:
        """One step, and its timeline; `checkpoint`: one is written after it."""
        from paradigm.checkpoint import save_checkpoint
        from paradigm.recipe_run import apply

        step = self._learner.num_steps
        with recording(Timeline(self._synchronize)) as timeline, span("step"):
            row: dict[str, Any] = {}
            for update in self._source.updates(step):
                row |= {**update.info, **apply(self._learner, update)}
            with span("metrics", "records"):
                self._logger.log(step + 1, row)
            if checkpoint:
                with span("checkpoint", "records"):
                    parts = {"learner": self._learner.state_dict(), "source": self._source.state_dict()}
                    save_checkpoint(Path(self._folder.name) / f"step-{step:06d}", parts)
        return timeline

    def close(self) -> None:
        self._source.close()
        self._logger.close()
        self._folder.cleanup()


def _contestant(job: Job, shape: dict[str, Any], dtype: str, setting: Setting, **options: Any) -> Callable[[], Contestant]:
    def build() -> Contestant:
        run = RLStep(job, shape, dtype, setting, **options)
        return Contestant(run, parts=run.parts)

    return build


def trace(setting: Setting, path: Path) -> Timeline:
    """Writes the timeline of a step in float32, the third, to `path` as a Chrome trace."""
    run = RLStep(_QUICK_JOB if setting.quick else _JOB, SMALL, "float32", setting)
    for _ in range(2):
        run()
    timeline = run.recorded(checkpoint=True)
    run.close()
    timeline.save(path)
    return timeline
