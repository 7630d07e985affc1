"""Owns the choice of figures: every one that the runs have data for, in the order a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvbench.record.schema import CaseResult
from kvbench.report import roofline
from kvbench.report.against_bound import draw_break_even, draw_effective_speed, draw_ratio
from kvbench.report.against_error import draw_ratio_against_error
from kvbench.report.against_kl import can_draw, draw_ratio_against_kl
from kvbench.report.against_speed import draw_speed_against_ratio
from kvbench.report.copies import draw_copies
from kvbench.report.copies_of_runs import draw_copies_of_runs
from kvbench.report.histogram import draw_error_histogram
from kvbench.report.layers import draw_error_per_layer, draw_ratio_per_layer, has_layers
from kvbench.report.notes import not_drawn
from kvbench.report.runs import Run, links, side_by_side, together
from kvbench.report.scattered import draw_scattered
from kvbench.report.scored import is_scored
from kvbench.report.scored_layers import by_layer, draw_scored_error, draw_scored_ratio
from kvbench.report.series import Grid, drawable, make_grid
from kvbench.report.served import is_served
from kvbench.report.stage_bars import draw_stages, has_stages
from kvbench.report.style import DrawnFigure
from kvbench.report.swap_words import is_swap
from kvbench.report.swapped import draw_swaps


def draw_figures(folder: Path, runs: Sequence[Run]) -> list[DrawnFigure]:
    """Draw into `folder` the files of the current sheet; the same runs give the same bytes.

    Several runs lie over each other, each with lines of its own. Raises KvbenchError like `save`.
    """
    results = side_by_side(runs)
    drawn = drawable(results)
    copies = [result for result in drawn if result.case.direction is not None]
    scored = [result for result in drawn if is_scored(result)]
    coded = [
        result for result in drawn if result.case.direction is None and not (is_scored(result) or is_served(result))
    ]
    notes = not_drawn(results)
    figures = []
    if copies:
        figures += _about_copies(folder, copies, len(runs), notes)
    if can_draw(scored):
        figures.append(draw_ratio_against_kl(folder, scored, notes))
    if by_layer(scored):
        figures += [draw_scored_ratio(folder, scored, notes), draw_scored_error(folder, scored, notes)]
    if coded:
        figures += _about_codecs(folder, make_grid(together(runs), coded), runs, notes)
    if roofline.can_draw(runs):
        figures.append(roofline.draw_roofline(folder, runs))
    return figures


def _about_copies(folder: Path, copies: Sequence[CaseResult], runs: int, notes: Sequence[str]) -> list[DrawnFigure]:
    if runs > 1:
        return [draw_copies_of_runs(folder, copies, notes)]
    whole = [result for result in copies if result.case.method is None and not is_swap(result)]
    scattered = [result for result in copies if result.case.method is not None]
    figures = [draw_copies(folder, whole, notes)] if whole else []
    swaps = [result for result in copies if is_swap(result) and result.phases]
    figures += [draw_swaps(folder, swaps, notes)] if swaps else []
    return [*figures, draw_scattered(folder, scattered, notes)] if scattered else figures


def _about_codecs(folder: Path, grid: Grid, runs: Sequence[Run], notes: Sequence[str]) -> list[DrawnFigure]:
    known = links(runs)
    results: list[CaseResult] = grid.results
    errors = any(result.metrics.get("nrmse") for result in results)
    figures = []
    if known:
        figures.append(draw_effective_speed(folder, grid, known, notes))
        figures.append(draw_break_even(folder, grid, known, notes))
    if has_stages(grid):
        figures.append(draw_stages(folder, grid, known, notes))
        figures.append(draw_speed_against_ratio(folder, grid, known, notes))
    figures.append(draw_ratio(folder, grid, notes))
    if errors:
        figures.append(draw_ratio_against_error(folder, grid, notes))
    if has_layers(grid):
        figures.append(draw_ratio_per_layer(folder, grid, notes))
        if errors:
            figures.append(draw_error_per_layer(folder, grid, notes))
    if any(result.histogram for result in results):
        figures.append(draw_error_histogram(folder, grid, notes))
    return figures
