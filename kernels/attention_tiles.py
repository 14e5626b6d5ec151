"""Work lists of the attention kernels on a GPU: a row of int32 for each tile of queries or of keys, the one with most to do first.

They are made on the host from the layout's lengths and sent without a synchronisation; a layout keeps them for the next layer.
Tiles are cut from the document's own first token, so they do not depend on the rest of the batch. Positions count the parent's tokens first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paradigm.kernels.layout import Layout, brought


def query_tiles(layout: Layout, size: int, causal: bool, window: int | None, device: torch.device) -> Tensor:
    """int32 [tiles, 5]: the document's first row and length, the tile's first query in it, the parent's first row and length (0 if none)."""

    def build() -> tuple[Tensor, ...]:
        lengths, starts, before, parents = _documents(layout)
        document, first = _cut(lengths, size)
        seen = before[document] + (torch.minimum(first + size, lengths[document]) if causal else lengths[document])
        if window is not None:
            seen = seen - (before[document] + first - window + 1).clamp(min=0)
        prefix = torch.where(parents >= 0, starts[parents], 0)
        table = torch.stack([starts[document], lengths[document], first, prefix[document], before[document]], 1)
        return (_sent(table[seen.argsort(descending=True, stable=True)], device),)

    return layout.tables(("queries", size, causal, window, device), build)[0]


def key_tiles(layout: Layout, size: int, causal: bool, window: int | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tiles of keys, and the segments of queries that may see them: a document's own, then those of its children in order.

    Returns: int32 [tiles, 5]: the document's first row and length, the tile's first key in it, its first segment and the one after its last;
    int32 [segments, 3]: the first row, the number of queries, and how many keys of this document precede the first of them.
    """

    def build() -> tuple[Tensor, ...]:
        lengths, starts, before, parents = _documents(layout)
        documents = torch.arange(len(lengths))
        children = documents[parents >= 0]
        owner, queries = torch.cat([documents, parents[children]]), torch.cat([documents, children])
        order = owner.argsort(stable=True)
        owner, queries = owner[order], queries[order]
        segments = torch.stack([starts[queries], lengths[queries], torch.where(queries == owner, 0, before[queries])], 1)
        bounds = torch.searchsorted(owner, torch.arange(len(lengths) + 1))

        document, first = _cut(lengths, size)
        length = lengths[document]
        seen = length - first if causal else length
        of_children = torch.zeros_like(lengths).index_add_(0, parents[children], lengths[children])[document]
        if window is not None:
            seen = torch.minimum(seen, torch.minimum(length, first + size + window) - (first if causal else 0))
            of_children = torch.where(length - first - size < window, of_children, 0)
        table = torch.stack([starts[document], length, first, bounds[document], bounds[document + 1]], 1)
        return _sent(table[(seen + of_children).argsort(descending=True, stable=True)], device), _sent(segments, device)

    tiles, segments = layout.tables(("keys", size, causal, window, device), build)
    return tiles, segments


def _documents(layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each document: length, first row, length of its parent, and the parent's number or -1."""
    lengths = torch.tensor(layout.lengths, dtype=torch.int64)
    parents = torch.full_like(lengths, -1) if layout.parent is None else torch.tensor(layout.parent, dtype=torch.int64)
    return lengths, lengths.cumsum(0) - lengths, torch.where(parents >= 0, lengths[parents], 0), parents


def _cut(lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The document of each tile, and the tile's first token in it."""
    counts = (lengths + size - 1) // size
    document = torch.arange(len(lengths)).repeat_interleave(counts)
    return document, (torch.arange(len(document)) - (counts.cumsum(0) - counts)[document]) * size


def _sent(table: Tensor, device: torch.device) -> Tensor:
    return brought(table.to(torch.int32), device)
