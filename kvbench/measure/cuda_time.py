"""Owns the timing of work on one CUDA stream by two events around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.cuda import Stream

RESOLUTION_S = 0.5e-6  # CUDA runtime documentation of cudaEventElapsedTime


def timed_behind_spin(work: Callable[[], object], stream: Stream, spin_cycles: int) -> float:
    """Seconds on the GPU that what `work` puts on `stream` took.

    A spin kernel of `spin_cycles` GPU cycles runs first, so that the host has launched the work before its start.
    """
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        stream.synchronize()
        torch.cuda._sleep(spin_cycles)  # type: ignore[no-untyped-call]
        start.record(stream)
        work()
        end.record(stream)
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3
