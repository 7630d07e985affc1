"""Owns the small print: which cases a figure cannot show and why."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.record.schema import CaseResult
from kvbench.record.table import all_flags

_LISTED_AT_MOST = 3
_FLAGS = {
    "throttled": ("Throttled clocks", "the hardware held its clock down while they were timed"),
    "noisy": ("Noisy times", "a median is known no better than to 5 % there"),
    "few_samples": ("Few samples", "their intervals say little"),
    "unresolved": ("Times too short for the clock", "no speed is given there"),
    "unseen_work": ("Work that the clock cannot see", "the GPU went on after it, so no speed is given there"),
    "launch_bound": ("Launches that hold the GPU up", "the host issued the calls too late for the GPU's clock"),
    "numa_mixed": ("Host memory on several NUMA nodes", "the speed is of no one of them"),
    "staged": ("Copies from GPU to GPU through host memory", "the GPUs cannot reach each other"),
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
        marked = [result for result in timed if flag in all_flags(result)]
        if marked:
            lines.append(f"{subject} in {len(marked)} of {len(timed)} cases: {meaning}{_held_by(flag, marked)}.")
    return lines


def _held_by(flag: str, results: Sequence[CaseResult]) -> str:
    """` (sw_power_cap)`: what held the clocks down, where that is what the flag says."""
    phases = [timed for result in results for timed in result.phases.values() if flag == "throttled"]
    reasons = sorted({reason for timed in phases for reason in timed.throttle_reasons})
    return f" ({', '.join(reasons)})" if reasons else ""


def hollow_note(results: Sequence[CaseResult]) -> list[str]:
    """The line that explains hollow markers, where a figure of these cases has some."""
    codes = sorted({result.reason_code or "no reason" for result in results if result.status == "invalid"})
    return [f"Hollow marker: a case there is invalid ({', '.join(codes)})."] if codes else []
