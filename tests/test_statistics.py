"""Intervals: by hand where the sum is short, and against scipy everywhere else."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from paradigm.statistics import bootstrap_mean, mean_over_seeds, pass_at_k, proportion_difference, student_t_quantile, wilson_interval


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (1, 3), (81, 100), (999, 1000), (500, 1200), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_scipy(correct: int, total: int, confidence: float) -> None:
    truth = scipy.stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(correct, total, confidence)
    assert ours == pytest.approx((correct / total, truth.low, truth.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    # n = 10, k = 5: centre 1/2, half-width z / (1 + z²/10) · sqrt(1/40 + z²/400), z = 1.959964
    z2 = 3.841459
    half = math.sqrt(z2) / (1 + z2 / 10) * math.sqrt(1 / 40 + z2 / 400)
    assert wilson_interval(5, 10) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-6)
    assert wilson_interval(5, 10).low == pytest.approx(0.2366, abs=5e-5)


def test_half_points_for_draws_count() -> None:
    assert wilson_interval(2.5, 5).value == 0.5


def test_newcombes_own_example() -> None:
    # Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10
    assert proportion_difference(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    # example (b): 9/10 - 3/10
    assert proportion_difference(9, 10, 3, 10) == pytest.approx((0.6, 0.1705, 0.8090), abs=5e-5)


def test_difference_turns_its_sign_with_its_arguments() -> None:
    a, b = proportion_difference(97, 100, 56, 90), proportion_difference(56, 90, 97, 100)
    assert a == pytest.approx((-b.value, -b.high, -b.low))


def test_difference_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.binomial(300, 0.9, 2000), rng.binomial(200, 0.8, 2000)
    intervals = [proportion_difference(x, 300, y, 200) for x, y in zip(a, b)]
    covered = np.mean([i.low <= 0.1 <= i.high for i in intervals])
    assert 0.935 < covered < 0.965  # 95% ± 3 standard errors of 2,000 draws


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 8, 30, 101])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.975, 0.9995])
def test_t_quantiles_agree_with_scipy(degrees: int, probability: float) -> None:
    assert student_t_quantile(probability, degrees) == pytest.approx(scipy.stats.t.ppf(probability, degrees), rel=1e-9, abs=1e-9)


def test_three_seeds_by_hand() -> None:
    # mean 3, deviations -1 0 1, std 1, t(0.975, 2) = 4.302653, half 4.302653 / sqrt(3)
    ours = mean_over_seeds([2.0, 3.0, 4.0])
    half = 4.302652729 / math.sqrt(3)
    assert ours == pytest.approx((3.0, 1.0, 3 - half, 3 + half, 3), abs=1e-8)


def test_seed_interval_agrees_with_scipy() -> None:
    values = [0.91, 0.97, 0.88, 0.95, 0.93]
    truth = scipy.stats.t.interval(0.9, 4, np.mean(values), scipy.stats.sem(values))
    ours = mean_over_seeds(values, 0.9)
    assert (ours.low, ours.high) == pytest.approx(truth)
    assert ours.std == pytest.approx(np.std(values, ddof=1))


def test_one_seed_has_no_spread() -> None:
    ours = mean_over_seeds([0.5])
    assert ours.mean == 0.5 and math.isnan(ours.std) and math.isnan(ours.low) and ours.num_seeds == 1


def test_bootstrap_agrees_with_scipy_and_repeats() -> None:
    values = np.random.default_rng(1).lognormal(3, 0.5, 400)
    ours = bootstrap_mean(values, seed=4)
    truth = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, random_state=2).confidence_interval
    width = truth.high - truth.low
    assert ours.value == pytest.approx(values.mean())
    assert abs(ours.low - truth.low) < 0.05 * width and abs(ours.high - truth.high) < 0.05 * width
    assert bootstrap_mean(values, seed=4) == ours and bootstrap_mean(values, seed=5) != ours


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson_interval(3, 0), "total must be > 0, got 0"),
        (lambda: wilson_interval(4, 3), r"correct must be between 0 and total \(3\), got 4"),
        (lambda: wilson_interval(1, 3, 1.0), r"confidence must be inside \(0, 1\), got 1.0"),
        (lambda: mean_over_seeds([]), "values must be at least one finite number"),
        (lambda: mean_over_seeds([1.0, math.nan]), "values must be at least one finite number"),
        (lambda: bootstrap_mean([], seed=0), "non-empty"),
        (lambda: bootstrap_mean([1.0], seed=0, resamples=5), "resamples must be >= 100, got 5"),
        (lambda: student_t_quantile(0.2, 3), r"probability must be in \[0.5, 1\), got 0.2"),
        (lambda: student_t_quantile(0.9, 0), "degrees must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_the_value(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_pass_at_k_is_the_mean_over_all_subsets() -> None:
    correct, n = [0, 1, 3, 5, 2], 5
    for k in range(1, n + 1):
        chances = []
        for c in correct:
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            chances.append(sum(any(subset) for subset in subsets) / len(subsets))
        estimate = pass_at_k(correct, n, k)
        assert estimate.value == pytest.approx(sum(chances) / len(chances), abs=1e-12)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert pass_at_k(correct, n, 1).value == pytest.approx(sum(correct) / 25)


def test_pass_at_1_of_single_attempts_is_a_proportion() -> None:
    ours, wilson = pass_at_k([1] * 30 + [0] * 70, 1, 1), wilson_interval(30, 100)
    # the sample's variance has n - 1 where a proportion's has n
    assert ours.value == wilson.value and ours.low == pytest.approx(wilson.low, abs=2e-3) and ours.high == pytest.approx(wilson.high, abs=2e-3)
    assert pass_at_k([0] * 50, 4, 2) == wilson_interval(0, 50) and pass_at_k([4] * 50, 4, 2) == wilson_interval(50, 50), "never without a width"
    same = pass_at_k([2] * 50, 4, 1)
    assert same == wilson_interval(100, 200), "at most as sure as of all attempts"


def test_the_interval_of_pass_at_k_covers() -> None:
    rng = np.random.default_rng(0)
    for a, b, k in ((0.5, 0.5, 1), (0.5, 0.5, 4), (0.2, 3.0, 4), (3.0, 1.0, 2)):
        truth = 1 - np.mean([math.gamma(a + b) * math.gamma(b + k) / (math.gamma(b) * math.gamma(a + b + k))])  # E[(1 - p)^k], p ~ Beta(a, b)
        estimates = [pass_at_k(rng.binomial(8, rng.beta(a, b, 100)), 8, k) for _ in range(400)]
        assert 0.92 <= np.mean([low <= truth <= high for _, low, high in estimates]) <= 0.99
        assert abs(np.mean([e.value for e in estimates]) - truth) < 0.01, "without bias"


def test_pass_at_k_names_what_is_out_of_range() -> None:
    for arguments, message in (
        (([], 4, 1), "at least one problem"), (([1], 4, 5), "k must be from 1 to the 4 attempts, got 5"), (([1], 4, 0), "k must be"),
        (([5], 4, 1), r"correct must be between 0 and attempts \(4\), got 5 to 5"), (([-1], 4, 1), "correct must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            pass_at_k(*arguments)
