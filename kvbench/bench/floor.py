"""Owns how near a kernel comes to the time that its bytes alone would take on the same GPU."""

from __future__ import annotations

from collections.abc import Mapping

from kvbench.measure.cuda_time import LAUNCH_BOUND
from kvbench.record.schema import GB, PhaseSamples


def metrics(
    raw_bytes: int, stream_bytes: int, phases: Mapping[str, PhaseSamples], device_copy_gbps: float | None
) -> dict[str, float | int | None]:
    """`device_copy_gbps` (GB/s, read and write counted) and both `*_floor_share`, of 1; None where one is not known.

    share = ((raw_bytes + stream_bytes) / device copy bandwidth) / median of the kernel: encoding must read the tensor
    and write the stream, decoding the other way round, and no kernel moves bytes faster than the card's own copy. None
    where the host held the kernel up (`launch_bound`): its time is then not the kernel's.
    """
    found: dict[str, float | int | None] = {"device_copy_gbps": device_copy_gbps}
    for way in ("encode", "decode"):
        kernel = phases.get(f"{way}_kernel")
        share = None
        if device_copy_gbps and kernel is not None and kernel.median_s and LAUNCH_BOUND not in kernel.flags:
            share = (raw_bytes + stream_bytes) / (device_copy_gbps * GB) / kernel.median_s
        found[f"{way}_floor_share"] = share
    return found
