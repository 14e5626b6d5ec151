"""RL stages and whole runs on several ranks: the figures are those of one process, whoever dies or is interrupted on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paradigm import distributed
from paradigm.cli import main
from paradigm.divided_sampler import DividedSampler
from paradigm.importance import ImportanceCorrection
from paradigm.learner import Learner
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.recipe_run import apply
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource
from paradigm.sharding import Copies
from paradigm.world import World, WorldConfig
from tests.distributed_cases import run_ranks

CONFIG = PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, heads=("value",), max_position_embeddings=64)
OBJECTIVES = {
    "grpo": {"steps": 5, "updates_per_step": 2},
    "ppo": {"advantage": "gae", "correction": {"level": "token"}, "kl": 0.1, "kl_estimator": "full"},
    "gspo": {},
    "scalerl": {"drop_solved": 0.6},
    "dpo": {},
    "alphastar": {},
    "ppg": {"auxiliary_every": 2, "auxiliary_epochs": 2, "steps": 2},
    "distillation": {},
}
# what was measured, and what depends on who was ready first or on who shares a cache with whom
UNEQUAL = ("_s", "seconds", "tokens_per_second", "idle_share", "prefixes_shared", "tokens_shared", "evictions", "tokens_recomputed")


def assert_same_rows(rows, expected):
    """Every number to 1e-5, all else the same, but for what is measured."""
    for row, known in zip(rows, expected, strict=True):
        numbers, words = ({}, {}), ({}, {})
        for side, given in enumerate((row, known)):
            for name, value in given.items():
                if not name.endswith(UNEQUAL):
                    (numbers if isinstance(value, float) else words)[side][name] = value
        assert words[0] == words[1]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, abs=1e-5)


def improved(names):
    """By objective, rows of metrics of steps of RL by self-play."""
    found = {}
    for name in names:
        options = {"steps": 3, "tasks_per_step": 5, "group_size": 4, "max_tokens": 60, "pack_tokens": 256, **OBJECTIVES[name]}
        if "correction" in options:
            options["correction"] = ImportanceCorrection(**options["correction"])
        config = RL.of(name, name="rl", teacher="t" if name == "distillation" else "", **options)
        policy = Copies(Policy(CONFIG, seed=0))
        learner = Learner(policy.trained, learning_rate=1e-3)
        teacher = Policy(CONFIG, seed=1) if config.teacher else None
        world = World(WorldConfig(kind="connect_four"), seed=0)
        source = RolloutSource(config, DividedSampler(policy.whole, slots=16), world, 0, teacher=teacher, refresh=policy.gather)
        rows = [{**update.info, **apply(learner, update)} for step in range(config.steps) for update in source.updates(step)]
        found[name] = [{key: float(value) for key, value in row.items()} for row in rows], learner.num_tokens
    return found


@pytest.mark.parametrize(("world", "names"), [(2, tuple(OBJECTIVES)), (4, ("grpo", "dpo"))])
def test_steps_of_rl_are_those_of_one_process(world, names) -> None:
    expected = improved(names)
    for found in run_ranks(world, improved, names):
        for name, (rows, num_tokens) in expected.items():
            assert found[name][1] == num_tokens > 0
            assert_same_rows(found[name][0], rows)
            assert len({row.get("train/grad_norm") for row in rows}) > 1, "it must move"


RECIPE = """
name = "tiny"
slots = 32
[policy]
vocab_size = 272
hidden_size = 16
num_layers = 1
num_heads = 2
intermediate_size = 32
max_position_embeddings = 128
[world]
kind = "connect_four"
[evaluation]
problems = 8
curve_problems = 4
opponents = ["uniform"]
[[stages]]
kind = "pretrain"
text_share = 1.0
text = "text.txt"
tokens = 1024
step_tokens = 256
[[stages]]
kind = "imitate"
tokens = 1536
step_tokens = 256
problems = 20
optimizer = "muon"
checkpoint_every = 2
[[stages]]
kind = "rl"
objective = "grpo"
steps = 6
tasks_per_step = 4
group_size = 2
learning_rate = 1e-3
checkpoint_every = 2
evaluate_every = 3
[[stages]]
kind = "distil"
problems = 8
min_reward = -1.0
keep_thoughts = true
tokens = 512
step_tokens = 256
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    Path("tiny.toml").write_text(RECIPE)
    return Path("tiny.toml")


def command(folder, dies_in_step, *arguments):
    """One command as a rank; the last rank is killed within that step of RL."""
    os.chdir(folder)
    if dies_in_step is not None and os.environ["RANK"] == "1":
        collect = RolloutSource._collect

        def dying(source, step):
            if step == dies_in_step:
                os.kill(os.getpid(), signal.SIGKILL)
            return collect(source, step)

        RolloutSource._collect = dying
    return main(arguments)


def assert_same_run(folder, expected, known_stages=("pretrain", "imitate", "rl", "distil")) -> None:
    """Every figure to 1e-5, and every file but the measurements of time."""
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert_same_rows(*([json.loads(line) for line in (run / name).read_text().splitlines()] for run in (folder, expected)))
    infos = [json.loads((run / "run.json").read_text()) for run in (folder, expected)]
    stages = [[{k: v for k, v in stage.items() if k != "seconds"} for stage in info["stages"]] for info in infos]
    assert stages[0] == stages[1] and [stage["name"] for stage in stages[0]] == list(known_stages)
    # shards of data are named by the hash of what they hold, log-probs among it
    files = [{re.sub("-[0-9a-f]{16}", "", str(path.relative_to(run))) for path in run.rglob("*") if path.is_file()} for run in (folder, expected)]
    assert files[0] == files[1], "and nothing half written"


def test_a_run_survives_a_killed_rank_and_goes_on_with_another_number(recipe, tmp_path) -> None:
    assert main(["run", str(recipe), "--out", "alone"]) == 0
    status, killed = run_ranks(2, command, tmp_path, 3, "run", str(recipe), "--out", "shared", may_fail=True, join=False)
    assert status == 1 and isinstance(killed, EOFError)
    info = json.loads(Path("shared/run.json").read_text())
    assert [stage["name"] for stage in info["stages"]] == ["pretrain", "imitate"]
    assert [path.name for path in sorted(Path("shared/stages/rl/checkpoints").iterdir())] == ["step-000002"]
    assert run_ranks(4, command, tmp_path, None, "run", "--resume", "shared", join=False) == [0] * 4
    assert_same_run(Path("shared"), Path("alone"))


def test_stages_alone_and_new_folders(recipe, tmp_path) -> None:
    assert run_ranks(2, command, tmp_path, None, "imitate", str(recipe), "imitate.optimizer=adamw", join=False) == [0, 0]
    assert [path.name for path in Path("runs").iterdir()] == ["tiny-imitate-1"], "one folder, not one a rank"
    assert main(["imitate", str(recipe), "imitate.optimizer=adamw", "--out", "alone"]) == 0
    assert_same_run(Path("runs/tiny-imitate-1"), Path("alone"), ["imitate"])
    assert run_ranks(2, command, tmp_path, None, "rl", str(recipe), "rl.stepz=1", join=False) == [1, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_ctrl_c_under_torchrun_ends_all_ranks_with_a_message(recipe) -> None:
    launched = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "paradigm", "imitate", str(recipe)]
    process = subprocess.Popen(
        [*launched, "imitate.tokens=2560000", "--out", "run"], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        while process.poll() is None and not any(Path("run").glob("stages/imitate/checkpoints/step-*")):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0 and said.count("Interrupted; what was checkpointed is kept.") == 1, said
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) >= 2
    assert distributed.world() == 1
