"""How sure a measured number is: intervals for proportions, their differences, means, and means over seeds.

Everything returns fractions, not percentages. The report and the tables use only these, so that a number means the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

__all__ = ["Estimate", "SeedSummary", "bootstrap_mean", "mean_over_seeds", "pass_at_k", "proportion_difference", "student_t_quantile",
           "wilson_interval"]  # fmt: skip


class Estimate(NamedTuple):
    """A value with the ends of its confidence interval, all in the same unit."""

    value: float
    low: float
    high: float


class SeedSummary(NamedTuple):
    """Mean, sample standard deviation (n - 1) and t interval of the mean over seeds; std, low and high are NaN for one seed."""

    mean: float
    std: float
    low: float
    high: float
    num_seeds: int


def wilson_interval(correct: float, total: float, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion (Wilson 1927, without continuity correction).

    Unlike value ± 1.96 standard errors it stays within [0, 1] and has width at 0 of n and n of n.

    Args:
        correct: successes; a draw may count one half.
        total: trials, > 0.
        confidence: coverage, inside (0, 1).
    Returns: (correct / total, low, high), as fractions. Raises: ValueError on an impossible count or confidence.
    """
    _check_count("correct", correct, "total", total)
    z = _normal_quantile(confidence)
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Estimate(share, 0.0 if correct == 0 else max(0.0, centre - half), 1.0 if correct == total else min(1.0, centre + half))


def proportion_difference(correct_a: float, total_a: float, correct_b: float, total_b: float, confidence: float = 0.95) -> Estimate:
    """Difference a - b of two independent proportions with its hybrid score interval (Newcombe 1998, Statistics in Medicine 17:873, method 10).

    Both policies answer the same held-out problems, so treating them as independent is on the cautious side when they tend to solve the same ones.

    Returns: (a - b, low, high), as fractions in [-1, 1]. Raises: ValueError on an impossible count or confidence.
    """
    a = wilson_interval(correct_a, total_a, confidence)
    b = wilson_interval(correct_b, total_b, confidence)
    difference = a.value - b.value
    low = difference - math.hypot(a.value - a.low, b.high - b.value)
    high = difference + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(difference, low, high)


def bootstrap_mean(values: Sequence[float] | np.ndarray, *, seed: int, resamples: int = 10_000, confidence: float = 0.95) -> Estimate:
    """Mean with its percentile bootstrap interval (Efron 1979); for quantities without a formula, such as tokens per problem.

    Args:
        values: float [n], n >= 1, finite.
        seed: of the resampling; the same seed gives the same interval.
        resamples: >= 100.
    Returns: (mean, low, high) in the unit of `values`. Raises: ValueError on empty or non-finite values, few resamples, a bad confidence.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(f"values must be a non-empty row of finite numbers, got shape {sample.shape}")
    if resamples < 100:
        raise ValueError(f"resamples must be >= 100, got {resamples}")
    _check_confidence(confidence)
    rng = np.random.default_rng(seed)
    rows = max(1, 2**22 // len(sample))  # resamples in blocks of at most 4M draws: memory stays flat
    means = np.concatenate([
        sample[rng.integers(0, len(sample), (min(rows, resamples - start), len(sample)))].mean(axis=1) for start in range(0, resamples, rows)
    ])  # fmt: skip
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(sample.mean()), float(low), float(high))


def pass_at_k(correct: Sequence[int] | np.ndarray, attempts: int, k: int, confidence: float = 0.95) -> Estimate:
    """pass@k, the chance that one of k attempts at a problem is right, without bias from n >= k attempts each (Chen et al., arXiv:2107.03374, eq. 1):

        mean over problems of 1 - C(n - c, k) / C(n, k)

    The interval is Wilson's for as many problems as a proportion would need for this mean's standard error over problems (its effective sample size,
    as for complex surveys: Korn and Graubard, Survey Methodology 24:193, 1998), at most the problems times n / k.

    Args:
        correct: integers [P], right attempts at each problem.
        attempts: n, at each problem.
        k: 1 <= k <= n.
    Returns: fractions. Raises: ValueError on no problem, a count out of range, or k out of range.
    """
    counts = np.asarray(correct, dtype=np.int64)
    if counts.ndim != 1 or not len(counts):
        raise ValueError(f"correct must hold a count for at least one problem, got shape {list(counts.shape)}")
    if not 1 <= k <= attempts:
        raise ValueError(f"k must be from 1 to the {attempts} attempts, got {k}")
    if counts.min() < 0 or counts.max() > attempts:
        raise ValueError(f"correct must be between 0 and attempts ({attempts}), got {counts.min()} to {counts.max()}")
    total = math.comb(attempts, k)
    chance = np.array([1 - math.comb(attempts - c, k) / total for c in range(attempts + 1)])
    values = chance[counts]
    mean, problems = float(values.mean()), len(values)
    variance = float(values.var(ddof=1)) / problems if problems > 1 else 0.0
    spread = mean * (1 - mean)
    effective = problems if spread == 0 else min(spread / variance if variance > 0 else math.inf, problems * attempts / k)
    interval = wilson_interval(mean * effective, effective, confidence)
    return Estimate(mean, min(interval.low, mean), max(interval.high, mean))


def mean_over_seeds(values: Sequence[float], confidence: float = 0.95) -> SeedSummary:
    """Mean and spread of one measured number over seeds, with Student's t interval of the mean.

    Args:
        values: one number a seed, finite, n >= 1.
    Returns: SeedSummary. Raises: ValueError on no or non-finite values, a bad confidence.
    """
    if len(values) == 0 or not all(math.isfinite(v) for v in values):
        raise ValueError(f"values must be at least one finite number, got {list(values)}")
    _check_confidence(confidence)
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return SeedSummary(mean, math.nan, math.nan, math.nan, 1)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = student_t_quantile((1 + confidence) / 2, n - 1) * std / math.sqrt(n)
    return SeedSummary(mean, std, mean - half, mean + half, n)


def student_t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t with an integer number of degrees of freedom, above the median.

    The distribution function is the finite sum of Abramowitz & Stegun 26.7.3 and 26.7.4 in θ = atan(t / sqrt(degrees)); θ is found by bisection.

    Args:
        probability: in [0.5, 1).
        degrees: >= 1.
    Returns: t with P(T <= t) = probability, to about 1e-12 relative. Raises: ValueError outside these ranges.
    """
    if not 0.5 <= probability < 1:
        raise ValueError(f"probability must be in [0.5, 1), got {probability}")
    if degrees < 1:
        raise ValueError(f"degrees must be >= 1, got {degrees}")

    def central_mass(theta: float) -> float:
        """P(|T| <= sqrt(degrees) tan θ)."""
        sine, cosine = math.sin(theta), math.cos(theta)
        odd = degrees % 2 == 1
        term, total = (cosine, 0.0) if odd else (1.0, 0.0)
        for k in range((degrees - 1) // 2 if odd else degrees // 2):
            total += term
            term *= cosine * cosine * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
        return 2 / math.pi * (theta + sine * total) if odd else sine * total

    low, high = 0.0, math.pi / 2
    for _ in range(200):
        middle = (low + high) / 2
        if central_mass(middle) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _check_count(name: str, count: float, total_name: str, total: float) -> None:
    if not total > 0:
        raise ValueError(f"{total_name} must be > 0, got {total}")
    if not 0 <= count <= total:
        raise ValueError(f"{name} must be between 0 and {total_name} ({total}), got {count}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be inside (0, 1), got {confidence}")


def _normal_quantile(confidence: float) -> float:
    _check_confidence(confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)
