"""The CUDA extension: what nvcc makes of it without a GPU, what it refuses, and on a GPU its results."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from paradigm import cuda_backend, kernels
from paradigm.kernels.gae import gae_reference
from tests.kernels.test_gae import make

ROOT = Path(__file__).parent.parent
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")


@needs_nvcc
def test_the_scan_compiles_for_hopper_without_spills(tmp_path: Path) -> None:
    command = ["nvcc", "-std=c++17", "-O3", "-gencode=arch=compute_90a,code=sm_90a", "-Xptxas=-v", "-keep", f"-keep-dir={tmp_path}"]
    source = ROOT / "csrc" / "cuda" / "gae.cu"
    done = subprocess.run([*command, f"-I{ROOT / 'csrc' / 'include'}", "-c", source, "-o", tmp_path / "gae.o"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", done.stderr, re.DOTALL)
    assert used is not None and used[1] == used[2] == "0" and int(used[3]) <= 64, done.stderr
    ptx = (tmp_path / "gae.ptx").read_text()
    assert re.search(r"^\.target sm_90a$", ptx, re.MULTILINE) and re.search(r"\.entry \w*gae_kernel", ptx)
    assert "shfl.sync.up.b32" in ptx and re.search(r"\b(atom|red)\.\S*global\.max\.s64", ptx)


@needs_nvcc
def test_it_builds_alone_and_loads_where_there_is_no_driver(tmp_path: Path) -> None:
    build = [sys.executable, "setup.py", "-q", "build_ext", f"--build-lib={tmp_path}", f"--build-temp={tmp_path / 'objects'}"]
    done = subprocess.run(build, cwd=ROOT, env={**os.environ, "PARADIGM_CUDA": "only"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (tmp_path / "paradigm").glob("_cuda*.so")
    script = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("_cuda", {str(built)!r})
cuda = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cuda)
cuda.gae(0, 0, 0, 0, 0, 0, 0, 0, 0.9, 0.9, 0)  # no episode: no launch
try:
    cuda.gae(0, 0, 0, 0, 0, 0, 1, 1, 0.9, 0.9, 0)
except RuntimeError as error:
    assert "gae could not be launched: " in str(error), error
else:
    raise SystemExit("a launch without a driver must raise")
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_setting_of_the_build_is_refused() -> None:
    environment = {**os.environ, "PARADIGM_CUDA": "yes"}
    done = subprocess.run([sys.executable, "setup.py", "--name"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "PARADIGM_CUDA must be 0, 1, only or unset, got 'yes'" in done.stderr


def test_tensors_elsewhere_are_refused() -> None:
    rewards, values, bootstrap, cuts = make()
    with pytest.raises(ValueError, match=r"rewards must be float32 on a CUDA device, got torch.float32 on cpu"):
        cuda_backend.gae(rewards, values, bootstrap, cuts, gamma=0.9, lam=0.9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_its_estimates_on_a_gpu() -> None:
    pytest.importorskip("paradigm._cuda")
    generator = torch.Generator().manual_seed(0)
    lengths = [5, 0, 1, 1024, 1025, 40000, 0]
    cuts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device="cuda")
    rewards, values = (torch.randn(sum(lengths), generator=generator).cuda() for _ in range(2))
    bootstrap = torch.randn(len(lengths), generator=generator).cuda()
    for gamma, lam in ((0.99, 0.95), (1.0, 1.0), (0.9, 0.0)):
        ours = cuda_backend.gae(rewards, values, bootstrap, cuts, gamma=gamma, lam=lam)
        truth = gae_reference(rewards.double(), values.double(), bootstrap.double(), cuts, gamma=gamma, lam=lam)
        assert ((ours - truth).abs() <= 1e-5 * (1 + truth.abs())).all()
        tail = cuda_backend.gae(rewards[-3000:], values[-3000:], bootstrap[5:6], cuts.new_tensor([0, 3000]), gamma=gamma, lam=lam)
        assert torch.equal(tail, ours[-3000:])
    kernels.check_flags()
    cuda_backend.gae(rewards, values, bootstrap, cuts.clone().index_fill_(0, torch.tensor([1], device="cuda"), 70000), gamma=0.9, lam=0.9)
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to T, got 70000 in episode 0"):
        kernels.check_flags()
