"""Owns the heat maps of a scored run: ratio and error of every layer's K and V in every setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.layers import ERROR, RATIO, LayerMetric, colour_scale
from kvbench.report.panels import packed
from kvbench.report.scored import bound_words, setting_words
from kvbench.report.style import DrawnFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

_ROWS_AT_MOST = 40
_KINDS: tuple[tuple[Literal["k", "v"], str], ...] = (("k", "K"), ("v", "V"))
_BLANK = "Blank: 0 or undefined. Each cell: mean over the texts. raw, which changes nothing, is left out."
_ROW_HEIGHT, _LETTER_WIDTH = 0.17, 0.066  # inches
_LABELS_SHARE = 0.45  # of the width, that labels may take


@dataclass(frozen=True)
class _Row:
    """One setting: by K and V, a value a layer."""

    label: str
    cells: dict[str, list[float | None]]


def draw_scored_ratio(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """quality_ratio_per_layer: a panel for K and one for V, a row a setting. Some case must be `by_layer`."""
    return _draw(folder, results, RATIO, notes)


def draw_scored_error(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """quality_error_per_layer: the same for the error."""
    return _draw(folder, results, ERROR, notes)


def by_layer(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The cases of a codec, not of the floor, that keep numbers of two layers or more."""
    return [
        result
        for result in results
        if result.layers is not None and result.case.codec != "raw" and len(result.layers.k.get(RATIO.name, ())) > 1
    ]


def _draw(folder: Path, results: Sequence[CaseResult], metric: LayerMetric, notes: Sequence[str]) -> DrawnFigure:
    from matplotlib.colors import LogNorm

    every = _rows(by_layer(results), metric.name)
    rows, shared = _without_shared(every[:_ROWS_AT_MOST])
    values = [value for row in rows for cells in row.cells.values() for value in cells if value]
    low, high = min(values, default=1.0), max(values, default=1.0)
    norm = LogNorm(low, high if high > low else low * 1.01)
    name = f"quality_{metric.figure}"  # a sweep on the same page has the plain one
    with style.figure_style(name):
        figure, all_axes = packed(len(_KINDS), 1, max(1.2, _ROW_HEIGHT * len(rows) + 0.5))
        labels, key = _fitting([row.label for row in rows], float(figure.get_size_inches()[0]))
        for axes, (kv, title) in zip([axes for line in all_axes for axes in line], _KINDS, strict=True):
            _draw_kind(axes, [row.cells[kv] for row in rows], labels, norm)
            axes.set_title(title)
        all_axes[-1][0].set_xlabel("layer")
        left_out = [f"{len(every) - len(rows)} more settings are not drawn."] if len(every) > len(rows) else []
        in_all = [f"In every row: {shared}."] if shared else []
        caption = " ".join([metric.caption, _BLANK, *in_all, *left_out, *key])
        return style.save(figure, folder, name, colour_scale(norm), title=metric.title, caption=caption, notes=notes)


def _rows(results: Sequence[CaseResult], metric: str) -> list[_Row]:
    """A row a setting, in the order of the run."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        bound = result.case.bound
        words = [setting_words(result), *([] if bound is None else [bound_words(bound)])]
        groups[" ".join(words)].append(result)
    return [_Row(label, {kv: _means(members, kv, metric) for kv, _ in _KINDS}) for label, members in groups.items()]


def _means(results: Sequence[CaseResult], kv: Literal["k", "v"], metric: str) -> list[float | None]:
    """Layer by layer the mean over the cases; None where one of them has no value."""
    known = [getattr(result.layers, kv)[metric] for result in results]
    return [
        None if None in of_layer else sum(of_layer) / len(of_layer)
        for of_layer in zip(*known, strict=False)  # cases of several models may differ in their layers
    ]


def _without_shared(rows: Sequence[_Row]) -> tuple[list[_Row], str]:
    """The rows without the words that all labels have, and those words."""
    split = [row.label.split() for row in rows]
    shared = [word for word in split[0] if len(rows) > 1 and all(word in words for words in split)]
    labels = [" ".join(word for word in words if word not in shared) or " ".join(words) for words in split]
    return [_Row(label, row.cells) for label, row in zip(labels, rows, strict=True)], " ".join(shared)


def _fitting(labels: Sequence[str], width: float) -> tuple[list[str], list[str]]:
    """The labels of the rows, and a key to them: where they would take too much of the width, they are numbers."""
    if max(map(len, labels)) * _LETTER_WIDTH <= width * _LABELS_SHARE:
        return list(labels), []
    named = "; ".join(f"{number}: {label}" for number, label in enumerate(labels, start=1))
    return [str(number) for number in range(1, len(labels) + 1)], [f"Rows: {named}."]


def _draw_kind(axes: Axes, cells: Sequence[Sequence[float | None]], labels: Sequence[str], norm: Normalize) -> None:
    import numpy as np

    layers = max(len(row) for row in cells)
    grid = np.full((len(cells), layers), np.nan)
    for number, row in enumerate(cells):
        grid[number, : len(row)] = [value or np.nan for value in row]
    look: dict[str, Any] = {"cmap": style.COLOURS, "norm": norm, "edgecolors": style.PAPER, "linewidth": 0.4}
    axes.grid(visible=False)
    axes.pcolormesh(np.ma.masked_invalid(grid), **look)
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels)
    axes.set_ylim(len(labels), 0)
    step = max(1, layers // 8)
    axes.set_xticks(np.arange(0, layers, step) + 0.5, [str(layer) for layer in range(0, layers, step)])
    axes.tick_params(length=0, labelleft=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
