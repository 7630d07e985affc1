"""Owns sampling: warm-up, batches long enough for the clock, the stop rule, and the median with its interval."""

from __future__ import annotations

import gc
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from kvbench.measure.clock import Clock
from kvbench.measure.nvtx import marked
from kvbench.measure.throttle import ClockLog
from kvbench.record.schema import PhaseSamples

StopReason = Literal["iterations", "precision", "time_limit"]

WARMUP_CALLS = 3
WARMUP_LIMIT_S = 0.05  # a call this long is warm after one
MAX_CALLS_PER_SAMPLE = 1 << 20
RESOLVED_STEPS = 10  # a sample shorter than this many steps of its clock says nothing
RESOLVED_EMPTY_CALLS = 1.5  # nor does one that cannot be told from empty calls
NOISY_RELATIVE_HALF_WIDTH = 0.05
LOOK_EVERY_S = 0.02  # at the clock of a GPU, between samples
CHECK_GROWTH = 1.6  # the interval is costly, so it is tried at growing numbers of samples
RESAMPLES = 999
RESAMPLE_SEED = 0
RESAMPLED_AT_A_TIME = 1 << 21  # values; keeps 100 000 samples from taking a gigabyte


@dataclass(frozen=True)
class StopRule:
    """When a phase has enough samples.

    With `iterations` that many and no other rule. Without: when the 95 % interval of the median is within
    +-`relative_half_width` of it and there are `min_samples`, or when `time_limit_s` is used up. The
    limit holds even before `min_samples`, but one sample is always taken.
    """

    iterations: int | None = None
    time_limit_s: float = 0.15
    relative_half_width: float = 0.02
    min_samples: int = 5


def sample(
    call: Callable[[], object],
    *,
    clock: Clock,
    rule: StopRule,
    work_bytes: int,
    nvtx_text: str,
    batch_of: int = 1,
    clock_log: ClockLog | None = None,
) -> PhaseSamples:
    """Time `call` until `rule` is met and keep every sample, in seconds per call.

    Calls shorter than the clock's minimum are batched and a sample is the batch's mean. `work_bytes` are the bytes the
    GB/s of this phase is about. `nvtx_text` is `<case id>/<phase>`; `/warmup` or `/sample` is added. A batch is a
    multiple of `batch_of` calls, for a call that goes round so many buffers. Flags: `noisy` (the interval is wider than
    5 % of the median each way), `few_samples` (below `rule.min_samples`), `unresolved` (the clock cannot tell the call
    from nothing; the median is then None), `throttled` (by `clock_log`, something held the GPU's clock down). The
    cyclic garbage collector is off meanwhile.
    """
    if clock_log is not None:
        clock_log.start_phase()
    with collector_paused():
        calls, warmup_calls = warm_up(call, clock, batch_of, f"{nvtx_text}/warmup")
        switches_before = involuntary_switches()
        samples_s, stop_reason = _collect(call, calls, clock, rule, f"{nvtx_text}/sample", clock_log)
        switches = involuntary_switches() - switches_before
        empty_s = empty_call_s(clock, calls)
    phase = PhaseSamples(
        samples_s=samples_s,
        calls_per_sample=calls,
        warmup_calls=warmup_calls,
        clock=clock.name,
        stop_reason=stop_reason,
        work_bytes=work_bytes,
        involuntary_switches=switches,
    )
    set_median_and_flags(phase, clock, rule, empty_s, clock_log)
    return phase


def set_median_and_flags(
    phase: PhaseSamples, clock: Clock, rule: StopRule, empty_s: float, clock_log: ClockLog | None
) -> None:
    """Fill in what follows from the samples: median, interval and the flags of `sample`."""
    if clock_log is not None:
        phase.sm_clock_low_mhz, phase.sm_clock_high_mhz = clock_log.low_mhz, clock_log.high_mhz
        phase.throttle_reasons = sorted(clock_log.reasons)
        if phase.throttle_reasons:
            phase.flags.append("throttled")
    median_s, calls = float(np.median(phase.samples_s)), phase.calls_per_sample
    if median_s * calls < RESOLVED_STEPS * clock.resolution_s or median_s < RESOLVED_EMPTY_CALLS * empty_s:
        phase.flags.append("unresolved")
    else:
        phase.median_s = median_s
        interval = median_interval(phase.samples_s)
        if interval is not None:
            phase.ci_low_s, phase.ci_high_s = interval
            if _relative_half_width(interval, median_s) > NOISY_RELATIVE_HALF_WIDTH:
                phase.flags.append("noisy")
    if len(phase.samples_s) < rule.min_samples:
        phase.flags.append("few_samples")


def empty_call_s(clock: Clock, calls: int) -> float:
    """Seconds that a call of nothing takes by this clock, in a batch of `calls`."""
    return clock.time_s(_nothing, calls) / calls


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of the median, with a fixed seed; None for one sample or equal samples."""
    if len(samples) < 2 or min(samples) == max(samples):
        return None
    result = stats.bootstrap(
        (np.asarray(samples),),
        np.median,
        method="percentile",
        confidence_level=0.95,
        n_resamples=RESAMPLES,
        batch=max(1, RESAMPLED_AT_A_TIME // len(samples)),
        vectorized=True,
        rng=np.random.default_rng(RESAMPLE_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def warm_up(call: Callable[[], object], clock: Clock, batch_of: int, text: str) -> tuple[int, int]:
    """(calls a sample needs, calls made). The batch grows until the latest one lasts the clock's minimum."""
    calls, made, spent_s = batch_of, 0, 0.0
    with marked(text):
        while True:
            elapsed_s = clock.time_s(call, calls)
            made += calls
            spent_s += elapsed_s
            if elapsed_s >= clock.minimum_sample_s:
                if made >= WARMUP_CALLS or spent_s >= WARMUP_LIMIT_S:
                    return calls, made
            elif calls >= MAX_CALLS_PER_SAMPLE:
                return calls, made
            else:
                growth = 10.0 if elapsed_s <= 0 else min(10.0, 1.1 * clock.minimum_sample_s / elapsed_s)
                wanted = min(MAX_CALLS_PER_SAMPLE, max(calls + 1, math.ceil(calls * growth)))
                calls = batch_of * math.ceil(wanted / batch_of)


def _collect(
    call: Callable[[], object], calls: int, clock: Clock, rule: StopRule, text: str, clock_log: ClockLog | None
) -> tuple[list[float], StopReason]:
    """Samples until the rule is met; looks at the GPU's clock after the first, the last and some of the others."""
    samples_s: list[float] = []
    spent_s, started_s, next_look_s = 0.0, time.monotonic(), 0.0
    next_check = max(2, rule.min_samples)

    def ended(reason: StopReason) -> tuple[list[float], StopReason]:
        if clock_log is not None:
            clock_log.look()
        return samples_s, reason

    while True:
        with marked(text):
            elapsed_s = clock.time_s(call, calls)
        samples_s.append(elapsed_s / calls)
        spent_s += elapsed_s
        if clock_log is not None and time.monotonic() >= next_look_s:
            clock_log.look()
            next_look_s = time.monotonic() + LOOK_EVERY_S
        if rule.iterations is not None:
            if len(samples_s) >= rule.iterations:
                return ended("iterations")
            continue
        if len(samples_s) >= next_check:
            next_check = math.ceil(next_check * CHECK_GROWTH)
            interval = median_interval(samples_s)
            if interval is not None:
                width = _relative_half_width(interval, float(np.median(samples_s)))
                if width <= rule.relative_half_width:
                    return ended("precision")
        # The host's wall time counts too: a clock that shows nothing must not keep a phase going for ever.
        if max(spent_s, time.monotonic() - started_s) >= rule.time_limit_s:
            return ended("time_limit")


def _relative_half_width(interval: tuple[float, float], median_s: float) -> float:
    return (interval[1] - interval[0]) / 2 / median_s if median_s > 0 else math.inf


def involuntary_switches() -> int:
    """How often a core was taken from a thread of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _nothing() -> None:
    """What an empty call costs."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic garbage collector, which would run inside a timed call."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
