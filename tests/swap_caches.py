"""Small caches for tests of the swap engine, and a device whose work is done only when a test lets it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch

from kvbench import kv_blocks
from kvbench.bound import Bound
from kvbench.swap.coding import cuszp_coding, raw_coding
from kvbench.swap.cost import Direction
from kvbench.swap.device import Home, HostDevice, Mark
from kvbench.swap.engine import SwapEngine
from kvbench.swap.planes import Plane, planes_of

TOKENS, HEADS, SIZE = 4, 2, 32
BOUND = 0.01


def cache(blocks: int = 32, layers: int = 2, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    """[layers, 2, blocks, tokens, heads, size] of standard normal values, every block another."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(layers, 2, blocks, TOKENS, HEADS, SIZE, generator=generator)
    return values.to(dtype).to(device)


def planes(values: torch.Tensor) -> tuple[Plane, ...]:
    """The planes of `cache`."""
    return planes_of(values, "lkbthc")


def engine(values: torch.Tensor, *, coded: bool = True, limit_slots: float = 16, **options) -> SwapEngine:
    """An engine with room for so many raw slots, coded with the absolute bound BOUND or raw."""
    of = planes(values)
    coding = cuszp_coding(of, Bound(kind="abs", value=BOUND)) if coded else raw_coding(of)
    slot_bytes = sum(plane.block_bytes for plane in of) * options.get("slot_blocks", 1)
    pages = -(-slot_bytes // 4096)
    return SwapEngine(of, coding, limit_bytes=int(limit_slots * pages * 4096), **options)


def block(values: torch.Tensor, number: int) -> torch.Tensor:
    """One block on all planes, on the CPU."""
    return values[:, :, number].cpu()


class _HeldMark:
    def __init__(self, device: HeldDevice, direction: Direction) -> None:
        self._device, self._direction = device, direction
        self._after = device.ran_of[direction] + len(device.work[direction])

    def done(self) -> bool:
        return self._device.ran_of[self._direction] >= self._after

    def wait(self) -> None:
        self._device.run(self._after - self._device.ran_of[self._direction], self._direction)

    def seconds_since(self, earlier: Mark) -> float:
        return 1e-6


class HeldDevice(HostDevice):
    """Does its work when `run` or a mark's `wait` says so: stores in their order and loads in theirs."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.work: dict[Direction, deque[Callable[[], object]]] = {"store": deque(), "load": deque()}
        self.ran_of: dict[Direction, int] = {"store": 0, "load": 0}

    @property
    def ran(self) -> int:
        """Pieces of work that are done."""
        return sum(self.ran_of.values())

    def run(self, count: int = 1 << 30, direction: Direction | None = None) -> None:
        """Do the next `count` pieces of work of one direction, or of each."""
        for way in ("store", "load") if direction is None else (direction,):
            for _ in range(min(count, len(self.work[way]))):
                self.work[way].popleft()()
                self.ran_of[way] += 1

    def store(self, call: kv_blocks.Call, cursors: int, streams: int, home: Home, checksum: bool) -> None:
        do = super().store
        self.work["store"].append(lambda: do(call, cursors, streams, home, checksum))

    def load(self, call: kv_blocks.Call, streams: int, statuses: int, checksum: bool) -> None:
        do = super().load
        self.work["load"].append(lambda: do(call, streams, statuses, checksum))

    def copy_pages(
        self, direction: Direction, target: int, target_pages: np.ndarray, source: int, source_pages: np.ndarray
    ) -> object:
        do = super().copy_pages
        self.work[direction].append(lambda: do(direction, target, target_pages, source, source_pages))
        return None

    def mark(self, direction: Direction) -> Mark:
        return _HeldMark(self, direction)
