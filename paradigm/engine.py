"""One policy's side of a collection: asks the core for plans, has them run, and hands back what was drawn.

Where steps overlap, the core plans the next step, and that is launched, while the results of the one before are still to come:

    launch t, plan t + 1, launch t + 1, take the results of t, commit t, plan t + 2, ...

so that on a GPU neither the core nor Python keeps the device waiting. The trajectories are the same bits as without.

Stops are looked for here only, not on the device too: it would save neither a token nor a step. When step t draws a stop, t + 1 has been planned,
with a row for that sequence that is not given to another, and the host knows of the stop before it plans t + 2 either way. Limits are known before a
row is planned (`Seat::is_free`), and stop strings are the host's in any case. What a test on the device could spare is the over-run row's reading of
its context, once an action; what the row writes goes to a block that its sequence keeps until then, and needs no null block.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from torch import Tensor

from paradigm.policy_step import Planned, PolicyStep
from paradigm.timeline import WAIT, is_recording, span

if TYPE_CHECKING:
    from paradigm.sampler import Sampler

__all__ = ["Engine"]


class Engine:
    """Plans, runs and commits the steps of a sampler's policy."""

    def __init__(self, sampler: Sampler, max_tokens: int, num_episodes: int, seats: int):
        slots = max(1, seats, min(sampler.slots, num_episodes * seats))
        cache, num_blocks = sampler._room(max_tokens, slots)
        self.limits = (slots, sampler.max_step_tokens, num_blocks, sampler.block_size)
        self._overlaps = sampler.policy.head_weight.is_cuda if sampler.overlap is None else sampler.overlap
        self._runner: PolicyStep = sampler._runner(cache, max_tokens, seats)
        self._out: deque[Planned] = deque()  # launched and not committed, the oldest first
        self.model_s = self.core_s = 0.0

    @property
    def evaluations(self) -> dict[int, tuple[Tensor, float | None]]:
        """By question: logits float32 [V], and the value, if the policy has such a head. Whoever asked takes them out."""
        return self._runner.evaluations

    def take_weights(self) -> None:
        """Prepares for the policy's weights as they are now. No step may be out: see `drain`."""
        self._runner.take_weights()

    def attach(self, core: Any, number: int, version: int) -> None:
        """Plays policy `number` of the core, whose weights have this version."""
        self._core, self._number = core, number
        core.set_version(number, version)
        self._runner.attach(core, number)

    def step(self) -> None:
        """Commits one step, if there is one for this policy now; where steps overlap, another is launched before."""
        if not self._out:
            self._launch(*self._plan(), is_ahead=False)
        if not self._out:
            return
        if self._overlaps:
            started = time.perf_counter()
            with span("plan ahead", "rollout"):
                counts = self._core.plan_ahead(self._number)
            self.core_s += time.perf_counter() - started
            self._launch(*counts, is_ahead=True)
        self._commit()

    def drain(self) -> None:
        """Commits the steps that are out."""
        while self._out:
            self._commit()

    def _plan(self) -> tuple[int, int, int]:
        """Tokens, sequences and drawing rows of the next step. A timeline learns how much of the time went to waiting for environments."""
        started, timeline = time.perf_counter(), is_recording()
        start, waited = 0 if timeline is None else timeline.now(), self._core.wait_s
        planned: tuple[int, int, int] = self._core.plan(self._number)
        self.core_s += time.perf_counter() - started
        if timeline is not None:
            end, waited = timeline.now(), self._core.wait_s - waited
            timeline.add("plan", "rollout", start, end)
            if waited > 0:
                timeline.add(WAIT, "rollout", max(start, end - waited), end)
        return planned

    def _launch(self, num_tokens: int, num_sequences: int, num_rows: int, *, is_ahead: bool) -> None:
        if num_tokens == 0:
            return
        started = time.perf_counter()
        number = 1 - self._out[-1].number if is_ahead else 0
        num_riding, num_probes = self._core.num_riding(self._number), self._core.num_probes(self._number)
        planned = Planned(number, num_tokens, num_sequences, num_rows, num_riding, num_probes, is_ahead)
        self._runner.launch(planned)
        self._out.append(planned)
        self.model_s += time.perf_counter() - started

    def _commit(self) -> None:
        started = time.perf_counter()
        results = self._runner.results(self._out[0])
        ran = time.perf_counter()
        with span("commit", "rollout"):
            self._core.commit(self._number, *results)
        self._out.popleft()
        self.model_s += ran - started
        self.core_s += time.perf_counter() - ran
