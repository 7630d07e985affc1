"""Owns the heat maps over layers, a tensor a case: ratio and error of every layer at every bound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.axis import BOUND_LABELS, bound_number
from kvbench.report.panels import abreast, label_edges, packed, set_title
from kvbench.report.series import NONE, Grid
from kvbench.report.style import DrawnFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

_PANELS_AT_MOST = 24
_WORDED_COLUMNS, _WORDED_ROWS = 8, 40  # more cells have no room for their numbers
_LIGHT_TEXT, _DARK_TEXT = "#fdfdfd", "#111111"  # on a cell's own colour, so not the page's
_BLANK = "Blank: not measured, or not drawn as listed. Each cell: mean over the tensors of that layer."


@dataclass(frozen=True)
class LayerMetric:
    """A number of every layer, and the figure of it."""

    name: str
    figure: str
    title: str
    caption: str


RATIO = LayerMetric(
    "ratio",
    "ratio_per_layer",
    "Compression ratio of every layer",
    "Ratio: bytes in the tensor's own dtype / everything stored.",
)
ERROR = LayerMetric(
    "nrmse",
    "error_per_layer",
    "Error of every layer",
    "NRMSE: root mean square error / (max \N{MINUS SIGN} min) of the tensor.",
)


@dataclass(frozen=True)
class _Map:
    title: str
    kind: str | None
    bounds: list[float]
    cells: dict[tuple[str, float], float]


def has_layers(grid: Grid) -> bool:
    """Are there bounds over at least two layers, so that a map says more than a line?"""
    layers = {_layer(result) for result in grid.results if result.case.bound is not None}
    return len(layers - {NONE}) > 1


def draw_ratio_per_layer(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """ratio_per_layer: a panel for every line of the other figures and K, V or none."""
    return _draw(folder, grid, RATIO, notes)


def draw_error_per_layer(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """error_per_layer: the same panels for the error; a tensor without error is blank."""
    return _draw(folder, grid, ERROR, notes)


def _draw(folder: Path, grid: Grid, metric: LayerMetric, notes: Sequence[str]) -> DrawnFigure:
    from matplotlib.colors import LogNorm

    rows = list(_maps(grid, metric.name))
    maps = [one for row in rows for one in row][:_PANELS_AT_MOST]
    layers = _layers(maps)
    values = [value for one in maps for value in one.cells.values()]
    low, high = min(values, default=1.0), max(values, default=1.0)
    norm = LogNorm(low, high if high > low else low * 1.01)
    worded = len(layers) <= _WORDED_ROWS and all(len(one.bounds) <= _WORDED_COLUMNS for one in maps)
    with style.figure_style(metric.figure):
        height = max(1.5, 0.17 * len(layers) + 0.6)
        figure, all_axes = packed(len(maps), abreast([len(row) for row in rows]), height)
        for axes, one in zip([axes for row in all_axes for axes in row], maps, strict=False):
            _draw_map(axes, one, layers, norm, worded=worded)
        label_edges(all_axes, "layer", [(one.kind, tuple(one.bounds)) for one in maps])
        left_out = sum(map(len, rows)) - len(maps)
        legend = {} if worded else colour_scale(norm)
        caption = f"{metric.caption} {_BLANK}{f' {left_out} more maps are not drawn.' if left_out else ''}"
        return style.save(figure, folder, metric.figure, legend, title=metric.title, caption=caption, notes=notes)


def _maps(grid: Grid, metric: str) -> Iterator[list[_Map]]:
    """Row by row of the grid and line by line: the maps of K, V and none that have a cell."""
    for panel_row in grid.panels:
        labels = dict.fromkeys(line.label for panel in panel_row for line in panel.lines if line.bounded)
        for label in labels:
            row = []
            for panel in panel_row:
                results = [r for line in panel.lines if line.label == label for p in line.points for r in p.results]
                words = ", ".join(word for word in (label, panel.row) if word)
                found = _cells(results, metric)
                if found:
                    bounds = grid.bounds(panel.bound_kind)
                    row.append(_Map(f"{panel.column} \N{MIDDLE DOT} {words}", panel.bound_kind, bounds, found))
            if row:
                yield row


def _cells(results: Sequence[CaseResult], metric: str) -> dict[tuple[str, float], float]:
    values: dict[tuple[str, float], list[float]] = defaultdict(list)
    for result in results:
        if result.case.bound is not None and (value := result.metrics.get(metric)):
            values[_layer(result), result.case.bound.value].append(float(value))
    return {place: sum(found) / len(found) for place, found in values.items()}


def _layer(result: CaseResult) -> str:
    layer = None if result.case.tensor is None else result.case.tensor.layer
    return NONE if layer is None else str(layer)


def _layers(maps: Sequence[_Map]) -> list[str]:
    """All layers in order, those of tensors without a layer last."""
    found = {layer for one in maps for layer, _ in one.cells}
    return sorted(found - {NONE}, key=int) + ([NONE] if NONE in found else [])


def _draw_map(axes: Axes, one: _Map, layers: Sequence[str], norm: Normalize, *, worded: bool) -> None:
    import numpy as np

    grid = np.full((len(layers), len(one.bounds)), np.nan)
    for (layer, bound), value in one.cells.items():
        grid[layers.index(layer), one.bounds.index(bound)] = value
    look: dict[str, Any] = {"cmap": style.COLOURS, "norm": norm, "edgecolors": style.PAPER, "linewidth": 0.6}
    axes.grid(visible=False)
    axes.pcolormesh(np.ma.masked_invalid(grid), **look)
    if worded:
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                colour = _DARK_TEXT if norm(value) > 0.48 else _LIGHT_TEXT
                place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5, "color": colour}
                axes.text(column + 0.5, row + 0.5, _short(value), **place)
    set_title(axes, one.title)
    axes.set_xlabel(BOUND_LABELS[one.kind])
    axes.set_xticks(np.arange(len(one.bounds)) + 0.5, [bound_number(bound) for bound in one.bounds])
    step = -(-len(layers) // _WORDED_ROWS)
    axes.set_yticks(np.arange(0, len(layers), step) + 0.5, layers[::step])
    axes.set_ylim(len(layers), 0)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour_scale(norm: Normalize) -> dict[str, Any]:
    """A legend of a few colours, where the cells have no room for their numbers."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib.patches import Patch

    values = np.geomspace(float(norm.vmin or 1.0), float(norm.vmax or 1.0), 5)
    return {_short(value): Patch(facecolor=mpl.colormaps[style.COLOURS](norm(value))) for value in values}


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= value < 100 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
