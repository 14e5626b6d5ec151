"""Compiles the Triton kernels with the configurations they ship with, without a GPU: python -m tests.kernels.compile_ahead [--write]

For each configuration and architecture it prints a line of JSON with what the assembler says: registers, spilled bytes, shared memory, and
which instructions multiply matrices. --write puts the lines into compiled.jsonl, which a test holds against what is compiled now.
A process of its own, since a process that runs Triton's interpreter has no compiler.
"""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource

from paradigm.kernels import (
    attention_gluon,
    attention_gluon_backward,
    attention_triton,
    gae_triton,
    linear_logprob_triton,
    linear_sample_token_triton,
    linear_triton,
    paged_attention_triton,
    policy_loss_triton,
    rms_norm_triton,
    rotary_triton,
    sample_token_triton,
    swiglu_triton,
    vtrace_triton,
)

TABLE = Path(__file__).parent / "compiled.jsonl"
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class Configuration(NamedTuple):
    """One kernel as it is launched."""

    name: str
    kernel: Any
    signature: dict[str, str]  # Triton's type of each argument that is no constant; pointers, strides and widths are multiples of 16
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
    flags = dict.fromkeys(("target_flag", "support_flag"), "*i64")
    counts = {"num_tiles": "i32", **rows, "num_masks": "i32", "first_row": "i32"}
    signature = {**statistics, "targets": "*i64", "support": "*i32", **of_rows, **flags, **counts}
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


def paged_attention() -> Iterator[Configuration]:
    module = paged_attention_triton
    of_batch = {"cu_seqlens": "*i32", "context_lengths": "*i32"}
    counts = dict.fromkeys(("num_sequences", "num_steps", "max_blocks"), "i32")
    bounds = {**counts, "max_splits": "i32", "window": "i32"}
    partial = dict.fromkeys(("partial", "masses", "maxima"), "*fp32")
    for dtype, dim in ((torch.float32, 128), *((torch.bfloat16, d) for d in (64, 96, 128, 256)), (torch.float16, 128)):
        what, pointer = f"{str(dtype).removeprefix('torch.')} {dim}", POINTERS[dtype]
        cache = {"HEAD_DIM": dim, "BLOCK_SIZE": 16, "BLOCK_D": module.configuration(dtype, dim, 8)["BLOCK_D"]}
        tables = {**of_batch, "slots": "*i32", "block_table": "*i32"}
        for is_long, is_split in ((False, True), (False, False), (True, True), (True, False)):
            for architecture in (80, 90):
                kind = {"HEADS": 8, "GROUP": 8, "IS_SPLIT": is_split, "CAUSAL": True, "WINDOWED": is_long, "SOFTCAP": is_long, **cache}
                constants, options = split_options({**kind, **module.configuration(dtype, dim, 8, hopper=architecture >= 90)})
                kernel = module._attention_kernel
                types = {
                    **dict.fromkeys(("q", "keys", "values", "out"), pointer), **partial, **tables, "shared": "*i32", "q_stride": "i32",
                    "q_head_stride": "i32", **bounds, "is_shared": "i32", "inner": "fp32", "outer": "fp32",
                    **dict.fromkeys(("members", "cuts"), "*i32"), **dict.fromkeys(("num_groups", "group_steps"), "i32"),
                }  # fmt: skip
                signature = arguments(kernel, types)
                if is_split and not is_long and dtype != torch.float16:
                    prefix, of_prefix = module._prefix_kernel, {name: value for name, value in constants.items() if name != "IS_SPLIT"}
                    wgmma, of_kernel = dtype != torch.float32, arguments(prefix, types)
                    yield Configuration(f"paged_attention {what} prefix", prefix, of_kernel, of_prefix, options, wgmma, (architecture,))
                name = " ".join(["paged_attention", what, *["window softcap"] * is_long, *["whole"] * (not is_split)])
                yield Configuration(name, kernel, signature, constants, options, dtype != torch.float32, (architecture,))
        if dim == 128:
            strides = dict.fromkeys(("k_stride", "k_head_stride", "v_stride", "v_head_stride"), "i32")
            signature = {**dict.fromkeys(("k", "v", "keys", "values"), pointer), **tables, "bad_contexts": "*i64", **strides, **counts}
            constants, options = split_options({"HEADS": 8, **cache, **module.WRITE_TILE})
            yield Configuration(f"paged_attention write {what}", module._write_kernel, signature, constants, options)
            signature = {**partial, "out": pointer, **of_batch, **bounds}
            mask = {"CAUSAL": True, "WINDOWED": False, "SPLIT": module.SPLIT}
            constants, options = split_options({"HEADS": 64, **mask, **cache, **module.COMBINE_TILE})
            yield Configuration(f"paged_attention combine {what}", module._combine_kernel, signature, constants, options)


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
                constants, options = split_options({"HEADS": 16, "GROUP": 4, "HEAD_DIM": dim, **variants[variant], **config})
                title = f"attention {name} {str(dtype).removeprefix('torch.')} d{dim} {variant}"
                yield Configuration(title, kernels[name], signature, constants, options, dtype != torch.float32, (capability,))


def attention_on_hopper() -> Iterator[Configuration]:
    plain = {"CAUSAL": True, "WINDOWED": False, "SOFTCAP": False}
    everything = dict.fromkeys(plain, True)
    shipped = [(torch.bfloat16, dim, "causal", plain) for dim in (64, 96, 128, 256)]
    shipped += [(torch.bfloat16, dim, "causal window softcap", everything) for dim in (64, 128, 256)]
    shipped += [(torch.bfloat16, dim, "causal window", plain | {"WINDOWED": True}) for dim in (64, 128)]
    shipped += [(torch.bfloat16, 128, "full", plain | {"CAUSAL": False}), (torch.float16, 128, "causal", plain)]
    numbers = {"tiles": "*i32", "num_items": "i32", "num_rows": "i32", "window": "i32", **dict.fromkeys(("scale", "inner", "outer"), "fp32")}
    for dtype, dim, what, mask in shipped:
        kernels = {"forward": (attention_gluon._attention_fwd_kernel, attention_gluon.configuration(dim))}
        if attention_gluon_backward.fits(dim):
            sizes = attention_gluon_backward.configuration(dim, mask["SOFTCAP"])
            kernels["query"] = (attention_gluon_backward._attention_bwd_query_kernel, sizes["query"])
            kernels["key"] = (attention_gluon_backward._attention_bwd_key_kernel, sizes["key"])
        for name, (kernel, config) in kernels.items():
            held, streamed = (tiles_by_tma(dtype, rows, config["BLOCK_D"]) for rows in (64, config.get("BLOCK_N") or config["BLOCK_M"]))
            types = {**dict.fromkeys(("q", "grad"), streamed if name == "key" else held), "grad_q": held, "grad_k": held, "grad_v": held}
            types |= {**dict.fromkeys(("k", "v"), held if name == "key" else streamed), "out": held if name == "forward" else POINTERS[dtype]}
            types |= {"lse": "*fp32", "statistics": "*fp32", **numbers}
            constants = {"HEADS": 16, "GROUP": 4, **({"HEAD_DIM": dim} if name == "query" else {}), **mask, **config}
            title = f"attention gluon {name} {str(dtype).removeprefix('torch.')} d{dim} {what}"
            yield Configuration(title, kernel, arguments(kernel, types), constants, {"num_warps": 4}, True, (90,))


def tiles_by_tma(dtype: torch.dtype, rows: int, channels: int) -> str:
    """Triton's type of the descriptors that the Gluon kernels take."""
    block = [1, 1, rows, 1, channels]
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[dtype]
    return f"tensordesc<{POINTERS[dtype][1:]}{block},{gl.NVMMASharedLayout.get_default_for(block, element)!r}>"


def rms_norm() -> Iterator[Configuration]:
    module = rms_norm_triton
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for width in (128, 1024, 4096, 5120, 16384):
            if width * dtype.itemsize > module.MAX_ROW_BYTES or (dtype == torch.float16 and width != 4096):
                continue
            of_rows = dict.fromkeys(("x", "residual", "weight", "y", "total", "grad", "grad_total", "grad_x"), POINTERS[dtype])
            of_rows |= {"scale": "*fp32", "partial": "*fp32", "num_rows": "i32", "num_chunks": "i32", "eps": "fp32"}
            for name, kernel, backward in (("forward", module._rms_norm_fwd_kernel, False), ("backward", module._rms_norm_bwd_kernel, True)):
                constants, options = split_options(module.configuration(dtype, width, backward=backward))
                what = f"rms_norm {name} {str(dtype).removeprefix('torch.')} {width}"
                for has_residual in (False, True):
                    constants |= {"WIDTH": width, "HAS_TOTAL" if backward else "HAS_RESIDUAL": has_residual}
                    yield Configuration(what + " residual" * has_residual, kernel, arguments(kernel, of_rows), constants.copy(), options)
    signature = {"partial": "*fp32", "total": "*bf16", "num_chunks": "i32", "width": "i32"}
    yield Configuration("rms_norm sum", module._sum_kernel, signature, *split_options(module.SUM_TILE))


def swiglu() -> Iterator[Configuration]:
    module = swiglu_triton
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        types = dict.fromkeys(("gate", "up", "y", "grad", "grad_gate", "grad_up"), POINTERS[dtype])
        types |= dict.fromkeys(("width", "gate_stride", "up_stride"), "i32")
        for name, kernel in (("forward", module._swiglu_fwd_kernel), ("backward", module._swiglu_bwd_kernel)):
            what = f"swiglu {name} {str(dtype).removeprefix('torch.')}"
            yield Configuration(what, kernel, arguments(kernel, types), *split_options(module.TILE))


def rotary() -> Iterator[Configuration]:
    module = rotary_triton
    tensors = ("q", "k", "q_weight", "k_weight", "q_out", "k_out", "grad", "x", "weight", "grad_x")
    strides = ("q_token_stride", "q_head_stride", "k_token_stride", "k_head_stride", "token_stride", "head_stride")
    numbers = {"cos": "*fp32", "sin": "*fp32", "partial": "*fp32", "eps": "fp32"}
    numbers |= dict.fromkeys(("num_tokens", "num_q_blocks", "num_chunks", *strides), "i32")
    shipped = [(dtype, 32, 8, dim, dim // 2) for dtype in (torch.float32, torch.bfloat16) for dim in (64, 128)]
    shipped += [(torch.float16, 32, 8, 128, 64), (torch.bfloat16, 14, 2, 64, 32), (torch.bfloat16, 16, 16, 256, 32), (torch.bfloat16, 4, 2, 32, 16)]
    for dtype, q_heads, k_heads, dim, pairs in shipped:
        types = {**dict.fromkeys(tensors, POINTERS[dtype]), **numbers}
        shape = {"PAIRS": pairs, "REST": dim - 2 * pairs}
        what = f"{str(dtype).removeprefix('torch.')} {q_heads} {k_heads} {dim} {2 * pairs}"
        tiles, options = split_options(module.configuration(dtype, k_heads, dim, pairs))
        for has_norm, inverse in ((False, False), (True, False), (False, True)):
            constants = {"Q_HEADS": q_heads, "K_HEADS": k_heads, **shape, "HAS_NORM": has_norm, "INVERSE": inverse, **tiles}
            name = f"rotary {'backward' if inverse else 'forward'} {what}{' norm' if has_norm else ''}"
            yield Configuration(name, module._rotary_fwd_kernel, arguments(module._rotary_fwd_kernel, types), constants, options)
        tiles, options = split_options(module.configuration(dtype, k_heads, dim, pairs, backward=True))
        kernel = module._rotary_norm_bwd_kernel
        yield Configuration(f"rotary backward {what} norm", kernel, arguments(kernel, types), {"HEADS": q_heads, **shape, **tiles}, options)


def scans() -> Iterator[Configuration]:
    for name, kernel in (("gae", gae_triton._gae_kernel), ("vtrace", vtrace_triton._vtrace_kernel)):
        types = dict.fromkeys(kernel.arg_names, "*fp32") | {"cu_seqlens": "*i32", "bad_cuts": "*i64", "num_decisions": "i32"}
        types |= dict.fromkeys(("gamma", "decay", "trace", "rho_clip", "c_clip", "pg_rho_clip"), "fp32")
        del types["BLOCK"]
        yield Configuration(name, kernel, arguments(kernel, types), *split_options(gae_triton.TILE))


def arguments(kernel: Any, types: dict[str, str]) -> dict[str, str]:
    return {name: types[name] for name in kernel.arg_names if name in types}


def sample_token() -> Iterator[Configuration]:
    module = sample_token_triton
    filters = {"temperature": "*fp32", "top_k": "*i32", "top_p": "*fp32", "min_p": "*fp32", "maximum": "*fp32"}
    shape = {"vocabulary": "i32", "stride": "i32", "num_words": "i32"}
    cuts = {"cut_logits": "*fp32", "cut_ids": "*i32"}
    noise = {"key": "*i64", "trajectory": "*i64", "position": "*i32"}
    tiles = {**dict.fromkeys(("maximum", "mass", "kept_mass", "best"), "*fp32"), "best_id": "*i32"}
    block = {"BLOCK_T": 256}
    for has_support in (False, True):
        rows, suffix = {"logits": "*fp32", "support": "*i32", "table": "*i32"}, " support" * has_support
        constants, options = split_options({"HAS_SUPPORT": has_support, **module.TILE_OPTIONS})
        yield Configuration(f"sample_token maximum{suffix}", module._maximum_kernel, {**rows, **filters, **shape}, constants, options)
        signature = {**rows, "temperature": "*fp32", **noise, **cuts, **tiles, **shape}
        for is_filtered in (False, True):
            name = f"sample_token tiles{' filtered' * is_filtered}{suffix}"
            yield Configuration(name, module._tile_kernel, signature, {**constants, "IS_FILTERED": is_filtered}, options)
        constants, options = split_options({"HAS_SUPPORT": has_support, **block, **module.CUT_OPTIONS})
        yield Configuration(f"sample_token cut{suffix}", module._cut_kernel, {**rows, **filters, **cuts, **shape}, constants, options)
    signature = {
        "logits": "*fp32", "support": "*i32", "temperature": "*fp32", "cut_logits": "*fp32", **tiles,
        "ids": "*i32", "logprobs": "*fp32", "kept_logmass": "*fp32",
        "num_tiles": "i32", "stride": "i32", "num_masks": "i32",
    }  # fmt: skip
    for is_filtered in (False, True):
        constants, options = split_options({"IS_FILTERED": is_filtered, **block, **module.COMBINE_OPTIONS})
        yield Configuration(f"sample_token combine{' filtered' * is_filtered}", module._combine_kernel, signature, constants, options)


def linear_sample_token() -> Iterator[Configuration]:
    module = linear_sample_token_triton
    tiles = {**dict.fromkeys(("maximum", "mass", "best", "chosen"), "*fp32"), "best_id": "*i32"}
    for dtype in (torch.float32, torch.bfloat16):
        for architecture in (80, 90):
            config = module.draw_configuration(dtype, 4096, hopper=architecture >= 90)
            panel, block_d, element = config["TILE"] * config["TILES"], config["BLOCK_D"], POINTERS[dtype][1:]
            types = {
                "hidden": f"tensordesc<{element}[{config['BLOCK_N']}, {block_d}]>", "weight": f"tensordesc<{element}[{panel}, {block_d}]>",
                **dict.fromkeys(("support", "table", "position", "targets"), "*i32"), "temperature": "*fp32", "key": "*i64", "trajectory": "*i64",
                **tiles, **dict.fromkeys(("num_rows", "vocabulary", "num_words"), "i32"),
            }  # fmt: skip
            for has_targets, has_support in ((False, False), (False, True), (True, False)):
                constants, options = split_options({"WIDTH": 4096, "HAS_TARGETS": has_targets, "HAS_SUPPORT": has_support, **config})
                what = f"{str(dtype).removeprefix('torch.')}{' support' * has_support}{' targets' * has_targets}"
                name = f"linear_sample_token draw {what}"
                signature, wgmma = arguments(module._draw_kernel, types), dtype != torch.float32
                yield Configuration(name, module._draw_kernel, signature, constants, options, wgmma, (architecture,))
    signature = {**tiles, "ids": "*i32", "num_tiles": "i32", "num_rows": "i32"}
    kernel, (constants, options) = module._choose_kernel, split_options({"TILE": linear_logprob_triton.TILE, **module.CHOOSE_TILE})
    yield Configuration("linear_sample_token choose", kernel, arguments(kernel, signature), constants, options)


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


KERNELS = [  # one function for each kernel module
    linear, linear_logprob, linear_sample_token, policy_loss, attention, attention_on_hopper, paged_attention, sample_token, rms_norm, rotary, swiglu,
    scans,
]  # fmt: skip


def compiled(configuration: Configuration, capability: int) -> dict[str, Any]:
    """Registers of a thread, spilled bytes, shared memory and matrix instructions on one architecture."""
    kernel, signature = configuration.kernel, configuration.signature
    names = kernel.arg_names
    divisible = {(names.index(n),): [["tt.divisibility", 16]] for n, t in signature.items() if t.startswith("*") or n.endswith(("_stride", "width"))}
    full = {name: signature.get(name, "constexpr") for name in names}
    source = (GluonASTSource if kernel.is_gluon() else ASTSource)(fn=kernel, signature=full, constexprs=configuration.constants, attrs=divisible)
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
        "products": products(ptx), **({"specialised": specialised(ptx, said)} if kernel.is_gluon() else {}),
        "reductions": reductions(result.asm["ttgir"]), "triton": triton.__version__,
    }  # fmt: skip


def specialised(ptx: str, said: str) -> dict[str, Any]:
    """Of a kernel whose warps differ: the registers that they ask for, its copies by TMA, and whether the assembler let wgmma overlap."""
    registers = {int(count) for count in re.findall(r"setmaxnreg\.\w+\.sync\.aligned\.u32\s+(\d+)", ptx)}
    return {"registers": sorted(registers), "tma": ptx.count("cp.async.bulk.tensor"), "serialised": "serialized" in said}


def products(ptx: str) -> dict[str, int]:
    """How often each instruction stands there that multiplies matrices; where none does, the fused multiply-adds."""
    matrix = re.findall(r"(?:wgmma\.mma_async|\bmma)\.sync\.aligned\.(m\d+n\d+k\d+)\b", ptx)
    return dict(Counter(matrix or re.findall(r"\bfma\.rn\.f32\b", ptx)))


def reductions(ttgir: str) -> str:
    """A digest of how the tensors lie that are reduced: sums are taken in one order where it is the same."""
    layouts = dict(re.findall(r"^(#\w+) = (.*)$", ttgir, re.MULTILINE))
    reduced = re.findall(r"^\s*}\) : \(tensor<([\dx]+\w+), (#\w+)>", ttgir, re.MULTILINE)
    return hashlib.sha256(repr([(shape, layouts[name]) for shape, name in reduced]).encode()).hexdigest()[:12]


def jobs() -> list[tuple[Configuration, int]]:
    return [(configuration, capability) for kernel in KERNELS for configuration in kernel() for capability in configuration.architectures]


def compiled_line(job: int) -> str:
    return json.dumps(compiled(*jobs()[job]))


def main() -> None:
    lines = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        for line in processes.map(compiled_line, range(len(jobs()))):
            lines.append(line)
            print(line, flush=True)
    if "--write" in sys.argv:
        TABLE.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
