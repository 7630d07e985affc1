"""Owns host memory for measuring copies: where its pages are, whether they are pinned, and giving it back."""

from __future__ import annotations

import mmap
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch

from kvbench.errors import CaseFailed
from kvbench.measure import numa

_MAPPED = 2  # cudaHostRegisterMapped: kernels can reach the memory too


class HostMemory:
    """Buffers of host memory on one NUMA node, or where the kernel puts them (`node` None), for one `with` block.

    They are anonymous pages of their own, so that their node can be chosen and looked up; memory that CUDA allocates
    allows neither. Pinned ones are those pages, registered with CUDA. No buffer may be used after the block.
    """

    def __init__(self, node: int | None = None) -> None:
        self._node = node
        self._buffers: list[torch.Tensor] = []
        self._pinned: list[torch.Tensor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._pinned:
                torch.cuda.synchronize()
        finally:
            problems = [_cudart().cudaHostUnregister(buffer.data_ptr()) for buffer in self._pinned]
            self._pinned.clear()
            self._buffers.clear()
        refused = [problem for problem in problems if int(problem) != 0]
        if refused and error is None:
            raise CaseFailed("cannot_unpin", f"CUDA did not unpin {len(refused)} host buffers ({refused[0]})")

    def pageable(self, content: torch.Tensor) -> torch.Tensor:
        """A copy of `content` (uint8 in host memory) in ordinary memory, of the same shape.

        Raises CaseFailed where the kernel refuses the node.
        """
        buffer = torch.frombuffer(mmap.mmap(-1, content.numel()), dtype=torch.uint8)
        if self._node is not None:
            try:
                numa.bind(buffer.data_ptr(), buffer.numel(), self._node)
            except OSError as error:
                raise CaseFailed(
                    "numa_refused",
                    f"host memory cannot be placed on NUMA node {self._node}: {error.strerror or error}; "
                    "leave out --numa-node, or run where the process may place memory (CAP_SYS_NICE in a container)",
                ) from None
        buffer.copy_(content.reshape(-1))
        self._buffers.append(buffer)
        return buffer.view(content.shape)

    def pinned(self, content: torch.Tensor) -> torch.Tensor:
        """The same in pinned memory, which the GPU's copy engines and kernels can reach.

        Raises CaseFailed where CUDA cannot pin so much.
        """
        buffer = self.pageable(content).view(-1)
        problem = _cudart().cudaHostRegister(buffer.data_ptr(), buffer.numel(), _MAPPED)
        if int(problem) != 0:
            with suppress(RuntimeError):
                torch.zeros(1, device="cuda")  # meets CUDA's record of the refusal, so that no later call does
            raise CaseFailed(
                "cannot_pin",
                f"CUDA cannot pin {buffer.numel()} bytes of host memory ({problem}); choose a smaller size",
            )
        self._pinned.append(buffer)
        return buffer.view(content.shape)

    def nodes(self) -> frozenset[int] | None:
        """The NUMA nodes on which all of these buffers are; empty without any, None where it cannot be known."""
        found: frozenset[int] = frozenset()
        for buffer in self._buffers:
            nodes = numa.nodes_of(buffer.data_ptr(), buffer.numel())
            if nodes is None:
                return None
            found |= nodes
        return found


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
