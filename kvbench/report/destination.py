"""Owns where a page that belongs to no run may be written: never over a foreign file, never into a run."""

from __future__ import annotations

from pathlib import Path

from kvbench.errors import UsageError
from kvbench.record.files import os_reason
from kvbench.record.folder import run_around
from kvbench.report.page import MADE_BY

_SUFFIXES = {".html", ".htm"}
_HEAD_BYTES = 4096  # MADE_BY stands near the top of a page


def plots_beside(page: Path) -> Path:
    """The folder for the page's figures, `<page without ending>-plots` beside it; the page's own folder is made.

    Raises UsageError for another ending than .html, for a page in a run folder, for a file that is no page of
    kvbench, for a folder of figures that belongs to no such page, and where the disk refuses.
    """
    if page.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--output {page}: a page is a file ending in .html, such as {page.with_suffix('.html')}")
    plots = page.with_name(f"{page.stem}-plots")
    try:
        run = run_around(page)
        if run is not None:
            raise UsageError(f"--output {page}: {run} is a run folder; give a page outside of it")
        page.parent.mkdir(parents=True, exist_ok=True)
        ours = _is_ours(page)
        if page.exists() and not ours:
            raise UsageError(f"--output {page} exists and was not made by kvbench report; give another name")
        if plots.exists() and not ours and (not plots.is_dir() or any(plots.iterdir())):
            raise UsageError(f"--output {page}: its figures go to {plots}, which holds other files; give another name")
    except OSError as error:
        raise UsageError(f"--output {page} cannot be written: {os_reason(error)}; give another") from None
    return plots


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return MADE_BY.encode() in file.read(_HEAD_BYTES)
