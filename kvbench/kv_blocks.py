"""Owns blocks of a paged key-value cache to and from slots of a slab: the tables' types and the calls on CPU and CUDA.

The contract is in cuszp/cuszp_kv.h and cuszp/cuszp_cuda_kv.h. A plane is K or V of one layer, a move one block of the
cache, a slot is where its streams lie, packed, on pages of the slab. Addresses are integers; the caller keeps what they
point to alive until the call is over, on CUDA until the stream has come past it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kvbench import _ext
from kvbench import cuszp_arguments as checked
from kvbench.errors import UnavailableError, UsageError
from kvbench.kv_tables import (
    ALIGNMENT,
    CHECKSUM_MISMATCH,
    DTYPES,
    FORMS,
    INVALID_ARGUMENT,
    LAYOUTS,
    MOVE,
    OK,
    OUTPUT_TOO_SMALL,
    PLANE,
    SLOT,
    SMALLEST_PAGE,
    STREAM,
    TOO_LARGE,
    Form,
    Layout,
    number_of,
    plane,
    rounded,
    status_text,
)

if TYPE_CHECKING:
    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

__all__ = [
    "ALIGNMENT",
    "CHECKSUM_MISMATCH",
    "DTYPES",
    "FORMS",
    "INVALID_ARGUMENT",
    "LAYOUTS",
    "MOVE",
    "OK",
    "OUTPUT_TOO_SMALL",
    "PLANE",
    "SLOT",
    "SMALLEST_PAGE",
    "STREAM",
    "TOO_LARGE",
    "Call",
    "Form",
    "Home",
    "Layout",
    "call_of",
    "load",
    "load_cuda",
    "plane",
    "rounded",
    "status_text",
    "store",
    "store_cuda",
]

Home = Literal["device", "host"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a store and a load have in common: addresses of the tables, their lengths, and the slab.

    On CUDA the tables are read when the kernel runs and may lie in device or in mapped pinned memory.
    """

    planes: int
    plane_count: int
    moves: int
    move_count: int
    slots: int
    slot_count: int
    page_numbers: int
    slab: int
    page_bytes: int
    dtype: str

    def __post_init__(self) -> None:
        """Raise UsageError for a page size or an element type that no call takes."""
        if self.page_bytes < SMALLEST_PAGE or self.page_bytes & (self.page_bytes - 1):
            raise UsageError(
                f"page_bytes {self.page_bytes} cannot be used: give a power of two, {SMALLEST_PAGE} or more"
            )
        if self.slab % ALIGNMENT:
            raise UsageError(f"a slab at address {self.slab:#x} cannot be used: align it to {ALIGNMENT} bytes")
        number_of(DTYPES, self.dtype, "dtype")

    def _arguments(self) -> tuple[int, int, int, int, int, int, int, int, int, int]:
        return (
            self.planes,
            self.plane_count,
            self.moves,
            self.move_count,
            self.slots,
            self.slot_count,
            self.page_numbers,
            self.slab,
            self.page_bytes,
            DTYPES[self.dtype],
        )


def call_of(
    planes: NDArray[np.void],
    moves: NDArray[np.void],
    slots: NDArray[np.void],
    page_numbers: NDArray[np.uint32],
    slab: int,
    page_bytes: int,
    dtype: str,
) -> Call:
    """A call on tables that are NumPy arrays; the caller holds them until it is over.

    Raises UsageError where one is not of its type or not contiguous.
    """
    for table, expected in ((planes, PLANE), (moves, MOVE), (slots, SLOT), (page_numbers, np.dtype(np.uint32))):
        if table.dtype != expected or not table.flags.c_contiguous:
            raise UsageError(f"a table of dtype {table.dtype} cannot be used: give a contiguous array of {expected}")
    return Call(
        planes=planes.ctypes.data,
        plane_count=planes.size,
        moves=moves.ctypes.data,
        move_count=moves.size,
        slots=slots.ctypes.data,
        slot_count=slots.size,
        page_numbers=page_numbers.ctypes.data,
        slab=slab,
        page_bytes=page_bytes,
        dtype=dtype,
    )


def store(call: Call, cursors: int, streams: int, *, checksum: bool = False, threads: int = 0) -> None:
    """Store every move's block of every plane, on the CPU.

    Args:
        call: the tables.
        cursors: address of a uint64 a slot: bytes used so far; each stream adds what it takes.
        streams: address of plane_count * move_count STREAM, move-major, to write.
        checksum: whether streams get one.
        threads: 0 means one a core; the bytes do not depend on it.

    Raises:
        UsageError: the call makes no sense as a whole. What became of a stream is in its status.
    """
    _call(lambda: _cpu.kv_store(*call._arguments(), cursors, checksum, checked.threads(threads), streams))


def load(call: Call, streams: int, statuses: int, *, checksum: bool = False, threads: int = 0) -> None:
    """Put streams back into the moves' blocks, on the CPU; the inverse of `store`.

    Args:
        call: the tables.
        streams: address of plane_count * move_count STREAM, move-major.
        statuses: address of as many uint32 to write.
        checksum: whether to verify streams that were stored with one.
        threads: 0 means one a core.

    Raises:
        UsageError: the call makes no sense as a whole. What became of a stream is in its status.
    """
    _call(lambda: _cpu.kv_load(*call._arguments(), streams, checksum, checked.threads(threads), statuses))


def store_cuda(
    call: Call,
    cursors: int,
    streams: int,
    *,
    home: Home,
    most_elements: int,
    cuda_stream: int,
    checksum: bool = False,
    most_blocks: int = 0,
) -> None:
    """Enqueue a store on `cuda_stream` of the current device; nothing waits, nothing is allocated.

    Args:
        call: the tables; device memory or mapped pinned memory.
        cursors: device memory (a place is taken by an atomic add), else as in `store`.
        streams: device or mapped pinned memory, else as in `store`; streams take their places in any order.
        home: where the slab is: `host` is mapped pinned memory, by the address that `mapped_pointer` gives.
        most_elements: of the largest block of any plane; larger ones get the status TOO_LARGE.
        cuda_stream: a cudaStream_t as an integer.
        checksum: whether streams get one.
        most_blocks: thread blocks to use at most; 0 for what fills the device.

    Raises:
        UsageError: the call makes no sense as a whole, or CUDA refused it.
        UnavailableError: there is no usable CUDA device.
    """
    cuda = _cuda_module()
    home_number = number_of(cuda.PAGES_HOMES, home, "home")
    _call(
        lambda: cuda.kv_store(
            *call._arguments(), cursors, checksum, home_number, most_elements, most_blocks, streams, cuda_stream
        )
    )


def load_cuda(
    call: Call,
    streams: int,
    statuses: int,
    *,
    most_elements: int,
    cuda_stream: int,
    checksum: bool = False,
    most_blocks: int = 0,
) -> None:
    """Enqueue a load on `cuda_stream` of the current device; arguments and errors as in `store_cuda` and `load`."""
    cuda = _cuda_module()
    _call(
        lambda: cuda.kv_load(*call._arguments(), streams, checksum, most_elements, most_blocks, statuses, cuda_stream)
    )


def _cuda_module() -> ModuleType:
    problem = _ext.cuda_problem()
    if problem is not None:
        raise UnavailableError(f"KV blocks cannot be moved by CUDA ({problem}); use `store` and `load` on the CPU")
    return _ext.cuda()


def _call(call: Callable[[], None]) -> None:
    try:
        call()
    except _cpu.CodecError as error:
        raise UsageError(
            f"the KV-block call cannot be made ({error.args[1]}): check tables, page size and slab"
        ) from error
