"""Owns the comparison of numbers that no clock makes: sizes, errors, counts and the status of a case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kvbench.record.schema import METRIC_UNITS, QUALITY_UNITS, CaseResult
from kvbench.report.comparison.pairing import Cell, Matched
from kvbench.report.comparison.rows import Row

# Sums of floats whose order is the machine's; all others repeat to the last bit.
SUMMED = {"mean_abs_error", "rmse", "nrmse", "psnr_db", *QUALITY_UNITS}
SUM_TOLERANCE = 1e-9
# From times, or from how a run was carried out.
OF_TIMES = {name for name, unit in METRIC_UNITS.items() if unit == "GB/s" or name.endswith("_share")}
OF_THE_RUN = {"host_numa_node"}
DETERMINISTIC = [name for name in METRIC_UNITS if name not in OF_TIMES | OF_THE_RUN]


def changed_rows(matched: Sequence[Matched]) -> list[Row]:
    """A `changed` row for every status and every deterministic metric that differs; `missing` and `added` cases."""
    rows: list[Row] = []
    for one in matched:
        if one.a is None or one.b is None:
            rows.append(Row(one, "added" if one.a is None else "missing", f"only {_has(one)} has this case"))
        else:
            rows += _changes(one, one.a, one.b)
    return rows


def _has(one: Matched) -> str:
    return "B" if one.a is None else "A"


def _changes(one: Matched, a: Cell, b: Cell) -> Iterator[Row]:
    for side, cell in (("A", a), ("B", b)):
        for name, first, other in _within(cell):
            reason = f"not even the runs of {side} agree"
            yield Row(one, "changed", reason, None, name, METRIC_UNITS.get(name), first, other)
    for name, first, other in _differing(a.results[0], b.results[0]):
        yield Row(one, "changed", None, None, name, METRIC_UNITS.get(name), first, other)


def _within(cell: Cell) -> Iterator[tuple[str, float | int | str | None, float | int | str | None]]:
    """What differs between the runs of one side, each name once."""
    seen: set[str] = set()
    for later in cell.results[1:]:
        for name, first, other in _differing(cell.results[0], later):
            if name not in seen:
                seen.add(name)
                yield name, first, other


def _differing(
    first: CaseResult, other: CaseResult
) -> Iterator[tuple[str, float | int | str | None, float | int | str | None]]:
    if first.status != other.status:
        yield "status", first.status, other.status
    if not first.metrics or not other.metrics:
        return
    for name in DETERMINISTIC:
        ours, theirs = first.metrics.get(name), other.metrics.get(name)
        if not _equal(name, ours, theirs):
            yield name, ours, theirs


def _equal(name: str, first: float | None, other: float | None) -> bool:
    if first is None or other is None or name not in SUMMED:
        return first == other
    return math.isclose(first, other, rel_tol=SUM_TOLERANCE)
