"""What goes wrong: environments and players that raise or return garbage, Ctrl-C, bad arguments; and that nothing is left behind."""

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.environments import ConnectFour
from paradigm.environments.protocol import EnvironmentFault, Observation, Step
from paradigm.sampler import Sampler
from tests.sampler_cases import VOCAB, Scripted, ask, one_thread, over, random_table, successor  # noqa: F401  # one_thread is a fixture


class Rude:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __iter__(self) -> Any:
        raise ZeroDivisionError("iter")


GARBAGE: dict[str, Any] = {
    "None": lambda: None,
    "a number": lambda: 3,
    "an attribute is missing": lambda: SimpleNamespace(observations=[], rewards=[0.0]),
    "attributes raise": Rude,
    "observations is None": lambda: Step(None, [0.0]),
    "observations is endless nonsense": lambda: Step("abc", [0.0]),
    "tokens are text": lambda: ask("abc"),
    "tokens are floats": lambda: ask([1.0, 2.0]),
    "tokens are a float array": lambda: ask(np.array([1.0])),
    "tokens are two-dimensional": lambda: ask(np.zeros((2, 2), np.int64)),
    "tokens are None": lambda: ask(None),
    "tokens are ragged": lambda: ask([[1], [2, 3]]),
    "a token is negative": lambda: ask([-1]),
    "a token is too large": lambda: ask([VOCAB]),
    "a token is huge": lambda: ask([10**30]),
    "a token wraps around": lambda: ask(np.array([2**64 - 1], np.uint64)),
    "no seat is asked": lambda: ask([1], 0),
    "two seats are asked": lambda: Step([Observation([1], max_action_tokens=1)] * 2, [0.0]),
    "the seat does not exist": lambda: ask([1], seat=1),
    "the seat is negative": lambda: ask([1], seat=-1),
    "the seat is huge": lambda: ask([1], seat=2**70),
    "max_action_tokens is negative": lambda: ask([1], -5),
    "max_action_tokens is text": lambda: ask([1], "5"),
    "rewards are too many": lambda: ask([1], rewards=[1.0, 2.0]),
    "rewards are not finite": lambda: ask([1], rewards=[math.inf]),
    "a reward is not a number": lambda: ask([1], rewards=[math.nan]),
    "a reward is text": lambda: ask([1], rewards=["1"]),
    "rewards are for another seat": lambda: ask([1], rewards={3: 1.0}),
    "legal is empty": lambda: ask([1], legal=[]),
    "legal holds an empty sequence": lambda: ask([1], legal=[(1,), ()]),
    "legal is not prefix-free": lambda: ask([1], legal=[(1, 2), (1,)]),
    "legal holds numbers": lambda: ask([1], legal=[1, 2]),
    "legal is out of range": lambda: ask([1], legal=[(VOCAB,)]),
    "stop is out of range": lambda: ask([1], stop=[-3]),
    "terminated has no truth": lambda: Step([], [0.0], terminated=np.zeros(2)),
    "an exception": lambda: 1 // 0,
    "an exit": lambda: sys.exit(3),
}


@pytest.mark.parametrize("turn", [0, 1])
def test_garbage_costs_only_its_own_episode(turn: int) -> None:
    def answer(task: str, seed: int, actions: list[list[int]]) -> Any:
        if task != "good" and len(actions) == turn:
            return GARBAGE[task]()
        return over() if len(actions) == 2 else ask([5], 2, rewards=(1.0,))

    tasks = [task for name in GARBAGE for task in (name, "good")]
    buffer = Sampler(successor(), slots=5).collect(Scripted(answer), tasks, group_size=1, threads=3)
    assert buffer.failed.tolist() == [True, False] * len(GARBAGE)
    for bad, good in zip(buffer[0::2], buffer[1::2]):
        assert bad.stop_reason == "failed" and not bad.terminated and not bad.truncated and bad.reward == 0 and bad.extras["failure"], bad.task
        assert good.stop_reason == "terminated" and good.reward == 3 and len(good) == 6 and not good.extras, bad.task
        assert bad.tokens[: 3 * turn].tolist() == [5, 6, 7][: 3 * turn] and len(bad) <= 3 * turn + 1  # what it was told before stays
    assert "ZeroDivisionError" in buffer[2 * list(GARBAGE).index("an exception")].extras["failure"]


def test_failures_are_counted_by_reason() -> None:
    answers = {
        "raise": lambda turn: 1 // 0, "garbage": lambda turn: None, "reward": lambda turn: ask([1], rewards=(math.nan,)),
        "no_action": lambda turn: over(), "fault": lambda turn: (_ for _ in ()).throw(EnvironmentFault("my own", "so there")),
        "sum": lambda turn: over((3e38,)) if turn else ask([1], 1, rewards=(3e38,)),  # both on the one token of the action
        "large": lambda turn: over((1e300,)) if turn else ask([1], 1), "illegal": lambda turn: over() if turn else ask([1], legal=[(2, 3)]),
        "fine": lambda turn: over() if turn else ask([1], 1),
    }  # fmt: skip
    worlds = Scripted(lambda task, seed, actions: answers[task](len(actions)))
    sampler = Sampler(successor())
    buffer = sampler.collect(worlds, list(answers), group_size=2, forced={2 * list(answers).index("illegal"): [(0, [9])]})
    reasons = {"fault": "my own", "sum": "reward", "large": "reward"}
    for trajectory in buffer:
        if trajectory.task == "fine" or (trajectory.task == "illegal" and trajectory.index % 2):
            continue
        assert trajectory.failed and trajectory.extras["failure_reason"] == reasons.get(trajectory.task, trajectory.task)
    assert sampler.stats is not None and buffer.failed.sum() == sampler.stats.num_failed == 15 and np.isfinite(buffer.rewards).all()
    assert sampler.stats.failure_reasons == {"raise": 2, "garbage": 2, "reward": 6, "no_action": 2, "my own": 2, "illegal": 1}


def test_environments_that_cannot_be_copied_or_whose_deletion_raises() -> None:
    class Single(Scripted):
        def clone(self) -> Scripted:
            raise RuntimeError("there is only one")

    buffer = Sampler(successor()).collect(Single(lambda task, seed, actions: over()), [0, 1], group_size=1)
    assert buffer.failed.all() and "only one" in buffer.extras[0]["failure"]


@pytest.mark.parametrize(
    "action", [None, [], [VOCAB], [-1], ["a"], [1.5], [1, 2, 3, 4, 5], np.zeros((1, 1), np.int32), Rude()],
    ids=lambda action: repr(action).split(" at 0x")[0],  # an address would differ between processes that collect tests
)  # fmt: skip
def test_garbage_from_players_costs_only_its_own_episode(action: Any) -> None:
    def player(observation: Observation, seed: int) -> Any:
        return action if observation.tokens[0] == 7 else [1, 2]

    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task], 4))
    buffer = Sampler(None, vocab_size=VOCAB).collect(worlds, [7, 8], group_size=1, opponents={0: player}, record_players=True)
    assert buffer.failed.tolist() == [True, False] and buffer[1].tokens.tolist() == [8, 1, 2]


def test_players_must_stay_within_the_legal_sequences() -> None:
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1], 4, legal=[(2, 3), (4,)], stop=[9]))
    sampler = Sampler(None, vocab_size=VOCAB)
    for action, fails in [([2, 3], False), ([4], False), ([2], True), ([5], True), ([4, 4], True), ([2, 4], True)]:
        buffer = sampler.collect(worlds, [0], group_size=1, opponents={0: lambda observation, seed, action=action: action}, record_players=True)
        assert buffer.failed.tolist() == [fails], action


def test_the_environment_given_is_only_copied() -> None:
    class Counting:
        def __init__(self) -> None:
            self.resets, self.nested = 0, [0]

        def reset(self, task: int, seed: int) -> Step:
            self.resets += 1
            self.nested[0] += 1
            return ask([1], 1)

        def step(self, action: np.ndarray) -> Step:
            return over((float(self.nested[0]),))

    world = Counting()
    buffer = Sampler(successor(), slots=4).collect(world, list(range(10)), group_size=2)
    assert world.resets == 0 and world.nested == [0]
    assert buffer.reward.min() == 1 and buffer.reward.max() > 1  # copies are reused, and share nothing


def test_what_was_returned_stays_when_the_sampler_works_on_and_goes() -> None:
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([task, 1], 20, legal=[(2, 3), (4,)]))
    sampler = Sampler(random_table())
    first = sampler.collect(worlds, list(range(9)), key=(1, 0))
    kept = {name: getattr(first, name).copy() for name in ("tokens", "logprobs", "offsets", "index", "support_table", "action_mask")}
    for step in range(3):
        sampler.collect(worlds, list(range(9)), key=(2, step))
    assert not first.tokens.flags.owndata and np.shares_memory(first[3].tokens, first.tokens)
    assert torch.from_numpy(first.tokens).data_ptr() == first.tokens.ctypes.data
    view = first[5].logprobs
    del sampler
    gc.collect()
    for name, copy in kept.items():
        assert getattr(first, name).tobytes() == copy.tobytes(), name
    del first
    gc.collect()
    assert np.isfinite(view).all()


def test_threads_and_objects_go_with_the_collection() -> None:
    def num_threads() -> int:
        return len(os.listdir("/proc/self/task"))

    world = Scripted(lambda task, seed, actions: over() if actions else ask([1], 3))
    watched = []

    class Watched(Scripted):
        def clone(self) -> Scripted:
            copy = Scripted(self.answer)
            watched.append(weakref.ref(copy))
            return copy

    sampler = Sampler(successor())
    sampler.collect(world, [0])
    before = num_threads()
    buffers = [sampler.collect(Watched(world.answer), [0, 1], threads=5) for _ in range(3)]
    gc.collect()
    assert num_threads() == before and len(buffers[0]) == 16
    assert watched and all(reference() is None for reference in watched)


def test_ctrl_c_stops_a_long_collection() -> None:
    endless = Scripted(lambda task, seed, actions: ask([1], 1000))
    signal_s = 0.4
    timer = threading.Timer(signal_s, os.kill, (os.getpid(), signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        Sampler(random_table()).collect(endless, list(range(64)), max_tokens=10**7)
    assert time.perf_counter() - start < signal_s + 1
    assert len(Sampler(random_table()).collect(endless, [0], max_tokens=50)) == 8  # and the next one works


def test_ctrl_c_does_not_wait_for_a_stuck_environment() -> None:
    script = """
import sys, time
from tests.sampler_cases import Scripted, ask, one_thread, random_table  # noqa: F401  # one_thread is a fixture
from paradigm.sampler import Sampler
def answer(task, seed, actions):
    if actions:
        print("stuck", flush=True)
        time.sleep(60)
    return ask([1], 2)
try:
    Sampler(random_table()).collect(Scripted(answer), [0, 1, 2])
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline().startswith("stuck")
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        while "stopped" not in process.stdout.readline():
            assert process.poll() is None
        assert time.perf_counter() - start < 1.0
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_policy_without_finite_logits_stops_the_collection() -> None:
    policy = random_table()
    with torch.no_grad():
        policy.head_weight[:, 1] = torch.nan
    worlds = Scripted(lambda task, seed, actions: over() if actions else ask([1], 3))
    with pytest.raises(ValueError):
        Sampler(policy).collect(worlds, [0])


def test_an_error_in_the_policy_reaches_the_caller() -> None:
    class Broken(type(random_table())):
        def forward(self, tokens: torch.Tensor, layout: Any) -> torch.Tensor:
            raise ArithmeticError("no hidden states today")

    with pytest.raises(ArithmeticError, match="today"):
        Sampler(Broken(torch.eye(VOCAB))).collect(Scripted(lambda task, seed, actions: ask([1])), [0])


WORLD = Scripted(lambda task, seed, actions: over() if actions else ask([1], 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 0}, "group_size must be >= 1, got 0"), ({"temperature": -1.0}, "temperature"), ({"temperature": math.nan}, "temperature"),
        ({"top_k": -1}, "top_k"), ({"top_p": 0.0}, "top_p"), ({"top_p": 1.5}, "top_p"), ({"min_p": 1.0}, "min_p"), ({"threads": 0}, "threads"),
        ({"max_tokens": 0}, "max_tokens"), ({"opponents": {1: successor}}, "opponents"), ({"forced": {99: [(0, [1])]}}, "trajectory 99"),
        ({"forced": {0: [(0, [1, 2]), (1, [3])]}}, "two tokens"), ({"forced": {0: [(-1, [1])]}}, "forced"),
        ({"forced": {0: [(0, [VOCAB])]}}, "forced"),
        ({"opponents": {0: Sampler(None, vocab_size=VOCAB)}}, "seat 0"), ({"key": (1, 2, 3, 4)}, "key"),
    ],
)  # fmt: skip
def test_bad_arguments_of_collect(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(successor()).collect(WORLD, [0], **options)


def test_bad_arguments_besides() -> None:
    for options, message in [({"slots": 0}, "slots"), ({"max_step_tokens": 0}, "max_step_tokens"), ({"block_size": 24}, "block_size"),
                             ({"cache_tokens": 0}, "cache_tokens"), ({"vocab_size": 3}, "vocab_size")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Sampler(successor(), **options)
    with pytest.raises(ValueError, match="vocab_size must be given"):
        Sampler(None)
    with pytest.raises(ValueError, match="environment"):
        Sampler(successor()).collect(Scripted, [0])
    with pytest.raises(ValueError, match="environment"):
        Sampler(successor()).collect(object(), [0])
    with pytest.raises(ValueError, match="seat 0"):
        Sampler(None, vocab_size=VOCAB).collect(WORLD, [0])
    with pytest.raises(TypeError, match="tasks of a native environment"):
        Sampler(None, vocab_size=272).collect(ConnectFour(), [3], opponents=dict.fromkeys((0, 1), ConnectFour().uniform_player()))
    with pytest.raises(TypeError, match="played by"):
        Sampler(successor()).collect(WORLD, [0], opponents={0: 3.5})
    with pytest.raises(ValueError, match="share the vocabulary"):
        Sampler(successor()).collect(WORLD, [0], opponents={0: Sampler(type(successor())(torch.eye(5)))})


def test_no_tasks_and_progress_and_counts() -> None:
    sampler = Sampler(random_table(), slots=3)
    assert len(sampler.collect(WORLD, [])) == 0
    calls: list[tuple[int, int]] = []
    buffer = sampler.collect(Scripted(lambda task, seed, actions: over() if actions else ask([1] * 10, 3)), list(range(5)), group_size=2,
                             progress=lambda done, total: calls.append((done, total)))  # fmt: skip
    assert calls == sorted(calls) and calls[-1] == (10, 10)
    stats = sampler.stats
    assert stats is not None and stats.num_episodes == 10 and stats.num_failed == 0
    assert stats.tokens_sampled == buffer.action_mask.sum() == 30 and stats.tokens_prefilled == 100
    assert 0 < stats.model_s + stats.core_s + stats.wait_s <= stats.total_s and stats.steps >= 12 and stats.flops == 0
