"""Compiles the Triton kernels with the configurations they ship with, without a GPU: python -m tests.kernels.compile_ahead [--write]

For each configuration and architecture it prints a line of JSON with what the assembler says: registers, spilled bytes, shared memory, and
which instructions multiply matrices. --write puts the lines into compiled.jsonl, which a test holds against what is compiled now.
A process of its own, since a process that runs Triton's interpreter has no compiler.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from paradigm.kernels import attention_triton, linear_logprob_triton

TABLE = Path(__file__).parent / "compiled.jsonl"
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class Configuration(NamedTuple):
    """One kernel as it is launched."""

    name: str
    kernel: Any
    signature: dict[str, str]  # Triton's type of each argument that is no constant; pointers and names in _stride are multiples of 16
    constants: dict[str, Any]
    options: dict[str, int]  # num_warps, num_stages
    wgmma: bool = False  # on sm_90 every product is a warp group's: wgmma, and no mma.sync
    architectures: tuple[int, ...] = (80, 90)


def linear_logprob() -> Iterator[Configuration]:
    for dtype in (torch.float32, torch.bfloat16):
        for has_support in (False, True):
            config = linear_logprob_triton.configuration(dtype, 4096)
            options = {name: config.pop(name) for name in ("num_warps", "num_stages")}
            signature = {
                "hidden": POINTERS[dtype], "weight": POINTERS[dtype], "targets": "*i64", "support": "*i32", "table": "*i32", "maximum": "*fp32",
                "mass": "*fp32", "moment": "*fp32", "target": "*fp32", "num_rows": "i32", "vocabulary": "i32", "inverse_temperature": "fp32",
                "hidden_stride": "i32", "weight_stride": "i32", "num_words": "i32",
            }  # fmt: skip
            constants = {"WIDTH": 4096, "HAS_SUPPORT": has_support, "TILES": 64, **config}
            name = f"linear_logprob ranges {str(dtype).removeprefix('torch.')}{' support' if has_support else ''}"
            yield Configuration(name, linear_logprob_triton._range_kernel, signature, constants, options, wgmma=dtype != torch.float32)


def attention() -> Iterator[Configuration]:
    kernels = {
        "forward": attention_triton._attention_fwd_kernel,
        "query": attention_triton._attention_bwd_query_kernel,
        "key": attention_triton._attention_bwd_key_kernel,
    }
    plain = {"PREFIXED": False, "CAUSAL": True, "WINDOWED": False, "SOFTCAP": False}
    variants = {"causal": plain, "full": plain | {"CAUSAL": False}, "causal window softcap parent": dict.fromkeys(plain, True)}
    shipped = [(torch.bfloat16, dim, name) for dim in (64, 128, 256) for name in variants if name != "full" or dim == 128]
    shipped += [(torch.bfloat16, 32, "causal window softcap parent"), (torch.bfloat16, 96, "causal"), (torch.float16, 128, "causal")]
    shipped += [(torch.float32, dim, "causal window softcap parent") for dim in (64, 128, 256)]
    for dtype, dim, variant in shipped:
        for capability in (80, 90):
            for name, config in attention_triton.configuration(dtype, dim, capability).items():
                options = {option: config.pop(option) for option in ("num_warps", "num_stages")}
                signature = {}
                for argument in kernels[name].arg_names:
                    if argument in ("q", "k", "v", "out", "grad", "grad_q", "grad_k", "grad_v"):
                        signature[argument] = POINTERS[dtype]
                    elif argument in ("lse", "statistics"):
                        signature[argument] = "*fp32"
                    elif argument in ("tiles", "segments"):
                        signature[argument] = "*i32"
                    elif argument in ("scale", "inner", "outer"):
                        signature[argument] = "fp32"
                    elif argument in ("num_rows", "window") or argument.endswith("_stride"):
                        signature[argument] = "i32"
                constants = {"HEADS": 16, "GROUP": 4, "HEAD_DIM": dim, **variants[variant], **config}
                title = f"attention {name} {str(dtype).removeprefix('torch.')} d{dim} {variant}"
                yield Configuration(title, kernels[name], signature, constants, options, dtype != torch.float32, (capability,))


KERNELS = [linear_logprob, attention]  # one function for each kernel module


def compiled(configuration: Configuration, capability: int) -> dict[str, Any]:
    """Registers of a thread, spilled bytes, shared memory and matrix instructions on one architecture."""
    kernel, signature = configuration.kernel, configuration.signature
    names = kernel.arg_names
    divisible = {(names.index(n),): [["tt.divisibility", 16]] for n, t in signature.items() if t.startswith("*") or n.endswith("_stride")}
    full = {name: signature.get(name, "constexpr") for name in names}
    source = ASTSource(fn=kernel, signature=full, constexprs=configuration.constants, attrs=divisible)
    result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=configuration.options)
    ptx = result.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        assembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
        name = f"sm_{capability}" + ("a" if capability >= 90 else "")
        command = [assembler, "-v", f"--gpu-name={name}", path, "-o", Path(folder) / "kernel.cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    assert registers is not None and spilled is not None, said
    return {
        "kernel": configuration.name, "capability": capability, "wgmma_only": configuration.wgmma, "registers": int(registers[1]),
        "spilled": int(spilled[1]), "shared": result.metadata.shared, "matrix": [i for i in ("wgmma.mma_async", "mma.sync") if i in ptx],
        "triton": triton.__version__,
    }  # fmt: skip


def main() -> None:
    lines = []
    for configuration in (c for kernel in KERNELS for c in kernel()):
        for capability in configuration.architectures:
            lines.append(json.dumps(compiled(configuration, capability)))
            print(lines[-1], flush=True)
    if "--write" in sys.argv:
        TABLE.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
