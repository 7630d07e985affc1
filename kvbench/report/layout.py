"""Owns the room around panels: margins in inches from the words at their edges, so that laying out takes no drawing.

matplotlib's own layout measures every tick of every panel, which costs as much as drawing the figure does.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTER, _LINE = 0.066, 0.135  # inches: of a tick label, of a line of a title
_TICK, _NAME, _GAP = 0.2, 0.17, 0.1  # a row of tick labels, the name of an axis, air


def arrange(figure: Figure, above: float, below: float) -> None:
    """Place the panels of a figure of its final size; `above` and `below` are inches kept free at its ends."""
    width, height = (float(side) for side in figure.get_size_inches())
    rows = _rows(figure)
    columns = max(len(row) for row in rows)
    top = above + max(_title(axes) for axes in rows[0])
    bottom = below + max(_foot(axes) for axes in rows[-1])
    left = max(_side(row[0]) for row in rows)
    between_rows = [max(map(_foot, upper)) + max(map(_title, lower)) for upper, lower in pairwise(rows)]
    between_columns = max((_side(axes) for row in rows for axes in row[1:]), default=0.0) + _GAP
    panels_height = (height - top - bottom - max(between_rows, default=0.0) * (len(rows) - 1)) / len(rows)
    panels_width = (width - left - _GAP * 1.6 - between_columns * (columns - 1)) / columns
    figure.subplots_adjust(
        left=left / width,
        right=1 - _GAP * 1.6 / width,
        bottom=bottom / height,
        top=1 - top / height,
        hspace=max(between_rows, default=0.0) / panels_height,
        wspace=between_columns / panels_width,
    )


def _rows(figure: Figure) -> list[list[Axes]]:
    """The panels as they stand, hidden ones included."""
    rows: dict[int, list[Axes]] = {}
    for axes in figure.axes:
        place = axes.get_subplotspec()
        assert place is not None
        rows.setdefault(place.rowspan.start, []).append(axes)
    return list(rows.values())


def _title(axes: Axes) -> float:
    words = axes.get_title(loc="left")
    return _GAP + (_LINE * (words.count("\n") + 1) if words else 0.0)


def _foot(axes: Axes) -> float:
    return _TICK + (_NAME + 0.05 if axes.get_xlabel() else 0.0)


def _side(axes: Axes) -> float:
    """Left of a panel: the labels that it shows, and its name."""
    if not axes.get_visible():
        return 0.0
    shown = axes.yaxis.get_tick_params()["labelleft"]
    letters = max((len(label.get_text()) for label in axes.get_yticklabels()), default=0) if shown else 0
    return (_GAP + _LETTER * letters if letters else 0.0) + (_NAME if axes.get_ylabel() else 0.06)
