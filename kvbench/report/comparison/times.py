"""Owns the comparison of times: one row a phase, with all that the runs know of their own spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvbench.record.comparable import case_problem, phase_problem, unlike_timings
from kvbench.record.schema import PhaseSamples
from kvbench.report.comparison.pairing import Cell, Matched
from kvbench.report.comparison.rows import Row
from kvbench.report.comparison.spreads import Spreads, mean_log, phase_in_runs, phases_of
from kvbench.verdict.contrast import contrast_of_runs


def time_rows(matched: Sequence[Matched], spreads: Spreads) -> list[Row]:
    """A row for every phase that both sides timed; one for each that only one did; verdicts are still to come."""
    rows: list[Row] = []
    for one in matched:
        if one.a is None or one.b is None:
            continue
        bad = _not_ok(one.a, "A") or _not_ok(one.b, "B")
        if bad is not None:
            rows.append(Row(one, "unclear", f"not comparable: {bad}"))
            continue
        rows += [_row(one, one.a, one.b, phase, spreads) for phase in phases_of(one.a, one.b)]
    return rows


def _row(one: Matched, a: Cell, b: Cell, phase: str, spreads: Spreads) -> Row:
    lone = _only_in(a, b, phase)
    if lone is not None:
        return Row(one, "missing" if lone == "A" else "added", f"only {lone} timed it", phase, "time", "s")
    timed_a, timed_b = phase_in_runs(a, phase), phase_in_runs(b, phase)
    contrast, problem = None, _problem(a, b, phase)
    if problem is None:
        runs_a, runs_b = ([timed.samples_s for timed in side] for side in (timed_a, timed_b))
        contrast = contrast_of_runs(runs_a, runs_b, spreads.of_row(a, b, phase))
    return Row(
        one,
        "unclear",
        None if problem is None else f"not comparable: {problem}",
        phase,
        "time",
        "s",
        _typical_s(timed_a),
        _typical_s(timed_b),
        sum(len(timed.samples_s) for timed in timed_a),
        sum(len(timed.samples_s) for timed in timed_b),
        contrast,
    )


def _only_in(a: Cell, b: Cell, phase: str) -> str | None:
    in_a, in_b = (any(phase in result.phases for result in cell.results) for cell in (a, b))
    return None if in_a and in_b else "A" if in_a else "B"


def _typical_s(timed: Sequence[PhaseSamples]) -> float | None:
    """The geometric mean over the runs of the run's median: what the ratio is made of."""
    return float(np.exp(mean_log(timed))) if timed else None


def _problem(a: Cell, b: Cell, phase: str) -> str | None:
    """Why the two sides' samples of a phase say nothing about each other."""
    for name, cell in (("A", a), ("B", b)):
        for result in cell.results:
            timed = result.phases.get(phase)
            if timed is None:
                return f"a run of {name} did not time it"
            problem = phase_problem(timed, name)
            if problem is not None:
                return problem
    return unlike_timings([*phase_in_runs(a, phase), *phase_in_runs(b, phase)])


def _not_ok(cell: Cell, name: str) -> str | None:
    return next((problem for result in cell.results if (problem := case_problem(result, name)) is not None), None)
