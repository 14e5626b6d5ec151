"""What the report shows of a run on several kinds of problems: a learning curve a kind, pass@k of each, and the kinds never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from paradigm.claims import Group, attempts_claim, in_order, kinds_claim, policy_name, transfer_claim
from paradigm.drawing import format_percent
from paradigm.figures import Band, Curve, Level, interval_text, learning_curve
from paradigm.run_folder import Evaluation, PassAtK, Run

__all__ = ["kind_sections", "of_kind"]

_WIDTH = 348

Claims = Callable[[Callable[[Group], str]], list[tuple[str, str]]]
Parts = Callable[[Sequence[Group]], tuple[list[Band], list[Curve], list[Level]]]


def kind_sections(groups: Sequence[Group], claim: Claims, parts: Parts) -> dict[str, Any] | None:
    """The page's sections about kinds, or None if no run has a mixture of them.

    Args:
        claim: a sentence about each group, as (the group's name if there are several, sentence).
        parts: what a learning curve of the groups is drawn from.
    """
    mixed = [group for group in groups if any(run.kinds for run in group.runs)]
    if not mixed:
        return None
    trained = list(dict.fromkeys(kind for group in mixed for run in group.runs for kind in run.kinds))
    transfer = list(dict.fromkeys(kind for group in mixed for run in group.runs for e in run.evaluations for kind in e.transfer))
    attempts = _attempt_rows(mixed)
    return {
        "claim": claim(kinds_claim), "figures": _figures(mixed, trained, parts),
        "transfer": {"claim": claim(transfer_claim), "figures": _figures(mixed, transfer, parts)} if transfer else None,
        "attempts": {"claim": claim(attempts_claim), **attempts} if attempts["rows"] else None,
    }  # fmt: skip


def of_kind(group: Group, kind: str) -> Group:
    """The same runs, measured on one kind of problem only."""

    def measured(e: Evaluation) -> list[Evaluation]:
        counts = e.by_operation.get(kind) or e.transfer.get(kind)
        return [] if counts is None else [replace(e, correct=counts[0], problems=counts[1], tokens_per_problem=None, by_operation={}, transfer={})]

    def run_of(run: Run) -> Run:
        return replace(run, evaluations=[own for e in run.evaluations for own in measured(e)])

    return Group(group.name, [run_of(run) for run in group.runs])


def _figures(groups: Sequence[Group], kinds: Sequence[str], parts: Parts) -> list[Markup]:
    figures = []
    for kind in kinds:
        bands, curves, levels = parts([of_kind(group, kind) for group in groups])
        if curves:
            figures.append(Markup(learning_curve(bands, curves, levels, f"Success on {kind}", _WIDTH, "kind", kind)))
    return figures


def _attempt_rows(groups: Sequence[Group]) -> dict[str, Any]:
    """pass@k of every policy: overall and for each kind; over several seeds the first run's."""
    found = [(group, row) for group in groups for row in group.runs[0].attempts]
    ks = sorted({k for _, row in found for k in row.pass_at}, key=int)
    policies = in_order(row.policy for _, row in found)
    columns = [(policy, k) for policy in policies for k in ks]
    lines: dict[tuple[str, bool, str], dict[tuple[str, str], PassAtK]] = {}
    for group, row in found:
        name = (row.kind or ("all kinds never trained on" if row.transfer else "all")) + (f", {group.name}" if len(groups) > 1 else "")
        lines.setdefault((name, row.transfer, group.name), {}).update({(row.policy, k): row for k in row.pass_at})
    rows = []
    for (name, transfer, _), cells in lines.items():
        shown = []
        for policy, k in columns:
            estimate = cells[policy, k].estimate(k) if (policy, k) in cells else None
            shown.append((format_percent(estimate.value), interval_text(estimate)) if estimate else ("–", ""))
        rows.append((name, transfer, shown))
    return {"columns": [f"{policy_name(policy).label}, pass@{k}" for policy, k in columns], "rows": rows}
