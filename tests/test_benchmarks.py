"""The benchmarks' own arithmetic, records and command; no figure is measured here."""

import dataclasses
import importlib.util
import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import harness, machine
from benchmarks.harness import Case, Contestant, Record, Samples, Setting, Timing, fastest, measure, race, read_records, write_records
from benchmarks.models import QUICKSTART, SMALL, describe, make_policy
from paradigm import cli
from paradigm.config import read_toml

ROOT = Path(__file__).parent.parent


class FakeClock:
    """Seconds that pass only when a contestant says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contestant(self, name: str, seconds, work: float | None = None):
        durations = iter(seconds) if not isinstance(seconds, float) else None

        def run() -> float | None:
            self.log.append(name)
            self.now += seconds if durations is None else next(durations)
            return work

        return run


def test_rivals_take_turns_and_each_begins_in_turn() -> None:
    clock = FakeClock()
    contestants = {name: clock.contestant(name, 1.0) for name in "abc"}
    samples = race(contestants, rounds=(4, 4), work=1.0, clock=clock)
    assert clock.log[:6] == list("aabbcc"), "two runs each to warm up"
    assert "".join(clock.log[6:]) == "abc" + "bca" + "cab" + "abc"
    assert all(s == Samples([1.0] * 4, [1.0] * 4) for s in samples.values())


def test_warm_up_is_not_in_the_samples() -> None:
    clock = FakeClock()
    samples = race({"a": clock.contestant("a", [100.0, 2.0, 3.0, 4.0, 5.0])}, rounds=(3, 3), work=6.0, clock=clock)
    assert samples["a"].seconds == [3.0, 4.0, 5.0]


def test_the_budget_sets_the_number_of_rounds_within_its_bounds() -> None:
    for seconds, expected in ((1.0, 10), (0.1, 31), (40.0, 5)):
        clock = FakeClock()
        samples = race({"a": clock.contestant("a", seconds)}, rounds=(5, 31), budget_s=10.0, work=1.0, clock=clock)
        assert len(samples["a"].seconds) == expected


def test_short_runs_are_repeated_within_a_sample_and_reported_for_one() -> None:
    clock = FakeClock()
    samples = race({"a": clock.contestant("a", 0.25)}, rounds=(2, 2), work=3.0, min_sample_s=1.0, clock=clock)
    assert samples["a"] == Samples([0.25, 0.25], [3.0, 3.0])
    assert len(clock.log) == 2 + 2 * 4


def test_timing_is_median_and_percentiles_and_the_median_of_rates() -> None:
    seconds = [0.001 * i for i in (1, 2, 3, 4, 5, 6)]
    timing = Timing.of(Samples(seconds, [2.0] * 6))
    assert timing.ms == pytest.approx(3.5) and timing.p20 == pytest.approx(2.0) and timing.p80 == pytest.approx(5.0)
    assert timing.rate == pytest.approx(np.median([2.0 / s for s in seconds]))
    differing = Timing.of(Samples([1.0, 2.0, 4.0], [10.0, 60.0, 80.0]))
    assert differing.rate == 20.0, "work a second of each sample, not total over total"


def test_a_job_of_minutes_runs_once() -> None:
    clock = FakeClock()
    samples = race({"a": clock.contestant("a", 100.0), "b": clock.contestant("b", 0.001)}, rounds=(5, 31), work=1.0, clock=clock, once=True)
    assert clock.log == ["a", "b"] and samples["a"].seconds == [100.0]


def test_a_contestant_must_say_its_work_if_the_case_does_not() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="work must be given"):
        race({"a": clock.contestant("a", 1.0)}, rounds=(1, 1), clock=clock)
    samples = race({"a": clock.contestant("a", 1.0, work=7.0)}, rounds=(1, 1), clock=clock)
    assert samples["a"].work == [7.0]


def test_the_device_is_waited_for_before_each_reading_of_the_clock() -> None:
    clock = FakeClock()
    readings: list[str] = []

    def read() -> float:
        readings.append("clock")
        return clock()

    race({"a": clock.contestant("a", 1.0)}, rounds=(1, 1), work=1.0, clock=read, synchronize=lambda: readings.append("wait"))
    assert readings == ["wait", "clock"] * (len(readings) // 2)


def test_fastest_takes_the_quickest_variant_that_works() -> None:
    def slow() -> None:
        sum(range(300_000))

    def broken():
        raise ValueError("no such attention")

    contestant = fastest({"slow": lambda: slow, "quick": lambda: lambda: None, "broken": broken})
    assert contestant.detail.startswith("quick, the fastest of: quick") and "no such attention" in contestant.detail
    contestant.run()
    with pytest.raises(ValueError, match="no such attention"):
        fastest({"broken": broken})


@pytest.fixture
def tiny(monkeypatch):
    """A case of two quick providers and one that is missing, with one small probe in place of the machine's ceilings."""
    monkeypatch.setattr(harness, "ceiling_probes", lambda device, quick: {"copy": machine.Probe(lambda: None, 8e9, "GB/s", 1e9)})

    def absent() -> Contestant:
        raise ModuleNotFoundError("No module named 'pyspiel'", name="pyspiel")

    return Case(
        op="add", shape="[1000]", dtype="float64", config="none", unit="sum/s", work=2.0, cost=4.0, ceiling="copy", reference="slow",
        providers={
            "slow": lambda: Contestant(lambda: sum(range(20_000)) and None, "in Python"),
            "quick": lambda: Contestant(lambda: None),
            "absent": absent,
        },
        goals={"quick": 2.0, "slow": 2.0}, limits_ms={"quick": 1e-9},
        packages=("rich", "no-such-distribution"), unfair="to Python", prediction="quick wins",
    )  # fmt: skip


def test_records_hold_what_the_house_demands(tiny, tmp_path) -> None:
    records = list(measure("tiny", tiny, Setting(quick=True), {"pyspiel": "open-spiel>=2"}))
    assert [r.provider for r in records] == ["slow", "quick", "absent"]
    slow, quick, absent = records
    assert slow.ratio == 1.0 and slow.detail == "in Python" and slow.notes["outcome"] == "1x slow (goal 2x missed)" and not slow.is_reached
    assert quick.ratio is not None and quick.ratio > 2 and "slow (goal 2x reached); " in quick.notes["outcome"]
    assert quick.notes["outcome"].endswith("(limit 1e-09 ms missed)") and quick.is_aimed_at and not quick.is_reached
    assert not absent.is_aimed_at and dataclasses.replace(quick, limit_ms=1e9).is_reached
    assert quick.notes["unfair"] == "to Python" and quick.notes["prediction"] == "quick wins"
    assert slow.p20 <= slow.ms <= slow.p80 and slow.num_samples == 3
    assert slow.rate == pytest.approx(2.0 / (slow.ms / 1e3), rel=0.5)
    (ceiling,) = slow.ceilings.values()
    assert list(slow.ceilings) == ["copy GB/s"] and slow.share_of_ceiling == pytest.approx(slow.rate * 4.0 / (ceiling * 1e9))
    assert {"python", "torch", "numpy", "rich"} == set(slow.versions)
    assert slow.cores >= 1 and slow.threads >= 1 and slow.commit and slow.date and slow.device
    assert absent.ms is absent.rate is absent.ratio is None and absent.not_measured == "not measured: pip install 'open-spiel>=2'"
    path = tmp_path / "new" / "records.jsonl"
    write_records(path, records)
    assert read_records(path) == records
    demanded = {"op", "provider", "shape", "dtype", "ms", "p20", "p80", "rate", "unit", "share_of_ceiling", "ratio", "peak_mib", "notes"}
    assert demanded | {"device", "cores", "threads", "versions", "commit", "date"} <= set(json.loads(path.read_text().splitlines()[0]))


def test_parts_floors_and_peaks_apart_are_recorded(tiny, monkeypatch) -> None:
    parts: dict[str, list[float]] = {"first": [], "second": []}

    def run() -> None:
        sum(range(20_000))
        parts["first"].append(float(len(parts["first"])))
        parts["second"].append(0.5)

    asked = []
    monkeypatch.setattr(harness, "apart_peaks", lambda *what: asked.append(what) or (100.0, 7.0))
    case = dataclasses.replace(
        tiny, providers={"slow": lambda: Contestant(run, parts=parts, variant="a"), "quick": tiny.providers["quick"]}, goals={}, limits_ms={},
        floors={"slow": ("quick", 1.5), "quick": ("slow", 1.5)}, peaks_apart=True,
    )  # fmt: skip
    slow, quick = measure("tiny", case, Setting(quick=True), number=3)
    assert slow.parts_ms is not None and slow.parts_ms["second"] == 500 and quick.parts_ms is None
    # run at least 5 times for a sample of 5 ms or more: two to warm up, three samples, of which the last three runs are taken
    assert slow.parts_ms["first"] >= 3000
    assert slow.floor == "quick" and slow.times_floor == pytest.approx(quick.rate / slow.rate) and slow.times_floor > 1.5 and not slow.is_reached
    assert quick.times_floor == pytest.approx(1 / slow.times_floor) and quick.is_reached and quick.is_aimed_at
    assert slow.notes["outcome"].endswith("times quick (limit 1.5 missed)")
    assert (slow.process_peak_mib, slow.step_peak_mib) == (100.0, 7.0) and asked[0] == ("tiny", 3, "slow", "a", Setting(quick=True))


def test_a_line_that_is_no_record_is_refused(tiny) -> None:
    record = next(measure("tiny", tiny, Setting(quick=True)))
    entries = json.loads(record.to_json())
    with pytest.raises(ValueError, match="commit"):
        Record.from_json(json.dumps({k: v for k, v in entries.items() if k != "commit"}))
    with pytest.raises(ValueError, match="speed"):
        Record.from_json(json.dumps({**entries, "speed": 1}))
    old = {k: v for k, v in entries.items() if k not in ("parts_ms", "floor", "times_floor", "floor_limit", "process_peak_mib", "step_peak_mib")}
    assert Record.from_json(json.dumps(old)) == record
    with pytest.raises(ValueError, match="exactly"):
        Record.from_json("[]")


def test_without_the_reference_the_others_are_measured_without_a_ratio(tiny) -> None:
    case = Case(**{**{f: getattr(tiny, f) for f in tiny.__dataclass_fields__}, "reference": "absent"})
    records = list(measure("tiny", case, Setting(quick=True)))
    assert records[0].rate is not None and records[0].ratio is None and records[0].notes["outcome"] == ""
    assert records[2].not_measured == "not measured: No module named 'pyspiel'"
    with pytest.raises(ValueError, match="reference must be one of slow"):
        list(measure("tiny", Case(**{**{f: getattr(tiny, f) for f in tiny.__dataclass_fields__}, "reference": "nobody"}), Setting(quick=True)))


def test_peak_memory_sees_what_a_call_takes() -> None:
    def take() -> None:
        with mmap.mmap(-1, 24 * 2**20) as pages:  # fresh pages, whatever the allocator kept from earlier tests
            pages.write(b"x" * len(pages))

    peak = machine.peak_mib(take, "cpu")
    assert peak is None or 20 <= peak <= 80


def test_ceilings_count_their_work() -> None:
    probes = machine.ceiling_probes("cpu", quick=True)
    assert set(probes) == {"matmul float32", "matmul bfloat16", "copy"}
    assert probes["matmul float32"].work == 2 * 1024**3 and probes["copy"].unit == "GB/s"
    probes["copy"].run()


@pytest.mark.parametrize("name", command.subject_names())
def test_every_subject_imports_without_its_rivals(name: str) -> None:
    """In a process where every rival's import fails, listing works and says what to install."""
    subject = command.load_subject(name)
    assert subject.SUMMARY and callable(subject.cases)
    blocked = json.dumps(sorted(subject.RIVALS))
    script = (
        "import importlib.util, sys\n"
        f"blocked = {blocked}\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in blocked else real(name, *rest)\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        "from benchmarks.__main__ import main\n"
        f"sys.exit(main(['--list', {name!r}]))\n"
    )
    listed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    for module, requirement in subject.RIVALS.items():
        assert f"{module}: missing: pip install '{requirement}'" in listed.stdout


def test_list_names_every_subject(capsys) -> None:
    assert command.main(["--list"]) == 0
    printed = capsys.readouterr().out
    names = command.subject_names()
    assert {"attention", "rollouts", "connect_four", "train_step", "grpo_step"} <= set(names) and all(name in printed for name in names)
    assert command.main([], prog="paradigm bench") == 0 and "To measure: paradigm bench SUBJECT ... or all" in capsys.readouterr().out


def test_the_command_runs_the_benchmarks_of_its_checkout_and_says_where_it_cannot(capsys, monkeypatch, tmp_path) -> None:
    assert cli.main(["bench", "--list", "scheduler"]) == 0
    assert "scheduler  plan + commit" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    assert "paradigm bench grpo_step --quick" in capsys.readouterr().out
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages" / "paradigm" / "cli.py"))
    assert cli.main(["bench", "scheduler"]) == 1
    assert "paradigm bench runs from a checkout" in capsys.readouterr().err


def test_records_of_every_age_are_read_and_shown(capsys) -> None:
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))
    old = next(path for path in paths if path.name.startswith("2026-11-22"))
    assert read_records(old)[0].times_floor is None
    assert all(read_records(path) for path in paths)
    assert command.main(["--show", str(old)]) == 0
    printed = capsys.readouterr().out
    assert "31.51x" in printed and "no filter" not in printed and "sample_token" in printed


def test_an_unknown_subject_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["no_such_subject"])
    assert "subject must be one of" in capsys.readouterr().err
    with pytest.raises(ValueError, match="subject must be one of"):
        command.load_subject("no_such_subject")


class _Subject:
    SUMMARY = "a trivial job"

    def __init__(self, cases):
        self.RIVALS = {"pyspiel": "open-spiel>=2"}
        self._cases = cases

    def cases(self, setting: Setting):
        assert setting.quick
        return iter(self._cases)


def test_one_subject_that_fails_does_not_stop_the_others(tiny, monkeypatch, tmp_path, capsys) -> None:
    def crash() -> Contestant:
        raise RuntimeError("it broke")

    broken = Case(op="break", shape="[]", dtype="int8", unit="1/s", work=1.0, reference="a", providers={"a": crash})
    subjects = {"broken": _Subject([tiny, broken]), "sound": _Subject([tiny])}
    monkeypatch.setattr(command, "subject_names", lambda: sorted(subjects))
    monkeypatch.setattr(command, "load_subject", subjects.__getitem__)
    assert command.main(["all", "--quick", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "broken: 3 rows" in printed and "FAILED: RuntimeError: it broke" in printed
    assert "sound: 3 rows; 0 of 2 goals reached; absent: not measured: pip install 'open-spiel>=2'" in printed
    assert "missed: add [1000] float64, slow" in printed
    (sound,) = tmp_path.glob("*-sound-quick.jsonl")
    assert [r.provider for r in read_records(sound)] == ["slow", "quick", "absent"]
    (partial,) = tmp_path.glob("*-broken-quick.jsonl")
    assert len(read_records(partial)) == 3, "what was measured before the failure is kept"
    assert command.main(["--quick", "sound"]) == 0


def test_the_models_are_those_of_the_recipe_and_of_the_goal() -> None:
    recipe = ROOT / "recipes" / "quickstart.toml"
    assert read_toml(recipe)["policy"] == QUICKSTART
    count = sum(p.numel() for p in make_policy(SMALL, "float32", "meta").parameters())
    assert 2.35e6 < count < 2.45e6 and f"{count:,}" in describe(SMALL)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_transformers_gets_the_same_weights_and_generates_every_token() -> None:
    import torch

    from benchmarks.bench_rollouts import generate, ours
    from benchmarks.models import to_transformers
    from paradigm.kernels.layout import Layout

    shape = {**SMALL, "hidden_size": 32, "num_layers": 1, "intermediate_size": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
    policy = make_policy(shape, "float32")
    tokens = torch.randint(shape["vocab_size"], (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = to_transformers(policy, "sdpa")(tokens).logits
        own = policy.logits(policy(tokens.flatten(), Layout([0, 6, 12])))
    torch.testing.assert_close(theirs.flatten(0, 1), own, atol=1e-4, rtol=1e-4)
    for build in (ours(policy, tokens, 3, exact=True), ours(policy, tokens, 3, exact=False), generate(policy, tokens, 3)):
        assert build().run() is None, "it checks itself that all tokens came"


def test_both_modes_play_and_score_the_same_job() -> None:
    import torch

    from benchmarks.bench_exactness import _log_probs, _rollouts

    shape = {**SMALL, "hidden_size": 32, "num_layers": 1, "intermediate_size": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
    policy = make_policy(shape, "float32")
    prompts = torch.randint(shape["vocab_size"], (2, 6), generator=torch.Generator().manual_seed(0))
    for build in (_rollouts, _log_probs):
        for exact in (True, False):
            assert build(policy, prompts, 3, exact=exact)().run() is None, "it checks itself that all tokens came, and in exact mode their bits"
            assert policy.exact, "a contestant leaves the policy as it was"


def test_every_way_to_play_connect_four_counts_its_moves() -> None:
    from benchmarks import bench_connect_four

    providers = next(bench_connect_four.cases(Setting(quick=True))).providers
    for name, build in providers.items():
        if name.startswith("open_spiel") and importlib.util.find_spec("pyspiel") is None:
            continue
        moves = build().run()
        assert 7 * 128 <= moves <= 42 * 128 and abs(moves / 128 - 21.4) < 4, f"{name}: a random game has about 21 moves, got {moves / 128}"


def test_the_heads_rivals_compute_the_same() -> None:
    import torch

    from benchmarks import bench_policy_loss as subject

    job = subject.make_job(40, 16, 200, torch.float32, "cpu")
    pairs = [(subject.log_probs, subject.torch_log_probs), (subject.cross_entropy, subject.torch_cross_entropy), (subject.ppo, subject.torch_ppo)]
    for ours, plain in pairs:
        for a, b in zip(subject.run(ours, job, True), subject.run(plain, job, True), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    for case in subject.cases(Setting(quick=True)):
        assert case.work is not None and case.reference in case.providers
        for name, build in case.providers.items():
            if name in ("paradigm", "torch"):
                assert build().run() is None


def test_attentions_rivals_compute_the_same_and_pairs_are_counted() -> None:
    import torch

    from benchmarks import bench_attention as subject

    for job in (subject.Job([5, 5], 2, 8), subject.Job([7, 1, 12], 2, 8), subject.Job([9], 2, 8, window=4)):
        inputs = job.inputs(torch.float32, "cpu")
        ours, theirs = (build(job, "cpu")(*inputs[:3]) for build in (subject.paradigm, subject.with_torch(None)))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert subject.Job([9], 2, 8, window=4).num_pairs == 1 + 2 + 3 + 6 * 4 and subject.Job([2, 3], 2, 8).num_pairs == 3 + 6
    assert sum(subject.mixed_lengths(1000, 8, 64)) == 1000
    cases = list(subject.cases(Setting(quick=True)))
    assert [case.op for case in cases[:2]] == ["attention forward", "attention backward"] and len(cases) == 8
    for case in cases:
        assert case.reference in case.providers and case.work > 0
        assert all(build().run() is None for build in case.providers.values())


def test_elementwise_counts_the_bytes_that_must_move_and_its_providers_agree() -> None:
    import torch

    from benchmarks import bench_elementwise

    cases = list(bench_elementwise.cases(Setting(quick=True)))
    row = 64 * 2  # a column of bf16
    angles = 2 * 64 * 64 * 4
    expected = {
        "rms_norm": 4 * 4096 * row, "rms_norm and its backward": 8 * 4096 * row, "swiglu": 3 * 14336 * row,
        "swiglu and its backward": 8 * 14336 * row, "rotary": 2 * 40 * 128 * row + angles, "rotary and its backward": 4 * 40 * 128 * row + 2 * angles,
        "rotary with head norms": 2 * 40 * 128 * row + angles, "rotary with head norms and its backward": 5 * 40 * 128 * row + 2 * angles,
    }  # fmt: skip
    assert {case.op: round(case.work * 1e9) for case in cases} == expected
    assert all(case.reference == "copy" and not case.goals and case.cost == 1e9 for case in cases)
    for case in cases:
        for build in case.providers.values():
            assert build().run() is None
    for build in (bench_elementwise._norm, bench_elementwise._gate, bench_elementwise._heads, bench_elementwise._normed_heads):
        job = build(3, torch.float32, "cpu")
        found = {name: bench_elementwise._outputs(function, job) for name, function in job.functions.items()}
        for name in ("paradigm", "torch"):
            torch.testing.assert_close(found[name], found["reference"], rtol=1e-5, atol=1e-5)


def test_the_linear_layers_rivals_compute_the_same() -> None:
    import torch

    from benchmarks import bench_linear as subject

    x, (weight,) = subject.make_job(5, 40, 24, torch.float32, "cpu")
    torch.testing.assert_close(subject.ours(x, weight), torch.nn.functional.linear(x, weight), atol=1e-5, rtol=1e-5)
    cases = list(subject.cases(Setting(quick=True)))
    assert {case.shape.split()[0] for case in cases} == {"M=1", "M=32"}
    assert all(case.providers[name]().run() is None for case in cases for name in ("paradigm", "torch"))
    assert cases[0].work == 2 * 192 * 512 / 1e12
