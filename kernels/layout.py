"""How a flat row of tokens splits into documents: the one description of a batch that every kernel reads.

Two forms. *Packed* (training, prefill of whole documents): `cu_seqlens` cuts T tokens into B documents, and attention never crosses a cut.
*Paged* (the sampler): each of B sequences feeds its next few tokens, while its earlier keys and values lie in a `PagedCache`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from paradigm.kernels.shared_prefixes import SharedPrefixes

# B documents or sequences, T tokens fed in this call, S cache slots (rows of the block table)


class Layout:
    """Document boundaries of packed tokens, with lengths kept on the host so that no kernel launch has to synchronise.

    Args:
        cu_seqlens: int32 [B + 1], cumulative lengths, from 0 to T; empty documents are allowed.
        parent: int32 [B] or None, the document whose tokens precede b's (a shared prompt), or -1.
        positions: int32 [T] or None, position of each token in its document; by default 0, 1, ... after the parent's last.
    Raises: ValueError if `cu_seqlens` does not start at 0 or decreases, or if a parent is out of range.
    """

    is_paged = False
    context_lengths: Tensor
    slots: Tensor
    block_table: Tensor
    cache: PagedCache
    prefixes: SharedPrefixes | None

    def __init__(self, cu_seqlens: Tensor | Sequence[int], parent: Tensor | Sequence[int] | None = None, positions: Tensor | None = None):
        cu = torch.as_tensor(cu_seqlens, dtype=None if isinstance(cu_seqlens, Tensor) else torch.int32)
        if cu.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"cu_seqlens must be int32, got {cu.dtype}")
        cu = cu.to(torch.int32)
        bounds = cu.tolist()
        if cu.dim() != 1 or not bounds or bounds[0] != 0:
            raise ValueError(f"cu_seqlens must be one-dimensional and start at 0, got {bounds[:4]}...")
        self.lengths: list[int] = [end - start for start, end in pairwise(bounds)]
        if min(self.lengths, default=0) < 0:
            raise ValueError(f"cu_seqlens must not decrease, got a document of length {min(self.lengths)}")
        self.cu_seqlens = cu
        self.num_documents = len(self.lengths)
        self.num_tokens: int = bounds[-1]
        self.max_length: int = max(self.lengths, default=0)
        self.parent: list[int] | None = None if parent is None else torch.as_tensor(parent).tolist()
        if self.parent is not None:
            if len(self.parent) != self.num_documents:
                raise ValueError(f"parent must name one document for each of {self.num_documents}, got {len(self.parent)}")
            for b, p in enumerate(self.parent):
                if not -1 <= p < self.num_documents or p == b or (p >= 0 and self.parent[p] >= 0):
                    raise ValueError(f"parent[{b}] must be -1 or a document that has no parent itself, got {p}")
        # what the host knows, as tensors on the CPU: an operator can take these without waiting for cu_seqlens, and without a graph for each batch
        self.host = torch.tensor(self.lengths), None if self.parent is None else torch.tensor(self.parent)
        self.positions = _positions(*self.host).to(cu.device) if positions is None else positions
        if self.positions.shape != (self.num_tokens,):
            raise ValueError(f"positions must have shape [{self.num_tokens}], got {list(self.positions.shape)}")
        if self.positions.is_floating_point():
            raise ValueError(f"positions must be int32, got {self.positions.dtype}")
        self._tables: dict[Hashable, tuple[Tensor, ...]] = {}

    def to(self, device: torch.device | str) -> Layout:
        """The same packed layout with its tensors on `device`; what the host knows of it is not read back."""
        moved = copy.copy(self)
        moved.cu_seqlens, moved.positions = brought(self.cu_seqlens, device), brought(self.positions, device)
        moved._tables = {}
        return moved

    def tables(self, key: Hashable, build: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `build` makes of this layout for a kernel, made once: every layer of a model asks for the same."""
        if key not in self._tables:
            self._tables[key] = build()
        return self._tables[key]

    @classmethod
    def paged(
        cls, cu_seqlens: Tensor, positions: Tensor, context_lengths: Tensor, slots: Tensor, block_table: Tensor, cache: PagedCache,
        *, prefixes: SharedPrefixes | None = None,
    ) -> Layout:  # fmt: skip
        """The sampler's form: each sequence feeds cu_seqlens[b + 1] - cu_seqlens[b] >= 1 new tokens behind its cached ones.

        Args:
            cu_seqlens: int32 [B + 1], cuts of the T tokens fed now.
            positions: int32 [T], position of each of them in its sequence.
            context_lengths: int32 [B], tokens of the sequence once these are in the cache.
            slots: int32 [B], row of `block_table` of each sequence.
            block_table: int32 [S, max_blocks], cache block that holds tokens [i * block_size, (i + 1) * block_size).
            cache: where keys and values are written and read.
            prefixes: None, or what `shared_prefixes` finds, on the same device: a GPU then reads the blocks once that sequences share. It
                changes no result; the CPU does not look at it.
        """
        layout = cls.__new__(cls)
        layout.is_paged = True
        layout.cu_seqlens, layout.positions, layout.context_lengths = cu_seqlens, positions, context_lengths
        layout.slots, layout.block_table, layout.cache, layout.prefixes = slots, block_table, cache, prefixes
        layout.num_documents = cu_seqlens.numel() - 1
        layout.num_tokens = positions.numel()
        layout.parent = None
        return layout


class PagedCache:
    """Keys and values of every layer in fixed blocks of `block_size` tokens; block 0 is the null block, which nothing reads.

    Keys lie transposed within a block, [layers, blocks, kv_heads, head_dim, block_size], so that one vector load covers
    `block_size` tokens of a channel; values lie [layers, blocks, kv_heads, block_size, head_dim].
    """

    def __init__(
        self, num_layers: int, num_blocks: int, num_kv_heads: int, head_dim: int, *, block_size: int = 16,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ):
        self.block_size, self.num_blocks = block_size, num_blocks
        self.keys = torch.zeros(num_layers, num_blocks, num_kv_heads, head_dim, block_size, dtype=dtype, device=device)
        self.values = torch.zeros(num_layers, num_blocks, num_kv_heads, block_size, head_dim, dtype=dtype, device=device)

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> PagedCache:
        """A cache's own two tensors as a cache again."""
        cache = cls.__new__(cls)
        cache.block_size, cache.num_blocks = keys.shape[4], keys.shape[1]
        cache.keys, cache.values = keys, values
        return cache


def _positions(counts: Tensor, parent: Tensor | None) -> Tensor:
    if not len(counts):
        return torch.zeros(0, dtype=torch.int32)
    starts = counts.cumsum(0) - counts
    offsets = starts if parent is None else starts - torch.where(parent >= 0, counts[parent], 0)
    return (torch.arange(int(counts.sum())) - offsets.repeat_interleave(counts)).to(torch.int32)


def brought(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on `device`. To CUDA it goes through pinned memory: from any other, the copy waits until the device has nothing else to do."""
    from_host = tensor.is_cpu and torch.device(device).type == "cuda"
    return (tensor.pin_memory() if from_host else tensor).to(device, non_blocking=True)


def as_layout(layout: Layout | Tensor) -> Layout:
    """A kernel's `layout` argument, given either as a Layout or as int32 cu_seqlens [B + 1]."""
    return layout if isinstance(layout, Layout) else Layout(layout)


def layout_of(cu_seqlens: Tensor, lengths: Tensor | None, parent: Tensor | None) -> Layout:
    """A packed layout put together again from its `cu_seqlens` and `host`, or from `cu_seqlens` alone; layers that ask for the same get the same."""
    if lengths is None:
        return Layout(cu_seqlens)
    return _layout_of(tuple(lengths.tolist()), None if parent is None else tuple(parent.tolist()), cu_seqlens.device)


@lru_cache(maxsize=4)
def _layout_of(lengths: tuple[int, ...], parent: tuple[int, ...] | None, device: torch.device) -> Layout:
    cuts = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    return Layout(cuts, parent).to(device)
