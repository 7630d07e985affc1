"""Intervals of a mean over neighbours, and of a share of answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kvbench.measure.blocks import BLOCK_TOKENS, block_mean_interval, share_interval


def known(values: NDArray[np.float64]) -> tuple[float, float]:
    interval = block_mean_interval(values)
    assert interval is not None
    return interval


def test_blocks_widen_the_interval_of_values_that_go_together() -> None:
    rng = np.random.default_rng(0)
    alone = rng.standard_normal(BLOCK_TOKENS * 40)
    together = np.repeat(rng.standard_normal(40), BLOCK_TOKENS)
    low, high = known(alone)
    assert low < alone.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(len(alone)), rel=0.3)
    low, high = known(together)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.35)


def test_a_short_or_constant_series() -> None:
    assert block_mean_interval([1.0] * (2 * BLOCK_TOKENS - 1)) is None
    assert block_mean_interval([0.25] * (3 * BLOCK_TOKENS)) == (0.25, 0.25)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(1).exponential(size=500)
    assert block_mean_interval(values) == block_mean_interval(values.copy())


def test_a_share_has_wilsons_interval() -> None:
    # Wilson (1927): (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    z, p, n = 1.959964, 0.75, 16
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert share_interval(12, 16) == pytest.approx(
        ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    )
    assert share_interval(0, 16)[0] == 0.0
