"""Owns the figure of copies of scattered blocks: GB/s over the number of blocks, by direction and method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.axis import binary_size, bytes_axis, number_axis
from kvbench.report.copies import DIRECTION_WORDS, METHOD_WORDS, draw_line, hollow_copies
from kvbench.report.panels import label_edges, packed
from kvbench.report.style import DrawnFigure

_NAME = "scattered_copy_speed"
_TITLE = "Copies of scattered blocks"
_CAPTION = (
    "Blocks at scattered places of GPU memory to or from pinned host memory, by the host's clock until all bytes are "
    "there. Scattered in host memory too, but for the kernel and one copy, whose host side is one run. Bars: 95 % "
    "interval of the median. A cross on the axis: a copy too short for the clock. GB = 1e9 bytes, KiB = 1024 bytes."
)


def draw_scattered(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """scattered_copy_speed: a panel for every direction and block size, a line for every method."""
    panels: dict[tuple[str, int], list[CaseResult]] = defaultdict(list)
    for result in results:
        panels[str(result.case.direction), result.case.block_bytes or 0].append(result)
    methods = list(dict.fromkeys(str(result.case.method) for result in results))
    with style.figure_style(_NAME):
        figure, all_axes = packed(len(panels), min(2, len(panels)))
        flat = [axes for row in all_axes for axes in row][: len(panels)]
        shown: list[float] = []
        for axes, ((direction, block_bytes), members) in zip(flat, panels.items(), strict=True):
            axes.set_title(f"{DIRECTION_WORDS.get(direction, direction)}, {binary_size(block_bytes)} a block")
            for number, method in enumerate(methods):
                of_method = [member for member in members if member.case.method == method]
                shown += draw_line(axes, METHOD_WORDS.get(method, method), number, of_method)
        for axes in flat:
            bytes_axis(axes, [result.case.raw_bytes for result in results])
            number_axis(axes, "y", shown)
            axes.set_xlabel("bytes of all blocks")
        label_edges(all_axes, "GB/s", [_NAME] * len(panels))
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *hollow_copies(results)])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)
