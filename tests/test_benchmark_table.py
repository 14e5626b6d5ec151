"""The README's throughput table and plots are those of the newest records."""

import dataclasses
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import plots, readme
from benchmarks.harness import read_records, write_records
from benchmarks.newest import newest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def test_the_readme_and_the_plots_are_up_to_date() -> None:
    made = readme.generated()
    assert {"README.md", "throughput.svg"} <= {path.name for path in made}
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m benchmarks.readme"
    assert made == readme.generated(), "the same records give the same bytes"


def test_what_is_older_than_the_records_is_told_and_made_anew(tmp_path, monkeypatch, capsys) -> None:
    for folder in ("benchmarks/results", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copy(RESULTS / "2026-11-25-epyc-2c-rollouts.jsonl", tmp_path / "benchmarks" / "results")
    made = readme.generated(tmp_path)
    monkeypatch.setattr(readme, "generated", lambda: made)
    assert readme.main(["--check"]) == 1
    assert "README.md is older than benchmarks/results" in (told := capsys.readouterr().err) and "throughput.svg is older" in told
    assert readme.main([]) == 0 and readme.main(["--check"]) == 0 and "docs/throughput.svg" in (tmp_path / "README.md").read_text()
    assert "docs/growth.svg" not in (tmp_path / "README.md").read_text(), "nobody measured it"
    (tmp_path / "docs" / "throughput.svg").write_text("<svg/>")
    assert readme.main(["--check"]) == 1


def test_bars_show_every_measured_ratio_and_growth_every_size(tmp_path) -> None:
    shutil.copy(RESULTS / "2026-11-25-epyc-2c-grpo_step.jsonl", tmp_path)
    bars = ET.fromstring(plots.throughput(newest(tmp_path)))
    texts = [element.text for element in bars.iter() if element.tag.endswith("text")]
    assert [t for t in texts if t in ("2.1x", "1.7x", "2.6x", "2.2x")] == ["2.1x", "1.7x", "2.6x", "2.2x"] and "SFT step, fp32" not in texts
    assert plots.growth(newest(tmp_path)) is None
    like = read_records(RESULTS / "2026-11-25-epyc-2c-scheduler.jsonl")[0]
    sizes = {"rollouts, slots": ("1 slots", "64 slots", "16 slots"), "training step, documents": ("1 documents", "4 documents")}
    rows = [
        dataclasses.replace(like, subject="growth", op=op, provider=provider, rate=10.0 * (i + 1), ms=5.0 + i, unit="GFLOP/s")
        for op, providers in sizes.items() for i, provider in enumerate(providers)
    ]  # fmt: skip
    write_records(tmp_path / "2026-12-01-epyc-2c-growth.jsonl", rows)
    panels = ET.fromstring(plots.growth(newest(tmp_path)) or "")
    texts = [element.text for element in panels.iter() if element.tag.endswith("text")]
    dots = [(float(e.attrib["cx"]), float(e.attrib["cy"])) for e in panels.iter() if e.tag.endswith("circle")]
    assert set(sizes) <= set(texts) and [t for t in texts if t in ("1", "16", "64")][:3] == ["1", "16", "64"] and len(dots) == 5
    one, sixteen, sixty_four = dots[:3]
    assert one[0] < sixteen[0] < sixty_four[0] and sixteen[1] < sixty_four[1] < one[1], "in the order of sizes; a greater rate is higher"


def test_a_newer_record_takes_the_place_of_an_older_one(tmp_path) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    old = RESULTS / "2026-11-25-epyc-2c-rollouts.jsonl"
    shutil.copy(old, results)
    before = readme.render(tmp_path)
    shown = re.compile(r"\[\*\*([\d.]+)x / ([\d.]+)x / ([\d.]+)x\*\*\]\(benchmarks/results/([\w-]+)\.jsonl\)(\u2020?)")
    *ratios, name, mark = next(shown.finditer(before)).groups()
    assert (name, mark) == ("2026-11-25-epyc-2c-rollouts", "") and len(set(ratios)) == 3
    assert "(goal 3x missed)" in before and "not measured" not in before, "a row that nobody measured is left out"
    newer = [dataclasses.replace(r, ratio=None if r.ratio is None else r.ratio + 1, commit="0123-dirty") for r in read_records(old)]
    write_records(results / "2026-11-26-epyc-2c-rollouts.jsonl", newer)
    write_records(results / "2026-11-27-epyc-2c-rollouts-quick.jsonl", newer[:1])
    after = readme.render(tmp_path)
    *above, name, mark = next(shown.finditer(after)).groups()
    assert (name, mark) == ("2026-11-26-epyc-2c-rollouts", "\u2020") and "uncommitted" in after
    assert [float(ratio) for ratio in above] == pytest.approx([float(ratio) + 1 for ratio in ratios], abs=0.6)  # 9.6 and 11 are what is shown
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


def test_a_row_beside_two_rivals(tmp_path) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    like = read_records(RESULTS / "2026-11-25-epyc-2c-rollouts.jsonl")[0]
    rates = {1: {"paradigm exact": 900.0, "transformers": 300.0, "llama.cpp": 600.0}, 32: {"paradigm exact": 6000.0, "transformers": 1500.0}}
    rows = [
        dataclasses.replace(
            like, subject="llama_cpp", shape=f"1.8M, batch {batch}, 32 + 64 tokens", provider=provider, rate=rate, goal=None,
            ratio=rate / providers["transformers"],
        )
        for batch, providers in rates.items() for provider, rate in providers.items()
    ]  # fmt: skip
    absent = dataclasses.replace(rows[2], shape=rows[3].shape, ms=None, rate=None, ratio=None, not_measured="not measured: pip install it")
    write_records(results / "2026-12-01-epyc-2c-llama_cpp.jsonl", [*rows, absent])
    link = "benchmarks/results/2026-12-01-epyc-2c-llama_cpp.jsonl"
    told = readme.render(tmp_path)
    assert f"900 / 6k / \u2013 tok/s, [**3x / 4x / \u2013**]({link}) transformers, **1.5x / \u2013 / \u2013** llama.cpp |" in told
    assert "SmolLM2" not in told, "a row that nobody measured is left out"


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="once each"):
        readme.replaced("no marks", "table")
