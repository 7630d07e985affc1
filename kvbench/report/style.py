"""Owns the look of every figure: colours, markers, sizes, and how a figure becomes PNG and SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kvbench.report.series import Grid, Panel

INK, MUTED, GRID, PAPER = "#1b1f24", "#5b636d", "#dde1e6", "#ffffff"
# Okabe and Ito's palette without its yellow: told apart by readers with any colour vision.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
REFERENCE_DASHES: tuple[Any, ...] = ((0, (7, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)))

PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.45  # inches
LEGEND_ROW_HEIGHT, NOTE_ROW_HEIGHT = 0.162, 0.124
NOTE_SIZE = 6.5
HOLLOW: dict[str, Any] = {"markerfacecolor": PAPER, "linestyle": "none", "zorder": 4}
FAINT: dict[str, Any] = {"markersize": 3.2, "alpha": 0.4, "linestyle": "none", "markeredgewidth": 0, "zorder": 2}
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 6.5,
    "markerfacecolor": "none",
    "markeredgecolor": MUTED,
    "markeredgewidth": 0.7,
    "linestyle": "none",
    "zorder": 3,
}
PNG_DOTS_PER_INCH = 200

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws alike
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 3.2,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class DrawnFigure:
    """One figure on disk, with what a page says about it."""

    name: str
    title: str
    caption: str
    png: Path
    svg: Path
    notes_share: float  # of the height, at the foot, where caption and notes stand


@contextmanager
def figure_style(name: str) -> Iterator[None]:
    """Draw in kvbench's look, whatever the user's own matplotlib settings are. `name` makes the ids in an SVG unique.

    No display is used: figures are made as objects, without pyplot, so no window system is asked for.
    """
    import matplotlib.style

    with matplotlib.style.context(["default", {**_RC, "svg.hashsalt": name}], after_reset=True):
        yield


def line_look(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line with this number: two lines differ in each, the first seven in colour."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def reference_look(number: int) -> dict[str, Any]:
    """The look of a level that has no bound to stand over: grey, dashed, without a marker."""
    return {"color": MUTED, "linestyle": REFERENCE_DASHES[number % len(REFERENCE_DASHES)], "linewidth": 1.2}


def panels(rows: int, columns: int, height: float = PANEL_HEIGHT) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels that share their axes."""
    from matplotlib.figure import Figure

    width = max(columns * PANEL_WIDTH + 0.35, 4.8)
    figure = Figure(figsize=(width, rows * height + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    return figure, [list(row) for row in grid]


def in_panels(all_axes: Sequence[Sequence[Axes]], grid: Grid) -> Iterator[tuple[Axes, Panel]]:
    """Every panel of the grid with its axes."""
    for axes_row, panel_row in zip(all_axes, grid.panels, strict=True):
        yield from zip(axes_row, panel_row, strict=True)


def label_panels(all_axes: Sequence[Sequence[Axes]], grid: Grid, y_label: str) -> None:
    """Title every panel with K or V and its row's words, hide the empty ones, and name the axes at the edges."""
    for axes, panel in in_panels(all_axes, grid):
        axes.set_visible(bool(panel.lines))
        axes.set_title(f"{panel.column} \N{MIDDLE DOT} {panel.row}" if panel.row else panel.column)
    label_edges(all_axes, y_label, [row[0].bound_kind for row in grid.panels])


def label_edges(all_axes: Sequence[Sequence[Axes]], y_label: str, x_axes: Sequence[object]) -> None:
    """Name y at the first visible panel of every row, and keep the name of x only where no panel below repeats it.

    `x_axes` tells for every row which x axis it has.
    """
    for number, axes_row in enumerate(all_axes):
        visible = [axes for axes in axes_row if axes.get_visible()]
        if visible:
            visible[0].set_ylabel(y_label)
            visible[0].tick_params(labelleft=True)
        if number + 1 < len(x_axes) and x_axes[number + 1] == x_axes[number]:
            for axes, below in zip(axes_row, all_axes[number + 1], strict=True):
                if below.get_visible():
                    axes.set_xlabel("")


def legend_of(all_axes: Sequence[Sequence[Axes]]) -> dict[str, Any]:
    """What the legend shows: every label of any panel once."""
    entries: dict[str, Any] = {}
    for axes in (axes for row in all_axes for axes in row):
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    return entries


def save(
    figure: Figure, folder: Path, name: str, legend: dict[str, Any], *, title: str, caption: str, notes: Sequence[str]
) -> DrawnFigure:
    """Put title, legend, caption and notes around the panels and write PNG and SVG, each whole or not at all.

    The figure grows so that its panels keep their size. The same data gives the same bytes. Raises KvbenchError when
    the disk refuses.
    """
    notes_share = _surround(figure, title, legend, [caption, *notes])
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with replacing(png) as temporary:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, format="png", dpi=PNG_DOTS_PER_INCH)
    figure.set_layout_engine("none")  # both formats keep the layout just made
    with replacing(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return DrawnFigure(name=name, title=title, caption=caption, png=png, svg=svg, notes_share=notes_share)


def _surround(figure: Figure, title: str, legend: dict[str, Any], notes: Sequence[str]) -> float:
    """Draw what is not panels; gives the share of the figure's height that the notes take at its foot."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = (float(side) for side in figure.get_size_inches())
    columns = _legend_columns(list(legend), width)
    legend_height = LEGEND_ROW_HEIGHT * -(-len(legend) // columns) + 0.12 if legend else 0.0
    characters = int(width * 72 / (NOTE_SIZE * 0.56))
    lines = [line for note in notes for line in textwrap.wrap(note, characters, subsequent_indent="   ")]
    notes_height = NOTE_ROW_HEIGHT * len(lines) + 0.1
    total = height + legend_height + notes_height
    figure.set_size_inches(width, total)
    bottom = (notes_height + legend_height) / total
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, bottom, 1, 1 - bottom), w_pad=0.06, h_pad=0.05))
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    if legend:
        figure.legend(
            legend.values(),
            legend.keys(),
            loc="upper center",
            ncols=columns,
            bbox_to_anchor=(0.5, bottom + 0.03 / total),
        )
    foot: dict[str, Any] = {"fontsize": NOTE_SIZE, "color": MUTED, "va": "bottom", "ha": "left", "linespacing": 1.35}
    figure.text(0.012, 0.05 / total, "\n".join(lines), **foot)
    return notes_height / total


def _legend_columns(labels: Sequence[str], width: float) -> int:
    longest = max((len(label) for label in labels), default=1)
    return max(1, min(len(labels), int(width / (0.62 + 0.068 * longest))))
