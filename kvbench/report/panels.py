"""Owns where the panels of a grid stand: packed without holes, named at the edges, each axis named once."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kvbench.report import style
from kvbench.report.series import Grid, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_TITLE_LETTER, _MARGIN = 0.076, 0.35  # inches: of a bold letter, beside a panel


def abreast(in_rows: Sequence[int]) -> int:
    """How many panels stand side by side, given how many each row of a grid has: as many as leave no hole, if any."""
    count, most = sum(in_rows), max(in_rows, default=1)
    room = max(1, min(count, style.panels_abreast()))
    choices = [number for number in ([most] if most > 1 else []) + [3, 2] if number <= room]
    return next((number for number in choices if count % number == 0), min(max(most, 2), room))


def packed(count: int, columns: int, height: float = style.PANEL_HEIGHT) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `count` panels in rows of `columns`; those that the last row has too many are hidden."""
    figure, all_axes = style.panels(-(-count // columns), columns, height)
    for spare in [axes for row in all_axes for axes in row][count:]:
        spare.set_visible(False)
    return figure, all_axes


def grid_panels(grid: Grid) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a panel for every one of the grid's that has lines."""
    in_rows = [sum(bool(panel.lines) for panel in row) for row in grid.panels]
    return packed(sum(in_rows), abreast(in_rows))


def in_panels(all_axes: Sequence[Sequence[Axes]], grid: Grid) -> Iterator[tuple[Axes, Panel]]:
    """Every panel of the grid that has lines, with its axes."""
    yield from zip((axes for row in all_axes for axes in row), grid.filled, strict=False)


def set_title(axes: Axes, words: str) -> None:
    """Title a panel, in as many lines as its width needs. The figure must have its final width."""
    place = axes.get_subplotspec()
    abreast = 1 if place is None else place.get_gridspec().ncols
    room = (axes.figure.bbox.width / axes.figure.dpi / abreast - _MARGIN) / _TITLE_LETTER
    axes.set_title(textwrap.fill(words, max(12, int(room))))


def label_panels(all_axes: Sequence[Sequence[Axes]], grid: Grid, y_label: str) -> None:
    """Title every panel with K or V and its row's words, and name the axes at the edges."""
    for axes, panel in in_panels(all_axes, grid):
        set_title(axes, f"{panel.column} \N{MIDDLE DOT} {panel.row}" if panel.row else panel.column)
    label_edges(all_axes, y_label, [panel.bound_kind for panel in grid.filled])


def label_edges(all_axes: Sequence[Sequence[Axes]], y_label: str, x_axes: Sequence[object]) -> None:
    """Name y at the first panel of every row, and keep the name of x only where no panel below repeats it.

    `x_axes` tells for every visible panel which x axis it has.
    """
    for axes_row in all_axes:
        if axes_row[0].get_visible():
            axes_row[0].set_ylabel(y_label)
            axes_row[0].tick_params(labelleft=True)
    shown = [axes for row in all_axes for axes in row if axes.get_visible()]
    columns = len(all_axes[0])
    for number, axes in enumerate(shown):
        if number + columns < len(shown) and x_axes[number + columns] == x_axes[number]:
            axes.set_xlabel("")
