"""Checks the clocks against calls whose cost is known from outside."""

from __future__ import annotations

import time

import pytest
import torch

from kvbench.measure.clock import CudaEventClock, HostClock, device_clocks
from kvbench.measure.unseen_work import LEAST_S, matters


def test_host_clock_counts_every_call() -> None:
    made: list[int] = []
    assert HostClock().time_s(lambda: made.append(1), 7) > 0
    assert len(made) == 7


def test_host_clock_sees_a_sleep() -> None:
    assert HostClock().time_s(lambda: time.sleep(0.005), 2) >= 0.01


def test_waiting_is_part_of_the_time_and_follows_every_call() -> None:
    events: list[str] = []

    def wait() -> None:
        events.append("wait")
        time.sleep(0.005)

    elapsed_s = HostClock(wait=wait).time_s(lambda: events.append("call"), 2)
    assert elapsed_s >= 0.01
    # The first wait is for earlier work and comes before the clock starts.
    assert events == ["wait", "call", "wait", "call", "wait"]


def test_host_resolution_is_a_step_seen_and_below_the_minimum_sample() -> None:
    clock = HostClock()
    assert 0 < clock.resolution_s <= clock.minimum_sample_s / 1000
    assert clock.minimum_sample_s >= 1e-3


def test_on_the_cpu_both_clocks_are_the_hosts() -> None:
    pair = device_clocks("cpu")
    assert pair.work.name == pair.call.name == "host"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_clocks_wait_for_the_work() -> None:
    pair = device_clocks("cuda")
    assert isinstance(pair.work, CudaEventClock)
    cycles = 20_000_000

    def spin() -> None:
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]

    spin()
    torch.cuda.synchronize()
    # No GPU runs above 4 GHz, so this many cycles take 5 ms at the least; launching them takes microseconds.
    assert pair.work.time_s(spin, 2) >= 2 * cycles / 4e9
    assert pair.call.time_s(spin, 2) >= 2 * cycles / 4e9


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_delay_kernel_on_a_side_stream_is_not_missed() -> None:
    cycles = 20_000_000
    least_s = cycles / 4e9
    side, other = torch.cuda.Stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def delay() -> None:
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]

    def elsewhere() -> None:
        with torch.cuda.stream(other):
            delay()

    with torch.cuda.stream(side):
        clocks = device_clocks("cuda")
        assert clocks.unseen_s is not None
        assert min(clocks.work.time_s(delay, 1), clocks.call.time_s(delay, 1)) >= least_s
        assert not matters(clocks.unseen_s(delay, 1), least_s)
        # What another stream does is beside the clocks, so it is asked for by itself.
        assert clocks.unseen_s(elsewhere, 1) >= least_s / 2
        cycles = 100_000  # 25 us at least: too short to show in one call, but it adds up
        assert clocks.unseen_s(elsewhere, 20) > LEAST_S
