"""Owns the finding of an engine's device and of the place of its memory."""

from __future__ import annotations

from contextlib import suppress

import torch

from kvbench.errors import UnavailableError, UsageError
from kvbench.swap.device import Device, HostDevice
from kvbench.swap.slab import Slab


def device_of(values: torch.Tensor, threads: int = 0) -> Device:
    """The device a cache is on; `threads` (0: all) are of a CPU's codec.

    Raises UsageError for a cache that is neither on the CPU nor on a CUDA GPU.
    """
    if values.device.type == "cpu":
        return HostDevice(threads)
    if values.device.type == "cuda":
        from kvbench.swap.cuda_device import CudaDevice

        return CudaDevice(values.device)
    raise UsageError(f"a cache on {values.device}; the swap engine works on cpu and cuda")


def slab_for(limit_bytes: int, device: Device, asked_node: int | None) -> Slab:
    """On the node that was asked for, else next to the device where the system allows it."""
    pinned, near = device.kind == "cuda", device.near_node()
    if asked_node is None and near is not None:
        with suppress(UnavailableError):
            return Slab(limit_bytes, pinned=pinned, node=near)
    return Slab(limit_bytes, pinned=pinned, node=asked_node)
