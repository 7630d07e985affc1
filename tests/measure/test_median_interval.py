"""Checks the interval of a median: how often it holds it, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from kvbench.measure.sampling import median_interval
from kvbench.verdict import block_bootstrap


def test_equal_samples_have_no_interval_and_no_warning() -> None:
    assert median_interval([0.25] * 8) is None
    assert median_interval([0.25]) is None


def test_few_samples_have_no_interval() -> None:
    assert median_interval([0.1, 0.2, 0.3, 0.4, 0.5]) is None
    assert median_interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) is not None
    assert median_interval([0.0, 0.2, 0.3, 0.4, 0.5, 0.6]) is None


def test_interval_of_independent_samples_is_about_that_of_order_statistics() -> None:
    samples = np.random.default_rng(5).gamma(4.0, 1e-3, 40).tolist()
    interval = median_interval(samples)
    assert interval is not None
    assert interval == median_interval(samples)
    low, high = interval
    # For the median an order-statistic interval holds 95 % exactly: ranks 14 to 27 of 40 (binomial quantiles).
    ordered = sorted(samples)
    assert ordered[7] <= low <= ordered[17]
    assert ordered[22] <= high <= ordered[32]


def series(generator: np.random.Generator, count: int, correlation: float) -> list[float]:
    """Times around 1 ms, in which one resembles the next by so much."""
    state, steps = generator.standard_normal(), generator.standard_normal(count)
    times = []
    for step in steps:
        state = correlation * state + np.sqrt(1 - correlation**2) * step
        times.append(1e-3 * float(np.exp(0.02 * state)))
    return times


@pytest.mark.parametrize(
    ("count", "correlation", "least"),
    [(6, 0.0, 0.9), (30, 0.0, 0.9), (30, 0.5, 0.88), (100, 0.5, 0.88), (100, 0.8, 0.8)],
)
def test_how_often_the_interval_holds_the_median(
    count: int, correlation: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_bootstrap, "RESAMPLES", 199)
    generator = np.random.default_rng(count)
    inside = 0
    for _ in range(200):
        low, high = median_interval(series(generator, count, correlation)) or (0.0, 0.0)
        inside += low <= 1e-3 <= high
    assert inside / 200 >= least


def test_the_interval_of_very_many_samples_draws_some_of_them() -> None:
    samples = (1e-3 * np.exp(0.02 * np.random.default_rng(0).standard_normal(100_000))).tolist()
    low, high = median_interval(samples) or (0.0, 0.0)
    # +-1.96 standard errors of a median of normal values, 0.02 sqrt(pi / 2 n).
    assert (high - low) / 2e-3 == pytest.approx(1.96 * 0.02 * np.sqrt(np.pi / 2 / 1e5), rel=0.2)
