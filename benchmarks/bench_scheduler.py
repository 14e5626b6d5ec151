"""What the sampler's core costs a step: plan and commit for sequences that all decode, called from Python, without a model.

Without a cache, and with a paged one in which groups of 16 share the blocks of their prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "plan + commit of a step in which 64, 256 or 1024 sequences decode, without a cache and with shared prompts in a paged one; steps/s"
RIVALS: dict[str, str] = {}

_VOCAB = 32000
_ENDLESS = 1 << 30  # tokens: no sequence ends while it is measured
_PROMPT, _GROUP, _ROW = 512, 16, 8192  # tokens, members, tokens: of a prompt, of a group, of a sequence with a cache before all begin anew


def cases(setting: Setting) -> Iterator[Case]:
    for num_sequences in (64, 256, 1024):
        yield Case(
            op="plan + commit", shape=f"{num_sequences} decoding sequences", dtype="int32", unit="steps/s", reference="paradigm", work=1.0,
            providers={"paradigm": _decoding(num_sequences)}, limits_ms={"paradigm": 0.1} if num_sequences == 1024 else {},
            prediction="at most 100 us at 1024 sequences on one core, that is 10,000 steps/s: some 40 ns a sequence, of which most is memory",
            unfair="the arrays of sampled tokens are there already, and between steps no model drives the core's state out of the cache",
        )  # fmt: skip
    yield Case(
        op="plan ahead + commit", shape="1024 decoding sequences", dtype="int32", unit="steps/s", reference="paradigm", work=1.0,
        providers={"paradigm": _decoding(1024, ahead=True)}, limits_ms={"paradigm": 0.1},
        prediction="at most 100 us, as without overlap: a look at each row of the plan that is out, and no queue to go through",
        unfair="as without overlap; on a GPU it costs nothing as long as a step takes longer",
    )  # fmt: skip
    yield Case(
        op="plan + commit", shape="1024 decoding sequences, paged", dtype="int32", unit="steps/s", reference="paradigm", work=1.0,
        config=f"groups of {_GROUP} share a prompt of {_PROMPT}, blocks of 16", providers={"paradigm": _decoding(1024, paged=True)},
        limits_ms={"paradigm": 0.1},
        prediction="at most 100 us, and at most 10 us more than without a cache: a comparison a sequence, and for one in 16 of them a block taken "
        "from the queue, which misses the processor's cache some three times (its neighbour in the queue, its entry in the prefix index, "
        "the table's row). On a busy machine, in a loop of nothing else, it came to 61 us against 28, but to no difference once the sequences "
        "without a cache reserved no more memory for their tokens (256 KiB each, which lie in small pages; 2 MiB lie in a huge one)",
        unfair="as without a cache; no sequence ends, so no block is given back and no prompt is looked up while it is measured",
    )  # fmt: skip


class _Endless:
    """Says something, then listens for ever."""

    def __init__(self, prompt_length: int):
        self.prompt_length = prompt_length

    def reset(self, task: int, seed: int) -> object:
        from paradigm.environments import Observation, Step

        length = self.prompt_length + (task % 16 if self.prompt_length > 1 else 0)  # so that not all need a block in the same step
        prompt = np.arange(task, task + length) % _VOCAB
        return Step([Observation(prompt, max_action_tokens=_ENDLESS)], [0.0])

    def step(self, action: np.ndarray) -> object:
        raise RuntimeError("an endless action ended")


def _decoding(num_sequences: int, *, paged: bool = False, ahead: bool = False) -> Callable[[], Contestant]:
    ids = np.random.default_rng(0).integers(0, _VOCAB, num_sequences).astype(np.int32)
    logprobs, kept_logmass = np.full(num_sequences, -1.0, np.float32), np.zeros(num_sequences, np.float32)
    group_size = _GROUP if paged else 1
    # 15/16 of the most that all can need: enough for as long as it runs, and whether it is enough has to be looked at in each step
    num_blocks = num_sequences * _ROW // 16 * 15 // 16 if paged else 0

    def start() -> Any:
        from paradigm import _core
        from paradigm.environments import Observation

        core = _core.Scheduler(
            environment=_Endless(_PROMPT if paged else 1), tasks=list(range(num_sequences // group_size)), seats=[0],
            policies=[(num_sequences, 2 * num_sequences, num_blocks, 16)], group_size=group_size, key=1, vocab_size=_VOCAB,
            max_tokens=_ROW if paged else _ENDLESS, sampling=(1.0, 0, 1.0, 0.0), forced={}, threads=1, record_all=False,
            observation_type=Observation,
        )  # fmt: skip
        num_rows = 0
        while num_rows < num_sequences:  # until every environment has answered and every prompt is fed
            num_tokens, _, num_rows = core.plan(0)
            if num_tokens:
                core.commit(0, ids[:num_rows], logprobs[:num_rows], kept_logmass[:num_rows])
        counters = core.counters(0)
        if paged and counters["prefixes_shared"] != num_sequences - num_sequences // group_size:
            raise RuntimeError(f"{counters['prefixes_shared']} of {num_sequences} sequences share a prompt in groups of {group_size}")
        if ahead:
            core.plan(0)
        return core

    def build() -> Contestant:
        core, num_steps = start(), 0

        def run() -> None:
            nonlocal core, num_steps
            if ahead:
                core.plan_ahead(0)
            else:
                core.plan(0)
            core.commit(0, ids, logprobs, kept_logmass)
            num_steps += 1
            if paged and num_steps > _ROW * 3 // 4:  # a slow run in thousands, which leaves medians alone
                core, num_steps = start(), 0

        return Contestant(run, "Python calls included; environments idle")

    return build
