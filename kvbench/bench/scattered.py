"""Owns copies of many scattered blocks between a GPU and pinned host memory, by each method, and the look at them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from kvbench.bench.whole_copies import different, gpu, random_bytes
from kvbench.block_copy import BlockCopy, mapped_pointer
from kvbench.measure.host_memory import HostMemory
from kvbench.record.schema import Case

SLOTS_A_BLOCK = 2  # a pool has so many slots for each block, half of which must stay as they are
LINK_THREAD_BLOCKS = 64  # enough to fill a PCIe link either way, half of a large GPU
THREAD_BLOCKS_A_MULTIPROCESSOR = 8  # of a gather within the GPU, which device memory limits


class ScatteredBlocks:
    """Copies blocks from scattered slots of one pool to scattered slots of another; pools are uint8 [slots, bytes].

    One is on the GPU, the other in pinned host memory. With the method `gather_copy` the host's side is one run in the
    order of the blocks, as one copy can only reach that; the GPU's side is scattered all the same.
    """

    def __init__(self, case: Case, memory: HostMemory, device_id: int) -> None:
        assert case.blocks is not None
        assert case.block_bytes is not None
        self._gpu, self._block_bytes = gpu(device_id), case.block_bytes
        slots = case.blocks * SLOTS_A_BLOCK
        generator = torch.Generator().manual_seed(case.seed)
        self._gpu_slots = torch.randperm(slots, generator=generator)[: case.blocks]
        self._host_slots = torch.randperm(slots, generator=generator)[: case.blocks]
        if case.method == "gather_copy":
            self._host_slots = torch.arange(case.blocks)
        content = random_bytes(slots, case.block_bytes, case.seed)
        self._host_pool = memory.pinned(content)
        self._gpu_pool = content.to(self._gpu)
        self._outward = case.direction == "d2h"
        self._call = self._method(str(case.method), torch.cuda.current_stream(device_id).cuda_stream)

    def __call__(self) -> None:
        self._call()

    def spoil(self) -> None:
        self._destination_pool.copy_(self._spoilt())
        if not self._outward:
            self._host_pool.copy_(self._host_pool.to(self._gpu))  # as a GPU leaves bytes; see OneWay.spoil

    def wrong_bytes(self) -> tuple[int, int]:
        """Looks at the whole pool: slots that no block goes to must be as `spoil` left them."""
        expected = self._spoilt()
        slots = self._destination_slots
        expected[slots] = ~expected[slots]
        return different(self._destination_pool, expected)

    def _spoilt(self) -> torch.Tensor:
        """The destination's pool, in host memory, with every byte of every block's slot unlike the block's."""
        source = self._source_pool.cpu()
        spoilt = ~source
        spoilt[self._destination_slots] = ~source[self._source_slots]
        return spoilt

    @property
    def _source_pool(self) -> torch.Tensor:
        return self._gpu_pool if self._outward else self._host_pool

    @property
    def _destination_pool(self) -> torch.Tensor:
        return self._host_pool if self._outward else self._gpu_pool

    @property
    def _source_slots(self) -> torch.Tensor:
        return self._gpu_slots if self._outward else self._host_slots

    @property
    def _destination_slots(self) -> torch.Tensor:
        return self._host_slots if self._outward else self._gpu_slots

    def _method(self, name: str, stream: int) -> Callable[[], None]:
        on_gpu = self._addresses(self._gpu_pool.data_ptr(), self._gpu_slots)
        host = self._addresses(self._host_pool.data_ptr(), self._host_slots)
        if name == "async_copies":
            return self._between(on_gpu, host).one_by_one(stream)
        if name == "batched_copy":
            return self._between(on_gpu, host).in_one_batch(stream)
        if name == "zero_copy":
            mapped = self._addresses(mapped_pointer(self._host_pool), self._host_slots)
            return self._between(on_gpu, mapped).by_kernel(stream, LINK_THREAD_BLOCKS, self._gpu)
        return self._gather_copy(on_gpu, stream)

    def _gather_copy(self, on_gpu: list[int], stream: int) -> Callable[[], None]:
        """Out: gather into one run on the GPU, then copy it. In: copy one run to the GPU, then scatter it."""
        count = len(on_gpu)
        # Kept here: the copies know addresses alone.
        self._staging = torch.empty(count * self._block_bytes, dtype=torch.uint8, device=self._gpu)
        staging = self._staging.data_ptr()
        staged = [staging + number * self._block_bytes for number in range(count)]
        multiprocessors = torch.cuda.get_device_properties(self._gpu).multi_processor_count
        thread_blocks = THREAD_BLOCKS_A_MULTIPROCESSOR * multiprocessors
        kernel = self._between(on_gpu, staged).by_kernel(stream, thread_blocks, self._gpu)
        ends = ([staging], [self._host_pool.data_ptr()])
        sources, destinations = ends if self._outward else ends[::-1]
        link = BlockCopy(destinations, sources, count * self._block_bytes).one_by_one(stream)
        first, second = (kernel, link) if self._outward else (link, kernel)

        def call() -> None:
            first()
            second()

        return call

    def _between(self, on_gpu: list[int], other: list[int]) -> BlockCopy:
        sources, destinations = (on_gpu, other) if self._outward else (other, on_gpu)
        return BlockCopy(destinations, sources, self._block_bytes)

    def _addresses(self, pool: int, slots: torch.Tensor) -> list[int]:
        return [pool + int(slot) * self._block_bytes for slot in slots]
