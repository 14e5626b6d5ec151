"""What a verifier returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict"]


@dataclass(frozen=True)
class Verdict:
    """A judgement of one response.

    Attributes:
        score: in [0, 1].
        evidence: what it rests on, in words.
        error: why no proper judgement could be made; the score is then 0.
    Raises: ValueError if score is outside [0, 1] or not finite.
    """

    score: float
    evidence: str = ""
    error: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be in [0, 1], got {self.score}")
