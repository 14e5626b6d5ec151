"""What runs inside the sandbox of an answer's verdict: math-verify or reasoning-gym, in a child process for each question.

Reads lines of JSON, the judge's arguments, at stdin and answers `true`, `false` or `null` (no verdict) on stdout. This file's text is handed to
`python -c` with the name of the judge and the seconds that a question may take; its packages lie in /packages.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any


def serve(judge: Callable[..., bool], seconds: int) -> None:
    """Answers each line from a child of its own, so that no question leaves anything behind for the next."""
    for line in sys.stdin:
        arguments = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that an answer makes a parser print is a verdict
            try:
                said = b"true" if judge(*arguments) else b"false"
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


def mathematics() -> Callable[..., bool]:
    """judge(reference, answer): whether math-verify takes them for equal."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]

    def read(text: str) -> list[object]:
        return parse(f"$\\boxed{{{text}}}$", config, fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None)

    def judge(reference: str, answer: str) -> bool:
        # 40 decimals: 355/113 agrees with pi in the library's default of 6
        return bool(verify(read(reference), read(answer), float_rounding=40, numeric_precision=60, strict=True, timeout_seconds=None))

    assert judge("\\frac{1}{2}", "2^{-1}")  # loads what is loaded late
    return judge


def reasoning_gym() -> Callable[..., bool]:
    """judge(generator, options, index, entry, answer): whether the generator's own scorer gives the answer full marks."""
    import reasoning_gym

    def judge(generator: str, options: dict[str, Any], index: int, entry: dict[str, Any], answer: str) -> bool:
        dataset = reasoning_gym.create_dataset(generator, **options)
        own = dataset[index]
        # its own has values that JSON lacks; a few generators depend on Python's hash seed, and then it is another problem
        return bool(dataset.score_answer(answer, own if own["question"] == entry["question"] else entry) >= 1.0)

    return judge


def main() -> None:
    sys.path[:] = [*(entry for entry in sys.path if entry), "/packages"]
    judge = {"mathematics": mathematics, "reasoning_gym": reasoning_gym}[sys.argv[1]]()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(judge, int(sys.argv[2]))


if __name__ == "__main__":
    main()
