"""Owns a comparison as a table for machines: one object a row, the same columns in JSON and CSV."""

from __future__ import annotations

from typing import Any

from kvbench.record.axes import AXES, axis_values
from kvbench.report.comparison.compare import Comparison
from kvbench.report.comparison.pairing import Cell
from kvbench.report.comparison.rows import Row

SHARED_AXES = [name for name in AXES if name not in {"run", "case"}]
COLUMNS = [
    *("verdict", "reason", "phase", "metric", "unit", "a_value", "b_value"),
    *("ratio", "ratio_ci_low", "ratio_ci_high", "p_value", "margin", "a_samples", "b_samples"),
    *("a_runs", "b_runs", "a_case", "b_case", "differing"),
    *SHARED_AXES,
]


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Every row with the columns COLUMNS; None for what is undefined, lists and objects as they are.

    Axes are A's, or B's where A has no such case; `differing` gives B's value of each axis that is another one there.
    """
    return [_row(row, comparison) for row in comparison.rows]


def _row(row: Row, comparison: Comparison) -> dict[str, Any]:
    a, b = row.matched.a, row.matched.b
    axes_a, axes_b = _axes(a), _axes(b)
    low, high = (None, None) if row.contrast is None else row.contrast.known_interval()
    return {
        "verdict": row.verdict,
        "reason": row.reason,
        "phase": row.phase,
        "metric": row.metric,
        "unit": row.unit,
        "a_value": row.a_value,
        "b_value": row.b_value,
        "ratio": None if row.contrast is None else row.contrast.ratio,
        "ratio_ci_low": low,
        "ratio_ci_high": high,
        "p_value": row.p_value,
        "margin": None if row.contrast is None else comparison.margin,
        "a_samples": row.a_samples,
        "b_samples": row.b_samples,
        "a_runs": [run.manifest.run_id for run in comparison.a.runs],
        "b_runs": [run.manifest.run_id for run in comparison.b.runs],
        "a_case": None if a is None else a.results[0].case_id,
        "b_case": None if b is None else b.results[0].case_id,
        "differing": {name: axes_b[name] for name in axes_a if a and b and axes_a[name] != axes_b[name]},
        **(axes_a if a is not None else axes_b),
    }


def _axes(cell: Cell | None) -> dict[str, Any]:
    values = dict.fromkeys(AXES) if cell is None else axis_values(cell.results[0], "")
    return {name: values[name] for name in SHARED_AXES}
