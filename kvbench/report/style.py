"""Owns the look of every figure: colours, markers, sizes, and how a figure becomes PNG and SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.files import replacing
from kvbench.report.layout import arrange

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b1f24", "#5b636d", "#dde1e6", "#ffffff"
# Okabe and Ito's palette without its yellow: told apart by readers with any colour vision.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
COLOURS = "cividis"  # of maps: one order for readers with any colour vision
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
LEVEL_DASHES: tuple[Any, ...] = ((0, (1, 1.5)), (0, (1, 3)), (0, (3, 1.5, 1, 1.5)))
REFERENCE_DASHES: tuple[Any, ...] = ((0, (7, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)))

PANEL_HEIGHT = 2.5  # inches
LEGEND_ROW_HEIGHT, NOTE_ROW_HEIGHT = 0.162, 0.124
NOTE_SIZE = 6.5
_TITLE_HEIGHT = 0.24
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
LONE: dict[str, Any] = {"marker": "s", "markersize": 5, "color": MUTED, "linestyle": "none", "zorder": 2}
PNG_DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Sheet:
    """What a figure is laid out for: its width, how many panels may stand side by side, and the files it becomes."""

    width: float  # inches
    panels_abreast: int
    formats: tuple[str, ...]


# The text width of a printed page, which a wide screen enlarges to its own; and a phone held upright, at true size.
WIDE = Sheet(width=7.2, panels_abreast=3, formats=("png", "svg"))
NARROW = Sheet(width=3.85, panels_abreast=1, formats=("svg",))
_sheet: ContextVar[Sheet] = ContextVar("sheet", default=WIDE)

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws alike
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it would be found to belong anyway, at the cost of measuring every tick
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
    """One figure on disk, with what a page says about it. On a sheet without PNG there is none at `png`."""

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


def level_look(number: int) -> dict[str, Any]:
    """The look of a line to compare with, such as the link's speed: dark, dotted."""
    return {"color": INK, "linestyle": LEVEL_DASHES[number % len(LEVEL_DASHES)], "linewidth": 1.0}


@contextmanager
def on_sheet(sheet: Sheet) -> Iterator[None]:
    """Lay every figure that is begun and saved inside out for this sheet; without it, for WIDE."""
    before = _sheet.set(sheet)
    try:
        yield
    finally:
        _sheet.reset(before)


def panels_abreast() -> int:
    """How many panels the current sheet has room for side by side."""
    return _sheet.get().panels_abreast


def panels(
    rows: int, columns: int, height: float = PANEL_HEIGHT, share_y: bool = True
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels; below each other where the sheet is narrower."""
    from matplotlib.figure import Figure

    abreast = min(columns, panels_abreast())
    stacked = -(-rows * columns // abreast)
    figure = Figure(figsize=(_sheet.get().width, stacked * height + 0.3))
    grid = list(figure.subplots(stacked, abreast, sharey=share_y, squeeze=False).flat)
    return figure, [grid[row * columns : (row + 1) * columns] for row in range(rows)]


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
    """Put title, legend, caption and notes around the panels and write the sheet's files, each whole or not at all.

    The figure gets the sheet's width and grows so that its panels keep their height. The same data gives the same
    bytes. Raises KvbenchError when the disk refuses.
    """
    notes_share = _surround(figure, title, legend, [caption, *notes])
    paths = {ending: folder / f"{name}.{ending}" for ending in ("png", "svg")}
    wanted: dict[str, dict[str, Any]] = {"png": {"dpi": PNG_DOTS_PER_INCH}, "svg": {"metadata": {"Date": None}}}
    for ending in _sheet.get().formats:
        with replacing(paths[ending]) as temporary:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(temporary, format=ending, **wanted[ending])
    return DrawnFigure(name, title, caption, paths["png"], paths["svg"], notes_share)


def _surround(figure: Figure, title: str, legend: dict[str, Any], notes: Sequence[str]) -> float:
    """Draw what is not panels; gives the share of the figure's height that the notes take at its foot."""
    width, height = _sheet.get().width, float(figure.get_size_inches()[1])
    columns = _legend_columns(list(legend), width)
    legend_height = LEGEND_ROW_HEIGHT * -(-len(legend) // columns) + 0.12 if legend else 0.0
    characters = int(width * 72 / (NOTE_SIZE * 0.52))
    lines = [line for note in notes for line in textwrap.wrap(note, characters, subsequent_indent="   ")]
    notes_height = NOTE_ROW_HEIGHT * len(lines) + 0.1
    total = height + legend_height + notes_height
    figure.set_size_inches(width, total)
    arrange(figure, above=_TITLE_HEIGHT, below=notes_height + legend_height)
    name: dict[str, Any] = {"fontsize": 9.5, "fontweight": "bold", "ha": "left", "va": "top"}
    figure.text(0.012, 1 - 0.06 / total, title, **name)
    if legend:
        figure.legend(
            legend.values(),
            legend.keys(),
            loc="upper center",
            ncols=columns,
            bbox_to_anchor=(0.5, (notes_height + legend_height + 0.03) / total),
        )
    foot: dict[str, Any] = {"fontsize": NOTE_SIZE, "color": MUTED, "va": "bottom", "ha": "left", "linespacing": 1.35}
    figure.text(0.012, 0.05 / total, "\n".join(lines), **foot)
    return notes_height / total


def _legend_columns(labels: Sequence[str], width: float) -> int:
    longest = max((len(label) for label in labels), default=1)
    return max(1, min(len(labels), int(width / (0.62 + 0.068 * longest))))
