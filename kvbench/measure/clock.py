"""Owns the clocks: how long a number of calls takes, on the host and on a CUDA stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import repeat
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from kvbench.measure.cuda_graph import graph_clock
from kvbench.measure.cuda_time import RESOLUTION_S, SPIN_CYCLES_LIMIT, SpinTimer
from kvbench.measure.unseen_work import seconds_after

if TYPE_CHECKING:
    from torch.cuda import Stream

ClockName = Literal["host", "cuda_event", "cuda_graph"]
Call = Callable[[], object]


class Clock(Protocol):
    """Times calls made in a row."""

    @property
    def name(self) -> ClockName:
        """The word recorded with every sample."""

    @property
    def resolution_s(self) -> float:
        """The smallest difference the clock can show, in seconds."""

    @property
    def minimum_sample_s(self) -> float:
        """A sample this long is not dominated by the clock; shorter calls are batched up to it."""

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        """Seconds that `calls` calls in a row took together, until their work was done.

        A clock may make them all again where the first try cannot be used.
        """

    def take_flags(self) -> list[str]:
        """What is to be told of the times given since the last call of this, as flags of a phase."""


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

    def take_flags(self) -> list[str]:
        return []


class CudaEventClock:
    """Time on the GPU between two events on `stream`, on which the calls put their work.

    A spin kernel in front keeps the stream busy while the host issues the calls, so that launch cost stays out of the
    figure. Where it cannot, as calls wait for the device themselves, the times are flagged `launch_bound`.
    """

    name: Literal["cuda_event"] = "cuda_event"
    resolution_s = RESOLUTION_S
    minimum_sample_s = 2e-4
    _SPIN_CYCLES_PER_CALL = 20_000  # about 10 us, longer than a launch

    def __init__(self, stream: Stream) -> None:
        self._timer = SpinTimer(stream)
        self._call: Callable[[], object] | None = None

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        def all_calls() -> None:
            for _ in repeat(None, calls):
                call()

        if call != self._call:
            self._call = call
            self._timer.forget()
        return self._timer.time_s(all_calls, min(calls * self._SPIN_CYCLES_PER_CALL, SPIN_CYCLES_LIMIT))

    def take_flags(self) -> list[str]:
        return self._timer.take_flags()


@dataclass(frozen=True)
class Clocks:
    """The clocks of a device: `work` for kernels and library calls alone, `call` for what a host caller waits."""

    work: Clock
    call: Clock
    graph_of: Callable[[Call], Clock | None] | None = None  # replays of a call; None where it cannot be captured
    unseen_s: Callable[[Call, int], float] | None = None  # of so many calls in a row, see `unseen_work.seconds_after`

    def kernel(self, call: Call) -> Clock:
        """The clock for a bare kernel launch: replays of a CUDA graph where `call` can be captured, else `work`.

        Makes the call, so it has to be ready to run.
        """
        graph = None if self.graph_of is None else self.graph_of(call)
        return graph or self.work


def device_clocks(device: str, device_id: int = 0) -> Clocks:
    """The clocks of `cpu` or `cuda`.

    On the CPU all are the host's. On a GPU they are about its current stream: events on it, wall time until its work
    is done, and graphs of what is put on it, which the default stream of a device cannot have.
    """
    if device == "cpu":
        host = HostClock()
        return Clocks(work=host, call=host)
    stream = torch.cuda.current_stream(device_id)
    return Clocks(
        work=CudaEventClock(stream),
        call=HostClock(wait=stream.synchronize),
        graph_of=partial(graph_clock, stream),
        unseen_s=partial(seconds_after, stream=stream),
    )
