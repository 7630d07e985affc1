"""Owns the random traffic of a soak, the books of what is where, and the look at every block that comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench.swap.engine import SwapEngine
from kvbench.swap.jobs import Job
from kvbench.swap.planes import Plane

MOST_A_BATCH = 8
MOST_IN_FLIGHT = 4
_DRAWN = 4096  # random numbers at a time
_RESET_CHANCE = 1e-3


@dataclass
class Traffic:
    """What is in which slot, as the traffic's own books have it."""

    engine: SwapEngine
    checker: Checker
    rng: np.random.Generator
    sources: int
    content: NDArray[np.int64]  # source block by slot; -1 for nothing that is known to be there
    free_targets: list[int]
    stores: dict[int, NDArray[np.int64]] = field(default_factory=dict)  # source blocks by job
    loads: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)  # sources and targets
    jobs: dict[int, Job] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)  # slots that a store is at
    epoch: int = 0
    dropped: int = 0
    _numbers: list[float] = field(default_factory=list)

    def chance(self) -> float:
        if not self._numbers:
            self._numbers = self.rng.random(_DRAWN).tolist()
        return self._numbers.pop()

    def step(self) -> None:
        """One operation, then what is finished."""
        drawn = self.chance()
        if drawn < _RESET_CHANCE:
            self._reset()
        elif drawn < 0.4:
            self._store()
        elif drawn < 0.8:
            self._load()
        else:
            self._free()
        if len(self.jobs) >= MOST_IN_FLIGHT:
            self.engine.wait([next(iter(self.jobs.values()))])
        self.take_finished()

    def take_finished(self) -> None:
        for job, _, dropped in self.engine.poll():
            self.jobs.pop(job.id, None)
            if job.direction == "store":
                self._stored(job, set(dropped.tolist()))
            else:
                sources, targets = self.loads.pop(job.id)
                self.checker.check(sources, targets, job.failed)
                self.free_targets.extend(targets.tolist())

    def _some(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        count = min(len(slots), 1 + int(self.chance() * MOST_A_BATCH))
        start = int(self.chance() * len(slots))
        # Slots that follow each other in the books are at unrelated places of the slab after a while.
        return slots[(start + np.arange(count) * 7) % len(slots)] if len(slots) % 7 else slots[start : start + count]

    def _store(self) -> None:
        slots = np.flatnonzero(self.content < 0)
        slots = np.setdiff1d(slots, list(self.busy)) if self.busy else slots
        if not len(slots):
            return
        chosen = np.unique(self._some(slots))
        sources = self.rng.integers(0, self.sources, len(chosen))
        job = self.engine.store(sources, chosen)
        self.stores[job.id], self.jobs[job.id] = sources, job
        self.busy.update(chosen.tolist())

    def _stored(self, job: Job, dropped: set[int]) -> None:
        sources = self.stores.pop(job.id)
        if not len(sources):
            return  # a reset came between
        self.dropped += len(dropped)
        for slot, source in zip(job.slots.tolist(), sources.tolist(), strict=True):
            self.busy.discard(slot)
            if slot in dropped:
                self.engine.free([slot])
            else:
                self.content[slot] = source

    def _load(self) -> None:
        slots = np.flatnonzero(self.content >= 0)
        if not len(slots) or len(self.free_targets) < MOST_A_BATCH:
            return
        chosen = np.unique(self._some(slots))
        targets = np.array([self.free_targets.pop() for _ in chosen], dtype=np.int64)
        job = self.engine.load(chosen, targets)
        self.loads[job.id], self.jobs[job.id] = (self.content[chosen], targets), job

    def _free(self) -> None:
        slots = np.flatnonzero(self.content >= 0)
        if len(slots):
            chosen = np.unique(self._some(slots))
            self.engine.free(chosen)
            self.content[chosen] = -1

    def _reset(self) -> None:
        self.epoch += 1
        self.engine.reset(self.epoch)
        self.content[:] = -1
        self.busy.clear()
        self.stores = {job: np.empty(0, dtype=np.int64) for job in self.stores}


class Checker:
    """Compares blocks with what they may be, all planes at once; planes lie behind each other in one tensor."""

    def __init__(self, planes: tuple[Plane, ...]) -> None:
        self._values = torch.stack([plane.values.reshape(plane.values.shape[0], -1) for plane in planes])
        self._planes = planes
        self._bounds: torch.Tensor | None = None
        self.checked = self.mismatches = self.failed = 0

    def allow(self, bounds: tuple[float | None, ...]) -> None:
        """How far values may be off, by plane; None: not at all."""
        kept = [0.0 if bound is None else bound for bound in bounds]
        self._bounds = torch.tensor(kept, dtype=torch.float64, device=self._values.device)[:, None, None]

    def check(self, sources: NDArray[np.int64], targets: NDArray[np.int64], failed: NDArray[np.bool_]) -> None:
        device = self._values.device
        before = self._values[:, torch.from_numpy(sources).to(device)]
        rows = torch.from_numpy(targets).to(device)
        after = torch.stack([plane.values[rows].reshape(len(targets), -1) for plane in self._planes])
        wrong = before.view(_INTEGERS[before.element_size()]) != after.view(_INTEGERS[after.element_size()])
        if self._bounds is not None and bool(wrong.any()):
            rounding = 0.0 if after.dtype == torch.float32 else torch.finfo(after.dtype).eps / 2
            exact = after.double()
            wrong &= ~((before.double() - exact).abs() <= self._bounds + rounding * exact.abs())
        self.failed += int(failed.sum())
        self.mismatches += int(wrong.any(dim=2).sum())
        self.checked += len(targets) * len(self._planes)


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
