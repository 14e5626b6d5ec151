"""Worker processes change no trajectory; what goes wrong in one costs its own episode and nothing else; and none outlives the trainer."""

import functools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from paradigm.environments import EnvironmentFault, Observation, Step, Workers
from paradigm.environments.worker_messages import HEADER, Answer, decode_step, encode_step
from paradigm.sampler import Sampler
from paradigm.trajectory import TrajectoryBuffer
from tests.environments.worker_cases import (
    CHEAP,
    DEADLY,
    FAULTS,
    HANGING,
    MAX_BYTES,
    Chatty,
    Faulty,
    Moody,
    Telling,
    Unbuildable,
    Unrepeatable,
    Waiting,
)  # fmt: skip
from tests.sampler_cases import Banter, TableLookup, ask, assert_same, one_thread, random_table  # noqa: F401  # one_thread is a fixture

ROOT = Path(__file__).parent.parent.parent
FIELDS = ("tokens", "action_mask", "segment", "decision", "rewards", "logprobs", "kept_logmass")


def assert_healthy_ones_agree(buffer: TrajectoryBuffer, reference: TrajectoryBuffer) -> None:
    """Those without a fault, token for token; the others failed, for the reason that their fault is counted under."""
    for ours, theirs in zip(buffer, reference, strict=True):
        _, fault, _ = ours.task
        if fault:
            assert ours.failed and ours.extras["failure_reason"] == FAULTS[fault][0], (ours.task, ours.extras)
            assert ours.reward == 0 and ours.tokens.tolist() == theirs.tokens[: len(ours)].tolist()  # what it was told before stays
        else:
            assert ours.stop_reason == "terminated", (ours.task, ours.extras)
            for name in FIELDS:
                assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), (ours.task, name)


def test_the_number_of_processes_changes_nothing() -> None:
    tasks = list(range(40))
    expected = Sampler(random_table(), slots=9).collect(Banter(), tasks, group_size=2)
    assert 0 < expected.failed.sum() < len(expected) / 2
    for processes in (0, 1, 3):
        sampler = Sampler(random_table(), slots=5 + processes)
        with Workers(Banter, processes, timeout=60) as world:
            got = sampler.collect(world, tasks, group_size=2)
            assert (world.num_seats, world.name, got.environment) == (2, "Banter", "Banter")
        assert_same(got, expected)
        assert sampler.stats is not None and sampler.stats.failure_reasons == {"raise": expected.failed.sum() // 2}
        assert {row: notes["failure_reason"] for row, notes in got.extras.items()} == dict.fromkeys(np.flatnonzero(expected.failed).tolist(), "raise")


def test_ten_thousand_faults_lose_no_other_trajectory() -> None:
    """9,700 faults that leave their process alive, 240 that end it and 60 that hang; and 1,100 healthy episodes among them."""
    faults = [name for kinds, count in ((CHEAP, 9700), (DEADLY, 240), (HANGING, 60)) for name in (sorted(kinds) * count)[:count]]
    draw = np.random.default_rng(0)
    names = draw.permutation([*faults, *[""] * 1100]).tolist()
    tasks = [(number, name, int(draw.integers(3))) for number, name in enumerate(names)]
    reference = Sampler(random_table(), slots=64).collect(Faulty(strikes=False), tasks, group_size=1)
    assert not reference.failed.any()
    sampler = Sampler(random_table(), slots=64)
    with Workers(Faulty, 16, timeout=5.0, max_bytes=MAX_BYTES) as world:
        buffer = sampler.collect(world, tasks, group_size=1)
        assert world.num_started >= 1 + 300 and world.num_replayed > 300
    assert_healthy_ones_agree(buffer, reference)
    assert buffer.failed.sum() == 10_000
    assert sampler.stats is not None and sampler.stats.num_failed == 10_000
    assert sampler.stats.failure_reasons == Counter(FAULTS[name][0] for name in faults)
    assert 0 <= sampler.stats.idle_share <= 1


@pytest.mark.parametrize("processes", [0, 2])
def test_reasons_are_the_same_in_this_process(processes: int) -> None:
    names = [name for name, (reason, _) in CHEAP.items() if reason != "oversize"]
    tasks = [(number, name, turn) for number, name in enumerate(names) for turn in (0, 1)] + [(99, "", 0)]
    reference = Sampler(random_table()).collect(Faulty(strikes=False), tasks, group_size=1)
    with Workers(Faulty, processes, timeout=60) as world:
        assert_healthy_ones_agree(Sampler(random_table()).collect(world, tasks, group_size=1), reference)


class Counting(TableLookup):
    """Counts the sequences that it is fed while `is_open`."""

    def __init__(self, table: torch.Tensor):
        super().__init__(table)
        self.rows = 0

    def forward(self, tokens: torch.Tensor, layout: Any) -> torch.Tensor:
        self.rows += len(layout.cu_seqlens) - 1
        return super().forward(tokens, layout)


def test_a_slow_environment_does_not_stall_the_batch(tmp_path: Path) -> None:
    """It answers only when all others are over; with three slots of which it keeps one."""
    num, marker = 60, tmp_path / "the others are over"
    policy = Counting(random_table().head_weight.detach().t())
    rows_meanwhile = []

    def progress(done: int, total: int) -> None:
        if done == total - 1 and not marker.exists():
            rows_meanwhile.append(policy.rows)
            marker.touch()

    with Workers(functools.partial(Waiting, str(marker)), 2, timeout=300) as world:
        buffer = Sampler(policy, slots=3).collect(world, list(range(num)), group_size=1, progress=progress)
    assert not buffer.failed.any() and (buffer.num_actions == 12).all()
    assert rows_meanwhile[0] >= 12 * (num - 1)  # tokens drawn while it was waiting


def test_an_environment_over_its_time_is_cut_off_and_its_neighbours_are_not(tmp_path: Path) -> None:
    tasks = [0, *range(1, 20)]
    with Workers(functools.partial(Waiting, str(tmp_path / "never")), 1, timeout=3.0) as world:
        sampler = Sampler(random_table(), slots=8)
        buffer = sampler.collect(world, tasks, group_size=1)
        assert world.num_started == 2
    assert buffer.failed.tolist() == [task == 0 for task in tasks] and sampler.stats is not None
    assert sampler.stats.failure_reasons == {"hang": 1} and "within 3 s" in buffer[0].extras["failure"]


def test_a_collection_that_stops_early_leaves_no_call_behind(caplog: pytest.LogCaptureFixture) -> None:
    tasks = [(0, "it sleeps", 1), (1, "", 0)]

    def progress(done: int, total: int) -> None:
        if done:
            raise ArithmeticError("enough")

    with Workers(Faulty, 2, timeout=600) as world:
        with pytest.raises(ArithmeticError, match="enough"):
            Sampler(random_table()).collect(world, tasks, group_size=1, progress=progress)
        assert "still at work" not in caplog.text
        assert not Sampler(random_table()).collect(world, [(0, "", 0)]).failed.any()


ACTION = np.array([7, 8], np.int32)


def played_around_a_crash(world: Workers) -> Step:
    """The third turn of an episode whose worker another one ended after the second."""
    ours, other = world.clone(), world.clone()
    ours.reset((1, "", 0), 5)
    ours.step(ACTION)
    other.reset((2, "the process exits", 1), 5)
    with pytest.raises(EnvironmentFault, match="exited with status 0") as fault:
        other.step(ACTION)
    assert fault.value.failure_reason == "exit" and isinstance(other.reset((3, "", 0), 5), Step)
    return ours.step(ACTION)


def test_replays_are_exact_and_what_cannot_be_replayed_is_told() -> None:
    alone = Faulty()
    alone.reset((1, "", 0), 5)
    expected = [alone.step(ACTION) for _ in range(2)][1]
    with Workers(Faulty, 1, timeout=60) as world:
        got = played_around_a_crash(world)
        assert got.observations[0].tokens.tolist() == expected.observations[0].tokens and got.rewards == list(expected.rewards)
        assert (world.num_started, world.num_replayed, world.replayable) == (2, 1, True)
    for world_of, reason in ((Moody, "not_replayable"), (Unrepeatable, "lost")):
        with Workers(world_of, 1, timeout=60) as world, pytest.raises(EnvironmentFault) as fault:
            played_around_a_crash(world)
        assert fault.value.failure_reason == reason and world.replayable is (reason != "lost")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_worker_that_ends_between_calls_costs_nobody_an_episode() -> None:
    with Workers(Telling, 1, timeout=60) as world:
        (pid,) = world.reset((1, "", 0), 5).observations[0].tokens
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.01)
        assert world.reset((1, "", 0), 5).observations[0].tokens[0] != pid and (world.num_started, world.num_replayed) == (2, 0)


def test_an_episode_moves_away_from_a_busy_worker(tmp_path: Path) -> None:
    """One thread waits in the worker that both episodes began in; the other goes on elsewhere and then lets it go."""
    marker = tmp_path / "go on"
    with Workers(functools.partial(Waiting, str(marker)), 2, timeout=300) as world:
        slow, quick = world.clone(), world.clone()
        slow.reset(0, 0), quick.reset(1, 0)
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(slow.step, ACTION)
            assert not quick.step(ACTION).terminated and quick.step(ACTION).truncated is False
            assert not answer.done()
            marker.touch()
            assert not answer.result().terminated
        assert slow.step(ACTION).observations[0].tokens.tolist() == [0, 2]
        assert world.num_started == 1 + world.num_replayed <= 2


def framed(body: bytes) -> bytes:
    return HEADER.pack(len(body)) + body


def test_frames_that_are_no_answers_cost_the_worker() -> None:
    frames = [
        ("oversize", b"\xff" * 64),
        ("garbage", framed(b"\xff" * 64)),
        ("garbage", framed(b"")),
        ("garbage", framed(b"\x80\x04N.")),
        ("garbage", framed(msgspec.msgpack.encode(Answer(77, step=encode_step(ask([1]), 1, 99))))),
        ("garbage", framed(msgspec.msgpack.encode([1, 0, b"", "another reason", ""]))),
        ("garbage", framed(msgspec.msgpack.encode(Answer(1, step=b"no step")))),
    ]
    with Workers(Chatty, 1, timeout=60) as world:
        for number, (reason, frame) in enumerate(frames, start=1):
            with pytest.raises(EnvironmentFault) as fault:
                world.reset(frame, 0)
            assert fault.value.failure_reason == reason and world.num_started == number
            with pytest.raises(RuntimeError, match="reset"):
                world.step(ACTION)
        assert isinstance(world.reset(b"", 0), Step) and world.step(ACTION).terminated and world.num_started == len(frames) + 1


def test_steps_survive_the_wire() -> None:
    said = Observation(np.array([1, -2, 2**31 - 1]), seat=1, legal=[(1, 2), np.array([3], np.uint8)], stop=(7,), max_action_tokens=5, thought_until=3)
    step = decode_step(encode_step(Step([said, Observation([])], {1: np.float32(0.1)}, truncated=True), 2, 1 << 10))
    heard, silent = step.observations
    assert (list(heard.tokens), heard.seat, [list(s) for s in heard.legal], list(heard.stop)) == ([1, -2, 2**31 - 1], 1, [[1, 2], [3]], [7])
    assert (heard.max_action_tokens, heard.thought_until, silent.legal, silent.stop) == (5, 3, None, None) and len(silent.tokens) == 0
    assert (step.rewards, step.terminated, step.truncated) == ([0.0, float(np.float32(0.1))], False, True)
    with pytest.raises(ValueError, match="int32"):
        decode_step(msgspec.msgpack.encode([[[b"123", 0, None, None, 1, -1]], [0.0], False, False]))


def test_bad_arguments_and_worlds_that_cannot_be_built() -> None:
    for options, message in [({"processes": -1}, "processes"), ({"timeout": 0}, "timeout"), ({"max_bytes": 0}, "max_bytes"),
                             ({"start_timeout": -1.0}, "start_timeout")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"{message} must be"):
            Workers(Banter, **options)
    with pytest.raises(ValueError, match="factory must be callable"):
        Workers(Banter())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        Workers(functools.partial(Unbuildable, "an exception"), 1)
    with pytest.raises(RuntimeError, match="exited with status 0"):
        Workers(functools.partial(Unbuildable, "the process exits"), 1)
    with pytest.raises(RuntimeError, match="methods reset and step"):
        Workers(dict, 1)
    world = Workers(Faulty, 1)
    world.close()
    with pytest.raises(EnvironmentFault, match="closed"):
        world.reset((0, "", 0), 0)


SCRIPT = """
import os, signal, sys, time
from paradigm.environments import Workers
from paradigm.sampler import Sampler
from tests.environments.worker_cases import Faulty
from tests.sampler_cases import random_table
if __name__ == "__main__":
    world = Workers(Faulty, 2, timeout=600)
    Sampler(random_table()).collect(world, [(i, "", 0) for i in range(8)], group_size=1)
    print("ready", flush=True)
    input()
    how = sys.argv[1]
    if how != "return":
        try:  # both workers hang when the end comes
            Sampler(random_table()).collect(world, [(i, "it sleeps and will not be interrupted", 1) for i in range(8)], group_size=1,
                                            progress=lambda done, total: print("waiting", flush=True))
        finally:
            print("out", flush=True)
"""


def marked(mark: str) -> list[str]:
    """The processes, zombies apart, that inherited the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(folder.name)
        except OSError:  # gone, or another user's
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("how", "status"), [("return", 0), ("interrupt", 1), ("kill", -signal.SIGKILL)])
def test_no_process_is_left_behind(how: str, status: int) -> None:
    mark = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MARK": mark}
    command = [sys.executable, "-c", SCRIPT, how]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert process.stdout is not None and process.stdin is not None
        while (line := process.stdout.readline()) and line.strip() != "waiting":
            if line.strip() == "ready":
                assert len(marked(mark)) >= 3  # the trainer, who forks, and a worker at least
                print(file=process.stdin, flush=True)
        if line:
            time.sleep(0.3)  # until both hang
            process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
        assert process.wait(timeout=300) in (status, -signal.SIGINT if how == "interrupt" else status)
        for _ in range(1200):
            if not marked(mark):
                break
            time.sleep(0.05)
        assert not marked(mark)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        for pid in marked(mark):
            os.kill(int(pid), signal.SIGKILL)
