"""Owns the memory in use on a GPU: how much, and whether what a server took has come back."""

from __future__ import annotations

import time
from contextlib import suppress

RETURN_TIMEOUT_S = 30.0
SLACK_BYTES = 256_000_000  # another process of the machine may have taken so much meanwhile
_LOOK_EVERY_S = 0.25


def used_bytes(device_id: int) -> int | None:
    """Of this GPU, by all processes; None where the driver cannot be asked."""
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(device_id)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        finally:
            pynvml.nvmlShutdown()
    return None


def came_back(device_id: int, before_bytes: int | None) -> bool:
    """Whether no more than `before_bytes` and some slack are in use, after a while at most; True for None."""
    until_s = time.monotonic() + RETURN_TIMEOUT_S
    while before_bytes is not None:
        used = used_bytes(device_id)
        if used is None or used <= before_bytes + SLACK_BYTES:
            return True
        if time.monotonic() > until_s:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
