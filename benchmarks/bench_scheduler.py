"""What the sampler's core costs a step: plan and commit for sequences that all decode, called from Python, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "plan + commit of a step in which 64, 256 or 1024 sequences decode; no model, tokens from a fixed array; steps/s"
RIVALS: dict[str, str] = {}

_VOCAB = 32000
_ENDLESS = 1 << 30  # tokens: no sequence ends while it is measured


def cases(setting: Setting) -> Iterator[Case]:
    for num_sequences in (64, 256, 1024):
        yield Case(
            op="plan + commit", shape=f"{num_sequences} decoding sequences", dtype="int32", unit="steps/s", reference="paradigm", work=1.0,
            providers={"paradigm": _decoding(num_sequences)}, limits_ms={"paradigm": 0.1} if num_sequences == 1024 else {},
            prediction="at most 100 us at 1024 sequences on one core, that is 10,000 steps/s: some 40 ns a sequence, of which most is memory",
            unfair="the arrays of sampled tokens are there already, and between steps no model drives the core's state out of the cache",
        )  # fmt: skip


class _Endless:
    """Says one token, then listens for ever."""

    def reset(self, task: int, seed: int) -> object:
        from paradigm.environments import Observation, Step

        return Step([Observation([1], max_action_tokens=_ENDLESS)], [0.0])

    def step(self, action: np.ndarray) -> object:
        raise RuntimeError("an endless action ended")


def _decoding(num_sequences: int) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm import _core
        from paradigm.environments import Observation

        core = _core.Scheduler(
            environment=_Endless(), tasks=list(range(num_sequences)), seats=[0], policies=[(num_sequences, 2 * num_sequences, 0, 16)],
            group_size=1, key=1, vocab_size=_VOCAB, max_tokens=_ENDLESS, sampling=(1.0, 0, 1.0, 0.0), forced={}, threads=1, record_all=False,
            observation_type=Observation,
        )
        ids = np.random.default_rng(0).integers(0, _VOCAB, num_sequences).astype(np.int32)
        logprobs, kept_logmass = np.full(num_sequences, -1.0, np.float32), np.zeros(num_sequences, np.float32)
        num_rows = 0
        while num_rows < num_sequences:  # until every environment has answered
            _, _, num_rows = core.plan(0)
            if num_rows:
                core.commit(0, ids[:num_rows], logprobs[:num_rows], kept_logmass[:num_rows])

        def run() -> None:
            core.plan(0)
            core.commit(0, ids, logprobs, kept_logmass)

        return Contestant(run, "Python calls included; environments idle")

    return build
