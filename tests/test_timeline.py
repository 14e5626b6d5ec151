"""Spans of a step: what they cover adds up, the trace is what Perfetto reads, and a real step has all of its parts."""

import json
import threading

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import bench_rl_step
from benchmarks.bench_grpo_step import Job
from benchmarks.harness import Setting
from benchmarks.models import SMALL
from paradigm.environments import from_verifier
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.timeline import PARTS, WAIT, StepTrace, Timeline, is_recording, recording, shares, span

SHAPE = {**SMALL, "hidden_size": 32, "num_layers": 1, "intermediate_size": 48, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
JOB = Job(num_prompts=2, group_size=4, prompt_tokens=6, new_tokens=5)


def test_spans_are_noted_only_while_recording() -> None:
    assert is_recording() is None and span("a") is span("b", "update"), "off, all are one context that does nothing"
    with recording() as timeline:
        with span("a", "update"), span("b", "update"):
            pass
        thread = threading.Thread(target=lambda: timeline.add("c", "environments", 0.0, 1.0))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="twice"), recording():
            pass
    with span("d"):
        pass
    assert [s.name for s in timeline.spans] == ["b", "a", "c"] and timeline.spans[2].thread != timeline.spans[0].thread
    assert timeline.spans[1].start <= timeline.spans[0].start <= timeline.spans[0].end <= timeline.spans[1].end


def test_the_breakdown_adds_up_to_the_step() -> None:
    timeline = Timeline()
    for name, track, start, end in (
        ("step", "step", 0, 20), ("plan", "rollout", 1, 4), (WAIT, "rollout", 2, 4), ("step", "environments", 1.5, 3), ("decode", "rollout", 4, 8),
        ("prepare", "update", 9, 12), ("pack", "update", 10, 11), ("forward", "update", 12, 14), ("decode", "rollout", 13, 15),
        ("metrics", "records", 15, 16), ("decode", "rollout", 25, 30),
    ):  # fmt: skip
        timeline.add(name, track, start, end)
    seconds = timeline.breakdown()
    assert seconds == {"rollout": 6.0, "update": 4.0, "rollout and update": 1.0, "verification": 2.0, "records": 1.0, "idle": 6.0}
    assert sum(shares(seconds).values()) == pytest.approx(1) and shares(seconds)["rollout"] == 0.3
    assert timeline.busy()["rollout", "decode"] == (3, 11.0)
    assert set(Timeline().breakdown().values()) == {0.0} and set(shares(Timeline().breakdown()).values()) == {0.0}


def test_the_trace_has_a_line_for_each_track_and_thread(tmp_path) -> None:
    now = iter(range(100))
    timeline = Timeline(clock=lambda: float(next(now)))
    path = tmp_path / "trace.json"
    for number in StepTrace(path, 2, timeline).each(range(4)):
        with span("forward", "update"):
            thread = threading.Thread(target=lambda n=number: timeline.add(f"env {n}", "environments", n, n + 0.5))
            thread.start()
            thread.join()
        if number == 2:
            break
    assert is_recording() is None and [s.name for s in timeline.spans].count("step") == 2
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert next(iter(names.values())) == "step" and "update" in names.values() and "environments" in names.values()
    spans = [e for e in events if e["ph"] == "X"]
    assert len(spans) == 6 and min(e["ts"] for e in spans) == 0 and all(e["dur"] > 0 for e in spans)
    assert {names[e["tid"]].split()[0] for e in spans} == {e["cat"] for e in spans}


def test_a_step_that_is_left_or_fails_is_written_too(tmp_path) -> None:
    for _ in StepTrace(tmp_path / "left.json", 3).each(range(3)):
        break
    with pytest.raises(ValueError, match="it broke"):
        for _ in StepTrace(tmp_path / "failed.json", 1).each(range(3)):
            raise ValueError("it broke")
    for name in ("left", "failed"):
        assert [e["name"] for e in json.loads((tmp_path / f"{name}.json").read_text())["traceEvents"] if e["ph"] == "X"] == ["step"]
    assert is_recording() is None


def test_a_whole_step_has_all_its_parts_and_records_them() -> None:
    run = bench_rl_step.RLStep(JOB, SHAPE, "float32", Setting())
    run()
    timeline = run.recorded(checkpoint=True)
    found = {(s.track, s.name) for s in timeline.spans}
    rollout = {("rollout", name) for name in ("plan", "prefill", "decode", "draw", "commit")}
    update = {("update", name) for name in ("prepare", "pack", "forward", "backward", "optimizer")}
    others = {("environments", "reset"), ("environments", "step"), ("records", "metrics"), ("records", "checkpoint"), ("step", "step")}
    assert rollout | update | others <= found
    assert timeline.busy()["environments", "step"][0] == JOB.num_completions, "one verdict each"
    (step,) = [s for s in timeline.spans if s.name == "step" and s.track == "step"]
    assert sum(timeline.breakdown().values()) == pytest.approx(step.end - step.start)
    assert all(step.start <= s.start <= s.end <= step.end for s in timeline.spans)
    assert set(PARTS) <= set(run.parts) and len(run.parts["update"]) == 1 and run.parts["update: backward"][0] > 0
    run.close()


def test_recording_changes_nothing_and_environments_stay_themselves() -> None:
    class Counter:
        """With an attribute and a player's view of its own."""

        name = "counter"

        def __init__(self):
            self.inner = from_verifier(["12", "345"], lambda _, response: len(response), stop=(), max_action_tokens=4)

        def reset(self, task, seed):
            return self.inner.reset(task, seed)

        def step(self, action):
            return self.inner.step(action)

    sampler = Sampler(Policy(PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)), slots=4)
    plain = sampler.collect(Counter(), [0, 1], group_size=2, max_tokens=16)
    with recording() as timeline:
        traced = sampler.collect(Counter(), [0, 1], group_size=2, max_tokens=16)
    torch.testing.assert_close(torch.from_numpy(traced.tokens), torch.from_numpy(plain.tokens), rtol=0, atol=0)
    assert (traced.logprobs == plain.logprobs).all() and traced.environment == plain.environment == "counter"
    assert timeline.busy()["environments", "step"][0] == 4


def test_bench_writes_a_trace_and_prints_the_breakdown(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "_run", lambda console, name, setting, out: command._Outcome(name))
    path = tmp_path / "step.json"
    assert command.main(["rl", "--quick", "--trace", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "whole step" in printed and "verification" in printed and "backward" in printed and "rl_step: 0 rows" in printed
    assert json.loads(path.read_text())["traceEvents"]
    for subjects in (["growth"], [], ["rl", "growth"]):
        with pytest.raises(SystemExit):
            command.main([*subjects, "--trace", str(path)])
        assert "--trace needs the one subject rl_step" in capsys.readouterr().err
