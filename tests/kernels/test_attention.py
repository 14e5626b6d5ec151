"""Attention over packed documents: the C++ path and the reference against float64, against torch's own attention, and bitwise."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paradigm.kernels.attention import attention, attention_reference
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.layout import Layout

TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.6e-2}  # beyond the same-dtype reference's own error; bf16: one rounding of values near 2
LENGTHS = [50, 0, 1, 17, 130]
CASES: list[dict[str, Any]] = [
    {"dim": 8, "heads": (4, 2)},
    {"dim": 32, "heads": (1, 1), "lengths": [1]},
    {"dim": 40, "heads": (6, 2), "window": 5},
    {"dim": 64, "heads": (4, 4), "causal": False},
    {"dim": 64, "heads": (4, 1), "causal": False, "window": 9},
    {"dim": 128, "heads": (5, 1), "softcap": 3.0, "scale": 0.7},
    {"dim": 256, "heads": (2, 2), "window": 64, "softcap": 20.0},
    {"dim": 32, "heads": (4, 2), "parent": [-1, -1, 0, 0, 0]},
    {"dim": 24, "heads": (3, 3), "parent": [-1, -1, 0, 1, 0], "window": 40, "softcap": 2.0},
]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def make(dtype: torch.dtype, dim: int, heads: tuple[int, int], rows: int) -> list[Tensor]:
    return [torch.randn(rows, h, dim).to(dtype).requires_grad_() for h in (heads[0], heads[1], heads[1])]


def layout_of(lengths: list[int], parent: list[int] | None = None) -> Layout:
    return Layout([0, *torch.tensor(lengths).cumsum(0).tolist()], parent=parent)


def with_gradients(function: Any, inputs: list[Tensor], grad: Tensor, *args: Any, **options: Any) -> list[Tensor]:
    out = function(*inputs, *args, **options)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_float64(case: dict[str, Any], dtype: torch.dtype) -> None:
    assert "attention" in CPU, "the C++ kernels are not registered"
    options = {k: v for k, v in case.items() if k in ("causal", "window", "softcap", "scale")}
    layout = layout_of(case.get("lengths", LENGTHS), case.get("parent"))
    inputs = make(dtype, case["dim"], case["heads"], layout.num_tokens + 3)  # three rows of padding
    grad = torch.randn(inputs[0].shape).to(dtype)
    truth = with_gradients(attention_reference, [x.detach().double().requires_grad_() for x in inputs], grad.double(), layout, **options)
    plain = with_gradients(attention_reference, inputs, grad, layout, **options)
    ours = with_gradients(attention, inputs, grad, layout, **options)
    for name, a, b, t in zip(("out", "grad_q", "grad_k", "grad_v"), ours, plain, truth):
        limit = (b.double() - t).abs().max() + TOLERANCE[dtype] * (1 + t.abs().max())
        assert (a.double() - t).abs().max() <= limit, name
        assert a.dtype == dtype and a.shape == t.shape
    for a in ours:
        assert not a[layout.num_tokens :].any(), "padding rows must be zero"


@pytest.mark.parametrize("group", range(1, 9))
def test_every_group_size_matches_torch_per_document(group: int) -> None:
    layout = layout_of(LENGTHS)
    q, k, v = (x.detach() for x in make(torch.float32, 32, (2 * group, 2), layout.num_tokens))
    ours = attention(q, k, v, layout)
    for start, end in zip(layout.cu_seqlens.tolist(), layout.cu_seqlens.tolist()[1:]):
        if end > start:
            parts = (x[None, start:end].transpose(1, 2) for x in (q, k, v))
            torch.testing.assert_close(
                ours[start:end], F.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)[0].transpose(0, 1), rtol=1e-5, atol=2e-6
            )


@pytest.mark.parametrize("options", [{"window": 3, "softcap": 2.0}, {"causal": False, "scale": 0.3}])
def test_reference_gradients_in_float64(options: dict[str, Any]) -> None:
    layout = layout_of([3, 0, 1, 2], parent=[-1, -1, 0, 0])
    inputs = [torch.randn(7, h, 2, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2)]
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, layout, **options), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_but_empty_documents(dtype: torch.dtype) -> None:
    inputs = make(dtype, 8, (2, 1), 3)
    out = attention(*inputs, layout_of([0, 0]))
    assert out.shape == (3, 2, 8) and not out.any()
    grads = torch.autograd.grad(out, inputs, torch.ones_like(out), allow_unused=True)
    assert not any(g.any() for g in grads if g is not None)
    inputs = make(dtype, 8, (2, 1), 0)
    out = attention(*inputs, layout_of([]))
    assert out.shape == (0, 2, 8) and [g.shape for g in torch.autograd.grad(out.sum(), inputs)] == [x.shape for x in inputs]


def test_huge_logits_pick_one_key() -> None:
    layout = layout_of([40])
    q, k, v = (x.detach() for x in make(torch.float32, 16, (2, 1), 40))
    ours, truth = attention(q * 3e4, k, v, layout), attention_reference(q.double() * 3e4, k.double(), v.double(), layout)
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-5)


def test_strided_inputs_give_the_same_bits() -> None:
    layout = layout_of(LENGTHS)
    fused = torch.randn(layout.num_tokens, 8, 32)
    q, k, v = fused[:, :4], fused[:, 4:6], fused[:, 6:]
    expected = attention(q.contiguous(), k.contiguous(), v.contiguous(), layout)
    assert torch.equal(attention(q, k, v, layout), expected)
    turned = q.transpose(1, 2).contiguous().transpose(1, 2)  # channels not contiguous
    assert torch.equal(attention(turned, k, v, layout), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_depend_on_nothing_else(dtype: torch.dtype) -> None:
    lengths = [50, 1, 300, 17]
    layout = layout_of(lengths)
    q, k, v = (x.detach() for x in make(dtype, 32, (6, 2), layout.num_tokens))
    out = attention(q, k, v, layout, window=200)
    cuts = layout.cu_seqlens.tolist()
    rows = torch.cat([torch.arange(cuts[b], cuts[b + 1]) for b in (2, 0, 3, 1)])
    shuffled = layout_of([lengths[b] for b in (2, 0, 3, 1)])
    assert torch.equal(attention(q[rows], k[rows], v[rows], shuffled, window=200), out[rows]), "order of documents"
    for first_head in (0, 3):  # one key-value head and some of its queries alone
        part = slice(first_head, first_head + 2)
        kv = slice(first_head // 3, first_head // 3 + 1)
        assert torch.equal(attention(q[:, part], k[:, kv], v[:, kv], layout, window=200), out[:, part]), "grouping of heads"
    for length in (1, 16, 33, 299):  # a document cut short: the rows that remain see the same keys
        short = slice(cuts[2], cuts[2] + length)
        assert torch.equal(attention(q[short], k[short], v[short], layout_of([length]), window=200), out[short]), "later tokens"
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(attention(q, k, v, layout, window=200), out), "threads"
    finally:
        torch.set_num_threads(before)


def test_gradients_do_not_depend_on_threads() -> None:
    layout = layout_of(LENGTHS, parent=[-1, -1, 0, 0, -1])
    inputs = make(torch.float32, 32, (4, 2), layout.num_tokens)
    grad, before = torch.randn(inputs[0].shape), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = with_gradients(attention, inputs, grad, layout)
        torch.set_num_threads(2)
        assert all(torch.equal(a, b) for a, b in zip(one, with_gradients(attention, inputs, grad, layout)))
    finally:
        torch.set_num_threads(before)


def test_children_see_their_parent_as_if_it_stood_before_them() -> None:
    layout = layout_of([21, 5, 40], parent=[-1, 0, 0])
    q, k, v = (x.detach() for x in make(torch.float32, 32, (4, 2), 66))
    out = attention(q, k, v, layout)
    for start, end in ((21, 26), (26, 66)):
        rows = torch.cat([torch.arange(21), torch.arange(start, end)])
        joined = attention(q[rows], k[rows], v[rows], layout_of([len(rows)]))
        assert torch.equal(joined[21:], out[start:end])
        assert torch.equal(joined[:21], out[:21])


def test_nothing_leaks_between_documents_or_backwards_in_time() -> None:
    layout = layout_of([20, 30])
    q, k, v = (x.detach() for x in make(torch.float32, 32, (4, 2), 50))
    clean = attention(q, k, v, layout)
    k[11], v[11] = torch.nan, torch.inf
    spoilt = attention(q, k, v, layout)
    assert torch.equal(spoilt[:11], clean[:11]) and torch.equal(spoilt[20:], clean[20:])
    assert spoilt[11:20].isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.zeros(5, 3, 8)}, "q's heads must be a multiple of k's 2, got 3"),
        ({"q": torch.zeros(5, 4, 16)}, r"q and k must have shapes"),
        ({"q": torch.zeros(4, 4, 8), "k": torch.zeros(4, 2, 8), "v": torch.zeros(4, 2, 8)}, "q must have at least the layout's 5 rows, got 4"),
        ({"v": torch.zeros(5, 2, 4)}, r"v must have k's shape \[5, 2, 8\], got \[5, 2, 4\]"),
        ({"v": torch.zeros(5, 2, 8, dtype=torch.bfloat16)}, "one dtype"),
        ({"window": 0}, "window must be >= 1 or None, got 0"),
        ({"softcap": -1.0}, "softcap must be > 0 or None, got -1.0"),
        ({"layout": torch.tensor([1, 5], dtype=torch.int32)}, "cu_seqlens must be one-dimensional and start at 0"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"q": torch.zeros(5, 4, 8), "k": torch.zeros(5, 2, 8), "v": torch.zeros(5, 2, 8)}
    arguments["layout"] = torch.tensor([0, 5], dtype=torch.int32)
    with pytest.raises(ValueError, match=message):
        attention(**{**arguments, **change})
