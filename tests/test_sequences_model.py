"""Sequences under random operations, against a model of the cache and of what each of them holds."""

import zlib
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from paradigm import _core
from paradigm.environments.protocol import Observation
from paradigm.sequences import Nowhere
from tests.test_sampler_model import VOCAB, draw

MAX_TOKENS = 32


def score(context: bytes, target: int) -> float:
    return -(zlib.crc32(context, target) % 1000) / 1000


class Machine(RuleBasedStateMachine):
    """Opens, forks, asks and releases; steps run at any time, so that questions overlap."""

    num_operations = num_forked = num_copied = num_evictions = num_swaps = num_shared = 0

    @initialize(
        slots=st.integers(4, 9), spare=st.integers(0, 12), block_size=st.sampled_from([1, 2, 3, 4, 8]), max_step_tokens=st.integers(1, 24)
    )
    def start(self, slots: int, spare: int, block_size: int, max_step_tokens: int) -> None:
        self.slots, self.num_blocks, self.block_size = slots, 1 + -(-MAX_TOKENS // block_size) + spare, block_size
        self.max_step_tokens = max_step_tokens
        self.core = _core.Scheduler(
            environment=Nowhere(), tasks=[], seats=[0], policies=[(slots, max_step_tokens, self.num_blocks, block_size)], group_size=1, key=1,
            vocab_size=VOCAB, max_tokens=MAX_TOKENS, sampling=(1.0, 0, 1.0, 0.0), forced={}, threads=1, record_all=False,
            observation_type=Observation,
        )  # fmt: skip
        self.views: dict[str, Any] = self.core.buffers(0)
        self.cache = np.full((self.num_blocks, block_size), -1, np.int32)
        self.swapped: dict[int, np.ndarray] = {}
        self.streams: dict[int, list[int]] = {}  # as they will be once all questions are answered
        self.expected: dict[int, tuple[list[int], list[float]] | None] = {}  # by question: tokens and scores; None: refused
        self.next = self.version = self.number = 0

    def has_room(self) -> bool:
        return len(self.streams) < self.slots

    def has_sequences(self) -> bool:
        return bool(self.streams)

    def pick(self, choice: int) -> int:
        return list(self.streams)[choice % len(self.streams)]

    @precondition(has_room)
    @rule(tokens=st.lists(st.integers(0, 2), min_size=6, max_size=18))
    def open(self, tokens: list[int]) -> None:
        self.core.open(self.next, tokens)
        self.streams[self.next] = list(tokens)
        self.next += 1
        Machine.num_operations += 1

    @precondition(lambda self: self.has_room() and self.has_sequences())
    @rule(choice=st.integers(0, 20), cut=st.integers(0, 40))
    def fork(self, choice: int, cut: int) -> None:
        parent = self.pick(choice)
        whole = self.streams[parent]
        length = 1 + cut if cut < len(whole) else -1
        self.core.fork(self.next, parent, 0, length)
        self.streams[self.next] = whole[:length] if length > 0 else list(whole)
        self.next += 1
        Machine.num_operations += 1

    @precondition(has_sequences)
    @rule(choice=st.integers(0, 20), count=st.integers(1, 12), kind=st.sampled_from(["append", "sample", "sample", "score", "evaluate"]))
    def ask(self, choice: int, count: int, kind: Any) -> None:
        index = self.pick(choice)
        stream, room = self.streams[index], MAX_TOKENS - len(self.streams[index])
        given = [(7 * count + i) % VOCAB for i in range(count)] if kind in ("append", "score") else []
        self.number += 1
        self.core.ask(index, number=self.number, kind=kind, tokens=np.array(given, np.int32), max_tokens=count if kind == "sample" else 0)
        tokens: list[int] = []
        scores: list[float] = []
        if len(given) > room or (kind == "sample" and not room):
            self.expected[self.number] = None
            return
        for i in range(min(count, room) if kind == "sample" else len(given)):
            context = np.array(stream, np.int32).tobytes()
            tokens.append(given[i] if given else draw(index, context, None))
            scores.append(score(context, tokens[-1]))
            stream.append(tokens[-1])
        self.expected[self.number] = ([] if kind == "append" else tokens, scores if kind == "score" else [])
        Machine.num_operations += 1

    @precondition(has_sequences)
    @rule(choice=st.integers(0, 20), is_wanted=st.sampled_from([True, False, False]))
    def release(self, choice: int, is_wanted: bool) -> None:
        if not is_wanted:
            return
        self.settle()
        index = self.pick(choice)
        self.core.release(index)
        del self.streams[index]
        Machine.num_operations += 1

    @rule(keep=st.sampled_from([True, True, False]), is_wanted=st.sampled_from([True, False, False]))
    def update_weights(self, keep: bool, is_wanted: bool) -> None:
        if not is_wanted:
            return
        self.version += 1
        self.core.set_version(0, self.version, keep)
        Machine.num_operations += 1

    @rule(count=st.integers(1, 12))
    def steps(self, count: int) -> None:
        for _ in range(count):
            if not self.core.is_idle:
                self.step()

    @invariant()
    def every_block_is_free_or_held(self) -> None:
        if hasattr(self, "core"):
            held = np.unique(self.views["block_table"])
            assert np.count_nonzero(held) + self.core.counters(0)["free_blocks"] == self.num_blocks - 1

    def settle(self) -> None:
        self.step()
        while not self.core.is_idle:
            self.step()
        assert not self.expected

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        self.settle()
        for index in self.streams:
            self.core.release(index)
        self.settle()
        counters = self.core.counters(0)
        assert counters["free_blocks"] == self.num_blocks - 1  # nothing leaked
        Machine.num_forked += counters["tokens_forked"]
        Machine.num_copied += counters["blocks_copied"]
        Machine.num_evictions += counters["evictions"]
        Machine.num_swaps += counters["swaps"]
        Machine.num_shared += counters["tokens_shared"]
        assert self.core.close()

    def step(self) -> None:
        num_tokens, num_sequences, num_rows = self.core.plan(0)
        Machine.num_operations += 1
        num_probes = self.core.num_probes(0)
        assert num_tokens <= self.max_step_tokens
        if num_tokens:
            self.run(num_tokens, num_sequences, num_rows, num_probes)
        for number, error, _, tokens, logprobs, *_ in self.core.take_answers():
            expected = self.expected.pop(number)
            assert bool(error) == (expected is None), error
            if expected is not None:
                assert tokens.tolist() == expected[0]
                if expected[1]:
                    np.testing.assert_array_equal(logprobs, np.array(expected[1], np.float32))

    def run(self, num_tokens: int, num_sequences: int, num_rows: int, num_probes: int) -> None:
        for kind, slot, blocks in self.core.take_swaps(0):
            if kind == "out":
                self.swapped[slot] = self.cache[blocks]
            elif kind == "copy":
                self.cache[blocks[1]] = self.cache[blocks[0]]
            elif kind == "fork":
                self.swapped[slot] = self.swapped[blocks[0]]
            else:
                copied = self.swapped.pop(slot)
                if kind == "in":
                    self.cache[blocks] = copied[: len(blocks)]
        views, table = self.views, self.views["block_table"]
        slots, cuts = views["slots"][:num_sequences], views["cu_seqlens"][: num_sequences + 1]
        owners, positions = np.repeat(slots, np.diff(cuts)), views["positions"][:num_tokens]
        written = table[owners, positions // self.block_size]
        holders = np.bincount(table.ravel(), minlength=self.num_blocks)
        rows = views["sample_rows"][:num_rows]
        drawing = np.bincount(rows, minlength=num_tokens)
        num_drawing = np.maximum(1, np.repeat(drawing[cuts[1:] - 1], np.diff(cuts)))
        assert (written > 0).all() and (holders[written] == num_drawing).all()  # nobody but who rides reads or writes what is written
        self.cache[written, positions % self.block_size] = views["tokens"][:num_tokens]

        def context(row: int) -> bytes:
            length = int(positions[row]) + 1
            return self.cache[table[owners[row], : -(-length // self.block_size)]].ravel()[:length].tobytes()

        ids = np.array([draw(int(views["trajectory"][r]), context(row), None) for r, row in enumerate(rows)], np.int32)
        probes = zip(views["probe_rows"][:num_probes], views["probe_targets"][:num_probes])
        probed = np.array([score(context(row), int(target)) if target >= 0 else 0.0 for row, target in probes], np.float32)
        self.core.commit(0, ids, np.full(num_rows, -1.0, np.float32), np.zeros(num_rows, np.float32), probed)


def test_random_operations() -> None:
    settings = hypothesis.settings(
        max_examples=250, stateful_step_count=50, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=settings)
    assert Machine.num_operations > 5000 and Machine.num_forked > 500 and Machine.num_copied > 5
    assert Machine.num_evictions > 80 and Machine.num_shared > 200 and Machine.num_swaps > 0
