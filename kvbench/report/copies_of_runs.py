"""Owns the figure of plain copies of several runs: one line for every run and kind of copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.axis import bytes_axis, number_axis
from kvbench.report.copies import copy_words, draw_line, hollow_copies
from kvbench.report.panels import label_edges, packed, set_title
from kvbench.report.runs import run_name
from kvbench.report.style import DrawnFigure

_NAME = "copy_speed"
_TITLE = "Copy speed against size, by run"
_CAPTION = (
    "Median of the samples; bars: its 95 % interval. A panel for every kind of copy, a line for every run. A cross on "
    "the axis: a copy too short for the clock. GB = 1e9 bytes, KiB = 1024 bytes."
)


def draw_copies_of_runs(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """copy_speed: a panel for every kind of copy, so that the runs in it can be compared."""
    kinds: dict[str, dict[str, list[CaseResult]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        kinds[copy_words(result)][run_name(result)].append(result)
    runs = list(dict.fromkeys(map(run_name, results)))
    columns = 2 if len(kinds) > 1 else 1
    with style.figure_style(_NAME):
        figure, all_axes = packed(len(kinds), columns)
        flat = [axes for row in all_axes for axes in row]
        shown: list[float] = []
        for axes, (kind, of_runs) in zip(flat, kinds.items(), strict=False):
            set_title(axes, kind)
            for run, members in of_runs.items():
                shown += draw_line(axes, run, runs.index(run), members)
        for axes in flat[: len(kinds)]:
            bytes_axis(axes, [result.case.raw_bytes for result in results])
            number_axis(axes, "y", shown)
            axes.set_xlabel("size of one copy")
        label_edges(all_axes, "GB/s", [_NAME] * len(kinds))
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *hollow_copies(results)])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)
