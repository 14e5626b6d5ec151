"""Every Triton kernel compiles for sm_80 and sm_90a in the configuration it ships with, spills nothing and fits the shared memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
TABLE = Path(__file__).parent / "compiled.jsonl"


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-m", "tests.kernels.compile_ahead"], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_kernels_compile_without_a_gpu(rows: list[dict]) -> None:
    assert len(rows) >= 8
    for row in rows:
        assert row["spilled"] == 0 and row["shared"] <= SHARED_BYTES[row["capability"]] and row["registers"] <= 255, row
        if row["wgmma_only"] and row["capability"] == 90:
            assert row["matrix"] == ["wgmma.mma_async"], row


def test_a_rows_sums_are_taken_in_one_order_with_and_without_a_support(rows: list[dict]) -> None:
    orders = {(row["kernel"], row["capability"]): row["reductions"] for row in rows}
    masked = [(name, capability) for name, capability in orders if name.startswith("linear_logprob tiles") and name.endswith(" support")]
    assert len(masked) == 6
    for name, capability in masked:
        assert orders[name, capability] == orders[name.removesuffix(" support"), capability], name


def test_a_splits_sums_are_taken_in_one_order_by_a_program_of_its_own_and_by_one_for_all(rows: list[dict]) -> None:
    orders = {(row["kernel"], row["capability"]): row["reductions"] for row in rows}
    whole = [(name, capability) for name, capability in orders if name.startswith("paged_attention") and name.endswith(" whole")]
    assert len(whole) == 24
    for name, capability in whole:
        assert orders[name, capability] == orders[name.removesuffix(" whole"), capability], name


def test_the_table_is_of_these_kernels(rows: list[dict]) -> None:
    table = [json.loads(line) for line in TABLE.read_text().splitlines()]
    if {row["triton"] for row in table} == {triton.__version__}:
        assert rows == table, "run `python -m tests.kernels.compile_ahead --write`"
    else:  # another compiler finds other registers
        assert [(row["kernel"], row["capability"]) for row in rows] == [(row["kernel"], row["capability"]) for row in table]
