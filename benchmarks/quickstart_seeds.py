"""`make results`: the quickstart with all its controls at several seeds, and one record with every figure's mean and spread.

    python -m benchmarks.quickstart_seeds --out benchmarks/results [--seeds 0 1 2]

Each seed's run directory stays in runs/; a seed that was interrupted goes on where its last checkpoint was.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.machine import describe_machine
from paradigm.recipe import load_recipe
from paradigm.recipe_run import run_recipe
from paradigm.report import write_report
from paradigm.run import read_json, write_json
from paradigm.statistics import mean_over_seeds, wilson_interval

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart_controls.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run (default: 0 1 2)")
    options = parser.parse_args()
    folders = []
    for seed in options.seeds:
        folders.append(Path("runs") / f"quickstart_controls-seed{seed}")
        run_recipe(load_recipe(RECIPE, [f"seed={seed}"]), folders[-1], source_name=RECIPE.name)
        write_report([folders[-1]])
    page = write_report(folders, Path("runs") / "quickstart_controls.html")
    success: dict[tuple[str, float], list[dict]] = defaultdict(list)
    for folder in folders:
        for row in map(json.loads, (folder / "evaluations.jsonl").read_text().splitlines()):
            if row["final"]:
                success[row["policy"], row["temperature"]].append(row)
    first = read_json(folders[0] / "run.json")
    record = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "commit": describe_machine()["commit"], "recipe": RECIPE.name,
        "seeds": options.seeds,
        "hardware": first["hardware"], "versions": first["versions"],
        "runs": [{key: read_json(folder / "run.json")[key] for key in ("seed", "run_seconds", "stages")} for folder in folders],
        "success": [_summary(policy, temperature, rows) for (policy, temperature), rows in success.items()],
        "recovery": {str(seed): read_json(folder / "recovery.json", []) for seed, folder in zip(options.seeds, folders)},
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{record['date']}-cpu-quickstart-seeds.json"
    write_json(path, record)
    for row in record["success"]:
        print(f"{row['policy']:32} T={row['temperature']:g}  {100 * row['mean']:5.1f}%  seeds {[f'{100 * s:.1f}' for s in row['by_seed']]}")
    print(f"{path}\n{page}")


def _summary(policy: str, temperature: float, rows: list[dict]) -> dict:
    shares = [row["correct"] / row["problems"] for row in rows]
    over_seeds = mean_over_seeds(shares)
    pooled = wilson_interval(sum(row["correct"] for row in rows), sum(row["problems"] for row in rows))
    return {"policy": policy, "temperature": temperature, "problems_per_seed": rows[0]["problems"], "by_seed": shares, "mean": over_seeds.mean,
            "std": None if len(shares) < 2 else over_seeds.std, "pooled_95": [pooled.low, pooled.high],
            "tokens_per_problem": sum(row["tokens_per_problem"] for row in rows) / len(rows)}  # fmt: skip


if __name__ == "__main__":
    main()
