"""Owns which times may decide something: enough samples, a known interval, and nothing that spoiled the measurement."""

from __future__ import annotations

from dataclasses import dataclass

from kvbench.record.schema import PhaseSamples
from kvbench.verdict.block_bootstrap import FEWEST_SAMPLES


@dataclass(frozen=True)
class Doubt:
    """Why a time may decide nothing, in words that follow `times`, and what to do about it."""

    words: str
    remedy: str


_MORE = f"take {FEWEST_SAMPLES} samples or more: raise --iterations, or leave it out and raise --time-limit"
_LONGER = "choose a larger tensor"
_TOO_FEW = Doubt("of too few samples", _MORE)
_NO_INTERVAL = Doubt("without an interval", _MORE)
_NO_MEDIAN = Doubt("without a median", _LONGER)
# By the flag of a phase whose median is not the time of the call alone. `noisy` is none: a wide interval says it.
_SPOILED = {
    "unresolved": Doubt("too short for the clock", _LONGER),
    "unseen_work": Doubt("that leave out work the clock cannot see", "wait for that work inside the call"),
    "throttled": Doubt("with the GPU's clock held down", "measure again on a GPU that keeps its clock"),
    "launch_bound": Doubt("of calls the host issued too late for the GPU's clock", _LONGER),
}


def interval_s(timed: PhaseSamples) -> tuple[float, float] | None:
    """The 95 % interval of the median in seconds, without width where all of enough samples are equal; else None."""
    if timed.median_s is None or len(timed.samples_s) < FEWEST_SAMPLES:
        return None
    if timed.ci_low_s is not None and timed.ci_high_s is not None:
        return timed.ci_low_s, timed.ci_high_s
    return (timed.median_s, timed.median_s) if min(timed.samples_s) == max(timed.samples_s) else None


def doubt(timed: PhaseSamples) -> Doubt | None:
    """Why this time may decide nothing; None where it may."""
    spoiled = next((found for flag, found in _SPOILED.items() if flag in timed.flags), None)
    if spoiled is not None:
        return spoiled
    if timed.median_s is None:
        return _NO_MEDIAN
    if "few_samples" in timed.flags or len(timed.samples_s) < FEWEST_SAMPLES:
        return _TOO_FEW
    return _NO_INTERVAL if interval_s(timed) is None else None
