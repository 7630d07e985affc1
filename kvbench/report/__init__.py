"""Owns what a reader sees of runs: the answer in words, the figures, the page. Reads the record and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvbench.record.store import RunFolder


def draw(folder: RunFolder) -> list[Path]:
    """Draw `plots/*.png`, `plots/*.svg` and `report.html` from the run's manifest and journal; gives the paths.

    What is there already is replaced file by file. Raises KvbenchError when the disk refuses.
    """
    return draw_runs([folder], folder.path / "report.html", folder.path / "plots")


def draw_runs(folders: Sequence[RunFolder], page: Path, plots: Path) -> list[Path]:
    """Draw one page of these runs, laid over each other, with its figures as files in `plots`; gives the paths.

    `plots` lies in the page's folder. Raises UsageError where a run is given twice, KvbenchError when the disk
    refuses.
    """
    from tempfile import TemporaryDirectory

    from kvbench.report.figures import draw_figures
    from kvbench.report.inline_svg import inline_svg
    from kvbench.report.page import PageFigure, write_page
    from kvbench.report.runs import read_runs
    from kvbench.report.style import NARROW, on_sheet

    runs = read_runs(folders)
    figures = draw_figures(plots, runs)
    with TemporaryDirectory() as temporary, on_sheet(NARROW):
        narrow = [inline_svg(figure, "narrow") for figure in draw_figures(Path(temporary), runs)]
    on_page = [
        PageFigure(figure, inline_svg(figure, "wide"), small) for figure, small in zip(figures, narrow, strict=True)
    ]
    written = write_page(page, runs, on_page)
    return [path for figure in figures for path in (figure.png, figure.svg)] + [written]
