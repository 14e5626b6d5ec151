"""Values on their way from a device to the host: nothing waits for them until they are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Transfer"]


class Transfer:
    """A tensor's values as they are now, for the host to read later.

    From CUDA they go to pinned memory on the current stream, and who reads them waits for what that stream has been given so far, not for what
    it is given after. Elsewhere the tensor itself is kept, and must not change until it is read.
    """

    def __init__(self, tensor: Tensor):
        self._values, self._arrived = tensor.detach(), None
        if tensor.is_cuda:
            self._values = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._values.copy_(tensor.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def tolist(self) -> Any:
        """Waits for the values. Returns: as `Tensor.tolist`."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values.tolist()
