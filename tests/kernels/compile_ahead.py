"""Compiles the Triton kernels with the configurations they ship with, without a GPU: python -m tests.kernels.compile_ahead

For each kernel, dtype and architecture it prints a line of JSON with what the assembler says: registers, spilled bytes, shared memory.
A process of its own, since a process that runs Triton's interpreter has no compiler.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from paradigm.kernels import linear_logprob_triton

_POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


def linear_logprob(dtype: torch.dtype, has_support: bool) -> tuple[Any, dict[str, str], dict[str, Any], dict[str, int]]:
    config = linear_logprob_triton.configuration(dtype, 4096)
    options = {name: config.pop(name) for name in ("num_warps", "num_stages")}
    signature = {
        "hidden": _POINTERS[dtype], "weight": _POINTERS[dtype], "targets": "*i64", "support": "*i32", "table": "*i32", "maximum": "*fp32",
        "mass": "*fp32", "moment": "*fp32", "target": "*fp32", "num_rows": "i32", "vocabulary": "i32", "inverse_temperature": "fp32",
        "hidden_stride": "i32", "weight_stride": "i32", "num_words": "i32",
    }  # fmt: skip
    constants = {"WIDTH": 4096, "HAS_SUPPORT": has_support, "TILES": 64, **config}
    return linear_logprob_triton._range_kernel, signature, constants, options


def compiled(kernel: Any, signature: dict[str, str], constants: dict[str, Any], options: dict[str, int], capability: int) -> dict[str, int]:
    """Registers of a thread, spilled bytes and shared memory on one architecture."""
    names = kernel.arg_names
    divisible = {(names.index(n),): [["tt.divisibility", 16]] for n, t in signature.items() if t.startswith("*") or n.endswith("_stride")}
    full = {name: signature.get(name, "constexpr") for name in names}
    source = ASTSource(fn=kernel, signature=full, constexprs=constants, attrs=divisible)
    result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(result.asm["ptx"])
        assembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
        name = f"sm_{capability}" + ("a" if capability >= 90 else "")
        command = [assembler, "-v", f"--gpu-name={name}", path, "-o", Path(folder) / "kernel.cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    assert registers is not None and spilled is not None, said
    return {"registers": int(registers[1]), "spilled": int(spilled[1]), "shared": result.metadata.shared}


def main() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for has_support in (False, True):
            for capability in (80, 90):
                kernel, *rest = linear_logprob(dtype, has_support)
                row = {"kernel": "linear_logprob", "dtype": str(dtype), "support": has_support, "capability": capability}
                print(json.dumps(row | compiled(kernel, *rest, capability)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
