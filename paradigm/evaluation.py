"""Measuring a policy: success on held-out tasks, in one attempt or several, games against an opponent, and recovery from a forced mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paradigm.sampler import Sampler
from paradigm.statistics import Estimate, pass_at_k
from paradigm.trajectory import Segment, TrajectoryBuffer

CORRECT = 1.0  # a verifier's full score


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Success on `problems` tasks: how many were right, in all and by kind of task, and sampled tokens a problem."""

    problems: int
    correct: int
    tokens_per_problem: float
    by_operation: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def success(self) -> float:
        return self.correct / max(self.problems, 1)


@dataclass(frozen=True, kw_only=True)
class Match:
    """Games against one opponent, seats alternating; and the first of them, moved first: its opening, its moves, its score."""

    wins: int
    draws: int
    losses: int
    first_game: tuple[bytes, bytes, float] = (b"", b"", 0.5)

    @property
    def games(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Share of the points, a draw counting half."""
        return (self.wins + 0.5 * self.draws) / max(self.games, 1)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Success on the same problems and the same noise, undisturbed and with one wrong token forced into the work."""

    problems: int
    undisturbed_correct: int
    forced_correct: int


def summarize(rollouts: TrajectoryBuffer, kind_of: Callable[[Any], str] | None = None) -> Evaluation:
    """An `Evaluation` of rollouts that hold one trajectory a problem."""
    right = (rollouts.reward >= CORRECT) & ~rollouts.failed
    kinds: dict[str, list[int]] = {}
    if kind_of is not None:
        for row in range(len(rollouts)):
            tally = kinds.setdefault(kind_of(rollouts[row].task), [0, 0])
            tally[0] += int(right[row])
            tally[1] += 1
    return Evaluation(
        problems=len(rollouts), correct=int(right.sum()), tokens_per_problem=float(rollouts.num_actions.mean()) if len(rollouts) else 0.0,
        by_operation={kind: (tally[0], tally[1]) for kind, tally in sorted(kinds.items())},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Several attempts at each of some problems: `correct` counts the right ones, problem by problem, `kinds` says of which kind each is."""

    samples: int
    correct: tuple[int, ...]
    kinds: tuple[str, ...]
    tokens_per_attempt: float
    failed: int

    def pass_at(self, k: int, kind: str | None = None) -> Estimate:
        """pass@k with its 95% interval, over all problems or those of one kind."""
        return pass_at_k([c for c, own in zip(self.correct, self.kinds) if kind in (None, own)], self.samples, k)


def attempt(
    sampler: Sampler, environment: Any, tasks: Sequence[Any], *, samples: int, temperature: float, key: tuple[int, int],
    max_tokens: int | None = None, kind_of: Callable[[Any], str] | None = None,
) -> Attempts:  # fmt: skip
    """`samples` rollouts a task; one that failed counts as wrong. Raises: ValueError without a task."""
    if not len(tasks):
        raise ValueError("tasks must hold at least one, got none")
    rollouts = sampler.collect(environment, tasks, group_size=samples, temperature=temperature, key=key, max_tokens=max_tokens)
    right = (rollouts.reward >= CORRECT) & ~rollouts.failed
    correct = np.bincount(rollouts.task, weights=right, minlength=len(tasks)).astype(np.int64)
    return Attempts(
        samples=samples, correct=tuple(correct.tolist()), kinds=tuple(kind_of(task) if kind_of else "" for task in tasks),
        tokens_per_attempt=float(rollouts.num_actions.mean()), failed=int(rollouts.failed.sum()),
    )  # fmt: skip


def evaluate(
    sampler: Sampler, environment: Any, tasks: Sequence[Any], *, temperature: float, key: tuple[int, int],
    max_tokens: int | None = None, kind_of: Callable[[Any], str] | None = None,
) -> Evaluation:
    """One rollout a task. `temperature` 0 is greedy; `kind_of(task)` names the kind that the breakdown counts by."""
    return summarize(sampler.collect(environment, tasks, group_size=1, temperature=temperature, key=key, max_tokens=max_tokens), kind_of)


def play_match(
    sampler: Sampler, environment: Any, opponent: Any, openings: Sequence[Any], *, temperature: float, key: tuple[int, int]
) -> Match:
    """Plays two two-seat games from each opening against `opponent` (a Sampler or a player), one in each seat.

    Without different openings two greedy policies would play one game over and over.
    """
    tally = np.zeros(3, np.int64)
    first_game = (b"", b"", 0.5)
    for seat in (0, 1):
        rollouts = sampler.collect(
            environment, openings, group_size=1, temperature=temperature, key=(key[0], 2 * key[1] + seat), opponents={1 - seat: opponent}
        )
        own = rollouts.reward[(rollouts.seat == seat) & ~rollouts.failed]
        if seat == 0 and len(rollouts):
            game = rollouts[0]
            is_opening = game.segment == Segment.PROMPT
            first_game = (bytes(game.tokens[is_opening][1:].tolist()), bytes(game.tokens[~is_opening].tolist()), (game.reward + 1) / 2)
        tally += [int((own > 0).sum()), int((own == 0).sum()), int((own < 0).sum())]
    return Match(wins=int(tally[0]), draws=int(tally[1]), losses=int(tally[2]), first_game=first_game)


def falsify(environment: Any, rollouts: TrajectoryBuffer, draw: np.random.Generator) -> dict[int, list[tuple[int, list[int]]]]:
    """For each rollout that holds a scratch result, one digit of one replaced by another, as `Sampler.collect` takes it in `forced`.

    The noise is a pure function of the position: the same collection with these agrees with `rollouts` up to the forced tokens, and the policy
    goes on from there.
    """
    forced: dict[int, list[tuple[int, list[int]]]] = {}
    for row, trajectory in enumerate(rollouts):
        positions = environment.result_positions(trajectory.tokens).ravel()
        positions = positions[trajectory.action_mask[positions]]
        if len(positions) == 0:
            continue
        at = int(positions[draw.integers(len(positions))])
        digits = [digit for digit in environment.digit_tokens if digit != trajectory.tokens[at]]
        forced[int(rollouts.index[row])] = [(int(trajectory.action_mask[:at].sum()), [int(digits[draw.integers(len(digits))])])]
    return forced


def recover(sampler: Sampler, environment: Any, tasks: Sequence[Any], *, key: tuple[int, int], max_tokens: int | None = None) -> Recovery:
    """Answers each task twice with the same noise at temperature 1: undisturbed, then with one scratch result replaced by a wrong one.

    Tasks whose undisturbed work holds no result to falsify are left out of both counts. The step and the wrong digit are drawn from `key`.
    """
    plain = sampler.collect(environment, tasks, group_size=1, temperature=1.0, key=key, max_tokens=max_tokens)
    forced = falsify(environment, plain, np.random.default_rng([*key, 0x5EED]))
    disturbed = sampler.collect(environment, tasks, group_size=1, temperature=1.0, key=key, max_tokens=max_tokens, forced=forced)
    counted = np.isin(plain.index, list(forced))
    return Recovery(
        problems=int(counted.sum()),
        undisturbed_correct=int((plain.reward[counted] >= CORRECT).sum()),
        forced_correct=int((disturbed.reward[counted] >= CORRECT).sum()),
    )
