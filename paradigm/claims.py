"""What a run shows, in sentences computed from its numbers: each is true whatever the outcome, a disappointing one included."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paradigm.drawing import format_count, format_percent
from paradigm.metrics import format_duration
from paradigm.run_folder import Evaluation, Run
from paradigm.statistics import Estimate, mean_over_seeds, proportion_difference, wilson_interval

__all__ = [
    "Group", "Measured", "PolicyName", "attempts_claim", "distillation_claim", "game_claim", "group_runs", "in_order", "kinds_claim",
    "learning_claim", "match_claim", "opponents_claim", "policy_name", "recovery_claim", "stage_label", "stage_phrase", "throughput_claim",
    "transfer_claim",
]  # fmt: skip


class PolicyName(NamedTuple):
    """A policy as a label, inside a sentence, and the kind that gives its colour."""

    label: str
    phrase: str
    kind: str


POLICIES = {
    "demonstrators": PolicyName("Demonstrators", "the demonstrators", "demonstrator"),
    "pretrained": PolicyName("Pretrained", "pretraining", "pretrain"),
    "imitated": PolicyName("Imitated", "imitation", "imitate"),
    "continued imitation": PolicyName("Continued imitation", "continued imitation", "control"),
    "imitation, filtered": PolicyName("Imitation, filtered", "imitation of filtered demonstrations", "control"),
    "rl": PolicyName("RL", "RL", "rl"),
    "distilled": PolicyName("Distilled", "the distilled policy", "distil"),
    "imitation without pretraining": PolicyName("Imitation without pretraining", "imitation without pretraining", "control"),
    "rl without pretraining": PolicyName("RL without pretraining", "RL without pretraining", "control"),
}

PLAYERS = {
    "uniform": PolicyName("Random moves", "random moves", "other"),
    "demonstrator": PolicyName("Demonstrator", "the demonstrator", "demonstrator"),
}


def policy_name(policy: str) -> PolicyName:
    """How a policy is called; one that this file does not know keeps its name and counts as a control."""
    return POLICIES.get(policy) or PolicyName(policy[:1].upper() + policy[1:], policy, "control")


def in_order(policies: Iterable[str]) -> list[str]:
    """Each policy once, in the order of the arc, unknown ones last."""
    present = dict.fromkeys(policies)
    return [p for p in POLICIES if p in present] + [p for p in present if p not in POLICIES]


class Measured(NamedTuple):
    """A success with its 95% interval (Wilson's for one run, Student's t over several seeds) and, over seeds, the standard deviation."""

    estimate: Estimate
    std: float | None
    num_seeds: int


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ by their seed: their numbers are averaged."""

    name: str
    runs: Sequence[Run]

    def evaluations(self, policy: str, temperature: float = 1.0, opponent: str = "") -> list[Evaluation]:
        return [e for run in self.runs if (e := run.evaluation(policy, temperature, opponent)) is not None]

    def success(self, policy: str, temperature: float = 1.0, opponent: str = "") -> Measured | None:
        """Held-out success of a policy, or its share of the points against an opponent; None if it was not evaluated."""
        return _measured([(e.correct, e.problems) for e in self.evaluations(policy, temperature, opponent)])

    @property
    def opponents(self) -> list[str]:
        """Whom the policies played; none if the problems are no games."""
        return list(dict.fromkeys(opponent for run in self.runs for opponent in run.opponents))

    def opponent(self, name: str) -> PolicyName:
        """An opponent by its name in the recipe, which for an earlier stage is that of its policy."""
        if name in PLAYERS:
            return PLAYERS[name]
        return policy_name(next((label for run in self.runs if (label := run.policy_of(name)) is not None), name))

    def tokens_per_problem(self, policy: str, temperature: float = 1.0) -> float | None:
        given = [e.tokens_per_problem for e in self.evaluations(policy, temperature) if e.tokens_per_problem is not None]
        return math.fsum(given) / len(given) if given else None

    def difference(self, policy: str, other: str) -> Estimate | None:
        """Success of one policy minus another's at temperature 1: Newcombe's interval for one run, a t interval of paired seeds for several."""
        pairs = [(a, b) for run in self.runs if (a := run.evaluation(policy)) is not None and (b := run.evaluation(other)) is not None]
        return _difference([(a.correct, a.problems, b.correct, b.problems) for a, b in pairs])

    def recovery(self, policy: str) -> tuple[Measured, Measured] | None:
        """Success undisturbed and after a forced error, on the same problems."""
        found = [r for run in self.runs if (r := run.recovery(policy)) is not None]
        plain = _measured([(r.undisturbed_correct, r.problems) for r in found])
        forced = _measured([(r.forced_correct, r.problems) for r in found])
        return (plain, forced) if plain is not None and forced is not None else None

    def recovery_difference(self, policy: str, other: str) -> Estimate | None:
        pairs = [(a, b) for run in self.runs if (a := run.recovery(policy)) is not None and (b := run.recovery(other)) is not None]
        return _difference([(a.forced_correct, a.problems, b.forced_correct, b.problems) for a, b in pairs])

    def policies(self) -> list[str]:
        """Those with a final evaluation, in the order of the arc, unknown ones last."""
        return in_order(e.policy for run in self.runs for e in run.evaluations if e.final)

    def recovering(self) -> list[str]:
        """Those on which an error was forced, in the same order."""
        return in_order(r.policy for run in self.runs for r in run.recoveries)


def stage_phrase(stage: str) -> str:
    """A stage inside a sentence: `after imitation and RL`."""
    return {"pretrain": "pretraining", "imitate": "imitation", "rl": "RL", "distil": "distillation"}.get(stage, stage)


def stage_label(stage: str) -> str:
    return "RL" if stage == "rl" else stage


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs with the same recipe and the same stages form a group, named after its runs, or its recipe where their names differ.

    Groups of the same name add their first folder's.
    """
    groups: dict[tuple[str, tuple[tuple[str, bool], ...]], list[Run]] = {}
    for run in runs:
        groups.setdefault((str(run.info.get("recipe", run.name)), tuple((s.name, s.control) for s in run.stages)), []).append(run)
    named = [(runs[0].name if len({run.name for run in runs}) == 1 else recipe, runs) for (recipe, _), runs in groups.items()]
    names = [name for name, _ in named]
    return [Group(name if names.count(name) == 1 else f"{name} ({runs[0].folder.name})", runs) for name, runs in named]


def learning_claim(group: Group) -> str:
    """Where the run ends, beside its demonstrators and continued imitation."""
    final = next((p for p in ("rl", "imitated", "pretrained", *group.policies()) if group.success(p) is not None and p != "demonstrators"), None)
    if final is None:
        return "No policy of this run has been evaluated on held-out problems yet"
    others = [other for other in ("demonstrators", "continued imitation") if other != final]
    compared = [(difference, other) for other in others if (difference := group.difference(final, other)) is not None]
    success = group.success(final)
    assert success is not None
    start = f"{_capital(policy_name(final).phrase)} ends at {format_percent(success.estimate.value)} of held-out problems"
    if not compared:
        return f"{start}{_interval(success.estimate)}"
    return f"{start}, " + " and ".join(_compared(d, policy_name(o).phrase) for d, o in compared)


def match_claim(group: Group) -> str:
    """Whether the last policy beats the earlier one that it played."""
    earlier = [name for name in group.opponents if name not in PLAYERS]
    found = [(policy, name) for policy in reversed(group.policies()) for name in reversed(earlier) if group.success(policy, 1.0, name) is not None]
    if not found:
        return "No policy of this run has played an earlier one yet"
    policy, name = found[0]
    score = group.success(policy, 1.0, name)
    assert score is not None
    other = group.opponent(name).phrase
    games = sum(e.problems for e in group.evaluations(policy, 1.0, name))
    subject = _capital(policy_name(policy).phrase) + (" by self-play" if policy_name(policy).kind == "rl" else "")
    share = format_percent(score.estimate.value)
    claim = f"{subject} {_against(score.estimate)} {other}, with {share} of the points in {games:,} games{_interval(score.estimate)}, both sampling"
    greedy = group.success(policy, 0.0, name)
    if greedy is None:
        return f"{claim} at temperature 1"
    share = format_percent(greedy.estimate.value)
    return f"{claim}; both greedy, it {_against(greedy.estimate)} {other}, with {share}{_interval(greedy.estimate)}"


def _against(score: Estimate) -> str:
    return "beats" if score.low > 0.5 else "loses to" if score.high < 0.5 else "is level with"


def opponents_claim(group: Group) -> str:
    """What each policy scores against the players that learn nothing."""
    claims = []
    for name in (n for n in group.opponents if n in PLAYERS):
        scores = [(policy_name(p).phrase, s) for p in group.policies() if (s := group.success(p, 1.0, name)) is not None]
        listed = " and ".join(f"{phrase} scores {format_percent(s.estimate.value)}" for phrase, s in scores)
        if scores:
            claims.append(f"against {PLAYERS[name].phrase} {listed}")
    return _capital("; ".join(claims)) if claims else "No policy of this run has played random moves or the demonstrator yet"


def game_claim(group: Group) -> str:
    """How the game that is shown went."""
    run, game = next(((run, run.games[-1]) for run in group.runs if run.games), (None, None))
    if run is None or game is None:
        return "No game of this run was kept"
    policy = run.policy_of(game.stage) or game.stage
    how = "beats" if game.score == 1 else "loses to" if game.score == 0 else "draws with"
    seat = ("first", "second")[game.seat]
    return f"Moving {seat}, {policy_name(policy).phrase} {how} {group.opponent(game.opponent).phrase} in a game of {len(game.moves)} moves"


def recovery_claim(group: Group) -> str:
    """What a forced error costs the strongest stage that was tested, beside imitation; then what it costs policies of other names."""
    known = ("rl", "continued imitation", "imitated")
    tested = list(dict.fromkeys(p for p in (*known, *group.recovering()) if p in group.recovering()))
    if not tested:
        return "Recovery after a forced error was not measured in this run"
    found = group.recovery(tested[0])
    assert found is not None
    plain, forced = found
    claim = (
        f"After one forced wrong token {policy_name(tested[0]).phrase} still solves {format_percent(forced.estimate.value)} of the problems "
        f"({format_percent(plain.estimate.value)} undisturbed)"
    )
    difference = group.recovery_difference(tested[0], tested[1]) if len(tested) > 1 else None
    if difference is not None:
        claim += f", {_compared(difference, policy_name(tested[1]).phrase)}"
    for other in tested[2:]:
        if other not in known and (measured := group.recovery(other)) is not None:
            claim += f"; {policy_name(other).phrase} solves {format_percent(measured[1].estimate.value)}"
    return claim


def distillation_claim(group: Group) -> str:
    """What distillation costs in success and saves in tokens."""
    success = group.success("distilled")
    if success is None:
        return "The distilled policy has not been evaluated in this run"
    claim = f"The distilled policy solves {format_percent(success.estimate.value)} of held-out problems"
    difference = group.difference("distilled", "rl")
    if difference is not None:
        claim += f", {_compared(difference, 'RL')}"
    after, before = group.tokens_per_problem("distilled"), group.tokens_per_problem("rl")
    if not after or not before:
        return claim
    ratio = max(before / after, after / before)
    how = f"{ratio:.1f} times {'fewer' if after < before else 'more'}" if ratio >= 1.05 else "about as many"
    return f"{claim}, writing {after:.1f} tokens a problem instead of {before:.1f} ({how})"


def kinds_claim(group: Group) -> str:
    """On how many kinds of problems RL is measurably above what it started from, and on how many below."""
    counts: dict[str, list[Estimate]] = {"above": [], "below": [], "level": []}
    for kind in dict.fromkeys(kind for run in group.runs for kind in run.kinds):
        difference = _summed_difference(group, "rl", "imitated", lambda e, kind=kind: e.by_operation.get(kind))  # type: ignore[misc]
        if difference is not None:
            counts["above" if difference.low > 0 else "below" if difference.high < 0 else "level"].append(difference)
    num = sum(map(len, counts.values()))
    if not num:
        return "RL and imitation have not both been evaluated on any kind of problem yet"
    above, below, level = (len(counts[name]) for name in ("above", "below", "level"))
    return f"Of {num} kinds of problems RL is measurably above imitation on {above}, below it on {below}, and not measurably different on {level}"


def transfer_claim(group: Group) -> str:
    """What RL does on kinds that were never trained on."""

    def transfer(e: Evaluation) -> tuple[float, int] | None:
        return (sum(k for k, _ in e.transfer.values()), sum(n for _, n in e.transfer.values())) if e.transfer else None

    policy = next((p for p in ("rl", "imitated", *group.policies()) if any(transfer(e) for e in group.evaluations(p))), None)
    if policy is None:
        return "No policy has been evaluated on kinds that were never trained on"
    counted = [counts for e in group.evaluations(policy) if (counts := transfer(e)) is not None]
    correct, problems = sum(k for k, _ in counted), sum(n for _, n in counted)
    claim = f"On kinds never trained on {policy_name(policy).phrase} solves {format_percent(correct / problems)} of problems"
    difference = _summed_difference(group, policy, "imitated", transfer) if policy != "imitated" else None
    return f"{claim}, {_compared(difference, 'imitation')}" if difference is not None else f"{claim}{_interval(wilson_interval(correct, problems))}"


def attempts_claim(group: Group) -> str:
    """What the largest number of attempts that was measured finds, before RL and after."""
    rows = [row for row in group.runs[0].attempts if not row.kind and not row.transfer and row.pass_at]
    if not rows:
        return "pass@k was not measured in this run"
    k = max((k for row in rows for k in row.pass_at), key=int)
    at_k = {row.policy: row.estimate(k) for row in rows if k in row.pass_at}
    named: list[str] = [p for p in ("imitated", "rl", "continued imitation") if p in at_k] or list(at_k)
    listed = ", ".join(f"{format_percent(at_k[p].value)}{_interval(at_k[p])} after {policy_name(p).phrase}" for p in named)
    return f"At least one of {k} attempts is right at {listed}" if int(k) > 1 else f"One attempt is right at {listed}"


def _summed_difference(group: Group, policy: str, other: str, counts: Callable[[Evaluation], tuple[float, int] | None]) -> Estimate | None:
    """The difference of two policies' counts, added up over seeds."""
    ours = [c for e in group.evaluations(policy) if (c := counts(e)) is not None]
    theirs = [c for e in group.evaluations(other) if (c := counts(e)) is not None]
    if not ours or not theirs:
        return None
    return proportion_difference(sum(k for k, _ in ours), sum(n for _, n in ours), sum(k for k, _ in theirs), sum(n for _, n in theirs))


def throughput_claim(group: Group, speeds: Sequence[float]) -> str:
    """How long it took, on what, and how fast. `speeds`: trained tokens a second of each stage."""
    info = group.runs[0].info
    hardware = info.get("hardware") if isinstance(info.get("hardware"), dict) else {}
    assert isinstance(hardware, dict)
    where = str(hardware.get("gpu") or "") or (f"{hardware['cores']} CPU cores" if hardware.get("cores") else "")
    seconds = [s for run in group.runs if isinstance(s := run.info.get("run_seconds"), int | float)]
    subject = "The run" if len(group.runs) == 1 else "A run"
    took = f"{subject} took {format_duration(sum(seconds) / len(seconds))}" if seconds else f"{subject} has not finished"
    setup = info.get("setup_seconds")
    claim = took + (f" on {where}" if where else "")
    if isinstance(setup, int | float) and setup > 0:
        claim += f", after {format_duration(setup)} of set-up"
    if not speeds:
        return claim
    low, high = format_count(min(speeds)), format_count(max(speeds))
    return f"{claim}, at {low if low == high else f'{low} to {high}'} trained tokens a second"


def _compared(difference: Estimate, other: str) -> str:
    """A difference in points with its interval; `not measurably different` if the interval holds zero."""
    interval = f"95% interval {_points(difference.low)} to {_points(difference.high)}"
    if difference.low > 0:
        return f"{_points(difference.value)} points above {other} ({interval})"
    if difference.high < 0:
        return f"{_points(-difference.value)} points below {other} (95% interval {_points(-difference.high)} to {_points(-difference.low)})"
    sign = "+" if difference.value > 0 else ""
    return f"not measurably different from {other} ({sign}{_points(difference.value)} points, {interval})"


def _measured(counts: Sequence[tuple[float, float]]) -> Measured | None:
    if not counts:
        return None
    if len(counts) == 1:
        return Measured(wilson_interval(*counts[0]), None, 1)
    seeds = mean_over_seeds([correct / total for correct, total in counts])
    return Measured(Estimate(seeds.mean, max(0.0, seeds.low), min(1.0, seeds.high)), seeds.std, seeds.num_seeds)


def _difference(counts: Sequence[tuple[float, float, float, float]]) -> Estimate | None:
    if not counts:
        return None
    if len(counts) == 1:
        return proportion_difference(*counts[0])
    seeds = mean_over_seeds([a / m - b / n for a, m, b, n in counts])
    return Estimate(seeds.mean, max(-1.0, seeds.low), min(1.0, seeds.high))


def _interval(estimate: Estimate) -> str:
    return f" (95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _points(fraction: float) -> str:
    """Percentage points with a true minus sign."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}".replace("-", "−")  # + 0.0: never "−0.0"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
