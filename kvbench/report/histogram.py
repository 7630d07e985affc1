"""Owns the error histogram: where in [-bound, bound] the errors fall."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from kvbench.report import style
from kvbench.report.axis import bound_number
from kvbench.report.series import Grid, Line, Point
from kvbench.report.style import DrawnFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "error_histogram"
_TITLE = "Distribution of the error"
_LINES_AT_MOST = 6
_ROWS_AT_MOST = 12
_CAPTION = (
    "Signed error x \N{MINUS SIGN} x' in units of the effective error bound, all tensors of a line together. Density "
    "1: spread evenly over the whole bound. Values beyond the bound are counted in the panel, not drawn."
)


def draw_error_histogram(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """error_histogram: a row of panels for every line of the other figures, in it one curve a bound."""
    rows = [
        (f"{line.label}{', ' if row else ''}{row}", column, line)
        for panels in grid.panels
        for row, column, lines in ((panel.row, panel.column, panel.lines) for panel in panels)
        for line in lines
        if any(result.histogram for point in line.points for result in point.results)
    ]
    names = list(dict.fromkeys(row for row, _, _ in rows))
    left_out = names[_ROWS_AT_MOST:]
    names = names[:_ROWS_AT_MOST]
    with style.figure_style(_NAME):
        figure, all_axes = style.panels(len(names), len(grid.columns), height=1.75)
        for row, column, line in rows:
            if row in names:
                _draw_bounds(all_axes[names.index(row)][grid.columns.index(column)], line)
        for name, axes_row in zip(names, all_axes, strict=True):
            axes_row[0].set_ylabel("density")
            for column, axes in zip(grid.columns, axes_row, strict=True):
                axes.set_title(f"{column} \N{MIDDLE DOT} {name}")
                axes.set_visible(bool(axes.has_data()))
                axes.set_xlim(-1.05, 1.05)
                axes.set_xticks([-1, -0.5, 0, 0.5, 1])
                axes.set_ylim(bottom=0)
        for axes in all_axes[-1]:
            axes.set_xlabel("error / effective bound")
        unseen = [f"{len(left_out)} more lines are not drawn: {', '.join(left_out)}."] if left_out else []
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *unseen])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def _draw_bounds(axes: Axes, line: Line) -> None:
    beyond = 0
    for number, point in enumerate(_chosen(line.points)):
        for edges, (counts, outside) in _summed(point).items():
            beyond += outside
            whole = sum(counts) + outside
            if not whole:
                continue
            widths = [high - low for low, high in pairwise(edges)]
            density = [2 * count / whole / width for count, width in zip(counts, widths, strict=True)]
            look = style.line_look(number)
            label = "no bound" if point.bound is None else f"bound {bound_number(point.bound)}"
            axes.stairs(
                density, list(edges), color=look["color"], linestyle=look["linestyle"], linewidth=1.2, label=label
            )
    if beyond:
        axes.text(0.98, 0.95, f"{beyond} beyond the bound", transform=axes.transAxes, ha="right", va="top", fontsize=7)


def _chosen(points: Sequence[Point]) -> list[Point]:
    """All points, or as many as one panel can show, evenly chosen with both ends."""
    if len(points) <= _LINES_AT_MOST:
        return list(points)
    return [points[round(at * (len(points) - 1) / (_LINES_AT_MOST - 1))] for at in range(_LINES_AT_MOST)]


def _summed(point: Point) -> dict[tuple[float, ...], tuple[list[int], int]]:
    """By edges: counts summed over tensors, and how many errors lie beyond the edges."""
    sums: dict[tuple[float, ...], tuple[list[int], int]] = defaultdict(lambda: ([], 0))
    for result in point.results:
        if result.histogram is None:
            continue
        edges = tuple(result.histogram.edges)
        counts, outside = sums[edges]
        together = [
            a + b for a, b in zip(counts or [0] * len(result.histogram.counts), result.histogram.counts, strict=True)
        ]
        sums[edges] = (together, outside + result.histogram.below + result.histogram.above)
    return sums
