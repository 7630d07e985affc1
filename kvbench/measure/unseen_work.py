"""Owns the check that a phase's work is over when its clock says so."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.cuda import Stream

LEAST_S = 1e-4  # waiting for a device takes tens of microseconds more or less each time, as seen on an H100's host
LEAST_SHARE = 0.2
LOOKS = 3  # work left out is there at every look, a host that was held up is not
MOST_CALLS = 1000  # so many bring to light what hides; a batch for the clock may have a million of nothing
_EMPTY_LOOKS = 21
_EMPTY_CYCLES = 1000


def seconds_after(call: Callable[[], object], calls: int, stream: Stream) -> float:
    """Seconds that the device is still at work after `calls` calls (at most MOST_CALLS) and `stream`, theirs, is done.

    No clock that watches `stream` can see that work, so it would be left out of the time. Of a call too short to show,
    what many in a row leave adds up. What the look itself costs, found once a stream, is taken off.
    """
    return _wait_after(call, min(calls, MOST_CALLS), stream) - _empty_wait_s(stream)


def matters(unseen_s: float, median_s: float | None) -> bool:
    """Whether so much work beside the clock spoils a time of `median_s` a call (None: not resolved)."""
    return unseen_s > max(LEAST_S, LEAST_SHARE * (median_s or 0.0))


def least_seen(look: Callable[[], float], median_s: float | None) -> float:
    """The least of LOOKS looks, or the first that does not matter for a time of `median_s`."""
    seen_s = look()
    for _ in range(LOOKS - 1):
        if not matters(seen_s, median_s):
            break
        seen_s = min(seen_s, look())
    return seen_s


def _wait_after(call: Callable[[], object], calls: int, stream: Stream) -> float:
    torch.cuda.synchronize(stream.device)
    for _ in repeat(None, calls):
        call()
    stream.synchronize()
    start_ns = time.perf_counter_ns()
    torch.cuda.synchronize(stream.device)
    return (time.perf_counter_ns() - start_ns) * 1e-9


@cache
def _empty_wait_s(stream: Stream) -> float:
    """What waiting for the device costs after a stream that did work is done, and nothing else does any."""

    def work() -> None:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(_EMPTY_CYCLES)  # type: ignore[no-untyped-call]

    return statistics.median(_wait_after(work, 1, stream) for _ in range(_EMPTY_LOOKS))
