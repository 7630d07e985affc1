"""Owns a small paged cache for tests: tensors, tables, a slab with scattered pages, and store and load on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench import kv_blocks

PAGE_BYTES = 256
POISON = 0xA5


class PagedCache:
    """`blocks` blocks of one shape on each of several planes, and one slot a block, each large enough for raw.

    Planes are views [blocks, tokens, heads, head size] of any strides. Means are float32 [heads, head size].
    """

    def __init__(self, planes: list[torch.Tensor], dtype: str | None = None, slot_pages: int | None = None) -> None:
        self.planes = planes
        self.dtype = dtype or str(planes[0].dtype).removeprefix("torch.")
        self.blocks, *shape = planes[0].shape
        tokens, heads, head_size = shape
        self.shape = (tokens, heads, head_size)
        self.raw_bytes = int(np.prod(shape)) * planes[0].element_size()
        needed = -(-len(planes) * kv_blocks.rounded(self.raw_bytes) // PAGE_BYTES)
        self.slot_pages = needed if slot_pages is None else slot_pages
        pages = self.blocks * self.slot_pages
        self.page_numbers = np.random.default_rng(1).permutation(pages).astype(np.uint32)
        self._memory = np.full(pages * PAGE_BYTES + 16, POISON, np.uint8)
        start = -self._memory.ctypes.data % 16
        self.slab = self._memory[start : start + pages * PAGE_BYTES]
        self.slots = np.zeros(self.blocks, kv_blocks.SLOT)
        self.slots["first_page"] = np.arange(self.blocks) * self.slot_pages
        self.slots["page_count"] = self.slot_pages
        self.table = np.zeros(0, kv_blocks.PLANE)
        self.means: list[torch.Tensor | None] = [None] * len(planes)
        self._held: list[NDArray[np.void]] = []

    def describe(self, *, means: list[torch.Tensor | None] | None = None, **how: Any) -> None:
        """Set how every plane is coded; `means` has one entry a plane."""
        rows = []
        self.means = means or [None] * len(self.planes)
        for tensor, mean in zip(self.planes, self.means, strict=True):
            rows.append(
                kv_blocks.plane(
                    values=tensor.data_ptr(),
                    strides=tensor.stride()[:3],  # type: ignore[arg-type]
                    shape=self.shape,
                    means=0 if mean is None else mean.data_ptr(),
                    **how,
                )
            )
        self.table = np.concatenate(rows)

    def moves(self, keep_first: int = 0) -> NDArray[np.void]:
        """One move a block, to the slot of its number."""
        out = np.zeros(self.blocks, kv_blocks.MOVE)
        out["block"] = out["slot"] = np.arange(self.blocks)
        out["keep_first"] = keep_first
        return out

    def call(self, moves: NDArray[np.void]) -> kv_blocks.Call:
        """A call on the CPU."""
        self._held.append(moves)
        return kv_blocks.call_of(
            self.table, moves, self.slots, self.page_numbers, self.slab.ctypes.data, PAGE_BYTES, self.dtype
        )

    def store(self, moves: NDArray[np.void], *, checksum: bool = False, threads: int = 1) -> NDArray[np.void]:
        """The streams, shape [moves, planes]."""
        streams = np.zeros((moves.size, len(self.planes)), kv_blocks.STREAM)
        self.cursors = np.zeros(self.blocks, np.uint64)
        kv_blocks.store(
            self.call(moves), self.cursors.ctypes.data, streams.ctypes.data, checksum=checksum, threads=threads
        )
        return streams

    def load(
        self, moves: NDArray[np.void], streams: NDArray[np.void], *, checksum: bool = False, threads: int = 1
    ) -> NDArray[np.uint32]:
        """The statuses, shape [moves, planes]."""
        statuses = np.full(streams.shape, 99, np.uint32)
        kv_blocks.load(self.call(moves), streams.ctypes.data, statuses.ctypes.data, checksum=checksum, threads=threads)
        return statuses

    def slot_bytes(self, slot: int) -> NDArray[np.uint8]:
        """A slot's bytes, its pages put in order."""
        first = slot * self.slot_pages
        pages = self.page_numbers[first : first + self.slot_pages]
        return self.slab.reshape(-1, PAGE_BYTES)[pages].reshape(-1)

    def stored(self, slot: int, stream: np.void) -> bytes:
        """The bytes of one stream."""
        return self.slot_bytes(slot)[stream["offset"] : stream["offset"] + stream["stored_bytes"]].tobytes()


def random_planes(
    count: int = 2, blocks: int = 3, shape: tuple[int, int, int] = (16, 3, 64), dtype: torch.dtype = torch.bfloat16
) -> list[torch.Tensor]:
    """Normal values with channel means and a few large channels, as views of one tensor [2, planes, blocks, ...]."""
    tokens, heads, head_size = shape
    random = torch.Generator().manual_seed(11)
    channels = torch.randn(heads, head_size, generator=random)
    scale = torch.where(torch.rand(heads, head_size, generator=random) < 0.05, 8.0, 1.0)
    whole = torch.randn(count, blocks, tokens, heads, head_size, generator=random) * scale + channels
    return list(whole.to(dtype))
