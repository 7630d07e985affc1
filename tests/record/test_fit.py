"""Checks the fit of transfers against lines that are known, and what it refuses to say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_run import copy_case, phase, result

from kvbench.record.fit import GB, fits, points, write_fits
from kvbench.record.schema import CaseResult

SIZES = [2**power for power in range(14, 27, 2)]  # elements of 4 bytes


def copies(
    direction: str,
    *,
    latency_s: float = 8e-6,
    gbps: float = 55.0,
    sizes: list[int] = SIZES,
    noise: float = 0.0,
    odd: dict[int, float] | None = None,
) -> list[CaseResult]:
    """Pinned copies whose times follow a line, times 1 + noise, with `odd` sizes slower by a factor."""
    rng = np.random.default_rng(7)
    made = []
    for elements in sizes:
        case = copy_case(direction, elements, "pinned")
        seconds = (latency_s + case.raw_bytes / gbps / GB) * (1 + noise * float(rng.standard_normal()))
        seconds *= (odd or {}).get(elements, 1.0)
        timed = phase(seconds, case.raw_bytes, rng, samples=1)
        timed.samples_s, timed.median_s = 6 * [seconds], seconds
        made.append(result(case, phases={f"{direction}_wall": timed}))
    return made


def test_a_line_is_found_again() -> None:
    [out, back] = fits([*copies("h2d", latency_s=9e-6, gbps=50), *copies("d2h")])
    assert (out.direction, out.phase, out.sizes) == ("d2h", "d2h_wall", 7)
    assert out.latency_s == pytest.approx(8e-6, rel=1e-4)
    assert out.gbps == pytest.approx(55, rel=1e-4)
    assert out.worst_deviation < 1e-4
    assert (back.latency_s, back.gbps) == (pytest.approx(9e-6, rel=1e-4), pytest.approx(50, rel=1e-4))
    assert out.seconds(55_000_000) == pytest.approx(1.008e-3, rel=1e-4)
    assert (out.smallest_bytes, out.largest_bytes) == (4 * SIZES[0], 4 * SIZES[-1])


def test_the_intervals_hold_the_truth_and_grow_with_the_noise() -> None:
    widths = []
    for noise in (0.01, 0.05):
        [fit] = fits(copies("d2h", noise=noise))
        assert fit.latency_low_s <= 8e-6 <= fit.latency_high_s
        assert fit.gbps_high is not None
        assert fit.gbps_low <= 55 <= fit.gbps_high
        assert fit.latency_low_s < fit.latency_s < fit.latency_high_s
        widths.append(fit.gbps_high - fit.gbps_low)
    assert widths[1] > widths[0]


def test_one_odd_size_hardly_bends_the_line_and_is_told() -> None:
    [fit] = fits(copies("d2h", noise=0.005, odd={SIZES[3]: 1.6}))
    assert fit.gbps == pytest.approx(55, rel=0.05)
    assert fit.latency_s == pytest.approx(8e-6, rel=0.15)
    assert 0.3 < fit.worst_deviation < 0.7


def test_a_latency_is_never_below_nothing() -> None:
    [fit] = fits(copies("d2h", latency_s=0.0, noise=0.05))
    assert 0.0 <= fit.latency_low_s <= fit.latency_s < 1e-6


@pytest.mark.parametrize(
    "sizes", [[], [1 << 20], [1 << 10, 1 << 20], [1 << 20, 1 << 21, 1 << 22]], ids=["none", "one", "two", "too alike"]
)
def test_too_few_sizes_give_no_fit(sizes: list[int]) -> None:
    assert fits(copies("d2h", sizes=sizes)) == []


def test_only_pinned_copies_of_one_piece_that_went_well_count() -> None:
    good = copies("d2h")
    bad = [one.model_copy(update={"status": "invalid"}) for one in copies("d2h", gbps=1.0)]
    pageable = [
        one.model_copy(update={"case": one.case.model_copy(update={"memory": "pageable"})})
        for one in copies("d2h", gbps=2.0)
    ]
    scattered = [
        one.model_copy(update={"case": one.case.model_copy(update={"method": "zero_copy", "blocks": 4})})
        for one in copies("d2h", gbps=3.0)
    ]
    unresolved = copies("d2h", gbps=4.0)
    for one in unresolved:
        one.phases["d2h_wall"].median_s = None
    measured = points([*unresolved, *scattered, *pageable, *bad, *good], "d2h")
    assert measured == points(good, "d2h")
    assert len(measured) == len(SIZES)


def test_times_that_may_decide_nothing_are_not_fitted_and_counted() -> None:
    good = copies("d2h")
    bad = copies("d2h", gbps=1.0, sizes=[1 << 17, 1 << 19, 1 << 21, 1 << 23])
    bad[0].phases["d2h_wall"].samples_s = bad[0].phases["d2h_wall"].samples_s[:1]
    for one, flag in zip(bad[1:], ("few_samples", "throttled", "unseen_work"), strict=True):
        one.phases["d2h_wall"].flags.append(flag)
    [fit] = fits([*bad, *good])
    assert (fit.sizes, fit.left_out) == (len(SIZES), 4)
    assert fit.gbps == pytest.approx(55, rel=1e-4)
    assert fits(bad) == []


def test_noisy_times_are_fitted() -> None:
    noisy = copies("d2h")
    for one in noisy:
        one.phases["d2h_wall"].flags.append("noisy")
    assert [fit.left_out for fit in fits(noisy)] == [0]


def test_fits_are_written_as_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "link_fit.json"
    assert write_fits(path, copies("d2h", sizes=[64])) is None
    assert not path.exists()
    assert write_fits(path, [*copies("d2h"), *copies("h2d")]) == path
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [one["direction"] for one in found] == ["d2h", "h2d"]
    assert found[0]["gbps"] == pytest.approx(55, rel=1e-4)
