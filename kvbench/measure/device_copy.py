"""Owns the yardstick of a GPU's kernels: how fast the card copies within its own memory."""

from __future__ import annotations

import torch

from kvbench.measure.clock import Clocks
from kvbench.measure.sampling import StopRule, sample

COPY_BYTES = 1 << 28  # several times any L2, so that no copy finds its source there
RULE = StopRule(time_limit_s=0.5, relative_half_width=0.005, min_samples=7)


def device_copy_gbps(clocks: Clocks, device_id: int) -> float | None:
    """GB/s (1e9 bytes) of a copy of COPY_BYTES within a GPU, bytes read and bytes written both counted.

    None where the card has no memory left for two such buffers, or the time could not be resolved.
    """
    device = f"cuda:{device_id}"
    try:
        source = torch.randint(-128, 128, (COPY_BYTES,), dtype=torch.int8, device=device)
        target = torch.empty_like(source)
    except torch.OutOfMemoryError:
        return None

    def copy() -> None:
        target.copy_(source, non_blocking=True)

    timed = sample(copy, clock=clocks.kernel(copy), rule=RULE, work_bytes=2 * COPY_BYTES, nvtx_text="device_copy")
    return None if timed.median_s is None else timed.work_bytes / timed.median_s / 1e9
