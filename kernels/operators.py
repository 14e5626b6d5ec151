"""How an op becomes a torch custom operator, `torch.ops.paradigm.<name>`: one node of a graph, which no compiler looks into or takes apart.

Eager calls go past the dispatcher, whose microseconds a decode step would feel: an op asks `is_traced` and calls its operator where there is
a graph to be one node of. The operator runs the same checks and the same kernels, hence gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def is_traced() -> bool:
    """Whether ops are to be called as operators: under torch.compile and torch.export, and under dispatch modes (fake tensors, FLOP counters)."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def operator(name: str, function: Callable[..., Any], fake: Callable[..., Any], *, mutates: Sequence[str] = ()) -> Any:
    """`function` as `torch.ops.paradigm.<name>`.

    Args:
        function: annotated, from which the operator's schema follows; it may not return one of its arguments.
        fake: gives results of the right shapes, strides and dtypes for arguments without data.
        mutates: names of the arguments that it writes to.
    """
    defined = torch.library.custom_op(f"paradigm::{name}", function, mutates_args=tuple(mutates))
    defined.register_fake(fake)
    return defined


def reference_gradients(reference: Callable[..., Any], inputs: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients of a reference's inputs by autograd, the forward computed again: what an operator's formula is where no kernel has one."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        outputs = reference(*leaves)
        pairs = [(y, g) for y, g in zip(outputs if isinstance(outputs, tuple) else (outputs,), grads) if g is not None]
        return list(torch.autograd.grad([y for y, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True))
