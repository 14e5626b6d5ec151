"""Which split a problem belongs to, by a hash of its text: 80, 5 and 15 in a hundred are in train, validation and test."""

from __future__ import annotations

import hashlib
from typing import Literal

__all__ = ["Split", "split_of"]

Split = Literal["train", "validation", "test"]


def split_of(problem: str) -> Split:
    """The split of a problem, the same in every run."""
    hundredth = int.from_bytes(hashlib.blake2b(problem.encode(), digest_size=8).digest(), "little") % 100
    return "train" if hundredth < 80 else "validation" if hundredth < 85 else "test"
