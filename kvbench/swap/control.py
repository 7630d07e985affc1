"""Owns the descriptions of kernel calls: which blocks go where, laid out in memory that is used again and again."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.swap.device import ControlMemory, Device

_ALIGNMENT = 16
_LEAST_BYTES = 1 << 16
_KEPT_LAYOUTS = 16


class Shape(NamedTuple):
    """How much a call describes."""

    moves: int
    slots: int
    pages: int
    planes: int


class Description(NamedTuple):
    """The arrays of one call as the host sees them, and where the kernels find them."""

    moves: NDArray[np.void]  # kv_blocks.MOVE
    slots: NDArray[np.void]  # kv_blocks.SLOT
    cursors: NDArray[np.uint64]  # one a slot, zero
    page_numbers: NDArray[np.uint32]
    streams: NDArray[np.void]  # kv_blocks.STREAM [moves, planes]
    statuses: NDArray[np.uint32]  # [moves, planes]
    stream_words: NDArray[np.uint64]  # `streams` as words [moves, planes x words of a STREAM]
    offsets: tuple[int, ...]  # of all of these, in this order
    end: int


class Control:
    """Memory for one call at a time; layouts of shapes that come again are kept.

    A store's results and a load's statuses are written where the host reads them, all else is sent to the kernels.
    """

    def __init__(self, memory: ControlMemory) -> None:
        self.memory = memory
        self.host_address = memory.host.ctypes.data
        self._layouts: dict[Shape, Description] = {}

    def describe(self, shape: Shape) -> Description:
        """The arrays for a call of this shape; their content is of whatever call was there before, cursors are zero."""
        found = self._layouts.get(shape)
        if found is None:
            if len(self._layouts) >= _KEPT_LAYOUTS:
                self._layouts.clear()
            found = self._layouts[shape] = self._lay_out(shape)
        found.cursors.fill(0)
        return found

    def _lay_out(self, shape: Shape) -> Description:
        arrays: list[NDArray[Any]] = []
        offsets: list[int] = []
        at = 0
        for dtype, count in _parts(shape):
            size = count * dtype.itemsize
            arrays.append(self.memory.host[at : at + size].view(dtype))
            offsets.append(at)
            at = _aligned(at + size)
        moves, slots, cursors, pages, streams, statuses = arrays
        by_plane = (shape.moves, shape.planes)
        return Description(
            moves,
            slots,
            cursors,
            pages,
            streams.reshape(by_plane),
            statuses.reshape(by_plane),
            streams.view(np.uint64).reshape(shape.moves, -1 if shape.moves else 0),
            tuple(offsets),
            at,
        )


class ControlPool:
    """Controls that are free, by their size; grows to as many as were ever in use at once."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._free: dict[int, list[Control]] = {}
        self.made = 0

    def take(self, shape: Shape) -> Control:
        """One that a call of this shape fits into."""
        size = _size_class(shape)
        free = self._free.setdefault(size, [])
        if free:
            return free.pop()
        self.made += 1
        return Control(self._device.control(size))

    def give(self, control: Control) -> None:
        """The kernels are done with it."""
        self._free[control.memory.host.nbytes].append(control)


def _parts(shape: Shape) -> tuple[tuple[np.dtype, int], ...]:
    streams = shape.moves * shape.planes
    return (
        (kv_blocks.MOVE, shape.moves),
        (kv_blocks.SLOT, shape.slots),
        (np.dtype(np.uint64), shape.slots),
        (np.dtype(np.uint32), shape.pages),
        (kv_blocks.STREAM, streams),
        (np.dtype(np.uint32), streams),
    )


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@lru_cache(maxsize=256)
def _size_class(shape: Shape) -> int:
    """Bytes for a shape, rounded up to a power of two."""
    needed = sum(_aligned(dtype.itemsize * count) for dtype, count in _parts(shape))
    return max(_LEAST_BYTES, 1 << (needed - 1).bit_length())
