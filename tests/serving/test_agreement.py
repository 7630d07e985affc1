"""Agreement of answers: exact, until the first difference, and by log-probability."""

from __future__ import annotations

import pytest

from kvbench.serving.agreement import Agreement, Answer, compare

A = Answer(["a", "b", "c", "d"], [{"a": -1.0}, {"b": -1.0}, {"c": -1.0, "x": -2.0}, {"d": -1.0}])


def test_the_same_answers_agree() -> None:
    assert compare([A], [A]) == Agreement(1.0, 1.0, None, 0.0)


def test_a_difference_ends_what_is_compared() -> None:
    other = Answer(["a", "b", "x", "d"], [{"a": -1.5}, {"b": -1.0}, {"c": -2.0, "x": -1.0}, {"d": -9.0}])
    found = compare([A, A], [A, other])
    assert found.exact == 0.5
    assert found.tokens == (4 + 2) / 8
    assert found.first_divergence_tokens == 2
    assert found.logprob_distance == pytest.approx((0.5 + 0 + 1 + 1) / (4 + 1 + 4))


def test_an_answer_that_stops_early_is_another() -> None:
    assert compare([A], [Answer(["a", "b"], [])]) == Agreement(0.0, 0.5, 2.0, None)


def test_nothing_to_compare_is_none() -> None:
    assert compare([], []) == compare([A], []) == Agreement(None, None, None, None)
