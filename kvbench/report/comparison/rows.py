"""Owns the rows of a comparison: what was compared, both numbers, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kvbench.report.comparison.pairing import Matched
from kvbench.verdict.judge import Contrast, Verdict, judge

RowVerdict = Literal[Verdict, "changed", "missing", "added"]


@dataclass(frozen=True)
class Row:
    """One time, one other number or one case, on both sides.

    `unclear` without a contrast is a row that cannot be compared; `missing` is in A only, `added` in B only.
    """

    matched: Matched
    verdict: RowVerdict
    reason: str | None = None
    phase: str | None = None
    metric: str | None = None  # `time` with a phase; a metric's name; `status`; None for a whole case
    unit: str | None = None
    a_value: float | int | str | None = None
    b_value: float | int | str | None = None
    a_samples: int | None = None
    b_samples: int | None = None
    contrast: Contrast | None = None
    p_value: float | None = None  # corrected for the number of rows that have a contrast


def with_verdicts(rows: Sequence[Row], margin: float) -> list[Row]:
    """The same rows, those with a contrast judged at `margin` (a fraction), all of them together."""
    timed = [row.contrast for row in rows if row.contrast is not None]
    verdicts = iter(judge(timed, margin))
    judged = []
    for row in rows:
        if row.contrast is None:
            judged.append(row)
            continue
        found = next(verdicts)
        judged.append(replace(row, verdict=found.verdict, reason=found.reason, p_value=found.p_value))
    return judged
