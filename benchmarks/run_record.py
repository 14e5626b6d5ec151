"""The record of a finished run, to which the README's figures link, and the README's picture of it.

    python -m benchmarks.run_record runs/quickstart-1 --picture docs/quickstart.svg
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.machine import describe_machine
from paradigm.metrics import read_rows
from paradigm.report import learning_picture
from paradigm.run import read_json, write_json

_ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "results", help="folder for the record (default: benchmarks/results)")
    parser.add_argument("--picture", type=Path, help="file for the learning curve, an SVG")
    options = parser.parse_args()
    info = read_json(options.run / "run.json")
    evaluations, preferences = (read_rows(options.run / f"{name}.jsonl") for name in ("evaluations", "preferences"))
    date = datetime.fromtimestamp((options.run / "run.json").stat().st_mtime, timezone.utc).strftime("%Y-%m-%d")
    record = {
        "date": date, "commit": describe_machine()["commit"],
        **{key: info[key] for key in ("command", "recipe", "seed", "hardware", "versions", "setup_seconds", "run_seconds", "stages")},
        "evaluations": [row for row in evaluations if row["final"]], "recovery": read_json(options.run / "recovery.json", []),
    }  # fmt: skip
    curve = [{key: row[key] for key in ("stage", "step", "tokens", "problems", "correct", "by_operation")} for row in evaluations if not row["final"]]
    more = {"curve": curve, "pass_at_k": read_json(options.run / "pass_at_k.json", []), "preferences": preferences}
    record |= {key: value for key, value in more.items() if value}
    path = options.out / f"{date}-{'gpu' if info['hardware']['gpu'] else 'cpu'}-{info['name']}.json"
    write_json(path, record)
    print(path)
    if options.picture is not None:
        options.picture.write_text(learning_picture(options.run), encoding="utf-8")


if __name__ == "__main__":
    main()
