"""What a kernel on a device finds wrong with its data, kept there until somebody asks: nothing waits for a check that needs the data.

Where a value breaks its rule, the results that depend on it are NaN and the kernel raises a flag: an int64 on the device for each rule, in which
the first offending place (in the batch's order) and its value are packed. `check_flags` reads the flags, clears them, and raises what an op on
CPU tensors raises at once. `Learner.step` calls it where it waits for the device anyway; a late learner takes the flags without waiting, and
reads them a step later. With PARADIGM_DEBUG=1 in the environment, or under torch.autograd.detect_anomaly, ops look at their data before they
launch instead, and wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import runs_triton

Rule = Literal["targets", "support", "cu_seqlens", "context_lengths"]
_RULES: dict[str, tuple[str, str]] = {  # what must hold, and what the place counts
    "targets": ("targets must be in [0, V)", "row"),
    "support": ("support row ids must be in [-1, S)", "row"),
    "cu_seqlens": ("cu_seqlens must rise from 0 to T", "episode"),
    "context_lengths": ("context_lengths must be at least what is fed and fit the block table", "sequence"),
}
_FLAGS: dict[torch.device, Tensor] = {}


def is_debugging() -> bool:
    """Whether ops on a GPU are to look at their data at once."""
    return os.environ.get("PARADIGM_DEBUG", "0") not in ("", "0") or torch.is_anomaly_enabled()


def reads_data(like: Tensor) -> bool:
    """Whether an op of tensors such as `like` looks at values before it runs: where no kernel raises flags, and when debugging."""
    return not like.is_meta and (not runs_triton(like) or is_debugging())


def flag(rule: Rule, device: torch.device) -> Tensor:
    """The flag of a rule on a device, int64 [1], that a kernel is given: see flags_triton.py."""
    if device not in _FLAGS:
        with torch.inference_mode(False):  # where a rollout runs; who clears the flags does not
            _FLAGS[device] = torch.zeros(len(_RULES), dtype=torch.int64, device=device)
    at = get_args(Rule).index(rule)
    return _FLAGS[device][at : at + 1]


def take_flags() -> dict[torch.device, Tensor]:
    """Each device's flags as its current stream finds them, int64 [rules], and then clears them; nothing waits. They are for `check_taken`."""
    taken = {device: flags.clone() for device, flags in _FLAGS.items()}
    for flags in _FLAGS.values():
        flags.zero_()
    return taken


def check_flags() -> None:
    """Waits for the devices on whose data kernels have run, and clears their flags; without such devices it costs nothing.

    Raises: ValueError if a kernel since the last call met a value that breaks a rule, with each rule, the first value and where it stood. What
        streams other than the current one have not finished yet is found by the next call.
    """
    raised = {device: flags.tolist() for device, flags in _FLAGS.items()}
    for device, packed in raised.items():
        if any(packed):
            _FLAGS[device].zero_()
    check_taken(raised)


def check_taken(taken: Mapping[torch.device, Sequence[int]]) -> None:
    """Raises: ValueError, as `check_flags`, if one of these flags is raised: those of `take_flags`, brought to the host."""
    found = []
    for device, raised in taken.items():
        for (rule, place), packed in zip(_RULES.values(), raised):
            if packed:
                value = (packed + 2**31) % 2**32 - 2**31
                found.append(f"{rule}, got {value} in {place} {2**31 - 1 - (packed - value) // 2**32} on {device}")
    if found:
        raise ValueError("; ".join(found))
