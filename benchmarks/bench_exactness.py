"""What bitwise equality costs: rollouts and the learner's log-probs in exact and in fast mode, by the same weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.harness import Case, Contestant, Setting
from benchmarks.models import SMALL, describe, make_policy

SUMMARY = "exact mode against fast mode on a 2.4M-parameter Qwen3: rollouts at batch 1 / 32 / 256, and log-probs of them, fp32 and bf16"
RIVALS: dict[str, str] = {}

_PROMPT_TOKENS = 32
_MOST_SLOWDOWN = 1.5
_UNFAIR = (
    "To nobody in particular: fast mode's linear layers are torch's, exact mode's the core's, which may well be the faster; all else is the "
    "same code. Random weights, equal lengths and no early stops."
)


def cases(setting: Setting) -> Iterator[Case]:
    new_tokens = 8 if setting.quick else 64
    length = _PROMPT_TOKENS + new_tokens
    for dtype in ("float32", "bfloat16"):
        for batch in (1, 32, 256):
            policy = make_policy(SMALL, dtype, setting.device)
            prompts = torch.randint(SMALL["vocab_size"], (batch, _PROMPT_TOKENS), generator=torch.Generator().manual_seed(batch))
            common = {
                "shape": f"batch {batch}, {_PROMPT_TOKENS} + {new_tokens} tokens", "dtype": dtype, "config": describe(SMALL), "unit": "tok/s",
                "ceiling": f"matmul {dtype}", "reference": "fast", "goals": {"exact": 1 / _MOST_SLOWDOWN}, "unfair": _UNFAIR,
            }  # fmt: skip
            fed = batch * (length - 1)
            flops = policy.flops(fed, length / 2, num_predictions=batch * new_tokens)
            yield Case(
                op="rollout", work=batch * new_tokens, cost=flops / (batch * new_tokens),
                providers={name: _rollouts(policy, prompts, new_tokens, exact=name == "exact") for name in ("exact", "fast")},
                prediction="no slower at batch 1 and 32, where a call of torch's BLAS on few rows costs more than its arithmetic; at most 1.5 times "
                "as slow at 256", **common,
            )  # fmt: skip
            flops = policy.flops(batch * length, length / 2, num_predictions=batch * new_tokens)
            yield Case(
                op="log-probs", work=batch * length, cost=flops / (batch * length),
                providers={name: _log_probs(policy, prompts, new_tokens, exact=name == "exact") for name in ("exact", "fast")},
                prediction="at most 1.5 times as slow at any batch", **common,
            )  # fmt: skip


def _rollouts(policy: Any, prompts: torch.Tensor, new_tokens: int, *, exact: bool) -> Callable[[], Contestant]:
    def build() -> Contestant:
        collect = _collector(policy, prompts, new_tokens, exact=exact)

        def run() -> None:
            rollouts = collect()
            if rollouts.num_tokens != len(prompts) * (prompts.shape[1] + new_tokens):
                raise RuntimeError(f"{rollouts.num_tokens} tokens came out instead of {len(prompts)} x {prompts.shape[1] + new_tokens}")

        return Contestant(run)

    return build


def _log_probs(policy: Any, prompts: torch.Tensor, new_tokens: int, *, exact: bool) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.batch import PackedBatch

        rollouts = _collector(policy, prompts, new_tokens, exact=True)()
        batches = [batch.to(policy.head_weight.device) for batch in PackedBatch.pack(rollouts, max_tokens=8192)]

        def run() -> None:
            with _mode(policy, exact):
                scores = [policy.log_probs(batch) for batch in batches]
            equal = all(torch.equal(own, batch.streams["behaviour_logprob"]) for own, batch in zip(scores, batches))
            if exact and not equal and policy.head_weight.is_cpu:
                raise RuntimeError("exact mode's log-probs are not the sampler's bit for bit")

        return Contestant(run)

    return build


def _collector(policy: Any, prompts: torch.Tensor, new_tokens: int, *, exact: bool) -> Callable[[], Any]:
    from paradigm.environments import from_verifier
    from paradigm.sampler import Sampler

    environment = from_verifier([row.tolist() for row in prompts], lambda prompt, response: 0.0, stop=(), max_action_tokens=new_tokens)
    sampler = Sampler(policy, slots=len(prompts), exact=exact, max_step_tokens=8192)
    length = prompts.shape[1] + new_tokens
    return lambda: sampler.collect(environment, environment.tasks(), group_size=1, temperature=1.0, key=(0, 0), max_tokens=length)


@contextlib.contextmanager
def _mode(policy: Any, exact: bool) -> Iterator[None]:
    before, policy.exact = policy.exact, exact
    try:
        yield
    finally:
        policy.exact = before
