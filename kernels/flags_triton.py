"""How a Triton kernel raises a flag of flags.py: the largest of (2^31 - 1 - place) 2^32 + value stays, so the first place is told."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def packed(place, value):  # type: ignore[no-untyped-def]
    short = tl.minimum(tl.maximum(value.to(tl.int64), -2147483648), 2147483647)
    return ((2147483647 - place.to(tl.int64)) << 32) + short


@triton.jit
def raise_flag_of_rows(flag, is_bad, rows, values):  # type: ignore[no-untyped-def]
    """Raises it for the first of a block's rows that is bad, if one is."""
    worst = tl.max(tl.where(is_bad, packed(rows, values), 0), 0)
    if worst != 0:
        tl.atomic_max(flag, worst)


@triton.jit
def raise_flag(flag, is_bad, place, value):  # type: ignore[no-untyped-def]
    if is_bad:
        tl.atomic_max(flag, packed(place, value))
