"""Owns sampling two calls in turn: pairs of samples, so that what slows the machine slows both alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kvbench.measure.clock import Clock
from kvbench.measure.nvtx import marked
from kvbench.measure.sampling import (
    StopReason,
    StopRule,
    collect,
    collector_paused,
    empty_call_s,
    involuntary_switches,
    relative_half_width,
    set_median_and_flags,
    warm_up,
)
from kvbench.measure.throttle import ClockLog
from kvbench.record.schema import PhaseSamples
from kvbench.verdict.contrast import contrast_of_pairs

MIN_PAIRS = 12  # fewer can hardly pass a rank test that allows for many rows


@dataclass(frozen=True)
class Trial:
    """One of the two calls: what `measure.sampling.sample` takes for a call of its own."""

    call: Callable[[], object]
    clock: Clock
    work_bytes: int
    nvtx_text: str
    batch_of: int = 1


def sample_pairs(
    a: Trial, b: Trial, *, rule: StopRule, rng: np.random.Generator, clock_log: ClockLog | None = None
) -> tuple[PhaseSamples, PhaseSamples]:
    """Time both calls in turn until `rule` is met; sample i of one and sample i of the other were taken as a pair.

    Which of a pair goes first is drawn from `rng`. Batches, warm-up and flags are those of `sample`. With
    `rule.iterations` so many pairs; without, until the 95 % interval of the pairs' ratio is within
    +-`rule.relative_half_width` of it, there are MIN_PAIRS and both calls together span twice `rule.min_span_s`, or
    until both together have used twice `rule.time_limit_s`.
    """
    if clock_log is not None:
        clock_log.start_phase()
    with collector_paused():
        batches = [warm_up(trial.call, trial.clock, trial.batch_of, f"{trial.nvtx_text}/warmup") for trial in (a, b)]
        switches = involuntary_switches()
        samples, reason = _collect((a, b), [calls for calls, _ in batches], rule, rng, clock_log)
        switches = involuntary_switches() - switches
        empty_s = [empty_call_s(trial.clock, calls) for trial, (calls, _) in zip((a, b), batches, strict=True)]
    phases = []
    for trial, (calls, warmup_calls), samples_s, empty in zip((a, b), batches, samples, empty_s, strict=True):
        phase = PhaseSamples(
            samples_s=samples_s,
            calls_per_sample=calls,
            warmup_calls=warmup_calls,
            clock=trial.clock.name,
            stop_reason=reason,
            work_bytes=trial.work_bytes,
            involuntary_switches=switches,
        )
        set_median_and_flags(phase, trial.clock, rule, empty, clock_log)
        phases.append(phase)
    return phases[0], phases[1]


def _collect(
    trials: tuple[Trial, Trial], calls: list[int], rule: StopRule, rng: np.random.Generator, clock_log: ClockLog | None
) -> tuple[list[list[float]], StopReason]:
    samples: list[list[float]] = [[], []]

    def take() -> float:
        spent_s, first = 0.0, int(rng.integers(2))
        for side in (first, 1 - first):
            with marked(f"{trials[side].nvtx_text}/sample"):
                elapsed_s = trials[side].clock.time_s(trials[side].call, calls[side])
            samples[side].append(elapsed_s / calls[side])
            spent_s += elapsed_s
        return spent_s

    of_both = replace(rule, time_limit_s=2 * rule.time_limit_s, min_span_s=2 * rule.min_span_s, min_samples=MIN_PAIRS)
    return samples, collect(take, lambda: _half_width_of_ratio(samples), of_both, clock_log)


def _half_width_of_ratio(samples: list[list[float]]) -> float:
    """Of the interval of the pairs' ratio; inf where a clock showed nothing."""
    if min(min(side) for side in samples) <= 0:
        return math.inf
    found = contrast_of_pairs(samples[0], samples[1])
    return relative_half_width(found.interval(), found.ratio)
