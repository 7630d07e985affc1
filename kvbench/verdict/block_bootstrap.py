"""Owns samples that depend on their neighbours in time: how long blocks must be, and the error of a median by them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 999
RESAMPLED_AT_A_TIME = 1 << 21  # values
MOST_DRAWN = 1 << 12  # values in a resample: of more samples, so many are drawn
FEWEST_SAMPLES = 6  # fewer have no interval worth the name
Floats = NDArray[np.float64]


def block_length(samples: Sequence[float] | Floats) -> int:
    """Length of the blocks for a circular block bootstrap of samples in the order they were taken; at least 1.

    D. N. Politis, H. White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23
    (2004), with the correction of A. Patton, D. N. Politis, H. White, Econometric Reviews 28 (2009): the length
    (2 G^2 / D)^(1/3) n^(1/3), D = 4/3 g(0)^2, to the nearest integer, at most min(3 sqrt(n), n / 3). Ranks take the
    place of the values, so that one interrupted sample among many does not hide how the others hang together.
    """
    count = len(samples)
    ranks = _ranks(np.asarray(samples, dtype=np.float64))
    longest = math.ceil(min(3 * math.sqrt(count), count / 3))
    if count < 4 or not np.ptp(ranks):
        return 1
    return max(1, min(longest, round(_optimal_length(ranks))))


def _optimal_length(values: Floats) -> float:
    count = len(values)
    run = max(5, int(math.log10(count)))
    most = min(count - 1, math.ceil(math.sqrt(count)) + run)
    covariance = _autocovariance(values, min(count - 1, 2 * most))
    significant = 2 * math.sqrt(math.log10(count) / count)
    correlated = np.abs(covariance[1 : most + 1] / covariance[0]) >= significant
    # The last lag before `run` lags in a row that show no correlation.
    quiet_from = next((lag for lag in range(most) if not correlated[lag : lag + run].any()), None)
    reach = min(count - 1, 2 * max(1, int(np.flatnonzero(correlated)[-1]) + 1 if quiet_from is None else quiet_from))
    lags = np.arange(1, reach + 1)
    window = np.minimum(1.0, 2 * (1 - lags / reach))  # flat up to half its reach, then down to 0
    spectrum = covariance[0] + 2 * float(window @ covariance[1 : reach + 1])
    slope = 2 * float(window @ (lags * covariance[1 : reach + 1]))
    if spectrum <= 0:
        return 1.0
    return float((2 * slope**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * count ** (1 / 3))


def _autocovariance(values: Floats, last_lag: int) -> Floats:
    """[last_lag + 1], by a Fourier transform with room for the lags, so that many samples take no longer than few."""
    count = len(values)
    spectrum = np.fft.rfft(values - values.mean(), 1 << (count + last_lag).bit_length())
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2)[: last_lag + 1] / count, dtype=np.float64)


def _ranks(values: Floats) -> Floats:
    from scipy import stats

    return np.asarray(stats.rankdata(values), dtype=np.float64)


def resampled_medians(samples: Sequence[float] | Floats, length: int, rng: np.random.Generator) -> Floats:
    """[RESAMPLES] medians of circular block bootstrap resamples: blocks of `length` that may run over the end.

    Above MOST_DRAWN samples a resample is shorter than they are, and its median's distance from theirs is shortened by
    the root of the shares (P. J. Bickel, F. Goetze, W. R. van Zwet, Statistica Sinica 7, 1997).
    """
    values = np.asarray(samples, dtype=np.float64)
    count = len(values)
    drawn = min(count, max(MOST_DRAWN, 4 * length))
    blocks = math.ceil(drawn / length)
    wrapped = np.concatenate([values, values[: length - 1]])
    found = []
    at_a_time = max(1, RESAMPLED_AT_A_TIME // drawn)
    for first in range(0, RESAMPLES, at_a_time):
        starts = rng.integers(0, count, size=(min(at_a_time, RESAMPLES - first), blocks))
        places = (starts[:, :, None] + np.arange(length)).reshape(len(starts), -1)[:, :drawn]
        found.append(np.median(wrapped[places], axis=1))
    medians = np.concatenate(found)
    if drawn == count:
        return medians
    middle = float(np.median(values))
    return middle + math.sqrt(drawn / count) * (medians - middle)


def median_error(samples: Sequence[float] | Floats, rng: np.random.Generator) -> tuple[float, float]:
    """(standard error of the median, its degrees of freedom) of at least FEWEST_SAMPLES samples in their order.

    A circular block bootstrap. In few samples a correlation hardly shows, so that the blocks are never shorter than
    1.5 n^(1/3); resampled blocks vary too little by the factor 1 - length / n, which is made up for. A block counts as
    one independent witness.
    """
    count = len(samples)
    length = max(block_length(samples), round(1.5 * count ** (1 / 3)))
    error = float(np.std(resampled_medians(samples, length, rng), ddof=1))
    return error * math.sqrt(count / (count - length)), max(1, count // length - 1)


def block_medians(samples: Sequence[float] | Floats, length: int) -> Floats:
    """The median of each whole block of `length` samples in a row: nearly independent where the length is right."""
    values = np.asarray(samples, dtype=np.float64)
    whole = len(values) // length * length
    return np.asarray(np.median(values[:whole].reshape(-1, length), axis=1), dtype=np.float64)
