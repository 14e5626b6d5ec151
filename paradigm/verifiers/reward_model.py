"""A trained reward model as a verifier: what its head says at the last token of a dialogue.

Under the Bradley-Terry model a difference of scores is a log-odds: sigmoid(score) is the chance that a person prefers the dialogue to one of score 0
(which the reward stage makes the mean of its demonstrations).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from paradigm.kernels.layout import Layout
from paradigm.verifiers.verdict import Verdict

__all__ = ["RewardModel"]

# B dialogues


class RewardModel:
    """Scores dialogues, many at a time. It never raises on what a policy wrote: what it cannot score is NaN, and counted.

    Threads that ask for single dialogues at the same time are answered by one forward pass: while one of them runs the model, the others' dialogues
    gather, and whoever comes next scores all of them. So an environment that is stepped from several threads is judged beside generation. With a
    policy in exact mode (the default on a CPU) a score does not depend on what it was computed together with, bit for bit.

    Args:
        policy: with `heads["reward"]`; its weights must not change while it scores.
        max_tokens: the longest dialogue; None: what the policy was made for.
        pack_tokens: the most tokens of a forward pass.

    Attributes: num_scored, num_errors: dialogues scored, and not, since this was made.
    Raises: ValueError if there is no such head, or a number is out of range.
    """

    def __init__(self, policy: Any, *, max_tokens: int | None = None, pack_tokens: int = 8192):
        if "reward" not in policy.heads:
            raise ValueError(f"policy must have heads['reward'], got {list(policy.heads)}: train it by a stage of kind 'reward'")
        self.max_tokens = policy.config.max_position_embeddings if max_tokens is None else max_tokens
        if self.max_tokens < 1 or pack_tokens < 1:
            raise ValueError(f"max_tokens and pack_tokens must be >= 1, got {self.max_tokens} and {pack_tokens}")
        self.policy = policy
        self._pack_tokens = max(pack_tokens, self.max_tokens)
        self._vocab_size = policy.config.vocab_size
        self.num_scored = self.num_errors = 0
        self._model = threading.Lock()
        self._waiting: list[_Request] = []
        self._gather = threading.Lock()

    def scores(self, dialogues: Sequence[ArrayLike]) -> NDArray[np.float32]:
        """float32 [B], the score of each dialogue, int [n]; NaN for one that is empty, too long, holds ids that the policy lacks, or whose score is
        not finite."""
        with self._model:
            return self._scores(dialogues)

    def verdicts(self, dialogues: Sequence[ArrayLike]) -> list[Verdict]:
        """The verdicts on dialogues, see `verdict`."""
        return [self.verdict(score) for score in self.scores(dialogues).tolist()]

    def reward(self, dialogue: ArrayLike) -> float:
        """The score of one dialogue, computed with those that other threads ask for; NaN as in `scores`."""
        request = _Request(dialogue)
        with self._gather:
            self._waiting.append(request)
        with self._model:
            if request.score is None:
                with self._gather:
                    batch, self._waiting = self._waiting, []
                scores = np.full(len(batch), np.nan)
                try:
                    scores = self._scores([asked.dialogue for asked in batch])
                finally:  # if the model fails, in this thread, the others must not wait for an answer
                    for asked, score in zip(batch, scores.tolist()):
                        asked.score = score
        assert request.score is not None  # whoever took it from the list has scored it
        return request.score

    def __call__(self, dialogue: ArrayLike) -> Verdict:
        return self.verdict(self.reward(dialogue))

    def verdict(self, score: float) -> Verdict:
        """A score as a verdict: sigmoid(score), an error if it is not finite."""
        if not math.isfinite(score):
            return Verdict(0.0, error=f"the dialogue must have 1 to {self.max_tokens} known tokens and a finite score, and has not")
        return Verdict(1 / (1 + math.exp(-score)) if score > -700 else 0.0, evidence=f"reward {score:.4f}")

    @torch.no_grad()
    def _scores(self, dialogues: Sequence[ArrayLike]) -> NDArray[np.float32]:
        tokens = [np.asarray(dialogue).reshape(-1) for dialogue in dialogues]
        fits = [0 < t.size <= self.max_tokens and t.min() >= 0 and t.max() < self._vocab_size for t in tokens]
        scores = np.full(len(tokens), np.nan, np.float32)
        device = self.policy.head_weight.device
        for rows in _chunks(np.flatnonzero(fits), np.array([t.size for t in tokens]), self._pack_tokens):
            ends = np.cumsum([tokens[row].size for row in rows])
            layout = Layout(torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32))).to(device)
            fed = torch.from_numpy(np.concatenate([tokens[row] for row in rows]).astype(np.int32)).to(device)
            hidden = self.policy(fed, layout, rows=torch.from_numpy(ends - 1).to(device))
            scores[rows] = self.policy.heads["reward"](hidden).reshape(-1).float().cpu().numpy()
        scores[~np.isfinite(scores)] = np.nan
        num_errors = int(np.isnan(scores).sum())
        self.num_scored, self.num_errors = self.num_scored + len(tokens) - num_errors, self.num_errors + num_errors
        return scores


class _Request:
    """One dialogue that a thread waits for."""

    def __init__(self, dialogue: ArrayLike):
        self.dialogue = dialogue
        self.score: float | None = None


def _chunks(rows: NDArray[np.int64], lengths: NDArray[np.int64], max_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Dialogues in forward passes of at most max_tokens, the longest first."""
    chunk: list[int] = []
    total = 0
    for row in rows[np.argsort(-lengths[rows], kind="stable")].tolist():
        if chunk and total + lengths[row] > max_tokens:
            yield np.array(chunk)
            chunk, total = [], 0
        chunk.append(row)
        total += int(lengths[row])
    if chunk:
        yield np.array(chunk)
