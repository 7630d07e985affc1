"""Owns the axes of figures: logarithmic scales whose ticks are numbers a reader would write."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOUND_LABELS = {
    "rel": "error bound, fraction of max \N{MINUS SIGN} min",
    "abs": "error bound, in the tensor's unit",
    "std": "error bound, fraction of standard deviation",
    None: "error bound",
}
_TICK_WIDTH, _TICK_HEIGHT = 0.36, 0.24  # inches that a label with room around it takes
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def bound_axis(axes: Axes, kind: str | None, bounds: Sequence[float]) -> None:
    """A logarithmic x axis with a tick at every bound asked for, labelled as a user types it."""
    axes.set_xlabel(BOUND_LABELS[kind])
    if not bounds:
        axes.set_xlim(0.1, 10)
        axes.set_xscale("log")
        _set_ticks(axes, "x", [1.0], lambda _: "none")
        return
    low, high = min(bounds), max(bounds)
    margin = (high / low) ** 0.06 if high > low else 3.0
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    ticks = _spread(sorted(set(bounds)), low / margin, high * margin, _most_ticks(axes, "x"))
    _set_ticks(axes, "x", ticks, bound_number)


def number_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis around positive values, with ticks at round numbers."""
    scale, limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    scale("log")
    positive = [value for value in values if value > 0]
    low, high = (min(positive), max(positive)) if positive else (0.5, 2.0)
    margin = max((high / low) ** 0.07, 1.12)
    limits(low / margin, high * margin)
    ticks = round_numbers(low / margin, high * margin, at_most=_most_ticks(axes, which))
    _set_ticks(axes, which, ticks, plain_number)


def bytes_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """A logarithmic x axis of sizes, with ticks at powers of two in binary units."""
    axes.set_xscale("log", base=2)
    low, high = min(sizes), max(sizes)
    margin = (high / low) ** 0.05 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    powers = range(math.ceil(math.log2(low / margin)), math.floor(math.log2(high * margin)) + 1)
    step = max(1, -(-len(powers) // min(8, _most_ticks(axes, "x"))))
    first = -(-powers.start // step) * step
    _set_ticks(axes, "x", [2.0**power for power in range(first, powers.stop, step)], binary_size)


def plain_number(value: float) -> str:
    """`0.25`, `4`, `1e-3`: short."""
    return f"{value:g}" if 1e-2 <= abs(value) < 1e5 else _with_exponent(value)


def measured_number(value: float) -> str:
    """`0.00577`, `54.2`, `1110`: three digits, without an exponent as long as it can be read."""
    return f"{float(f'{value:.3g}'):.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def bound_number(value: float) -> str:
    """`1e-1`, `3e-2`, `5`: a bound as a user types it."""
    return f"{value:g}" if 1 <= value < 1e5 else _with_exponent(value)


def _with_exponent(value: float) -> str:
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def binary_size(size_bytes: float) -> str:
    """`64 KiB`: a size in the largest binary unit that keeps it at least 1."""
    unit = 0
    while size_bytes >= 1024 and unit < len(_BYTE_UNITS) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.3g} {_BYTE_UNITS[unit]}"


def _set_ticks(axes: Axes, which: str, ticks: Sequence[float], wording: Callable[[float], str]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter([wording(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def _most_ticks(axes: Axes, which: str) -> int:
    """How many labels an axis has room for."""
    extent, dots_per_inch = axes.get_window_extent(), axes.figure.dpi
    room = (extent.width / _TICK_WIDTH if which == "x" else extent.height / _TICK_HEIGHT) / dots_per_inch
    return max(3, min(9, int(room)))


def _spread(bounds: Sequence[float], low: float, high: float, at_most: int) -> list[float]:
    """As many of the bounds as have room for their labels, from the loosest down."""
    room = math.log(high / low) / at_most
    kept: list[float] = []
    for bound in reversed(bounds):
        if not kept or math.log(kept[-1] / bound) >= room:
            kept.append(bound)
    return kept[::-1]


def round_numbers(low: float, high: float, at_most: int = 9) -> list[float]:
    """Round numbers within [low, high], from a scale fine enough for four of them and no finer than needed.

    `at_most` is 3 or more.
    """
    found: list[float] = []
    for leading in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(step / 10 for step in range(10, 100, 2))):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [number * 10.0**decade for decade in decades for number in leading]
        found = [number for number in found if low <= number <= high]
        if len(found) >= 4:
            break
    if len(found) < 3:
        from matplotlib.ticker import MaxNLocator

        found = [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    step = -(-len(found) // at_most)
    return found[::step]
