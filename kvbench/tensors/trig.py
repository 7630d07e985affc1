"""Owns sine and cosine that give the same bits on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Taylor coefficients of sin(x)/x and cos(x) in x squared; |x| <= pi/4, so the first term left out is below 1e-17.
_SIN = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800, -1 / 1307674368000)
_COS = (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800, 1 / 479001600, -1 / 87178291200, 1 / 20922789888000)


def cos_sin(turns: Floats) -> tuple[Floats, Floats]:
    """cos(2 pi turns) and sin(2 pi turns) to about 1e-16, for any shape.

    A maths library may differ in the last bit between processors; additions, multiplications and floor, each
    rounded on its own, may not. Reduction is to the nearest quarter turn, which is exact.
    """
    quarter = np.floor(turns * 4.0 + 0.5)
    x = (turns - quarter * 0.25) * (2.0 * np.pi)
    square = x * x
    sine = _horner(_SIN, square) * x
    cosine = _horner(_COS, square)
    quadrant = quarter - 4.0 * np.floor(quarter * 0.25)
    odd = (quadrant == 1.0) | (quadrant == 3.0)
    cos_sign = np.where((quadrant == 1.0) | (quadrant == 2.0), -1.0, 1.0)
    sin_sign = np.where(quadrant >= 2.0, -1.0, 1.0)
    return cos_sign * np.where(odd, sine, cosine), sin_sign * np.where(odd, cosine, sine)


def _horner(coefficients: tuple[float, ...], x: Floats) -> Floats:
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value *= x
        value += coefficient
    return value
