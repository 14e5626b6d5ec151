"""Whole rollouts beside llama.cpp and transformers.generate: one set of weights, the same prompts, cores and numbers of tokens."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.bench_rollouts import generate, ours
from benchmarks.harness import Case, Contestant, Setting, fastest
from benchmarks.llama_cpp_peer import LlamaCpp, reference_logits, require_same_logits, write_gguf
from benchmarks.models import POLICY_1_8M, describe, make_policy
from paradigm.policy import Policy

SUMMARY = "rollouts of a 1.8M-parameter Qwen3 and of SmolLM2-135M against llama.cpp and transformers.generate, fp32 and bf16"
RIVALS = {"llama_cpp": "llama-cpp-python>=0.3.36", "transformers": "transformers>=5", "gguf": "gguf>=0.10"}

_PROMPT_TOKENS = 32
_GOAL, _GOAL_BATCH = 3.0, 32  # times transformers, of the small policy from this batch on; elsewhere it is to be ahead
# how far llama.cpp's logits may lie from ours in float32, in standard deviations of these
_TOLERANCES = {"F32": 0.005, "F16": 0.02, "BF16": 0.05, "Q4_1": 0.2}
_UNFAIR = (
    "To llama.cpp: Python drives its steps through llama-cpp-python, a call a step and one for each token drawn, about a microsecond each, "
    "and its sampler draws on one thread, of which the row 'greedy' is nearly rid; its strength is quantised weights, which for SmolLM2 have a row "
    "of their own. To transformers: as in rollouts, no torch.compile and no static cache. To paradigm: it also returns log-probs of every token, "
    "steps a Python environment and assembles trajectories, and in exact mode each row's bits are independent of its batch; llama.cpp may keep "
    "keys and values in F16, its default, where that is faster, also beside float32 weights. To all: prompts of equal lengths and no early stops, "
    "so nothing shows of continuous batching or shared prefixes."
)
_PREDICTION = (
    "after a first look at llama.cpp alone: level with it on the small policy at batch 1, where what a step costs besides products weighs, behind "
    "in bf16 there, and ahead by 3x to 4x at 32 and 256, for which its small products and its attention are not made; 4x transformers in fp32 at "
    "batch 32 and 3x at 256, where matrix products bind, more in bf16; on SmolLM2 1.5x to 2x transformers, level with llama.cpp at batch 1, where "
    "memory binds everybody and its quantised file is ahead of all, and 1.5x to 2x ahead of it at 32"
)


class _Model(NamedTuple):
    """What a case runs: sizes, goal, and a policy of a dtype. quantised: a file of the very weights, as they came."""

    name: str
    config: str
    batches: tuple[int, ...]
    new_tokens: int
    goal: float
    policy: Policy
    quantised: Path | None


def cases(setting: Setting) -> Iterator[Case]:
    for dtype in ("float32", "bfloat16"):
        batches = (1, 4) if setting.quick else (1, 32, 256)
        policy = make_policy(POLICY_1_8M, dtype)
        model = _Model("1.8M", describe(POLICY_1_8M), batches, 4 if setting.quick else 64, _GOAL, policy, None)
        yield from _of_model(model, dtype)
    for dtype in ("float32",) if setting.quick else ("float32", "bfloat16"):
        try:
            from paradigm.interop.gguf import load_smollm2, smollm2_path

            policy, quantised = load_smollm2(dtype=getattr(torch, dtype))[0], smollm2_path()
        except ImportError as error:
            yield _absent(dtype, error)
            continue
        count = sum(p.numel() for p in policy.parameters())
        config = f"SmolLM2-135M-Instruct, {count:,} parameters, dequantised from Q4_1"
        batches = (1,) if setting.quick else (1, 8, 32)
        yield from _of_model(_Model("SmolLM2", config, batches, 4 if setting.quick else 32, 1.0, policy, quantised), dtype)


def _of_model(model: _Model, dtype: str) -> Iterator[Case]:
    policy, new_tokens = model.policy, model.new_tokens
    true_policy = policy if dtype == "float32" else copy.deepcopy(policy).float()
    vocabulary, length = policy.config.vocab_size, _PROMPT_TOKENS + new_tokens
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: functools.cache(functools.partial(_written, policy, Path(folder), kind)) for kind in _KINDS[dtype]}
        for batch in model.batches:
            prompts = torch.randint(vocabulary, (batch, _PROMPT_TOKENS), generator=torch.Generator().manual_seed(batch))
            truth = functools.cache(functools.partial(reference_logits, true_policy, prompts))
            providers = {
                "paradigm exact": ours(policy, prompts, new_tokens, exact=True),
                "transformers": generate(policy, prompts, new_tokens),
                "llama.cpp": _llama_cpp(files, prompts, new_tokens, truth, _BEST | _MORE),
                "llama.cpp, greedy": _llama_cpp(files, prompts, new_tokens, truth, greedy=True),
            }
            if model.quantised is not None:
                given = {"Q4_1": functools.partial(Path, model.quantised)}
                providers["llama.cpp, Q4_1"] = _llama_cpp(given, prompts, new_tokens, truth, _BEST | _MORE)
            flops = policy.flops(batch * (length - 1), length / 2, num_predictions=batch * new_tokens)
            yield Case(
                op="rollout", shape=f"{model.name}, batch {batch}, {_PROMPT_TOKENS} + {new_tokens} tokens", dtype=dtype, config=model.config,
                unit="tok/s", work=batch * new_tokens, cost=flops / (batch * new_tokens), ceiling=f"matmul {dtype}", reference="transformers",
                providers=providers, goals={"paradigm exact": model.goal if batch >= _GOAL_BATCH else 1.0},
                packages=("transformers", "llama-cpp-python", "gguf"), unfair=_UNFAIR, prediction=_PREDICTION,
            )  # fmt: skip


_KINDS = {"float32": ("F32",), "bfloat16": ("BF16", "F16")}


def _written(policy: Policy, folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.gguf"
    write_gguf(policy, path, kind)
    return path


class _Run:
    """A rollout of every prompt by llama.cpp, which checks that all tokens came."""

    def __init__(self, model: LlamaCpp, prompts: torch.Tensor, new_tokens: int, *, greedy: bool):
        self._model, self._prompts, self._shape, self._greedy = model, prompts.numpy(), (len(prompts), new_tokens), greedy

    def __call__(self) -> None:
        out = self._model.generate(self._prompts, greedy=self._greedy)
        if out.shape != self._shape or out.min() < 0:
            raise RuntimeError(f"llama.cpp made {out.shape} tokens, the least of them {out.min()}, instead of {self._shape}")

    def close(self) -> None:
        self._model.close()


class _Way(NamedTuple):
    """How llama.cpp decodes: the type of its keys and values, flash attention, one cache for all sequences instead of a stream for each."""

    cache: str
    flash: bool
    unified: bool = False


_BEST = {"flash attention, F16 cache": _Way("F16", True)}
_MORE = {"flash attention, F16 cache, one for all": _Way("F16", True, unified=True), "no flash attention, F32 cache": _Way("F32", False)}


def _llama_cpp(
    files: Mapping[str, Callable[[], Path]], prompts: torch.Tensor, new_tokens: int, truth: Callable[[], torch.Tensor],
    ways: Mapping[str, _Way] = _BEST, *, greedy: bool = False,
) -> Callable[[], Contestant]:  # fmt: skip
    """llama.cpp with the fastest of some ways, each of which must compute our logits before anything of it is timed."""
    differences: dict[str, float] = {}

    def variant(kind: str, way: _Way) -> Callable[[], _Run]:
        def build() -> _Run:
            model = LlamaCpp(files[kind](), *prompts.shape, new_tokens, **way._asdict())
            differences[kind] = max(differences.get(kind, 0.0), require_same_logits(truth(), model, prompts, _TOLERANCES[kind]))
            return _Run(model, prompts, new_tokens, greedy=greedy)

        return build

    def build() -> Contestant:
        best = fastest({f"{kind}, {name}": variant(kind, way) for kind in files for name, way in ways.items()})
        agreement = ", ".join(f"{value:.2g} from {kind}" for kind, value in differences.items())
        return best._replace(detail=f"{best.detail}; its logits are ours in float32 but for (in standard deviations) {agreement}")

    return build


def _absent(dtype: str, error: ImportError) -> Case:
    """A case that nobody can run, so that the records say why."""

    def build() -> Contestant:
        raise error

    names = ("paradigm exact", "transformers", "llama.cpp")
    return Case(
        op="rollout", shape="SmolLM2", dtype=dtype, config="SmolLM2-135M-Instruct", unit="tok/s", work=1.0, reference="transformers",
        providers=dict.fromkeys(names, build), unfair=_UNFAIR, prediction=_PREDICTION,
    )
