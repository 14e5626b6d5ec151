"""What a figure was measured on: versions, commit, processor, and how fast this machine can multiply matrices and copy memory at all."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from paradigm.kernels.linear import exact_linear

__all__ = [
    "Probe", "ceiling_probes", "describe_machine", "device_slug", "faster", "is_installed", "peak_mib", "resident_mib", "synchronizer", "versions",
]  # fmt: skip

_ROOT = Path(__file__).resolve().parent.parent
_COPY_BYTES = 256 * 2**20  # past the caches that a machine of this size owns
_MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
_QUICK_MATMUL_SIZE = {"cpu": 1024, "cuda": 4096}


class Probe(NamedTuple):
    """A job that shows a limit of the machine: `run` it and divide `work` by the seconds; `scale` units are one of `unit`."""

    run: Callable[[], object]
    work: float
    unit: str
    scale: float


def ceiling_probes(device: str = "cpu", *, quick: bool = False) -> dict[str, Probe]:
    """Square matrix products and a copy (bytes read and written both count), by name: "matmul float32", "matmul bfloat16", "copy".

    They run with the thread count that torch has now, the products on the CPU by torch or by our own kernel, whichever is faster. On CUDA float32 is
    left out, since what it measures depends on a precision flag.
    """
    kind = device.split(":")[0]
    size = (_QUICK_MATMUL_SIZE if quick else _MATMUL_SIZE)[kind]
    unit, scale = ("GFLOP/s", 1e9) if kind == "cpu" else ("TFLOP/s", 1e12)
    probes = {}
    for dtype in (torch.bfloat16,) if kind == "cuda" else (torch.float32, torch.bfloat16):
        a, b = (torch.randn(size, size, generator=torch.Generator().manual_seed(i)).to(device, dtype) for i in (1, 2))
        probes[f"matmul {str(dtype).removeprefix('torch.')}"] = Probe(_product(a, b), 2.0 * size**3, unit, scale)
    source = torch.ones(_COPY_BYTES // (8 if quick and kind == "cpu" else 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    probes["copy"] = Probe(lambda: target.copy_(source), 2.0 * source.numel(), "GB/s", 1e9)
    return probes


def _product(a: torch.Tensor, b: torch.Tensor) -> Callable[[], object]:
    out, weight = torch.empty_like(a), b.t().contiguous()
    by_torch = functools.partial(torch.mm, a, b, out=out)
    return faster(by_torch, lambda: exact_linear(a, weight)) if a.is_cpu else by_torch


def faster(*ways: Callable[[], object], tries: int = 5) -> Callable[[], object]:
    """The one whose fastest of some calls, after one that warms up, takes least."""

    def best_s(way: Callable[[], object]) -> float:
        way()
        seconds = []
        for _ in range(tries):
            started = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    with torch.inference_mode():
        return min(ways, key=best_s)


def synchronizer(device: str) -> Callable[[], object]:
    """What waits for the device's queue to be empty; nothing on the CPU."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def peak_mib(run: Callable[[], object], device: str) -> float | None:
    """MiB that a call needs beyond what lay in memory before it, or None where the system does not tell.

    On Linux this resets the process's high-water mark of resident pages. What the allocator kept from earlier calls is not counted
    twice, so a warmed-up run shows what it takes from the system only.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        run()
        return None
    before = resident_mib("VmRSS")
    run()
    peak = resident_mib("VmHWM")
    return None if before is None or peak is None else max(0.0, peak - before)


def resident_mib(entry: str) -> float | None:
    """MiB of this process in memory, now ("VmRSS") or at most so far ("VmHWM"); None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split(f"{entry}:")[1].split()[0]) / 1024


def is_installed(module: str) -> bool:
    """Whether `import module` could work; nothing is imported."""
    return importlib.util.find_spec(module) is not None


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Of Python, torch, numpy and the given distributions; those that are not installed are left out."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_machine(device: str = "cpu") -> dict[str, object]:
    """device (its name), cores, threads (torch's), load_average (1 minute, before we began), platform, commit and date."""
    return {
        "device": _device_name(device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def device_slug(device: str = "cpu") -> str:
    """The device for a file name: "xeon-processor-2c", "epyc-family-26-2c" or "nvidia-h100"."""
    name = re.sub(r"\(r\)|\(tm\)|intel|amd|@.*", "", _device_name(device).lower())
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return slug if device.startswith("cuda") else f"{slug}-{describe_machine(device)['cores']}c"


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name") or platform.processor() or platform.machine()
    # a virtual machine may leave the model's number out of its name, and then the family tells generations apart
    return f"{name} family {told['cpu family']}" if name == "AMD EPYC" and "cpu family" in told else name


def _commit() -> str:
    """`git describe` of this tree, "-dirty" if it differs from its commit, records aside; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
        return git("describe", "--always", "--tags", "--abbrev=12") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
