"""The README's throughput table is that of the newest records."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.harness import read_records, write_records

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def test_the_readme_is_up_to_date() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.replaced(text, readme.render()) == text, "run python -m benchmarks.readme"
    assert readme.main(["--check"]) == 0


def test_a_newer_record_takes_the_place_of_an_older_one(tmp_path) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    old = RESULTS / "2026-11-25-epyc-2c-rollouts.jsonl"
    shutil.copy(old, results)
    before = readme.render(tmp_path)
    assert "[**8.7x / 3.2x / 2.1x**](benchmarks/results/2026-11-25-epyc-2c-rollouts.jsonl)" in before and "\u2020" not in before
    assert "(goal 3x missed)" in before and "not measured" not in before, "a row that nobody measured is left out"
    newer = [dataclasses.replace(r, ratio=None if r.ratio is None else r.ratio + 1, commit="0123-dirty") for r in read_records(old)]
    write_records(results / "2026-11-26-epyc-2c-rollouts.jsonl", newer)
    write_records(results / "2026-11-27-epyc-2c-rollouts-quick.jsonl", newer[:1])
    after = readme.render(tmp_path)
    assert "[**9.7x / 4.2x / 3.1x**](benchmarks/results/2026-11-26-epyc-2c-rollouts.jsonl)\u2020" in after and "uncommitted" in after
    write_records(results / "2026-11-24-riscv-64c-scheduler.jsonl", read_records(RESULTS / "2026-11-23-xeon-processor-2c-scheduler.jsonl"))
    other = readme.render(tmp_path)
    assert "riscv-64c, 2026-11-24 |" in other and "[84 / \u2013 us](benchmarks/results/2026-11-24-riscv-64c-scheduler.jsonl)" in other


def test_a_step_with_its_floor(tmp_path) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    like = read_records(RESULTS / "2026-11-25-epyc-2c-rollouts.jsonl")[0]
    rows = [
        dataclasses.replace(like, subject="grpo_step", op="GRPO step", provider=provider, ms=ms, ratio=8000 / ms, times_floor=ms / 3000, goal=None)
        for provider, ms in (("paradigm", 4000.0), ("paradigm, prompts not shared in the update", 5000.0))
    ]
    write_records(results / "2026-12-01-epyc-2c-grpo_step.jsonl", rows)
    link = "benchmarks/results/2026-12-01-epyc-2c-grpo_step.jsonl"
    assert f"| TRL | 4 / 5 s, [**2x / 1.6x**]({link}), 1.3 / 1.7 times [the floor]" in readme.render(tmp_path)


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="once each"):
        readme.replaced("no marks", "table")
