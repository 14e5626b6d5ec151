"""What the report and the terminal show of a run that plays games: matches in place of problems.

Every figure stands under a sentence of `claims.py`; scores are shares of the points, a draw counting half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from paradigm.claims import PLAYERS, Group, Measured, game_claim, match_claim, opponents_claim, policy_name, stage_label
from paradigm.drawing import format_count, format_percent
from paradigm.figures import Band, Curve, CurvePoint, game_board, interval_text, learning_curve, paired_bars
from paradigm.metrics import format_duration
from paradigm.run_folder import Run
from paradigm.statistics import wilson_interval

__all__ = ["match_sections", "match_table", "match_tiles"]

_SCORE = "share of the points, a draw counting half"

Claims = Callable[[Callable[[Group], str]], list[tuple[str, str]]]
Figure = Callable[[Callable[[float, str], str]], Markup]


def match_sections(groups: Sequence[Group], claim: Claims, figure: Figure) -> dict[str, Any] | None:
    """The page's sections about matches, or None if the runs play none.

    Args:
        claim: a sentence about each group, as (the group's name if there are several, sentence).
        figure: a wide and a narrow drawing of what draws (width, CSS class).
    """
    playing = [group for group in groups if group.opponents]
    if not playing:
        return None
    learning, opponents, game = claim(match_claim), claim(opponents_claim), claim(game_claim)
    curves, bands = _curves(playing)
    bars = _bars(playing)
    names = list(dict.fromkeys(group.opponent(name).phrase for group in playing for name in group.opponents))

    def draw_curve(width: float, css_class: str) -> str:
        return learning_curve(bands, curves, [], _text(learning), width, css_class, "share of the points, sampling at T = 1")

    def draw_bars(width: float, css_class: str) -> str:
        return paired_bars(bars, ("sampling at temperature 1", "greedy"), _text(opponents), width, css_class, _SCORE, ("sampled", "greedy"))

    return {
        "learning": {"claim": learning, "svg": figure(draw_curve) if curves else None, "opponents": names},
        "opponents": {"claim": opponents, "svg": figure(draw_bars) if bars else None, "rows": _rows(playing)},
        "game": {"claim": game, "boards": [board for group in playing for run in group.runs[:1] for board in _boards(group, run)]},
    }


def match_tiles(group: Group) -> list[dict[str, str]]:
    """The last policy's scores against everybody it played, in large."""
    policies = [p for p in group.policies() if any(group.success(p, 1.0, name) for name in group.opponents)]
    tiles = []
    for name in reversed(group.opponents) if policies else ():
        score = group.success(policies[-1], 1.0, name)
        if score is not None:
            policy, estimate = policy_name(policies[-1]), score.estimate
            note = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
            label = f"{policy.label} against {group.opponent(name).phrase}"
            tiles.append({"label": label, "kind": policy.kind, "value": format_percent(estimate.value), "note": note})
    return tiles


def match_table(run: Run) -> Table:
    """The terminal's last word on a run of games: policy × opponent, sampled and greedy."""
    group = Group(run.name, [run])
    table = Table("policy", "against", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left")
    table.title = Text(f"{run.name}: share of the points, 95% intervals")
    for header in ("sampled, T = 1", "greedy", "W–D–L"):  # 80 columns hold them all
        table.add_column(header, justify="right", no_wrap=True)
    for policy in group.policies():
        for name in group.opponents:
            scores = [group.success(policy, temperature, name) for temperature in (1.0, 0.0)]
            if any(scores):
                cells = [f"{format_percent(s.estimate.value)} ({100 * s.estimate.low:.1f}–{100 * s.estimate.high:.1f})" if s else "–" for s in scores]
                counts = next((f"{e.wins}–{e.draws}–{e.losses}" for e in group.evaluations(policy, 1.0, name)), "–")
                table.add_row(Text(policy_name(policy).label), Text(group.opponent(name).label.lower()), *cells, counts)
    games = max((e.problems for e in run.evaluations if e.opponent and e.final), default=0)
    times = [
        f"{name} {format_duration(seconds)}"
        for name, seconds in (("set-up", run.info.get("setup_seconds")), ("run", run.info.get("run_seconds"))) if isinstance(seconds, int | float)
    ]  # fmt: skip
    table.caption = Text(f"{games:,} games a match, each opening from both seats; won, drawn, lost: at T = 1\n{' · '.join(times)}")
    return table


def _text(claims: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{name}: {sentence}" if name else sentence for name, sentence in claims)


def _curves(groups: Sequence[Group]) -> tuple[list[Curve], list[Band]]:
    """One line an opponent and run, along the trained tokens."""
    first = groups[0].runs[0]
    bands = [Band(stage_label(s.name), s.kind, s.trained_tokens) for s in first.stages if not s.control]
    curves = []
    for group in groups:
        for run in group.runs:
            kinds = {stage.name: stage.kind for stage in run.stages}
            for name in run.opponents:
                points = []
                for e in sorted(run.evaluations, key=lambda e: e.tokens):
                    if e.opponent == name and abs(e.temperature - 1) < 1e-6 and not e.control:
                        score = wilson_interval(e.correct, e.problems)
                        tip = f"{policy_name(e.policy).label} against {group.opponent(name).phrase}, {format_count(e.tokens)} trained tokens: "
                        points.append(CurvePoint(e.tokens, score, kinds.get(e.stage, ""), e.final, tip + interval_text(score)))
                suffix = f" ({run.folder.name})" if len(groups) > 1 or len(group.runs) > 1 else ""
                if points:
                    curves.append(Curve(points, "main", f"against {group.opponent(name).phrase}{suffix}"))
    return curves, bands


def _bars(groups: Sequence[Group]) -> list[tuple[str, Any, Any]]:
    bars = []
    for group in groups:
        for name in group.opponents:
            for policy in group.policies():
                sampled, greedy = (group.success(policy, temperature, name) for temperature in (1.0, 0.0))
                if sampled is not None and greedy is not None:
                    label = f"{policy_name(policy).label} against {group.opponent(name).phrase}" + (f", {group.name}" if len(groups) > 1 else "")
                    bars.append((label, sampled.estimate, greedy.estimate))
    return bars


def _rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Every match as a row; over several seeds games are added up."""
    rows = []
    for group in groups:
        for policy in group.policies():
            for name in group.opponents:
                for temperature, how in ((1.0, "sampling, T = 1"), (0.0, "greedy")):
                    played = group.evaluations(policy, temperature, name)
                    if not played:
                        continue
                    score = group.success(policy, temperature, name)
                    assert score is not None
                    rows.append({
                        "policy": policy_name(policy).label + (f", {group.name}" if len(groups) > 1 else ""), "kind": policy_name(policy).kind,
                        "opponent": group.opponent(name).label, "how": how, "games": f"{sum(e.problems for e in played):,}",
                        "counts": [f"{sum(getattr(e, field) for e in played):,}" for field in ("wins", "draws", "losses")], "score": _score(score),
                    })  # fmt: skip
    return rows


def _score(measured: Measured) -> tuple[str, str]:
    estimate = measured.estimate
    return format_percent(estimate.value), f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _boards(group: Group, run: Run) -> list[dict[str, Any]]:
    """The games that were kept, the last stage's first."""
    boards = []
    for game in reversed(run.games):
        own = policy_name(run.policy_of(game.stage) or game.stage)
        other = group.opponent(game.opponent)
        players = (own, other) if game.seat == 0 else (other, own)
        result = "won" if game.score == 1 else "lost" if game.score == 0 else "drawn"
        caption = f"{own.label} against {other.phrase}: {result} after {len(game.moves)} moves"
        kinds = (players[0].kind, players[1].kind if players[1].label not in (p.label for p in PLAYERS.values()) else "demonstrator")
        svg = Markup(game_board(game.moves, (players[0].label, players[1].label), kinds, caption, "game"))
        boards.append({"caption": caption, "opening": game.opening, "svg": svg})
    return boards
