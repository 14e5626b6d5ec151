"""The kernels of the CUDA extension `paradigm._cuda`, which is built on request (see setup.py), called with the addresses of tensors.

They are beside Triton's, not in their place: one takes over only where it is measured to be faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paradigm.kernels.flags import flag
from paradigm.kernels.gae import check_episodes, check_unit

__all__ = ["gae"]


def _extension() -> Any:
    try:
        from paradigm import _cuda  # type: ignore[attr-defined]
    except ImportError as error:
        how = "where nvcc is, `PARADIGM_CUDA=1 pip install --no-deps --force-reinstall .` builds it"
        raise ImportError(f"paradigm._cuda has not been built; {how}") from error
    return _cuda


def gae(rewards: Tensor, values: Tensor, bootstrap: Tensor, cu_seqlens: Tensor, *, gamma: float, lam: float) -> Tensor:
    """`kernels.gae` by CUDA C++, on the current stream, which nothing waits for.

    Args: as `kernels.gae`, float32 and on one CUDA device. Returns: float32 [T].
    Raises: ValueError as `kernels.gae`; ImportError if the extension has not been built; RuntimeError if the kernel cannot be launched.
    """
    check_episodes(cu_seqlens, bootstrap, rewards=rewards, values=values)
    check_unit(gamma=gamma, lam=lam)
    for name, stream in (("rewards", rewards), ("values", values), ("bootstrap", bootstrap)):
        if not stream.is_cuda or stream.dtype != torch.float32:
            raise ValueError(f"{name} must be float32 on a CUDA device, got {stream.dtype} on {stream.device}")
    rewards, values, bootstrap, cu_seqlens = (x.contiguous() for x in (rewards, values, bootstrap, cu_seqlens))
    advantages = torch.full_like(rewards, torch.nan)
    with torch.cuda.device(rewards.device):
        _extension().gae(
            *(x.data_ptr() for x in (rewards, values, bootstrap, cu_seqlens, advantages, flag("cu_seqlens", rewards.device))), rewards.numel(),
            bootstrap.numel(), gamma, lam, torch.cuda.current_stream().cuda_stream,
        )  # fmt: skip
    return advantages
