"""Owns copies of one whole piece of memory, one way or both ways at once, and the look at every byte they left."""

from __future__ import annotations

from typing import Protocol

import torch

from kvbench.measure.host_memory import HostMemory
from kvbench.record.schema import Case

MAX_PAIRS = 4096


class Copies(Protocol):
    """Copies to be timed: each call enqueues one."""

    def __call__(self) -> object:
        """Enqueue the next copy on the current stream."""

    def spoil(self) -> None:
        """Make every byte of the destinations wrong. No copy may be under way."""

    def wrong_bytes(self) -> tuple[int, int]:
        """(bytes that are not as they have to be, bytes looked at) after the calls made since `spoil`."""


class OneWay:
    """Copies sources[i] to destinations[i], the next pair at every call; both are uint8 of [pairs, bytes]."""

    def __init__(self, sources: torch.Tensor, destinations: torch.Tensor, *, non_blocking: bool) -> None:
        self.sources, self.destinations = sources, destinations
        self._pairs = list(zip(sources, destinations, strict=True))
        self._non_blocking = non_blocking
        self._calls = 0

    def __call__(self) -> None:
        source, destination = self._pairs[self._calls % len(self._pairs)]
        destination.copy_(source, non_blocking=self._non_blocking)
        self._calls += 1

    def spoil(self) -> None:
        """A copy into a GPU then finds its bytes as a GPU left them, like those of swapped-out blocks.

        Whether they lie in caches of CPU cores thus does not depend on what the harness did before.
        """
        self._calls = 0
        if self.sources.is_cuda or not self.destinations.is_cuda:
            self.destinations.copy_(~self.sources)
            return
        on_gpu = self.sources.to(self.destinations.device)
        torch.bitwise_not(on_gpu, out=self.destinations)
        self.sources.copy_(on_gpu)

    def wrong_bytes(self) -> tuple[int, int]:
        """Pairs that had no turn must be as wrong as before."""
        copied = min(self._calls, len(self._pairs))
        expected = self.sources.cpu().clone()
        expected[copied:] = ~expected[copied:]
        return different(self.destinations, expected)


class BothWays:
    """A copy out and a copy in, on two streams that start together and that the current stream waits for.

    Streams are switched and events recorded as cheaply as torch allows: both are part of what is timed.
    """

    def __init__(self, out: OneWay, back: OneWay, device_id: int) -> None:
        self._ways = (out, back)
        self._streams = tuple(torch.cuda.Stream(device_id) for _ in self._ways)  # type: ignore[no-untyped-call]
        self._start, *self._ends = (torch.cuda.Event() for _ in range(3))  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        current = torch.cuda.current_stream()
        self._start.record(current)
        for way, stream, end in zip(self._ways, self._streams, self._ends, strict=True):
            stream.wait_event(self._start)
            torch.cuda.set_stream(stream)
            way()
            end.record(stream)
        torch.cuda.set_stream(current)
        for end in self._ends:
            current.wait_event(end)

    def spoil(self) -> None:
        for way in self._ways:
            way.spoil()

    def wrong_bytes(self) -> tuple[int, int]:
        found = [way.wrong_bytes() for way in self._ways]
        return sum(wrong for wrong, _ in found), sum(seen for _, seen in found)


def different(found: torch.Tensor, expected: torch.Tensor) -> tuple[int, int]:
    """(bytes that differ, bytes); `expected` is in host memory."""
    on_host = found.cpu()
    wrong = 0 if torch.equal(on_host, expected) else int((on_host != expected).sum())
    return wrong, expected.numel()


def random_bytes(rows: int, row_bytes: int, seed: int) -> torch.Tensor:
    """uint8 of [rows, row_bytes] in host memory."""
    words = -(-rows * row_bytes // 8)
    generator = torch.Generator().manual_seed(seed)
    content = torch.empty(words, dtype=torch.int64).random_(generator=generator).view(torch.uint8)
    return content[: rows * row_bytes].view(rows, row_bytes)


def gpu(device_id: int) -> torch.device:
    """The GPU with this number."""
    return torch.device("cuda", device_id)


def whole_copies(case: Case, memory: HostMemory, device_id: int) -> Copies:
    """The copies of a case without blocks, with their memory, the sources random.

    Copies within a GPU, and from one to another, go round several pairs, together more than its L2 cache, so that they
    start cold (at most MAX_PAIRS: copies of a few KB are all launch anyway).
    """
    here = gpu(device_id)
    if case.direction in {"d2d", "p2p"}:
        there = here if case.peer_id is None else gpu(case.peer_id)
        l2_bytes = torch.cuda.get_device_properties(device_id).L2_cache_size
        content = random_bytes(min(MAX_PAIRS, 1 + l2_bytes // case.raw_bytes), case.raw_bytes, case.seed)
        return OneWay(content.to(here), torch.empty_like(content, device=there), non_blocking=True)
    content = random_bytes(1, case.raw_bytes, case.seed)
    non_blocking = case.memory != "pageable"
    on_host = memory.pageable if case.memory == "pageable" else memory.pinned
    if case.direction == "host_copy":
        return OneWay(on_host(content), on_host(content), non_blocking=False)
    out = OneWay(content.to(here), on_host(content), non_blocking=non_blocking)
    if case.direction == "d2h":
        return out
    content = random_bytes(1, case.raw_bytes, case.seed + 1)
    back = OneWay(on_host(content), torch.empty_like(content, device=here), non_blocking=non_blocking)
    return back if case.direction == "h2d" else BothWays(out, back, device_id)
