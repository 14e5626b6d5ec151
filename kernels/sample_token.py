"""Draws a token from each row of logits, and the log-probability of the draw; csrc/include/paradigm/sample_token.h has the definitions.

    d_v = (x_v - max x) / temperature over the legal tokens,   S = sum exp(d_v),   log p_v = d_v - log S
    token = argmax over kept v of d_v - log(-log1p(-u_v)),   u_v = (bits + 1/2) 2^-32;   ties: lowest id
    bits = word v % 4 of Philox4x32-10 of the counter (v / 4, position, trajectory low, trajectory high) under the key

Filters keep a prefix of the order (logit descending, id ascending), one after the other: the top_k first tokens; the smallest prefix whose mass,
renormalised, is at least top_p; the tokens at least min_p times as probable as the first. They change no log-probability.
On a GPU it is Triton's (sample_token_triton.py), on the CPU C++.
"""

# N rows, V vocabulary

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import CPU, runs_triton
from paradigm.kernels.operators import is_traced, operator
from paradigm.kernels.support import Support, check_support, legal_tokens


class Draw(NamedTuple):
    """What steers each row's draw, tensors [N]; bits of unsigned numbers are kept in signed ones."""

    temperature: Tensor  # float32, >= 0; 0: greedy
    top_k: Tensor  # int32, 0: off
    top_p: Tensor  # float32, 1: off
    min_p: Tensor  # float32, 0: off
    key: Tensor  # int64
    trajectory: Tensor  # int64
    position: Tensor  # int32


_DTYPES = (torch.float32, torch.int32, torch.float32, torch.float32, torch.int64, torch.int64, torch.int32)
_BITS = {"key": 64, "trajectory": 64, "position": 32}


def sample_token(
    logits: Tensor, *, temperature: float | Tensor = 1.0, top_k: int | Tensor = 0, top_p: float | Tensor = 1.0, min_p: float | Tensor = 0.0,
    key: int | Tensor = 0, trajectory: int | Tensor = 0, position: int | Tensor = 0, support: Support | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws a token from each row; a row's result is a function of that row alone.

    Args:
        logits: float32 [N, V].
        temperature: >= 0; 0 takes the largest logit, and the log-prob is then the one at temperature 1.
        top_k, top_p, min_p: 0, 1 and 0 turn the filters off.
        key, trajectory, position: 64, 64 and 32 bits that the noise is a function of; tensors hold them in int64, int64 and int32.
        support: None, or (row ids int32 [N], table int32 or uint32 [S, ceil(V / 32)]): see kernels/support.py.
        All but logits and support: a number, or a tensor [N] on logits' device.
    Returns: ids int32 [N]; logprobs float32 [N] over the legal tokens, before the filters; kept_logmass float32 [N], the log of the mass that
        the filters kept. On a GPU, which nothing waits for, a row whose legal logits hold NaN or +inf, that has none above -inf, or whose mask is
        not in the table, gets the id -1 and NaN; elsewhere it raises.
    Raises: ValueError if shapes, dtypes or settings are wrong; settings given as tensors on a GPU are not looked at.
    """
    if logits.dim() != 2 or logits.dtype != torch.float32 or not logits.shape[1]:
        raise ValueError(f"logits must be float32 [N, V], got {logits.dtype} {list(logits.shape)}")
    settings = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "key": key, "trajectory": trajectory, "position": position
    }  # fmt: skip
    ids, table = support or (None, None)
    run: Any = _operator if is_traced() else _run
    return run(logits.detach(), *draw_of(logits, settings), ids, table, has_filters(top_k, top_p, min_p))  # type: ignore[no-any-return]


def draw_of(rows: Tensor, settings: dict[str, Any]) -> Draw:
    """The settings, named and ordered as Draw's fields, for each row of `rows` [N, ...]. Raises: ValueError for a wrong one."""
    return Draw(*(_per_row(name, value, dtype, rows) for (name, value), dtype in zip(settings.items(), _DTYPES)))


def has_filters(top_k: int | Tensor, top_p: float | Tensor, min_p: float | Tensor) -> bool:
    """Whether any row may have one; of tensors nobody asks."""
    return not all(isinstance(x, (int, float)) for x in (top_k, top_p, min_p)) or (top_k, top_p, min_p) != (0, 1, 0)


def _run(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, key: Tensor, trajectory: Tensor, position: Tensor,
    ids: Tensor | None, table: Tensor | None, is_filtered: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    draw = Draw(temperature, top_k, top_p, min_p, key, trajectory, position)
    support = None if ids is None or table is None else (ids, table)
    check_support(support, logits, logits.shape[1])
    return sample_rows(logits, draw, support, is_filtered)


def sample_rows(logits: Tensor, draw: Draw, support: Support | None, is_filtered: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`sample_token` of checked arguments."""
    for name, value in zip(_RULES, draw):
        _check_setting(name, value)
    if runs_triton(logits):
        from paradigm.kernels.sample_token_triton import sample_token_forward  # Triton takes a second to import

        return sample_token_forward(logits, draw, support, is_filtered=is_filtered)
    forward = CPU.get("sample_token") if logits.is_cpu else None
    return sample_token_reference(logits, draw, support) if forward is None else forward(logits, draw, support)  # type: ignore[no-any-return]


def _fake(logits, *_):  # type: ignore[no-untyped-def]
    return tuple(logits.new_empty(logits.shape[0], dtype=dtype) for dtype in (torch.int32, torch.float32, torch.float32))


_operator = operator("sample_token", _run, _fake)


def _per_row(name: str, value: float | Tensor, dtype: torch.dtype, logits: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        if value.shape != logits.shape[:1] or value.dtype != dtype or value.device != logits.device:
            rule = f"a number or {dtype} [{logits.shape[0]}] on {logits.device}"
            raise ValueError(f"{name} must be {rule}, got {value.dtype} {list(value.shape)} on {value.device}")
        return value.contiguous()
    if name in _BITS:
        bits = _BITS[name]
        if not 0 <= value < 2**bits:
            raise ValueError(f"{name} must be in [0, 2^{bits}), got {value}")
        value = value - (int(value) >> (bits - 1) << bits)  # the same bits, signed
    elif not _RULES[name][1](value):
        raise ValueError(f"{name} must be {_RULES[name][0]}, got {value}")
    return torch.full(logits.shape[:1], value, dtype=dtype, device=logits.device)


_RULES: dict[str, tuple[str, Callable[[Any], Any]]] = {  # in Draw's order
    "temperature": (">= 0 and finite", lambda x: (x >= 0) & (x < torch.inf)),
    "top_k": ("in [0, 2^31)", lambda x: (x >= 0) & (x <= 2**31 - 1)),
    "top_p": ("in (0, 1]", lambda x: (x > 0) & (x <= 1)),
    "min_p": ("in [0, 1)", lambda x: (x >= 0) & (x < 1)),
}


def _check_setting(name: str, value: Tensor) -> None:
    good = _RULES[name][1](value) if value.is_cpu else None
    if good is not None and not bool(good.all()):
        raise ValueError(f"{name} must be {_RULES[name][0]}, got {value[~good][0]}")


def _product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low words of the 64-bit products of 32-bit words, in int64."""
    low, high = (a & 0xFFFF) * b, (a >> 16) * b
    middle = high + (low >> 16)
    return middle >> 16, (middle << 16 | low & 0xFFFF) & 0xFFFFFFFF


def noise_bits(draw: Draw, vocabulary: int) -> Tensor:
    """The 32 random bits of each token of each row, int64 [N, V]."""
    words = torch.arange(-(-vocabulary // 4), device=draw.key.device)[None, :]
    key_0, key_1 = draw.key[:, None] & 0xFFFFFFFF, draw.key[:, None] >> 32 & 0xFFFFFFFF
    high, low = draw.trajectory[:, None] >> 32 & 0xFFFFFFFF, draw.trajectory[:, None] & 0xFFFFFFFF
    x = [words + 0 * high, (draw.position[:, None].long() & 0xFFFFFFFF) + 0 * words, low + 0 * words, high + 0 * words]
    for _ in range(10):
        (a_high, a_low), (b_high, b_low) = _product(x[0], 0xD2511F53), _product(x[2], 0xCD9E8D57)
        x = [b_high ^ x[1] ^ key_0, b_low, a_high ^ x[3] ^ key_1, a_low]
        key_0, key_1 = (key_0 + 0x9E3779B9) & 0xFFFFFFFF, (key_1 + 0xBB67AE85) & 0xFFFFFFFF
    return torch.stack(x, 2).flatten(1)[:, :vocabulary]


def sample_token_reference(logits: Tensor, draw: Draw, support: Support | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """`sample_token` in plain torch and float64, with a sort. Raises: ValueError for a row that cannot be drawn from."""
    x = logits.double()
    if support is not None:
        x = x.masked_fill(~legal_tokens(*support, x.shape[1]), -torch.inf)
    greedy = draw.temperature == 0
    bad = ~((x < torch.inf).all(1) & (x > -torch.inf).any(1))
    if bool(bad.any()):
        raise ValueError(f"row {int(bad.nonzero()[0])} must have a legal token above -inf, and none that is NaN or +inf")
    d = (x - x.amax(1, keepdim=True)) / torch.where(greedy, 1.0, draw.temperature)[:, None].double()
    ordered, order = d.sort(dim=1, descending=True, stable=True)
    mass = ordered.exp()
    rank = torch.arange(d.shape[1], device=d.device)
    top_k = torch.where(draw.top_k > 0, draw.top_k, d.shape[1])[:, None]
    kept = (rank < torch.where(greedy[:, None], 1, top_k)) & (ordered > -torch.inf)
    before = (mass * kept).cumsum(1) - mass * kept
    top_p = draw.top_p[:, None].double()
    kept &= (before < top_p * (mass * kept).sum(1, keepdim=True)) | (top_p == 1)
    kept &= ordered >= draw.min_p[:, None].double().log()
    uniform = (noise_bits(draw, d.shape[1]) + 0.5) * 2.0**-32
    score = d - (-torch.log1p(-uniform)).log()
    ids = score.masked_fill(~torch.zeros_like(kept).scatter(1, order, kept), -torch.inf).argmax(1)
    log_sum = mass.sum(1).log()
    logprob = d.gather(1, ids[:, None])[:, 0] - log_sum
    kept_logmass = torch.where((kept | (mass == 0)).all(1), 0.0, (mass * kept).sum(1).log() - log_sum)
    return ids.int(), logprob.float(), kept_logmass.float()
