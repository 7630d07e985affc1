"""Owns the choice of figures: every one that a run has data for, in the order a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvbench.record.schema import CaseResult, RunManifest
from kvbench.report.against_bound import draw_break_even, draw_effective_speed, draw_ratio
from kvbench.report.against_error import draw_ratio_against_error
from kvbench.report.copies import draw_copies
from kvbench.report.histogram import draw_error_histogram
from kvbench.report.notes import not_drawn
from kvbench.report.series import drawable, make_grid
from kvbench.report.style import DrawnFigure


def draw_figures(folder: Path, manifest: RunManifest, results: Sequence[CaseResult]) -> list[DrawnFigure]:
    """Draw into `folder`, as PNG and SVG; the same results give the same bytes. Raises KvbenchError like `save`."""
    drawn = drawable(results)
    copies = [result for result in drawn if result.case.direction is not None]
    coded = [result for result in drawn if result.case.direction is None]
    notes = not_drawn(results)
    figures = [draw_copies(folder, copies, notes)] if copies else []
    if not coded:
        return figures
    grid = make_grid(manifest, coded)
    figures.append(draw_ratio(folder, grid, notes))
    if any(result.metrics.get("nrmse") for result in coded):
        figures.append(draw_ratio_against_error(folder, grid, notes))
    if manifest.link is not None:
        figures.append(draw_effective_speed(folder, grid, manifest.link, notes))
        figures.append(draw_break_even(folder, grid, manifest.link, notes))
    if any(result.histogram for result in coded):
        figures.append(draw_error_histogram(folder, grid, notes))
    return figures
