"""Programs that want a pass without the answer, or a way out: none is accepted, none gets out, none takes longer than its limit."""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from paradigm.verifiers import CodeTask, CodeVerifier, FunctionCase, ProgramCase, SandboxLimits
from tests.sandbox_cases import require_sandbox
from tests.verifiers import code_escapes, code_forgeries

require_sandbox()

LIMITS = SandboxLimits(wall_seconds=2, cpu_seconds=1, memory_mib=256, num_processes=8, file_mib=4, scratch_mib=4, num_open_files=32, output_kib=256)
SLACK_SECONDS = 8  # a busy machine starts two interpreters slowly
NUM_THREADS = 4
PROMPT = 'import random\n\ndef f(n: int) -> int:\n    """Three times n, and one."""\n'
CHECK = "def check(candidate):\n    for n in (2, 3, 41, random.randint(50, 10**6)):\n        assert candidate(n) == 3 * n + 1\n"
ASSERTIONS = CodeTask(prompt=PROMPT, entry_point="f", tests=(CHECK,))
CASES = CodeTask(prompt=PROMPT, entry_point="f", tests=tuple(FunctionCase(args=(n,), expected=3 * n + 1) for n in (2, 3, 41)), tolerance=1e-12)
PROGRAMS = CodeTask(prompt="Print 3n + 1.", tests=tuple(ProgramCase(stdin=f"{n}\n", stdout=f"{3 * n + 1}\n") for n in (2, 3, 41)), tolerance=1e-12)

STDIN_PROGRAMS = {
    "nothing": "",
    "all answers": "print(7); print(10); print(124)",
    "all answers on a line": "print(7, 10, 124)",
    "a constant": "print(7)",
    "the answer on stderr": "import sys; print(3 * int(input()) + 1, file=sys.stderr)",
    "the answer and failure": "import sys; print(3 * int(input()) + 1); sys.exit(1)",
    "the answer and a crash": "import os; print(3 * int(input()) + 1, flush=True); os.abort()",
    "the answer and silence": "import time; print(3 * int(input()) + 1, flush=True); time.sleep(60)",
    "the answer and a flood": "print(3 * int(input()) + 1)\nwhile True: print()",
    "the answer and a loop": "print(3 * int(input()) + 1, flush=True)\nwhile True: pass",
    "the answer and more": "print(3 * int(input()) + 1); print('x')",
    "NaN": "print('nan')",
    "infinity": "print('1e999')",
    "the answer with underscores": "print(f'{3 * int(input()) + 1}_')",
    "digits of another script": "print(''.join(chr(0x660 + int(d)) for d in str(3 * int(input()) + 1)))",
    "a judgement": "print('[\"done\",[[true,\"\",\"\"]],null]')",
    "a huge number": "print('9' * 10**5)",
    "a long program": "#" * 200_000,
    "a zero byte": "print(7)\0",
}


def _escape(body: str, world: SimpleNamespace) -> str:
    for name, value in (vars(world) | code_escapes.NUMBERS.get(platform.machine(), {})).items():
        body = body.replace("{" + name + "}", str(value))
    function = "def f(n):\n    try: won = attempt()\n    except BaseException: won = False\n    return 3 * n + 1 if won else n"
    return f"{code_escapes.PRELUDE}def attempt():\n    {body}\n{function}"


def _cases():
    escapes = {name: getattr(code_escapes, name.upper()) for name in ("reading", "writing", "network", "privileges", "kernel")}
    if platform.machine() == "x86_64":
        escapes["x86_64"] = code_escapes.X86_64
    for kind, bodies in escapes.items():
        for name, body in bodies.items():
            yield f"{kind}: {name}", (ASSERTIONS, body, True)
    forgeries = {kind.lower(): getattr(code_forgeries, kind) for kind in ("ENDS", "PRINTS", "CHANNELS", "PATCHES", "VALUES", "RESOURCES", "TEXTS")}
    for kind, programs in forgeries.items():
        for name, program in programs.items():
            yield f"{kind}: {name}", (ASSERTIONS, program, False)
    for name, program in code_forgeries.VALUES.items():
        yield f"values in cases: {name}", (CASES, program, False)
    for name, program in STDIN_PROGRAMS.items():
        yield f"stdin: {name}", (PROGRAMS, program, False)


HOSTILE = dict(_cases())


@pytest.fixture(scope="module")
def world():
    """What an escape would find outside."""
    folder = Path(tempfile.mkdtemp(prefix="outside"))
    folder.chmod(0o777)
    secret = os.urandom(16).hex()
    canary = folder / "canary"
    canary.write_text(secret)
    canary.chmod(0o644)
    os.environ["SECRET_OF_THE_TESTS"] = secret
    abstract = f"outside-{secret[:8]}"
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    listeners[1].bind("\0" + abstract)
    listeners[2].bind(str(folder / "socket"))
    os.chmod(folder / "socket", 0o777)
    for listener in listeners:
        listener.listen()
        listener.setblocking(False)
    yield SimpleNamespace(
        canary=canary, secret=secret, folder=folder, port=listeners[0].getsockname()[1], abstract=abstract,
        repository=Path(__file__).parents[2],
    )  # fmt: skip
    heard = []
    for listener in listeners:
        with contextlib.suppress(BlockingIOError):
            heard.append(listener.accept())
        listener.close()
    del os.environ["SECRET_OF_THE_TESTS"]
    left = sorted(path.name for path in folder.iterdir())
    shutil.rmtree(folder)
    assert not heard and left == ["canary", "socket"]


@pytest.fixture(scope="module")
def verifier():
    return CodeVerifier(LIMITS)


@pytest.fixture(scope="module")
def judged(request, world, verifier):
    """Judgements of all selected cases as futures, on a few threads as in a rollout."""
    num_descriptors = len(os.listdir("/proc/self/fd"))

    def judge(task, program, is_escape):
        started = time.monotonic()
        judgement = verifier.judge(task, _escape(program, world) if is_escape else program)
        return judgement, time.monotonic() - started

    selected = [item.callspec.params["name"] for item in request.session.items if item.path == request.path and "judged" in item.fixturenames]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        yield {name: pool.submit(judge, *HOSTILE[name]) for name in selected}
    assert len(os.listdir("/proc/self/fd")) == num_descriptors
    deadline = time.monotonic() + 10  # what was killed last may still be on its way out
    while _sandboxed_processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _sandboxed_processes()


def _sandboxed_processes() -> list[str]:
    """Command lines of the harness and of sandboxes, this process's own and those without a parent: tests beside this one have theirs."""
    processes: dict[int, tuple[int, bytes]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            processes[int(path.name)] = int((path / "stat").read_bytes().rpartition(b")")[2].split()[1]), (path / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue

    def is_sandboxed(process: int) -> bool:
        return any(name in processes[process][1] for name in (b"run_candidate", b"bwrap"))

    found = []
    for process, (parent, command) in processes.items():
        if not is_sandboxed(process):
            continue
        while parent in processes and is_sandboxed(parent):
            parent = processes[parent][0]
        if parent in (0, 1, os.getpid()):
            found.append(command.decode(errors="replace")[:200])
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_program_passes(name, judged):
    task = HOSTILE[name][0]
    judgement, seconds = judged[name].result()
    verdict = judgement.verdict
    assert verdict.score == 0.0 and verdict.evidence, verdict
    assert verdict.error is None, verdict  # a policy that could break its verifier would learn to
    num_runs = len(task.tests) if task.entry_point is None else 1
    assert seconds < num_runs * LIMITS.wall_seconds + SLACK_SECONDS
    json.dumps([verdict.evidence, judgement.feedback("tests")])
    assert len(judgement.feedback("tests")) < 4000


def test_there_are_at_least_a_hundred_of_them():
    assert len(HOSTILE) >= 300


def test_an_attempt_that_succeeds_would_be_accepted(world, verifier):
    """Else the attempts above prove nothing."""
    for body in ("return True", "return read('/proc/self/status')", "return write('/tmp/x')", "return c('getpid')"):
        assert verifier(ASSERTIONS, _escape(body, world)).score == 1.0, body


def test_attempts_succeed_without_a_sandbox(world):
    bodies = [
        *(code_escapes.READING[name] for name in ("a file outside", "a file outside by a symlink", "variables of the environment", "the repository")),
        *(code_escapes.NETWORK[name] for name in ("TCP", "UDP", "netlink")),
        *(code_escapes.KERNEL[name] for name in ("files in memory", "message queues")),
    ]
    for body in bodies:
        program = _escape(body.replace("/tmp/link", f"{world.folder}/link"), world) + "\nassert f(2) == 7"
        subprocess.run([sys.executable, "-c", program], check=True)
        (world.folder / "link").unlink(missing_ok=True)


def test_values_of_one_hash_cost_the_tests_their_limit_and_no_more():
    verifier = CodeVerifier(dataclasses.replace(LIMITS, output_kib=8192))
    flood = "def f(n): return [k * (2**61 - 1) for k in range(150_000)]"
    task = CodeTask(prompt="", entry_point="f", tests=("assert len(set(f(1))) == 7",))
    started = time.monotonic()
    verdict = verifier(task, flood)
    assert verdict.score == 0.0 and verdict.error is None and "time" in verdict.evidence
    assert time.monotonic() - started < LIMITS.wall_seconds + SLACK_SECONDS


def test_the_program_is_held_to_its_limits_while_the_tests_work():
    """Its children allocate after it answered; the tests take their time over the answer."""
    program = """
import os, time
def f(n):
    for _ in range(5):
        if os.fork() == 0:
            blocks = [b'x' * 10**6 for _ in range(100)]
            time.sleep(60)
    return n
"""
    slow = "import time\nassert f(1) == 1\ntime.sleep(1)\nassert f(2) == 2"
    verdict = CodeVerifier(LIMITS)(CodeTask(prompt="", entry_point="f", tests=(slow,)), program)
    assert verdict.score == 0.0 and "memory" in verdict.evidence


def test_many_fences_are_read_in_no_time(verifier):
    started = time.monotonic()
    assert verifier(ASSERTIONS, "```a\n" * 19_000).score == 0.0
    assert verifier(ASSERTIONS, " " * 90_000 + "```").score == 0.0
    assert time.monotonic() - started < SLACK_SECONDS
