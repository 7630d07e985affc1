"""Owns the interval of a mean over tokens of a text, which are not independent of their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

BLOCK_TOKENS = 16
_RESAMPLES = 999
_SEED = 0


def block_mean_interval(values: ArrayLike) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of the mean of `values` [n], in their order, with a fixed seed.

    Whole blocks of BLOCK_TOKENS neighbours (the sizes differ by one where they do not divide n) are drawn with
    replacement (Carlstein, "The use of subseries values for estimating the variance of a general statistic from a
    stationary sequence", 1986). None for fewer than two blocks; both ends are the mean where all blocks are equal.
    """
    series = np.asarray(values, dtype=np.float64)
    blocks = len(series) // BLOCK_TOKENS
    if blocks < 2:
        return None
    means = np.array([block.mean() for block in np.array_split(series, blocks)])
    if means.min() == means.max():
        return float(means[0]), float(means[0])
    result = stats.bootstrap(
        (means,),
        np.mean,
        method="percentile",
        confidence_level=0.95,
        n_resamples=_RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share of independent yes-or-no answers (Wilson's score interval). `count` is above 0."""
    found = stats.binomtest(hits, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)
