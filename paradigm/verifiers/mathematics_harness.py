"""What runs inside the sandbox of a mathematical verdict: math-verify, in a child process for each question.

Reads lines of JSON [reference, answer] at stdin and answers `true`, `false` or `null` (no verdict) on stdout. This file's text is handed to
`python -c` with the seconds that a question may take; its packages lie in /packages.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable


def serve(judge: Callable[[str, str], bool], seconds: int) -> None:
    """Answers each line from a child of its own, so that no question leaves anything behind for the next."""
    for line in sys.stdin:
        reference, answer = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            os.close(reader)
            try:
                said = b"true" if judge(reference, answer) else b"false"
            except Exception:  # whatever the parsers meet in an answer, it is not the right one
                said = b"false"
            os.write(writer, said)
            os._exit(0)
        os.close(writer)
        ready, _, _ = select.select([reader], [], [], 2.0 * seconds)
        said = os.read(reader, 8) if ready else b""
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        sys.stdout.write((said.decode() or "null") + "\n")
        sys.stdout.flush()


def main() -> None:
    sys.path[:] = [*(entry for entry in sys.path if entry), "/packages"]
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]

    def read(text: str) -> list[object]:
        return parse(f"$\\boxed{{{text}}}$", config, fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None)

    def judge(reference: str, answer: str) -> bool:
        # 40 decimals: 355/113 agrees with pi in the library's default of 6
        return bool(verify(read(reference), read(answer), float_rounding=40, numeric_precision=60, strict=True, timeout_seconds=None))

    assert judge("\\frac{1}{2}", "2^{-1}")  # loads what is loaded late
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(judge, int(sys.argv[1]))


if __name__ == "__main__":
    main()
