"""Every Triton kernel compiles for sm_80 and sm_90a in the configuration it ships with, spills nothing and fits the shared memory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
SPILLS = {  # bytes
    "attention (query|key) float32 d256 .*": 1 << 20,  # float32 at this size is for comparing, not for training
    "linear_sample_token draw bfloat16.*": 256,  # once a tile, when its product is done
    "paged_attention bfloat16 (96|128) prefix": 36,  # before Hopper, once a split
}
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
        assert row["spilled"] <= max((most for name, most in SPILLS.items() if re.fullmatch(name, row["kernel"])), default=0), row
        assert row["shared"] <= SHARED_BYTES[row["capability"]] and row["registers"] <= 255, row
        if row["wgmma_only"] and row["capability"] == 90:
            assert row["matrix"] == ["wgmma.mma_async"], row


def test_hopper_attention_keeps_its_warps_apart(rows: list[dict]) -> None:
    """A producer of 24 registers, consumers of 240, loads and stores by TMA, and products that run on while softmax is computed."""
    gluon = [row for row in rows if "gluon" in row["kernel"]]
    assert len(gluon) >= 9
    for row in gluon:
        found = row["specialised"]
        assert {24, 240} <= set(found["registers"]) and found["tma"] >= 8 and not found["serialised"], row
        assert row["registers"] <= 65536 // (12 * 32), "three groups of four warps share a multiprocessor's registers at the launch"


def test_a_rows_sums_are_taken_in_one_order_with_and_without_a_support(rows: list[dict]) -> None:
    orders = {(row["kernel"], row["capability"]): row["reductions"] for row in rows}
    masked = [(name, capability) for name, capability in orders if name.startswith("linear_logprob tiles") and name.endswith(" support")]
    assert len(masked) == 6
    for name, capability in masked:
        assert orders[name, capability] == orders[name.removesuffix(" support"), capability], name


def test_a_row_is_drawn_by_the_same_sums_where_others_have_filters(rows: list[dict]) -> None:
    by_name = {(row["kernel"], row["capability"]): (row["reductions"], row["products"]) for row in rows}
    beside = [(name, capability) for name, capability in by_name if name.startswith("linear_sample_token draw") and name.endswith(" targets")]
    assert len(beside) == 4
    for name, capability in beside:
        assert by_name[name, capability] == by_name[name.removesuffix(" targets"), capability], name


def test_a_rows_squares_are_summed_in_one_order_with_and_without_a_residual(rows: list[dict]) -> None:
    orders = {(row["kernel"], row["capability"]): row["reductions"] for row in rows if row["kernel"].startswith("rms_norm forward")}
    fused = [(name, capability) for name, capability in orders if name.endswith(" residual")]
    assert len(fused) >= 16
    for name, capability in fused:
        assert orders[name, capability] == orders[name.removesuffix(" residual"), capability], name


def test_a_splits_sums_are_taken_in_one_order_by_a_program_of_its_own_and_by_one_for_all(rows: list[dict]) -> None:
    orders = {(row["kernel"], row["capability"]): row["reductions"] for row in rows}
    whole = [(name, capability) for name, capability in orders if name.startswith("paged_attention") and name.endswith(" whole")]
    assert len(whole) == 24
    for name, capability in whole:
        assert orders[name, capability] == orders[name.removesuffix(" whole"), capability], name


def test_a_shared_splits_sums_are_taken_in_the_same_order(rows: list[dict]) -> None:
    by_name = {(row["kernel"], row["capability"]): (row["reductions"], row["products"]) for row in rows}
    shared = [(name, capability) for name, capability in by_name if name.startswith("paged_attention") and name.endswith(" prefix")]
    assert len(shared) == 10
    for name, capability in shared:
        assert by_name[name, capability] == by_name[name.removesuffix(" prefix"), capability], name


def test_the_heads_logits_are_summed_as_its_log_probs_are(rows: list[dict]) -> None:
    """The same instructions as often, of the same BLOCK_K in one loop: z of `logits` is the product inside linear_logprob's tiles."""
    products = {(row["kernel"], row["capability"]): row["products"] for row in rows}
    for capability, tiles in ((80, "64x128 to float32, 3 stages"), (90, "128x256 to float32, 4 stages")):
        for dtype, kernel in (("bfloat16", tiles), ("float32", "32x128, 2 stages")):
            ours = products[f"linear {dtype} {kernel}", capability]
            assert ours and ours == products[f"linear_logprob tiles {dtype}", capability]
            assert ours == products[f"linear_logprob tiles {dtype} support", capability]


def test_the_table_is_of_these_kernels(rows: list[dict]) -> None:
    table = [json.loads(line) for line in TABLE.read_text().splitlines()]
    if {row["triton"] for row in table} == {triton.__version__}:
        assert rows == table, "run `python -m tests.kernels.compile_ahead --write`"
    else:  # another compiler finds other registers
        assert [(row["kernel"], row["capability"]) for row in rows] == [(row["kernel"], row["capability"]) for row in table]


RECORDER = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import KernelInterface

class Hopper:  # what a launch asks of a device before it compiles
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0
    def get_current_target(self): return GPUTarget("cuda", 90, 32)

launched = []
driver.set_active(Hopper())
KernelInterface.__getitem__ = lambda kernel, grid: lambda *a, **k: launched.append(kernel.run(*a, grid=grid, warmup=True, **k))
"""

LAUNCHES = """
from tests.kernels.compile_ahead import KERNELS
from paradigm.kernels.policy_loss_triton import run
from paradigm.objective import PPOClip

weight = torch.randn(999, 100).bfloat16()
for rows in (1, 16, 300):
    hidden, targets = torch.randn(rows, 100).bfloat16(), torch.zeros(rows, dtype=torch.int64)
    streams = dict.fromkeys(("advantage", "behaviour_logprob", "entropy", "divergence"), torch.ones(rows))
    for teacher in (None, (hidden, weight)):
        for with_gradient in (True, False):
            run(hidden, weight, targets, streams, PPOClip(entropy=True), 0.7, None, teacher, "forward", with_gradient, with_gradient)
names = {kernel.metadata.name for kernel in launched}
assert names == {"_tile_kernel", "_combine_kernel", "_gradient_kernel", "_divergence_kernel"}, names
for name in ("_tile_kernel", "_combine_kernel"):
    assert len({kernel.hash for kernel in launched if kernel.metadata.name == name}) == 1, f"{name}: one binary for any number of rows"
ahead = {}
for function in KERNELS:
    for c in function():
        if 90 in c.architectures and "float16" in c.name or "combine" in c.name:
            ahead.setdefault(c.kernel.__name__, []).append(c)
for kernel in launched:
    taken = {n: t for n, t in kernel.src.signature.items() if t != "constexpr"}
    taken |= {n: "*i32" for n in ("support", "table") if n in taken}  # without a support the targets stand in
    assert taken in [c.signature for c in ahead[kernel.metadata.name]], taken
"""


def test_launches_are_those_compiled_ahead_and_one_binary_serves_any_number_of_rows() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", RECORDER + LAUNCHES], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


LINEAR_LAUNCHES = """
from tests.kernels.compile_ahead import linear
from paradigm.kernels.linear_triton import linear as multiply

ahead = [{**c.signature, **c.constants, **c.options} for c in linear() if 90 in c.architectures]
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for outputs in (2048,) if dtype != torch.bfloat16 else (1, 1000, 1024, 2048, 4100):
        weight, bias = torch.zeros(outputs, 96, dtype=dtype), torch.zeros(outputs, dtype=dtype)
        for widen in (False, True):
            for b in (None, bias):
                launched.clear()
                for rows in (1, 7, 16, 64, 300, 65537):
                    multiply(torch.zeros(rows, 96, dtype=dtype), weight, b, widen)
                assert len(launched) == 6 and len({kernel.hash for kernel in launched}) == 1, "one binary for any number of rows"
                kernel = launched[0]
                names = kernel.src.fn.arg_names
                constants = {names[i]: value for (i,), value in kernel.src.constants.items()}
                taken = {n: t for n, t in kernel.src.signature.items() if t != "constexpr"} | constants | {"WIDTH": 4096}
                options = {n: getattr(kernel.metadata, n) for n in ("num_warps", "num_stages", "enable_fp_fusion")}
                assert {**taken, **options} in ahead, {**taken, **options}
"""


def test_a_linear_layers_launches_are_those_compiled_ahead() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", RECORDER + LINEAR_LAUNCHES], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


HOPPER_LAUNCHES = """
from tests.kernels.compile_ahead import attention_on_hopper
from paradigm.kernels import Layout, attention_gluon, attention_gluon_backward

ahead = [{**c.signature, **c.constants, **c.options} for c in attention_on_hopper()]
q, k, v = (torch.zeros(200, heads, 64, dtype=torch.bfloat16) for heads in (16, 4, 4))
for lengths in ([200], [1, 70, 0, 129]):
    options = Layout(torch.tensor([0, *lengths]).cumsum(0)), True, None, 0.125, None
    out, lse = attention_gluon.attention_forward(q, k, v, *options)
    attention_gluon_backward.attention_backward(q, q, k, v, out, lse, *options)
assert [kernel.metadata.name for kernel in launched[:3]] == ["_attention_fwd_kernel", "_attention_bwd_query_kernel", "_attention_bwd_key_kernel"]
assert len(launched) == 6 and len({kernel.hash for kernel in launched}) == 3, "one binary for any layout"
for kernel in launched:
    names = kernel.src.fn.arg_names
    taken = {n: t for n, t in kernel.src.signature.items() if t != "constexpr"} | {names[i]: x for (i,), x in kernel.src.constants.items()}
    assert taken | {"num_warps": kernel.metadata.num_warps // 3} in ahead, taken  # it counts the producer's and the second consumer's
"""


def test_hopper_attentions_launches_are_those_compiled_ahead() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", RECORDER + HOPPER_LAUNCHES], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
