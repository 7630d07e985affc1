"""Checks that a GPU slowed down while it is measured is seen, by a stand-in for NVML."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kvbench.measure.clock import HostClock
from kvbench.measure.sampling import StopRule, sample
from kvbench.measure.throttle import CLOCK_DROP, REASONS_THAT_MATTER, ClockLog, NvmlWatch, device_watch
from kvbench.record.gpu import throttle_words
from kvbench.record.schema import PhaseSamples

IDLE, CHOSEN_CLOCK, POWER_CAP, HW_SLOWDOWN, SYNC_BOOST = 0x1, 0x2, 0x4, 0x8, 0x10
FULL_MHZ = 1980


class FakeNvml:
    """As much of the module pynvml as is asked; a test sets what it says."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        """What pynvml raises where a GPU does not tell."""

    def __init__(self) -> None:
        self.clock_mhz = FULL_MHZ
        self.reasons = 0
        self.most_mhz = FULL_MHZ
        self.tells = True
        self.looks = 0

    def _answer(self, value: int) -> int:
        if not self.tells:
            raise self.NVMLError
        return value

    def nvmlDeviceGetClockInfo(self, handle: object, clock: int) -> int:  # noqa: N802  NVML's name
        assert (handle, clock) == ("gpu", self.NVML_CLOCK_SM)
        self.looks += 1
        return self._answer(self.clock_mhz)

    def nvmlDeviceGetMaxClockInfo(self, handle: object, clock: int) -> int:  # noqa: N802
        assert (handle, clock) == ("gpu", self.NVML_CLOCK_SM)
        return self._answer(self.most_mhz)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:  # noqa: N802
        assert handle == "gpu"
        return self._answer(self.reasons)


class TickClock(HostClock):
    """Every call takes 10 ms, whatever the machine does meanwhile."""

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        for _ in range(calls):
            call()
        return 0.0 if getattr(call, "__name__", "") == "_nothing" else 0.01 * calls


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


def log_of(nvml: FakeNvml) -> ClockLog:
    return ClockLog(NvmlWatch(nvml, "gpu"))


def phase(log: ClockLog, call: Callable[[], object] = int) -> PhaseSamples:
    rule = StopRule(iterations=6)
    return sample(call, clock=TickClock(), rule=rule, work_bytes=1, nvtx_text="case/phase", clock_log=log)


def after(calls: int, act: Callable[[], None]) -> Callable[[], None]:
    """A call that acts once, in its so-manieth call."""
    made = 0

    def call() -> None:
        nonlocal made
        made += 1
        if made == calls:
            act()

    return call


def test_an_undisturbed_phase_keeps_its_clock_and_no_mark(nvml: FakeNvml) -> None:
    timed = phase(log_of(nvml))
    assert nvml.looks >= 2
    assert (timed.sm_clock_low_mhz, timed.sm_clock_high_mhz) == (FULL_MHZ, FULL_MHZ)
    assert timed.throttle_reasons == []
    assert timed.flags == []


def test_a_clock_that_somebody_else_lowers_in_mid_phase_marks_that_phase_alone(nvml: FakeNvml) -> None:
    log = log_of(nvml)
    assert phase(log).flags == []

    def lower() -> None:
        nvml.clock_mhz, nvml.reasons = 1200, CHOSEN_CLOCK

    def restore() -> None:
        nvml.clock_mhz, nvml.reasons = FULL_MHZ, 0

    dropped = phase(log, after(7, lower))
    assert dropped.flags == ["throttled"]
    assert dropped.throttle_reasons == [CLOCK_DROP]
    assert dropped.sm_clock_low_mhz == 1200
    still_low = phase(log)  # a clock that stays low for a whole phase is known from the phase before
    assert still_low.throttle_reasons == [CLOCK_DROP]
    restore()
    assert phase(log).flags == []


@pytest.mark.parametrize("reason", sorted(REASONS_THAT_MATTER))
def test_every_reason_that_matters_marks_the_phase(nvml: FakeNvml, reason: str) -> None:
    [nvml.reasons] = [1 << bit for bit in range(9) if throttle_words(1 << bit) == (reason,)]
    timed = phase(log_of(nvml))
    assert timed.flags == ["throttled"]
    assert timed.throttle_reasons == [reason]


def test_an_idle_gpu_or_a_chosen_clock_is_no_throttle(nvml: FakeNvml) -> None:
    log = log_of(nvml)
    phase(log)
    nvml.clock_mhz, nvml.reasons = 345, IDLE | SYNC_BOOST
    assert phase(log).flags == []
    nvml.clock_mhz, nvml.reasons = 1830, CHOSEN_CLOCK  # within a tenth of the highest
    assert phase(log).flags == []


def test_several_reasons_are_kept_together(nvml: FakeNvml) -> None:
    nvml.reasons = POWER_CAP | HW_SLOWDOWN | CHOSEN_CLOCK
    assert phase(log_of(nvml)).throttle_reasons == ["hw_slowdown", "sw_power_cap"]


def test_a_gpu_that_does_not_tell_leaves_the_columns_empty(nvml: FakeNvml) -> None:
    nvml.tells = False
    timed = phase(log_of(nvml))
    assert (timed.sm_clock_low_mhz, timed.sm_clock_high_mhz, timed.throttle_reasons) == (None, None, [])
    assert timed.flags == []


def test_there_is_nothing_to_watch_without_a_gpu() -> None:
    assert device_watch("cpu", 0) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without an NVIDIA GPU")
def test_why_a_gpu_cannot_be_watched_is_one_line() -> None:
    why = device_watch("cuda", 0)
    assert isinstance(why, str)
    assert why
    assert "\n" not in why


def test_a_clock_that_is_low_from_the_start_is_told_of_the_run(nvml: FakeNvml) -> None:
    nvml.clock_mhz, nvml.reasons = 600, CHOSEN_CLOCK
    log = log_of(nvml)
    assert phase(log).flags == []
    assert log.note() == (
        f"SM clock 600 MHz of at most {FULL_MHZ}: this GPU never ran at its full clock, its kernels could be faster"
    )
    nvml.clock_mhz = FULL_MHZ
    phase(log)
    assert log.note() == f"SM clock {FULL_MHZ} MHz of at most {FULL_MHZ}"
    nvml.tells = False
    assert log.note() == f"SM clock {FULL_MHZ} MHz; NVML does not tell the most it can be"
    mute = log_of(nvml)
    phase(mute)
    assert mute.note() == "clock not watched: NVML does not tell it"


def test_without_a_log_nothing_is_said_of_clocks() -> None:
    timed = sample(int, clock=TickClock(), rule=StopRule(iterations=6), work_bytes=1, nvtx_text="case/phase")
    assert timed.sm_clock_low_mhz is None
    assert timed.involuntary_switches is not None
    assert timed.involuntary_switches >= 0
