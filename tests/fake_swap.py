"""A swap engine that moves nothing: it keeps what is in which slot, takes pages, ends jobs when told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvbench.errors import UsageError
from kvbench.swap.jobs import Finished
from kvbench.swap.metrics import Metrics
from kvbench.swap.slab import PAGE_BYTES


class FakeSwap:
    """`pages_of(slot)` says what the next content of a slot takes; there are `pages`, never more are used."""

    def __init__(self, pages: int, pages_of: Callable[[int], int]) -> None:
        self.pages, self._pages_of = pages, pages_of
        self.metrics = Metrics()
        self.content: dict[int, tuple[int, ...]] = {}  # slot -> blocks
        self.held: dict[int, int] = {}  # slot -> pages, 0 where nothing was stored
        self.loaded: list[tuple[int, int]] = []  # what was in a slot, block it went to
        self.unreadable: set[int] = set()
        self.epoch = 0
        self.under_way: deque[Any] = deque()
        self._over: list[Any] = []
        self._generation: dict[int, int] = {}
        self._next = 0
        self.closed = False

    @property
    def limit_bytes(self) -> int:
        return self.pages * PAGE_BYTES

    @property
    def used(self) -> int:
        return sum(self.held.values())

    def store(self, src_blocks: NDArray[np.int64], slot_ids: NDArray[np.int64], *, starts: NDArray[np.bool_]) -> Any:
        for slot in slot_ids.tolist():
            if slot in self.held:
                raise UsageError(f"slot {slot} is in use")
        job = self._job("store", slot_ids)
        job.source = src_blocks
        for slot in slot_ids.tolist():
            self.held[slot] = 0
            self._generation[slot] = job.id
        return job

    def load(self, slot_ids: NDArray[np.int64], dst_blocks: NDArray[np.int64]) -> Any:
        for slot in slot_ids.tolist():
            if slot in self.held and slot not in self.content:
                self.finish(len(self.under_way))
            if slot not in self.content:
                raise UsageError(f"slot {slot} holds nothing")
        job = self._job("load", slot_ids)
        for row, slot in enumerate(slot_ids.tolist()):
            for kept, block in zip(self.content[slot], dst_blocks[row].tolist(), strict=True):
                if block >= 0 and slot not in self.unreadable:
                    self.loaded.append((kept, block))
            job.failed[row] = slot in self.unreadable
        return job

    def finish(self, count: int) -> None:
        """End the oldest jobs."""
        for _ in range(min(count, len(self.under_way))):
            job = self.under_way.popleft()
            if job.direction == "store":
                self._settle(job)
            self._over.append(job)

    def poll(self) -> list[Finished]:
        over, self._over = self._over, []
        return [Finished(job, job.slot_bytes, job.slots[job.dropped]) for job in over]

    def wait(self, jobs: Iterable[Any]) -> None:
        while any(job in self.under_way for job in jobs):
            self.finish(1)

    def free(self, slot_ids: NDArray[np.int64]) -> None:
        for slot in slot_ids.tolist():
            if slot not in self.held:
                raise UsageError(f"slot {slot} holds nothing; was it freed twice?")
            del self.held[slot]
            self.content.pop(slot, None)
            self.unreadable.discard(slot)
            self._generation.pop(slot)

    def reset(self, epoch: int) -> None:
        assert epoch > self.epoch
        self.epoch = epoch
        self.held.clear()
        self.content.clear()
        self.unreadable.clear()
        self._generation.clear()

    def close(self) -> None:
        self.closed = True

    def _job(self, direction: str, slots: NDArray[np.int64]) -> Any:
        self._next += 1
        job = SimpleNamespace(
            id=self._next,
            direction=direction,
            slots=slots,
            slot_bytes=np.zeros(len(slots), dtype=np.int64),
            dropped=np.zeros(len(slots), dtype=np.bool_),
            failed=np.zeros(len(slots), dtype=np.bool_),
            moved_bytes=0,
            seconds=0.0,
        )
        self.under_way.append(job)
        return job

    def _settle(self, job: Any) -> None:
        for row, slot in enumerate(job.slots.tolist()):
            needed = self._pages_of(slot)
            mine = self._generation.get(slot) == job.id
            if not mine or self.used + needed > self.pages:
                job.dropped[row] = True
                continue
            self.held[slot] = needed
            self.content[slot] = tuple(job.source[row].tolist())
            job.slot_bytes[row] = needed * PAGE_BYTES
