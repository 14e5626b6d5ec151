"""Triton's interpreter (see tests/conftest.py), taught bfloat16 and products whose rows do not feel each other."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.kernels import flags


def _teach_the_interpreter() -> None:
    """It keeps bfloat16 as its bits in uint16 (Triton 3.6 and 3.7), multiplies those, and rounds float32 to it towards zero or to NaN.

    It multiplies by numpy.matmul, where on some processors (a Zen 5) a row's bits depend on its place among the others, as on a GPU they do not.
    """
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    create_dot, cast_impl = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        if min(a.dtype.primitive_bitwidth, b.dtype.primitive_bitwidth) < 16:
            return create_dot(self, a, b, d, *rest)
        a_data, b_data = (widened(x).data.astype(d.data.dtype) for x in (a, b))
        return TensorHandle(np.einsum("...mk,...kn->...mn", a_data, b_data) + d.data, d.dtype.scalar)

    def cast(self: Any, src: Any, dst_type: Any) -> Any:
        here, there = src.dtype.scalar, dst_type.scalar
        if (here, there) == (tl.bfloat16, tl.float32):
            return widened(src)
        if (here, there) != (tl.float32, tl.bfloat16):
            return cast_impl(self, src, dst_type)
        rounded = torch.from_numpy(np.array(src.data, np.float32, order="C")).bfloat16()
        return TensorHandle(rounded.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)

    InterpreterBuilder.create_dot = create
    InterpreterBuilder.cast_impl = cast


if os.environ.get("TRITON_INTERPRET") == "1":
    with contextlib.suppress(ImportError):  # without Triton its tests are skipped
        _teach_the_interpreter()


@pytest.fixture(autouse=True)
def no_flag_outlives_its_test() -> Iterator[None]:
    yield
    for raised in flags._FLAGS.values():
        raised.zero_()


@pytest.fixture
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ops take the Triton path on any device; `linear_logprob` and `policy_loss` in chunks of 128 rows."""
    from paradigm.kernels import linear_logprob_triton

    for name in ("linear_logprob", "linear_sample_token", "paged_attention", "policy_loss", "sample_token"):
        monkeypatch.setattr(sys.modules[f"paradigm.kernels.{name}"], "runs_triton", lambda hidden: hidden.dtype != torch.float64)
    monkeypatch.setattr(linear_logprob_triton, "_LEAST_CHUNK", 128)
    monkeypatch.setattr(linear_logprob_triton, "_CHUNK_BYTES", 1)
