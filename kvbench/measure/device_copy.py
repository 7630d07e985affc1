"""Owns the yardstick of a GPU's kernels: how fast the card copies within its own memory."""

from __future__ import annotations

import torch

from kvbench.measure.clock import Clocks
from kvbench.measure.sampling import StopRule, sample
from kvbench.measure.throttle import ClockLog
from kvbench.record.schema import GB, PhaseSamples

COPY_BYTES = 1 << 28  # several times any L2, so that no copy finds its source there
RULE = StopRule(time_limit_s=0.5, relative_half_width=0.005, min_samples=7)


def device_copy(clocks: Clocks, device_id: int, clock_log: ClockLog | None) -> PhaseSamples | None:
    """A copy of COPY_BYTES within a GPU, timed; its work are bytes read and bytes written both.

    None where the card has no memory left for two such buffers.
    """
    device = f"cuda:{device_id}"
    try:
        source = torch.randint(-128, 128, (COPY_BYTES,), dtype=torch.int8, device=device)
        target = torch.empty_like(source)
    except torch.OutOfMemoryError:
        return None

    def copy() -> None:
        target.copy_(source, non_blocking=True)

    clock, work_bytes = clocks.kernel(copy), 2 * COPY_BYTES
    return sample(copy, clock=clock, rule=RULE, work_bytes=work_bytes, nvtx_text="device_copy", clock_log=clock_log)


def copy_gbps(timed: PhaseSamples | None) -> float | None:
    """GB/s (1e9 bytes) at the median; None where there is no such copy, or its time was not resolved."""
    return None if timed is None or timed.median_s is None else timed.work_bytes / timed.median_s / GB


def copy_note(timed: PhaseSamples) -> str:
    """A line on the copy for the run: its speed, the 95 % interval of it, and its flags."""
    gbps = copy_gbps(timed)
    speed = "not resolved" if gbps is None else f"{gbps:.4g} GB/s"
    if timed.ci_low_s and timed.ci_high_s:
        low, high = (timed.work_bytes / seconds / GB for seconds in (timed.ci_high_s, timed.ci_low_s))
        speed += f" (95 %: {low:.4g} to {high:.4g})"
    flags = f"; flags: {', '.join([*timed.flags, *timed.throttle_reasons])}" if timed.flags else ""
    return f"device copy, which kernels are compared with: {speed}{flags}"
