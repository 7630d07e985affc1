"""Owns comparing two sides as a whole: refuse what is unlike, match, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.errors import UsageError
from kvbench.record.schema import Case
from kvbench.report.comparison.machines import differing, unfinished, unlike
from kvbench.report.comparison.metrics import changed_rows
from kvbench.report.comparison.pairing import Matched, axes_of, differing_axes, match, taken_along
from kvbench.report.comparison.rows import Row, with_verdicts
from kvbench.report.comparison.sides import CHOOSABLE, Side, require_distinct
from kvbench.report.comparison.spreads import Spreads, spreads_between
from kvbench.report.comparison.times import time_rows
from kvbench.verdict.judge import DEFAULT_MARGIN


@dataclass(frozen=True)
class Comparison:
    """All that there is to say about side B against side A; times in the rows are seconds a call."""

    a: Side
    b: Side
    margin: float
    rows: Sequence[Row]
    notes: Sequence[str]  # what differs between the runs besides the rows
    matched: Sequence[Matched]
    spreads: Spreads  # what runs of the same code differ by


def compare(a: Side, b: Side, *, margin: float = DEFAULT_MARGIN, allow_unlike: bool = False) -> Comparison:
    """Compare every case of both sides.

    Raises UsageError where a run is given twice, where the sides have no case in common, where cases cannot be told
    apart, or where the runs were made on unlike hardware or with another schema and `allow_unlike` does not say that
    this is wanted.
    """
    require_distinct(a, b)
    a.require_results()
    b.require_results()
    apart = unlike(a, b)
    if apart and not allow_unlike:
        raise UsageError(f"these runs are unlike: {'; '.join(apart)}; --allow-unlike compares them all the same")
    matched = match(a, b)
    _require_common(matched)
    spreads = spreads_between(a, b)
    rows = with_verdicts(_in_order(matched, [*time_rows(matched, spreads), *changed_rows(matched)]), margin)
    notes = [*(f"unlike: {phrase}" for phrase in apart), *unfinished(a, b), *differing(a, b)]
    return Comparison(a, b, margin, rows, notes, matched, spreads)


def _in_order(matched: Sequence[Matched], rows: Sequence[Row]) -> list[Row]:
    place = {id(one): number for number, one in enumerate(matched)}
    return sorted(rows, key=lambda row: place[id(row.matched)])


def _require_common(matched: Sequence[Matched]) -> None:
    if not any(one.a is not None and one.b is not None for one in matched):
        first = next(one.case for one in matched if one.a is not None)
        nearest = min((one.case for one in matched if one.a is None), key=lambda case: len(differing_axes(first, case)))
        axes = differing_axes(first, nearest)
        raise UsageError(
            f"no case of A is a case of B; the first of A is {first.label}, and the nearest of B, {nearest.label}, "
            f"has another {', '.join(axes)}; {_remedy(first, nearest)}"
        )


def _remedy(a: Case, b: Case) -> str:
    """How to compare two cases that differ: across one axis where that is enough."""
    axes, values_a, values_b = set(differing_axes(a, b)), axes_of(a), axes_of(b)
    if "rival" in axes:
        return "compare a run of --ab with another of the same pair"
    for axis in CHOOSABLE:
        if axis in axes and axes <= taken_along(axis) and None not in (values_a[axis], values_b[axis]):
            return f"to compare across that: --a {axis}={values_a[axis]} --b {axis}={values_b[axis]}"
    return "compare runs that agree in that"
