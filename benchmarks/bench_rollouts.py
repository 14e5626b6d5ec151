"""Whole rollouts: prompts in, sampled tokens out. Ours through Sampler.collect, transformers' through generate, on the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.harness import Case, Contestant, Setting, fastest
from benchmarks.models import SMALL, describe, make_policy, to_transformers

SUMMARY = "rollouts of a 2.4M-parameter Qwen3 against transformers.generate, batch 1 / 32 / 256, fp32 and bf16"
RIVALS = {"transformers": "transformers>=5"}

_PROMPT_TOKENS = 32
_UNFAIR = (
    "To transformers: no torch.compile and no static cache, which it can use; its default dynamic cache copies keys and values every step. "
    "To paradigm: it also returns log-probs of every token, steps a Python environment (two calls an episode) and assembles trajectories; "
    "in exact mode each row's bits are independent of its batch. Both: random weights, equal prompt lengths and no early stops, so nothing "
    "shows of continuous batching, whose gain with unequal lengths is larger; distinct prompts, so nothing of prefix sharing. Exact mode's "
    "linear layers are the core's, fast mode's are torch's, as transformers' are."
)


def cases(setting: Setting) -> Iterator[Case]:
    new_tokens = 8 if setting.quick else 64
    for dtype in ("float32", "bfloat16"):
        for batch in (1, 32, 256):
            policy = make_policy(SMALL, dtype, setting.device)
            prompts = torch.randint(SMALL["vocab_size"], (batch, _PROMPT_TOKENS), generator=torch.Generator().manual_seed(batch))
            goal = 4.0 if dtype == "bfloat16" and batch == 256 else 3.0 if dtype == "float32" else None
            fed = batch * (_PROMPT_TOKENS + new_tokens - 1)
            flops = policy.flops(fed, (_PROMPT_TOKENS + new_tokens) / 2, num_predictions=batch * new_tokens)
            yield Case(
                op="rollout", shape=f"batch {batch}, {_PROMPT_TOKENS} + {new_tokens} tokens", dtype=dtype, config=describe(SMALL),
                unit="tok/s", work=batch * new_tokens, cost=flops / (batch * new_tokens), ceiling=f"matmul {dtype}", reference="transformers",
                providers={
                    "paradigm exact": ours(policy, prompts, new_tokens, exact=True),
                    "paradigm fast": ours(policy, prompts, new_tokens, exact=False),
                    "transformers": generate(policy, prompts, new_tokens),
                },
                goals={} if goal is None else {"paradigm exact": goal, "paradigm fast": goal},
                packages=("transformers",), unfair=_UNFAIR,
                prediction="first, on torch's BLAS in both modes: >= 3x in fp32 at every batch and >= 4x in bf16 at 256, which came to 1.3 to 1.8x, "
                "most of it in BLAS calls of few rows. Then, with exact mode on linear layers of our own, packed once a collection: 3x at batch "
                "1 and 32, 2.5x at 256 in fp32, where matrix products bind, and 4x in bf16; fast mode, still on BLAS, as before: it came to 3.7x, "
                "3.1x, 2.5x and 3.8x. Then, at 256, attention that asks for its next keys while it reads and writes its own token's, a step's "
                "rows in one pass over each weight, and a last layer of only the rows drawn from: 3x in fp32 and 4.2x in bf16. Then, on a Zen 5: "
                "large pages for the cache, 4% less time at 256 (2.4% in fp32, 2.8% in bf16), for the workspace 2% (nothing), both not kept; at 32 "
                "16 rows of its own for each thread where the weights are small, 10% (7% in bf16, nothing sure in fp32: kept up to 6 MiB of weights)",
            )  # fmt: skip


def ours(policy: Any, prompts: torch.Tensor, new_tokens: int, *, exact: bool) -> Callable[[], Contestant]:
    """Sampler.collect of so many new tokens after each of the prompts [B, P], at temperature 1."""

    def build() -> Contestant:
        from paradigm.environments import from_verifier
        from paradigm.sampler import Sampler

        environment = from_verifier([row.tolist() for row in prompts], lambda prompt, response: 0.0, stop=(), max_action_tokens=new_tokens)
        sampler = Sampler(policy, slots=len(prompts), exact=exact, max_step_tokens=8192)
        length = prompts.shape[1] + new_tokens

        def run() -> None:
            rollouts = sampler.collect(environment, environment.tasks(), group_size=1, temperature=1.0, key=(0, 0), max_tokens=length)
            if rollouts.num_tokens != len(prompts) * length:
                raise RuntimeError(f"paradigm made {rollouts.num_tokens} tokens instead of {len(prompts)} x {length}")

        return Contestant(run)

    return build


def generate(policy: Any, prompts: torch.Tensor, new_tokens: int) -> Callable[[], Contestant]:
    """The same by transformers.generate, with the faster of its attentions."""

    def variant(attention: str) -> Callable[[], Callable[[], None]]:
        def build() -> Callable[[], None]:
            model = to_transformers(policy, attention).eval()
            model.generation_config.eos_token_id = None
            model.generation_config.pad_token_id = 0  # nothing is padded; this spares a warning a call
            given = prompts.to(policy.device)
            mask = torch.ones_like(given)
            shape = (len(prompts), prompts.shape[1] + new_tokens)

            @torch.inference_mode()
            def run() -> None:
                out = model.generate(
                    given, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new_tokens, min_new_tokens=None,
                )  # fmt: skip
                if tuple(out.shape) != shape:
                    raise RuntimeError(f"transformers made {tuple(out.shape)} tokens instead of {shape}")

            return run

        return build

    return lambda: fastest({"sdpa": variant("sdpa"), "eager": variant("eager")})
