"""Which build a GPU gets, and that a build which disagrees with the portable one is refused; devices are pretended."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm.kernels.layout import Layout

build = pytest.importorskip("paradigm.kernels.attention_build")
gluon = pytest.importorskip("paradigm.kernels.attention_gluon")

LAYOUT = Layout([0, 3, 5])
PORTABLE = (build.attention_triton.attention_forward, build.attention_triton.attention_backward)
HOPPER = (build.attention_forward, build.attention_backward)


def like(dtype: torch.dtype = torch.bfloat16) -> Any:
    return SimpleNamespace(dtype=dtype, shape=(5, 2, 64))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(build.VARIABLE, raising=False)
    return lambda capability: monkeypatch.setattr(build, "capability", lambda q: capability)


def test_hopper_gets_gluon_for_half_precision_and_whole_documents(on: Any) -> None:
    on((9, 0))
    assert build.implementation(like(), LAYOUT) == build.implementation(like(torch.float16), LAYOUT, "gluon") == HOPPER
    assert build.implementation(like(), LAYOUT, "triton") == build.implementation(like(torch.float32), LAYOUT) == PORTABLE
    assert build.implementation(like(), Layout([0, 3, 5], [-1, 0])) == PORTABLE
    for other in ((8, 0), (10, 0)):
        on(other)
        assert build.implementation(like(), LAYOUT) == PORTABLE


def test_what_cannot_be_had_is_named(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on((8, 0))
    with pytest.raises(ValueError, match=r"build must not be 'gluon' here: it needs a device of compute capability 9.0, got \(8, 0\)"):
        build.implementation(like(), LAYOUT, "gluon")
    on((9, 0))
    with pytest.raises(ValueError, match="it needs a layout whose documents have no parents"):
        build.implementation(like(), Layout([0, 3, 5], [-1, 0]), "gluon")
    with pytest.raises(ValueError, match=r"it needs bfloat16 or float16, got torch\.float32"):
        build.implementation(like(torch.float32), LAYOUT, "gluon")
    with pytest.raises(ValueError, match="build must be one of auto, triton, gluon, got 'cuda'"):
        build.implementation(like(), LAYOUT, "cuda")
    monkeypatch.setenv(build.VARIABLE, "triton")
    assert build.implementation(like(), LAYOUT) == PORTABLE and build.implementation(like(), LAYOUT, "gluon") == HOPPER
    monkeypatch.setenv(build.VARIABLE, "cuda")
    with pytest.raises(ValueError, match=f"{build.VARIABLE} must be one of auto, triton, gluon, got 'cuda'"):
        build.implementation(like(), LAYOUT)


@pytest.mark.parametrize("fault", [0.0, 0.5, float("nan")])
def test_a_build_that_disagrees_is_refused_every_time_and_one_that_agrees_is_asked_once(fault: float, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def portable(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return q.clone(), q[:, :, 0].float().t()

    def hopper(q: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        calls.append(len(q))
        out, lse = portable(q)
        out[-1, -1, -1] += fault if len(q) > 5 else 0  # one element of the trial
        return out, lse

    monkeypatch.setattr(build, "_agreed", set())
    monkeypatch.setattr(build.attention_triton, "attention_forward", portable)
    monkeypatch.setattr(gluon, "attention_forward", hopper)
    q = torch.zeros(5, 2, 64, dtype=torch.bfloat16)
    if fault == 0.0:
        for _ in range(2):
            assert torch.equal(build.attention_forward(q, q, q, LAYOUT, True, None, 1.0, None)[0], q)
        build.attention_forward(q, q, q, LAYOUT, True, 7, 1.0, None)
        assert calls == [430, 5, 5, 430, 5], "a trial for each kernel that is compiled"
    else:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=rf"disagree .* the result by (0\.5|nan).* set {build.VARIABLE}=triton"):
                build.attention_forward(q, q, q, LAYOUT, True, None, 1.0, None)
