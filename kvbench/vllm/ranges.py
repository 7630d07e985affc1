"""Owns the NVTX ranges inside a batch: it puts them around what the swap engine asks of its device."""

from __future__ import annotations

from typing import Any

from kvbench import kv_blocks
from kvbench.measure.nvtx import marked
from kvbench.swap.cost import Direction
from kvbench.swap.device import Device, Home
from kvbench.swap.pages import Pages


class MarkedDevice:
    """A device whose calls show up as `compress`, `decompress` and `copy` while they are enqueued.

    What the GPU does of them a profiler shows on the streams; on the CPU the range is the work itself.
    """

    def __init__(self, device: Device) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def store(self, call: kv_blocks.Call, cursors: int, streams: int, home: Home, checksum: bool) -> None:
        """Blocks to slots."""
        with marked("compress"):
            self._device.store(call, cursors, streams, home, checksum)

    def load(self, call: kv_blocks.Call, streams: int, statuses: int, checksum: bool) -> None:
        """Slots to blocks."""
        with marked("decompress"):
            self._device.load(call, streams, statuses, checksum)

    def copy_pages(
        self, direction: Direction, target: int, target_pages: Pages, source: int, source_pages: Pages
    ) -> object:
        """Between the ring and the slab."""
        with marked("copy"):
            return self._device.copy_pages(direction, target, target_pages, source, source_pages)
