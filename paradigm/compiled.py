"""The layers of a fast-mode policy through torch.compile: one function for all of them, in which our ops are single nodes (kernels/operators.py).

A layer is compiled without its first norm, which in the first layer has no residual: so all layers look alike, and any number of them is one
compilation. Sizes are symbols: other numbers of tokens or documents need no other. Another one is made for layouts with parents, for layers with
another window, without gradient, and for another shape or dtype of the weights. FSDP's hooks (sharding.py) and activation recomputation stay
outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from paradigm.kernels.layout import Layout

__all__ = ["call", "compiling"]

# T tokens, C rotated pairs

BACKEND = "inductor"
_MAX_COMPILATIONS = 64  # of all policies of a process: torch's own limit is 8, which a policy, a teacher and a reference can need


def call(function: Callable[..., Any], layer: Any, normed: Tensor, x: Tensor, step: Any) -> Any:
    """`function(layer, normed, x, step)`, compiled, where normed and x are [T, D], within `compiling`."""
    for rows in (normed, x):
        torch._dynamo.mark_dynamic(rows, 0)
    return _compiled(function, BACKEND)(layer, normed, x, step)


@lru_cache
def _compiled(function: Callable[..., Any], backend: Any) -> Callable[..., Any]:
    # dynamic=False: only what is marked; were all sizes symbols, those that are equal by chance would be held equal ever after
    return torch.compile(function, backend=backend, dynamic=False, fullgraph=True)


@contextmanager
def compiling(layout: Layout, cos: Tensor, sin: Tensor) -> Iterator[None]:
    """A forward pass of layers over a packed layout, with the angles [T, C] of its tokens.

    Raises: RuntimeError if something does not compile.
    """
    from torch._dynamo import config, exc  # not above: they take a second to import
    from torch._dynamo.decorators import mark_unbacked

    for angles in (cos, sin):
        torch._dynamo.mark_dynamic(angles, 0)
    for counted in (layout.cu_seqlens, *layout.host):
        if counted is not None:
            mark_unbacked(counted, 0)  # one document would be a size of its own, were it merely dynamic
    try:
        with config.patch(recompile_limit=_MAX_COMPILATIONS):
            yield
    except (exc.TorchDynamoException, exc.FailOnRecompileLimitHit) as error:
        raise RuntimeError(
            "the policy's layers do not compile here, for the reason above; policy.compiled = False (a stage's compile = false) runs them as they are"
        ) from error
