"""Owns the slab: the one piece of host memory that an engine keeps blocks in, of exact size, pinned for a GPU."""

from __future__ import annotations

import mmap
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch

from kvbench.errors import UnavailableError, UsageError
from kvbench.measure import numa

PAGE_BYTES = 4096
_MAPPED_FOR_ALL = 1 | 2  # cudaHostRegisterPortable | cudaHostRegisterMapped


class Slab:
    """Anonymous memory of `size_bytes` rounded down to whole pages; it ends with the process, however that ends.

    `pinned` registers it with CUDA, so that kernels and copy engines reach it. `node` is the NUMA node its pages are
    to come from; None leaves that to the kernel. Raises UsageError for a size below a page, and UnavailableError where
    the system refuses the memory, the node or the pinning.
    """

    def __init__(self, size_bytes: int, *, pinned: bool, node: int | None = None) -> None:
        self.pages = size_bytes // PAGE_BYTES
        if self.pages < 1:
            raise UsageError(f"a limit of {size_bytes} bytes is less than one page of {PAGE_BYTES}; give a larger one")
        self._pinned = False
        try:
            self._memory = mmap.mmap(-1, self.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError) as error:
            raise UnavailableError(
                f"the system gives no {self.size_bytes} bytes of memory ({error}); lower the limit"
            ) from None
        with suppress(OSError):  # fewer, larger pages are only faster
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self.values = torch.frombuffer(self._memory, dtype=torch.uint8)
        if node is not None:
            self._place(node)
        if pinned:
            self._pin()

    @property
    def size_bytes(self) -> int:
        return self.pages * PAGE_BYTES

    @property
    def address(self) -> int:
        """Of the host; on the devices that pinning is for kernels use it as well (unified addressing)."""
        return self.values.data_ptr()

    def close(self) -> None:
        """Give the memory back. Nothing may use it any more. Again: nothing."""
        if self._pinned:
            self._pinned = False
            problem = _cudart().cudaHostUnregister(self.address)
            if int(problem) != 0:
                raise UnavailableError(f"CUDA did not unpin {self.size_bytes} bytes of host memory ({problem})")
        if hasattr(self, "values"):
            del self.values
            self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self, node: int) -> None:
        try:
            numa.bind(self.address, self.size_bytes, node)
        except OSError as error:
            raise UnavailableError(
                f"host memory cannot be placed on NUMA node {node}: {error.strerror or error}; leave the node out, or "
                "run where the process may place memory (CAP_SYS_NICE in a container)"
            ) from None

    def _pin(self) -> None:
        problem = _cudart().cudaHostRegister(self.address, self.size_bytes, _MAPPED_FOR_ALL)
        if int(problem) != 0:
            with suppress(RuntimeError):
                torch.zeros(1, device="cuda")  # meets CUDA's record of the refusal, so that no later call does
            raise UnavailableError(
                f"CUDA cannot pin {self.size_bytes} bytes of host memory ({problem}); lower the limit"
            )
        self._pinned = True


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
