"""How much freed memory the C library keeps, for steps that free and take the same again.

A step on the CPU frees its activations and takes as many again, which glibc gives back to the system by default: from 32 MiB one by one, and what is
free at the heap's end beyond 64 MiB at most. The system then hands them out page by page, each cleared.
"""

from __future__ import annotations

import ctypes
import functools
import os

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of malloc.h
_KEPT, _MAPPED = 256 << 20, 32 << 20  # bytes
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")  # glibc's own


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep up to 256 MiB that it has freed, for good, instead of giving them back to the system.

    Allocations from 32 MiB are mapped and given back one by one, as ever. What the environment says (`MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TOP_PAD_`, `MALLOC_MMAP_MAX_`, or `glibc.malloc` in `GLIBC_TUNABLES`) stays as it is.

    Returns: whether it was done; False where the environment decides, or the C library is not glibc.
    """
    if any(name in os.environ for name in _VARIABLES) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # either alone would stop the other from being raised as large blocks are freed
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


def _is_glibc() -> bool:
    try:
        return "CS_GNU_LIBC_VERSION" in os.confstr_names and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # no confstr, or not this name
        return False
