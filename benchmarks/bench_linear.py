"""The linear layers of a decoder, one number of rows after another: exact_linear, whose rows depend on nothing else, against torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "y = x W^T by exact_linear (each row as if alone) against torch.nn.functional.linear, from one row to a training batch"
RIVALS: dict[str, str] = {}

_WEIGHTS = {  # K inputs, N outputs
    "cuda": {
        "Qwen3-0.6B": [(1024, 2048), (1024, 1024), (2048, 1024), (1024, 3072), (3072, 1024)],
        "Qwen3-1.7B": [(2048, 2048), (2048, 1024), (2048, 6144), (6144, 2048)],
        "4096 wide": [(4096, 4096), (4096, 14336), (14336, 4096)],
    },
    "cpu": {"quickstart": [(192, 192), (192, 512), (512, 192)]},
    "cuda quick": {"Qwen3-0.6B": [(1024, 1024), (1024, 3072)], "4096 wide": [(4096, 14336)]},
    "cpu quick": {"quickstart": [(192, 512)]},
}
_ROWS = {"cuda": (1, 32, 256, 8192), "cpu": (1, 32, 256, 8192), "cuda quick": (1, 32, 256, 8192), "cpu quick": (1, 32)}
_CACHE_BYTES = 128 * 2**20
_MEMORY_BOUND = 256  # with so few rows and less, reading the weight takes longer than multiplying by it

_UNFAIR = (
    "To paradigm: torch picks a kernel for each number of rows and may split sums along K, which makes a row's bits depend on the others; "
    "exact_linear uses one kernel for any number of rows. With few rows launches from Python are part of both times, and Triton's take longer; "
    "no CUDA graph hides them."
)
_PREDICTION = (
    "bfloat16 on an H100, M=8192: 65 to 75% of the matmul ceiling at N >= 4096, 50 to 65% at N of 2048 and 3072, 35 to 50% at N=1024 (panels of 64), "
    "0.75 to 0.95 of torch's rate at N >= 4096. M <= 32: 16 to 56 of 132 processors busy with one weight, so 15 to 50% of the copy ceiling, "
    "0.2 to 0.6 of torch's rate, and at Qwen3-0.6B's sizes both bound by launches; with TILES_BY_ROWS, 1.5 to 3 times that at N <= 4096. "
    "Not yet measured on a GPU. On a CPU: between 0.7 and 1.5 of torch's rate"
)


def cases(setting: Setting) -> Iterator[Case]:
    kind = "cuda" if setting.device.startswith("cuda") else "cpu"
    dtype = "bfloat16" if kind == "cuda" else "float32"
    size = kind + " quick" * setting.quick
    for model, shapes in _WEIGHTS[size].items():
        for inputs, outputs in shapes:
            for rows in _ROWS[size]:
                product = 2.0 * rows * inputs * outputs
                x, weights = make_job(rows, inputs, outputs, getattr(torch, dtype), setting.device)
                moved = float(x.numel() + weights[0].numel() + rows * outputs) * x.element_size()
                bound_by_memory = rows <= _MEMORY_BOUND and kind == "cuda"
                yield Case(
                    op="linear", shape=f"M={rows} K={inputs} N={outputs}", dtype=dtype, config=model, unit="TFLOP/s", work=product / 1e12,
                    cost=moved / product * 1e12 if bound_by_memory else 1e12, ceiling="copy" if bound_by_memory else f"matmul {dtype}",
                    providers={"paradigm": _contestant(ours, x, weights), "torch": _contestant(F.linear, x, weights)}, reference="torch",
                    packages=("triton",), unfair=_UNFAIR, prediction=_PREDICTION,
                )  # fmt: skip


def make_job(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> tuple[Tensor, list[Tensor]]:
    """x [rows, inputs] and weights [outputs, inputs], equal ones: on a GPU so many that none waits in a cache until its next turn."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(count, inputs, generator=generator).to(device, dtype) for count in (rows, outputs))
    weight = weight / inputs**0.5
    count = -(-_CACHE_BYTES // weight.nbytes) if weight.is_cuda else 1
    return x, [weight, *(weight.clone() for _ in range(count - 1))]


def ours(x: Tensor, weight: Tensor) -> Tensor:
    from paradigm.kernels import exact_linear

    return exact_linear(x, weight)


def _contestant(multiply: Callable[[Tensor, Tensor], Tensor], x: Tensor, weights: list[Tensor]) -> Callable[[], Contestant]:
    turn = itertools.cycle(weights)

    def run() -> None:
        multiply(x, next(turn))

    return lambda: Contestant(run)
