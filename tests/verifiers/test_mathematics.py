"""Answers that are right in many notations, and answers made for the parser; what is judged outside and inside the sandbox."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from paradigm.verifiers import MathematicsTask, MathematicsVerifier
from tests.sandbox_cases import require_sandbox

require_sandbox()
pytest.importorskip("math_verify")

SECONDS = 2


@pytest.fixture(scope="module")
def verifier():
    return MathematicsVerifier(seconds=SECONDS)


# reference, and answers that equal it
SYMBOLIC = [
    ("\\sqrt{2}", ["\\sqrt 2", "2^{1/2}", "2^{\\frac{1}{2}}", "\\frac{2}{\\sqrt{2}}", "\\frac{\\sqrt{8}}{2}", "x=\\sqrt{2}", "\\sqrt{2}+0"]),
    ("\\frac{\\sqrt{3}}{2}", ["\\frac{1}{2}\\sqrt{3}", "\\sqrt{\\frac{3}{4}}", "\\sqrt{3}/2", "\\dfrac{\\sqrt{3}}{2}", "\\frac{3}{2\\sqrt{3}}"]),
    ("\\sqrt{3+2\\sqrt{2}}", ["1+\\sqrt{2}", "\\sqrt{2}+1"]),
    ("2\\pi", ["\\pi \\cdot 2", "2 \\times \\pi", "\\frac{4\\pi}{2}", "\\pi+\\pi", "2 \\pi"]),
    ("\\frac{\\pi}{4}", ["\\pi/4", "\\arctan(1)", "\\frac{1}{4}\\pi", "\\dfrac{\\pi}{4}", "\\tfrac{\\pi}{4}"]),
    ("x^2+2x+1", ["(x+1)^2", "1+2x+x^2", "x^{2}+2 x+1", "(x+1)(x+1)", "x(x+2)+1"]),
    ("\\frac{1}{x}", ["x^{-1}", "1/x", "\\dfrac{1}{x}", "\\frac{x}{x^2}"]),
    ("y=2x+1", ["y=1+2x", "2x+1=y", "y-2x=1"]),
    ("x=5", ["5=x", "x = 5"]),
    ("a+b", ["b+a", "b + a", "(a+b)"]),
    ("\\{1,2,3\\}", ["\\{3,2,1\\}", "\\{ 1, 2, 3 \\}", "\\{2,1,3\\}", "\\left\\{1,2,3\\right\\}"]),
    ("(1,2)", ["(1, 2)", "\\left(1,2\\right)", "(\\frac{2}{2},2)"]),
    ("[0,1)", ["[0, 1)", "\\left[0,1\\right)"]),
    ("(-\\infty,2)\\cup(3,\\infty)", ["(3,\\infty)\\cup(-\\infty,2)", "(-\\infty, 2) \\cup (3, \\infty)"]),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", ["\\begin{bmatrix}1\\\\2\\end{bmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"]),
    ("1+2i", ["2i+1", "1 + 2i"]),
    ("e", ["\\exp(1)", "e^1"]),
    ("\\ln 2", ["\\ln(2)", "\\frac{1}{2}\\ln 4", "-\\ln\\frac{1}{2}"]),
    ("\\log_2 3", ["\\frac{\\ln 3}{\\ln 2}", "\\log_{2} 3", "\\log_{2}(3)"]),
    ("10^{100}", ["(10^{50})^2", "10^{99} \\cdot 10"]),
    ("x>2", ["2<x", "x > 2"]),
    ("x \\le 2", ["x \\leq 2", "2 \\ge x"]),
    ("50\\%", ["50\\%", "50 \\%"]),
    ("\\emptyset", ["\\emptyset"]),
    ("\\infty", ["\\infty", "+\\infty"]),
    ("1,2", ["1, 2", "2,1"]),
    ("\\text{Tuesday}", ["\\text{Tuesday}", "Tuesday"]),
    ("\\binom{5}{2}x", ["10x", "x \\cdot 10"]),
    ("3\\sqrt{2}", ["3 \\times \\sqrt{2}", "\\sqrt{18}", "\\sqrt{2} \\cdot 3", "\\frac{6}{\\sqrt{2}}"]),
    ("n(n+1)/2", ["\\frac{n(n+1)}{2}", "\\frac{n^2+n}{2}", "\\frac{1}{2}n(n+1)"]),
]


def _notations(number):
    """Ways to write a rational number."""
    number = Fraction(number)
    sign, top, bottom = "-" if number < 0 else "", abs(number.numerator), number.denominator
    if bottom == 1:
        yield from (f"{sign}{top}", f"{sign}{top}.0", f"{sign}{top}.00", f"n={sign}{top}", f" {sign}{top} ", f"${sign}{top}$", f"{sign}{top}/1",
                    f"{sign}\\frac{{{2 * top}}}{{2}}",
                    f"{sign}{top}^\\circ", f"\\${sign}{top}")  # fmt: skip
        if top >= 1000:
            yield from (f"{sign}{top:,}".replace(",", comma) for comma in (",", "{,}", "\\!", "\\,"))
    else:
        yield from (f"{sign}{top}/{bottom}", f"{sign}\\frac{{{top}}}{{{bottom}}}", f"{sign}\\dfrac{{{top}}}{{{bottom}}}",
                    f"\\frac{{{sign}{top}}}{{{bottom}}}", f"{sign}{3 * top}/{3 * bottom}",
                    f"{sign}{top} / {bottom}", f"x = {sign}{top}/{bottom}")  # fmt: skip
        if 10**6 % bottom == 0:
            yield f"{float(number)}"
    if number >= 0:
        yield f"+{top}" if bottom == 1 else f"+{top}/{bottom}"


NUMBERS = [0, 1, 7, 12, -3, 42, 100, 933, 1000, -2048, 65536, 1234567, 10**12, -(10**15), 2**61,
           *(Fraction(a, b) for a, b in ((1, 2), (-1, 2), (3, 4), (22, 7), (-5, 8), (1, 3), (7, 5), (99, 100), (-13, 6), (1001, 1000)))]  # fmt: skip


def _right():
    for number in NUMBERS:
        for notation in _notations(number):
            for form, text in (("boxed", "So it is $\\boxed{%s}$."), ("hash", "3 + 4 = 7\n#### %s"), ("last_line", "Thus:\n%s\n")):
                yield MathematicsTask(prompt="p", answer=str(number), form=form, strictness="number"), text % notation
    for reference, answers in SYMBOLIC:
        for answer in answers:
            yield MathematicsTask(prompt="What is it?", answer=reference), f"We get \\boxed{{{answer}}}"


def test_no_right_answer_is_refused(verifier):
    answers = list(_right())
    assert len(answers) >= 500 and len({(task.answer, text) for task, text in answers}) >= 500
    with ThreadPoolExecutor(3) as pool:
        verdicts = list(pool.map(lambda answer: verifier(*answer), answers))
    refused = [(task.answer, text, verdict) for (task, text), verdict in zip(answers, verdicts) if verdict.score != 1.0]
    assert not refused, (len(refused), refused[:10])


# reference and contents of the box
WRONG = [
    ("933", answer) for answer in (
        "932", "-933", "9330", "93.3", "933.1", "933.0000001", "9 33", "93 3", "933,1", "933, 934", "933 or 934", "933;934", "933/0", "0/0",
        "347+586",
        "933+0", "933-0", "933 \\cdot 1", "933!", "933^1", "\\sqrt{870489}", "933\\%", "933x", "x", "nan", "NaN", "inf", "\\infty", "-\\infty",
        "\\text{933}", "\\mathrm{933}", "933 apples", "the answer", "933=933", "347+586=933", "932=933", "x=y=933", "933?", "about 933",
        "\\approx 933",
        "933 \\pm 1", "\\pm 933", "[933]", "(933)", "\\{933\\}", "{933}{934}", "9e2", "0x3a5", "1110100101_2", "9_33", "９３３", "٩٣٣", "९३३",
        "933\u200b", "9\u03303", "\u2212933", "933\u00b2", "93\u0663", "..933", "933..", "--933", "+-933", "9" * 61, "9" * 299, "9,33", "09,33",
        "eval(933)", "__import__('os').system('x')", "933 if 1 else 0", "lambda: 933", "print(933)", "\\input{/etc/passwd}", "\\def\\x{933}\\x",
        "", " ", "$", "$$", "\\", "{", "}", "\\boxed{933}", "933\\boxed{934}", "None", "True", "*", "any",
    )
] + [
    ("\\pi", answer) for answer in (
        "\\frac{355}{113}", "3.14159265358979323846", "3.14", "\\frac{22}{7}", "\\frac{103993}{33102}", "\\pi+10^{-30}", "\\pi x^0",
        "\\pi \\cdot \\frac{0}{0}",
        "\\sum_{n=1}^{\\infty} 1", "\\pi \\text{ or } 3", "\\pi, 3", "\\Pi", "p i", "-\\pi", "|\\pi|", "\\pi=3", "3=\\pi", "\\pm\\pi", "\\infty",
        "9^{9^{9^{9}}}", "9^{9^{9}}", "\\frac{1}{9^{9^{9^{9}}}}", "((((((((((" * 20, "\\sqrt{" * 40 + "2" + "}" * 40, "10^{10^{10}}", "(10^{9})!!!",
        "\\binom{10^{9}}{10^{8}}", "\\int \\int \\int x", "(x+1)^{99999999}", "\\lim_{x\\to 0}\\frac{1}{x}", "\\frac{", "\\frac{}{}", "^", "_",
        "\\pi\\",
        "\\frac{314159265358979323846264338327950288}{100000000000000000000000000000000000}",
    )
] + [
    ("x^2", "x^{2.0}"), ("x", "X"), ("x", "y"), ("A", "B"), ("A", "A, B"), ("A", "A or B"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"),
    ("(1,2)", "\\{1,2\\}"),
    ("(1,2)", "1<x<2"), ("[0,1)", "[0,1]"), ("[0,1)", "(0,1)"), ("\\{1,2\\}", "\\{1,2,3\\}"), ("\\{1,2\\}", "\\{1\\}"), ("1,2", "1"), ("1,2", "1,3"),
    ("x=5", "y=5"), ("x=5", "x=6"), ("x>2", "x<2"), ("x>2", "x \\ge 2"), ("x \\le 2", "x \\ge 2"), ("50\\%", "50"), ("50\\%", "0.5"),
    ("\\infty", "-\\infty"),
    ("\\sqrt{2}", "1.41421356237309504880"), ("\\sqrt{2}", "-\\sqrt{2}"), ("\\sqrt{2}", "\\pm\\sqrt{2}"), ("1+2i", "1-2i"), ("i", "-i"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\text{Tuesday}", "\\text{Monday}"), ("\\text{yes}", "\\text{yes or no}"), ("\\frac{1}{x}", "x"), ("2x", "x2y"), ("y=2x+1", "y=2x"),
]  # fmt: skip
RESPONSES = [
    "", "933", "\\boxed{932} or \\boxed{933}", "\\boxed{933} \\boxed{932}", "\\boxed{\\boxed{933}}", "\\boxed{933", "\\boxed 933",
    "\\boxed{}\\boxed{933}",
    "\\boxed{1}" * 25, "\\boxed{933}" * 25, "\\boxed{" * 10_000, "\\boxed{933} \\boxed", "\\fbox{933}", "\\boxed\u200b{933}", "\\ｂoxed{933}",
    "x" * 1_000_001 + "\\boxed{933}",
]  # fmt: skip


def test_no_hostile_answer_passes(verifier):
    cases = [(MathematicsTask(prompt="What is 347+586?", answer=reference), f"It is \\boxed{{{answer}}}") for reference, answer in WRONG]
    cases += [(MathematicsTask(prompt="p", answer="933"), response) for response in RESPONSES]
    hashes = ("933", "#### 933 #### 933", "#### 932\n#### 933", "####\n933", "### 933")
    lines = ("933\n932", "933 932", "It is 933", "933\n.")
    cases += [(MathematicsTask(prompt="p", answer="933", form="hash"), text) for text in hashes]
    cases += [(MathematicsTask(prompt="p", answer="933", form="last_line"), text) for text in lines]
    cases += [(MathematicsTask(prompt="p", answer="0.5", strictness="text"), f"\\boxed{{{answer}}}") for answer in ("1/2", ".5", "0.50", "0. 5")]
    cases += [(MathematicsTask(prompt="Expand (x+1)^2.", answer="x^2+2x+1"), "\\boxed{(x+1)^2}")]
    assert len(cases) >= 150

    def judge(case):
        started = time.monotonic()
        return verifier(*case), time.monotonic() - started

    with ThreadPoolExecutor(2) as pool:
        judged = list(pool.map(judge, cases))
    passed = [(case[0].answer, case[1][:100], verdict) for case, (verdict, _) in zip(cases, judged) if verdict.score != 0.0 or verdict.error]
    assert not passed, passed
    assert max(seconds for _, seconds in judged) < 2 * SECONDS + 10


def test_an_answer_leaves_nothing_behind(verifier):
    task = MathematicsTask(prompt="p", answer="\\sqrt{2}")
    for answer, score in (("2^{1/2}", 1.0), ("9^{9^{9^{9}}}", 0.0), ("2^{1/2}", 1.0)):
        assert verifier(task, f"\\boxed{{{answer}}}").score == score


def test_workers_end_with_their_verifier():
    verifier = MathematicsVerifier(seconds=SECONDS, num_workers=1)
    assert verifier(MathematicsTask(prompt="p", answer="\\sqrt{2}"), "\\boxed{2^{1/2}}").score == 1.0
    workers = verifier._workers._workers
    processes = [worker._outer.pid for worker in workers.values()]
    assert len(processes) == 1
    del verifier
    for pid in processes:
        assert subprocess.run(["ps", "-p", str(pid)], stdout=subprocess.DEVNULL).returncode == 1
    script = (
        "from paradigm.verifiers import *\nv = MathematicsVerifier()\n"
        "print(v(MathematicsTask(prompt='p', answer='\\\\pi'), '\\\\boxed{\\\\pi+0}').score)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60).stdout == b"1.0\n"


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"paradigm-trainer\[math\]"):
        MathematicsVerifier()(MathematicsTask(prompt="p", answer="\\pi"), "\\boxed{\\pi+0}")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"answer": ""}, "answer"), ({"answer": "x" * 301}, "answer"), ({"form": "box"}, "form"), ({"strictness": "exact"}, "strictness"),
     ({"answer": "\\pi", "strictness": "number"}, "number")],
)  # fmt: skip
def test_bad_tasks_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        MathematicsTask(**({"prompt": "p", "answer": "1"} | options))
    with pytest.raises(ValueError, match="num_workers"):
        MathematicsVerifier(num_workers=0)
