"""Owns the figure of plain copies: GB/s over size, by direction, kind of memory and threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kvbench.record.fit import LinkFit, fits
from kvbench.record.schema import GB, CaseResult, PhaseSamples
from kvbench.report import style
from kvbench.report.axis import binary_size, bytes_axis, number_axis
from kvbench.report.notes import hollow_note
from kvbench.report.series import NONE
from kvbench.report.style import DrawnFigure
from kvbench.report.swap_words import is_swap, swap_words
from kvbench.report.totals import Interval, phase_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "copy_speed"
_TITLE = "Copy speed against size"
_CAPTION = (
    "Median of the samples, by the host's clock until the bytes are there; bars: its 95 % interval. A cross on the "
    "axis: a copy too short for the clock, so no speed is given. GB = 1e9 bytes, KiB = 1024 bytes."
)
_FIT_LABEL = "fit of pinned copies"
_FIT_CAPTION = "Fit of pinned copies: time = latency + bytes / speed, which break-even uses: {fits}."
DIRECTION_WORDS = {
    "d2h": "GPU to host",
    "h2d": "host to GPU",
    "both": "both at once, together",
    "d2d": "within GPU memory",
    "p2p": "GPU to GPU",
    "host_copy": "within host memory",
    NONE: NONE,
}
METHOD_WORDS = {
    "async_copies": "one copy a block",
    "batched_copy": "one batched copy call",
    "gather_copy": "gather or scatter kernel and one copy",
    "zero_copy": "kernel on host memory",
}


def draw_copies(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """copy_speed: one line for every direction, kind of memory and number of threads, and the fits of pinned copies."""
    lines: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        lines[copy_words(result)].append(result)
    with style.figure_style(_NAME):
        figure, all_axes = style.panels(1, 1, height=3.2)
        figure.set_size_inches(5.6, 3.5)  # one panel, wider than those that stand side by side
        axes = all_axes[0][0]
        shown: list[float] = []
        for number, (label, members) in enumerate(lines.items()):
            shown += draw_line(axes, label, number, members)
        found = fits(results)
        shown += [value for number, fit in enumerate(found) for value in _draw_fit(axes, number, fit)]
        bytes_axis(axes, [result.case.raw_bytes for result in results])
        number_axis(axes, "y", shown)
        axes.set_xlabel("size of one copy")
        axes.set_ylabel("GB/s")
        legend = style.legend_of(all_axes)
        about_fits = [_FIT_CAPTION.format(fits="; ".join(map(fit_words, found)))] if found else []
        caption = " ".join([_CAPTION, *about_fits, *hollow_copies(results)])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def copy_words(result: CaseResult) -> str:
    """`GPU to host, pinned`: what kind of copy it was, but not how many bytes or blocks."""
    case = result.case
    if is_swap(result):
        return swap_words(case)
    direction = str(case.direction or NONE)
    words = [DIRECTION_WORDS.get(direction, direction)]
    if direction == "host_copy":
        words.append("threads none" if case.threads is None else f"{case.threads} thread{'s' * (case.threads != 1)}")
    elif case.method is not None:
        words += [METHOD_WORDS.get(case.method, case.method), f"blocks of {binary_size(case.block_bytes or 0)}"]
    elif direction not in {"d2d", "p2p"}:
        words.append(case.memory or "memory none")
    if case.numa_node is not None:
        words.append(f"node {case.numa_node}")
    return ", ".join(words)


def copy_phase(result: CaseResult) -> PhaseSamples | None:
    """The times of a copy that its speed is about: until the host knows that the bytes are there, where that is timed.

    A clock on the GPU leaves out what launching and waiting cost, which a program pays.
    """
    direction = result.case.direction or ""
    return result.phases.get(f"{direction}_wall") or result.phases.get(direction)


def copy_speed(result: CaseResult) -> Interval | None:
    """GB/s of a copy with its 95 % interval; None where the clock could not resolve it."""
    timed = copy_phase(result)
    return phase_interval(timed) if timed else None


def hollow_copies(results: Sequence[CaseResult]) -> list[str]:
    """The line that explains hollow markers, where some copy is drawn with one."""
    return hollow_note([result for result in results if copy_speed(result) is not None])


def fit_words(fit: LinkFit) -> str:
    """`GPU to host 14.4 us + bytes / 55.5 GB/s`."""
    latency = f"{fit.latency_s * 1e6:.3g} \N{GREEK SMALL LETTER MU}s"
    return f"{DIRECTION_WORDS[fit.direction]} {latency} + bytes / {fit.gbps:.3g} GB/s"


def _draw_fit(axes: Axes, number: int, fit: LinkFit) -> list[float]:
    """Draw a fit over the sizes it was made from and give back the speeds it spans."""
    sizes = np.geomspace(fit.smallest_bytes, fit.largest_bytes, 50)
    speeds = [float(size) / fit.seconds(float(size)) / GB for size in sizes]
    dashes = style.REFERENCE_DASHES[number % len(style.REFERENCE_DASHES)]
    axes.plot(sizes, speeds, zorder=5, color=style.INK, linewidth=0.9, linestyle=dashes, label=_FIT_LABEL)
    return [min(speeds), max(speeds)]


def draw_line(axes: Axes, label: str, number: int, results: Sequence[CaseResult]) -> list[float]:
    """Draw one line by growing size, with its intervals, and give back the values it spans.

    A hollow marker is an invalid case, a cross on the axis one without a speed.
    """
    ordered = sorted(results, key=lambda result: result.case.raw_bytes)
    found = [(result, speed) for result in ordered if (speed := copy_speed(result)) is not None]
    look = style.line_look(number)
    x, y = [result.case.raw_bytes for result, _ in found], [speed.value for _, speed in found]
    axes.plot(x, y, label=label, **look)
    bars = [[speed.value - speed.low for _, speed in found], [speed.high - speed.value for _, speed in found]]
    axes.errorbar(x, y, yerr=bars, fmt="none", color=look["color"], elinewidth=0.9)
    for result, speed in found:
        if result.status == "invalid":
            axes.plot([result.case.raw_bytes], [speed.value], **(look | style.HOLLOW))
    unresolved = [result.case.raw_bytes for result in ordered if copy_speed(result) is None]
    if unresolved:  # an artist without points would have no extent, which the layout cannot take
        on_axis: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(unresolved, [0.0] * len(unresolved), "x", color=look["color"], **on_axis)
    return [value for _, speed in found for value in (speed.low, speed.high)]
