"""The Hopper attention's own code, run by an emulator of its warps, barriers, copies and products against float64; on a GPU, the kernels."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paradigm.kernels.attention import _Attention, attention_reference
from paradigm.kernels.layout import Layout
from tests.kernels.test_attention import layout_of, with_gradients

pytest.importorskip("triton.experimental.gluon")
from triton.experimental.gluon import language as gl  # noqa: E402

from paradigm.kernels import attention_gluon, attention_gluon_backward  # noqa: E402
from tests.kernels.gluon_emulator import Descriptor, Emulated, Program, plain  # noqa: E402

TOLERANCE = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}  # beyond the same-dtype reference's own error
KERNELS = {
    attention_gluon: {"_attention_fwd_kernel": attention_gluon._attention_fwd_kernel},
    attention_gluon_backward: {
        name: getattr(attention_gluon_backward, name) for name in ("_attention_bwd_query_kernel", "_attention_bwd_key_kernel")
    },
}


@contextlib.contextmanager
def emulated(programs: int, *, rows: int = 4, block: int = 8, stages: int = 2, held: int = 2, seed: int = 0) -> Iterator[None]:
    """The emulator in the kernels' place, with tiles that a few tokens fill and `programs` programs."""
    sizes = (block, stages, held)
    with pytest.MonkeyPatch.context() as patch:
        for module, kernels in KERNELS.items():
            patch.setattr(module, "_ROWS", gl.constexpr(rows))
            patch.setattr(module, "_TILE", gl.constexpr(2 * rows))
            patch.setattr(module, "num_programs", lambda device, num_items: min(programs, num_items))
            for name, kernel in kernels.items():
                patch.setattr(module, name, Emulated(kernel, seed))
        patch.setattr(attention_gluon, "_SIZES", {64: sizes, 128: sizes})
        patch.setattr(attention_gluon_backward, "_SIZES", {64: (sizes, sizes), 128: (sizes, sizes)})
        patch.setattr(attention_gluon_backward, "_WITH_SOFTCAP", {64: sizes, 128: sizes})
        yield


def ours(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, *, causal: bool = True, window: int | None = None, scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:  # fmt: skip
    scale = q.shape[2] ** -0.5 if scale is None else scale
    functions = attention_gluon.attention_forward, attention_gluon_backward.attention_backward
    return _Attention.apply(q, k, v, layout, causal, window, scale, softcap, *functions)


def make(dtype: torch.dtype, dim: int, heads: tuple[int, int], rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, h, dim, generator=generator).to(dtype).requires_grad_() for h in (heads[0], heads[1], heads[1])]


def check(layout: Layout, heads: tuple[int, int], dim: int = 8, dtype: torch.dtype = torch.bfloat16, **options: Any) -> None:
    inputs = make(dtype, dim, heads, layout.num_tokens + 2)
    grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for x in (*inputs, grad):
        x.data[layout.num_tokens :] = torch.nan  # padding, which nobody may let in
    found = with_gradients(ours, inputs, grad, layout, **options)
    for x in (*inputs, grad):
        x.data[layout.num_tokens :] = 0.0
    truth = with_gradients(attention_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double(), layout, **options)
    plainly = with_gradients(attention_reference, inputs, grad, layout, **options)
    for name, a, b, t in zip(("out", "grad_q", "grad_k", "grad_v"), found, plainly, truth):
        assert not a[layout.num_tokens :].any(), "padding rows must be zero"
        assert (a.double() - t).abs().max() <= (b.double() - t).abs().max() + TOLERANCE[dtype] * (1 + t.abs().max()), name


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, {}),
        ({"causal": False}, {}),
        ({"window": 5}, {}),
        ({"window": 1, "dim": 24}, {"block": 4}),
        ({"window": 9, "causal": False}, {"block": 4, "stages": 3}),
        ({"softcap": 2.0, "scale": 0.7, "dtype": torch.float16}, {"block": 4}),
        ({"softcap": 20.0, "window": 11, "dim": 96}, {"held": 1, "stages": 1}),
        ({}, {"block": 2, "stages": 4, "held": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("programs", [1, 3])
def test_matches_float64(options: dict[str, Any], sizes: dict[str, int], programs: int) -> None:
    with emulated(programs, **sizes):
        check(layout_of([20, 0, 1, 13, 8]), (2, 1), **options)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 3, 4, 5, 7, 8, 9, 16, 17]), min_size=1, max_size=4).filter(any),
    causal=st.booleans(),
    window=st.sampled_from([None, 1, 2, 4, 7, 8, 13]),
    sizes=st.fixed_dictionaries({"block": st.sampled_from([2, 4, 8]), "stages": st.integers(1, 3), "held": st.integers(1, 2), "seed": st.integers(0, 9)}),
    programs=st.integers(1, 5),
)
def test_any_layout_matches_float64_and_nobody_waits_in_vain(
    lengths: list[int], causal: bool, window: int | None, sizes: dict[str, int], programs: int
) -> None:
    with emulated(programs, **sizes):
        check(layout_of(lengths), (2, 1), causal=causal, window=window)
