"""A run killed with SIGKILL at random moments and resumed ends with the same bits as one that was left alone."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from paradigm.recipe import Recipe, decode_recipe
from paradigm.recipe_run import run_recipe

KILLS_PER_STAGE = 5
STAGES = ("pretrain", "imitate", "rl", "distil")


def _recipe(folder: Path) -> Recipe:
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 2000)
    step = {"step_tokens": 512, "pack_tokens": 1024, "checkpoint_every": 2, "evaluate_every": 5, "warmup_steps": 2}
    return decode_recipe({
        "name": "resume", "slots": 32,
        "policy": {"vocab_size": 272, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 64,
                   "tie_word_embeddings": True, "max_position_embeddings": 512},
        "world": {"operations": "+", "digits": 1, "error_rate": 0.05},
        "evaluation": {"problems": 8, "curve_problems": 4, "max_tokens": 48},
        "stages": [
            {"kind": "pretrain", "tokens": 512 * 60, "text": str(text), "problems": 40, **step},
            {"kind": "imitate", "tokens": 512 * 60, "problems": 60, "learning_rate": 5e-3, **step},
            {"kind": "rl", "steps": 40, "tasks_per_step": 4, "group_size": 4, "max_tokens": 48, "updates_per_step": 2, "checkpoint_every": 2,
             "evaluate_every": 5},
            # so small a policy gets nothing right, and its thoughts are all it has: keep them
            {"kind": "distil", "problems": 60, "min_reward": 0.0, "keep_thoughts": True, "tokens": 512 * 60, "max_tokens": 48, **step},
        ],
    })  # fmt: skip


def _train(recipe: Recipe, folder: Path) -> None:
    os.setpgrp()
    run_recipe(recipe, folder)


def _weights(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / "stages" / name / "model" / "model.safetensors").read_bytes()).hexdigest() for name in STAGES}


def _rows(folder: Path, stage: str) -> int:
    path = folder / "metrics.jsonl"
    return sum(f'"stage":"{stage}"' in line for line in path.read_text().splitlines()) if path.exists() else 0


def _finished(folder: Path, stage: str) -> bool:
    try:
        return any(s["name"] == stage for s in json.loads((folder / "run.json").read_text())["stages"])
    except (OSError, json.JSONDecodeError):
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_stage_survives_being_killed(tmp_path) -> None:
    recipe = _recipe(tmp_path)
    # children come from a server that has imported the library but never trained, so each starts at once and afresh
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["paradigm.recipe_run"])

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=_train, args=(recipe, folder))
        process.start()
        return process

    undisturbed = start(tmp_path / "undisturbed")
    undisturbed.join()
    assert undisturbed.exitcode == 0
    expected = _weights(tmp_path / "undisturbed")
    assert len(set(expected.values())) == len(STAGES), "a stage that changes no weight proves nothing"

    chance = random.Random(time.time_ns())
    folder, kills = tmp_path / "killed", dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        while kills[stage] < KILLS_PER_STAGE and not _finished(folder, stage):
            process = start(folder)
            goal = _rows(folder, stage) + chance.randint(1, 4)  # some steps further than the last one got, in this stage
            while process.is_alive() and _rows(folder, stage) < goal and not _finished(folder, stage):
                time.sleep(0.002)
            time.sleep(chance.random() * 0.01)  # some steps, or within one
            if process.is_alive() and not _finished(folder, stage):
                os.kill(process.pid, signal.SIGKILL)
                kills[stage] += 1
            elif process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
    last = start(folder)
    last.join()
    assert last.exitcode == 0
    print("kills:", kills)
    assert min(kills.values()) >= KILLS_PER_STAGE, f"too few kills landed inside a stage: {kills}"
    assert _weights(folder) == expected
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        rows = [[json.loads(line) for line in (tmp_path / run / name).read_text().splitlines()] for run in ("undisturbed", "killed")]
        timing = ("seconds", "throughput/tokens_per_second", "rollout/model_s", "rollout/core_s", "rollout/environments_s", "rollout/all_s",
                  "rollout/idle_share", "rollout/prefixes_shared", "rollout/tokens_shared", "rollout/evictions",
                  "rollout/tokens_recomputed")  # fmt: skip
        plain = [[{k: v for k, v in row.items() if k not in timing} for row in side] for side in rows]
        assert plain[0] == plain[1], f"{name} differs after the kills"
