"""Verdicts by reasoning-gym's scorers: true answers pass, nothing that games a scorer does, and nothing runs outside the sandbox."""

import random
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("reasoning_gym", reason='needs pip install "paradigm-trainer[reasoning]"')
from paradigm.verifiers.reasoning_gym import ReasoningGymVerifier, import_reasoning_gym
from tests.sandbox_cases import require_sandbox

PLAIN = [
    "basic_arithmetic", "binary_alternation", "bitwise_arithmetic", "caesar_cipher", "chain_sum", "count_bits", "count_primes", "decimal_chain_sum",
    "gcd", "isomorphic_strings", "lcm", "leg_counting", "letter_counting", "letter_jumble", "number_filtering", "number_sequence", "number_sorting",
    "products", "ransom_note", "simple_equations", "spell_backward", "word_sequence_reversal", "word_sorting", "base_conversion",
    "decimal_arithmetic",
]  # fmt: skip
SANDBOXED = ["countdown", "polynomial_multiplication", "coin_flip", "complex_arithmetic", "string_insertion"]


@pytest.mark.parametrize("generator", PLAIN)
def test_every_true_answer_passes(generator) -> None:
    verifier = ReasoningGymVerifier(generator)
    assert not verifier.is_sandboxed
    dataset = verifier.dataset(11, 24)
    for index in range(24):
        entry = dataset[index]
        assert verifier(dataset, index, entry, entry["answer"]).score == 1.0


def hostile(right: str, other: str) -> list[str]:
    """Answers that are not the right one, aimed at a scorer that is lenient somewhere."""
    numbers = " ".join(str(i) for i in range(-200, 200))
    return [
        "", " ", "0\x00", f"{right} {other}", f"{right},{other}", f"{other} or {right}", f"the answer is {right}", f"{right}.{right}",
        f"({right})", f"{right}\x00", f"{right}\u200b", f"{right}\n{other}", f"[{right}, {other}]", f"#{right}", f"{right}#",
        f"answer={right}", numbers, right * 40,
        "nan", "NaN", "sNaN", "-nan", "inf", "Infinity", "-inf", "oo", "1e999999999", "9" * 5000, "[NaN, NaN, NaN]", "['nan', 'nan']", "None",
        "True;", "lambda: 1", "__import__('os').system('touch /tmp/paradigm-escaped')", "{}", "[]", "()", "*", "%s", "{0}",
        "\\boxed{" + right + "}", "<answer>",
    ]  # fmt: skip


@pytest.mark.parametrize("generator", PLAIN)
def test_no_hostile_answer_passes(generator) -> None:
    verifier = ReasoningGymVerifier(generator)
    dataset = verifier.dataset(5, 8)
    entries = [dataset[i] for i in range(8)]
    right = str(entries[0]["answer"])
    other = next((str(e["answer"]) for e in entries if str(e["answer"]) != right), "no")
    for answer in hostile(right, other):
        if answer.strip() != right:
            verdict = verifier(dataset, 0, entries[0], answer)
            assert verdict.score == 0.0 and verdict.error is None, (answer, verdict)


def test_look_alike_digits_and_lists_of_no_numbers() -> None:
    verifier = ReasoningGymVerifier("chain_sum")
    dataset = verifier.dataset(1, 4)
    entry = dataset[1]
    wide = "".join(chr(ord(c) - ord("0") + 0xFF10) if c.isdecimal() else c for c in entry["answer"])
    assert dataset.score_answer(wide, entry) == 1.0, "the scorer alone takes them"
    assert verifier(dataset, 1, entry, wide).score == 0.0
    sorting = ReasoningGymVerifier("number_sorting")
    dataset = sorting.dataset(1, 4)
    entry = dataset[0]
    nans = "[" + ", ".join(["NaN"] * len(entry["metadata"]["sorted_numbers"])) + "]"
    assert dataset.score_answer(nans, entry) == 1.0, "the scorer alone takes them"
    assert sorting(dataset, 0, entry, nans).score == 0.0


def test_the_rest_is_scored_in_a_sandbox(tmp_path) -> None:
    require_sandbox()
    for generator in SANDBOXED:
        verifier = ReasoningGymVerifier(generator, seconds=2)
        assert verifier.is_sandboxed
        dataset = verifier.dataset(3, 4)
        for index in range(2):
            assert verifier(dataset, index, dataset[index], str(dataset[index]["answer"])).score == 1.0
        entry = dataset[0]
        mark = tmp_path / "escaped"
        for answer in (
            f"__import__('os').system('touch {mark}')", f"open('{mark}', 'w')", "().__class__", "(lambda: 1)()", "print(1)", "[print][0](1)",
            "exec ('1')", "7", "nan", "1/0", "print\\\n(1)", "getattr(1, 'real')", "x.y", f"{entry['answer']} {entry['answer']}",
        ):  # fmt: skip
            verdict = verifier(dataset, 0, entry, answer)
            assert verdict.score == 0.0 and verdict.error is None, (generator, answer, verdict)
        assert not mark.exists()


def test_an_answer_that_never_ends_costs_its_seconds_only() -> None:
    require_sandbox()
    verifier = ReasoningGymVerifier("countdown", seconds=1)
    dataset = verifier.dataset(3, 2)
    assert "takes too long" in verifier(dataset, 0, dataset[0], "9**9**9**9").evidence
    assert verifier(dataset, 0, dataset[0], dataset[0]["answer"]).score == 1.0


def test_global_random_numbers_go_on_as_before() -> None:
    script = (
        "import random, numpy\nrandom.seed(1); numpy.random.seed(1)\n"
        "from paradigm.environments.reasoning_gym import ReasoningGymProblems\n"
        "p = ReasoningGymProblems('pool_matrix'); p.problem(p.tasks(0, 3)[0])\n"
        "print(random.random(), numpy.random.rand())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    random_state, numpys = random.Random(1), np.random.RandomState(1)
    assert [float(x) for x in said] == [random_state.random(), numpys.rand()]


def test_a_missing_package_names_the_extra(monkeypatch) -> None:
    import_reasoning_gym.cache_clear()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[reasoning\]"):
        ReasoningGymVerifier("gcd")
    import_reasoning_gym.cache_clear()
