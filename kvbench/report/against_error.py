"""Owns the figure of ratio over error, with the Pareto front of every tensor ringed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from kvbench.record.pareto import pareto_marks
from kvbench.report import style
from kvbench.report.axis import number_axis
from kvbench.report.notes import hollow_note
from kvbench.report.panels import grid_panels, in_panels, label_panels
from kvbench.report.series import Grid, Line
from kvbench.report.style import DrawnFigure
from kvbench.report.totals import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Pair = tuple[float, float]  # error, ratio

_NAME = "ratio_vs_error"
_TITLE = "Compression ratio against error"
_CAPTION = (
    "NRMSE: root mean square error / (max \N{MINUS SIGN} min). Faint: one tensor at one bound; line: means over "
    "tensors. Ringed: on its tensor's Pareto front, where no case has a higher ratio without a larger error. Up and "
    "left is better. Horizontal: exact. A tensor without error or without range is not drawn."
)


def draw_ratio_against_error(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """ratio_vs_error: every tensor at every bound, and the means that belong to one bound joined."""
    with style.figure_style(_NAME):
        figure, all_axes = grid_panels(grid)
        on_front = {case_id for case_id, marked in pareto_marks(grid.results).items() if marked}
        errors: list[float] = []
        ratios: list[float] = []
        for axes, panel in in_panels(all_axes, grid):
            for line in panel.lines:
                for error, ratio in _draw_line(axes, line, on_front):
                    errors.append(error)
                    ratios.append(ratio)
        for axes, _ in in_panels(all_axes, grid):
            axes.set_xlabel("NRMSE")
            number_axis(axes, "x", errors)
            number_axis(axes, "y", ratios)
        label_panels(all_axes, grid, "compression ratio")
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *hollow_note(grid.results)])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def _draw_line(axes: Axes, line: Line, on_front: set[str]) -> list[_Pair]:
    """Draw one line with the tensors behind it and give back the (error, ratio) pairs it spans."""
    if not line.bounded:
        level = spread(result.metrics.get("ratio") for result in line.points[0].results)
        if level is None:
            return []
        axes.axhline(level.value, label=line.label, zorder=1.8, **style.reference_look(line.style))
        return [(0.0, level.value)]
    look = style.line_look(line.style)
    means: list[_Pair] = []
    hollow: list[_Pair] = []
    tensors: list[_Pair] = []
    ringed: list[_Pair] = []
    for point in line.points:
        pairs = {
            result.case_id: (float(error), float(ratio))
            for result in point.results
            if (error := result.metrics.get("nrmse")) and (ratio := result.metrics.get("ratio"))
        }
        if not pairs:
            continue
        tensors += pairs.values()
        ringed += [pair for case_id, pair in pairs.items() if case_id in on_front]
        means.append((fmean(error for error, _ in pairs.values()), fmean(ratio for _, ratio in pairs.values())))
        if point.invalid:
            hollow.append(means[-1])
    axes.plot(*_columns(tensors), **(look | style.FAINT))
    axes.plot(*_columns(ringed), **style.RING)
    axes.plot(*_columns(means), label=line.label, **look)
    axes.plot(*_columns(hollow), **(look | style.HOLLOW))
    return tensors


def _columns(pairs: Sequence[_Pair]) -> tuple[list[float], list[float]]:
    return [error for error, _ in pairs], [ratio for _, ratio in pairs]
