"""Owns the checks of the codec's arguments: each gives what the compiled code takes, or raises UsageError."""

from __future__ import annotations

import math
import operator
from ctypes import c_float
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex, TypeVar

import numpy as np

from kvbench import _ext
from kvbench.errors import UsageError

if TYPE_CHECKING:
    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

MODES: tuple[str, ...] = tuple(_cpu.MODES)
T = TypeVar("T")


def dtype(name: str) -> int:
    """The number of an element type."""
    number = _cpu.DTYPES.get(name)
    if number is None:
        remedy = (
            "view bfloat16 bits as ml_dtypes.bfloat16 or give a torch tensor"
            if name == "uint16"
            else f"convert to one of {', '.join(_cpu.DTYPES)}"
        )
        raise UsageError(f"values of dtype {name} cannot be coded: {remedy}")
    return number


def mode(name: str) -> int:
    """The number of a mode."""
    number = _cpu.MODES.get(name) if isinstance(name, str) else None
    if number is None:
        raise UsageError(f"mode {name!r} does not exist: use one of {', '.join(MODES)}")
    return number


def bound(error_bound: SupportsFloat) -> float:
    """The bound as float32, the only form the format knows."""
    try:
        as_float32 = c_float(float(_no_truth_value(error_bound))).value
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"error_bound {error_bound!r} is not a number: give a positive float") from None
    if not (math.isfinite(as_float32) and as_float32 > 0.0):
        rounded = as_float32 != float(error_bound) and not math.isnan(as_float32)
        shown = f"{error_bound} ({as_float32} as float32)" if rounded else f"{error_bound}"
        raise UsageError(f"error_bound {shown} cannot be used: give a finite number above 0")
    return as_float32


def _integer(value: SupportsIndex, name: str, highest: int) -> int:
    try:
        number = operator.index(_no_truth_value(value))
    except TypeError:
        raise UsageError(f"{name} {value!r} is not an integer: give a whole number") from None
    if not 0 <= number <= highest:
        raise UsageError(f"{name} {number} cannot be used: give 0 to {highest}")
    return number


def count(n: SupportsIndex) -> int:
    """A number of elements."""
    return _integer(n, "n", 2**63 - 1)


def threads(number: SupportsIndex) -> int:
    """A number of CPU threads, 0 for one a core."""
    return _integer(number, "threads", 2**31 - 1)


def _no_truth_value(value: T) -> T:
    """The value itself. Raises TypeError for True and False, which Python would take for 1 and 0."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError
    return value
