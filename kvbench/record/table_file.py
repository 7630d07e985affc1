"""Owns where a single table may be written: never into a run, never over a file that kvbench did not write."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from kvbench.errors import UsageError
from kvbench.record.files import os_reason
from kvbench.record.folder import run_around

_TELLING = 3  # leading columns that say whose table it is; later ones may differ from version to version


def check_table_file(path: Path, columns: Sequence[str]) -> None:
    """Raise UsageError now if a table that begins with these columns could not or should not be written later.

    A file that exists is replaced only where it is empty or an earlier table with the same leading columns.
    """
    if path.is_dir():
        raise UsageError(f"output {path} is a folder; give a file name ending in .json or .csv that is none")
    run = run_around(path)
    if run is not None:
        raise UsageError(f"output {path} lies in the run folder {run}; give a file outside of it with --output")
    try:
        if path.exists() and not _is_ours(path, columns):
            raise UsageError(f"output {path} exists and is no such table of kvbench; give another with --output")
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"output {path} cannot be written: {os_reason(error)}; give another with --output") from None


def _is_ours(path: Path, columns: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    if path.stat().st_size == 0:
        return True
    try:
        found = _json_columns(path) if path.suffix.lower() == ".json" else _csv_columns(path)
    except (ValueError, RecursionError, csv.Error):
        return False
    return found is None or found[:_TELLING] == list(columns[:_TELLING])


def _json_columns(path: Path) -> list[str] | None:
    """The keys of the first row; None for a table without rows. Raises ValueError for what is no table."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no list of objects")
    return list(rows[0]) if rows else None


def _csv_columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])
