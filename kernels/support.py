"""Which tokens each row may choose: a table of bit masks over the vocabulary, shared by many rows.

Bit v % 32 of word v // 32 of a table row says that token v is legal; a row id of -1 means that every token is.
"""

# N rows, V vocabulary, S masks, W = ceil(V / 32) words

from __future__ import annotations

import torch
from torch import Tensor

from paradigm.kernels.checks import check_device
from paradigm.kernels.flags import reads_data

Support = tuple[Tensor, Tensor]


def check_support(support: Support | None, like: Tensor, vocabulary: int) -> None:
    """Raises ValueError unless support is None or (int32 [N], int32 or uint32 [S, ceil(V / 32)]) on the device of `like` [N, ...]."""
    if support is None:
        return
    ids, table = support
    num_rows = like.shape[0]
    if ids.shape != (num_rows,) or ids.dtype != torch.int32:
        raise ValueError(f"support row ids must be int32 [{num_rows}], got {ids.dtype} {list(ids.shape)}")
    words = -(-vocabulary // 32)
    if table.dim() != 2 or table.shape[1] != words or table.dtype not in (torch.int32, torch.uint32):
        raise ValueError(f"support table must be int32 or uint32 [S, {words}], got {table.dtype} {list(table.shape)}")
    check_device("rows", like, **{"support row ids": ids, "support table": table})
    if reads_data(like) and num_rows and not -1 <= int(ids.min()) <= int(ids.max()) < table.shape[0]:
        raise ValueError(f"support row ids must be in [-1, {table.shape[0]}), got {int(ids.min()) if int(ids.min()) < -1 else int(ids.max())}")


def legal_tokens(ids: Tensor, table: Tensor, vocabulary: int) -> Tensor:
    """bool [n, V]: the legal tokens of rows whose mask ids are int32 [n]."""
    words = table.view(torch.int32)[ids.clamp(min=0).long()] if table.shape[0] else table.new_zeros(len(ids), table.shape[1], dtype=torch.int32)
    bits = (words[:, :, None] >> torch.arange(32, dtype=torch.int32, device=words.device)) & 1
    return bits.flatten(1)[:, :vocabulary].bool() | (ids < 0)[:, None]


def readable(support: Support) -> tuple[Tensor, Tensor]:
    """Row ids and table such that a kernel reads no word outside the table, whatever the ids are; what looks at them sees the caller's."""
    ids, table = support[0], support[1].contiguous().view(torch.int32)
    if not table.shape[0]:
        table = table.new_zeros(1, table.shape[1])  # of a row id of -1 a word is loaded all the same
    return ids.clamp(max=table.shape[0] - 1), table
