"""Steps of rollouts in which attention reads shared blocks once: the core finds them, the interpreted kernel reads them, and no bit differs."""

import sys
from typing import Any

import pytest
import torch

from paradigm import policy_step
from paradigm.device_step import DeviceStep
from paradigm.kernels.shared_prefixes import shared_prefixes
from paradigm.policy import Policy, PolicyConfig
from paradigm.policy_step import Planned, PolicyStep
from paradigm.sampler import Sampler
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, one_thread, over  # noqa: F401  # a fixture
from tests.test_device_step import as_on_a_device, make, on_device  # noqa: F401  # a fixture

triton_module = pytest.importorskip("paradigm.kernels.paged_attention_triton")

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tests/test_device_step.py has these steps on a GPU")

SPLIT = 32


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps look for shared blocks, in splits of two blocks."""
    monkeypatch.setattr(triton_module, "SPLIT", SPLIT)
    monkeypatch.setattr(triton_module, "_KEYS", {64: 32, 128: 32, 256: 16})
    monkeypatch.setattr(policy_step, "runs_triton", lambda weight: True)


@pytest.mark.usefixtures("shares")
@pytest.mark.parametrize("options", [{}, {"slots": 5}, {"max_step_tokens": 11}, {"cache_tokens": 160}], ids=str)
def test_the_core_finds_what_a_look_at_the_tables_finds(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    forward = PolicyStep._forward

    def compare(step: PolicyStep, planned: Planned, rows: torch.Tensor) -> torch.Tensor:
        views, sequences = step._views[planned.number], planned.num_sequences
        fields = (views["cu_seqlens"][: sequences + 1], views["context_lengths"][:sequences], views["slots"][:sequences], views["block_table"])
        expected = shared_prefixes(*fields, step._cache.block_size, split=SPLIT)  # type: ignore[union-attr]
        num_tokens, num_groups, most = step._share_prefixes()
        assert most == (expected.most if expected else 0)
        if expected:
            assert torch.equal(views["shared_tokens"][:num_tokens], expected.tokens)
            assert torch.equal(views["shared_cuts"][: num_groups + 1], expected.cuts)
            assert torch.equal(views["shared_splits"][:sequences], expected.splits)
            found.append((num_groups, most))
        return forward(step, planned, rows)

    monkeypatch.setattr(PolicyStep, "_forward", compare)
    sampler = Sampler(make(), **{"slots": 32, "overlap": True, **options})
    worlds = Scripted(lambda task, seed, actions: over() if len(actions) > 1 else ask([1 + task // 2] * 50 + [task] * 20, 5 + task % 7, stop=[3]))
    sampler.collect(worlds, list(range(6)), group_size=4, key=(1, 4), max_tokens=96, threads=1)
    assert len(found) > 5 and (options or ({most for _, most in found} == {1, 2} and max(groups for groups, _ in found) > 1))


def play_turns(policy: Policy, **options: Any) -> tuple[TrajectoryBuffer, Sampler]:
    sampler, _ = on_device(policy, slots=8, **options)
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task] * 35, 3 + task, stop=[3]))
    return sampler.collect(worlds, [1, 2], group_size=6, key=(1, 4), max_tokens=64, threads=1), sampler


def test_rollouts_are_the_same_bits_however_blocks_are_read(shares: None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PolicyConfig(vocab_size=40, hidden_size=32, num_layers=1, num_heads=8, num_kv_heads=1, head_dim=16, intermediate_size=48,
                          initializer_range=0.4, max_position_embeddings=64)  # fmt: skip
    policy, num_launched = Policy(config, seed=0), 0  # 8 queries a token: 2 tokens a tile, and a group has several
    monkeypatch.setattr(sys.modules["paradigm.kernels.paged_attention"], "runs_triton", lambda q: True)
    kernel = triton_module._prefix_kernel

    class Counted:
        def __getitem__(self, grid: tuple[int, int, int]) -> Any:
            nonlocal num_launched
            num_launched += 1
            return kernel[grid]

    monkeypatch.setattr(triton_module, "_prefix_kernel", Counted())
    buffers = []
    for reads_once, is_captured, overlap in ((False, False, False), (True, False, False), (True, True, True)):
        with monkeypatch.context() as patch:
            patch.setattr(policy_step, "runs_triton", lambda weight, reads_once=reads_once: reads_once)
            if not is_captured:
                patch.setattr(Sampler, "_runner", lambda sampler, cache, *_: PolicyStep(sampler.policy, cache, is_exact=True))
            before, (buffer, sampler) = num_launched, play_turns(policy, overlap=overlap)
        buffers.append(buffer)
        assert (num_launched - before > 5) == reads_once
        if is_captured:
            graphs = sampler._graphs[1]._graphs  # type: ignore[index]
            assert isinstance(sampler._graphs[1], DeviceStep) and {shape.most_shared for shape in graphs} == {0, 1}  # type: ignore[index]
    assert_same(buffers[0], buffers[1])
    assert_same(buffers[0], buffers[2])
