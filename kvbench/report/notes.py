"""Owns the small print: which cases a figure cannot show and why."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.record.schema import CaseResult
from kvbench.record.table import all_flags
from kvbench.report.series import Grid

_LISTED_AT_MOST = 3
_FLAGS = {
    "throttled": ("Throttled clocks", "the hardware held its clock down while they were timed"),
    "noisy": ("Noisy times", "a median is known no better than to 5 % there"),
    "few_samples": ("Few samples", "their intervals say little"),
    "unresolved": ("Times too short for the clock", "no speed is given there"),
}


def case_words(result: CaseResult) -> str:
    """`failed: cuszp plain rel 0.01 …: reason`: one case in one line."""
    return f"{result.status}: {result.case.label}: {result.reason or result.reason_code or 'no reason was recorded'}"


def unwell(results: Sequence[CaseResult]) -> list[CaseResult]:
    """Cases that are not `ok`: failed first, then invalid, then skipped."""
    order = {"failed": 0, "invalid": 1, "skipped": 2}
    return sorted((result for result in results if result.status in order), key=lambda result: order[result.status])


def not_drawn(results: Sequence[CaseResult]) -> list[str]:
    """Lines for a figure's foot that list the failed and skipped cases, the first few of them by name."""
    absent = [result for result in unwell(results) if result.status in ("failed", "skipped")]
    if not absent:
        return []
    counts = {status: sum(result.status == status for result in absent) for status in ("failed", "skipped")}
    counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines = [f"Not drawn: {counted}."]
    lines += [f"\N{BULLET} {case_words(result)}" for result in absent[:_LISTED_AT_MOST]]
    if len(absent) > _LISTED_AT_MOST:
        lines.append(f"\N{BULLET} and {len(absent) - _LISTED_AT_MOST} more, listed in report.html")
    return lines


def flag_notes(results: Sequence[CaseResult]) -> list[str]:
    """Lines that warn of uncertain times, where there are some."""
    timed = [result for result in results if result.phases]
    lines = []
    for flag, (subject, meaning) in _FLAGS.items():
        marked = sum(flag in all_flags(result) for result in timed)
        if marked:
            lines.append(f"{subject} in {marked} of {len(timed)} cases: {meaning}.")
    return lines


def hollow_note(grid: Grid) -> list[str]:
    """The line that explains hollow markers, where a figure has some."""
    codes = sorted({result.reason_code or "no reason" for result in grid.results if result.status == "invalid"})
    return [f"Hollow marker: a case there is invalid ({', '.join(codes)})."] if codes else []
