"""Every Triton kernel compiles for sm_80 and sm_90a in the configuration it ships with, spills nothing and fits the shared memory."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}


def test_kernels_compile_without_a_gpu() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-m", "tests.kernels.compile_ahead"], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 8
    for row in rows:
        assert row["spilled"] == 0 and row["shared"] <= SHARED_BYTES[row["capability"]] and row["registers"] <= 255, row
