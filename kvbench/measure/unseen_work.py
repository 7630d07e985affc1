"""Owns the check that a phase's work is over when its clock says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.cuda import Stream

LEAST_S = 1e-4  # less may be the cost of waiting itself
LEAST_SHARE = 0.2


def seconds_after(call: Callable[[], object], stream: Stream) -> float:
    """Seconds that the device is still at work after `call` returned and `stream`, on which it works, is done.

    No clock that watches `stream` can see that work, so it would be left out of the time.
    """
    torch.cuda.synchronize(stream.device)
    call()
    stream.synchronize()
    start_ns = time.perf_counter_ns()
    torch.cuda.synchronize(stream.device)
    return (time.perf_counter_ns() - start_ns) * 1e-9


def matters(unseen_s: float, median_s: float | None) -> bool:
    """Whether so much work beside the clock spoils a time of `median_s` (None: not resolved)."""
    return unseen_s > max(LEAST_S, LEAST_SHARE * (median_s or 0.0))
