"""The step of the GPU on the CPU: its operations are recorded once and repeated over the same buffers, as late as a device may be.

What Python computed while it was recorded stays as it was then, so a value that should have been read from a buffer shows in the next step's bits;
so does a buffer that is filled or read before the device is done with it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paradigm import policy_step
from paradigm.batch import PackedBatch
from paradigm.device_step import CudaDevice, DeviceStep, sizes
from paradigm.environments.protocol import Step
from paradigm.kernels.layout import PagedCache
from paradigm.policy import Policy, PolicyConfig
from paradigm.policy_step import Planned, PolicyStep
from paradigm.rope import RotaryTable
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.transformer import Decoder
from tests.sampler_cases import Scripted, ask, assert_same, mixed_turns, one_thread, over  # noqa: F401  # a fixture

VOCAB, MAX_TOKENS = 272, 96


class Tape(TorchDispatchMode):
    """Operations in their order, with the tensors that they were given and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default):
            raise RuntimeError(f"a step must not wait for the device, but it asks for {function}")
        out = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, tree_leaves(out)))
        return out

    def replay(self) -> None:
        for function, args, kwargs, given in self.calls:
            for old, new in zip(given, tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class LateDevice:
    """Does nothing before somebody waits for it."""

    def __init__(self) -> None:
        self.queue: list[Callable[[], Any]] = []
        self.num_done = self.num_captured = self.num_replayed = 0

    def pinned(self, num_words: int) -> torch.Tensor:
        return torch.full((num_words,), -77, dtype=torch.int32)

    def upload(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.queue.append(lambda: target.copy_(source))

    def capture(self, prepare: Callable[[], None], run: Callable[[], None]) -> Callable[[], None]:
        self.wait(len(self.queue))
        prepare()
        self.num_captured += 1
        with Tape() as tape:
            run()

        def replay() -> None:
            self.num_replayed += 1
            self.queue.append(tape.replay)

        return replay

    def copy_back(self, target: torch.Tensor, source: torch.Tensor) -> Callable[[], None]:
        self.queue.append(lambda: target.copy_(source))
        count = len(self.queue)
        return lambda: self.wait(count)

    def wait(self, count: int) -> None:
        while self.num_done < count:
            self.queue[self.num_done]()
            self.queue[self.num_done] = lambda: None
            self.num_done += 1


def on_device(policy: Policy, **options: Any) -> tuple[Sampler, LateDevice]:
    sampler = Sampler(policy, tokenizer=Tokenizer(), **options)
    device = LateDevice()
    sampler._device = device
    return sampler, device


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is run at once runs behind what was queued; the policy has no packed layers, and its rotary table does not look at positions."""
    look_up, launch, copy_blocks = RotaryTable.__call__, PolicyStep.launch, PolicyStep._copy_blocks

    def without_looking(table: RotaryTable, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if torch._C._len_torch_dispatch_stack() == 0:
            return look_up(table, positions)
        cos, sin = table.reserve(table._max_position_embeddings, positions.device)
        return cos.index_select(0, positions), sin.index_select(0, positions)

    def behind(step: PolicyStep) -> None:
        if isinstance(step, DeviceStep):
            step._on.wait(len(step._on.queue))

    def launch_behind(step: PolicyStep, planned: Planned) -> None:
        behind(step)
        launch(step, planned)

    def copy_behind(step: PolicyStep, cache: PagedCache, swaps: Any) -> None:
        behind(step)
        copy_blocks(step, cache, swaps)

    monkeypatch.setattr(RotaryTable, "__call__", without_looking)
    monkeypatch.setattr(PolicyStep, "launch", launch_behind)
    monkeypatch.setattr(PolicyStep, "_copy_blocks", copy_behind)
    monkeypatch.setattr(Decoder, "packed", lambda decoder: None)
    yield


def make(dtype: str = "float32", seed: int = 0) -> Policy:
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=48,
                          initializer_range=0.4, dtype=dtype, max_position_embeddings=128)  # fmt: skip
    return Policy(config, seed=seed)


def play(sampler: Sampler, **options: Any) -> TrajectoryBuffer:
    forced = {trajectory: [(2, [4, 9]), (7, [13])] for trajectory in range(3, 32, 5) if trajectory // 4 % 4 in (1, 2)}
    return sampler.collect(
        Scripted(mixed_turns), list(range(8)), group_size=4, key=(8, 3), max_tokens=MAX_TOKENS, stop=["q"], forced=forced, threads=1, **options
    )


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_graphs_give_the_plain_steps_bits(dtype: str, overlap: bool) -> None:
    policy = make(dtype)
    for options in ({}, {"temperature": 0.8, "top_k": 30, "top_p": 0.9}):
        expected = play(Sampler(policy, slots=64, tokenizer=Tokenizer()), **options)
        for slots, shape in ((1, {}), (7, {}), (32, {}), (32, {"max_step_tokens": 11}), (9, {"cache_tokens": 112})):
            sampler, device = on_device(policy, slots=slots, overlap=overlap, **shape)
            assert_same(expected, play(sampler, **options))
            assert sampler.stats is not None and device.num_replayed == sampler.stats.steps
            assert device.num_captured < device.num_replayed and sampler._graphs is not None
            assert any(shape.is_filtered for shape in sampler._graphs[1]._graphs) == ("top_k" in options)
            assert (sampler.stats.tokens_ahead > 0) == overlap or slots == 9
    for batch in PackedBatch.pack(expected, max_tokens=1024):
        assert torch.equal(policy.log_probs(batch), batch.streams["behaviour_logprob"])


def test_graphs_stay_while_weights_change_in_place_and_go_with_what_they_read() -> None:
    policy = make()
    sampler, _ = on_device(policy, slots=32, overlap=True)

    def graphs() -> dict[Any, Any]:
        assert sampler._graphs is not None
        return dict(sampler._graphs[1]._graphs)

    play(sampler)
    first = graphs()
    with torch.no_grad():
        policy.model.layers[0].mlp.down_proj.weight.mul_(-1)
    assert_same(play(Sampler(policy, slots=5, tokenizer=Tokenizer())), play(sampler))
    assert len(first) > 5 and all(graphs()[shape] is graph for shape, graph in first.items())
    policy.model.norm.weight = torch.nn.Parameter(policy.model.norm.weight.detach() * 1.5)  # another tensor
    assert_same(play(Sampler(policy, slots=5, tokenizer=Tokenizer())), play(sampler))
    assert not any(graphs().get(shape) is graph for shape, graph in first.items())
    longer = Scripted(lambda task, seed, actions: over() if actions else ask([task], 100))
    expected = Sampler(policy, slots=5).collect(longer, [1, 2], group_size=2, max_tokens=128)
    assert_same(expected, sampler.collect(longer, [1, 2], group_size=2, max_tokens=128))  # another cache and a wider table


@pytest.mark.parametrize("on_update", ["recompute", "keep"])
def test_weights_change_and_blocks_are_copied_out_and_back_between_graphs(on_update: Any) -> None:
    policies = [make(seed=seed) for seed in (0, 9, 30)]
    sampler, device = on_device(make(), slots=12, cache_tokens=2 * MAX_TOKENS, overlap=True)
    num_steps = 0

    def between_steps() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps in (9, 30):
            sampler.update_weights(policies[1 if num_steps == 9 else 2], on_update=on_update)

    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1] * 33 + [task], 30 + task % 5))
    playing: dict[str, Any] = {"group_size": 2, "key": (3, 1), "max_tokens": MAX_TOKENS, "threads": 1}
    buffer = sampler.collect(worlds, list(range(6)), between_steps=between_steps, **playing)
    assert sampler.stats is not None and (sampler.stats.swaps > 0) == (on_update == "keep") and device.num_replayed > 50
    assert set(buffer.version[buffer.action_mask]) == {0, 1, 2}
    for batch in PackedBatch.pack(buffer, max_tokens=4096):
        for version, policy in enumerate(policies):
            own = batch.version == version
            same = policy.log_probs(batch)[own] == batch.streams["behaviour_logprob"][own]
            assert bool(same.all()) or (on_update == "keep" and version > 0)


def test_questions_run_plainly_between_graphs() -> None:
    policy = make()
    answers = []
    for on_cpu in (True, False):
        sampler, device = on_device(policy, slots=6, overlap=True)
        if on_cpu:
            sampler._device = None
        with sampler.sequences(max_tokens=48, key=(1, 2)) as sequences:
            first = sequences([5, 6, 7])
            drawn = first.sample(max_tokens=9).result()
            forks = [first.fork() for _ in range(3)]
            pending = [fork.sample(max_tokens=6, legal=[(3, 4), (5,)] if i else None) for i, fork in enumerate(forks)]
            scored = first.score([9, 9, 4]).result()
            told = [each.result() for each in pending]
            evaluated = forks[0].evaluate().result()
            answers.append([drawn.logprobs, scored.logprobs, evaluated.logprobs, *(t.tokens for t in told), *(t.logprobs for t in told)])
    assert device.num_replayed > 9
    assert all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def test_more_changes_of_the_table_and_more_legal_sets_than_there_is_room_for() -> None:
    """Members of a group take over a prompt of many blocks at once; each turn of each task has legal tokens of its own."""
    policy = make()

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        if len(actions) == 9:
            return over()
        return ask([3] * 97 if not actions else [5], 1, legal=[(task,), (20 + len(actions),), (40 + task * 9 + len(actions),)])

    buffers = []
    for on_cpu in (True, False):
        sampler, device = on_device(policy, slots=40, overlap=True)
        if on_cpu:
            sampler._device = None
        buffers.append(sampler.collect(Scripted(answer), list(range(10)), group_size=4, key=(1, 1), max_tokens=128, threads=1))
    assert len(buffers[0].support_table) > 64 and device.num_replayed > 5
    assert_same(*buffers)


def test_steps_are_rounded_up_by_less_than_half() -> None:
    assert sizes(1) == [1] and sizes(5) == [1, 2, 3, 4, 5] and sizes(24) == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    for largest in (7, 256, 512, 777):
        assert sizes(largest)[-1] == largest and all(b <= 2 * a for a, b in zip(sizes(largest), sizes(largest)[1:]))


def test_the_recording_keeps_what_python_computed() -> None:
    """The double itself: a number read from Python is as it was, one read from a buffer is as it is now, and waiting is refused."""
    device, place, result = LateDevice(), torch.zeros(1), torch.zeros(2)
    number = 1.0

    def run() -> None:
        result[0].copy_(place[0] + 1)
        result[1].fill_(number)

    replay = device.capture(lambda: None, run)
    number = 2.0
    device.upload(place, torch.tensor([5.0]))
    replay()
    assert result.tolist() == [1.0, 1.0]
    back = torch.zeros(2)
    device.copy_back(back, result)()
    assert back.tolist() == [6.0, 1.0]
    with pytest.raises(RuntimeError, match="a step must not wait for the device"):
        device.capture(lambda: None, lambda: print(place.sum().item()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_captured_steps_on_a_gpu(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """In exact mode: bits of plain steps on the device, with and without overlap, and log-probs those of the policy."""
    monkeypatch.undo()
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=64, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=32, intermediate_size=96,
                          initializer_range=0.3, dtype=dtype, max_position_embeddings=128)  # fmt: skip
    policy = Policy(config, device="cuda")
    plain = Sampler(policy, slots=32, exact=True, tokenizer=Tokenizer(), overlap=False)
    plain._device = None
    expected = play(plain)
    for slots, overlap in ((32, False), (32, True), (7, True), (1, True)):
        sampler = Sampler(policy, slots=slots, exact=True, tokenizer=Tokenizer(), overlap=overlap)
        assert isinstance(sampler._device, CudaDevice)
        for _ in range(2):  # the second time, graphs that are there already
            assert_same(expected, play(sampler))
        assert sampler._graphs is not None and len(sampler._graphs[1]._graphs) > 0
    policy.exact = True
    for batch in PackedBatch.pack(expected, max_tokens=1024):
        on_device = batch.to("cuda")
        assert torch.equal(policy.log_probs(on_device), on_device.streams["behaviour_logprob"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_long_prompts_read_once_give_the_same_bits_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=64, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=32, intermediate_size=96,
                          initializer_range=0.3, dtype="bfloat16", max_position_embeddings=1280)  # fmt: skip
    policy = Policy(config, device="cuda")
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([7] * 600 + [task] * 500, 20 + task, stop=[3]))
    buffers = []
    for reads_once in (False, True):
        with monkeypatch.context() as patch:
            if not reads_once:
                patch.setattr(policy_step, "_split_of", lambda *_: 0)
            sampler = Sampler(policy, slots=24, exact=True, overlap=True)
            buffers.append(sampler.collect(worlds, list(range(4)), group_size=8, key=(2, 2), threads=1))
        assert sampler._graphs is not None and any(shape.most_shared > 0 for shape in sampler._graphs[1]._graphs) == reads_once
    assert_same(*buffers)
