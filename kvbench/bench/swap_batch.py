"""Owns one batch of a swap as it is timed: enqueued and waited for inside the time, tidied up outside of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kvbench.bench.swap_beside import Neighbour
from kvbench.measure.clock import HostClock
from kvbench.measure.cuda_time import RESOLUTION_S
from kvbench.swap.engine import SwapEngine
from kvbench.swap.jobs import Job


class Batch(Protocol):
    """A store or a load of the same blocks again and again."""

    def submit(self) -> Job:
        """Enqueue it."""

    def tidy(self) -> None:
        """Make ready for the next one."""


class StoreBatch:
    """Stores blocks [slots, blocks of a slot] to the first slots of an engine."""

    def __init__(self, engine: SwapEngine, blocks: NDArray[np.int64]) -> None:
        self._engine, self._blocks = engine, blocks
        self._slots = np.arange(len(blocks))
        self.dropped = 0

    def submit(self) -> Job:
        return self._engine.store(self._blocks, self._slots)

    def tidy(self) -> None:
        for finished in self._engine.poll():
            self.dropped += finished.dropped.size
        self._engine.free(self._slots)


class LoadBatch:
    """Loads the first slots of an engine, which have to hold something, to blocks."""

    def __init__(self, engine: SwapEngine, blocks: NDArray[np.int64]) -> None:
        self._engine, self._blocks = engine, blocks
        self._slots = np.arange(len(blocks))

    def submit(self) -> Job:
        return self._engine.load(self._slots, self._blocks)

    def tidy(self) -> None:
        self._engine.poll()


class BatchClock:
    """Times batches one by one: `wall` by the host from the call until the job is done, else on the job's own stream.

    A neighbour is kept at work meanwhile. What a sample is asked to call is the batch itself.
    """

    minimum_sample_s = 2e-4
    resolution_s = RESOLUTION_S

    def __init__(
        self, engine: SwapEngine, batch: Batch, neighbour: Neighbour | None, *, wall: bool, cuda: bool
    ) -> None:
        self._engine, self._batch, self._neighbour = engine, batch, neighbour
        self._wall = wall
        self.name: Literal["host", "cuda_event"] = "cuda_event" if cuda and not wall else "host"
        self._plain = HostClock()
        self.paths: dict[str, int] = {}

    def call(self) -> None:
        """One batch, from the call to the tidying."""
        self.time_s(self.call, 1)

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        if call != self.call:
            return self._plain.time_s(call, calls)  # of nothing, to see what a clock costs
        seconds = 0.0
        for _ in repeat(None, calls):
            if self._neighbour is not None:
                self._neighbour.keep_busy()
            start_ns = time.perf_counter_ns()
            job = self._batch.submit()
            self._engine.wait([job])
            wall_s = (time.perf_counter_ns() - start_ns) * 1e-9
            self._batch.tidy()
            seconds += wall_s if self._wall else job.seconds
            way = "staged" if job.staged_slots else job.path
            self.paths[way] = self.paths.get(way, 0) + 1
        return seconds

    def take_flags(self) -> list[str]:
        return []


def scattered(slots: int, planes_blocks: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Source and target blocks [slots, planes_blocks] at random places of a cache of twice as many."""
    order = np.random.default_rng(seed).permutation(2 * slots * planes_blocks)
    source, target = order.reshape(2, slots, planes_blocks)
    return source, target
