"""Owns the standard deviation that bounds of kind `std` are a fraction of."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench.codecs.elements import pieces


def standard_deviation(values: torch.Tensor) -> float:
    """sqrt(mean((x - mean(x))^2)) of the finite values of `values` [n], in float64; 0.0 when there are none.

    Two passes in one fixed order on one thread: NumPy's pairwise sum inside a piece of PIECE_ELEMENTS elements, the
    exact sum (math.fsum) over pieces. So the result depends on the values alone.
    """
    count = sum(piece.size for piece in _finite_pieces(values))
    if count == 0:
        return 0.0
    mean = math.fsum(float(np.sum(piece)) for piece in _finite_pieces(values)) / count
    squares = math.fsum(float(np.sum(np.square(piece - mean))) for piece in _finite_pieces(values))
    return math.sqrt(squares / count)


def _finite_pieces(values: torch.Tensor) -> Iterator[NDArray[np.float64]]:
    for first, length in pieces(values.numel()):
        piece = values[first : first + length].cpu().to(torch.float64).numpy()
        yield piece[np.isfinite(piece)]
