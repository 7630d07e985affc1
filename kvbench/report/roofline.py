"""Owns the figure of kernels under their roofs: the GPU's own copies, and the warp instructions it can issue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kvbench.record.profile import KernelRow
from kvbench.report.runs import Run
from kvbench.report.style import (
    MUTED,
    PALETTE,
    DrawnFigure,
    figure_style,
    legend_of,
    level_look,
    line_look,
    panels,
    save,
)

NAME = "roofline"


def points(rows: Sequence[KernelRow]) -> list[tuple[KernelRow, float, float]]:
    """Launches that can be drawn, each with warp instructions a byte of DRAM, and 1e9 warp instructions a second."""
    return [
        (row, row.warp_instructions / row.dram_bytes, row.warp_instructions / row.duration_s / 1e9)
        for row in rows
        if row.warp_instructions and row.dram_bytes and row.duration_s
    ]


def can_draw(runs: Sequence[Run]) -> bool:
    """Does any run hold a launch to draw?"""
    return any(run.kernels is not None and points(run.kernels.rows) for run in runs)


def draw_roofline(folder: Path, runs: Sequence[Run]) -> DrawnFigure:
    """Draw every profiled launch of every run, of one GPU or of GPUs that are alike.

    An instruction roofline as in Ding and Williams, "An Instruction Roofline Model for GPUs" (2019), with bytes for
    transactions: a launch lies under issue peak and under intensity x bandwidth. Raises KvbenchError like `save`.
    """
    launches = [point for run in runs if run.kernels is not None for point in points(run.kernels.rows)]
    copies = [run.kernels.copy_gbps for run in runs if run.kernels is not None and run.kernels.copy_gbps]
    peaks = [rate * 100 / row.issue_percent for row, _, rate in launches if row.issue_percent]
    notes = [] if copies else ["The run measured no copy within the GPU, so there is no memory roof."]
    with figure_style(NAME):
        figure, ((axes,),) = panels(1, 1, height=3.2)
        by_name = defaultdict(list)
        for row, intensity, rate in launches:
            by_name[row.name].append((intensity, rate))
        for number, (name, places) in enumerate(by_name.items()):
            look = line_look(number) | {"linestyle": "none", "color": PALETTE[number % len(PALETTE)]}
            axes.plot(*zip(*places, strict=True), label=name, **look)
        spread = [intensity for _, intensity, _ in launches]
        across = np.geomspace(min(spread) / 4, max(spread) * 8, 64)
        roof = np.full(across.shape, max(peaks) if peaks else np.inf)
        if copies:
            memory = across * max(copies)  # 1e9 bytes and 1e9 instructions
            axes.plot(
                across, np.minimum(memory, roof), label=f"roof: copies at {max(copies):.0f} GB/s", **level_look(0)
            )
        elif peaks:
            axes.plot(across, roof, label="roof: issue", **level_look(0))
        if peaks:
            axes.annotate(
                f"{max(peaks):.0f}", (across[-1], max(peaks)), color=MUTED, va="bottom", ha="right", fontsize=7
            )
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel("warp instructions a byte of DRAM")
        axes.set_ylabel("1e9 warp instructions/s")
        return save(
            figure,
            folder,
            NAME,
            legend_of([[axes]]),
            title="How near the kernels come to their roofs",
            caption="Each mark is a launch that ncu counted. The slanted roof is the bandwidth of the GPU's own copies "
            "in this run, read and write counted; the flat one is four warp instructions a cycle and multiprocessor.",
            notes=notes,
        )
