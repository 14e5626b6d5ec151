"""Worked solutions as demonstrations: what the policy will write is an action, what the calculator will answer is an observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paradigm.environments.worked_problems import Problem, annotated_pieces
from paradigm.sources.demonstrations import of_masked
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, TrajectoryBuffer

__all__ = ["worked_solutions"]


def worked_solutions(
    tasks: Sequence[Any], problem_of: Callable[[Any], Problem], tokenizer: Tokenizer, *, end: int, calculator: bool, marker: str
) -> TrajectoryBuffer:
    """Demonstrations of tasks, token for token what `WorkedProblems` would record of a policy that writes the same: pieces are tokenised apart.

    Each is worth 1, since its answer is the data's own.

    Args:
        tasks: what `problem_of` reads. end: the token id that ends a response. calculator, marker: those of the environment.
    Raises: ValueError for a problem that has no demonstration.
    """
    pieces: list[tuple[str, bool]] = []
    counts = []
    for task in tasks:
        problem = problem_of(task)
        if not problem.demonstration:
            raise ValueError(f"task {task!r} must have a demonstration, got none")
        own = [(problem.prompt, False), *annotated_pieces(problem.demonstration, calculator=calculator)]
        pieces += own
        counts.append(len(own))
    encoded = tokenizer.encode_batch([text for text, _ in pieces])
    tokens: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for last in np.cumsum(counts).tolist():
        own_pieces = range(last - counts[len(tokens)], last)
        tokens.append(np.concatenate([*(encoded[i] for i in own_pieces), np.array([end], np.int32)]))
        masks.append(np.concatenate([*(np.full(encoded[i].size, pieces[i][1]) for i in own_pieces), [True]]))
    rewards = np.concatenate([np.append(np.zeros(ids.size - 1, np.float32), np.float32(1)) for ids in tokens]) if tokens else np.zeros(0)
    buffer = of_masked(
        tokens, masks, rewards=rewards, group=np.arange(len(tasks)), task=np.arange(len(tasks)), tasks=tasks, stop_reason=0, terminated=True
    )
    marked = tokenizer.encode(marker).tolist()
    if len(marked) == 1:
        for trajectory in buffer:
            answering = np.cumsum(trajectory.action_mask & (trajectory.tokens == marked[0])) > 0
            trajectory.segment[trajectory.action_mask & ~answering] = Segment.THOUGHT
    return buffer
