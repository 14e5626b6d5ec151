"""The sandbox itself: how programs end, what is left of them, and that nothing runs without one."""

import dataclasses
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paradigm.verifiers import Sandbox, SandboxLimits, SandboxUnavailable, seccomp
from tests.sandbox_cases import require_sandbox

require_sandbox()

LIMITS = SandboxLimits(wall_seconds=3, cpu_seconds=1, memory_mib=128, num_processes=6, file_mib=1, scratch_mib=2, output_kib=64)


@pytest.fixture(scope="module")
def sandbox():
    return Sandbox(LIMITS)


def _alive(marker: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("program", "reason", "status"),
    [
        ("print(1)", "ok", 0),
        ("import sys; sys.exit(3)", "error", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "error", 139),
        ("1 / 0", "error", 1),
        ("while True: pass", "timeout", 137),
        ("import time; time.sleep(60)", "timeout", 137),
        ("import os\nos.fork(); os.fork()\nwhile True: pass", "timeout", 137),
        ("import os, time\nfor _ in range(2): os.fork()\nx = [b'x' * 10**6 for i in range(50)]\ntime.sleep(60)", "memory", 137),
        ("print('x' * 10**6)", "output", 137),
        ("import sys; sys.stderr.write('x' * 10**6)", "output", 137),
        ("import os; os.execv('/nowhere', ['x'])", "error", 1),
    ],
)
def test_ends(sandbox, program, reason, status):
    result = sandbox.run_python(program)
    assert result.status == status and result.reason == reason, result
    assert result.wall_seconds < LIMITS.wall_seconds + 2 and result.cpu_seconds < 3 * LIMITS.cpu_seconds
    assert len(result.stdout) <= 64 << 10 and len(result.stderr) <= 64 << 10


def test_cpu_time_is_counted_though_the_program_was_killed(sandbox):
    result = sandbox.run_python("while True: pass")
    assert 0.7 < result.cpu_seconds < 2


def test_input_and_both_outputs(sandbox):
    data = os.urandom(20_000)
    result = sandbox.run_python("import sys; b = sys.stdin.buffer.read(); sys.stdout.buffer.write(b); sys.stderr.buffer.write(b[::-1])", data)
    assert result.reason == "ok" and result.stdout == data and result.stderr == data[::-1]
    assert sandbox.run_python("print(len(input()))", b"x" * 10**7 + b"\n").stdout == b"10000000\n"
    assert sandbox.run_python("import os; os.close(0); print(1)", b"x" * 10**6).stdout == b"1\n"


def test_what_a_program_sees(sandbox):
    result = sandbox.run_python("import os; print(sorted(os.listdir('/tmp')), sorted(os.environ), os.getcwd(), os.getuid(), os.uname().nodename)")
    assert result.stdout == b"[] ['HOME', 'LANG', 'MALLOC_ARENA_MAX', 'PATH', 'PWD', 'PYTHONHASHSEED'] /tmp 65534 sandbox\n"
    seen = sandbox.run_python("import os; print(os.listdir('/'))").stdout.decode()
    assert set(eval(seen)) <= {"tmp", "dev", "proc", "lib", "lib32", "lib64", "libx32", "usr", "bin", "etc", Path(sandbox.python).parts[1]}


def test_a_line_at_a_time(sandbox):
    program = "import sys\nfor line in sys.stdin: print(line.strip() * 2, flush=True)"
    with sandbox.start(sandbox.python_command(program)) as process:
        for word in (b"a", b"bc"):
            process.send(word + b"\n")
            assert process.read_line() == word * 2 and not process.unread
        process.end_input()
        assert process.read_line() is None
        assert process.finish().reason == "ok"
    with sandbox.start(sandbox.python_command("print('x', end='')")) as process:
        assert process.read_line() is None and process.finish().stdout == b"x"


def test_nothing_is_left_on_threads(sandbox):
    ignore = "for s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass"
    programs = [
        "print(1)",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1e4)\nprint(1)",
        f"import signal\n{ignore}\nprint('x' * 10**6)",
    ]
    sandbox.run_python("")
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(sandbox.run_python, [f"# left_on_threads\n{program}" for program in programs * 8]))
    assert [result.reason for result in results] == ["ok", "ok", "output"] * 8
    assert len(os.listdir("/proc/self/fd")) == before
    assert not _alive("left_on_threads")
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True).stdout
    assert "bwrap" not in children


def test_leaving_early_kills(sandbox):
    with pytest.raises(KeyboardInterrupt), sandbox.start(sandbox.python_command("# left_early\nimport time; time.sleep(1e4)")):
        assert _alive("left_early")
        raise KeyboardInterrupt
    assert not _alive("left_early")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_programs_die_with_the_trainer(how):
    script = (
        "from paradigm.verifiers import Sandbox; s = Sandbox(); print(1, flush=True)\n"
        f"s.run_python('# orphan_{how}\\nimport os, time; os.fork(); os.setsid(); time.sleep(1e4)')"
    )
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert trainer.stdout.readline() == b"1\n"
    marker = f"\n# orphan_{how}\n"[1:]
    deadline = time.monotonic() + 20
    while len(_alive(marker)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(_alive(marker)) >= 3
    trainer.send_signal(getattr(signal, how))
    trainer.wait()
    trainer.stdout.close()
    while _alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(marker)


def test_a_sandbox_pickles(sandbox):
    assert pickle.loads(pickle.dumps(sandbox)).run_python("print(2)").stdout == b"2\n"


def test_limits_are_checked():
    bad = {"wall_seconds": 0, "cpu_seconds": 0, "memory_mib": -1, "num_processes": 0, "scratch_mib": -1, "output_kib": float("nan")}
    for name, value in bad.items():
        with pytest.raises(ValueError, match=name):
            dataclasses.replace(LIMITS, **{name: value})
    assert Sandbox(dataclasses.replace(LIMITS, scratch_mib=0)).run_python("open('/tmp/x', 'w')").reason == "error"


def _fake_bwrap(folder: Path, script: str) -> None:
    for name in ("prlimit", "setpriv"):
        (folder / name).symlink_to(next(path for path in (Path("/usr/bin", name), Path("/bin", name)) if path.exists()))
    (folder / "bwrap").write_text("#!/bin/sh\n" + script)
    (folder / "bwrap").chmod(0o755)


def test_without_bubblewrap_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="apt install bubblewrap"):
        Sandbox()


def test_where_namespaces_are_forbidden_the_error_says_so(tmp_path, monkeypatch):
    _fake_bwrap(tmp_path, "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"No permissions to create new namespace.*unprivileged_userns_clone"):
        Sandbox()


def test_a_sandbox_that_is_none_is_refused(tmp_path, monkeypatch):
    """This bwrap makes no namespaces at all and runs what follows `--`."""
    script = """
while [ "$1" != -- ]; do [ "$1" = --info-fd ] && fd=$2; shift; done
shift
while [ "$1" != /bin/sh ] && [ "${1##*/}" != dash ] && [ "${1##*/}" != bash ]; do shift; done
eval "echo '{\\"child-pid\\": '$$'}' > /proc/self/fd/$fd"
exec "$@"
"""
    _fake_bwrap(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("paradigm.verifiers.sandbox._map_ids", lambda *_: None)
    with pytest.raises(SandboxUnavailable, match="leaks here"):
        Sandbox()


def test_a_missing_interpreter_is_named():
    with pytest.raises(SandboxUnavailable, match="/nowhere/python"):
        Sandbox(python="/nowhere/python")


def test_descriptors_and_threads_after_a_failure(tmp_path, monkeypatch):
    _fake_bwrap(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with pytest.raises(SandboxUnavailable):
            Sandbox()
    assert len(os.listdir("/proc/self/fd")) == before and threading.active_count() == threads


def test_the_filter_is_for_machines_that_it_knows():
    assert seccomp.seccomp_program("riscv64") is None
    for machine in ("x86_64", "aarch64"):
        program = seccomp.seccomp_program(machine)
        assert program is not None and len(program) % 8 == 0 and len(program) <= 4096  # what a pipe always holds


@pytest.mark.parametrize(
    ("column", "header"), [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")]
)
def test_numbers_of_system_calls_are_the_kernels(column, header):
    if not os.path.exists(header):
        pytest.skip(f"{header} is missing: apt install linux-libc-dev")
    listed = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())}
    for name, numbers in seccomp._REFUSED.items():
        assert listed.get(name) in (numbers[column], None), name
    for name, numbers in (("clone", seccomp._CLONE), ("socket", seccomp._SOCKET), ("ioctl", seccomp._IOCTL)):
        assert listed[name] == numbers[column]
