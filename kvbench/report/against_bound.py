"""Owns the figures over the error bound: ratio, effective speed, break-even link speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.schema import Link
from kvbench.report import style
from kvbench.report.axis import bound_axis, number_axis
from kvbench.report.notes import hollow_note
from kvbench.report.panels import grid_panels, in_panels, label_panels
from kvbench.report.runs import run_name
from kvbench.report.series import Grid, Line, Panel, Point
from kvbench.report.style import DrawnFigure
from kvbench.report.totals import Interval, link_levels, links_words, spread, total

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARS = "bars: what the 95 % intervals of the times allow"


@dataclass(frozen=True)
class _Plot:
    """One quantity over the bound: how it is named, computed and shown, and the levels to compare it with."""

    name: str
    title: str
    caption: str
    axis_label: str
    value: Callable[[Point], Interval | None]
    show_spread: Callable[[Axes, _Traced], None]
    levels: Callable[[Panel], Mapping[str, float]]  # of a panel, by label


@dataclass(frozen=True)
class _Traced:
    """A line's defined values: x, middle, low and high, and the look they are drawn in."""

    points: list[Point]
    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]
    look: dict[str, Any]


def draw_ratio(folder: Path, grid: Grid, notes: Sequence[str]) -> DrawnFigure:
    """ratio_vs_bound: mean over tensors, with a band from the smallest to the largest."""
    plot = _Plot(
        name="ratio_vs_bound",
        title="Compression ratio against error bound",
        caption="Ratio: bytes in the tensor's own dtype / everything stored. Line: mean over tensors; band: from the "
        "smallest to the largest of them. Below 1 the stored form is larger than the tensor.",
        axis_label="compression ratio",
        value=lambda point: spread(result.metrics.get("ratio") for result in point.results),
        show_spread=_band,
        levels=lambda _: {"as large as the tensor": 1.0},
    )
    return _draw(folder, grid, plot, notes)


def draw_effective_speed(folder: Path, grid: Grid, links: Mapping[str, Link], notes: Sequence[str]) -> DrawnFigure:
    """effective_gbps_vs_bound: out and back over the link, beside the link with nothing compressed.

    `links` are by run name; a run without one is not drawn.
    """
    plot = _Plot(
        name="effective_gbps_vs_bound",
        title="Effective speed against error bound",
        caption="Uncompressed bytes, out and back, over the time of encode, link, link and decode, one after the "
        f"other. Link: {links_words(links)}. All tensors of a point together; {_BARS}. Above the dotted line "
        "compression pays. GB = 1e9 bytes.",
        axis_label="effective GB/s",
        value=lambda point: _effective(point, links),
        show_spread=_bars,
        levels=lambda panel: _uncompressed(panel, links),
    )
    return _draw(folder, grid, plot, notes)


def _effective(point: Point, links: Mapping[str, Link]) -> Interval | None:
    """None also where nothing is compressed: that is the dotted line, without the copy such a codec makes."""
    sums, link = total(point.results), links.get(run_name(point.results[0]))
    if sums is None or link is None or sums.compressed_bytes == sums.raw_bytes:
        return None
    return sums.effective_gbps(link)


def _uncompressed(panel: Panel, links: Mapping[str, Link]) -> dict[str, float]:
    """For every run in the panel: the speed of its tensors over its link as they are, latencies included."""
    levels: dict[str, float] = {}
    for point in (point for line in panel.lines for point in line.points):
        run, sums = run_name(point.results[0]), total(point.results)
        label = f"{run}: link, nothing compressed" if run else "link, nothing compressed"
        if sums is not None and run in links and label not in levels:
            levels[label] = sums.raw_gbps(links[run])
    return levels


def draw_break_even(folder: Path, grid: Grid, links: Mapping[str, Link], notes: Sequence[str]) -> DrawnFigure:
    """break_even_vs_bound: the link speed below which compression pays, beside the link of the run."""
    plot = _Plot(
        name="break_even_vs_bound",
        title="Break-even link speed against error bound",
        caption="Link speed below which compressing, sending and decompressing takes less time than sending raw. All "
        f"tensors of a point together; {_BARS}. No marker: nothing is saved, so it pays over no link. Link: "
        f"{links_words(links)}. GB = 1e9 bytes.",
        axis_label="break-even link speed, GB/s",
        value=lambda point: None if (sums := total(point.results)) is None else sums.break_even_gbps(),
        show_spread=_bars,
        levels=lambda _: link_levels(links, "link"),
    )
    return _draw(folder, grid, plot, notes)


def _draw(folder: Path, grid: Grid, plot: _Plot, notes: Sequence[str]) -> DrawnFigure:
    with style.figure_style(plot.name):
        figure, all_axes = grid_panels(grid)
        shown: list[float] = []
        for axes, panel in in_panels(all_axes, grid):
            for number, (label, level) in enumerate(plot.levels(panel).items()):
                axes.axhline(level, label=label, zorder=1.5, **style.level_look(number))
                shown.append(level)
            for line in panel.lines:
                shown += _draw_line(axes, line, plot)
            bound_axis(axes, panel.bound_kind, grid.bounds(panel.bound_kind))
        for axes, _ in in_panels(all_axes, grid):
            number_axis(axes, "y", shown)
        label_panels(all_axes, grid, plot.axis_label)
        caption = " ".join([plot.caption, *hollow_note(grid.results)])
        legend = style.legend_of(all_axes)
        return style.save(figure, folder, plot.name, legend, title=plot.title, caption=caption, notes=notes)


def _draw_line(axes: Axes, line: Line, plot: _Plot) -> list[float]:
    """Draw one line and give back the values it spans."""
    found = [(point, value) for point in line.points if (value := plot.value(point)) is not None]
    if not found:
        return []
    if not line.bounded:
        axes.axhline(found[0][1].value, label=line.label, zorder=1.8, **style.reference_look(line.style))
        return [found[0][1].value]
    traced = _Traced(
        points=[point for point, _ in found],
        x=[point.bound or 0.0 for point, _ in found],
        middle=[value.value for _, value in found],
        low=[value.low for _, value in found],
        high=[value.high for _, value in found],
        look=style.line_look(line.style),
    )
    axes.plot(traced.x, traced.middle, label=line.label, **traced.look)
    plot.show_spread(axes, traced)
    for point, x, y in zip(traced.points, traced.x, traced.middle, strict=True):
        if point.invalid:
            axes.plot([x], [y], **(traced.look | style.HOLLOW))
    return [*traced.low, *traced.high]


def _band(axes: Axes, traced: _Traced) -> None:
    axes.fill_between(traced.x, traced.low, traced.high, color=traced.look["color"], alpha=0.13, linewidth=0)


def _bars(axes: Axes, traced: _Traced) -> None:
    below = [middle - low for middle, low in zip(traced.middle, traced.low, strict=True)]
    above = [high - middle for middle, high in zip(traced.middle, traced.high, strict=True)]
    axes.errorbar(traced.x, traced.middle, yerr=[below, above], fmt="none", color=traced.look["color"], elinewidth=0.9)
