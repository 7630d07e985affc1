"""Tests what an error bound means."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from kvbench.bound import BOUND_KIND_MEANING, BOUND_KINDS, Bound


@pytest.mark.parametrize("value", [0, -1, -0.0, math.nan, math.inf, -math.inf])
def test_only_finite_numbers_above_zero(value: float) -> None:
    with pytest.raises(ValidationError, match="is not a finite number above 0"):
        Bound(value=value)


def test_rel_is_a_fraction_of_max_minus_min_and_abs_is_not() -> None:
    assert Bound(kind="rel", value=1e-3).absolute(value_range=100, std=None) == pytest.approx(0.1, rel=1e-15)
    assert Bound(kind="abs", value=1e-3).absolute(value_range=100, std=None) == 1e-3


def test_std_needs_the_standard_deviation() -> None:
    bound = Bound(kind="std", value=0.5)
    assert bound.absolute(value_range=100, std=4.0) == 2.0
    with pytest.raises(ValueError, match="standard deviation"):
        bound.absolute(value_range=100, std=None)


@pytest.mark.parametrize("kind", ["rel", "std"])
def test_a_constant_tensor_has_bound_zero(kind: str) -> None:
    assert Bound.model_validate({"kind": kind, "value": 0.1}).absolute(value_range=0.0, std=0.0) == 0.0


def test_every_kind_is_explained() -> None:
    assert set(BOUND_KIND_MEANING) == set(BOUND_KINDS)
    assert str(Bound(kind="rel", value=1e-3)) == "rel 0.001"


def test_defaults_are_rel_one_percent() -> None:
    assert Bound() == Bound(kind="rel", value=1e-2)


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_bound(value: bool) -> None:
    with pytest.raises(ValueError, match=f"error bound {value} is not a number; try 1e-2"):
        Bound(value=value)
