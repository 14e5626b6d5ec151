"""Compiles the Triton kernels with the configurations they ship with, without a GPU: python -m tests.kernels.compile_ahead [--write]

For each configuration and architecture it prints a line of JSON with what the assembler says: registers, spilled bytes, shared memory, and
which instructions multiply matrices. --write puts the lines into compiled.jsonl, which a test holds against what is compiled now.
A process of its own, since a process that runs Triton's interpreter has no compiler.
"""

import hashlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from paradigm.kernels import linear_logprob_triton, linear_triton, policy_loss_triton

TABLE = Path(__file__).parent / "compiled.jsonl"
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class Configuration(NamedTuple):
    """One kernel as it is launched."""

    name: str
    kernel: Any
    signature: dict[str, str]  # Triton's type of each argument that is no constant; pointers and names in _stride are multiples of 16
    constants: dict[str, Any]
    options: dict[str, Any]  # num_warps, num_stages
    wgmma: bool = False  # on sm_90 every product is a warp group's: wgmma, and no mma.sync
    architectures: tuple[int, ...] = (80, 90)


def linear_logprob() -> Iterator[Configuration]:
    module = linear_logprob_triton
    rows = {"num_rows": "i32", "vocabulary": "i32"}
    statistics = dict.fromkeys(("maximum", "mass", "moment", "target"), "*fp32")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for has_support in (False, True):
            for architecture in (80, 90):
                config = module.configuration(dtype, 4096, hopper=architecture >= 90)
                block_n, tile, block_d, element = config["BLOCK_N"], config["TILE"], config["BLOCK_D"], POINTERS[dtype][1:]
                signature = {
                    "hidden": f"tensordesc<{element}[{block_n}, {block_d}]>",
                    "weight": f"tensordesc<{element}[{tile * config['TILES']}, {block_d}]>",
                    "kept": f"tensordesc<{POINTERS[module.kept_dtype(dtype)][1:]}[{block_n}, {tile}]>",
                    "targets": "*i64", "support": "*i32", "table": "*i32", **statistics, **rows, "inverse_temperature": "fp32",
                    "num_words": "i32", "is_kept": "i32",
                }  # fmt: skip
                constants, options = split_options({"WIDTH": 4096, "HAS_SUPPORT": has_support, **config})
                name = f"linear_logprob tiles {str(dtype).removeprefix('torch.')}{' support' if has_support else ''}"
                yield Configuration(name, module._tile_kernel, signature, constants, options, dtype != torch.float32, (architecture,))
    of_rows = dict.fromkeys(("logprob", "entropy", "normalizer"), "*fp32")
    signature = {**statistics, "targets": "*i64", **of_rows, "num_tiles": "i32", **rows}
    yield Configuration("linear_logprob combine", module._combine_kernel, signature, *split_options(module.COMBINE_TILE))
    for dtype in (torch.float32, torch.bfloat16):
        for has_entropy, divergence in ((False, "none"), (True, "none"), (True, "forward"), (True, "reverse")):
            signature = {
                "kept": POINTERS[dtype], "maximum": "*fp32", **of_rows, "targets": "*i64", "dlogprob": "*fp32", "dentropy": "*fp32",
                "teacher": POINTERS[dtype], **dict.fromkeys(("teacher_maximum", "teacher_normalizer", "coefficient", "divergence"), "*fp32"),
                **rows, "kept_stride": "i32", "teacher_stride": "i32", "inverse_temperature": "fp32",
            }  # fmt: skip
            constants, options = split_options({"HAS_ENTROPY": has_entropy, "DIVERGENCE": divergence, **module.GRADIENT_TILE})
            what = " ".join([str(dtype).removeprefix("torch."), *["entropy"] * has_entropy, *[divergence] * (divergence != "none")])
            yield Configuration(f"linear_logprob gradient {what}", module._gradient_kernel, signature, constants, options)


def policy_loss() -> Iterator[Configuration]:
    module = policy_loss_triton
    for dtype in (torch.float32, torch.bfloat16):
        for divergence in ("forward", "reverse"):
            signature = {
                "kept": POINTERS[dtype], "maximum": "*fp32", "normalizer": "*fp32", "teacher": POINTERS[dtype], "teacher_maximum": "*fp32",
                "teacher_normalizer": "*fp32", "divergence": "*fp32", "num_rows": "i32", "vocabulary": "i32", "kept_stride": "i32",
                "teacher_stride": "i32",
            }  # fmt: skip
            name = f"policy_loss divergence {str(dtype).removeprefix('torch.')} {divergence}"
            yield Configuration(name, module._divergence_kernel, signature, *split_options({"DIVERGENCE": divergence, **module.DIVERGENCE_TILE}))


def linear() -> Iterator[Configuration]:
    module, done = linear_triton, set()
    cases = [(dtype, 2048, None) for dtype in POINTERS]
    cases += [(torch.bfloat16, n, rows) for rows in (None, *module.BY_ROWS) for n in (256, 1024, 2048, 4096, 8192, 16384)]
    for architecture in (80, 90):
        for dtype, num_outputs, num_rows in cases:
            for widen, has_bias in itertools.product((False, True), (False, True) if num_rows is None else (False,)):
                config = module.configuration(dtype, 4096, num_outputs, widen=widen, hopper=architecture >= 90, num_rows=num_rows)
                block_m, block_n, block_k = (config[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
                result = torch.float32 if widen else dtype
                what = f"{str(dtype).removeprefix('torch.')} {block_m}x{block_n}{' bias' * has_bias}{' to float32' * (result != dtype)}"
                name = f"linear {what}, {config['num_stages']} stages"
                if (name, architecture) in done:
                    continue
                done.add((name, architecture))
                element, of_result = POINTERS[dtype][1:], POINTERS[result][1:]
                signature = {
                    "x": f"tensordesc<{element}[{block_m}, {block_k}]>", "weight": f"tensordesc<{element}[{block_n}, {block_k}]>",
                    "bias": POINTERS[dtype], "y": f"tensordesc<{of_result}[{block_m}, {min(block_n, 128)}]>", "num_rows": "i32",
                    "num_outputs": "i32",
                }  # fmt: skip
                constants, options = split_options({"WIDTH": 4096, "HAS_BIAS": has_bias, **config})
                yield Configuration(name, module._linear_kernel, signature, constants, options, dtype != torch.float32, (architecture,))


def split_options(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(constants, options): the kernel's arguments are upper-case."""
    return {n: v for n, v in config.items() if n.isupper()}, {n: v for n, v in config.items() if not n.isupper()}


KERNELS = [linear_logprob, policy_loss, linear]  # one function for each kernel module


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
        "products": products(ptx),
        "reductions": reductions(result.asm["ttgir"]), "triton": triton.__version__,
    }  # fmt: skip


def products(ptx: str) -> dict[str, int]:
    """How often each instruction stands there that multiplies matrices; where none does, the fused multiply-adds."""
    matrix = re.findall(r"(?:wgmma\.mma_async|\bmma)\.sync\.aligned\.(m\d+n\d+k\d+)\b", ptx)
    return dict(Counter(matrix or re.findall(r"\bfma\.rn\.f32\b", ptx)))


def reductions(ttgir: str) -> str:
    """A digest of how the tensors lie that are reduced: sums are taken in one order where it is the same."""
    layouts = dict(re.findall(r"^(#\w+) = (.*)$", ttgir, re.MULTILINE))
    reduced = re.findall(r"^\s*}\) : \(tensor<([\dx]+\w+), (#\w+)>", ttgir, re.MULTILINE)
    return hashlib.sha256(repr([(shape, layouts[name]) for shape, name in reduced]).encode()).hexdigest()[:12]


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
