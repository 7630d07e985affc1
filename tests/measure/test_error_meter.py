"""Checks the error meter against a plain float64 computation and against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kvbench.measure.errors import HISTOGRAM_BINS, ErrorMeter
from kvbench.measure.pieces import PIECE_ELEMENTS
from kvbench.record.schema import METRIC_UNITS

NAN, INF = math.nan, math.inf
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def meter_of(
    original: list[float] | torch.Tensor,
    decoded: list[float] | torch.Tensor,
    bound: float | None,
    dtype: torch.dtype = torch.float32,
) -> ErrorMeter:
    meter = ErrorMeter(bound, dtype)
    meter.add(torch.as_tensor(original, dtype=dtype), torch.as_tensor(decoded, dtype=torch.float32))
    return meter


def plain(original: NDArray[np.float64], decoded: NDArray[np.float64], bound: float) -> int:
    """Violations, one value at a time."""
    count = 0
    for x, y in zip(original.tolist(), decoded.tolist(), strict=True):
        if math.isnan(x):
            count += not math.isnan(y)
        elif math.isinf(x):
            count += x != y
        else:
            count += not (math.isfinite(y) and abs(x - y) <= bound)
    return count


finite = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e4, max_value=1e4)
anything = finite | st.sampled_from([NAN, INF, -INF, 0.0, -0.0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(anything, anything), min_size=1, max_size=40),
    st.sampled_from([0.0, 1e-3, 0.5, 100.0]),
    st.sampled_from(DTYPES),
)
def test_violations_and_non_finite_values_against_a_plain_loop(
    pairs: list[tuple[float, float]], bound: float, dtype: torch.dtype
) -> None:
    original = torch.tensor([x for x, _ in pairs], dtype=torch.float32).to(dtype)
    decoded = torch.tensor([y for _, y in pairs], dtype=torch.float32)
    metrics = meter_of(original, decoded, bound, dtype).metrics()
    exact = original.double().numpy()
    assert metrics["violations"] == plain(exact, decoded.double().numpy(), bound)
    assert metrics["non_finite_count"] == int((~np.isfinite(exact)).sum())
    if dtype == torch.float32:
        assert metrics["violations_after_cast"] is None
    else:
        rounded = decoded.to(dtype).double().numpy()
        assert metrics["violations_after_cast"] == plain(exact, rounded, bound)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3 * PIECE_ELEMENTS // 2),
    st.sampled_from(DTYPES),
    st.sampled_from([1e-4, 1e-2, 1.0]),
)
def test_figures_against_numpy(seed: int, elements: int, dtype: torch.dtype, bound: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    original = torch.randn(elements, generator=generator).to(dtype)
    decoded = original.float() + bound * 1.05 * (2 * torch.rand(elements, generator=generator) - 1)
    meter = meter_of(original, decoded, bound, dtype)
    metrics = meter.metrics()

    error = original.double().numpy() - decoded.double().numpy()
    width = float(np.float32(original.float().max()) - np.float32(original.float().min()))
    rmse = math.sqrt(np.mean(error**2))
    assert metrics["violations"] == int((np.abs(error) > bound).sum())
    assert metrics["max_abs_error"] == np.abs(error).max()
    assert metrics["mean_abs_error"] == pytest.approx(np.abs(error).mean(), rel=1e-12)
    assert metrics["rmse"] == pytest.approx(rmse, rel=1e-12)
    assert metrics["value_range"] == width
    if width and rmse:
        assert metrics["nrmse"] == pytest.approx(rmse / width, rel=1e-12)
        assert metrics["psnr_db"] == pytest.approx(10 * math.log10(width**2 / rmse**2), rel=1e-9)
    over = np.abs(error).max() / bound
    assert metrics["max_excess"] == (pytest.approx(over) if over > 1 else None)

    histogram = meter.histogram()
    assert histogram is not None
    assert histogram.below == int((error < -bound).sum())
    assert histogram.above == int((error > bound).sum())
    inside = error[np.abs(error) <= bound]
    assert sum(histogram.counts) == inside.size
    expected, _ = np.histogram(inside / bound, bins=HISTOGRAM_BINS, range=(-1, 1))
    # An error on an edge may fall to either side of it.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 1


def test_pieces_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    original = torch.randn(1000, generator=generator)
    decoded = original + 1e-2 * torch.randn(1000, generator=generator)
    whole, pieces = ErrorMeter(1e-2, torch.float32), ErrorMeter(1e-2, torch.float32)
    whole.add(original, decoded)
    for first in range(0, 1000, 77):
        pieces.add(original[first : first + 77], decoded[first : first + 77])
    ours, theirs = pieces.metrics(), whole.metrics()
    assert {name: value for name, value in ours.items() if isinstance(value, int)} == {
        name: value for name, value in theirs.items() if isinstance(value, int)
    }
    assert ours["rmse"] == pytest.approx(theirs["rmse"], rel=1e-12)
    assert ours["max_abs_error"] == theirs["max_abs_error"]
    assert pieces.histogram() == whole.histogram()


def test_the_bound_itself_is_kept_and_one_step_more_is_not() -> None:
    one_step_more = float(np.nextafter(np.float32(0.5), np.float32(1)))
    metrics = meter_of([0.0, 0.0], [0.5, one_step_more], 0.5).metrics()
    assert metrics["violations"] == 1
    assert metrics["max_excess"] == one_step_more / 0.5


def test_bfloat16_originals_are_taken_exactly() -> None:
    # 1/3 in bfloat16 is 0.333984375: against the float32 third the error is 0.00065.
    third = torch.tensor([1 / 3], dtype=torch.bfloat16)
    metrics = meter_of(third, [1 / 3], 1e-3, torch.bfloat16).metrics()
    assert metrics["max_abs_error"] == abs(0.333984375 - float(np.float32(1 / 3)))
    assert metrics["violations"] == 0


def test_rounding_to_sixteen_bits_is_judged_apart() -> None:
    # 1.0039 rounds to 1.0078125 in bfloat16 (a tie at 1.00390625 is just above), 0.0039 too far from 1.
    metrics = meter_of([1.0], [1.00395], 4e-3, torch.bfloat16).metrics()
    assert metrics["violations"] == 0
    assert metrics["violations_after_cast"] == 1
    # 65504 is the largest float16; a value above 65520 becomes an infinity.
    metrics = meter_of([65504.0], [65530.0], 100.0, torch.float16).metrics()
    assert metrics["violations"] == 0
    assert metrics["violations_after_cast"] == 1


@pytest.mark.parametrize(
    ("original", "decoded", "violations"),
    [
        (NAN, NAN, 0),
        (NAN, 0.0, 1),
        (NAN, INF, 1),
        (INF, INF, 0),
        (INF, -INF, 1),
        (INF, NAN, 1),
        (INF, 3e38, 1),
        (-INF, -INF, 0),
        (1.0, NAN, 1),
        (1.0, INF, 1),
    ],
)
@pytest.mark.parametrize("bound", [1e-2, math.inf])
def test_non_finite_values_hang_on_no_comparison(
    original: float, decoded: float, violations: int, bound: float
) -> None:
    meter = meter_of([original, 5.0], [decoded, 5.0], bound)
    assert meter.mismatches == violations
    metrics = meter.metrics()
    assert metrics["non_finite_count"] == (not math.isfinite(original))
    assert all(value is None or math.isfinite(value) for value in metrics.values())


def test_a_finite_value_that_came_back_non_finite_has_no_finite_error() -> None:
    metrics = meter_of([1.0, 2.0], [1.0, INF], 0.1).metrics()
    assert metrics["violations"] == 1
    for name in ("max_abs_error", "mean_abs_error", "rmse", "nrmse", "psnr_db", "max_excess"):
        assert metrics[name] is None, name


def test_nothing_finite_leaves_the_figures_undefined() -> None:
    metrics = meter_of([NAN, INF], [NAN, INF], 0.1).metrics()
    assert metrics["violations"] == 0
    assert metrics["non_finite_count"] == 2
    for name in ("value_range", "max_abs_error", "mean_abs_error", "rmse", "nrmse", "psnr_db"):
        assert metrics[name] is None, name


def test_constant_tensor() -> None:
    metrics = meter_of([2.0, 2.0], [2.0, 2.0], 0.0).metrics()
    assert (metrics["violations"], metrics["rmse"], metrics["value_range"]) == (0, 0.0, 0.0)
    assert metrics["psnr_db"] is None
    assert metrics["nrmse"] is None
    off = meter_of([2.0, 2.0], [2.0, 2.5], 0.0)
    assert off.metrics()["violations"] == 1
    assert off.histogram() is None


def test_an_exact_tensor_has_no_psnr() -> None:
    metrics = meter_of([1.0, 2.0], [1.0, 2.0], 0.1).metrics()
    assert (metrics["rmse"], metrics["nrmse"], metrics["psnr_db"]) == (0.0, 0.0, None)


def test_a_range_beyond_float32_is_undefined() -> None:
    metrics = meter_of([-3e38, 3e38], [-3e38, 3e38], INF).metrics()
    assert metrics["value_range"] is None
    assert metrics["nrmse"] is None


def test_without_a_bound_the_columns_about_it_are_empty() -> None:
    meter = meter_of([1.0, NAN, 3.0], [1.0, NAN, 3.5], None, torch.float32)
    metrics = meter.metrics()
    assert metrics["violations"] is None
    assert metrics["violations_after_cast"] is None
    assert metrics["max_excess"] is None
    assert meter.histogram() is None
    assert meter.mismatches == 1
    assert metrics["max_abs_error"] == 0.5


def test_every_metric_has_a_unit() -> None:
    assert set(meter_of([1.0], [1.0], 0.1).metrics()) <= set(METRIC_UNITS)


def test_a_bound_or_shapes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="bound nan"):
        ErrorMeter(NAN, torch.float32)
    with pytest.raises(ValueError, match="shapes"):
        ErrorMeter(0.1, torch.float32).add(torch.zeros(2), torch.zeros(1))


def test_no_values_at_all() -> None:
    metrics = meter_of([], [], 0.1).metrics()
    assert metrics["violations"] == 0
    assert metrics["max_abs_error"] is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_finds_the_same(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    values = (torch.randn(300_000, generator=generator) * 10).to(dtype)
    came_back = values.float() + 0.011 * (2 * torch.rand(300_000, generator=generator) - 1)
    values[7], came_back[7] = torch.nan, torch.nan
    values[8], came_back[8] = torch.inf, 1.0
    host, gpu = ErrorMeter(0.01, dtype), ErrorMeter(0.01, dtype)
    host.add(values, came_back)
    gpu.add(values.cuda(), came_back.cuda())
    assert gpu.mismatches == host.mismatches > 0
    assert gpu.histogram() == host.histogram()
    theirs = gpu.metrics()
    for name, value in host.metrics().items():
        assert theirs[name] == (pytest.approx(value, rel=1e-12) if value is not None else None), name
