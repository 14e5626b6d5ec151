"""On a CUDA device in fast mode: compiled layers give the plain gradients and float8 products near ones, and a step waits for nothing."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from paradigm.batch import PackedBatch
from paradigm.learner import Learner
from paradigm.objective import PPOClip
from paradigm.optimizer import Muon
from paradigm.policy import Policy, PolicyConfig
from paradigm.trajectory import TrajectoryBuffer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

CONFIG = PolicyConfig(
    vocab_size=512, hidden_size=128, intermediate_size=256, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=64, heads=("value",), dtype="bfloat16"
)


def packed(seed: int, n: int = 12) -> PackedBatch:
    generator = np.random.default_rng(seed)
    cuts = np.concatenate([[0], np.cumsum(generator.integers(3, 200, n))])
    tokens = generator.integers(0, CONFIG.vocab_size, cuts[-1])
    buffer = TrajectoryBuffer.from_arrays(tokens, cuts, logprobs=np.full(len(tokens), -6.2, np.float32))
    (batch,) = PackedBatch.pack(buffer, len(tokens), rows="all", advantage=generator.normal(size=n), value=0.5, value_target=1.0)
    return batch


def gradients(compiled: bool | None, recomputed: int = 0, dtype: torch.dtype = torch.bfloat16, fp8: bool = False) -> list[dict[str, torch.Tensor]]:
    policy = Policy(CONFIG, seed=1, device="cuda").to(dtype)
    policy.compiled, policy.recomputed_layers, policy.fp8 = compiled, recomputed, fp8
    assert policy.compiled == (compiled is not False)
    learner, found = Learner(policy), []
    for seed in range(3):
        learner.forward_backward(packed(seed, 12 - 4 * seed), PPOClip())
        found.append({name: moved.grad.clone() for name, moved in learner._moved.items() if moved.grad is not None})
        learner._clear_gradients()
    return found


@pytest.mark.parametrize("recomputed", [0, 2])
def test_compiled_layers_give_the_plain_gradients(recomputed: int) -> None:
    torch._dynamo.utils.counters.clear()
    plain, compiled, truth = gradients(False), gradients(None, recomputed), gradients(False, dtype=torch.float32)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 1
    for ours, theirs, exact in zip(compiled, plain, truth):
        assert ours.keys() == theirs.keys() == exact.keys()
        for name, expected in exact.items():
            errors = [(x - expected).norm() for x in (ours[name], theirs[name])]
            assert errors[0] <= 1.2 * errors[1] + 2e-3 * expected.norm(), name


@pytest.mark.parametrize("compiled", [False, None])
def test_fp8_gradients_are_near_bfloat16s(compiled: bool | None) -> None:
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("needs compute capability 8.9")
    plain, ours = gradients(False), gradients(compiled, fp8=True)
    for bfloat16, fp8 in zip(plain, ours):
        assert fp8.keys() == bfloat16.keys()
        for name, expected in bfloat16.items():
            error = (fp8[name] - expected).norm() / expected.norm()
            assert error < 0.35, name  # 0.21 on a CPU, of attention's norms, whose gradients all but cancel; a scale out of place makes it 1
            assert error > 1e-3 or not name.endswith("q_proj.weight"), "as near as this is not float8"


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Whatever makes the host wait for the device is an error."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def steps(learner: Learner, batches: list[PackedBatch]) -> None:
    for batch in batches:
        learner.forward_backward(batch, PPOClip())
        learner.step()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_waits_for_nothing(optimizer: str, request: pytest.FixtureRequest) -> None:
    policy = Policy(CONFIG, seed=1, device="cuda")
    learner = Learner(policy, Muon(policy, learning_rate=1e-3) if optimizer == "muon" else None, ema=0.9)
    assert learner.late and policy.compiled
    batches = [packed(seed) for seed in range(4)]
    steps(learner, batches[:2])  # compiles
    request.getfixturevalue("no_waiting")
    steps(learner, batches[2:])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_late_step_leaves_what_a_waiting_one_leaves(optimizer: str) -> None:
    found = []
    for late in (False, True):
        policy = Policy(CONFIG, seed=1, device="cuda")
        learner = Learner(policy, Muon(policy, learning_rate=1e-3) if optimizer == "muon" else None, ema=0.9, late=late)
        batches = [packed(seed) for seed in range(4)]
        batches[0].streams["value_target"][0] = batches[2].streams["advantage"][3] = np.nan
        steps(learner, batches)
        learner.settle()
        assert learner.num_skipped == 2
        found.append([*policy.parameters(), *(learner.ema or {}).values()])
    for waiting, ours in zip(*found):
        torch.testing.assert_close(ours.float(), waiting.float(), rtol=1e-3, atol=1e-5)
