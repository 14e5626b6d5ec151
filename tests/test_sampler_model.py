"""Block manager and scheduler under random operations, against a model of the cache and an oracle that plays each episode on its own."""

import zlib
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from paradigm import _core
from paradigm.environments.protocol import Observation, Step
from tests.sampler_cases import Scripted, ask, over

VOCAB = 40
LEGAL = (3, 5, 9)  # tokens; each is an action by itself


def draw(trajectory: int, context: bytes, allowed: tuple[int, ...] | None) -> int:
    """The model: a hash of all that it can see (int32 tokens) and of whose noise it is."""
    drawn = zlib.crc32(context, trajectory)
    return drawn % VOCAB if allowed is None else allowed[drawn % len(allowed)]


class World:
    """Groups of one task see the same prompt; all else follows from a hash of what was said. Seats speak by turns."""

    def __init__(self, num_seats: int, num_turns: int, head: int, tail: int, most: int, listen: int):
        self.num_seats, self.num_turns, self.head, self.tail, self.most, self.listen = num_seats, num_turns, head, tail, most, listen

    def answer(self, task: int, seed: int, actions: list[list[int]]) -> Step:
        if len(actions) == self.num_turns:
            return over([0.0] * self.num_seats)
        seat = len(actions) % self.num_seats
        hashed = zlib.crc32(repr((task, actions)).encode())
        if len(actions) < self.num_seats:
            heard = [1 + (i + seat) % 2 for i in range(self.head)] + [task % VOCAB] * (self.tail + task % 3)
        else:
            heard = [hashed % VOCAB] * (1 + hashed % self.listen)
        legal = [(token,) for token in LEGAL] if hashed % 4 == 0 else None
        return ask(heard, 1 + hashed % self.most, [0.0] * self.num_seats, seat=seat, stop=[7], legal=legal)

    def play(self, task: int, episode: int) -> list[list[int]]:
        """An episode as it has to come out: the streams of its seats."""
        streams: list[list[int]] = [[] for _ in range(self.num_seats)]
        actions: list[list[int]] = []
        while not (step := self.answer(task, 0, actions)).terminated:
            (asked,) = step.observations
            stream, action = streams[asked.seat], []
            stream.extend(asked.tokens)
            while len(action) < asked.max_action_tokens and (not action or (action[-1] != 7 and asked.legal is None)):
                context = np.array(stream, np.int32).tobytes()
                action.append(draw(episode * self.num_seats + asked.seat, context, None if asked.legal is None else LEGAL))
                stream.append(action[-1])
            actions.append(action)
        return streams


class Machine(RuleBasedStateMachine):
    num_operations = num_evictions = num_shared = num_swaps = num_ahead = num_overrun = num_copied = num_riding = 0

    @initialize(
        num_seats=st.integers(1, 2), num_turns=st.integers(1, 5), head=st.integers(0, 12), tail=st.integers(1, 6), most=st.integers(1, 12),
        listen=st.integers(1, 6), num_tasks=st.integers(1, 6), group_size=st.integers(1, 5), slots=st.integers(2, 8), spare=st.integers(0, 12),
        block_size=st.sampled_from([1, 2, 3, 4, 8]), max_step_tokens=st.integers(1, 24), threads=st.integers(1, 2),
    )  # fmt: skip
    def start(
        self, num_seats: int, num_turns: int, head: int, tail: int, most: int, listen: int, num_tasks: int, group_size: int, slots: int, spare: int,
        block_size: int, max_step_tokens: int, threads: int,
    ) -> None:  # fmt: skip
        world = World(num_seats, num_turns, head, tail, most, listen)
        self.expected = [stream for e in range(num_tasks * group_size) for stream in world.play(e // group_size, e)]
        max_tokens = max(len(stream) for stream in self.expected)
        self.num_blocks, self.block_size, self.max_step_tokens = 1 + -(-max_tokens // block_size) + spare, block_size, max_step_tokens
        self.core = _core.Scheduler(
            environment=Scripted(world.answer, num_seats), tasks=list(range(num_tasks)), seats=[0] * num_seats,
            policies=[(slots, max_step_tokens, self.num_blocks, block_size)], group_size=group_size, key=1, vocab_size=VOCAB,
            max_tokens=max_tokens, sampling=(1.0, 0, 1.0, 0.0), forced={}, threads=threads, record_all=True, observation_type=Observation,
        )  # fmt: skip
        self.views: list[dict[str, Any]] = [self.core.buffers(0, number) for number in (0, 1)]
        self.out: list[tuple[int, np.ndarray]] = []  # plans that were run: their number, and what they drew
        self.cache = np.full((self.num_blocks, block_size), -1, np.int32)
        self.swapped: dict[int, np.ndarray] = {}
        self.version = self.num_steps = self.num_renewals = 0
        self.is_one_turn = num_turns == 1
        self.lengths = [len(stream) for stream in self.expected]

    @rule(count=st.integers(1, 60), ahead=st.integers(0, 3))
    def steps(self, count: int, ahead: int) -> None:
        for i in range(count):
            if not self.core.is_done:
                self._step(goes_ahead=i % 3 < ahead)

    @rule(keep=st.sampled_from([True, True, True, False]))
    def update_weights(self, keep: bool) -> None:
        self.version += 1
        Machine.num_operations += 1
        self._drain()
        self.core.set_version(0, self.version, keep)
        if not keep:
            self.num_renewals += 1

    @invariant()
    def every_block_is_free_or_held(self) -> None:
        if hasattr(self, "core"):
            held = np.unique(self.views[0]["block_table"])
            assert (held[held > 0] < self.num_blocks).all()
            assert np.count_nonzero(held) + self.core.counters(0)["free_blocks"] == self.num_blocks - 1

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        while not self.core.is_done:
            self._step(goes_ahead=False)
        self._drain()
        counters = self.core.counters(0)
        assert counters["free_blocks"] == self.num_blocks - 1  # nothing leaked
        arrays, failures = self.core.take()
        assert not failures and [part.tolist() for part in np.split(arrays["tokens"], arrays["offsets"][1:-1])] == self.expected
        assert counters["tokens_fed"] + counters["tokens_shared"] - counters["tokens_recomputed"] >= counters["tokens_covered"]
        assert self.core.close()
        Machine.num_evictions += counters["evictions"]
        Machine.num_shared += counters["prefixes_shared"]
        Machine.num_copied += counters["blocks_copied"]  # of prompts whose last block was shared
        Machine.num_ahead += counters["tokens_ahead"]
        Machine.num_overrun += counters["tokens_overrun"]

    def _step(self, *, goes_ahead: bool) -> None:
        if not self.out:
            self._launch(0, *self.core.plan(0))
        if self.out and goes_ahead:
            self._launch(1 - self.out[0][0], *self.core.plan_ahead(0))
        if self.out:
            self._commit()

    def _drain(self) -> None:
        while self.out:
            self._commit()

    def _commit(self) -> None:
        _, ids = self.out.pop(0)
        self.core.commit(0, ids, np.full(len(ids), -1.0, np.float32), np.zeros(len(ids), np.float32))
        Machine.num_operations += 1

    def _launch(self, number: int, num_tokens: int, num_sequences: int, num_rows: int) -> None:
        Machine.num_operations += 1
        if num_tokens == 0:
            return
        self.num_steps += 1
        # in each step the oldest sequence that can be fed is fed: one loses what that gave it only to one that is older and was not ready
        overrun = self.core.counters(0)["tokens_overrun"]  # each may have been a step of its own
        assert self.num_steps <= (sum(self.lengths) * (2 if self.is_one_turn else 4) + overrun + 2) * (1 + self.num_renewals)
        for kind, slot, blocks in self.core.take_swaps(0):
            if kind == "out":
                self.swapped[slot] = self.cache[blocks]
                Machine.num_swaps += 1
                continue
            if kind == "copy":
                self.cache[blocks[1]] = self.cache[blocks[0]]
                continue
            if kind == "fork":
                self.swapped[slot] = self.swapped[blocks[0]]
                continue
            copied = self.swapped.pop(slot)
            if kind == "in":
                self.cache[blocks] = copied[: len(blocks)]
        assert num_tokens <= self.max_step_tokens
        views, table = self.views[number], self.views[number]["block_table"]
        slots, contexts, cuts = views["slots"][:num_sequences], views["context_lengths"][:num_sequences], views["cu_seqlens"][: num_sequences + 1]
        assert len(set(slots.tolist())) == num_sequences
        holders = np.bincount(table.ravel(), minlength=self.num_blocks)
        owners = np.repeat(slots, np.diff(cuts))
        positions = views["positions"][:num_tokens]
        written = table[owners, positions // self.block_size]
        drawing = np.bincount(views["sample_rows"][:num_rows], minlength=num_tokens)
        num_drawing = np.maximum(1, np.repeat(drawing[cuts[1:] - 1], np.diff(cuts)))
        Machine.num_riding += num_rows - int((drawing > 0).sum())
        assert (written > 0).all() and (holders[written] == num_drawing).all()  # nobody but who rides reads or writes what is written
        tokens, source = views["tokens"][:num_tokens].copy(), views["source"][:num_tokens]
        if self.out:
            tokens[source >= 0] = self.out[0][1][source[source >= 0]]
        else:
            assert (source < 0).all()
        self.cache[written, positions % self.block_size] = tokens
        ids = np.empty(num_rows, np.int32)
        support = self.core.support_table()
        for r, token in enumerate(views["sample_rows"][:num_rows]):
            b = int(np.searchsorted(cuts, token + 1)) - 1
            assert cuts[b + 1] == token + 1
            blocks = table[slots[b], : -(-int(contexts[b]) // self.block_size)]
            seen = self.cache[blocks].ravel()[: contexts[b]]
            trajectory = int(views["trajectory"][r])
            assert seen.tolist() == self.expected[trajectory][: len(seen)]
            allowed = views["support_row"][r]
            if allowed >= 0:
                assert [token for token in range(VOCAB) if support[allowed, token // 32] >> (token % 32) & 1] == list(LEGAL)
            ids[r] = draw(trajectory, seen.tobytes(), LEGAL if allowed >= 0 else None)
        self.out.append((number, ids))


def test_100_000_operations() -> None:
    settings = hypothesis.settings(
        max_examples=900, stateful_step_count=10, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=settings)
    assert Machine.num_evictions > 1000 and Machine.num_shared > 1000 and Machine.num_swaps > 30
    assert Machine.num_ahead > 1000 and Machine.num_overrun > 50 and Machine.num_copied > 100 and Machine.num_riding > 100
    assert Machine.num_operations >= 100_000
