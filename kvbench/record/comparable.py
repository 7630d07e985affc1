"""Owns which timings of a phase may be set beside each other."""

from __future__ import annotations

from collections.abc import Iterable

from kvbench.record.schema import CaseResult, PhaseSamples

SPOILT = ("throttled",)  # flags of a phase whose samples stand but may not be judged
MUST_AGREE = ("clock", "cache", "chunk_bytes")


def case_problem(result: CaseResult, name: str) -> str | None:
    """Why no time of this case counts, with the side's name in it."""
    if result.status == "ok":
        return None
    return f"{result.status} in {name} ({result.reason_code or 'no reason recorded'})"


def phase_problem(timed: PhaseSamples, name: str) -> str | None:
    """Why the samples of a phase say nothing, with the side's name in it."""
    if timed.median_s is None:
        return f"no time in {name} ({', '.join(timed.flags) or 'no median'})"
    if min(timed.samples_s) <= 0:
        return f"a sample of 0 s in {name}"
    spoilt = [flag for flag in SPOILT if flag in timed.flags]
    return f"{spoilt[0]} in {name}" if spoilt else None


def unlike_timings(all_timed: Iterable[PhaseSamples]) -> str | None:
    """What was not the same when these were timed: the clock, the cache, or the chunks they went through in."""
    every = list(all_timed)
    for what in MUST_AGREE:
        values = {getattr(timed, what) for timed in every}
        if len(values) > 1:
            return f"{what.replace('_', ' ')} {' and '.join(sorted(map(str, values)))}"
    return None
