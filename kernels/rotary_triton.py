"""`rotary` in Triton: a block of heads in registers, norm and rotation at once, q and k in one launch; strided heads are read where they lie.

The gradient of a rotation is the rotation by the negative angle. With head norms, s = 1 / sqrt(mean(x^2) + eps) again, n = x s, and g the
gradient turned back:

    dx = s (g w - n mean(g w n));   dw = sum over tokens and heads of g n

Each program walks over a chunk of the blocks and sums its part of dw; a second kernel adds the parts, in one order. Blocks and chunks depend on
the shape alone. A head's result and its gradient depend on that head and its token's angles alone.
"""

# T tokens, H heads, D head dimension, C rotated pairs, R = D - 2 C channels that pass

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from paradigm.kernels.rms_norm_triton import aligned, chunk_count, sum_chunks

MAX_HEAD_DIM = 1024  # a head must fit in a program's registers


@triton.jit
def _rotate_block(  # type: ignore[no-untyped-def]
    block, x, weight, y, cos, sin, num_tokens, token_stride, head_stride, eps, HEADS: tl.constexpr, PAIRS: tl.constexpr, REST: tl.constexpr,
    HAS_NORM: tl.constexpr, INVERSE: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    first_token = block // tl.cdiv(HEADS, BLOCK_H) * BLOCK_T
    tokens, heads = tl.arange(0, BLOCK_T), block % tl.cdiv(HEADS, BLOCK_H) * BLOCK_H + tl.arange(0, BLOCK_H)
    pairs, rest = tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_R)
    is_token = tokens < num_tokens - first_token
    is_head = (is_token[:, None] & (heads < HEADS)[None, :])[:, :, None]
    here, here_rest = is_head & (pairs < PAIRS)[None, None, :], is_head & (rest < REST)[None, None, :]
    x += first_token.to(tl.int64) * token_stride
    y += first_token.to(tl.int64) * (HEADS * (2 * PAIRS + REST))
    at = tokens[:, None, None] * token_stride + heads[None, :, None] * head_stride
    at_y = (tokens[:, None, None] * HEADS + heads[None, :, None]) * (2 * PAIRS + REST)
    a = tl.load(x + at + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
    b = tl.load(x + at + PAIRS + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
    if REST > 0:
        c = tl.load(x + at + 2 * PAIRS + rest[None, None, :], mask=here_rest, other=0.0).to(tl.float32)
    if HAS_NORM:
        squares = tl.sum(a * a + b * b, 2)
        if REST > 0:
            squares += tl.sum(c * c, 2)
            weight_c = tl.load(weight + 2 * PAIRS + rest, mask=rest < REST, other=0.0).to(tl.float32)
        s = tl.rsqrt(squares / (2 * PAIRS + REST) + eps)[:, :, None]
        a = a * s * tl.load(weight + pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, None, :]
        b = b * s * tl.load(weight + PAIRS + pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, None, :]
        if REST > 0:
            c = c * s * weight_c[None, None, :]
    angles = first_token.to(tl.int64) * PAIRS + tokens[:, None] * PAIRS + pairs[None, :]
    is_angle = is_token[:, None] & (pairs < PAIRS)[None, :]
    cosine = tl.load(cos + angles, mask=is_angle, other=0.0).to(tl.float32)[:, None, :]
    sine = tl.load(sin + angles, mask=is_angle, other=0.0).to(tl.float32)[:, None, :]
    if INVERSE:
        sine = -sine
    tl.store(y + at_y + pairs[None, None, :], (a * cosine - b * sine).to(y.dtype.element_ty), mask=here)
    tl.store(y + at_y + PAIRS + pairs[None, None, :], (b * cosine + a * sine).to(y.dtype.element_ty), mask=here)
    if REST > 0:
        tl.store(y + at_y + 2 * PAIRS + rest[None, None, :], c.to(y.dtype.element_ty), mask=here_rest)


@triton.jit(do_not_specialize=["num_tokens", "num_q_blocks"])  # one binary for all callers: another could reduce in another order
def _rotary_fwd_kernel(  # type: ignore[no-untyped-def]
    q, k, q_weight, k_weight, q_out, k_out, cos, sin, num_tokens, num_q_blocks, q_token_stride, q_head_stride, k_token_stride, k_head_stride, eps,
    Q_HEADS: tl.constexpr, K_HEADS: tl.constexpr, PAIRS: tl.constexpr, REST: tl.constexpr, HAS_NORM: tl.constexpr, INVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    if block < num_q_blocks:
        _rotate_block(
            block, q, q_weight, q_out, cos, sin, num_tokens, q_token_stride, q_head_stride, eps, Q_HEADS, PAIRS, REST, HAS_NORM, INVERSE,
            BLOCK_T, BLOCK_H, BLOCK_C, BLOCK_R,
        )  # fmt: skip
    else:
        _rotate_block(
            block - num_q_blocks, k, k_weight, k_out, cos, sin, num_tokens, k_token_stride, k_head_stride, eps, K_HEADS, PAIRS, REST, HAS_NORM,
            INVERSE, BLOCK_T, BLOCK_H, BLOCK_C, BLOCK_R,
        )  # fmt: skip


@triton.jit(do_not_specialize=["num_tokens", "num_chunks"])
def _rotary_norm_bwd_kernel(  # type: ignore[no-untyped-def]
    grad, x, weight, grad_x, partial, cos, sin, num_tokens, num_chunks, token_stride, head_stride, eps, HEADS: tl.constexpr, PAIRS: tl.constexpr,
    REST: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    DIM: tl.constexpr = 2 * PAIRS + REST
    chunk = tl.program_id(0)
    tokens, pairs, rest = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_R)
    sum_a = tl.zeros([BLOCK_T, BLOCK_H, BLOCK_C], tl.float32)
    sum_b = tl.zeros([BLOCK_T, BLOCK_H, BLOCK_C], tl.float32)
    if REST > 0:
        sum_c = tl.zeros([BLOCK_T, BLOCK_H, BLOCK_R], tl.float32)
    for block in tl.range(chunk, tl.cdiv(num_tokens, BLOCK_T) * tl.cdiv(HEADS, BLOCK_H), num_chunks, num_stages=2):
        first_token = block // tl.cdiv(HEADS, BLOCK_H) * BLOCK_T
        heads = block % tl.cdiv(HEADS, BLOCK_H) * BLOCK_H + tl.arange(0, BLOCK_H)
        is_token = tokens < num_tokens - first_token
        is_head = is_token[:, None] & (heads < HEADS)[None, :]
        here, here_rest = is_head[:, :, None] & (pairs < PAIRS)[None, None, :], is_head[:, :, None] & (rest < REST)[None, None, :]
        first_token = tl.cast(first_token, tl.int64)
        at_x = first_token * token_stride + (tokens[:, None, None] * token_stride + heads[None, :, None] * head_stride)
        at = first_token * (HEADS * DIM) + (tokens[:, None, None] * HEADS + heads[None, :, None]) * DIM
        angles = first_token * PAIRS + (tokens[:, None] * PAIRS + pairs[None, :])
        is_angle = is_token[:, None] & (pairs < PAIRS)[None, :]
        a = tl.load(x + at_x + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
        b = tl.load(x + at_x + PAIRS + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
        turned_a = tl.load(grad + at + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
        turned_b = tl.load(grad + at + PAIRS + pairs[None, None, :], mask=here, other=0.0).to(tl.float32)
        cosine = tl.load(cos + angles, mask=is_angle, other=0.0).to(tl.float32)[:, None, :]
        sine = tl.load(sin + angles, mask=is_angle, other=0.0).to(tl.float32)[:, None, :]
        weight_a = tl.load(weight + pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, None, :]
        weight_b = tl.load(weight + PAIRS + pairs, mask=pairs < PAIRS, other=0.0).to(tl.float32)[None, None, :]
        squares = tl.sum(a * a + b * b, 2)
        if REST > 0:
            c = tl.load(x + at_x + 2 * PAIRS + rest[None, None, :], mask=here_rest, other=0.0).to(tl.float32)
            grad_c = tl.load(grad + at + 2 * PAIRS + rest[None, None, :], mask=here_rest, other=0.0).to(tl.float32)
            weight_c = tl.load(weight + 2 * PAIRS + rest, mask=rest < REST, other=0.0).to(tl.float32)[None, None, :]
            squares += tl.sum(c * c, 2)
        s = tl.where(is_head, tl.rsqrt(squares / DIM + eps), 0.0)[:, :, None]  # eps may be 0, where no head is too
        a, b = a * s, b * s
        grad_a = turned_a * cosine + turned_b * sine
        grad_b = turned_b * cosine - turned_a * sine
        sum_a += grad_a * a
        sum_b += grad_b * b
        grad_a, grad_b = grad_a * weight_a, grad_b * weight_b
        product = tl.sum(grad_a * a + grad_b * b, 2)
        if REST > 0:
            c = c * s
            sum_c += grad_c * c
            grad_c = grad_c * weight_c
            product += tl.sum(grad_c * c, 2)
        mean = (product / DIM)[:, :, None]
        tl.store(grad_x + at + pairs[None, None, :], (s * (grad_a - a * mean)).to(grad_x.dtype.element_ty), mask=here)
        tl.store(grad_x + at + PAIRS + pairs[None, None, :], (s * (grad_b - b * mean)).to(grad_x.dtype.element_ty), mask=here)
        if REST > 0:
            tl.store(grad_x + at + 2 * PAIRS + rest[None, None, :], (s * (grad_c - c * mean)).to(grad_x.dtype.element_ty), mask=here_rest)
    partial += chunk * DIM
    tl.store(partial + pairs, tl.sum(tl.sum(sum_a, 0), 0), mask=pairs < PAIRS)
    tl.store(partial + PAIRS + pairs, tl.sum(tl.sum(sum_b, 0), 0), mask=pairs < PAIRS)
    if REST > 0:
        tl.store(partial + 2 * PAIRS + rest, tl.sum(tl.sum(sum_c, 0), 0), mask=rest < REST)


def configuration(dtype: torch.dtype, num_heads: int, head_dim: int, pairs: int, *, backward: bool = False) -> dict[str, Any]:
    """The tile sizes and options; num_heads: the fewer of q's and k's, which divide the others where nothing is to be wasted."""
    block_c, block_r = triton.next_power_of_2(pairs), triton.next_power_of_2(head_dim - 2 * pairs)
    room = 4096 // triton.next_power_of_2(2 * block_c + block_r)
    block_h = min(triton.next_power_of_2(num_heads), room)
    tiles = {"BLOCK_T": room // block_h, "BLOCK_H": block_h, "BLOCK_C": block_c, "BLOCK_R": max(1, block_r)}
    return {**tiles, "num_warps": 4 * dtype.itemsize} if backward else {**tiles, "num_warps": 8, "enable_fp_fusion": False}


def _heads(x: Tensor) -> Tensor:
    """x [T, H, D], copied unless it is contiguous or every head begins at a multiple of 16: other loads could reduce in another order."""
    strides = x.stride()
    in_place = strides[2] == 1 and all(n % 16 == 0 for n in (*strides[:2], x.shape[2])) and x.data_ptr() % 16 == 0
    return x if in_place else aligned(x)


def _strides(x: Tensor) -> tuple[int, int]:
    return (x.shape[1] * x.shape[2], x.shape[2]) if x.is_contiguous() else (x.stride(0), x.stride(1))


def _rotate(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    q, k, cos, sin = _heads(q), _heads(k), aligned(cos), aligned(sin)
    num_tokens, q_heads, head_dim = q.shape
    k_heads, pairs = k.shape[1], cos.shape[1]
    config = configuration(q.dtype, min(q_heads, k_heads), head_dim, pairs)
    outputs = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k)]
    num_blocks = [triton.cdiv(num_tokens, config["BLOCK_T"]) * triton.cdiv(heads, config["BLOCK_H"]) for heads in (q_heads, k_heads)]
    weights = [x if weight is None else aligned(weight) for x, weight in ((q, q_weight), (k, k_weight))]
    _rotary_fwd_kernel[(sum(num_blocks),)](
        q, k, *weights, *outputs, cos, sin, num_tokens, num_blocks[0], *_strides(q), *_strides(k), float(eps), Q_HEADS=q_heads, K_HEADS=k_heads,
        PAIRS=pairs, REST=head_dim - 2 * pairs, HAS_NORM=q_weight is not None, INVERSE=inverse, **config,
    )  # fmt: skip
    return outputs[0], outputs[1]


def rotary_forward(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """q and k, normed where weights are given, and rotated."""
    return _rotate(q, k, cos, sin, q_weight, k_weight, eps, inverse=False)


def rotary_backward(
    grad_q: Tensor, grad_k: Tensor, q: Tensor | None, k: Tensor | None, cos: Tensor, sin: Tensor, q_weight: Tensor | None,
    k_weight: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of q, k and their weights; q and k are read only where there are weights."""
    if q is None or k is None or q_weight is None or k_weight is None:
        return *_rotate(grad_q, grad_k, cos, sin, None, None, 0.0, inverse=True), None, None
    cos, sin = aligned(cos), aligned(sin)
    head_dim, pairs = q.shape[2], cos.shape[1]
    config = configuration(q.dtype, min(q.shape[1], k.shape[1]), head_dim, pairs, backward=True)
    grads, weight_grads = [], []
    for grad, x, weight in ((grad_q, _heads(q), q_weight), (grad_k, _heads(k), k_weight)):
        num_tokens, num_heads, _ = x.shape
        num_chunks = chunk_count(triton.cdiv(num_tokens, config["BLOCK_T"]) * triton.cdiv(num_heads, config["BLOCK_H"]))
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        partial = torch.empty(num_chunks, head_dim, device=x.device)
        _rotary_norm_bwd_kernel[(num_chunks,)](
            aligned(grad), x, aligned(weight), grad_x, partial, cos, sin, num_tokens, num_chunks, *_strides(x), float(eps), HEADS=num_heads,
            PAIRS=pairs, REST=head_dim - 2 * pairs, **config,
        )  # fmt: skip
        grads.append(grad_x)
        weight_grads.append(sum_chunks(partial, weight.dtype))
    return grads[0], grads[1], weight_grads[0], weight_grads[1]
