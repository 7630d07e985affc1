"""Tests of the verdict: what an interval and its tests amount to, and the correction for many rows."""

from __future__ import annotations

import math

import pytest

from kvbench.verdict.judge import Contrast, holm, judge

MARGIN = 0.05


def contrast(ratio: float, error: float, rank_p: float = 1e-6, freedom: float = math.inf) -> Contrast:
    return Contrast(math.log(ratio), error, freedom, rank_p)


def verdict(*contrasts: Contrast) -> list[str]:
    return [judged.verdict for judged in judge(contrasts, MARGIN)]


def test_each_verdict():
    assert verdict(contrast(1.2, 0.01)) == ["slower"]
    assert verdict(contrast(0.8, 0.01)) == ["faster"]
    assert verdict(contrast(1.01, 0.01)) == ["same"]
    assert verdict(contrast(1.05, 0.01)) == ["unclear"]
    assert verdict(contrast(1.2, 0.1)) == ["unclear"]


def test_a_difference_within_the_margin_is_none_however_sure():
    assert verdict(contrast(1.04, 1e-6, rank_p=0.0)) == ["same"]


def test_a_ratio_exactly_at_the_margin_is_not_beyond():
    assert verdict(contrast(1.05, 0.0)) == ["same"]


def test_swapping_the_sides_swaps_the_verdicts():
    for ratio in (1.02, 1.2, 1.3):
        there, back = judge([contrast(ratio, 0.002)], MARGIN)[0], judge([contrast(1 / ratio, 0.002)], MARGIN)[0]
        assert {"slower": "faster", "same": "same"}[there.verdict] == back.verdict


def test_both_tests_must_reject():
    assert verdict(contrast(1.2, 0.01, rank_p=0.2)) == ["unclear"]
    assert verdict(contrast(1.2, 0.01, rank_p=0.04)) == ["slower"]


def test_many_rows_ask_for_more():
    one = contrast(1.2, 0.01, rank_p=0.01)
    assert verdict(one) == ["slower"]
    found = judge([one, *[contrast(1.0, 0.01, rank_p=0.9)] * 9], MARGIN)
    assert found[0].verdict == "unclear"
    assert found[0].p_value == pytest.approx(0.1)
    assert "among 10 rows" in str(found[0].reason)


def test_few_degrees_of_freedom_widen_the_interval():
    assert verdict(contrast(1.2, 0.045)) == ["slower"]
    assert verdict(contrast(1.2, 0.045, freedom=2)) == ["unclear"]


def test_a_doubt_decides_and_does_not_count_among_the_rows():
    doubtful = Contrast(math.log(1.5), 0.001, math.inf, 0.0, doubt="one sample")
    found = judge([doubtful, contrast(1.2, 0.01, rank_p=0.04)], MARGIN)
    assert (found[0].verdict, found[0].reason, found[0].p_value) == ("unclear", "one sample", None)
    assert found[1].verdict == "slower"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_an_unknown_error_gives_no_interval():
    assert Contrast(0.1, math.inf, math.inf, 1.0).known_interval() == (None, None)
    low, high = contrast(1.0, 0.01).known_interval()
    assert low == pytest.approx(math.exp(-0.0196), rel=1e-3)
    assert high == pytest.approx(1 / low)
