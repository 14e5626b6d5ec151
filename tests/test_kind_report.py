"""The report of a run on several kinds: sentences that its numbers say, a curve a kind, and pass@k."""

import json
from pathlib import Path

from paradigm.claims import attempts_claim, group_runs, kinds_claim, transfer_claim
from paradigm.kind_report import of_kind
from paradigm.report import write_report
from paradigm.run_folder import read_run
from paradigm.statistics import proportion_difference


def make_run(folder: Path, rl: dict[str, int], transfer: tuple[int, int] = (20, 26)) -> Path:
    """A run in which imitation solves 50 of 100 problems of each kind, and RL what is said."""
    folder.mkdir()
    world = {"kind": "mixture", "kinds": []}
    stages = [{"name": name, "kind": name, "trained_tokens": 1000, "seconds": 1.0} for name in ("imitate", "rl")]
    resolved = {"world": world, "evaluation": {"recovery": [], "pass_at": [1, 8]}, "stages": [{"kind": "imitate"}, {"kind": "rl"}]}
    (folder / "run.json").write_text(json.dumps({"name": "kinds", "stages": stages, "resolved": resolved}))
    rows = []
    imitated = ("imitated", "imitate", 1000, dict.fromkeys(rl, 50), transfer[0])
    for policy, stage, tokens, counts, other in (imitated, ("rl", "rl", 2000, rl, transfer[1])):
        by_kind = {kind: [count, 100] for kind, count in counts.items()}
        rows.append({"policy": policy, "stage": stage, "tokens": tokens, "problems": 100 * len(rl), "correct": sum(counts.values()),
                     "by_operation": by_kind, "transfer": {"unseen": [other, 100]}})  # fmt: skip
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metrics.jsonl").write_text("")
    (folder / "transcripts.json").write_text("[]")
    (folder / "pass_at_k.json").write_text(json.dumps([
        {"policy": policy, "stage": stage, "problems": 50, "samples": 16, "kind": kind, "transfer": kind == "unseen",
         "pass_at": {"1": [value, value - 0.1, value + 0.1], "8": [value + 0.2, value + 0.1, value + 0.25]}}
        for policy, stage, value in (("imitated", "imitate", 0.5), ("rl", "rl", 0.7)) for kind in ("", "sums", "unseen")
    ]))  # fmt: skip
    return folder


def test_claims_are_what_the_numbers_say(tmp_path: Path) -> None:
    (group,) = group_runs([read_run(make_run(tmp_path / "run", {"sums": 80, "words": 52, "letters": 20}))])
    assert kinds_claim(group) == (
        "Of 3 kinds of problems RL is measurably above imitation on 1, below it on 1, and not measurably different on 1"
    )
    difference = proportion_difference(26, 100, 20, 100)
    assert transfer_claim(group) == (
        f"On kinds never trained on RL solves 26.0% of problems, not measurably different from imitation (+6.0 points, 95% interval "
        f"−{-100 * difference.low:.1f} to {100 * difference.high:.1f})"
    )
    assert attempts_claim(group) == (
        "At least one of 8 attempts is right at 70.0% (95% interval 60.0 to 75.0) after imitation, 90.0% (95% interval 80.0 to 95.0) after RL"
    )
    (worse,) = group_runs([read_run(make_run(tmp_path / "worse", {"sums": 10}, (60, 10)))])
    assert "below it on 1," in kinds_claim(worse) and "10.0% of problems, 50.0 points below imitation" in transfer_claim(worse)


def test_a_kinds_group_has_that_kinds_counts(tmp_path: Path) -> None:
    (group,) = group_runs([read_run(make_run(tmp_path / "run", {"sums": 80, "words": 52}))])
    assert of_kind(group, "sums").success("rl").estimate.value == 0.8 and of_kind(group, "unseen").success("rl").estimate.value == 0.26
    assert of_kind(group, "absent").success("rl") is None


def test_the_page_has_a_curve_a_kind_and_each_k(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", {"sums": 80, "words": 52})).read_text()
    for kind in ("sums", "words", "unseen"):
        assert f"Success on {kind}" in page
    assert "Imitated, pass@1" in page and "RL, pass@8" in page and "(never trained on)" in page and "all kinds never trained on" not in page
    assert "incomplete" not in page and 'id="recovery"' not in page
    row = {"policy": "rl", "stage": "rl", "problems": 5, "samples": 8, "pass_at": {"8": [0.5, 0.6, 0.7]}}
    (tmp_path / "run" / "pass_at_k.json").write_text(json.dumps([row]))
    page = write_report(tmp_path / "run").read_text()
    assert "pass_at must map numbers to an estimate inside its interval" in page and 'id="attempts"' not in page
