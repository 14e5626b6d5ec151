"""The matrix products of a model's steps, timed alone: the floor under a step that nothing which does all of them can pass.

Operands lie ready, results are written in place, every layer has weights of its own. On the CPU each product is taken by torch or by our own
kernels, which take new memory for each result, whichever is faster at its size when it is set up, so that neither makes the floor higher than it
need be. Attention's products, which no library has as a single product over packed documents, are left out, and so is everything that is no product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import faster
from paradigm.kernels.linear import exact_linear, input_gradient, weight_gradient

__all__ = ["Products", "layer_shapes"]

# M rows, K inputs, N outputs


def layer_shapes(shape: dict[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of the seven projections of a layer."""
    width, queries, keys = shape["hidden_size"], shape["num_heads"] * shape["head_dim"], shape["num_kv_heads"] * shape["head_dim"]
    ff = shape["intermediate_size"]
    return [(width, queries), (width, keys), (width, keys), (queries, width), (width, ff), (width, ff), (ff, width)]


class Products:
    """What runs them all, once a call.

    Args:
        shape: the model's. dtype, device: of all operands.
        forward: (rows fed, rows whose logits are computed) of each pass without gradients: y = x W^T.
        training: the same of each pass with gradients: also dx = dy W and dW = dy^T x.

    Attributes: flops, two for each multiplication of a call.
    """

    def __init__(
        self, shape: dict[str, Any], dtype: torch.dtype, device: str = "cpu", *, forward: Sequence[tuple[int, int]] = (),
        training: Sequence[tuple[int, int]] = (),
    ):  # fmt: skip
        self._dtype, self._device = dtype, device
        self._held: dict[tuple[Any, ...], Tensor] = {}
        self._products: list[Callable[[], object]] = []
        self._is_ours: dict[tuple[Any, ...], bool] = {}  # by what is multiplied
        self.flops = 0
        for passes, has_gradients in ((forward, False), (training, True)):
            for fed, predicted in passes:
                for layer in range(shape["num_layers"]):
                    for number, (k, n) in enumerate(layer_shapes(shape)):
                        self._add((layer, number), fed, k, n, has_gradients)
                self._add(("head",), predicted, shape["hidden_size"], shape["vocab_size"], has_gradients)

    def __call__(self) -> None:
        with torch.inference_mode():
            for product in self._products:
                product()

    def _add(self, name: tuple[Any, ...], m: int, k: int, n: int, has_gradients: bool) -> None:
        if m == 0:
            return
        weight, x, y = self._tensor(("weight", *name), n, k), self._tensor(("rows",), m, k), self._tensor(("products",), m, n)
        self._take("forward", (x, weight.t(), y), lambda: exact_linear(x, weight))
        if has_gradients:
            self._take("by x", (y, weight, self._tensor(("gradients",), m, k)), lambda: input_gradient(y, weight))
            self._take("by weight", (y.t(), x, self._tensor(("weight gradients",), n, k)), lambda: weight_gradient(y, x))
        self.flops += 2 * m * k * n * (3 if has_gradients else 1)

    def _take(self, kind: str, by_torch: tuple[Tensor, Tensor, Tensor], by_ours: Callable[[], object]) -> None:
        a, b, out = by_torch
        theirs, key = functools.partial(torch.mm, a, b, out=out), (kind, *a.shape, *b.shape)
        if key not in self._is_ours:
            self._is_ours[key] = a.is_cpu and faster(theirs, by_ours) is by_ours
        self._products.append(by_ours if self._is_ours[key] else theirs)

    def _tensor(self, name: tuple[Any, ...], rows: int, columns: int) -> Tensor:
        """One of each name and size: what a product leaves is overwritten by the next."""
        key = (*name, rows, columns)
        if key not in self._held:
            values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns)) * columns**-0.5
            self._held[key] = values.to(self._device, self._dtype)
        return self._held[key]
