"""Tests of samples that depend on their neighbours: block length, block bootstrap, block medians."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from kvbench.verdict import block_bootstrap
from kvbench.verdict.block_bootstrap import (
    MOST_DRAWN,
    RESAMPLES,
    block_length,
    block_medians,
    median_error,
    resampled_medians,
)


def series(count: int, phi: float) -> list[float]:
    """A first-order autoregressive series from a generator of its own, the same on every machine."""
    state, value, values = 7, 0.0, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        value = phi * value + (state / 2**31 - 0.5)
        values.append(value)
    return values


# From optimal_block_length of arch 8.0.0, column `circular`, on the ranks.
@pytest.mark.parametrize(
    ("count", "phi", "expected"),
    [
        (20, 0.0, 0.49736126753432125),
        (50, 0.3, 1.8153992541183286),
        (200, 0.0, 1.8539037411613783),
        (200, 0.3, 2.8181340840868634),
        (1000, 0.0, 2.0163266359012995),
    ],
)
def test_the_optimal_length_is_that_of_another_implementation(count, phi, expected):
    assert block_bootstrap._optimal_length(rankdata(series(count, phi))) == pytest.approx(expected, rel=1e-9)


# There the correlation at a lag is scaled otherwise, so that another lag may be the last that counts.
@pytest.mark.parametrize(("count", "phi", "expected"), [(50, 0.8, 4.25), (200, 0.8, 9.94), (1000, 0.95, 50.8)])
def test_strong_correlation_asks_for_blocks_about_as_long(count, phi, expected):
    assert block_bootstrap._optimal_length(rankdata(series(count, phi))) == pytest.approx(expected, rel=0.35)


def test_lengths_at_the_edges():
    assert block_length([1.0]) == 1
    assert block_length([1.0, 2.0, 3.0]) == 1
    assert block_length([2.0] * 50) == 1
    assert block_length(series(9, 0.99)) <= 3


def test_one_interruption_does_not_hide_the_correlation():
    calm = series(200, 0.8)
    hit = [*calm]
    hit[100] = 1e6
    assert block_length(hit) == pytest.approx(block_length(calm), abs=3)


def test_block_medians_leave_the_rest_out():
    assert block_medians([1, 2, 3, 10, 20, 30, 99], 3).tolist() == [2, 20]
    assert block_medians([4, 1], 1).tolist() == [4, 1]


def test_resamples_are_blocks_that_may_run_over_the_end():
    medians = resampled_medians([1.0, 2.0, 3.0], 3, np.random.default_rng(0))
    assert len(medians) == RESAMPLES
    assert set(medians) == {2.0}  # every circular block of all three has the same median
    assert set(resampled_medians([1.0, 2.0, 3.0], 1, np.random.default_rng(0))) == {1.0, 2.0, 3.0}


def test_blocks_show_the_error_that_correlation_makes():
    """The median of correlated samples is known less well than single resampled samples make believe."""
    values, rng = series(400, 0.9), np.random.default_rng(0)
    alone = np.std(resampled_medians(values, 1, rng))
    assert np.std(resampled_medians(values, block_length(values), rng)) > 2 * alone


def test_many_samples_are_resampled_in_pieces(monkeypatch):
    whole = resampled_medians(series(50, 0.5), 4, np.random.default_rng(0))
    monkeypatch.setattr(block_bootstrap, "RESAMPLED_AT_A_TIME", 500)
    assert len(resampled_medians(series(50, 0.5), 4, np.random.default_rng(0))) == len(whole)


def test_of_very_many_samples_some_are_drawn_and_the_error_is_that_of_all():
    values = np.random.default_rng(0).standard_normal(10 * MOST_DRAWN)
    medians = resampled_medians(values, 4, np.random.default_rng(0))
    # The median of n normal values has the standard error sqrt(pi / 2 n).
    assert np.std(medians) == pytest.approx(np.sqrt(np.pi / 2 / len(values)), rel=0.15)
    assert np.mean(medians) == pytest.approx(np.median(values), abs=np.std(medians))


def test_few_samples_count_as_few_blocks():
    error, freedom = median_error(series(6, 0.0), np.random.default_rng(0))
    assert (error > 0, freedom) == (True, 1)
    assert median_error(series(100, 0.0), np.random.default_rng(0))[1] > 5
