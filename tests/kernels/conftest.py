"""Where there is no GPU, Triton kernels run in Triton's interpreter, which must be asked for before the kernels are defined."""

import contextlib
import os
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def _teach_the_interpreter_bfloat16() -> None:
    """It keeps bfloat16 as its bits in uint16 (Triton 3.6 and 3.7) and multiplies those: widen them first. It also cuts bits off where
    a GPU rounds to the nearest."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    create_dot, cast_impl = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return create_dot(self, widened(a), widened(b), *rest)

    def cast(self: Any, source: Any, target: Any) -> Any:
        if source.dtype.scalar == tl.bfloat16 and target.scalar == tl.float32:
            return widened(source)
        if source.dtype.scalar == tl.float32 and target.scalar == tl.bfloat16:
            rounded = torch.from_numpy(np.ascontiguousarray(source.data)).to(torch.bfloat16).view(torch.int16)
            return TensorHandle(rounded.numpy().view(np.uint16).reshape(source.data.shape), tl.bfloat16)
        return cast_impl(self, source, target)

    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create, cast


if os.environ.get("TRITON_INTERPRET") == "1":
    with contextlib.suppress(ImportError):  # without Triton its tests are skipped
        _teach_the_interpreter_bfloat16()
