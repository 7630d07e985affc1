"""Owns the figure of codec speed over ratio, with the Pareto front and the curve above which compression pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kvbench.record.schema import Link
from kvbench.report import style
from kvbench.report.axis import bound_number, number_axis
from kvbench.report.notes import hollow_note
from kvbench.report.panels import grid_panels, in_panels, label_panels
from kvbench.report.series import Grid, Line, Panel, Point
from kvbench.report.style import DrawnFigure
from kvbench.report.totals import Interval, link_levels, links_words, total

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "speed_vs_ratio"
_TITLE = "Codec speed against compression ratio"
_LABELLED_LINES = 3  # in one panel; the bounds beside the markers of more would cover each other
_CAPTION = (
    "Uncompressed bytes, out and back, over the time of the encode and decode calls, without any link; bars: what the "
    "95 % intervals of the times allow. All tensors of a point together. Ringed and joined by steps: the Pareto front "
    "of the medians, where nothing is faster without a smaller ratio; a point whose bar reaches it may belong to it. "
)


@dataclass(frozen=True)
class _Spot:
    """A point of the figure."""

    point: Point
    ratio: float
    gbps: Interval


def draw_speed_against_ratio(folder: Path, grid: Grid, links: Mapping[str, Link], notes: Sequence[str]) -> DrawnFigure:
    """speed_vs_ratio: every setting as a point, the points of a line joined by growing bound."""
    with style.figure_style(_NAME):
        figure, all_axes = grid_panels(grid)
        spots = {id(panel): _spots(panel) for panel in grid.filled}
        found = [spot for of_panel in spots.values() for of_line in of_panel for spot in of_line]
        ratios = [spot.ratio for spot in found]
        speeds = [speed for spot in found for speed in (spot.gbps.low, spot.gbps.high)]
        levels = link_levels(links, "pays above, link")
        best = max([*ratios, 1.2])
        for axes, panel in in_panels(all_axes, grid):
            for number, (label, gbps) in enumerate(levels.items()):
                _draw_paying(axes, label, gbps, best, number)
            of_panel = spots[id(panel)]
            for line, of_line in zip(panel.lines, of_panel, strict=True):
                _draw_line(axes, line, of_line, named=len(panel.lines) <= _LABELLED_LINES)
            _draw_front(axes, [spot for of_line in of_panel for spot in of_line])
        for axes, _ in in_panels(all_axes, grid):
            axes.set_xlabel("compression ratio")
            number_axis(axes, "x", [*ratios, best])
            number_axis(axes, "y", speeds + [gbps / (1 - 1 / best) for gbps in levels.values()])
        label_panels(all_axes, grid, "codec speed, GB/s")
        caption = " ".join([_CAPTION + _link_caption(links), *hollow_note(grid.results)])
        legend = style.legend_of(all_axes)
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def front(spots: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of (ratio, speed) pairs that no other equals in one and beats in the other, by growing ratio."""
    return sorted(
        (
            number
            for number, (ratio, speed) in enumerate(spots)
            if not any(r >= ratio and s >= speed and (r > ratio or s > speed) for r, s in spots)
        ),
        key=lambda number: spots[number],
    )


def _spots(panel: Panel) -> list[list[_Spot]]:
    """For every line its points that have sizes and times."""
    return [
        [
            _Spot(point, sums.ratio, sums.codec_gbps())
            for point in line.points
            if (sums := total(point.results)) is not None
        ]
        for line in panel.lines
    ]


def _draw_paying(axes: Axes, label: str, link_gbps: float, best_ratio: float, number: int) -> None:
    """The speed L / (1 - 1 / ratio) above which the bytes saved outweigh the codec's time on a link of speed L."""
    steps = 60
    ratios = [1.002 * (best_ratio * 1.2 / 1.002) ** (step / steps) for step in range(steps + 1)]
    speeds = [link_gbps / (1 - 1 / ratio) for ratio in ratios]
    axes.plot(ratios, speeds, label=label, zorder=1.5, **style.level_look(number))


def _draw_line(axes: Axes, line: Line, spots: Sequence[_Spot], *, named: bool) -> None:
    if not spots:
        return
    look = style.line_look(line.style) if line.bounded else style.LONE
    x, y = [spot.ratio for spot in spots], [spot.gbps.value for spot in spots]
    axes.plot(x, y, label=line.label, **look)
    below = [spot.gbps.value - spot.gbps.low for spot in spots]
    above = [spot.gbps.high - spot.gbps.value for spot in spots]
    axes.errorbar(x, y, yerr=[below, above], fmt="none", color=look["color"], elinewidth=0.9)
    for spot in spots:
        if spot.point.invalid:
            axes.plot([spot.ratio], [spot.gbps.value], **(look | style.HOLLOW))
        if named and spot.point.bound is not None:
            at = (spot.ratio, spot.gbps.value)
            words = bound_number(spot.point.bound)
            axes.annotate(words, at, (4, 4), textcoords="offset points", fontsize=6, color=style.MUTED)


def _draw_front(axes: Axes, spots: Sequence[_Spot]) -> None:
    competing = [spot for spot in spots if not spot.point.invalid]
    pairs = [(spot.ratio, spot.gbps.value) for spot in competing]
    on_front = [pairs[number] for number in front(pairs)]
    if not on_front:
        return
    x, y = [ratio for ratio, _ in on_front], [speed for _, speed in on_front]
    axes.plot(x, y, drawstyle="steps-pre", color=style.GRID, linewidth=3, zorder=1.2, solid_capstyle="round")
    axes.plot(x, y, **style.RING)


def _link_caption(links: Mapping[str, Link]) -> str:
    if not links:
        return "GB = 1e9 bytes."
    return f"Dotted: above it compression pays over the link ({links_words(links)}). GB = 1e9 bytes."
