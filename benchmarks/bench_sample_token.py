"""Drawing a token from each row of logits: ours against plain torch, and against transformers' warpers with multinomial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting, fastest
from benchmarks.machine import synchronizer

SUMMARY = "a token from each row of [256, 32000] and [256, 151936] fp32 logits, without and with filters; tok/s"
RIVALS = {"transformers": "transformers>=5"}

_FILTERS: dict[str, dict[str, Any]] = {
    "no filter": {},
    "top_k=50": {"top_k": 50},
    "top_p=0.95": {"top_p": 0.95},
    "top_k=50 top_p=0.95 min_p=0.05": {"top_k": 50, "top_p": 0.95, "min_p": 0.05},
}
_GOAL = 3.0
_UNFAIR = (
    "To paradigm: it returns the token, its log-prob over the whole vocabulary and the log of the mass that the filters kept, with counter-based "
    "noise. The reference returns token and log-prob, 'torch, token only' and transformers just the token: after torch.topk they never "
    "look at the rest of the vocabulary. The fastest of several torch ways is taken. Standard normal logits are flat (top_p=0.95 keeps about 3 "
    "tokens in 4), which costs our top-p most and the rivals nothing. To the rivals: they run eagerly, not compiled."
)


def cases(setting: Setting) -> Iterator[Case]:
    for rows, vocab in ((8, 4096),) if setting.quick else ((256, 32000), (256, 151936)):
        logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0)).to(setting.device)
        for name, filters in _FILTERS.items():
            yield Case(
                op="sample_token", shape=f"[{rows}, {vocab}]", dtype="float32", config=f"{name}, temperature 1, standard normal logits",
                unit="tok/s", reference="torch", work=float(rows), cost=4.0 * vocab, ceiling="copy",
                providers={
                    "paradigm": _paradigm(logits, filters),
                    "torch": _torch(logits, filters, with_logprob=True),
                    "torch, token only": _torch(logits, filters, with_logprob=False),
                    "transformers": _transformers(logits, filters),
                },
                goals={"paradigm": _GOAL}, packages=("transformers",), unfair=_UNFAIR,
                prediction="5 to 10x torch without a filter, where multinomial's noise is serial; 3x at top_k, 2x without the log-prob, as "
                "torch.topk is close to one pass over memory; 20x and more at top_p, where both rivals sort",
            )  # fmt: skip


def _paradigm(logits: Tensor, filters: dict[str, Any]) -> Callable[[], Contestant]:
    def build_on_gpu() -> Contestant:
        from paradigm.kernels import sample_token

        trajectory = torch.arange(len(logits), device=logits.device)
        position = torch.zeros(len(logits), dtype=torch.int32, device=logits.device)

        def run() -> None:
            sample_token(logits, key=1, trajectory=trajectory, position=position.add_(1), **filters)

        return Contestant(run)

    def build() -> Contestant:
        from paradigm import _core

        values, threads = logits.numpy(), torch.get_num_threads()
        trajectory = np.arange(len(values), dtype=np.uint64)
        position = iter(range(2**32))

        def run() -> None:
            _core.sample_token(values, key=1, trajectory=trajectory, position=next(position), num_threads=threads, **filters)

        return Contestant(run)

    return build_on_gpu if logits.is_cuda else build


def _torch(logits: Tensor, filters: dict[str, Any], *, with_logprob: bool) -> Callable[[], Contestant]:
    def multinomial() -> Tensor:
        return torch.multinomial(logits.softmax(1), 1)

    def gumbel() -> Tensor:
        return (logits - torch.empty_like(logits).exponential_().log_()).argmax(1, keepdim=True)

    def exponential_race() -> Tensor:
        return (logits.softmax(1) / torch.empty_like(logits).exponential_()).argmax(1, keepdim=True)

    def sorted_prefix() -> Tensor:
        values, ids = logits.topk(filters["top_k"]) if "top_k" in filters else logits.sort(1, descending=True)
        mass = values.softmax(1)
        if "top_p" in filters:
            mass = mass.masked_fill(mass.cumsum(1) - mass >= filters["top_p"], 0.0)
        if "min_p" in filters:
            mass = mass.masked_fill(mass < filters["min_p"] * mass[:, :1], 0.0)
        return ids.gather(1, torch.multinomial(mass, 1))

    def job(draw: Callable[[], Tensor]) -> Callable[[], Callable[[], None]]:
        def run() -> None:
            ids = draw()
            if with_logprob:
                _ = logits.gather(1, ids) - logits.logsumexp(1, keepdim=True)

        return lambda: run

    def build() -> Contestant:
        ways = {"the filtered prefix, then multinomial": sorted_prefix} if filters else {
            "softmax and multinomial": multinomial, "Gumbel argmax": gumbel, "softmax over exponentials, argmax": exponential_race,
        }  # fmt: skip
        return fastest({name: job(draw) for name, draw in ways.items()}, synchronize=synchronizer(str(logits.device)))

    return build


def _transformers(logits: Tensor, filters: dict[str, Any]) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        makers: dict[str, Callable[[Any], Any]] = {"top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}
        warpers = LogitsProcessorList([makers[name](value) for name, value in filters.items()])
        prompt = torch.zeros(len(logits), 1, dtype=torch.long, device=logits.device)

        def run() -> None:
            torch.multinomial(warpers(prompt, logits).softmax(1), 1)

        return Contestant(run, "its warpers in its own order, softmax, multinomial")

    return build
