"""Where the host library puts its C++ implementations for CPU tensors, so that `kernels` itself imports only torch and triton.

`paradigm.cpu_backend` fills the table on `import paradigm`; an op whose name is absent runs its plain-torch reference instead.
Names are `<op>` for a forward and `<op>_backward` for its gradient; each op's file says what it calls its slot with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CPU: dict[str, Callable[..., Any]] = {}

_DTYPES = (torch.float32, torch.bfloat16)


def cpu_slot(name: str, like: Tensor) -> Callable[..., Any] | None:
    """The C++ implementation of `name` for a tensor such as `like`: None off the CPU and for dtypes other than float32 and bfloat16."""
    return CPU.get(name) if like.is_cpu and like.dtype in _DTYPES else None


def runs_triton(like: Tensor) -> bool:
    """Whether Triton's kernels take a tensor such as `like`: on CUDA, and not in float64."""
    return like.is_cuda and like.dtype in (torch.float32, torch.bfloat16, torch.float16)


def needs_grad(*tensors: Tensor | None) -> bool:
    """Whether autograd must record an op of these inputs; where not, an op skips autograd.Function and its microseconds."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
