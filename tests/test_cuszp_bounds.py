"""Owns the tests of the codec's strict bound and of its range measurement, against float64 arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench import _ext, cuszp

if TYPE_CHECKING:
    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

SETTINGS = settings(max_examples=400, deadline=None, derandomize=True)
LARGEST = float(np.finfo(np.float32).max)


def allowed(eb: float, bound: float, max_abs: float) -> bool:
    """The conditions on the strict bound, in exact arithmetic."""
    reach = min(Fraction(bound), Fraction(LARGEST) - Fraction(max_abs))
    rounding = Fraction(eb) * (1 + Fraction(1, 2**23)) + Fraction(max_abs) / 2**22
    return rounding <= reach and max_abs < 2**24 * Fraction(eb) and 2**-129 < eb <= 2**125


@SETTINGS
@given(st.floats(-44, 38), st.floats(-3, 9), st.integers(0, 2**32))
def test_strict_bound_is_the_largest_and_is_kept(exponent: float, quanta: float, seed: int) -> None:
    bound = 10.0**exponent
    max_abs = float(np.float32(min(bound * 10.0**quanta, LARGEST)))
    eb = _cpu.strict_error_bound(bound, max_abs)
    above = float(np.nextafter(np.float32(eb), np.float32(np.inf)))
    assert not allowed(above, bound, max_abs)
    if eb == 0.0:
        return
    assert allowed(eb, bound, max_abs)
    rng = np.random.default_rng(seed)
    spread = rng.choice([1.0, 1e-2, 1e-4], 3000) * rng.uniform(-1, 1, 3000)
    values = np.clip(spread * max_abs, -max_abs, max_abs).astype(np.float32)
    ties = np.clip(eb * (2 * rng.integers(-1000, 1000, 500) + 1), -max_abs, max_abs).astype(np.float32)
    values = np.concatenate([values, np.array([max_abs, -max_abs], np.float32), ties])
    for mode in ("fixed", "plain"):
        decoded = cuszp.decompress(cuszp.compress(values, eb, mode), values.size, eb, mode)
        worst = np.abs(values.astype(np.float64) - decoded.astype(np.float64)).max()
        assert worst <= bound


def test_strict_bound_near_its_limits() -> None:
    """Many draws at the largest magnitudes for which the bound can still be kept."""
    rng = np.random.default_rng(5)
    kept = 0
    for ratio in (2.0**20, 2.0**21, 2.0**21.9, 2.0**21.999, 4194000.0):
        bound = 1e-3
        max_abs = float(np.float32(bound * ratio))
        eb = _cpu.strict_error_bound(bound, max_abs)
        if eb == 0.0:
            continue
        kept += 1
        values = (rng.uniform(0.9, 1, 200_000) * max_abs * rng.choice([-1, 1], 200_000)).astype(np.float32)
        decoded = cuszp.decompress(cuszp.compress(values, eb), values.size, eb)
        assert np.abs(values.astype(np.float64) - decoded).max() <= bound
    assert kept >= 2


@pytest.mark.parametrize(
    ("bound", "max_abs"),
    [
        (0.0, 1.0),
        (-1.0, 1.0),
        (np.nan, 1.0),
        (1.0, np.nan),
        (1.0, np.inf),
        (1.0, -1.0),
        (1e-3, 1e6),
        (1.0, 2.0**22),
        (1e-46, 0.0),
        (1e30, LARGEST),
    ],
)
def test_bounds_that_cannot_be_kept(bound: float, max_abs: float) -> None:
    assert _cpu.strict_error_bound(bound, max_abs) == 0.0


def test_strict_bound_of_nothing_and_of_everything() -> None:
    assert _cpu.strict_error_bound(0.25, 0.0) == 0.25 * (1 - 2.0**-23)
    assert _cpu.strict_error_bound(1e300, 0.0) == 2.0**125
    assert _cpu.strict_error_bound(np.inf, 1.0) == 2.0**125


@SETTINGS
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 5, 33, 1000]), st.integers(0, 2), st.booleans())
def test_range_of_finite_values(seed: int, n: int, dtype: int, any_bits: bool) -> None:
    element = np.dtype([np.float32, ml_dtypes.bfloat16, np.float16][dtype])
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, n * element.itemsize, dtype=np.uint8).view(element)
    values = (
        bits if any_bits else rng.choice(np.array([0.0, -0.0, 1.0, -2.5, np.nan, np.inf, -np.inf]), n).astype(element)
    )
    with np.errstate(invalid="ignore"):
        wide = values.astype(np.float32)
    finite = wide[np.isfinite(wide)]
    minimum, maximum, max_abs, non_finite = _cpu.measure_range(values.ctypes.data, dtype, n, 1)
    assert non_finite == n - finite.size
    assert minimum == (finite.min() if finite.size else 0.0)
    assert maximum == (finite.max() if finite.size else 0.0)
    assert max_abs == (np.abs(finite).max() if finite.size else 0.0)
    assert not np.signbit([x for x in (minimum, maximum, max_abs) if x == 0]).any()


def test_range_on_several_threads() -> None:
    values = np.random.default_rng(2).normal(size=1_000_003).astype(np.float32)
    values[[5, 999_999]] = [np.nan, -np.inf]
    one = _cpu.measure_range(values.ctypes.data, 0, values.size, 1)
    assert one[3] == 2
    for threads in (0, 2, 7):
        assert _cpu.measure_range(values.ctypes.data, 0, values.size, threads) == one
