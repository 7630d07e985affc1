"""Owns the figure of stages: for every setting, out and back, what the time of a MB is spent on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.schema import CaseResult, Link
from kvbench.report import style
from kvbench.report.axis import bound_number
from kvbench.report.panels import set_title
from kvbench.report.runs import run_name
from kvbench.report.series import Grid
from kvbench.report.stages import LINK, REST, STAGES, Breakdown, Way, breakdown
from kvbench.report.style import DrawnFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME = "stages"
_TITLE = "Where the time goes"
_SETTINGS_AT_MOST = 12  # in one panel
_CAPTION = (
    "Time for 1 MB (1e6 bytes) of uncompressed data, all tensors of a setting together; the bar ends with the 95 % "
    "interval of the whole. Range and kernel are timed alone; rest of the call: the host call less those, so launches, "
    "waits and side data; transfer: the call with its copy less the call; computed link: stored bytes over the link's "
    "speed, where no copy was timed. Dotted: the raw bytes over the link."
)
_WAYS: dict[Way, str] = {"encode": "Out: encode and send", "decode": "Back: fetch and decode"}
_PALETTE = (5, 0, 4, 2, 2)
_LOOKS: dict[str, dict[str, Any]] = {
    stage: {"color": style.PALETTE[colour], "hatch": "////" if stage == LINK else None}
    for stage, colour in zip(STAGES, _PALETTE, strict=True)
} | {REST: {"color": style.GRID, "hatch": None}}
_OTHER_MARKERS = ("D", "v", "P", "X", "*")


@dataclass(frozen=True)
class _Bar:
    label: str
    ways: dict[Way, Breakdown]


def has_stages(grid: Grid) -> bool:
    """Is there a setting whose calls were timed?"""
    return any(_bars(grid, {}).values())


def draw_stages(folder: Path, grid: Grid, links: Mapping[str, Link], notes: Sequence[str]) -> DrawnFigure:
    """stages: a bar for every setting, once out and once back; rows of panels as in the other figures."""
    rows = {row: bars for row, bars in _bars(grid, links).items() if bars}
    cut = {row: bars[:_SETTINGS_AT_MOST] for row, bars in rows.items()}
    left_out = sum(map(len, rows.values())) - sum(map(len, cut.values()))
    with style.figure_style(_NAME):
        figure, all_axes = _panels([len(bars) for bars in cut.values()])
        others = _others(cut)
        for (row, bars), axes_row in zip(cut.items(), all_axes, strict=True):
            right = 1.16 * max(_right_end(bar) for bar in bars)
            for (way, title), axes in zip(_WAYS.items(), axes_row, strict=True):
                set_title(axes, f"{title} \N{MIDDLE DOT} {row}" if row else title)
                _draw_way(axes, way, bars, others)
                axes.set_xlim(0, right)
        all_axes[-1][-1].set_xlabel("\N{GREEK SMALL LETTER MU}s per MB")
        all_axes[-1][0].set_xlabel("\N{GREEK SMALL LETTER MU}s per MB")
        caption = " ".join([_CAPTION, *_small_print(cut, left_out)])
        legend = style.legend_of(all_axes)
        order = [*STAGES, *others]
        legend = dict(sorted(legend.items(), key=lambda entry: order.index(entry[0]) if entry[0] in order else 99))
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def _bars(grid: Grid, links: Mapping[str, Link]) -> dict[str, list[_Bar]]:
    """By row of panels: its settings, K and V together, those whose calls were timed."""
    members: dict[str, dict[str, list[CaseResult]]] = defaultdict(lambda: defaultdict(list))
    for panel in grid.filled:
        for line in panel.lines:
            for point in line.points:
                bound = point.results[0].case.bound
                words = "" if bound is None else f" {bound.kind} {bound_number(bound.value)}"
                found = members[panel.row][line.label + words]
                found += [result for result in point.results if result not in found]
    return {
        row: [
            _Bar(label, {way: found for way, found in ways.items() if found is not None})
            for label, results in settings.items()
            for ways in [{way: breakdown(way, results, links.get(run_name(results[0]))) for way in _WAYS}]
            if any(ways.values())
        ]
        for row, settings in members.items()
    }


def _panels(bars_in_rows: Sequence[int]) -> tuple[Figure, list[list[Axes]]]:
    """Two panels a row, as high as the row has bars; below each other on a narrow sheet."""
    figure, axes = style.panels(len(bars_in_rows), len(_WAYS), height=1.0, share_y=False)
    abreast = min(len(_WAYS), style.panels_abreast())
    heights = [0.34 * bars + 0.55 for bars in bars_in_rows for _ in range(len(_WAYS) // abreast)]
    figure.set_size_inches(figure.get_size_inches()[0], sum(heights) + 0.3)
    grid = axes[0][0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios(heights)
    return figure, axes


def _draw_way(axes: Axes, way: Way, bars: Sequence[_Bar], others: Sequence[str]) -> None:
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylim(len(bars) - 0.45, -0.75)
    for place, bar in enumerate(bars):
        axes.text(0, place - 0.3, bar.label, fontsize=7, va="bottom", ha="left")
        if (found := bar.ways.get(way)) is None:
            axes.text(0, place, "not timed", fontsize=6.5, va="center", color=style.MUTED)
            continue
        _draw_bar(axes, place, found, others)
        if found.raw_link_s is not None:
            raw = found.raw_link_s * 1e12 / found.raw_bytes
            label = "raw over the link"
            axes.plot([raw, raw], [place - 0.3, place + 0.3], label=label, **style.level_look(0), zorder=4)


def _draw_bar(axes: Axes, place: int, found: Breakdown, others: Sequence[str]) -> None:
    scale = 1e12 / found.raw_bytes  # seconds to microseconds a MB
    left = 0.0
    for stage, seconds in found.stages.items():
        look = _LOOKS[stage]
        axes.barh(
            place,
            seconds * scale,
            left=left,
            height=0.46,
            label=stage,
            color=style.PAPER if look["hatch"] else look["color"],
            edgecolor=look["color"] if look["hatch"] else style.PAPER,
            hatch=look["hatch"],
            linewidth=0.5,
        )
        left += seconds * scale
    low, value, high = (scale * seconds for seconds in (found.whole_s.low, found.whole_s.value, found.whole_s.high))
    ends = [[value - low], [high - value]]
    axes.errorbar([value], [place], xerr=ends, fmt="none", color=style.INK, elinewidth=0.9)
    if found.excess:
        words = "the whole, less than its parts"
        axes.plot([value, value], [place - 0.23, place + 0.23], color=style.INK, linewidth=1.4, label=words, zorder=4)
    words = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 6.5}
    axes.annotate(words, (max(left, high), place), **beside)
    for phase, whole in found.others.items():
        number = others.index(phase)
        axes.plot(
            [whole.value * scale],
            [place],
            marker=_OTHER_MARKERS[number % len(_OTHER_MARKERS)],
            color=style.PALETTE[6],
            markeredgecolor=style.PAPER,
            linestyle="none",
            label=phase,
            zorder=5,
        )


def _right_end(bar: _Bar) -> float:
    ends = [
        1e12 / found.raw_bytes * seconds
        for found in bar.ways.values()
        for seconds in (found.whole_s.high, sum(found.stages.values()), *(one.high for one in found.others.values()))
    ]
    raw = [1e12 / found.raw_bytes * (found.raw_link_s or 0.0) for found in bar.ways.values()]
    return max([*ends, *raw])


def _others(rows: Mapping[str, Sequence[_Bar]]) -> list[str]:
    return sorted(
        {phase for bars in rows.values() for bar in bars for way in bar.ways.values() for phase in way.others}
    )


def _small_print(rows: Mapping[str, Sequence[_Bar]], left_out: int) -> list[str]:
    bars = [bar for row in rows.values() for bar in row]
    sentences = [f"{left_out} more settings are not drawn."] if left_out else []
    excess = sum(any(way.excess for way in bar.ways.values()) for bar in bars)
    if excess:
        sentences.append(
            f"Of {excess} settings the parts, timed alone, add up to more than the whole, which is marked: the rest or "
            "the transfer would be less than nothing, and is not drawn."
        )
    others = _others(rows)
    if "encode_overlap" in others:
        sentences.append("encode_overlap knows the bound beforehand: unlike the bar it has no range pass.")
    return sentences + ([f"Markers: {', '.join(others)}, each as a whole."] if others else [])
