"""Peak memory of one provider in a process of its own: python -m benchmarks.apart SUBJECT CASE PROVIDER [--variant V] [--quick] [--device D].

Prints one JSON object. A process that has run others before keeps their pages, so within a race peaks say little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.machine import resident_mib
from paradigm.allocator import keep_freed_memory

__all__ = ["apart_peaks"]

_RUNS = 3  # optimizer states and caches are there from the second on
_TIMEOUT_S = 3600


def apart_peaks(subject: str, number: int, provider: str, variant: str, setting: Any) -> tuple[float | None, float | None]:
    """MiB: the peak of resident memory of a process that builds case `number`'s provider and runs it, and how much of it came after building.

    Returns: (None, None) where the system does not tell. Raises: RuntimeError with what it printed if the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.apart", subject, str(number), provider, "--variant", variant, "--device", setting.device]
    done = subprocess.run(
        [*command, *(["--quick"] if setting.quick else [])], cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=_TIMEOUT_S,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{provider} failed in a process of its own: {done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["process_peak_mib"], found["step_peak_mib"]


def main() -> None:
    from benchmarks.__main__ import load_subject
    from benchmarks.harness import Setting

    parser = argparse.ArgumentParser(prog="python -m benchmarks.apart", description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("case", type=int)
    parser.add_argument("provider")
    parser.add_argument("--variant", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    setting = Setting(quick=options.quick, device=options.device, variant=options.variant)
    keep_freed_memory()  # as in the race
    case = next(islice(load_subject(options.subject).cases(setting), options.case, None))
    contestant = case.providers[options.provider]()
    built = resident_mib("VmRSS")
    for _ in range(_RUNS):
        contestant.run()
    peak = resident_mib("VmHWM")
    after = None if built is None or peak is None else max(0.0, peak - built)
    print(json.dumps({"process_peak_mib": peak, "step_peak_mib": after}))
    if hasattr(contestant.run, "close"):
        contestant.run.close()


if __name__ == "__main__":
    main()
