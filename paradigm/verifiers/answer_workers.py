"""Sandboxes that judge answers, kept running between them: for verdicts that take code which an answer could keep busy, or run."""

from __future__ import annotations

import json
import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from paradigm.verifiers.sandbox import Sandbox, SandboxLimits, SandboxProcess, SandboxUnavailable

__all__ = ["AnswerWorkers"]

logger = logging.getLogger(__name__)

_HARNESS = Path(__file__).with_name("answer_harness.py")
_START_SECONDS = 120.0


class AnswerWorkers:
    """Runs one judge of answer_harness.py. Safe with threads.

    Args:
        judge: which one.
        distributions: the installed packages that it needs.
        seconds: CPU time for one answer, whole seconds.
        num_workers: sandboxes, each started when first needed.
        scratch_mib: what fits in its /tmp, for packages that cannot be imported without.
    Raises: ImportError if a package is missing; SandboxUnavailable, saying what to install or allow.
    """

    def __init__(
        self, judge: Literal["mathematics", "reasoning_gym"], distributions: Sequence[str], *, seconds: int, num_workers: int, scratch_mib: int = 0,
    ):  # fmt: skip
        limits = SandboxLimits(
            wall_seconds=1e8, cpu_seconds=10**8, memory_mib=1024, num_processes=4, scratch_mib=scratch_mib, file_mib=1, output_kib=1 << 20
        )
        self._judge, self._seconds = judge, seconds
        self._sandbox = Sandbox(limits, distributions=distributions)
        # a sandbox dies with the thread that started it, so the threads are its own
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix=judge)
        self._workers: dict[int, SandboxProcess] = {}
        weakref.finalize(self, _close, self._pool, self._workers)

    def ask(self, *arguments: Any) -> bytes | None:
        """The judge's answer, `true` or `false`; `null` where it took too long or too much memory, None where it did not start."""
        return self._pool.submit(self._ask, json.dumps(arguments).encode() + b"\n").result()

    def _ask(self, question: bytes) -> bytes | None:
        thread = threading.get_ident()
        if thread not in self._workers:
            try:
                worker = self._sandbox.start(self._sandbox.python_command(_HARNESS.read_text(), self._judge, str(self._seconds)))
            except (SandboxUnavailable, OSError) as error:
                logger.warning("no sandbox for %s: %s", self._judge, error)
                return None
            self._workers[thread] = worker
            if worker.read_line(_START_SECONDS) != b"ready":
                self._workers.pop(thread).close()
                return None
        worker = self._workers[thread]
        worker.send(question)
        said = worker.read_line(2.0 * self._seconds + 10)
        if said is None or worker.unread:  # it is of no more use; the next answer gets another
            self._workers.pop(thread).close()
            return b"null"
        return said


def _close(pool: ThreadPoolExecutor, workers: dict[int, SandboxProcess]) -> None:
    pool.shutdown(wait=True)
    for worker in workers.values():
        worker.close()
