"""Owns what an engine asks of the machine its cache is on, and the answer of a machine without a GPU."""

from __future__ import annotations

import ctypes
import time
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.swap.cost import Direction
from kvbench.swap.pages import Pages
from kvbench.swap.slab import PAGE_BYTES, Slab

Home = Literal["device", "host"]  # memory of the cache's device, or host memory


class Mark(Protocol):
    """A point in the work of one direction."""

    def done(self) -> bool:
        """Whether all work before it is finished. Never waits."""

    def wait(self) -> None:
        """Until it is."""

    def seconds_since(self, earlier: Mark) -> float:
        """Between two marks of one direction that are done."""


class ControlMemory(NamedTuple):
    """Memory that calls are described in: as the host sees it, and by the address where the kernels read it."""

    host: NDArray[np.uint8]
    kernel_address: int
    keep: object  # what owns it


class Device(Protocol):
    """Enqueues work in order, one order for stores and one for loads; no method but `Mark.wait` waits for it."""

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """Which sort of machine."""

    def thread_blocks(self, direction: Direction) -> int:
        """The most that a kernel of this direction has at a time; threads on the CPU."""

    def near_node(self) -> int | None:
        """The NUMA node of host memory next to it; None where it is not known, or there is only one."""

    def slab_address(self, slab: Slab) -> int:
        """Where the kernels find a slab."""

    def upload(self, values: NDArray[Any]) -> tuple[int, object]:
        """A copy for the kernels that stays: its address, and what owns it."""

    def control(self, size_bytes: int) -> ControlMemory:
        """Memory for descriptions of calls."""

    def ring(self, size_bytes: int) -> tuple[int, object]:
        """Memory next to the cache, for staging: its address, and what owns it."""

    def begin(self, direction: Direction) -> None:
        """Work of this direction comes after what the caller has enqueued so far."""

    def send(self, direction: Direction, memory: ControlMemory, size_bytes: int) -> None:
        """Let the kernels see the first bytes of a description."""

    def store(self, call: kv_blocks.Call, cursors: int, streams: int, home: Home, checksum: bool) -> None:
        """Blocks to slots: `kv_blocks.store`, or its form on this device."""

    def load(self, call: kv_blocks.Call, streams: int, statuses: int, checksum: bool) -> None:
        """Slots to blocks: `kv_blocks.load`, or its form on this device."""

    def copy_pages(
        self, direction: Direction, target: int, target_pages: Pages, source: int, source_pages: Pages
    ) -> object:
        """Pages of one memory to pages of another; gives back what has to be kept until it is done."""

    def mark(self, direction: Direction) -> Mark:
        """Here."""

    def join(self, mark: Mark) -> None:
        """Let what the caller enqueues from now on come after a mark."""


class HostMark:
    """A time: the CPU's work is done when it is asked for."""

    def __init__(self) -> None:
        self._at_ns = time.perf_counter_ns()

    def done(self) -> bool:
        return True

    def wait(self) -> None:
        """Nothing is left to wait for."""

    def seconds_since(self, earlier: Mark) -> float:
        assert isinstance(earlier, HostMark)
        return (self._at_ns - earlier._at_ns) * 1e-9


class HostDevice:
    """A cache in host memory: work is done at once, in the caller's thread and `threads` of the codec's (0: all)."""

    kind: Literal["cpu"] = "cpu"

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads

    def thread_blocks(self, direction: Direction) -> int:
        return self._threads or torch.get_num_threads()

    def near_node(self) -> int | None:
        return None

    def slab_address(self, slab: Slab) -> int:
        return slab.address

    def upload(self, values: NDArray[Any]) -> tuple[int, object]:
        kept = values.copy()
        return kept.ctypes.data, kept

    def control(self, size_bytes: int) -> ControlMemory:
        memory = torch.zeros(size_bytes, dtype=torch.uint8).numpy()
        return ControlMemory(memory, memory.ctypes.data, memory)

    def ring(self, size_bytes: int) -> tuple[int, object]:
        memory = torch.empty(size_bytes, dtype=torch.uint8)
        return memory.data_ptr(), memory

    def begin(self, direction: Direction) -> None:
        """The caller's work is done already."""

    def send(self, direction: Direction, memory: ControlMemory, size_bytes: int) -> None:
        """The kernels read what the host writes."""

    def store(self, call: kv_blocks.Call, cursors: int, streams: int, home: Home, checksum: bool) -> None:
        kv_blocks.store(call, cursors, streams, checksum=checksum, threads=self._threads)

    def load(self, call: kv_blocks.Call, streams: int, statuses: int, checksum: bool) -> None:
        kv_blocks.load(call, streams, statuses, checksum=checksum, threads=self._threads)

    def copy_pages(
        self, direction: Direction, target: int, target_pages: Pages, source: int, source_pages: Pages
    ) -> object:
        to, came = (_pages_at(at, pages) for at, pages in ((target, target_pages), (source, source_pages)))
        to[target_pages] = came[source_pages]
        return None

    def mark(self, direction: Direction) -> Mark:
        return HostMark()

    def join(self, mark: Mark) -> None:
        """The caller's work comes later anyway."""


def _pages_at(address: int, pages: Pages) -> NDArray[np.uint64]:
    """The memory at an address up to the last of these pages, a row a page."""
    rows = int(pages.max()) + 1 if pages.size else 0
    words = PAGE_BYTES // 8
    return np.ctypeslib.as_array((ctypes.c_uint64 * (rows * words)).from_address(address)).reshape(rows, words)
