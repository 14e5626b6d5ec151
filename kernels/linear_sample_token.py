"""Draws a token from each hidden state's distribution by the LM head, `sample_token` of hidden weight^T; on a GPU the logits are not stored.

The definitions are sample_token.py's. On a GPU it is Triton's (linear_sample_token_triton.py): without filters one pass over the head, with filters a
second one; a row without is the same bits either way. Elsewhere rows are taken in chunks. The log-probs are, bit for bit, `linear_logprob`'s of the
drawn tokens at the row's temperature (at 1 for greedy rows), on the CPU as on a GPU, where this is by construction and not yet checked on one.
"""

# N rows, D model width, V vocabulary

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paradigm.kernels.cpu_slots import runs_triton
from paradigm.kernels.linear_logprob import check_head, chunks, logits, operands
from paradigm.kernels.operators import is_traced, operator
from paradigm.kernels.sample_token import Draw, draw_of, has_filters, sample_rows, sample_token_reference
from paradigm.kernels.support import Support, check_support


def linear_sample_token(
    hidden: Tensor, weight: Tensor, *, temperature: float | Tensor = 1.0, top_k: int | Tensor = 0, top_p: float | Tensor = 1.0,
    min_p: float | Tensor = 0.0, key: int | Tensor = 0, trajectory: int | Tensor = 0, position: int | Tensor = 0, support: Support | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Draws a token from softmax(hidden weight^T / temperature) of each row; a row's result is a function of that row alone. No gradient.

    Args:
        hidden: [N, D]. weight: [V, D], the same dtype.
        temperature, top_k, top_p, min_p, key, trajectory, position, support: as `sample_token`'s.
    Returns: as `sample_token`: ids int32 [N], logprobs float32 [N], kept_logmass float32 [N]; of greedy rows both are the token's log-prob.
    Raises: ValueError if shapes, dtypes, devices or settings are wrong; and as `sample_token` for a row that cannot be drawn from.
    """
    check_head(hidden, weight)
    settings = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "key": key, "trajectory": trajectory, "position": position
    }  # fmt: skip
    ids, table = support or (None, None)
    run: Any = _operator if is_traced() else _run
    return run(hidden.detach(), weight.detach(), *draw_of(hidden, settings), ids, table, has_filters(top_k, top_p, min_p))  # type: ignore[no-any-return]


def _run(
    hidden: Tensor, weight: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, key: Tensor, trajectory: Tensor,
    position: Tensor, ids: Tensor | None, table: Tensor | None, is_filtered: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    draw = Draw(temperature, top_k, top_p, min_p, key, trajectory, position)
    support = None if ids is None or table is None else (ids, table)
    check_support(support, hidden, weight.shape[0])
    if runs_triton(hidden):
        from paradigm.kernels.linear_sample_token_triton import linear_sample_token_forward  # Triton takes a second to import

        return linear_sample_token_forward(hidden, weight, draw, support, is_filtered=is_filtered)
    drawn = [torch.empty(hidden.shape[0], dtype=dtype, device=hidden.device) for dtype in (torch.int32, torch.float32, torch.float32)]
    fed, fed_weight = operands(hidden, weight)
    for rows in chunks(hidden.shape[0], weight.shape[0]):
        legal = None if support is None else (support[0][rows], support[1])
        of_rows = Draw(*(x[rows] for x in draw))
        for result, part in zip(drawn, sample_rows(logits(fed[rows], fed_weight).float(), of_rows, legal, is_filtered)):
            result[rows] = part
    return drawn[0], drawn[1], drawn[2]


def linear_sample_token_reference(hidden: Tensor, weight: Tensor, draw: Draw, support: Support | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """`linear_sample_token` in plain torch, by way of the whole [N, V] matrix of logits, in float64."""
    return sample_token_reference(hidden.double() @ weight.double().t(), draw, support)


def _fake(hidden, *_):  # type: ignore[no-untyped-def]
    return tuple(hidden.new_empty(hidden.shape[0], dtype=dtype) for dtype in (torch.int32, torch.float32, torch.float32))


_operator = operator("linear_sample_token", _run, _fake)
