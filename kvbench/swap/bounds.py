"""Owns the absolute bounds of planes: relative ones are measured once and then stay, so that nothing stored drifts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import c_float

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench.bound import Bound
from kvbench.errors import UsageError
from kvbench.measure.statistics import finite_std, finite_width
from kvbench.swap.coding import PlaneCoding
from kvbench.swap.planes import Plane

# Of an absolute bound nothing is measured; values up to so many bounds keep it for certain.
LARGEST_QUANTA = 1 << 14
_ROUNDING = 2.0**-22  # of |x|, and
_ROUNDING_OF_BOUND = 2.0**-23  # of the bound: cuSZp's float32 arithmetic goes beyond its own bound by so much at most


def needs_values(codings: Sequence[PlaneCoding]) -> bool:
    """Whether any bound is a fraction of something that has to be measured."""
    return any(one.bound is not None and one.bound.kind != "abs" for one in codings)


def absolute_bounds(
    codings: Sequence[PlaneCoding], planes: Sequence[Plane], blocks: NDArray[np.int64] | None
) -> tuple[float | None, ...]:
    """Each plane's largest |x - x'|, None for raw ones; relative ones are fractions of the given blocks' values.

    `blocks` None takes the whole cache. On a GPU measuring waits for it. A plane whose values do not differ gets the
    smallest bound that float32 has, as any other would be no fraction of nothing; it is as good as exact.
    Raises UsageError for a bound that float32 has not.
    """
    return tuple(
        None if one.bound is None else _absolute(one.bound, plane, blocks)
        for one, plane in zip(codings, planes, strict=True)
    )


def quantizer_bound(limit: float) -> float:
    """The float32 bound to quantise with so that |x - x'| <= limit for |x| up to LARGEST_QUANTA times it.

    With rounding |x - x'| <= e (1 + 2^-23) + 2^-22 |x| for a quantiser bound e; larger values are caught by the check
    of every value, and their stream stays raw.
    """
    exact = limit * (1 - _ROUNDING * LARGEST_QUANTA) / (1 + _ROUNDING_OF_BOUND)
    rounded = c_float(exact).value
    return rounded if rounded <= exact else math.nextafter(rounded, 0.0)


def _absolute(bound: Bound, plane: Plane, blocks: NDArray[np.int64] | None) -> float:
    if bound.kind == "abs":
        value = bound.value
    else:
        values = plane.values
        if blocks is not None:
            values = values[torch.from_numpy(blocks).to(values.device)]
        width = finite_width(values) if bound.kind == "rel" else 0.0
        std = finite_std(values) if bound.kind == "std" else None
        value = bound.absolute(value_range=width, std=std) or torch.finfo(torch.float32).tiny
    as_float32 = c_float(value).value
    if not 0 < as_float32 < math.inf:
        raise UsageError(f"{plane.name}: bound {bound} is {value:g}, which float32 has not; choose another")
    return value
