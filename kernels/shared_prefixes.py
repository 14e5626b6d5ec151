"""Which sequences of a paged layout begin with the same blocks, so that attention can read those once for all of them.

Only whole splits of the context are shared (paged_attention_triton.py's SPLIT), and only what lies before the tokens fed now: what a query makes of a
split is then the same whether it meets the split alone or beside other sequences' queries, so sharing changes no bit.
"""

# B sequences, S cache slots, M tokens of sequences that share, G groups

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class SharedPrefixes(NamedTuple):
    """Groups of sequences, each with a common prefix. A step padded to a shape has more tokens than it cuts, groups of none, a larger `most`."""

    tokens: Tensor  # int32 [M], which of the fed tokens belong to the groups' sequences, group by group
    cuts: Tensor  # int32 [G + 1], of these by group
    splits: Tensor  # int32 [B], whole splits that a sequence shares with the others of its group; 0 where it is in none
    most: int  # at least the largest of `splits`

    def to(self, device: torch.device | str) -> SharedPrefixes:
        tokens, cuts, splits = (x.to(device, non_blocking=True) for x in self[:3])
        return SharedPrefixes(tokens, cuts, splits, self.most)


def shared_prefixes(
    cu_seqlens: Tensor, context_lengths: Tensor, slots: Tensor, block_table: Tensor, block_size: int, *, split: int = 512
) -> SharedPrefixes | None:
    """Finds them on the host, from what `Layout.paged` is given: sequences whose tables agree in the first split are a group.

    Args:
        cu_seqlens, context_lengths, slots, block_table: as `Layout.paged`'s, on the CPU.
        block_size: of the cache, a divisor of `split`.
        split: keys, paged_attention_triton.py's SPLIT.
    Returns: None where no two sequences share a split. Raises: ValueError for tensors elsewhere, or a block size that does not divide `split`.
    """
    for name, tensor in (("cu_seqlens", cu_seqlens), ("context_lengths", context_lengths), ("slots", slots), ("block_table", block_table)):
        if not tensor.is_cpu:
            raise ValueError(f"{name} must be on the CPU, got {tensor.device}")
    if split % block_size:
        raise ValueError(f"block_size must divide the split of {split} keys, got {block_size}")
    of_split, bounds = split // block_size, cu_seqlens.tolist()
    table = block_table[slots.long()]
    whole = ((context_lengths - cu_seqlens.diff()) // split).tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    for b, blocks in enumerate(table[:, :of_split].tolist()):
        if whole[b] > 0:
            groups.setdefault(tuple(blocks), []).append(b)
    tokens: list[int] = []
    cuts, splits = [0], [0] * len(whole)
    for members in groups.values():
        if len(members) < 2:
            continue
        least = min(whole[b] for b in members)
        rows = table[members, : least * of_split]
        agrees = (rows == rows[:1]).all(0).view(least, of_split).all(1).long().cumprod(0)
        for b in members:
            splits[b] = int(agrees.sum())
            tokens += range(bounds[b], bounds[b + 1])
        cuts.append(len(tokens))
    if not tokens:
        return None
    of_groups, by_group, of_sequences = (torch.tensor(x, dtype=torch.int32) for x in (tokens, cuts, splits))
    return SharedPrefixes(of_groups, by_group, of_sequences, max(splits))


def check_prefixes(
    prefixes: SharedPrefixes, cu_seqlens: Tensor, context_lengths: Tensor, slots: Tensor, block_table: Tensor, block_size: int, split: int
) -> None:
    """Raises ValueError unless each group's tables agree as far as it says. Waits for the device."""
    tokens, cuts, splits = (x.tolist() for x in prefixes[:3])
    ends, table = cu_seqlens[1:].tolist(), block_table[slots.long()].cpu()
    before = (context_lengths - cu_seqlens.diff()).tolist()
    for group, (first, last) in enumerate(pairwise(cuts)):
        members = sorted({next(b for b, end in enumerate(ends) if token < end) for token in tokens[first:last]})
        shared = splits[members[0]]
        rows = table[members, : shared * split // block_size]
        same = all(splits[b] == shared and before[b] >= shared * split for b in members)
        if not same or bool((rows != rows[:1]).any()):
            raise ValueError(f"prefixes must be of equal blocks that lie before the fed tokens, got group {group} of sequences {members}")
