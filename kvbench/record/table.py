"""Owns the summary: one row a case, the ones that failed or were skipped included."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kvbench.errors import UsageError
from kvbench.record.axes import AXES, axis_values, cell_text
from kvbench.record.checked_on import checked_on
from kvbench.record.files import write_whole
from kvbench.record.fit import write_fits
from kvbench.record.measurements import measurements, write_measurements
from kvbench.record.pairs import PAIR_COLUMNS, pair_columns, pairs
from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import (
    E2E_UNITS,
    GB,
    METRIC_UNITS,
    QUALITY_UNITS,
    SWAP_UNITS,
    TUNE_UNITS,
    CaseResult,
    PhaseSamples,
)
from kvbench.record.store import RunFolder
from kvbench.record.table_file import check_table_file

__all__ = [
    "PHASES",
    "PHASE_COLUMNS",
    "VERDICT_COLUMNS",
    "check_single_table",
    "measurements",
    "summary_columns",
    "summary_rows",
    "write_rows",
    "write_single_table",
    "write_tables",
]

# In the order of the columns; a phase that is not listed comes after these.
PHASES = (
    "encode_kernel",
    "encode_library",
    "encode_call",
    "encode_transfer",
    "encode_overlap",
    "decode_kernel",
    "decode_library",
    "decode_call",
    "decode_transfer",
    "decode_overlap",
    "range",
    "d2h",
    "d2h_wall",
    "h2d",
    "h2d_wall",
    "both",
    "both_wall",
    "d2d",
    "d2d_wall",
    "p2p",
    "p2p_wall",
    "host_copy",
    "out",
    "out_wall",
    "in",
    "in_wall",
    "bare_copy",
    "ttft",
    "tpot",
    "e2el",
    "cold_ttft",
    "cold_tpot",
)
PHASE_COLUMNS = ("median_s", "ci_low_s", "ci_high_s", "samples", "gbps", "clock", "cache")
VERDICT_COLUMNS = ("pareto", "checked_on", "status", "reason_code", "reason", "flags")


def summary_columns(results: Sequence[CaseResult]) -> list[str]:
    """The columns of these results, in order: axes, metrics, verdict, then seven a phase that any of them timed.

    Metrics of a model's output and of swaps have columns only where some result has one.
    """
    have = {name for result in results for name in result.metrics}
    special = (QUALITY_UNITS, SWAP_UNITS, TUNE_UNITS, E2E_UNITS)
    left_out = {name for group in special if not group.keys() & have for name in group}
    metrics = [name for name in METRIC_UNITS if name not in left_out]
    timed = {phase for result in results for phase in result.phases}
    phases = [phase for phase in PHASES if phase in timed] + sorted(timed.difference(PHASES))
    paired = {phase for a, b in pairs(results) for phase in a.phases if phase in b.phases}
    per_phase = [
        f"{phase}_{column}"
        for phase in phases
        for column in (*PHASE_COLUMNS, *(PAIR_COLUMNS if phase in paired else ()))
    ]
    return [*AXES, *metrics, *VERDICT_COLUMNS, *per_phase]


def summary_rows(results: Sequence[CaseResult], run_id: str) -> list[dict[str, Any]]:
    """One row a result, every row with the columns of `summary_columns`; what is undefined is None.

    `codec_params` is a dict, `shape` and `flags` are lists, `pareto` is None for a case that does not compete.
    """
    columns = summary_columns(results)
    marks = pareto_marks(results)
    of_pairs = pair_columns(results)
    rows = [_row(result, run_id, columns, marks.get(result.case_id)) for result in results]
    return [row | of_pairs.get(result.case_id, {}) for row, result in zip(rows, results, strict=True)]


def _row(result: CaseResult, run_id: str, columns: Sequence[str], pareto: bool | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(columns)
    row.update(axis_values(result, run_id))
    row.update(result.metrics)
    row.update(
        pareto=pareto,
        checked_on=checked_on(result),
        status=result.status,
        reason_code=result.reason_code,
        reason=result.reason,
        flags=all_flags(result),
    )
    for phase, timed in result.phases.items():
        row[f"{phase}_median_s"] = timed.median_s
        row[f"{phase}_ci_low_s"] = timed.ci_low_s
        row[f"{phase}_ci_high_s"] = timed.ci_high_s
        row[f"{phase}_samples"] = len(timed.samples_s)
        row[f"{phase}_gbps"] = phase_gbps(timed)
        row[f"{phase}_clock"] = timed.clock
        row[f"{phase}_cache"] = timed.cache
    return row


def all_flags(result: CaseResult) -> list[str]:
    """The flags of the case and of its phases, each once, sorted."""
    return sorted({*result.flags, *(flag for timed in result.phases.values() for flag in timed.flags)})


def phase_gbps(timed: PhaseSamples) -> float | None:
    """GB/s (1e9 bytes) at the median time; None where the timer could not resolve it, or where no bytes go with it."""
    if not timed.median_s or not timed.work_bytes or "unresolved" in timed.flags:
        return None
    return timed.work_bytes / timed.median_s / GB


def write_tables(folder: RunFolder) -> list[Path]:
    """Write summary.csv, summary.json and measurements.parquet from the run's own journal, and the fit of its link.

    Raises KvbenchError when the disk refuses; a table that is there already is replaced as a whole.
    """
    results = folder.results()
    run_id = folder.manifest().run_id
    written = [
        write_single_table(folder.path / "summary.csv", results, run_id),
        write_single_table(folder.path / "summary.json", results, run_id),
        write_measurements(folder.path / "measurements.parquet", results, run_id),
    ]
    fitted = write_fits(folder.path / "link_fit.json", results)
    return written if fitted is None else [*written, fitted]


def write_single_table(path: Path, results: Sequence[CaseResult], run_id: str) -> Path:
    """Write the summary to one file like `write_rows`. Raises UsageError and KvbenchError like it."""
    return write_rows(path, summary_columns(results), summary_rows(results, run_id))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows to one file, CSV or JSON by its ending, replacing what is there.

    JSON is a list of objects, strict: null for what is undefined. In CSV it is empty, and a list or an object is JSON
    text. Raises UsageError for another ending, KvbenchError when the disk refuses.
    """
    if path.suffix.lower() == ".json":
        return write_whole(path, json.dumps(rows, allow_nan=False, indent=1, ensure_ascii=False) + "\n")
    if path.suffix.lower() == ".csv":
        return write_whole(path, _csv(columns, rows))
    raise UsageError(f"a table cannot be written as {path.name!r}; give a name ending in .json or .csv")


def check_single_table(path: Path) -> None:
    """Raise UsageError now if `write_single_table` could not or should not write `path` later."""
    check_table_file(path, list(AXES))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(row[column]) for column in columns])
    return text.getvalue()


def _csv_cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else cell_text(value)
