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

from kvbench.measure.clock import Clock
from kvbench.measure.nvtx import marked
from kvbench.measure.throttle import ClockLog
from kvbench.record.schema import PhaseSamples
from kvbench.verdict.block_bootstrap import FEWEST_SAMPLES, median_error
from kvbench.verdict.judge import Contrast

StopReason = Literal["iterations", "precision", "time_limit"]

WARMUP_CALLS = 3
WARMUP_LIMIT_S = 0.05  # a call this long is warm after one
MAX_CALLS_PER_SAMPLE = 1 << 20
RESOLVED_STEPS = 10  # a sample shorter than this many steps of its clock says nothing
RESOLVED_EMPTY_CALLS = 1.5  # nor does one that cannot be told from empty calls
NOISY_RELATIVE_HALF_WIDTH = 0.05
LOOK_EVERY_S = 0.02  # at the clock of a GPU, between samples
CHECK_GROWTH = 1.6  # the interval is costly, so it is tried at growing numbers of samples
RESAMPLE_SEED = 0


@dataclass(frozen=True)
class StopRule:
    """When a phase has enough samples.

    With `iterations` that many and no other rule. Without: when the 95 % interval of the median is within
    +-`relative_half_width` of it, there are `min_samples` and they span `min_span_s`, or when `time_limit_s` is used
    up. The limit holds even before `min_samples`, but one sample is always taken. The span keeps a few samples of one
    burst, which agree among themselves, from ending a phase.
    """

    iterations: int | None = None
    time_limit_s: float = 0.15
    relative_half_width: float = 0.02
    min_samples: int = FEWEST_SAMPLES
    min_span_s: float = 0.05


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
    from nothing; the median is then None), `throttled` (by `clock_log`, something held the GPU's clock down), and
    those of the clock. The cyclic garbage collector is off meanwhile.
    """
    if clock_log is not None:
        clock_log.start_phase()
    with collector_paused():
        calls, warmup_calls = warm_up(call, clock, batch_of, f"{nvtx_text}/warmup")
        switches_before = involuntary_switches()
        samples_s: list[float] = []

        def take() -> float:
            with marked(f"{nvtx_text}/sample"):
                elapsed_s = clock.time_s(call, calls)
            samples_s.append(elapsed_s / calls)
            return elapsed_s

        stop_reason = collect(take, lambda: _half_width_of_median(samples_s), rule, clock_log)
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
    phase.flags += clock.take_flags()
    median_s, calls = float(np.median(phase.samples_s)), phase.calls_per_sample
    if median_s * calls < RESOLVED_STEPS * clock.resolution_s or median_s < RESOLVED_EMPTY_CALLS * empty_s:
        phase.flags.append("unresolved")
    else:
        phase.median_s = median_s
        interval = median_interval(phase.samples_s)
        if interval is not None:
            phase.ci_low_s, phase.ci_high_s = interval
            if relative_half_width(interval, median_s) > NOISY_RELATIVE_HALF_WIDTH:
                phase.flags.append("noisy")
    if len(phase.samples_s) < rule.min_samples:
        phase.flags.append("few_samples")


def empty_call_s(clock: Clock, calls: int) -> float:
    """Seconds that a call of nothing takes by this clock, in a batch of `calls`."""
    return clock.time_s(_nothing, calls) / calls


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the median of times in the order they were taken, from these seconds and for them alone.

    On the scale of the logarithm, log median -+ t x error, the error by the circular block bootstrap of
    `verdict.block_bootstrap.median_error` with a fixed seed. None for fewer than FEWEST_SAMPLES samples, for equal
    samples and where one of them is 0. What another run would show lies outside it more often than 1 in 20 times.
    """
    if len(samples) < FEWEST_SAMPLES or min(samples) == max(samples) or min(samples) <= 0:
        return None
    logs = np.log(np.asarray(samples, dtype=np.float64))
    error, freedom = median_error(logs, np.random.default_rng(RESAMPLE_SEED))
    return Contrast(math.log(float(np.median(samples))), error, freedom, 1.0).interval()


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


def collect(
    take: Callable[[], float], half_width: Callable[[], float], rule: StopRule, clock_log: ClockLog | None
) -> StopReason:
    """Call `take`, which keeps a sample and gives the seconds it lasted, until the rule is met, and say by what.

    `half_width` is that of the interval of what was kept so far, relative to its middle. Looks at the GPU's clock after
    the first, the last and some of the others.
    """
    reason: StopReason | None = None
    spent_s, started_s, next_look_s = 0.0, time.monotonic(), 0.0
    taken, next_check = 0, max(2, rule.min_samples)
    while reason is None:
        spent_s += take()
        taken += 1
        # The host's wall time counts too: a clock that shows nothing must not keep a phase going for ever.
        span_s = max(spent_s, time.monotonic() - started_s)
        if rule.iterations is not None:
            reason = "iterations" if taken >= rule.iterations else None
        else:
            if taken >= next_check and span_s >= rule.min_span_s:
                next_check = math.ceil(taken * CHECK_GROWTH)
                reason = "precision" if half_width() <= rule.relative_half_width else None
            if reason is None and span_s >= rule.time_limit_s:
                reason = "time_limit"
        if clock_log is not None and (reason is not None or time.monotonic() >= next_look_s):
            clock_log.look()
            next_look_s = time.monotonic() + LOOK_EVERY_S
    return reason


def _half_width_of_median(samples_s: Sequence[float]) -> float:
    interval = median_interval(samples_s)
    return math.inf if interval is None else relative_half_width(interval, float(np.median(samples_s)))


def relative_half_width(interval: tuple[float, float], middle: float) -> float:
    """Half the width of an interval over its middle; inf where there is no middle above 0."""
    return (interval[1] - interval[0]) / 2 / middle if middle > 0 else math.inf


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
