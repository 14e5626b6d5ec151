"""Runs programs that nobody trusts, in bubblewrap: no network, a read-only root that holds an interpreter and little else, hard limits.

`docs/sandbox.md` says what is enforced by what, and what is not protected against.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradigm.verifiers.sandbox_process import SandboxLimits, SandboxProcess, SandboxResult
from paradigm.verifiers.seccomp import seccomp_program

__all__ = ["Sandbox", "SandboxLimits", "SandboxProcess", "SandboxResult", "SandboxUnavailable"]

_NOBODY = 65534
_SETUP_SECONDS = 30.0
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the order of a set of strings shows in what a program prints
    "MALLOC_ARENA_MAX": "2",  # each arena takes 64 MiB of address space, which is limited
}
_NAMESPACES = ("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
# the program is a child of the shell, process 1: an ordinary process, and the end of process 1 is the end of all
_SHELL = '"$@"; exit $?'
_HINT = (
    "User namespaces must be allowed: on Debian `sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile for bwrap, in Docker "
    "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
)
# what the sandbox must be, seen from inside
_PROBE = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def refused(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return True
    return False
print(json.dumps({
    "network": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
    "capabilities": int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status["CapBnd"], 16),
    "new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "uid": os.getuid(),
    "process": os.getpid(),
    "writable": [p for p in ("/file", "/dev/file", "/dev/shm/file", "/proc/sys/kernel/core_pattern") if not refused(p)],
}))
"""


class SandboxUnavailable(RuntimeError):
    """This machine cannot make a sandbox; the message says what to install or to allow. Nothing is ever run without one."""


@dataclass(frozen=True)
class _Tools:
    bwrap: str
    prlimit: str
    setpriv: str | None  # needed by root only
    shell: str
    python: str
    distributions: tuple[str, ...]
    mounts: tuple[str, ...]  # arguments of bwrap


class Sandbox:
    """Starts programs, each in a sandbox of its own. Safe with threads; a process lives no longer than the thread that started it.

    Args:
        limits: of every program.
        python: the interpreter that programs see; None: the one that runs this, without its packages.
        distributions: installed packages that programs do see, in `/packages`, by the names that pip knows.
    Raises: ImportError if a distribution is not installed; SandboxUnavailable if bubblewrap is missing or this machine forbids what it needs.
    """

    def __init__(self, limits: SandboxLimits | None = None, *, python: str | None = None, distributions: Sequence[str] = ()):
        self.limits = limits or SandboxLimits()
        self._tools = _find_tools(python or sys.executable, os.environ.get("PATH"), tuple(distributions))
        _prove(self._tools)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.limits, self._tools.python, self._tools.distributions)

    @property
    def python(self) -> str:
        """The interpreter's path, inside and outside."""
        return self._tools.python

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> SandboxResult:
        """Runs a program to its end, or to the end of its limits.

        Args:
            argv: the program's path inside and its arguments. Inside are the C library and its kin, the interpreter, an empty `/tmp`.
            stdin: what it may read.
        """
        with self.start(argv) as process:
            process.send(stdin)
            process.end_input()
            return process.finish()

    def run_python(self, source: str, stdin: bytes = b"") -> SandboxResult:
        """Runs a Python program in the interpreter, without packages."""
        return self.run(self.python_command(source), stdin)

    def python_command(self, source: str, *arguments: str) -> list[str]:
        """argv of a Python program given as text."""
        return [self.python, "-s", "-B", "-X", "utf8", "-c", source, *arguments]

    def start(self, argv: Sequence[str]) -> SandboxProcess:
        """Starts a program to talk with. Use it as a context manager: leaving it kills and reaps whatever is left.

        Raises: SandboxUnavailable if bubblewrap ends before it made the namespaces.
        """
        return _start(self._tools, self.limits, argv)


def _rebuild(limits: SandboxLimits, python: str, distributions: tuple[str, ...]) -> Sandbox:
    return Sandbox(limits, python=python, distributions=distributions)


@functools.lru_cache
def _find_tools(python: str, path: str | None, distributions: tuple[str, ...]) -> _Tools:
    if sys.platform != "linux":
        raise SandboxUnavailable(f"the sandbox needs Linux's namespaces, this is {sys.platform}")
    if not hasattr(os, "pidfd_open"):
        raise SandboxUnavailable("the sandbox needs pidfd_open: Linux 5.3 or later, and a Python built on it")
    bwrap, prlimit, setpriv = (shutil.which(name, path=path) for name in ("bwrap", "prlimit", "setpriv"))
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap is missing (no `bwrap` on PATH). On Debian or Ubuntu: apt install bubblewrap")
    if prlimit is None or (os.geteuid() == 0 and setpriv is None):
        raise SandboxUnavailable("prlimit or setpriv is missing. On Debian or Ubuntu: apt install util-linux")
    interpreter = os.path.realpath(python)
    if not os.access(interpreter, os.X_OK):
        raise SandboxUnavailable(f"python must be an interpreter, got {python!r}")
    shell = os.path.realpath("/bin/sh")
    programs = [os.path.realpath(path) for path in (prlimit, setpriv) if path] + [shell, interpreter]
    mounts = _mounts(programs, Path(interpreter).parents[1]) + _package_mounts(distributions)
    return _Tools(bwrap, programs[0], setpriv and programs[1], shell, interpreter, distributions, tuple(mounts))


def _package_mounts(distributions: Sequence[str]) -> list[str]:
    folders: dict[str, str] = {}
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        parts = {Path(file).parts[0] for file in distribution.files or ()}
        folders |= {f"/packages/{part}": str(distribution.locate_file(part)) for part in parts if not part.startswith((".", "__"))}
    mounts = ["--perms", "0755", "--dir", "/packages"] if folders else []
    return mounts + [word for inside, outside in sorted(folders.items()) for word in ("--ro-bind", outside, inside)]


def _mounts(programs: Sequence[str], prefix: Path) -> list[str]:
    """The whole file system: system libraries, the programs, the interpreter's library less its packages; /proc, /dev and an empty /tmp."""
    libraries = [Path("/usr", name) for name in ("lib", "lib32", "lib64", "libx32")]
    links: list[str] = []
    for name in ("lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            links += ["--symlink", os.readlink(path), str(path)]
        else:
            libraries.append(path)
    libraries += [prefix / "lib", prefix / "lib64"]
    bound = dict.fromkeys(str(path) for path in libraries if path.is_dir())
    bound |= dict.fromkeys([*programs, *(["/etc/ld.so.cache"] if os.path.exists("/etc/ld.so.cache") else [])])
    # bubblewrap would make the folders above a file for the owner alone
    parents = sorted({str(parent) for path in bound for parent in Path(path).parents if str(parent) != "/"})
    mounts = [word for path in parents for word in ("--perms", "0755", "--dir", path)]
    mounts += [word for path in bound for word in ("--ro-bind", path, path)] + links
    packages = [path for kind in ("site-packages", "dist-packages") for path in sorted(prefix.glob(f"lib*/python3*/{kind}")) if path.is_dir()]
    for path in packages:
        mounts += ["--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
    return [*mounts, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]


def _command(tools: _Tools, limits: SandboxLimits, argv: Sequence[str], as_root: bool, channels: Sequence[str]) -> list[str]:
    mib = 1 << 20
    command = [tools.bwrap, *_NAMESPACES, "--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", *channels, *tools.mounts]
    if limits.scratch_mib:
        command += ["--size", str(limits.scratch_mib * mib), "--perms", "1777", "--tmpfs", "/tmp"]
    else:
        command += ["--dir", "/tmp"]
    command += ["--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    command += [word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)]
    inside: list[str] = []
    if as_root:
        # root's files, /proc/sys among them, obey root's id even in a user namespace, and root's processes are not counted: another id is mapped in
        assert tools.setpriv is not None
        command += ["--cap-drop", "ALL", *(word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}"))]
        inside += [tools.setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        inside += ["--ambient-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]  # a change of id forgets bubblewrap's --die-with-parent
    else:
        command += ["--uid", str(_NOBODY), "--gid", str(_NOBODY), "--cap-drop", "ALL"]
    inside += [tools.prlimit, f"--as={limits.memory_mib * mib}", f"--nproc={limits.num_processes + 1}", f"--fsize={limits.file_mib * mib}"]
    inside += [f"--nofile={limits.num_open_files}", f"--cpu={limits.cpu_seconds}", "--core=0", "--msgqueue=0", "--memlock=0"]
    return [*command, "--", *inside, "--", tools.shell, "-c", _SHELL, "sh", *argv]


def _start(tools: _Tools, limits: SandboxLimits, argv: Sequence[str]) -> SandboxProcess:
    as_root = os.geteuid() == 0
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

        def pipe(inside_reads: bool) -> tuple[int, int]:
            """The end that bubblewrap inherits, and ours."""
            reader, writer = os.pipe()
            inherited, kept = (reader, writer) if inside_reads else (writer, reader)
            theirs.callback(os.close, inherited)
            return inherited, kept

        info, info_reader = pipe(inside_reads=False)
        ours.callback(os.close, info_reader)
        channels, inherited = ["--info-fd", str(info)], [info]
        blocker = -1
        if as_root:
            block, blocker = pipe(inside_reads=True)
            ours.callback(os.close, blocker)
            channels += ["--userns-block-fd", str(block)]
            inherited.append(block)
        program = seccomp_program()
        if program is not None:
            filter_reader, filter_writer = pipe(inside_reads=True)
            os.write(filter_writer, program)  # a pipe holds at least 4096 bytes, the program is shorter
            os.close(filter_writer)
            channels += ["--seccomp", str(filter_reader)]
            inherited.append(filter_reader)
        # an empty environment: bubblewrap's own is to be read in /proc/1/environ
        outer = subprocess.Popen(
            _command(tools, limits, argv, as_root, channels),
            bufsize=0, env={}, cwd="/", pass_fds=inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        theirs.close()
        process = SandboxProcess(outer, limits)
        try:
            init = _read_init(info_reader, process)
            process.adopt(init)
            if as_root:
                _map_ids(init, process)
                os.write(blocker, b"1")
        except (ProcessLookupError, BrokenPipeError) as error:  # it ended between two of these steps
            raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here: {process.failure()}. {_HINT}") from error
        except BaseException:
            process.close()
            raise
        return process


def _read_init(info_reader: int, process: SandboxProcess) -> int:
    """The sandbox's process 1, by its number here."""
    text = b""
    while not text.rstrip().endswith(b"}"):
        chunk = os.read(info_reader, 4096) if process.wait_readable(info_reader, _SETUP_SECONDS) else b""
        if not chunk:
            raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here: {process.failure()}. {_HINT}")
        text += chunk
    return int(json.loads(text)["child-pid"])


def _map_ids(init: int, process: SandboxProcess) -> None:
    try:
        for kind in ("uid", "gid"):
            Path(f"/proc/{init}/{kind}_map").write_text(f"0 0 1\n{_NOBODY} {_NOBODY} 1\n")
    except OSError as error:
        raise SandboxUnavailable(f"root may not map user {_NOBODY} into a user namespace here: {error}. {_HINT}") from error


@functools.lru_cache
def _prove(tools: _Tools) -> None:
    """Looks from inside whether the sandbox is one. Raises: SandboxUnavailable."""
    limits = SandboxLimits(wall_seconds=_SETUP_SECONDS, cpu_seconds=10)
    with _start(tools, limits, [tools.python, "-s", "-B", "-c", _PROBE]) as process:
        process.end_input()
        result = process.finish()
    if result.reason != "ok":
        said = result.stderr.decode(errors="replace").strip() or f"it ended with {result.reason}, status {result.status}"
        raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here: {said}. {_HINT}")
    seen = json.loads(result.stdout)
    wanted = {"network": ["lo"], "capabilities": 0, "new_privileges": "1", "uid": _NOBODY, "process": 2, "writable": []}
    wanted["seccomp"] = "0" if seccomp_program() is None else "2"
    wrong = {name: seen[name] for name, value in wanted.items() if seen[name] != value}
    if wrong:
        raise SandboxUnavailable(f"bubblewrap's sandbox leaks here: {wrong}, expected {({name: wanted[name] for name in wrong})}")
