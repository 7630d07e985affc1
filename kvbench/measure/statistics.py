"""Owns the statistics of a tensor's finite values that an error bound is relative to."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from kvbench.measure.pieces import split


def finite_width(values: torch.Tensor) -> float:
    """max - min of the finite values, subtracted in float32: inf where that overflows, 0.0 without any."""
    low, high = math.inf, -math.inf
    for piece in _finite_pieces(values):
        piece_low, piece_high = torch.aminmax(piece)
        low, high = min(low, float(piece_low)), max(high, float(piece_high))
    if low > high:
        return 0.0
    with np.errstate(over="ignore"):
        return float(np.float32(high) - np.float32(low))


def finite_std(values: torch.Tensor) -> float:
    """Standard deviation of the finite values (population: mean squared distance), float64; 0.0 without any."""
    count, total = 0, 0.0
    for piece in _finite_pieces(values):
        count += piece.numel()
        total += float(piece.double().sum())
    if not count:
        return 0.0
    mean = total / count
    squares = 0.0
    for piece in _finite_pieces(values):
        squares += float((piece.double() - mean).square().sum())
    return math.sqrt(squares / count)


def _finite_pieces(values: torch.Tensor) -> Iterator[torch.Tensor]:
    for piece in split(values.reshape(-1)):
        finite = torch.isfinite(piece)
        kept = piece if bool(finite.all()) else piece[finite]
        if kept.numel():
            yield kept
