"""Owns the timing of work on one CUDA stream by two events around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch.cuda import Stream

RESOLUTION_S = 0.5e-6  # CUDA runtime documentation of cudaEventElapsedTime
LAUNCH_BOUND = "launch_bound"  # flag of a phase
SPIN_CYCLES_LIMIT = 20_000_000  # about 10 ms
_LEAST_CYCLES_A_SECOND = 1e9  # no GPU is slower; a spin lasts no longer than its cycles over this


class Timed(NamedTuple):
    """Work behind a spin: seconds on the GPU, seconds that the host took to issue it, and whether that was too long.

    `late`: the spin was over before the last call was issued, so the GPU may have waited for the host meanwhile.
    """

    gpu_s: float
    issue_s: float
    late: bool


def timed_behind_spin(work: Callable[[], object], stream: Stream, spin_cycles: int) -> Timed:
    """Time what `work` puts on `stream`, behind a spin kernel of `spin_cycles` GPU cycles."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        stream.synchronize()
        torch.cuda._sleep(spin_cycles)  # type: ignore[no-untyped-call]
        start.record(stream)
        issue_ns = time.perf_counter_ns()
        work()
        end.record(stream)
        late = bool(start.query())  # type: ignore[no-untyped-call]
        issue_ns = time.perf_counter_ns() - issue_ns
    end.synchronize()
    return Timed(float(start.elapsed_time(end)) * 1e-3, issue_ns * 1e-9, late)


class SpinTimer:
    """Times work on `stream` behind a spin that is made longer until the host has issued all of it before its end.

    What was learnt about one kind of work serves its next times, until `forget`. Work that is late behind the longest
    spin too, as it waits for the device itself, is from then on timed behind the spin it came with, and is told of.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._longer = 1
        self._given_up = False
        self._late = False

    def forget(self) -> None:
        """Other work follows."""
        self._longer, self._given_up = 1, False

    def time_s(self, work: Callable[[], object], spin_cycles: int) -> float:
        """Seconds on the GPU; `work` is done once more for every time that the host was late."""
        tries = 0
        while True:
            cycles = min(SPIN_CYCLES_LIMIT, spin_cycles * self._longer)
            timed = timed_behind_spin(work, self._stream, cycles)
            if timed.late and not self._given_up:
                tries += 1
                # The first time may have loaded code, so what it took says nothing of the next.
                hopeless = tries > 1 and timed.issue_s * _LEAST_CYCLES_A_SECOND > SPIN_CYCLES_LIMIT
                if cycles < SPIN_CYCLES_LIMIT and not hopeless:
                    self._longer *= 2
                    continue
                self._longer, self._given_up = 1, True
            self._late |= timed.late
            return timed.gpu_s

    def take_flags(self) -> list[str]:
        """LAUNCH_BOUND where a time given since the last call of this is of work that the host issued too late."""
        late, self._late = self._late, False
        return [LAUNCH_BOUND] if late else []
