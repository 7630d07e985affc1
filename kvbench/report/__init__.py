"""Owns what a reader sees of a run: the answer in words, the figures, the page. Reads the record and nothing else."""

from __future__ import annotations

from pathlib import Path

from kvbench.record.store import RunFolder


def draw(folder: RunFolder) -> list[Path]:
    """Draw `plots/*.png`, `plots/*.svg` and `report.html` from the run's manifest and journal; gives the paths.

    What is there already is replaced file by file. Raises KvbenchError when the disk refuses.
    """
    from kvbench.report.figures import draw_figures
    from kvbench.report.page import write_page

    manifest, results = folder.manifest(), folder.results()
    figures = draw_figures(folder.path / "plots", manifest, results)
    page = write_page(folder.path / "report.html", manifest, results, figures)
    return [path for figure in figures for path in (figure.png, figure.svg)] + [page]
