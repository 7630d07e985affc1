"""Owns the fit of transfers: what one costs beside its bytes, and at which speed the bytes go, by direction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from kvbench.record.files import write_whole
from kvbench.record.schema import GB, CaseResult, PhaseSamples
from kvbench.record.trust import doubt

FITTED = ("d2h", "h2d")
LEAST_SIZES = 3
LEAST_SPREAD = 16  # of the largest size over the smallest; less says nothing about the latency
SOFT_DEVIATION = 0.03  # relative; what deviates more counts ever less
Numbers = NDArray[np.float64]


class LinkFit(BaseModel):
    """t = latency_s + bytes / gbps / 1e9 for pinned copies of one piece in one direction, by the host's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: str
    phase: str  # whose medians were fitted
    sizes: int
    left_out: int  # points not fitted: few samples, no interval, throttled or otherwise spoiled times
    smallest_bytes: int
    largest_bytes: int
    latency_s: float
    latency_low_s: float  # 95 % intervals; of the fit, so a bend in the curve widens them as noise does
    latency_high_s: float
    gbps: float
    gbps_low: float
    gbps_high: float | None  # None: no upper end can be told
    worst_deviation: float  # largest |measured - fitted| / fitted

    def seconds(self, size_bytes: float) -> float:
        """What the fit says a copy of so many bytes takes."""
        return self.latency_s + size_bytes / (self.gbps * GB)


def fits(results: Sequence[CaseResult]) -> list[LinkFit]:
    """One fit for each direction whose pinned copies were measured at enough sizes; see LEAST_SIZES, LEAST_SPREAD."""
    found = (_fit(direction, points(results, direction), left_out(results, direction)) for direction in FITTED)
    return [fit for fit in found if fit is not None]


def points(results: Sequence[CaseResult], direction: str) -> list[tuple[int, float]]:
    """(bytes, median seconds) of the pinned copies of one piece that ended well, by size, on the host's clock.

    Only times that may decide something: `trust.doubt` has nothing against them.
    """
    timed = _timed(results, direction)
    return sorted((size, one.median_s) for size, one in timed if one.median_s and doubt(one) is None)


def left_out(results: Sequence[CaseResult], direction: str) -> int:
    """How many copies that were timed `points` leaves out."""
    return len(_timed(results, direction)) - len(points(results, direction))


def _timed(results: Sequence[CaseResult], direction: str) -> list[tuple[int, PhaseSamples]]:
    return [
        (result.case.raw_bytes, timed)
        for result in results
        if result.status == "ok" and result.case.direction == direction
        if result.case.memory == "pinned" and result.case.method is None
        for timed in [result.phases.get(f"{direction}_wall")]
        if timed is not None
    ]


def write_fits(path: Path, results: Sequence[CaseResult]) -> Path | None:
    """Write the fits as strict JSON, a list, replacing what is there; nothing where there is none to tell.

    Raises KvbenchError when the disk refuses.
    """
    found = [fit.model_dump(mode="json") for fit in fits(results)]
    return write_whole(path, json.dumps(found, allow_nan=False, indent=1) + "\n") if found else None


def _fit(direction: str, measured: Sequence[tuple[int, float]], not_fitted: int) -> LinkFit | None:
    """The fit with 95 % intervals: Student's t with the covariance at the solution; None for too few sizes."""
    from scipy import stats

    sizes = {size for size, _ in measured}
    if len(sizes) < LEAST_SIZES or max(sizes) < LEAST_SPREAD * min(sizes):
        return None
    bytes_, seconds = (np.array(column, dtype=np.float64) for column in zip(*measured, strict=True))
    found, deviation = _solve(bytes_, seconds)
    latency_s, seconds_a_byte = (float(value) for value in found)
    reach = [float(value) for value in stats.t.ppf(0.975, len(seconds) - 2) * deviation]
    fastest = seconds_a_byte - reach[1]
    fitted = latency_s + bytes_ * seconds_a_byte
    return LinkFit(
        direction=direction,
        phase=f"{direction}_wall",
        sizes=len(sizes),
        left_out=not_fitted,
        smallest_bytes=int(bytes_.min()),
        largest_bytes=int(bytes_.max()),
        latency_s=latency_s,
        latency_low_s=max(0.0, latency_s - reach[0]),
        latency_high_s=latency_s + reach[0],
        gbps=1 / seconds_a_byte / GB,
        gbps_low=1 / (seconds_a_byte + reach[1]) / GB,
        gbps_high=1 / fastest / GB if fastest > 0 else None,
        worst_deviation=float(np.abs(seconds / fitted - 1).max()),
    )


def _solve(bytes_: Numbers, seconds: Numbers) -> tuple[Numbers, Numbers]:
    """(latency in s, seconds a byte) and the standard deviation of each, from scipy's Jacobian at the solution.

    Least squares of relative deviations, softened so that one odd size does not bend the line (soft L1 loss).
    """
    from scipy import optimize

    units = np.array([seconds.min(), seconds.max() / bytes_.max()])  # so that both parameters are about 1

    def deviations(scaled: Numbers) -> Numbers:
        latency_s, seconds_a_byte = scaled * units
        return np.asarray((latency_s + bytes_ * seconds_a_byte) / seconds - 1)

    solved = optimize.least_squares(
        deviations,
        x0=[0.5, 1.0],
        bounds=([0.0, 1e-6], [np.inf, np.inf]),
        loss="soft_l1",
        f_scale=SOFT_DEVIATION,
        x_scale=[1.0, 1.0],
    )
    jacobian = np.asarray(solved.jac, dtype=np.float64)
    variance = 2 * float(solved.cost) / (len(seconds) - 2) * np.linalg.inv(jacobian.T @ jacobian)
    return solved.x * units, np.sqrt(np.diag(variance)) * units
