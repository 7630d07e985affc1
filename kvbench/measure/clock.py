"""Owns the clocks: how long a number of calls takes, on the host and on a CUDA stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Literal, Protocol

import torch

if TYPE_CHECKING:
    from torch.cuda import Stream


class Clock(Protocol):
    """Times calls made in a row."""

    @property
    def name(self) -> Literal["host", "cuda_event"]:
        """The word recorded with every sample."""

    @property
    def resolution_s(self) -> float:
        """The smallest difference the clock can show, in seconds."""

    @property
    def minimum_sample_s(self) -> float:
        """A sample this long is not dominated by the clock; shorter calls are batched up to it."""

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        """Seconds that `calls` calls in a row took together, until their work was done."""


class HostClock:
    """Wall time of the host. `wait` runs inside the timing after every call, so asynchronous work counts in full."""

    name: Literal["host"] = "host"

    def __init__(self, wait: Callable[[], object] | None = None) -> None:
        self._wait = wait

    @cached_property
    def resolution_s(self) -> float:
        """The smallest step seen between two readings, which is coarser than the unit they are given in."""
        steps = []
        for _ in range(20):
            first = time.perf_counter_ns()
            while (second := time.perf_counter_ns()) == first:
                pass
            steps.append(second - first)
        return min(steps) * 1e-9

    @property
    def minimum_sample_s(self) -> float:
        return max(1e-3, 1000 * self.resolution_s)

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        wait = self._wait
        if wait is None:
            start_ns = time.perf_counter_ns()
            for _ in repeat(None, calls):
                call()
            return (time.perf_counter_ns() - start_ns) * 1e-9
        wait()
        start_ns = time.perf_counter_ns()
        for _ in repeat(None, calls):
            call()
            wait()
        return (time.perf_counter_ns() - start_ns) * 1e-9


class CudaEventClock:
    """Time on the GPU between two events on `stream`, on which the calls put their work.

    A spin kernel in front keeps the stream busy while the host launches the calls, so that launch cost stays out of
    the figure as long as the calls do not wait for the device themselves.
    """

    name: Literal["cuda_event"] = "cuda_event"
    resolution_s = 0.5e-6  # CUDA runtime documentation of cudaEventElapsedTime
    minimum_sample_s = 2e-4
    _SPIN_CYCLES_PER_CALL = 20_000  # about 10 us, longer than a launch
    _SPIN_CYCLES_LIMIT = 20_000_000

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream):
            self._stream.synchronize()
            torch.cuda._sleep(min(calls * self._SPIN_CYCLES_PER_CALL, self._SPIN_CYCLES_LIMIT))  # type: ignore[no-untyped-call]
            start.record(self._stream)
            for _ in repeat(None, calls):
                call()
            end.record(self._stream)
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3


@dataclass(frozen=True)
class Clocks:
    """The two clocks of a device: `work` for kernels and library calls alone, `call` for what a host caller waits."""

    work: Clock
    call: Clock


def device_clocks(device: str, device_id: int = 0) -> Clocks:
    """The clocks of `cpu` or `cuda`.

    On the CPU both are the host's; on a GPU, events of its current stream, and wall time until the work is done.
    """
    if device == "cpu":
        host = HostClock()
        return Clocks(work=host, call=host)
    stream = torch.cuda.current_stream(device_id)
    return Clocks(work=CudaEventClock(stream), call=HostClock(wait=stream.synchronize))
