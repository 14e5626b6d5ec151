"""The Python verifier on hostile answers, and its agreement with the C++ one that RL uses."""

import numpy as np
import pytest

from paradigm import _core
from paradigm.environments import arithmetic_tasks
from paradigm.verifiers import Verdict, verify_arithmetic


@pytest.mark.parametrize(
    ("problem", "written"),
    [("347+586", "#933\n"), ("347+586", "7+6+0=13;\n#933\n"), ("7-7", "#0\n"), ("47*36", "nonsense!#1692\n"), ("852/4", "#213\n"), ("0/3", "#0\n")],
)
def test_right_answers(problem, written):
    assert verify_arithmetic(problem, written).score == 1.0
    assert _core.arithmetic_verify(problem, written)


@pytest.mark.parametrize(
    "written",
    [
        "", "#", "933\n", "#933", "#0933\n", "#+933\n", "#-933\n", "# 933\n", "#933 \n", "#933\n\n", "#932\n", "#933\n#933\n", "#932\n#933\n",
        "##933\n", "#933\n7+6\n", "#٩٣٣\n", "#９３３\n", "#9_33\n", "#933.0\n", "#0x3a5\n", "#933\r\n", "#933\x00\n", "#" + "9" * 4000 + "\n",
        ";" * 20000 + "#933\n", "é" * 9000 + "#933\n", "#347+586\n", "\ud800#9\n", "#933\u2028", "#933\n\u0000",
    ],
)  # fmt: skip
def test_hostile_answers_score_nothing_and_raise_nothing(written):
    verdict = verify_arithmetic("347+586", written)
    assert verdict.score == 0.0 and verdict.evidence and verdict.error is None
    assert not _core.arithmetic_verify("347+586", written.encode(errors="surrogatepass"))


@pytest.mark.parametrize("problem", ["", "3-5", "7/2", "5/0", "70/10", "05+1", "1+1\n", "1234567890+1", "1+1+1", "٣+1", "2^3"])
def test_what_is_no_problem_is_refused_by_both(problem):
    with pytest.raises(ValueError, match="problem"):
        verify_arithmetic(problem, "#1\n")
    with pytest.raises(ValueError, match="problem"):
        _core.arithmetic_verify(problem, "#1\n")


def test_both_verifiers_agree_on_random_strings():
    rng = np.random.default_rng(1)
    alphabet = "0123456789#;!?=r\n -+"
    num_right = 0
    for task in arithmetic_tasks(3, 5000, digits=1, products=[(1, 1)]):
        written = "".join(rng.choice(list(alphabet), rng.integers(0, 5))) + f"#{rng.integers(20)}" + rng.choice(["\n", "\n", "\n", "", " \n", "#\n"])
        score = verify_arithmetic(task, written).score
        assert score == float(_core.arithmetic_verify(task, written))
        num_right += score == 1.0
    assert num_right > 50


def test_a_verdict_needs_a_score_in_range():
    for score in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="score"):
            Verdict(score)
    assert Verdict(0.5) == Verdict(0.5, "", None)
    with pytest.raises(AttributeError):
        Verdict(1.0).score = 0.0
