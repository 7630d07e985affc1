"""Checks that a GPU's time is not that of launching: the spin grows until the host keeps ahead, or a flag says so."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from kvbench.measure import cuda_time
from kvbench.measure.clock import CudaEventClock
from kvbench.measure.cuda_time import LAUNCH_BOUND, SPIN_CYCLES_LIMIT, SpinTimer, Timed

CYCLES_A_SECOND = 2e9


class FakeGpu:
    """Takes work that costs the host `issue_s` and the GPU `gpu_s`; the first time `first_s` more to issue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.issue_s, self.gpu_s, self.first_s = 0.0, 1e-6, 0.0
        self.waits = False
        self.spins: list[int] = []
        monkeypatch.setattr(cuda_time, "timed_behind_spin", self.timed)

    def timed(self, work: Callable[[], object], stream: object, spin_cycles: int) -> Timed:
        work()
        spin_s = spin_cycles / CYCLES_A_SECOND
        issue_s = self.issue_s + (0.0 if self.spins else self.first_s)
        if self.waits:
            issue_s += spin_s + self.gpu_s
        self.spins.append(spin_cycles)
        late = issue_s > spin_s
        return Timed(max(self.gpu_s, issue_s - spin_s), issue_s, late)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


def test_the_spin_grows_until_the_host_is_done_and_stays_so(gpu: FakeGpu) -> None:
    gpu.issue_s, gpu.gpu_s = 77e-6, 8e-6
    timer = SpinTimer(None)  # type: ignore[arg-type]
    assert timer.time_s(int, 20_000) == pytest.approx(8e-6)
    assert gpu.spins == [20_000, 40_000, 80_000, 160_000]
    assert timer.time_s(int, 20_000) == pytest.approx(8e-6)
    assert gpu.spins[4:] == [160_000]
    timer.forget()
    timer.time_s(int, 20_000)
    assert gpu.spins[5] == 20_000
    assert timer.take_flags() == []


def test_work_that_waits_for_the_gpu_is_told_of_once(gpu: FakeGpu) -> None:
    gpu.waits, gpu.gpu_s = True, 1e-3
    timer = SpinTimer(None)  # type: ignore[arg-type]
    timer.time_s(int, 20_000)
    assert max(gpu.spins) <= SPIN_CYCLES_LIMIT
    tries = len(gpu.spins)
    timer.time_s(int, 20_000)
    assert gpu.spins[tries:] == [20_000]  # it is not tried again
    assert timer.take_flags() == [LAUNCH_BOUND]
    assert timer.take_flags() == []


def test_long_work_that_waits_is_not_tried_with_every_spin(gpu: FakeGpu) -> None:
    gpu.waits, gpu.gpu_s = True, 0.5
    timer = SpinTimer(None)  # type: ignore[arg-type]
    timer.time_s(int, 20_000)
    assert len(gpu.spins) == 2
    assert timer.take_flags() == [LAUNCH_BOUND]


def test_code_that_is_loaded_at_the_first_call_spoils_nothing(gpu: FakeGpu) -> None:
    gpu.first_s = 0.2
    timer = SpinTimer(None)  # type: ignore[arg-type]
    assert timer.time_s(int, 20_000) == pytest.approx(1e-6)
    assert gpu.spins == [20_000, 40_000]
    assert timer.take_flags() == []


def test_what_was_learnt_of_one_call_is_not_used_for_another(gpu: FakeGpu) -> None:
    gpu.issue_s = 77e-6
    clock = CudaEventClock(None)  # type: ignore[arg-type]
    clock.time_s(int, 1)
    gpu.issue_s = 0.0
    clock.time_s(float, 3)
    assert gpu.spins[-1] == 3 * 20_000
    assert clock.take_flags() == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_slow_host_is_not_in_the_time_of_the_gpu() -> None:
    values = torch.zeros(1000, device="cuda")

    def slow() -> None:
        end_s = time.perf_counter() + 1e-3
        while time.perf_counter() < end_s:
            pass
        values.add_(1)

    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        clock = CudaEventClock(torch.cuda.current_stream())
        assert clock.time_s(slow, 2) < 1e-3
        assert clock.take_flags() == []
        clock.time_s(lambda: float(values.sum()), 2)
        assert clock.take_flags() == [LAUNCH_BOUND]
