"""Owns what an A/B run says: which two cases were timed in turn, and the verdict on each phase of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvbench.record.comparable import case_problem, phase_problem, unlike_timings
from kvbench.record.schema import CaseResult
from kvbench.verdict.contrast import contrast_of_pairs
from kvbench.verdict.judge import DEFAULT_MARGIN, Contrast, Judged, judge

# Of each phase, in the row of side B.
PAIR_COLUMNS = ("ab_ratio", "ab_ci_low", "ab_ci_high", "ab_p_value", "ab_verdict", "ab_reason")


@dataclass(frozen=True)
class PairedPhase:
    """One phase of two cases that were timed in turn; without a contrast it cannot be judged, for `judged.reason`."""

    a: CaseResult
    b: CaseResult
    phase: str
    contrast: Contrast | None
    judged: Judged


def paired_phases(results: Sequence[CaseResult], margin: float = DEFAULT_MARGIN) -> list[PairedPhase]:
    """Every phase that both cases of a pair have, judged all together; empty for a run that is no A/B run."""
    found = [(a, b, phase, _problem(a, b, phase)) for a, b in pairs(results) for phase in a.phases if phase in b.phases]
    contrasts = [
        contrast_of_pairs(a.phases[phase].samples_s, b.phases[phase].samples_s)
        for a, b, phase, problem in found
        if problem is None
    ]
    verdicts = iter(zip(contrasts, judge(contrasts, margin), strict=True))
    paired = []
    for a, b, phase, problem in found:
        contrast, judged = next(verdicts) if problem is None else (None, _incomparable(problem))
        paired.append(PairedPhase(a, b, phase, contrast, judged))
    return paired


def pairs(results: Sequence[CaseResult]) -> list[tuple[CaseResult, CaseResult]]:
    """The (A, B) results of an A/B run, in A's order; one whose other half is not there is left out."""
    by_case = {result.case.id: result for result in results}
    both = []
    for result in results:
        if result.case.rival is not None and result.case.rival.side == "a":
            other = by_case.get(result.case.rival_case().id)
            both += [] if other is None else [(result, other)]
    return both


def pair_columns(results: Sequence[CaseResult]) -> dict[str, dict[str, Any]]:
    """By the id of side B's case: `<phase>_<name>` of PAIR_COLUMNS for each phase of a pair; empty without pairs."""
    columns: dict[str, dict[str, Any]] = {}
    for one in paired_phases(results):
        low, high = (None, None) if one.contrast is None else one.contrast.known_interval()
        values = (
            None if one.contrast is None else one.contrast.ratio,
            *(low, high, one.judged.p_value, one.judged.verdict, one.judged.reason),
        )
        named = {f"{one.phase}_{name}": value for name, value in zip(PAIR_COLUMNS, values, strict=True)}
        columns.setdefault(one.b.case_id, {}).update(named)
    return columns


def _incomparable(problem: str) -> Judged:
    return Judged("unclear", None, f"not comparable: {problem}")


def _problem(a: CaseResult, b: CaseResult, phase: str) -> str | None:
    for side, result in (("A", a), ("B", b)):
        problem = case_problem(result, side) or phase_problem(result.phases[phase], side)
        if problem is not None:
            return problem
    timed_a, timed_b = a.phases[phase], b.phases[phase]
    if len(timed_a.samples_s) != len(timed_b.samples_s):
        return "the samples are no pairs"
    return unlike_timings([timed_a, timed_b])
