"""Tests of contrasts: two runs' samples, samples in pairs, and what runs of the same code differ by."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kvbench.verdict.contrast import contrast_of_pairs, contrast_of_runs
from kvbench.verdict.judge import judge
from kvbench.verdict.spread import Spread, spread_of_controls, spread_of_repeats, widened

QUIET = Spread(1e-8, 50)


def samples(rng: np.random.Generator, median: float = 1e-3, noise: float = 0.02, count: int = 20) -> list[float]:
    return (median * np.exp(noise * rng.standard_normal(count))).tolist()


def test_a_slowdown_is_found_and_has_its_size():
    rng = np.random.default_rng(0)
    found = contrast_of_runs([samples(rng)], [samples(rng, 1.2e-3)], QUIET)
    low, high = found.interval()
    assert low < 1.2 < high
    assert high / low < 1.06
    assert judge([found], 0.05)[0].verdict == "slower"


def test_equal_runs_are_the_same():
    rng = np.random.default_rng(1)
    found = contrast_of_runs([samples(rng, count=60)], [samples(rng, count=60)], QUIET)
    assert judge([found], 0.05)[0].verdict == "same"


def test_what_runs_differ_by_widens_the_interval():
    rng = np.random.default_rng(0)
    runs = [samples(rng)], [samples(rng, 1.2e-3)]
    assert judge([contrast_of_runs(*runs, Spread(0.1**2, 6))], 0.05)[0].verdict == "unclear"
    one = contrast_of_runs(*runs, Spread(0.1**2, 6)).log_error
    three = contrast_of_runs([runs[0][0]] * 3, [runs[1][0]] * 3, Spread(0.1**2, 6)).log_error
    assert three == pytest.approx(one / math.sqrt(3), rel=0.05)


def test_without_a_spread_there_is_no_verdict():
    rng = np.random.default_rng(0)
    found = contrast_of_runs([samples(rng)], [samples(rng, 2e-3)], None)
    [judged] = judge([found], 0.05)
    assert judged.verdict == "unclear"
    assert "not known" in str(judged.reason)
    assert found.ratio == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("few", [1, 5])
def test_few_samples_are_no_result(few):
    rng = np.random.default_rng(0)
    [judged] = judge([contrast_of_runs([[1e-3] * few], [samples(rng, 2e-3)], QUIET)], 0.05)
    assert judged.verdict == "unclear"
    assert ("one sample" if few == 1 else "5 samples") in str(judged.reason)


def test_samples_that_hang_together_count_as_few():
    rng = np.random.default_rng(0)
    drift = [1e-3 * np.exp(0.02 * np.cumsum(rng.standard_normal(100))) for _ in range(2)]
    shuffled = [rng.permutation(one) for one in drift]
    dependent = contrast_of_runs([drift[0].tolist()], [drift[1].tolist()], QUIET)
    independent = contrast_of_runs([shuffled[0].tolist()], [shuffled[1].tolist()], QUIET)
    assert dependent.log_ratio == independent.log_ratio
    assert dependent.log_error > 2 * independent.log_error
    assert dependent.rank_p > 10 * independent.rank_p


def test_pairs_take_out_what_slows_both():
    """A machine that halves its speed now and then; B is 10 % slower in every pair."""
    rng = np.random.default_rng(2)
    state = np.exp(0.7 * rng.integers(0, 2, 30))
    a = 1e-3 * state * np.exp(0.01 * rng.standard_normal(30))
    b = 1.1e-3 * state * np.exp(0.01 * rng.standard_normal(30))
    assert judge([contrast_of_pairs(a, b)], 0.05)[0].verdict == "slower"
    assert judge([contrast_of_pairs(a, rng.permutation(b))], 0.05)[0].verdict == "unclear"
    assert judge([contrast_of_pairs(a, a)], 0.05)[0].verdict == "same"


def test_pairs_must_be_pairs_and_enough():
    with pytest.raises(ValueError, match="broadcast"):
        contrast_of_pairs([1.0, 2.0], [1.0, 2.0, 3.0])
    assert "only 5 pairs" in str(contrast_of_pairs([1.0] * 5, [2.0] * 5).doubt)


def test_spread_of_repeats_by_hand():
    spread = spread_of_repeats([[0.0, 0.2], [1.0, 1.0], [5.0]], runs=3, sides=2)
    assert spread == Spread(pytest.approx(0.01), 1)
    assert spread_of_repeats([[0.0], [1.0]], runs=2, sides=2) is None


def test_spread_of_controls_counts_a_common_shift_and_has_the_freedom_of_the_runs():
    spread = spread_of_controls([0.1] * 40, runs_a=2, runs_b=2)
    assert spread == Spread(pytest.approx(0.01), 2)
    assert spread_of_controls([0.1] * 40, 1, 1) is None
    assert spread_of_controls([], 3, 3) is None


def test_quiet_others_make_nothing_surer():
    own = Spread(0.01, 4)
    assert widened(own, Spread(1e-6, 400), None) == widened(own) == own
    assert widened(own, Spread(0.04, 400)) == Spread(0.04, 4)


def test_many_samples_do_not_stand_in_for_runs():
    """As sure as Student's test of the runs' medians, and no surer, whatever the samples within them say."""
    rng = np.random.default_rng(0)
    found = contrast_of_runs([samples(rng, noise=0.2)] * 2, [samples(rng, noise=0.2)], Spread(1e-6, 1))
    assert found.freedom == 1
