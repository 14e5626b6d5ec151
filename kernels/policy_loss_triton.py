"""`policy_loss` in Triton: linear_logprob_triton.py's chunks, with the objective between a chunk's statistics and its gradient.

A teacher's logits are kept beside the policy's. Both lie as e = exp(z - m), so log p = log e + m - logsumexp(z): rounded to bfloat16 it is off by
up to 2^-8, unless z is its tile's largest, and so is each log-ratio in a row's divergence, twice. The errors are independent and mostly
cancel. A logit more than 87 below its tile's largest counts as 87 below.
"""

# N rows, D model width, V vocabulary, T tiles, C rows of a chunk

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.linear_logprob import rows_of
from paradigm.kernels.linear_logprob_triton import TILE, Chunk, GradientSums, Pull, aligned, kept_logits, logits_gradient, row_chunks, score
from paradigm.kernels.support import Support

DIVERGENCE_TILE = {"BLOCK_N": 16, "BLOCK_V": TILE, "num_warps": 4}


@triton.jit(do_not_specialize=["num_rows"])
def _divergence_kernel(  # type: ignore[no-untyped-def]
    kept, maximum, normalizer, teacher, teacher_maximum, teacher_normalizer, divergence, num_rows, vocabulary, kept_stride, teacher_stride,
    DIVERGENCE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    rows = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row = rows < num_rows
    tokens = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    here = is_row[:, None] & (tokens < vocabulary)[None, :]
    of_tile = tile.to(tl.int64) * num_rows + rows
    e = tl.load(kept + rows.to(tl.int64)[:, None] * kept_stride + tokens[None, :], mask=here, other=0.0).to(tl.float32)
    u = tl.load(teacher + rows.to(tl.int64)[:, None] * teacher_stride + tokens[None, :], mask=here, other=0.0).to(tl.float32)
    scale = tl.load(maximum + of_tile, mask=is_row, other=0.0) - tl.load(normalizer + rows, mask=is_row, other=0.0)
    teacher_scale = tl.load(teacher_maximum + of_tile, mask=is_row, other=0.0) - tl.load(teacher_normalizer + rows, mask=is_row, other=0.0)
    log_p = tl.log(tl.maximum(e, 2e-38)) + scale[:, None]
    log_q = tl.log(tl.maximum(u, 2e-38)) + teacher_scale[:, None]
    if DIVERGENCE == "forward":
        terms = tl.where(u > 0.0, tl.exp(log_q) * (log_q - log_p), 0.0)
    else:
        terms = tl.where(e > 0.0, tl.exp(log_p) * (log_p - log_q), 0.0)
    tl.store(divergence + of_tile, tl.sum(terms, 1), mask=is_row)


def divergences(chunk: Chunk, teacher: Chunk, vocabulary: int, kind: str) -> Tensor:
    """float32 [C]: "forward" KL(teacher || policy), "reverse" KL(policy || teacher), both over the legal tokens."""
    assert chunk.kept is not None and teacher.kept is not None
    num_tiles, num_rows = chunk.tiles.maximum.shape
    parts = torch.empty_like(chunk.tiles.maximum)
    if num_rows:
        _divergence_kernel[(num_tiles, triton.cdiv(num_rows, DIVERGENCE_TILE["BLOCK_N"]))](
            chunk.kept, chunk.tiles.maximum, chunk.rows.normalizer, teacher.kept, teacher.tiles.maximum, teacher.rows.normalizer, parts, num_rows,
            vocabulary, chunk.kept.stride(0), teacher.kept.stride(0), DIVERGENCE=kind, **DIVERGENCE_TILE,
        )  # fmt: skip
    return parts.sum(0)


@torch.no_grad()
def run(
    hidden: Tensor, weight: Tensor, targets: Tensor, streams: Mapping[str, Tensor], objective: Any, temperature: float, support: Support | None,
    teacher: tuple[Tensor, Tensor] | None, divergence: str, for_hidden: bool, for_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """(loss, logprob, entropy, gradient by hidden, by weight), for float32, bfloat16 and float16; nothing waits for the device."""
    num_rows, vocabulary = hidden.shape[0], weight.shape[0]
    loss = torch.zeros((), device=hidden.device)
    logprob, entropy = (torch.empty(num_rows, device=hidden.device) for _ in range(2))
    chunks = row_chunks(num_rows, vocabulary, hidden.dtype)
    with_gradient = for_hidden or for_weight
    buffer = kept_logits(chunks, vocabulary, hidden) if with_gradient or teacher is not None else None
    teacher_buffer = None if teacher is None else kept_logits(chunks, vocabulary, teacher[0])
    sums = GradientSums(hidden, weight, for_hidden, for_weight)
    fed, fed_weight = aligned(hidden), aligned(weight)
    teacher_fed = None if teacher is None else [aligned(x.detach()) for x in teacher]
    for rows in chunks:
        size, legal, wanted = rows.stop - rows.start, rows_of(support, rows), targets[rows]
        chunk = score(fed[rows], fed_weight, wanted, temperature, legal, None if buffer is None else buffer[:size], rows.start)
        logprob[rows], entropy[rows] = chunk.rows.logprob, chunk.rows.entropy
        terms = objective.rows(chunk.rows.logprob, chunk.rows.entropy, {name: stream[rows] for name, stream in streams.items()})
        loss += terms.loss.sum()
        pull = None
        if teacher_fed is not None and teacher_buffer is not None:
            other = score(teacher_fed[0][rows], teacher_fed[1], wanted, temperature, legal, teacher_buffer[:size], rows.start)
            coefficient = streams["divergence"][rows].float().contiguous()
            pull = Pull(divergence, other, coefficient, divergences(chunk, other, vocabulary, divergence))
            loss += (coefficient * pull.divergence).sum()
            del other
        if with_gradient:
            sums.add(rows, logits_gradient(chunk, wanted, vocabulary, temperature, terms.dlogprob, terms.dentropy, pull))
        del chunk, pull
    del buffer, teacher_buffer  # before the weight's gradient is copied into its dtype
    return loss, logprob, entropy, sums.hidden, sums.weight
