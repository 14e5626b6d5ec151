"""Freed memory is kept, and what the environment says stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.models import SMALL, make_policy
from paradigm.learner import Learner

_FAULTS = """
import ctypes, resource
from paradigm.allocator import keep_freed_memory
kept = {call}
libc, size = ctypes.CDLL(None), 8 << 20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def step():
    blocks = [libc.malloc(size) for _ in range(16)]
    for block in reversed(blocks):
        ctypes.memset(block, 1, size)
        libc.free(block)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = 4 * 16 * (8 << 20) // 4096


def _run(call: str, **variables: str) -> tuple[str, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"}
    run = subprocess.run([sys.executable, "-c", _FAULTS.format(call=call)], env=environment | variables, capture_output=True, text=True, check=True)
    kept, faults = run.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_a_step_takes_no_pages_that_the_step_before_had() -> None:
    kept, faults = _run("keep_freed_memory()")
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert faults < _PAGES // 100
    _, by_default = _run("None")
    assert by_default > _PAGES // 2  # or the call is for nothing


@pytest.mark.parametrize("variables", [{"MALLOC_TRIM_THRESHOLD_": "1000000"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000000"}])
def test_the_environment_decides(variables: dict[str, str]) -> None:
    assert _run("keep_freed_memory()", **variables)[0] == "False"


def test_a_learner_on_the_cpu_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("paradigm.learner.keep_freed_memory", lambda: calls.append(1))
    Learner(make_policy(SMALL, "float32"))
    assert calls
