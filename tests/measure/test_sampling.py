"""Checks warm-up, batching, the stop rule and the flags on a clock whose time the tests move by hand."""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable
from typing import Literal

import pytest

from kvbench.measure import sampling
from kvbench.measure.clock import HostClock
from kvbench.measure.sampling import StopRule, sample
from kvbench.record.schema import PhaseSamples


class FakeClock:
    """Time passes only where a call says so, and is seen in steps of `resolution_s`."""

    name: Literal["host"] = "host"

    def __init__(self, resolution_s: float = 1e-9, minimum_sample_s: float = 1e-3) -> None:
        self.now_s = 0.0
        self.resolution_s = resolution_s
        self.minimum_sample_s = minimum_sample_s
        self.calls = 0
        self.flags: list[str] = []

    def taking(self, *durations_s: float) -> Callable[[], None]:
        """A call that takes these durations in turn, the last one for ever."""
        turns = itertools.chain(durations_s, itertools.repeat(durations_s[-1]))

        def call() -> None:
            self.calls += 1
            self.now_s += next(turns)

        return call

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        start_s = self.now_s
        for _ in range(calls):
            call()
        steps = int((self.now_s - start_s) / self.resolution_s * (1 + 1e-12))
        return steps * self.resolution_s

    def take_flags(self) -> list[str]:
        taken, self.flags = self.flags, []
        return taken


def measure(clock: FakeClock, call: Callable[[], object], **rule: object) -> PhaseSamples:
    return sample(call, clock=clock, rule=StopRule(**rule), work_bytes=1000, nvtx_text="case/phase")  # type: ignore[arg-type]


def test_what_the_clock_has_to_tell_is_a_flag_of_that_phase_alone() -> None:
    clock = FakeClock()
    clock.flags = ["launch_bound"]
    phase = measure(clock, clock.taking(1.0), iterations=7)
    assert (phase.flags, phase.median_s) == (["launch_bound"], pytest.approx(1.0))
    assert measure(clock, clock.taking(1.0), iterations=7).flags == []


def test_iterations_decide_alone() -> None:
    clock = FakeClock()
    phase = measure(clock, clock.taking(1.0), iterations=7, time_limit_s=0.1)
    assert (len(phase.samples_s), phase.stop_reason, phase.calls_per_sample) == (7, "iterations", 1)
    assert phase.median_s == pytest.approx(1.0)
    assert phase.work_bytes == 1000
    assert phase.clock == "host"


def test_time_limit_ends_a_phase_but_one_sample_is_taken() -> None:
    clock = FakeClock()
    phase = measure(clock, clock.taking(10.0), time_limit_s=0.15)
    assert (len(phase.samples_s), phase.stop_reason) == (1, "time_limit")
    assert phase.flags == ["few_samples"]
    assert phase.ci_low_s is None
    assert phase.ci_high_s is None


def test_precision_ends_a_phase_early() -> None:
    clock = FakeClock()
    wobble = itertools.cycle([1.000e-3, 1.001e-3, 1.002e-3])
    phase = measure(clock, lambda: clock.taking(next(wobble))(), time_limit_s=100.0)
    assert phase.stop_reason == "precision"
    assert 50 <= len(phase.samples_s) < 100
    assert phase.ci_low_s is not None
    assert phase.ci_high_s is not None
    assert phase.median_s is not None
    assert (phase.ci_high_s - phase.ci_low_s) / 2 <= 0.02 * phase.median_s
    assert phase.flags == []


def test_a_few_samples_of_one_burst_do_not_end_a_phase() -> None:
    """The first 40 ms are quiet and 30 % quicker than all that follows."""
    clock = FakeClock()
    generator = random.Random(0)

    def call() -> None:
        usual_s = 0.7e-3 if clock.now_s < 0.04 else 1e-3
        clock.taking(usual_s * generator.uniform(0.999, 1.001))()

    phase = measure(clock, call, time_limit_s=100.0)
    assert phase.stop_reason == "precision"
    assert sum(phase.samples_s) >= 0.05
    assert phase.median_s == pytest.approx(1e-3, rel=0.01)


def test_the_limit_comes_before_the_span() -> None:
    clock = FakeClock()
    wobble = itertools.cycle([1.000e-3, 1.001e-3, 1.002e-3])
    phase = measure(clock, lambda: clock.taking(next(wobble))(), time_limit_s=0.01)
    assert phase.stop_reason == "time_limit"
    assert sum(phase.samples_s) == pytest.approx(0.01, rel=0.2)


def test_a_wide_spread_runs_to_the_limit_and_is_marked() -> None:
    clock = FakeClock()
    generator = random.Random(0)
    phase = measure(clock, lambda: clock.taking(generator.uniform(1e-3, 1e-1))(), time_limit_s=1.0)
    assert phase.stop_reason == "time_limit"
    assert phase.flags == ["noisy"]
    assert sum(phase.samples_s) >= 1.0


def test_short_calls_are_batched_to_the_minimum_time() -> None:
    clock = FakeClock(minimum_sample_s=1e-3)
    phase = measure(clock, clock.taking(1e-6), iterations=3)
    assert 1000 <= phase.calls_per_sample <= 1300
    assert phase.median_s == pytest.approx(1e-6, rel=1e-3)


def test_batches_are_whole_rounds() -> None:
    clock = FakeClock(minimum_sample_s=1e-3)
    call = clock.taking(1e-5)
    rule = StopRule(iterations=3)
    phase = sample(call, clock=clock, rule=rule, work_bytes=1, nvtx_text="case/phase", batch_of=30)
    assert phase.calls_per_sample in (120, 150)
    assert phase.median_s == pytest.approx(1e-5)


def test_a_slow_first_call_does_not_spoil_the_batch() -> None:
    clock = FakeClock(minimum_sample_s=1e-3)
    phase = measure(clock, clock.taking(5e-3, 1e-5), iterations=3)
    assert phase.calls_per_sample >= 100
    assert phase.samples_s == pytest.approx([1e-5] * 3, rel=1e-3)


def test_warm_up_is_counted_and_left_out() -> None:
    clock = FakeClock()
    phase = measure(clock, clock.taking(0.01, 0.01, 0.01, 0.002), iterations=4)
    assert phase.warmup_calls == 3
    assert clock.calls == 3 + 4
    assert phase.samples_s == pytest.approx([0.002] * 4)


def test_a_very_slow_call_is_warmed_up_once() -> None:
    clock = FakeClock()
    assert measure(clock, clock.taking(1.0), iterations=1).warmup_calls == 1


def test_what_the_clock_cannot_see_is_unresolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_CALLS_PER_SAMPLE", 64)
    clock = FakeClock(resolution_s=0.015, minimum_sample_s=0.15)
    phase = measure(clock, clock.taking(1e-6), iterations=5)
    assert "unresolved" in phase.flags
    assert phase.median_s is None
    assert phase.ci_low_s is None
    assert len(phase.samples_s) == 5


def test_a_clock_that_shows_nothing_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_CALLS_PER_SAMPLE", 64)
    clock = FakeClock()
    phase = measure(clock, lambda: None, time_limit_s=0.01)
    assert phase.stop_reason == "time_limit"
    assert "unresolved" in phase.flags


def test_an_empty_call_is_unresolved_on_the_real_clock() -> None:
    rule = StopRule(iterations=5)
    phase = sample(lambda: None, clock=HostClock(), rule=rule, work_bytes=8, nvtx_text="case/phase")
    assert phase.flags[0] == "unresolved"


def test_few_samples_are_marked_and_have_no_interval() -> None:
    clock = FakeClock()
    phase = measure(clock, clock.taking(0.01, 0.01, 0.01, 0.02, 0.03, 0.02, 0.04, 0.02), iterations=5)
    assert (phase.ci_low_s, phase.ci_high_s, phase.flags) == (None, None, ["few_samples"])


def test_the_collector_is_off_while_sampling_and_back_afterwards() -> None:
    seen: list[bool] = []
    clock = FakeClock()
    call = clock.taking(0.1)

    def watched() -> None:
        seen.append(gc.isenabled())
        call()

    assert gc.isenabled()
    measure(clock, watched, iterations=2)
    assert gc.isenabled()
    assert set(seen) == {False}


def test_the_collector_is_back_after_a_failure() -> None:
    def fails() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        measure(FakeClock(), fails)
    assert gc.isenabled()
