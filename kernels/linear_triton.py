"""`exact_linear` in Triton: y = x W^T + b, each row a pure function of that row, by one compiled kernel for any number of rows.

Tiles are chosen by the weight's shape alone. No product is split along K: every sum runs over K in ascending steps in one accumulator, and rows
past the last are zeros. So nothing that a row's bits could come from looks at the other rows.

Widened products are the head's logits and take the tiles of linear_logprob_triton.py: the same descriptors, BLOCK_K and matrix instructions in
the same order, so z here should be, bit for bit, the product that `_tile_kernel` reduces. That kernel then multiplies z by 1 / temperature (it does
not divide) and sums exp(z - max) over tiles of 128 tokens, merged in ascending order: a sampler must do likewise for log-probs of the same bits.

In float32 a sum is a chain of fused multiply-adds over ascending k whatever the tile. In 16 bits it is one of wgmma m64nNk16 (mma.sync m16n8k16
before Hopper). Another BLOCK_M repeats the same instruction; that another n (the tile's BLOCK_N) gives the same bits is a conjecture, which keeps
TILES_BY_ROWS False until a GPU confirms it. tests/kernels/test_linear_gpu.py holds a GPU to all of this; none of it has run on one yet.
"""

# M rows, K inputs, N outputs

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from paradigm.kernels import linear_logprob_triton
from paradigm.kernels.linear_logprob_triton import aligned

TILES_BY_ROWS = False  # whether the number of rows chooses among the tiles of BY_ROWS: meant to be faster, but see above


class Tiles(NamedTuple):
    """How a product is cut: the widest panels of outputs of which the weight still has `panels`."""

    panels: int
    widest: int
    narrowest: int
    block_m: int
    num_warps: int
    most_stages: int


# (sm_90 and later, before) in 16 bits; 16 panels: a compromise between filling the GPU at few rows and large tiles at many
ANY_ROWS = (Tiles(16, 256, 32, 128, 8, 8), Tiles(16, 128, 32, 64, 8, 3))
BY_ROWS = {  # by the greatest number of rows
    64: (Tiles(128, 128, 16, 64, 4, 8), Tiles(128, 128, 32, 64, 8, 3)),
    512: (Tiles(32, 256, 32, 128, 8, 5), Tiles(32, 128, 32, 64, 8, 3)),
    1 << 31: (Tiles(4, 256, 32, 128, 8, 4), Tiles(4, 128, 32, 64, 8, 3)),
}
_STAGE_BYTES = 192 * 1024  # of shared memory for what is loaded ahead


@triton.jit(do_not_specialize=["num_rows", "num_outputs"])  # one binary for any number of rows
def _linear_kernel(  # type: ignore[no-untyped-def]
    x, weight, bias, y, num_rows, num_outputs, WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    num_blocks, num_panels = tl.cdiv(num_rows, BLOCK_M), tl.cdiv(num_outputs, BLOCK_N)
    program = tl.program_id(0)
    first = program // (GROUP * num_panels) * GROUP  # GROUP blocks of rows meet a panel together, so that both stay in the L2 cache
    size = tl.minimum(num_blocks - first, GROUP)
    within = program % (GROUP * num_panels)
    block, panel = first + within % size, within // size
    product = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        rows = x.load([block * BLOCK_M, start])
        outputs = weight.load([panel * BLOCK_N, start])
        product = tl.dot(rows, outputs.T, product, input_precision=PRECISION)
    if HAS_BIAS:
        columns = panel * BLOCK_N + tl.arange(0, BLOCK_N)
        product += tl.load(bias + columns, mask=columns < num_outputs, other=0.0).to(tl.float32)[None, :]
    y_tile = product.to(y.dtype)
    if BLOCK_N <= 128:
        y.store([block * BLOCK_M, panel * BLOCK_N], y_tile)
    else:  # in halves: all of it in float32 needs more shared memory than the loads leave
        left, right = tl.split(tl.permute(tl.reshape(y_tile, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
        y.store([block * BLOCK_M, panel * BLOCK_N], left)
        y.store([block * BLOCK_M, panel * BLOCK_N + BLOCK_N // 2], right)


def configuration(
    dtype: torch.dtype, width: int, num_outputs: int, *, widen: bool = False, hopper: bool = True, num_rows: int | None = None
) -> dict[str, Any]:
    """The tile sizes and options that `_linear_kernel` is launched with.

    Args:
        dtype, width, num_outputs: of the weight [num_outputs, width].
        widen: whether 16-bit inputs give float32: the head's logits.
        hopper: on sm_90 and later.
        num_rows: None for the tiles that serve any number of rows; else those of BY_ROWS, in 16 bits.
    """
    head = linear_logprob_triton.configuration(dtype, width, hopper=hopper)
    constants = {"PRECISION": head["PRECISION"], "GROUP": head["GROUP"], "BLOCK_K": head["BLOCK_D"]}
    block_m, block_n, options = head["BLOCK_N"], head["TILE"] * head["TILES"], {"enable_fp_fusion": head["enable_fp_fusion"]}
    if dtype == torch.float32 or (widen and num_rows is None):
        return {**constants, "BLOCK_M": block_m, "BLOCK_N": block_n, "num_warps": head["num_warps"], "num_stages": head["num_stages"], **options}
    pair = ANY_ROWS if num_rows is None else next(tiles for most, tiles in BY_ROWS.items() if num_rows <= most)
    tiles = pair[0] if hopper else pair[1]
    block_n = max(tiles.narrowest, min(tiles.widest, 1 << max(num_outputs // tiles.panels, 1).bit_length() - 1))
    stages = min(tiles.most_stages, _STAGE_BYTES // ((tiles.block_m + block_n) * head["BLOCK_D"] * dtype.itemsize))
    return {**constants, "BLOCK_M": tiles.block_m, "BLOCK_N": block_n, "num_warps": tiles.num_warps, "num_stages": stages, **options}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, widen: bool) -> Tensor:
    """`exact_linear` without gradient, for float32, bfloat16 and float16.

    Args: weight: as `exact_linear`'s, or `aligned` already, for it is copied where its rows do not start at multiples of 16 bytes.
    """
    num_rows, num_outputs = x.shape[0], weight.shape[0]
    dtype = torch.float32 if widen else x.dtype
    if not (num_rows and num_outputs and x.shape[1]):
        y = torch.zeros(num_rows, num_outputs, dtype=dtype, device=x.device)
        return y if bias is None else y + bias.to(dtype)
    x, weight = aligned(x), aligned(weight)
    hopper = not x.is_cuda or torch.cuda.get_device_capability(x.device)[0] >= 9
    rows = num_rows if TILES_BY_ROWS else None
    config = configuration(x.dtype, x.shape[1], num_outputs, widen=widen, hopper=hopper, num_rows=rows)
    block_m, block_n, block_k = (config[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    unit = 16 // dtype.itemsize
    y = torch.empty(num_rows, triton.cdiv(num_outputs, unit) * unit, dtype=dtype, device=x.device)
    _linear_kernel[(triton.cdiv(num_rows, block_m) * triton.cdiv(num_outputs, block_n),)](
        TensorDescriptor.from_tensor(x, [block_m, block_k]), TensorDescriptor.from_tensor(weight, [block_n, block_k]),
        x if bias is None else bias.contiguous(), TensorDescriptor.from_tensor(y, [block_m, min(block_n, 128)]), num_rows, num_outputs,
        WIDTH=x.shape[1], HAS_BIAS=bias is not None, **config,
    )  # fmt: skip
    return y[:, :num_outputs].contiguous()
