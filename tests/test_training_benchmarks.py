"""What the training benchmarks race: the same job on both sides, and a floor that counts what must be multiplied."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from benchmarks import bench_growth, bench_grpo_step, bench_sft_step, bench_time_to_reward
from benchmarks.harness import Setting
from benchmarks.models import SMALL
from benchmarks.products import Products
from benchmarks.trl_peer import as_text, number_tokenizer, timed
from paradigm.kernels.layout import Layout
from paradigm.policy import Policy, PolicyConfig

SHAPE = {**SMALL, "hidden_size": 32, "num_layers": 2, "intermediate_size": 48, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
JOB = bench_grpo_step.Job(num_prompts=2, group_size=4, prompt_tokens=6, new_tokens=5)


def test_the_products_are_those_of_the_model() -> None:
    """Attention's products have no part in either count: documents of one token attend to themselves alone, 4 channels' products a head."""
    policy = Policy(PolicyConfig(**SHAPE), device="meta")
    attention = 4 * 2 * 16 * 2
    forward = Products(SHAPE, torch.float32, forward=[(7, 3), (5, 5)])
    assert forward.flops == policy.flops(12, 1.0, num_predictions=8) - 12 * attention
    training = Products(SHAPE, torch.float32, training=[(7, 3)])
    assert training.flops == policy.flops(7, 1.0, num_predictions=3, backward=True) - 3 * 7 * attention
    assert forward() is None and training() is None
    assert Products(SHAPE, torch.bfloat16, forward=[(4, 0)]).flops == policy.flops(4, 1.0, num_predictions=0) - 4 * attention


def test_the_floor_of_a_step_counts_its_tokens() -> None:
    policy = Policy(PolicyConfig(**SHAPE), device="meta")
    attention = 4 * 2 * 16 * 2
    # 2 prompts of 6, then a token of each of 8 completions 4 times; the update: prompts once or with every completion
    for share, fed in ((True, 2 * 6 + 8 * 5), (False, 8 * 11)):
        floor = bench_grpo_step.floor_of(JOB, SHAPE, "float32", "meta", share=share).flops
        rollout = policy.flops(2 * 6 + 8 * 4, 1.0, num_predictions=2 + 8 * 4) - (2 * 6 + 8 * 4) * attention
        assert floor == rollout + policy.flops(fed, 1.0, num_predictions=40, backward=True) - 3 * fed * attention
    floor = bench_sft_step.floor_of(50, 4, SHAPE, "float32", "meta").flops
    assert floor == policy.flops(50, 1.0, num_predictions=46, backward=True) - 150 * attention


def test_cases_name_their_floors_and_references() -> None:
    for subject in (bench_grpo_step, bench_sft_step):
        for setting in (Setting(quick=True), Setting()):
            for case in subject.cases(setting):
                assert case.reference == "TRL" and case.peaks_apart and case.cost > 0 and case.unfair and case.prediction
                assert all(floor in case.providers for floor, _ in case.floors.values())


def test_our_step_trains_and_times_its_parts() -> None:
    for share in (True, False):
        contestant = bench_grpo_step._ours(JOB, SHAPE, "float32", Setting(), share=share)()
        assert contestant.run() is None and contestant.run() is None
        assert [len(seconds) for seconds in contestant.parts.values()] == [2, 2]
    documents = bench_sft_step.Job(num_documents=4, median=12, longest=30)
    steps = documents.steps(SHAPE["vocab_size"])
    assert all(sorted(map(len, step)) == [len(d) for d in step] and 8 <= len(step[0]) <= len(step[-1]) <= 30 for step in steps)
    run = bench_sft_step._ours(documents, SHAPE, "float32", Setting())().run
    assert [run(), run()] == [sum(map(len, step)) for step in steps[:2]]


def test_the_verifier_and_text() -> None:
    assert bench_grpo_step.score(as_text([0, 135, 136, 200])) == 0.5 and bench_grpo_step.score("") == 0.0
    words = bench_grpo_step._Words()
    assert words.encode(words.decode([3, 271])) == [3, 271]


def test_growth_counts_useful_work() -> None:
    cases = {case.op: case for case in bench_growth.cases(Setting(quick=True))}
    assert len(cases) == 5 and all(case.reference in case.providers for case in cases.values())
    policy = Policy(PolicyConfig(**SMALL), device="meta")
    done = [build().run() for build in cases["training step, documents"].providers.values()]
    one = policy.flops(64, Layout([0, 64]), num_predictions=63, backward=True) / 1e9
    assert done == pytest.approx([one, 4 * one])
    alone, shared = (build().run() for build in cases["rollouts, group size"].providers.values())
    # of 8 prompts of 16 tokens 2 are left
    assert alone - shared == pytest.approx(6 * policy.flops(16, 17 / 2, num_predictions=0) / 1e9)
    apart, together = (build().run() for build in cases["rollouts, slots"].providers.values())
    assert apart == together == alone


class TestAgainstTRL:
    @pytest.fixture(autouse=True)
    def needs_trl(self) -> None:
        pytest.importorskip("trl")

    def test_ids_pass_through_its_tokenizer(self) -> None:
        tokenizer = number_tokenizer(272)
        assert tokenizer(text=[as_text([5, 271, 0])])["input_ids"] == [[5, 271, 0]]
        assert tokenizer.decode([5, 271]) == "t5 t271" and tokenizer.eos_token_id == 272

    def test_grpo_has_the_same_loss_and_gradient(self) -> None:
        assert "rollouts give gradients that differ by" in bench_grpo_step.compare_gradients(SHAPE, JOB)

    @pytest.mark.parametrize("mode", ["padded", "padding-free"])
    def test_sft_has_the_same_loss_and_gradient(self, mode) -> None:
        assert "documents give losses that differ by" in bench_sft_step.compare_gradients(SHAPE, mode)

    def test_a_different_loss_is_refused(self, monkeypatch) -> None:
        monkeypatch.setattr(bench_grpo_step, "_EPS", 1e3)
        monkeypatch.setattr(bench_grpo_step, "pack", lambda rollouts, share, pack=bench_grpo_step.pack: pack(rollouts.select([0, 1, 2]), share=share))
        with pytest.raises(RuntimeError, match="the losses differ"):
            bench_grpo_step.compare_gradients(SHAPE, JOB)

    def test_its_loop_goes_on_by_one_step_a_call(self) -> None:
        stepped = bench_grpo_step._stepped(JOB, SHAPE, "float32", 4, "sdpa", False, "cpu")
        threads = threading.active_count()  # with those that its libraries leave behind
        weight = next(stepped.trainer.model.parameters())
        before = weight.detach().clone()
        assert stepped() is None and stepped.trainer.state.global_step == 1
        first = weight.detach().clone()
        assert not torch.equal(before, first)
        stepped()
        assert stepped.trainer.state.global_step == 2 and not torch.equal(first, weight)
        assert [len(seconds) for seconds in stepped.parts.values()] == [2, 2] and all(s > 0 for part in stepped.parts.values() for s in part)
        stepped.close()
        assert threading.active_count() == threads

    def test_its_update_is_compiled_and_its_generation_is_not(self, monkeypatch) -> None:
        ran = []

        def compiled(function, dynamic):
            assert not dynamic
            return lambda *args, **kwargs: (ran.append("compiled"), function(*args, **kwargs))[1]

        monkeypatch.setattr(torch, "compile", compiled)
        stepped = bench_grpo_step._stepped(JOB, SHAPE, "float32", 4, "sdpa", False, "cpu", compiled=True)
        generate = stepped.trainer._generate_single_turn
        stepped.trainer._generate_single_turn = lambda *args, **kwargs: (ran.append("begins"), generate(*args, **kwargs), ran.append("ends"))[1]
        stepped()
        begins, ends = ran.index("begins"), ran.index("ends")
        assert ends == begins + 1 and ran.count("compiled") >= 2, "two micro-batches"
        stepped.close()

    def test_an_error_in_its_loop_reaches_the_caller(self) -> None:
        stepped = bench_grpo_step._stepped(JOB, SHAPE, "float32", 8, "sdpa", False, "cpu")

        def fail(*args) -> None:
            raise ValueError("no more prompts")

        stepped.trainer._generate_and_score_completions = fail
        timed(stepped.trainer, "_generate_and_score_completions", [])
        with pytest.raises(ValueError, match="no more prompts"):
            stepped()
        stepped.close()


def test_time_to_a_reward_trains_from_one_imitated_policy_in_every_way() -> None:
    (case,) = bench_time_to_reward.cases(Setting(quick=True))
    assert case.once and case.reference == "paradigm" and "TRL is not run" in case.unfair
    contestants = {name: build() for name, build in case.providers.items()}
    details = [contestant.detail for contestant in contestants.values()]
    assert details == ["as in the recipe", "rl.share_prompts=True", "rl.max_lag=1"]
    for contestant in contestants.values():
        assert contestant.run() is None and len(contestant.parts["step"]) == 1 and contestant.parts["step"][0] > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_idle_openmp_threads_end_and_come_again() -> None:
    code = """
import os, torch
from benchmarks.trl_peer import rest_openmp_threads
torch.set_num_threads(4)
count = lambda: len(os.listdir('/proc/self/task'))
alone, x = count(), torch.ones(1 << 22)
first, working = float(x.sum()), count()
rest_openmp_threads()
rested = count()
print(first == float(x.sum()) == 1 << 22, working - alone, rested - alone, count() - alone)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "3", "0", "3"]
