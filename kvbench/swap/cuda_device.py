"""Owns the answer of a machine with a GPU: two streams beside the caller's, the CUDA kernels, and events as marks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench import _ext, kv_blocks
from kvbench.block_copy import mapped_pointer
from kvbench.errors import UnavailableError
from kvbench.measure import numa
from kvbench.record.gpu import CudaFacts, cuda_facts
from kvbench.swap.cost import Direction
from kvbench.swap.device import ControlMemory, Home, Mark
from kvbench.swap.pages import Pages
from kvbench.swap.slab import PAGE_BYTES, Slab

if TYPE_CHECKING:
    from torch.cuda import Stream

# So many fill a PCIe link (gen 5, an H100) at the ratios of KV caches; all other multiprocessors stay the model's.
STORE_THREAD_BLOCKS = 32
HDT_STORE_THREAD_BLOCKS = 96  # reordered blocks take each multiprocessor longer, and are smaller
LOAD_THREAD_BLOCKS = 96
_NOTHING = nullcontext()


class CudaMark:
    """An event on a stream."""

    def __init__(self, stream: Stream) -> None:
        self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._event.record(stream)

    def done(self) -> bool:
        return bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        self._event.synchronize()

    def seconds_since(self, earlier: Mark) -> float:
        assert isinstance(earlier, CudaMark)
        return float(earlier._event.elapsed_time(self._event)) * 1e-3

    def hold_back(self, stream: Stream) -> None:
        """Let a stream go on after this."""
        stream.wait_event(self._event)


class _Sent(NamedTuple):
    """What a description's memory is made of: pinned, on the device, and the table of the copy between them."""

    pinned: torch.Tensor
    on_device: torch.Tensor
    table: NDArray[np.uint64]  # target, source, bytes


class CudaDevice:
    """A cache on one GPU. Stores and loads have a stream each, of lowest priority, so that they overlap.

    Raises UnavailableError where the kernels cannot run on it.
    """

    kind: Literal["cuda"] = "cuda"

    def __init__(
        self,
        device: torch.device,
        store_thread_blocks: int | None = None,
        load_thread_blocks: int | None = None,
    ) -> None:
        """`*_thread_blocks` are the most that a kernel has at a time; None takes what the planes need for the link."""
        self._device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        with torch.cuda.device(self._device):
            problem = _ext.cuda_problem()
            if problem is not None:
                raise UnavailableError(f"the swap engine cannot use {self._device}: {problem}")
            self._streams: dict[Direction, Stream] = {
                "store": torch.cuda.Stream(self._device),  # type: ignore[no-untyped-call]
                "load": torch.cuda.Stream(self._device),  # type: ignore[no-untyped-call]
            }
        self._store_asked = store_thread_blocks is not None
        self._thread_blocks: dict[Direction, int] = {
            "store": store_thread_blocks or STORE_THREAD_BLOCKS,
            "load": load_thread_blocks or LOAD_THREAD_BLOCKS,
        }
        self._most_elements = 0
        self._handles = {name: stream.cuda_stream for name, stream in self._streams.items()}

    def thread_blocks(self, direction: Direction) -> int:
        return self._thread_blocks[direction]

    def near_node(self) -> int | None:
        facts, usable = cuda_facts(self._device.index), numa.usable_nodes()
        node = facts.gpu.numa_node if isinstance(facts, CudaFacts) else None
        return node if len(usable) > 1 and node in usable else None

    def slab_address(self, slab: Slab) -> int:
        with self._current():
            return mapped_pointer(slab.values)

    def upload(self, values: NDArray[Any]) -> tuple[int, object]:
        if values.dtype == kv_blocks.PLANE:
            blocks = values["tokens"].astype(np.int64) * values["heads"] * values["head_size"]
            self._most_elements = max(self._most_elements, int(blocks.max()))
            coded = values["form"] != kv_blocks.FORMS["raw"]
            if not self._store_asked and (coded & (values["layout"] == kv_blocks.LAYOUTS["hdt"])).any():
                self._thread_blocks["store"] = HDT_STORE_THREAD_BLOCKS
        kept = torch.from_numpy(np.ascontiguousarray(values).view(np.uint8)).to(self._device)
        torch.cuda.synchronize(self._device)  # once for every table: the other streams read it
        return kept.data_ptr(), kept

    def control(self, size_bytes: int) -> ControlMemory:
        pinned = torch.zeros(size_bytes, dtype=torch.uint8, pin_memory=True)
        on_device = torch.empty(size_bytes, dtype=torch.uint8, device=self._device)
        table = np.array([on_device.data_ptr(), pinned.data_ptr(), 0], dtype=np.uint64)
        return ControlMemory(pinned.numpy(), on_device.data_ptr(), _Sent(pinned, on_device, table))

    def ring(self, size_bytes: int) -> tuple[int, object]:
        memory = torch.empty(size_bytes, dtype=torch.uint8, device=self._device)
        return memory.data_ptr(), memory

    def begin(self, direction: Direction) -> None:
        self._streams[direction].wait_stream(torch.cuda.current_stream(self._device))

    def send(self, direction: Direction, memory: ControlMemory, size_bytes: int) -> None:
        assert isinstance(memory.keep, _Sent)
        table = memory.keep.table
        table[2] = size_bytes
        at = table.ctypes.data
        with self._current():
            _ext.cuda().copy_blocks_one_by_one(at, at + 8, at + 16, 1, self._handles[direction])

    def store(self, call: kv_blocks.Call, cursors: int, streams: int, home: Home, checksum: bool) -> None:
        with self._current():
            kv_blocks.store_cuda(
                call,
                cursors,
                streams,
                home=home,
                most_elements=self._most_elements,
                cuda_stream=self._handles["store"],
                checksum=checksum,
                # Within the GPU more of them are quicker; over the link they would only take what the model needs.
                most_blocks=self._thread_blocks["store"] if home == "host" else 2 * self._thread_blocks["store"],
            )

    def load(self, call: kv_blocks.Call, streams: int, statuses: int, checksum: bool) -> None:
        with self._current():
            kv_blocks.load_cuda(
                call,
                streams,
                statuses,
                most_elements=self._most_elements,
                cuda_stream=self._handles["load"],
                checksum=checksum,
                most_blocks=self._thread_blocks["load"],
            )

    def copy_pages(
        self, direction: Direction, target: int, target_pages: Pages, source: int, source_pages: Pages
    ) -> object:
        count = len(target_pages)
        with torch.cuda.stream(self._streams[direction]):
            # Both come from torch's caching allocators, which give them to nobody else before this stream is past them.
            host = torch.empty((2, count), dtype=torch.int64, pin_memory=True)
            addresses = host.numpy().view(np.uint64)
            addresses[0] = target + target_pages.astype(np.uint64) * PAGE_BYTES
            addresses[1] = source + source_pages.astype(np.uint64) * PAGE_BYTES
            table = host.to(self._device, non_blocking=True)
            at = table.data_ptr()
            _ext.cuda().copy_blocks_by_kernel(
                at, at + 8 * count, count, PAGE_BYTES, self._thread_blocks[direction], self._handles[direction]
            )
        return table

    def mark(self, direction: Direction) -> Mark:
        return CudaMark(self._streams[direction])

    def join(self, mark: Mark) -> None:
        assert isinstance(mark, CudaMark)
        mark.hold_back(torch.cuda.current_stream(self._device))

    def _current(self) -> AbstractContextManager[object]:
        """With this GPU as the current one; where it is that already, at no cost."""
        if torch.cuda.current_device() == self._device.index:
            return _NOTHING
        return torch.cuda.device(self._device)
