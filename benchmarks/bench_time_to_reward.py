"""Seconds of RL until the quickstart's imitated policy solves a given share of new problems, with the ways in which a step can be taken."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Contestant, Setting
from benchmarks.models import QUICKSTART, describe

SUMMARY = "seconds of RL until the quickstart's imitated policy solves 90% of new problems: as in the recipe, prompts shared, rollouts a step ahead"
RIVALS: dict[str, str] = {}

_RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.toml"
_TARGET = 0.9
_STEPS_IN_A_ROW = 3
_QUICK = ("pretrain.tokens=4096", "imitate.tokens=4096", "imitate.problems=100", "pretrain.problems=100", "pretrain.text_share=0.0",
          "rl.tasks_per_step=2", "rl.group_size=2", "rl.max_tokens=64", "evaluation.problems=2", "evaluation.recovery=[]")  # fmt: skip
_UNFAIR = (
    f"One seed and one run each, from the same weights; the share is that of a step's own 512 rollouts at temperature 1, of new problems, in the "
    f"mean of {_STEPS_IN_A_ROW} steps. Which step reaches it is partly chance: parts_ms has the time of a step. TRL is not run: the calculator's "
    "results come in the midst of a completion, for which its tools ask for a chat template."
)
_PREDICTION = "25 steps of 2 s; shared prompts change little, prompts being 10 of 40 tokens; a step ahead takes a few steps more, and each as long"


def cases(setting: Setting) -> Iterator[Case]:
    target = 0.0 if setting.quick else _TARGET
    yield Case(
        op="time to reward", shape=f"{100 * target:.0f}% of the quickstart's problems", dtype="float32", config=describe(QUICKSTART), unit="1/s",
        work=1.0, reference="paradigm", once=True, unfair=_UNFAIR, prediction=_PREDICTION,
        providers={
            "paradigm": _contestant(setting, target),
            "paradigm, prompts shared in the update": _contestant(setting, target, share_prompts=True),
            "paradigm, rollouts a step ahead": _contestant(setting, target, max_lag=1),
        },
    )  # fmt: skip


@functools.cache
def _imitated(quick: bool) -> tuple[Any, Any]:
    """The recipe, and the run of it that ends with the imitated policy; made once a process."""
    from paradigm.recipe import load_recipe
    from paradigm.recipe_run import run_recipe

    recipe = load_recipe(_RECIPE, _QUICK if quick else ("evaluation.recovery=[]", "evaluation.problems=200"))
    folder = tempfile.TemporaryDirectory()
    run = run_recipe(replace(recipe, stages=recipe.stages[:2]), folder.name)
    run.__dict__["_folder"] = folder  # lives as long as the run
    return recipe, run


def _contestant(setting: Setting, target: float, **options: Any) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.learner import Learner, Schedule
        from paradigm.recipe_run import apply
        from paradigm.rl_stage import RL
        from paradigm.rollout_source import RolloutSource

        recipe, run = _imitated(setting.quick)
        stage = recipe.stage("rl")
        stage = replace(stage, **options, correction=RL.of(stage.objective, max_lag=options.get("max_lag", 0)).correction)
        parts: dict[str, list[float]] = {"step": []}

        def train() -> None:
            policy = run.load_policy("imitate").to(setting.device)
            source = RolloutSource(stage, run.sampler(policy), run.world, recipe.seed)
            schedule = Schedule(kind=stage.schedule, warmup_steps=stage.warmup_steps, total_steps=source.num_updates)
            learner = Learner(policy, None, schedule, stage.max_grad_norm, learning_rate=stage.learning_rate, weight_decay=stage.weight_decay)
            solved: list[float] = []
            started = time.perf_counter()
            try:
                for step in range(source.num_steps):
                    for update in source.updates(step):
                        apply(learner, update)
                        if "rollout/success" in update.info:
                            solved.append(update.info["rollout/success"])
                    if len(solved) >= _STEPS_IN_A_ROW and sum(solved[-_STEPS_IN_A_ROW:]) / _STEPS_IN_A_ROW >= target:
                        break
                else:
                    raise RuntimeError(f"{source.num_steps} steps did not reach {target}: {solved[-5:]}")
            finally:
                source.close()
            parts["step"].append((time.perf_counter() - started) / len(solved))

        return Contestant(train, ", ".join(f"rl.{name}={value}" for name, value in options.items()) or "as in the recipe", parts=parts)

    return build
