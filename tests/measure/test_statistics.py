"""Checks the statistics a bound is relative to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kvbench.measure.pieces import PIECE_ELEMENTS
from kvbench.measure.statistics import finite_std, finite_width


def test_width_is_subtracted_in_float32() -> None:
    # In bfloat16 itself 256 - 1 would be 256 or 254; in float64 0.1f + 0.2f would keep more digits than float32 has.
    assert finite_width(torch.tensor([256.0, 1.0], dtype=torch.bfloat16)) == 255.0
    values = torch.tensor([0.1, -0.2])
    assert finite_width(values) == float(np.float32(0.1) - np.float32(-0.2))


def test_non_finite_values_play_no_part() -> None:
    values = torch.tensor([1.0, math.nan, 3.0, math.inf, -math.inf])
    assert finite_width(values) == 2.0
    assert finite_std(values) == 1.0


def test_nothing_finite() -> None:
    values = torch.tensor([math.nan, math.inf])
    assert finite_width(values) == 0.0
    assert finite_std(values) == 0.0


def test_a_width_beyond_float32_is_infinite() -> None:
    assert finite_width(torch.tensor([-3e38, 3e38])) == math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_several_pieces_against_numpy(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    values = (torch.randn(2 * PIECE_ELEMENTS + 5, generator=generator) + 4).to(dtype)
    exact = values.double().numpy()
    assert finite_std(values) == pytest.approx(exact.std(), rel=1e-12)
    assert finite_width(values) == float(np.float32(exact.max() - exact.min()))
