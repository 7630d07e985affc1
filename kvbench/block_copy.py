"""Owns calls of the compiled copies of scattered blocks, by addresses: one by one, in one batch, and by a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench import _ext

Call = Callable[[], None]


def problem() -> str | None:
    """Why no block can be copied here, in one line, or None: no CUDA module, or no device it can use."""
    return _ext.cuda_problem()


def batch_problem() -> str | None:
    """Why `BlockCopy.in_one_batch` cannot be used here, or None. Needs the CUDA module."""
    found: str | None = _ext.cuda().batch_copy_problem()
    return found


def mapped_pointer(host: torch.Tensor) -> int:
    """The address by which the current device reaches a tensor in pinned host memory. Raises RuntimeError if none."""
    address: int = _ext.cuda().mapped_pointer(host.data_ptr())
    return address


class BlockCopy:
    """Copies block i from `sources[i]` to `destinations[i]`, all blocks of `block_bytes`.

    Each method prepares a call that only enqueues work on `stream` (a cudaStream_t), which must be of the current
    device and not the default stream. The blocks' memory must stay until that work is done; the tables stay with the
    call. The contracts are in ext/block_copy.h. A call raises RuntimeError with CUDA's words where CUDA refuses it.
    """

    def __init__(self, destinations: Sequence[int], sources: Sequence[int], block_bytes: int) -> None:
        if len(destinations) != len(sources):
            raise ValueError(f"{len(destinations)} destinations for {len(sources)} sources")
        self._count = len(sources)
        self._block_bytes = block_bytes
        self._addresses: NDArray[np.uint64] = np.array([destinations, sources], dtype=np.uint64)
        self._sizes: NDArray[np.uintp] = np.full(self._count, block_bytes, dtype=np.uintp)

    def one_by_one(self, stream: int) -> Call:
        """One asynchronous copy a block."""
        return self._by_host(_ext.cuda().copy_blocks_one_by_one, stream)

    def in_one_batch(self, stream: int) -> Call:
        """One batched copy call for all blocks; see `batch_problem`."""
        return self._by_host(_ext.cuda().copy_blocks_in_one_batch, stream)

    def by_kernel(self, stream: int, thread_blocks: int, device: torch.device) -> Call:
        """One kernel of at most `thread_blocks` thread blocks on `device`, which is the current one.

        Blocks in host memory have to be given by their mapped pointers.
        """
        table = torch.from_numpy(self._addresses.view(np.int64)).to(device)
        copy = _ext.cuda().copy_blocks_by_kernel

        def call() -> None:
            destinations = table.data_ptr()
            sources = destinations + table.element_size() * self._count
            copy(destinations, sources, self._count, self._block_bytes, thread_blocks, stream)

        return call

    def _by_host(self, copy: Callable[..., None], stream: int) -> Call:
        destinations, sources = (row.ctypes.data for row in self._addresses)
        sizes = self._sizes.ctypes.data

        def call() -> None:  # holds `self`, and so the tables
            copy(destinations, sources, sizes, self._count, stream)

        return call
