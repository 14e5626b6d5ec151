"""Every op as a torch custom operator: opcheck, one graph under torch.compile, the same bits and gradients as the eager op."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from paradigm import kernels
from paradigm.kernels import cpu_slots
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.objective import PPOClip
from tests.kernels.test_linear_logprob import make

OPS = torch.ops.paradigm


def normal(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).requires_grad_(grad)


def int32(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def attention_case() -> tuple[Callable[..., Any], list[Tensor], tuple[Any, ...]]:
    layout = Layout([0, 5, 5, 12, 14], parent=[-1, -1, 0, 0])
    tensors = [normal(15, heads, 16, seed=i) for i, heads in enumerate((4, 2, 2))]
    options = {"window": 4, "softcap": 3.0}
    return lambda q, k, v: kernels.attention(q, k, v, layout, **options), tensors, (layout.cu_seqlens, *layout.host, True, 4, None, 3.0, "auto")


def scan_streams(count: int) -> list[Tensor]:
    return [normal(9, seed=i) for i in range(count)] + [normal(3, seed=9)]


CUTS = int32(0, 4, 4, 9)
ANGLES = (normal(5, 6, grad=False).cos(), normal(5, 6, grad=False).sin())
CASES: dict[str, Callable[[], tuple[Callable[..., Any], list[Tensor], tuple[Any, ...]]]] = {
    "attention": attention_case,
    "rms_norm": lambda: (lambda x, w: kernels.rms_norm(x, w, 1e-5), [normal(5, 24), normal(24)], (None, 1e-5)),
    "rms_norm residual": lambda: (
        lambda x, w, r: kernels.rms_norm(x, w, 1e-5, r), [normal(5, 24), normal(24), normal(5, 24, seed=1)], (1e-5,)
    ),
    "rotary": lambda: (
        lambda q, k: kernels.rotary(q, k, *ANGLES), [normal(5, 4, 16), normal(5, 2, 16, seed=1)], (*ANGLES, None, None, 1e-6)
    ),
    "rotary norm": lambda: (
        lambda q, k, a, b: kernels.rotary(q, k, *ANGLES, q_weight=a, k_weight=b),
        [normal(5, 4, 16), normal(5, 2, 16, seed=1), normal(16), normal(16, seed=1)], (),
    ),
    "swiglu": lambda: (kernels.swiglu, [normal(5, 24), normal(5, 24, seed=1)], ()),
    "linear": lambda: (kernels.exact_linear, [normal(5, 24), normal(7, 24), normal(7)], (True,)),
    "gae": lambda: (lambda *x: kernels.gae(*x, CUTS, gamma=0.9, lam=0.8), scan_streams(2), (CUTS, 0.9, 0.8)),
    "vtrace": lambda: (lambda *x: kernels.vtrace(*x, CUTS, gamma=0.9), scan_streams(4), (CUTS, 0.9, 1.0, 1.0, 1.0, 1.0)),
}  # fmt: skip
WITHOUT_GRADIENT = ("gae", "vtrace")


def arguments(name: str, tensors: list[Tensor], rest: tuple[Any, ...]) -> tuple[Any, ...]:
    """As the operator's schema orders them."""
    if name == "rotary norm":
        return (*tensors[:2], *ANGLES, *tensors[2:], 1e-6)
    return (*(x.detach() if name in WITHOUT_GRADIENT else x for x in tensors), *rest)


def results(function: Callable[..., Any], tensors: list[Tensor]) -> list[Tensor]:
    """What it returns, and the gradients where there are some."""
    out = function(*tensors)
    out = list(out) if isinstance(out, tuple) else [out]
    if out[0].requires_grad:
        out += torch.autograd.grad(out, tensors, [normal(*y.shape, seed=3, grad=False).to(y.dtype) for y in out])
    return [x.detach() for x in out]


@pytest.fixture(params=["C++", "reference", "Triton"])
def dispatch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which implementation the ops of CPU tensors take."""
    torch.compiler.reset()
    if request.param == "reference":
        monkeypatch.setattr(cpu_slots, "CPU", {})
    if request.param == "Triton":
        pytest.importorskip("triton")
        if torch.cuda.is_available():
            pytest.skip("a process with a GPU has no interpreter")
        take_triton(monkeypatch)
    return request.param


def take_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gae", "linear", "linear_logprob", "paged_attention", "policy_loss", "rms_norm", "rotary", "sample_token", "swiglu", "vtrace"):
        monkeypatch.setattr(sys.modules[f"paradigm.kernels.{name}"], "runs_triton", lambda like: like.dtype != torch.float64)
    from paradigm.kernels.attention_triton import attention_backward, attention_forward
    from paradigm.kernels.gae_triton import TILE

    monkeypatch.setitem(TILE, "BLOCK", 16)

    monkeypatch.setattr(sys.modules["paradigm.kernels.attention"], "_implementation", lambda *_: (attention_forward, attention_backward))


@pytest.mark.parametrize("name", CASES)
def test_is_an_operator_with_the_eager_ops_bits(name: str, dispatch: str) -> None:
    function, tensors, rest = CASES[name]()
    operator = getattr(OPS, name.split()[0])
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor", *["test_aot_dispatch_dynamic"] * (dispatch == "C++"))
    torch.library.opcheck(operator, arguments(name, tensors, rest), test_utils=utilities)
    eager, compiled = results(function, tensors), results(torch.compile(function, fullgraph=True, backend="aot_eager"), tensors)
    assert len(eager) == len(compiled)
    for a, b in zip(eager, compiled):
        assert torch.equal(a, b) if dispatch != "reference" else torch.allclose(a, b, rtol=1e-5, atol=1e-6)  # which has another backward


def test_paged_attention_is_an_operator_that_writes_its_cache(dispatch: str) -> None:
    q, k, v = normal(6, 4, 16, grad=False), normal(6, 2, 16, grad=False), normal(6, 2, 16, seed=1, grad=False)
    of_batch = (int32(0, 1, 5), int32(16, 0, 1, 2, 3), int32(17, 4), int32(1, 0), int32([1, 0], [2, 3]))

    def caches() -> PagedCache:
        cache = PagedCache(2, 4, 2, 16)
        cache.keys.copy_(normal(*cache.keys.shape, grad=False))
        cache.values.copy_(normal(*cache.values.shape, grad=False))
        return cache

    cache = caches()
    torch.library.opcheck(OPS.paged_attention, (q, k, v, cache.keys, cache.values, *of_batch, 1, True, None, None, None, None, None, None, 0))
    layouts = [Layout.paged(*of_batch, caches()) for _ in range(2)]
    run = lambda layout: kernels.paged_attention(q, k, v, layout, 1)  # noqa: E731
    outs = [run(layouts[0]), torch.compile(run, fullgraph=True, backend="aot_eager")(layouts[1])]
    assert torch.equal(*outs) and not outs[0][5].any()
    assert torch.equal(layouts[0].cache.keys, layouts[1].cache.keys) and torch.equal(layouts[0].cache.values, layouts[1].cache.values)
    assert not torch.equal(layouts[0].cache.keys, caches().keys)


def test_sample_token_is_an_operator(dispatch: str) -> None:
    logits = normal(5, 40, grad=False)
    keys = torch.arange(5)
    support = (int32(0, -1, 0, -1, 0), int32([0b1011, 0]))
    drawn = {"temperature": torch.full((5,), 0.7), "top_k": 3, "key": keys, "position": 7}
    per_row = [torch.full((5,), x, dtype=t) for x, t in ((0.7, torch.float32), (3, torch.int32), (1, torch.float32), (0, torch.float32))]
    torch.library.opcheck(OPS.sample_token, (logits, *per_row, keys, keys, keys.int(), *support, True))
    run = lambda x: kernels.sample_token(x, support=support, **drawn)  # noqa: E731
    for a, b in zip(run(logits), torch.compile(run, fullgraph=True, backend="aot_eager")(logits)):
        assert torch.equal(a, b)


def test_policy_loss_is_an_operator_for_any_objective(dispatch: str) -> None:
    hidden, weight, targets, support = make(9, 8, 75, torch.float32, masked=True)
    teacher = (normal(9, 4, grad=False), normal(75, 4, grad=False))
    streams = {name: normal(9, seed=i, grad=False) for i, name in enumerate(("advantage", "behaviour_logprob", "entropy", "divergence"))}

    def loss_of(hidden: Tensor, weight: Tensor, objective: PPOClip) -> tuple[Tensor, ...]:
        options = {"temperature": 0.7, "support": support, "teacher": teacher}
        return kernels.policy_loss(hidden, weight, targets, streams, objective=objective, **options)

    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    seen = []
    for objective in (PPOClip(entropy=True), PPOClip(entropy=True, clip_low=0.01, clip_high=0.01)):
        for function in (loss_of, compiled):
            loss, logprob, entropy = function(hidden, weight, objective)
            assert loss.requires_grad and not logprob.requires_grad and not entropy.requires_grad
            seen.append([loss.detach(), logprob, entropy, *torch.autograd.grad(2 * loss, (hidden, weight))])
        assert all(torch.equal(a, b) for a, b in zip(*seen[-2:]))
    assert not torch.equal(seen[0][0], seen[2][0])
    arguments = (list(streams.values()), ",".join(streams), id(objective), 0.7, *support, *teacher, "forward", True, True)
    torch.library.opcheck(OPS.policy_loss, (hidden, weight, targets, *arguments), test_utils=("test_schema", "test_faketensor"))


def test_a_graph_serves_other_layouts() -> None:
    """Lengths are data, so a batch cut otherwise needs no new graph; only sizes that were constants do, once."""
    compiled = torch.compile(lambda q, layout: kernels.attention(q, q, q, layout), fullgraph=True, backend="aot_eager", dynamic=True)
    graphs = []
    for lengths in ([3, 4], [1, 2, 9], [5, 5, 2, 2], [2, 0, 7, 7, 7], [1, 1, 1, 1, 1, 9]):
        q = normal(sum(lengths), 2, 16, grad=False)
        layout = Layout([0, *torch.tensor(lengths).cumsum(0).tolist()])
        assert torch.equal(compiled(q, layout), kernels.attention(q, q, q, layout))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[1]


def test_ops_know_fake_tensors() -> None:
    hidden, weight, targets, _ = make(5, 8, 75, torch.float32, masked=False)
    mode = FakeTensorMode()
    x, norm, head, targets = (mode.from_tensor(t.detach()) for t in (hidden, torch.ones(8), weight, targets))
    with mode:
        y = kernels.rms_norm(x, norm)
        assert isinstance(y, Tensor) and y.shape == (5, 8)
        logprob, entropy = kernels.linear_logprob(kernels.swiglu(y, x), head, targets)
        assert logprob.shape == entropy.shape == (5,) and logprob.dtype == torch.float32


def test_a_compiled_op_raises_what_the_eager_op_raises() -> None:
    with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to 9"):
        torch.compile(lambda x: kernels.gae(x, x, x[:1], int32(0, 8), gamma=0.9, lam=0.9), backend="aot_eager")(torch.zeros(9))
