"""Owns the rows of an A/B run, so that it is shown like a comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.record.pairs import PairedPhase, paired_phases
from kvbench.record.schema import CaseResult
from kvbench.report.comparison.pairing import Cell, Matched
from kvbench.report.comparison.rows import Row
from kvbench.verdict.judge import DEFAULT_MARGIN


def paired_rows(results: Sequence[CaseResult], margin: float = DEFAULT_MARGIN) -> list[Row]:
    """One row a phase that both codecs of an A/B run were timed in, judged at `margin`; empty for any other run."""
    return [_row(one) for one in paired_phases(results, margin)]


def _row(one: PairedPhase) -> Row:
    timed_a, timed_b = one.a.phases[one.phase], one.b.phases[one.phase]
    return Row(
        Matched(Cell(one.a.case, [one.a]), Cell(one.b.case, [one.b])),
        one.judged.verdict,
        one.judged.reason,
        one.phase,
        "time",
        "s",
        timed_a.median_s,
        timed_b.median_s,
        len(timed_a.samples_s),
        len(timed_b.samples_s),
        one.contrast,
        one.judged.p_value,
    )
