"""What every op asks of its tensors before it launches anything."""

from __future__ import annotations

from torch import Tensor


def check_floating(**tensors: Tensor) -> None:
    """Raises ValueError for one that holds no floating-point numbers."""
    for name, x in tensors.items():
        if not x.dtype.is_floating_point:
            raise ValueError(f"{name} must be of a floating dtype, got {x.dtype}")


def check_device(name: str, first: Tensor, **others: Tensor | None) -> None:
    """Raises ValueError for one that is elsewhere than `first`, which is called `name`."""
    device = first.device
    for other, x in others.items():
        if x is not None and x.device != device:
            raise ValueError(f"{other} must be on the device of {name}, {device}, got {x.device}")
