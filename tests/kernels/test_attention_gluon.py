"""The Hopper attention's own code, run by an emulator of its warps, barriers, copies and products against float64; on a GPU, the kernels."""

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paradigm.kernels.attention import _Attention, attention, attention_reference
from paradigm.kernels.layout import Layout
from tests.kernels.test_attention import layout_of, with_gradients

pytest.importorskip("triton.experimental.gluon")
from triton.experimental.gluon import language as gl

from paradigm.kernels import attention_gluon, attention_gluon_backward
from tests.kernels.gluon_emulator import Descriptor, Emulated, Program, plain

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
    sizes=st.fixed_dictionaries(
        {"block": st.sampled_from([2, 4, 8]), "stages": st.integers(1, 3), "held": st.integers(1, 2), "seed": st.integers(0, 9)}
    ),
    programs=st.integers(1, 5),
)
def test_any_layout_matches_float64_and_nobody_waits_in_vain(
    lengths: list[int], causal: bool, window: int | None, sizes: dict[str, int], programs: int
) -> None:
    with emulated(programs, **sizes):
        check(layout_of(lengths), (2, 1), causal=causal, window=window)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("arrive", "every partition waits for another"),
        ("wait", "NaN|buffer|phase"),
        ("fence", "not fenced"),
        ("store_wait", "a buffer changed under a copy"),
        ("multiply_wait", "before it was waited for"),
    ],
)
def test_the_emulator_sees_what_is_left_out(fault: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, fault, lambda self, *arguments, **options: options.get("deps", [None])[0])
    with emulated(1, held=1), pytest.raises(AssertionError, match=f"(?s){message}"):
        inputs = make(torch.bfloat16, 8, (2, 1), 40)
        found = ours(*inputs, layout_of([25, 15]))
        assert not found.isnan().any(), "NaN: read before it was there"


@pytest.mark.parametrize("programs", [1, 2, 5, 132])
@pytest.mark.parametrize("num_items", [1, 2, 5, 9, 131, 132, 133, 1000])
def test_programs_take_every_item_once_and_share_the_long_ones(num_items: int, programs: int) -> None:
    programs = min(programs, num_items)
    taken = []
    for number in range(programs):
        names = Program(number, programs, 0).language()
        turns, item = (plain(function, names) for function in (attention_gluon.num_turns, attention_gluon.item_of))
        taken.append([int(item(turn)) for turn in range(int(turns(num_items)))])
    assert sorted(itertools.chain(*taken)) == list(range(num_items))
    work = [sum(num_items - i for i in items) for items in taken if len(items) % 2 == 0 and len(items) == len(taken[0])]
    assert len(set(work)) <= 1, "after an even number of turns all have done as much, where items shrink evenly"


def seen(length: int, causal: bool, window: int | None) -> np.ndarray:
    query, key = np.arange(length)[:, None], np.arange(length)[None, :]
    return ((key <= query) | (not causal)) & (key > query - (window or length))


@pytest.mark.parametrize("window", [None, 1, 5, 63, 64, 65, 128, 200, 1000])
@pytest.mark.parametrize("causal", [False, True])
def test_ranges_hold_all_that_is_seen_and_leave_unmasked_only_what_all_see(causal: bool, window: int | None) -> None:
    names = Program(0, 1, 0).language()
    keys, queries = plain(attention_gluon.key_range, names), plain(attention_gluon_backward.query_range, names)
    options = {"CAUSAL": causal, "WINDOWED": window is not None}
    for length in (1, 64, 127, 128, 129, 300, 511, 640):
        visible = seen(length, causal, window)
        for first in range(0, length, 128):
            for block in (32, 64, 128):
                start, whole, whole_end, stop = (int(x) for x in keys(length, first, window or 0, BLOCK_N=block, **options))
                rows = visible[first : first + 128]
                assert rows[:, : start * block].sum() == rows[:, stop * block :].sum() == 0 and stop > start
                for tile in range(max(start, whole), min(stop, whole_end)):
                    assert (tile + 1) * block <= length and rows[:, tile * block : (tile + 1) * block].all()
                start, whole, whole_end, stop = (int(x) for x in queries(length, first, window or 0, BLOCK_M=block, **options))
                columns = visible[:, first : first + 128]
                assert columns[: start * block].sum() == columns[stop * block :].sum() == 0 and stop > start
                for tile in range(max(start, whole), min(stop, whole_end)):
                    assert columns[tile * block : (tile + 1) * block].all()


def test_copies_stop_at_a_documents_ends_whatever_the_strides() -> None:
    fused = torch.arange(50 * 6 * 24).view(50, 6, 24).to(torch.float16)
    for x in (fused[:, :4], fused[3:, 4:], attention_gluon.for_tma(fused[:1].expand(50, 6, 24)), fused[:1, :1]):
        host = attention_gluon.descriptor(x, 8)
        assert host.base is x, "no copy"
        document, length = (7, 20) if len(x) > 27 else (0, 1)
        for row, head in ((0, 0), (16, x.shape[1] - 1)) if length > 16 else ((0, 0),):
            buffer = Program(0, 1, 0).allocate(gl.float16, host.block_shape, None)
            Descriptor(host).load([1 << 30, document + length, (1 << 30) - length + row, head, 0], buffer)
            expected = np.zeros((8, 64), np.float32)
            rows = x[document + row : document + min(row + 8, length), head].float().numpy()
            expected[: len(rows), :24] = rows
            np.testing.assert_array_equal(buffer.data[0, 0, :, 0], expected)
    spread = torch.zeros(4, 2, 20, dtype=torch.float16)[:, :, :16]  # rows of 80 bytes, heads of 40
    assert attention_gluon.for_tma(spread) is not spread, "TMA steps by multiples of 16 bytes"
    assert attention_gluon.for_tma(fused[:1].expand(50, 6, 24)).stride() == (6 * 24, 24, 1)


def test_strided_inputs_give_the_same_bits() -> None:
    layout = layout_of([20, 9])
    fused = torch.randn(layout.num_tokens, 4, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    views = [fused[:, :2], fused[:, 2:3], fused[:, 3:]]
    grad = torch.ones(1, 1, 1, dtype=torch.bfloat16).expand(layout.num_tokens, 2, 16)  # as a sum's gradient is
    with emulated(2):
        expected = with_gradients(ours, [x.contiguous().requires_grad_() for x in views], grad.contiguous(), layout)
        found = with_gradients(ours, [x.detach().requires_grad_() for x in views], grad, layout)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_rows_depend_on_nothing_else_in_the_batch() -> None:
    q, k, v = (x.detach() for x in make(torch.bfloat16, 8, (2, 1), 37))
    with emulated(2):
        whole = ours(q, k, v, layout_of([20, 17]))
        for start, length in ((0, 20), (20, 17), (20, 9)):  # alone, and cut short
            rows = slice(start, start + length)
            assert torch.equal(ours(q[rows], k[rows], v[rows], layout_of([length])), whole[rows])


ON_HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
on_hopper = pytest.mark.skipif(not ON_HOPPER, reason="needs compute capability 9.0")


@pytest.mark.gpu
@on_hopper
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [64, 96, 128, 256])
@pytest.mark.parametrize("options", [{}, {"causal": False}, {"window": 200}, {"softcap": 15.0}, {"window": 700, "softcap": 30.0}], ids=str)
def test_gpu_matches_float64_and_the_portable_build(options: dict[str, Any], dim: int, dtype: torch.dtype) -> None:
    for lengths, heads in (([515, 130, 0, 1027, 1], (4, 2)), ([128] * 300, (8, 1))):  # fewer tiles than programs, and many more
        layout = layout_of(lengths)
        inputs = [x.detach().cuda().requires_grad_() for x in make(dtype, dim, heads, layout.num_tokens)]
        grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to("cuda", dtype)
        first, second, portable = (
            with_gradients(partial(attention, build=build), inputs, grad, layout, **options) for build in ("gluon", "gluon", "triton")
        )
        assert all(torch.equal(a, b) for a, b in zip(first, second)), "every run gives the same bits"
        truth = with_gradients(attention_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double(), layout, **options)
        for name, a, b, t in zip(("out", "grad_q", "grad_k", "grad_v"), first, portable, truth):
            assert (a.double() - t).abs().max() <= 1.5 * (b.double() - t).abs().max() + TOLERANCE[dtype] * (1 + t.abs().max()), name


@pytest.mark.gpu
@on_hopper
def test_gpu_launches_without_waiting_for_the_device_once_checked() -> None:
    inputs = [x.detach().cuda().requires_grad_() for x in make(torch.bfloat16, 64, (2, 1), 500)]
    attention(*inputs, layout_of([300, 200]), build="gluon").sum().backward()  # compiles, and compares
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention(*inputs, layout_of([260, 240]), build="gluon").sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
