"""The Triton attention against float64, forward and all gradients, in the interpreter or on a GPU; queries that depend on nothing else."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paradigm.kernels import attention_tiles
from paradigm.kernels.attention import _Attention, _implementation, attention, attention_reference
from paradigm.kernels.layout import Layout
from tests.kernels.test_attention import layout_of, with_gradients

triton_module = pytest.importorskip("paradigm.kernels.attention_triton")

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
pytestmark = [pytest.mark.gpu] if ON_GPU else [pytest.mark.filterwarnings("ignore:(invalid|divide):RuntimeWarning")]  # rows not stored
TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}  # beyond the same-dtype reference's own error
LENGTHS = [20, 0, 1, 37]
CASES: list[dict[str, Any]] = [
    {"dim": 16, "heads": (4, 2)},
    {"dim": 8, "heads": (1, 1), "lengths": [1]},
    {"dim": 24, "heads": (3, 1), "causal": False},
    {"dim": 64, "heads": (2, 2), "window": 1},
    {"dim": 16, "heads": (2, 1), "window": 5},
    {"dim": 16, "heads": (2, 1), "window": 40, "lengths": [70]},
    {"dim": 16, "heads": (2, 1), "window": 9, "causal": False},
    {"dim": 96, "heads": (2, 1), "softcap": 3.0, "scale": 0.7},
    {"dim": 128, "heads": (1, 1), "window": 17, "softcap": 20.0},
    {"dim": 256, "heads": (1, 1)},
    {"dim": 16, "heads": (4, 2), "lengths": [20, 0, 5, 37], "parent": [-1, -1, 0, 0]},
    {"dim": 16, "heads": (2, 1), "lengths": [40, 0, 33, 17, 3], "parent": [-1, 0, 0, 4, -1], "window": 12},
    {"dim": 16, "heads": (2, 1), "lengths": [3, 0, 33], "parent": [-1, -1, 0], "window": 30, "causal": False, "softcap": 2.0},
    {"dim": 16, "heads": (1, 1), "lengths": [30, 17], "parent": [1, -1], "causal": False},
]


def small_sizes(head_dim: int) -> dict[str, dict[str, Any]] | None:
    """Tiles that a few dozen tokens fill, for the interpreter; on a GPU those that ship."""
    if ON_GPU:
        return None
    shared = {"PRECISION": "ieee", "BLOCK_D": max(16, 1 << (head_dim - 1).bit_length()), "num_warps": 4, "num_stages": 1}
    blocks = {"forward": (16, 32), "query": (32, 16), "key": (16, 32)}
    return {name: {"BLOCK_M": m, "BLOCK_N": n, **shared} for name, (m, n) in blocks.items()}


def ours(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, *, causal: bool = True, window: int | None = None, scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:  # fmt: skip
    """`attention` as it is on a GPU."""
    sizes = small_sizes(q.shape[2])
    forward, backward = (partial(f, sizes=sizes) for f in (triton_module.attention_forward, triton_module.attention_backward))
    scale = q.shape[2] ** -0.5 if scale is None else scale
    return _Attention.apply(q, k, v, layout, causal, window, scale, softcap, forward, backward)


def make(dtype: torch.dtype, dim: int, heads: tuple[int, int], rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, h, dim, generator=generator).to(DEVICE, dtype).requires_grad_() for h in (heads[0], heads[1], heads[1])]


def check(layout: Layout, dtype: torch.dtype, dim: int, heads: tuple[int, int], **options: Any) -> None:
    inputs = make(dtype, dim, heads, layout.num_tokens + 3)
    grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to(DEVICE, dtype)
    for x in (*inputs, grad):
        x.data[layout.num_tokens :] = torch.nan  # padding, which nobody reads
    found = with_gradients(ours, inputs, grad, layout, **options)
    for x in (*inputs, grad):
        x.data[layout.num_tokens :] = 0.0
    truth = with_gradients(attention_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double(), layout, **options)
    plain = with_gradients(attention_reference, inputs, grad, layout, **options)
    for name, a, b, t in zip(("out", "grad_q", "grad_k", "grad_v"), found, plain, truth):
        assert a.dtype == dtype and a.shape == t.shape
        assert not a[layout.num_tokens :].any(), "padding rows must be zero"
        if a.numel():
            limit = (b.double() - t).abs().max() + TOLERANCE[dtype] * (1 + t.abs().max())
            assert (a.double() - t).abs().max() <= limit, name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_float64(case: dict[str, Any]) -> None:
    options = {k: v for k, v in case.items() if k in ("causal", "window", "softcap", "scale")}
    check(layout_of(case.get("lengths", LENGTHS), case.get("parent")), torch.float32, case["dim"], case["heads"], **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("dim", "options"), [(64, {}), (40, {"window": 7, "softcap": 5.0})])
def test_half_precision_matches_float64(dim: int, options: dict[str, Any], dtype: torch.dtype) -> None:
    check(layout_of(LENGTHS), dtype, dim, (2, 1), **options)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    lengths = draw(st.lists(st.sampled_from([0, 1, 2, 15, 16, 17, 31, 32, 33, 40]), max_size=4))
    is_root = [draw(st.booleans()) or draw(st.booleans()) for _ in lengths]
    roots = [b for b, root in enumerate(is_root) if root]
    if len(roots) == len(lengths):
        return layout_of(lengths)
    return layout_of(lengths, [-1 if root or not roots else draw(st.sampled_from(roots)) for root in is_root])


@settings(max_examples=100 if ON_GPU else 30, deadline=None, derandomize=True, database=None)
@given(
    layouts().filter(lambda layout: layout.num_tokens > 0),
    st.booleans(),
    st.sampled_from([None, 1, 4, 16, 33]),
    st.sampled_from([None, 1.5]),
    st.sampled_from([(1, 1), (2, 1)]),
)
def test_any_layout_matches_float64(layout: Layout, causal: bool, window: int | None, softcap: float | None, heads: tuple[int, int]) -> None:
    check(layout, torch.float32, 16, heads, causal=causal, window=window, softcap=softcap)


@pytest.mark.parametrize("window", [None, 20])
def test_rows_depend_on_nothing_else(window: int | None) -> None:
    lengths = [20, 1, 50, 17]
    layout = layout_of(lengths)
    inputs = make(torch.bfloat16, 16, (4, 2), layout.num_tokens)
    grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to(DEVICE, torch.bfloat16)
    whole = with_gradients(ours, inputs, grad, layout, window=window)
    cuts = layout.cu_seqlens.tolist()
    order = (2, 0, 3, 1)
    rows = torch.cat([torch.arange(cuts[b], cuts[b + 1]) for b in order]).to(DEVICE)
    shuffled = [x.detach()[rows].requires_grad_() for x in inputs]
    again = with_gradients(ours, shuffled, grad[rows], layout_of([lengths[b] for b in order]), window=window)
    assert all(torch.equal(a, b[rows]) for a, b in zip(again, whole)), "order of documents"
    q, k, v = (x.detach() for x in inputs)
    assert torch.equal(ours(q[:, 2:], k[:, 1:], v[:, 1:], layout, window=window), whole[0][:, 2:]), "grouping of heads"
    for length in (1, 16, 33, 49):  # a document cut short: the rows that remain see the same keys
        short = slice(cuts[2], cuts[2] + length)
        assert torch.equal(ours(q[short], k[short], v[short], layout_of([length]), window=window), whole[0][short]), "later tokens"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_children_see_their_parent_as_if_it_stood_before_them(dtype: torch.dtype) -> None:
    layout = layout_of([21, 5, 40], parent=[-1, 0, 0])
    q, k, v = (x.detach() for x in make(dtype, 16, (2, 1), 66))
    out = ours(q, k, v, layout)
    for start, end in ((21, 26), (26, 66)):
        rows = torch.cat([torch.arange(21), torch.arange(start, end)]).to(DEVICE)
        joined = ours(q[rows], k[rows], v[rows], layout_of([len(rows)]))
        assert torch.equal(joined[21:], out[start:end])
        assert torch.equal(joined[:21], out[:21])


def test_log_sum_exp_is_of_the_scores() -> None:
    layout = layout_of([20, 17])
    q, k, v = (x.detach() for x in make(torch.float32, 16, (2, 1), 37))
    _, lse = triton_module.attention_forward(q, k, v, layout, False, None, 0.3, None, sizes=small_sizes(16))
    for rows in (slice(0, 20), slice(20, 37)):
        scores = 0.3 * torch.einsum("ihd,jd->hij", q[rows].double(), k[rows, 0].double())
        torch.testing.assert_close(lse[:, rows].double(), scores.logsumexp(2), rtol=1e-6, atol=1e-6)


def test_documents_do_not_leak_into_each_other() -> None:
    layout = layout_of([20, 30])
    inputs = make(torch.float32, 16, (2, 1), 50)
    grad = torch.ones_like(inputs[0])
    clean = with_gradients(ours, inputs, grad, layout)
    spoilt_inputs = [x.detach().clone() for x in inputs]
    for x in spoilt_inputs:
        x[25] = torch.nan
    spoilt = with_gradients(ours, [x.requires_grad_() for x in spoilt_inputs], grad, layout)
    assert all(torch.equal(a[:20], b[:20]) for a, b in zip(clean, spoilt))
    assert spoilt[0][25:].isnan().all()


def test_huge_logits_pick_one_key() -> None:
    layout = layout_of([40])
    q, k, v = (x.detach() for x in make(torch.float32, 16, (2, 1), 40))
    truth = attention_reference(q.double() * 3e4, k.double(), v.double(), layout)
    torch.testing.assert_close(ours(q * 3e4, k, v, layout).double(), truth, rtol=1e-5, atol=1e-5)


def test_strided_inputs_give_the_same_bits() -> None:
    layout = layout_of(LENGTHS)
    fused = torch.randn(layout.num_tokens, 4, 16, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    views = [fused[:, :2], fused[:, 2:3], fused[:, 3:]]
    grad = torch.ones(1, 1, 1, device=DEVICE).expand(layout.num_tokens, 2, 16)  # as a sum's gradient is
    expected = with_gradients(ours, [x.contiguous().requires_grad_() for x in views], grad.contiguous(), layout)
    turned = views[0].transpose(1, 2).contiguous().transpose(1, 2)  # channels not contiguous
    for inputs in (views, [turned, *views[1:]]):
        found = with_gradients(ours, [x.detach().requires_grad_() for x in inputs], grad, layout)
        assert all(torch.equal(a, b) for a, b in zip(found, expected))


@pytest.mark.parametrize("lengths", [[0, 0], []])
def test_nothing_but_empty_documents(lengths: list[int]) -> None:
    inputs = make(torch.float32, 16, (2, 1), 3)
    found = with_gradients(ours, inputs, torch.ones_like(inputs[0]), layout_of(lengths))
    assert all(x.shape[0] == 3 and not x.any() for x in found)


@pytest.mark.parametrize(
    ("q", "scale", "message"),
    [
        (torch.zeros(2, 1, 12), 1.0, "q's head dimension must be a multiple of 8 and at most 256 on a GPU, got 12"),
        (torch.zeros(2, 1, 264), 1.0, "at most 256 on a GPU, got 264"),
        (torch.zeros(2, 1, 16, dtype=torch.float64), 1.0, "q must be float32, bfloat16 or float16 on a GPU, got torch.float64"),
        (torch.zeros(2, 1, 16), 0.0, "scale must be > 0 on a GPU, got 0.0"),
    ],
)
def test_bad_input_is_named(q: Tensor, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        triton_module.attention_forward(q, q, q, layout_of([2]), True, None, scale, None)


def test_a_gpus_tensors_take_these_kernels_and_float64_the_reference() -> None:
    layout = layout_of([2])
    for dtype in TOLERANCE:
        like = SimpleNamespace(is_cuda=True, is_cpu=False, dtype=dtype, shape=(2, 1, 16))
        assert _implementation(like, layout, "triton") == (triton_module.attention_forward, triton_module.attention_backward)
    assert _implementation(SimpleNamespace(is_cuda=True, is_cpu=False, dtype=torch.float64, shape=(2, 1, 16)), layout) == (None, None)


@pytest.mark.parametrize("window", [None, 10])
@pytest.mark.parametrize("causal", [False, True])
def test_work_lists_hold_every_token_once_and_begin_with_the_longest(causal: bool, window: int | None) -> None:
    layout = layout_of([40, 0, 1, 33, 16], parent=[-1, 0, -1, 0, -1])
    device = torch.device("cpu")
    by_query = attention_tiles.query_tiles(layout, 16, causal, window, device)
    by_key, segments = attention_tiles.key_tiles(layout, 16, causal, window, device)
    for tiles in (by_query, by_key):
        rows = [start + i for start, length, first, *_ in tiles.tolist() for i in range(first, min(first + 16, length))]
        assert sorted(rows) == list(range(90))
    seen = []  # positions from the first key that the tile's first query sees to the last that its last query sees
    for _, length, first, _, before in by_query.tolist():
        end = before + (min(first + 16, length) if causal else length)
        seen.append(end - (0 if window is None else max(0, before + first - window + 1)))
    assert seen == sorted(seen, reverse=True)
    assert {(start, before): prefix for start, _, _, prefix, before in by_query.tolist()}[41, 40] == 0
    of_parent = next(row for row in by_key.tolist() if row[0] == 0)
    assert segments[of_parent[3] : of_parent[4]].tolist() == [[0, 40, 0], [40, 0, 40], [41, 33, 40]], "its own queries, then its children's"
    assert by_key[0, 0] == 0, "the parent's tiles have most to do"
    assert attention_tiles.query_tiles(layout, 16, causal, window, device) is by_query, "kept"


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [64, 96, 128, 256])
@pytest.mark.parametrize(
    "options", [{}, {"causal": False}, {"window": 200}, {"softcap": 15.0}, {"parent": [-1, 0, -1, 0, -1], "window": 700}], ids=str
)
def test_gpu_matches_float64(options: dict[str, Any], dim: int, dtype: torch.dtype) -> None:
    options = dict(options)
    layout = layout_of([515, 130, 0, 1027, 1], options.pop("parent", None))
    check(layout, dtype, dim, (4, 2), **options)
    inputs = make(dtype, dim, (4, 2), layout.num_tokens)
    grad = torch.ones_like(inputs[0])
    first, second = (with_gradients(attention, inputs, grad, layout, **options) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second)), "every run gives the same bits"


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize("causal", [False, True])
def test_gpu_is_as_near_to_float64_as_torch(causal: bool) -> None:
    layout = layout_of([4096])
    inputs = make(torch.bfloat16, 128, (8, 2), 4096)
    grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to(DEVICE, torch.bfloat16)
    truth = with_gradients(attention_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double(), layout, causal=causal)

    def torch_attention(*qkv: Tensor) -> Tensor:
        batched = (x.transpose(0, 1)[None] for x in qkv)
        return F.scaled_dot_product_attention(*batched, is_causal=causal, enable_gqa=True)[0].transpose(0, 1)

    for name, a, b, t in zip(
        ("out", "grad_q", "grad_k", "grad_v"),
        with_gradients(attention, inputs, grad, layout, causal=causal), with_gradients(torch_attention, inputs, grad), truth,
    ):  # fmt: skip
        assert (a.double() - t).norm() <= 1.1 * (b.double() - t).norm() + 1e-3 * t.norm(), name


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_gpu_launches_without_waiting_for_the_device() -> None:
    layout = layout_of([300, 200])
    inputs = make(torch.bfloat16, 64, (2, 1), 500)
    attention(*inputs, layout).sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention(*inputs, layout_of([260, 240])).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
