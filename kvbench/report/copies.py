"""Owns the figure of plain copies: GB/s over size, by direction, kind of memory and threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.axis import bytes_axis, number_axis
from kvbench.report.series import NONE
from kvbench.report.style import DrawnFigure
from kvbench.report.totals import Interval, phase_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "copy_speed"
_TITLE = "Copy speed against size"
_CAPTION = (
    "Median of the samples; bars: its 95 % interval. A cross on the axis: a copy too short for the clock, so no speed "
    "is given. GB = 1e9 bytes, KiB = 1024 bytes."
)
DIRECTION_WORDS = {
    "d2h": "GPU to host",
    "h2d": "host to GPU",
    "d2d": "within GPU memory",
    "host_copy": "within host memory",
    NONE: NONE,
}


def draw_copies(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """copy_speed: one line for every direction, kind of memory and number of threads."""
    lines: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        lines[copy_words(result)].append(result)
    with style.figure_style(_NAME):
        figure, all_axes = style.panels(1, 1, height=3.2)
        figure.set_size_inches(5.6, 3.5)  # one panel, wider than those that stand side by side
        axes = all_axes[0][0]
        shown = [value for number, label in enumerate(lines) for value in _draw_line(axes, label, number, lines[label])]
        bytes_axis(axes, [result.case.raw_bytes for result in results])
        number_axis(axes, "y", shown)
        axes.set_xlabel("size of one copy")
        axes.set_ylabel("GB/s")
        legend = style.legend_of(all_axes)
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=_CAPTION, notes=notes)


def copy_words(result: CaseResult) -> str:
    """`GPU to host, pinned`: what kind of copy it was."""
    case = result.case
    direction = str(case.direction or NONE)
    words = [DIRECTION_WORDS.get(direction, direction)]
    if direction == "host_copy":
        words.append("threads none" if case.threads is None else f"{case.threads} thread{'s' * (case.threads != 1)}")
    else:
        words.append(case.memory or "memory none")
    return ", ".join(words)


def copy_speed(result: CaseResult) -> Interval | None:
    """GB/s of a copy with its 95 % interval; None where the clock could not resolve it."""
    timed = result.phases.get(result.case.direction or "")
    return phase_interval(timed) if timed else None


def _draw_line(axes: Axes, label: str, number: int, results: Sequence[CaseResult]) -> list[float]:
    """Draw one line by growing size and give back the values it spans."""
    ordered = sorted(results, key=lambda result: result.case.raw_bytes)
    found = [(result.case.raw_bytes, speed) for result in ordered if (speed := copy_speed(result)) is not None]
    look = style.line_look(number)
    x, y = [size for size, _ in found], [speed.value for _, speed in found]
    axes.plot(x, y, label=label, **look)
    bars = [[speed.value - speed.low for _, speed in found], [speed.high - speed.value for _, speed in found]]
    axes.errorbar(x, y, yerr=bars, fmt="none", color=look["color"], elinewidth=0.9)
    unresolved = [result.case.raw_bytes for result in ordered if copy_speed(result) is None]
    if unresolved:  # an artist without points would have no extent, which the layout cannot take
        on_axis: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(unresolved, [0.0] * len(unresolved), "x", color=look["color"], **on_axis)
    return [value for _, speed in found for value in (speed.low, speed.high)]
