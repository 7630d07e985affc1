"""Owns the error histogram: where in [-bound, bound] the errors fall."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from kvbench.bound import Bound
from kvbench.report import style
from kvbench.report.axis import bound_number
from kvbench.report.panels import abreast, label_edges, packed, set_title
from kvbench.report.series import Grid, Line, Point
from kvbench.report.style import DrawnFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "error_histogram"
_TITLE = "Distribution of the error"
_BOUNDS_AT_MOST = 6
_ROWS_AT_MOST = 12
_CAPTION = (
    "Signed error x \N{MINUS SIGN} x' in units of the effective error bound, all tensors of a line together. Density "
    "1: spread evenly over the whole bound. x' is the float32 value, before any cast to a 16-bit dtype. Values beyond "
    "the bound are counted in the panel, not drawn."
)


def draw_error_histogram(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """error_histogram: a panel for every line of the other figures and K, V or none, in it one curve a bound."""
    found = [
        (f"{line.label}{', ' if panel.row else ''}{panel.row}", panel.column, line)
        for panel_row in grid.panels
        for panel in panel_row
        for line in panel.lines
        if any(result.histogram for point in line.points for result in point.results)
    ]
    rows = list(dict.fromkeys(row for row, _, _ in found))
    cells = sorted(((rows.index(row), grid.columns.index(column), line) for row, column, line in found), key=_place)
    drawn = [cell for cell in cells if cell[0] < _ROWS_AT_MOST]
    bounds = sorted({bound for _, _, line in found for point in line.points if (bound := _bound(point))}, key=_order)
    shown = _evenly(bounds)
    with style.figure_style(_NAME):
        in_rows = [sum(row == number for row, _, _ in drawn) for number in range(min(len(rows), _ROWS_AT_MOST))]
        figure, all_axes = packed(len(drawn), abreast(in_rows), height=1.75)
        flat = [axes for axes_row in all_axes for axes in axes_row]
        for axes, (row, column, line) in zip(flat, drawn, strict=False):
            _draw_bounds(axes, line, shown)
            set_title(axes, f"{grid.columns[column]} \N{MIDDLE DOT} {rows[row]}")
            axes.set_xlim(-1.05, 1.05)
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
            axes.set_xlabel("error / effective bound")
        flat[0].set_ylim(bottom=0)  # of all, as they share the axis; only now, with all that it must span
        label_edges(all_axes, "density", [_NAME] * len(drawn))
        caption = " ".join([_CAPTION, *_left_out(rows[_ROWS_AT_MOST:], len(bounds) - len(shown))])
        legend = style.legend_of(all_axes)
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def _place(cell: tuple[int, int, Line]) -> tuple[int, int]:
    return cell[:2]


def _left_out(names: Sequence[str], bounds: int) -> list[str]:
    sentences = [f"{len(names)} more lines are not drawn: {', '.join(names)}."] if names else []
    return [*sentences, f"{bounds} more bounds are not drawn."] if bounds else sentences


def _bound(point: Point) -> Bound | None:
    return point.results[0].case.bound


def _order(bound: Bound) -> tuple[str, float]:
    return bound.kind, bound.value


def _evenly(bounds: Sequence[Bound]) -> list[Bound]:
    """All bounds, or as many as one panel can show, evenly chosen with both ends."""
    if len(bounds) <= _BOUNDS_AT_MOST:
        return list(bounds)
    return [bounds[round(at * (len(bounds) - 1) / (_BOUNDS_AT_MOST - 1))] for at in range(_BOUNDS_AT_MOST)]


def _draw_bounds(axes: Axes, line: Line, shown: Sequence[Bound]) -> None:
    beyond = 0
    for point in line.points:
        bound = _bound(point)
        if bound is None or bound not in shown:
            continue
        look = style.line_look(shown.index(bound))
        drawn = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.2}
        for edges, (counts, outside) in _summed(point).items():
            beyond += outside
            whole = sum(counts) + outside
            if whole:
                widths = [high - low for low, high in pairwise(edges)]
                density = [2 * count / whole / width for count, width in zip(counts, widths, strict=True)]
                axes.stairs(density, list(edges), label=f"bound {bound.kind} {bound_number(bound.value)}", **drawn)
    if beyond:
        axes.text(0.98, 0.95, f"{beyond} beyond the bound", transform=axes.transAxes, ha="right", va="top", fontsize=7)


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
