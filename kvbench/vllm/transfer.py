"""Owns a rank's transfers: vLLM's jobs on one swap engine, and what becomes of them when something fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kvbench.errors import UsageError
from kvbench.measure.nvtx import marked
from kvbench.swap.jobs import Finished, Job
from kvbench.swap.metrics import Metrics
from kvbench.swap.slab import PAGE_BYTES
from kvbench.vllm.metrics import Increments
from kvbench.vllm.reports import DROPPED, StoreOrder, StoreReport, WorkerReport

logger = logging.getLogger(__name__)
_LEFT_OUT = -1
_NEVER = 1 << 62  # a stamp no store has


class Swap(Protocol):
    """What a transfer needs of `kvbench.swap.SwapEngine`."""

    def store(
        self, src_blocks: NDArray[np.int64], slot_ids: NDArray[np.int64], *, starts: NDArray[np.bool_]
    ) -> Job: ...
    def load(self, slot_ids: NDArray[np.int64], dst_blocks: NDArray[np.int64]) -> Job: ...
    def poll(self) -> list[Finished]: ...
    def wait(self, jobs: Iterable[Job]) -> None: ...
    def free(self, slot_ids: NDArray[np.int64]) -> None: ...
    def reset(self, epoch: int) -> None: ...
    def close(self) -> None: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def limit_bytes(self) -> int: ...


class GpuBlocks(NamedTuple):
    """vLLM's GPULoadStoreSpec: blocks of all cache groups, one group after the other.

    `first[i]` is the place of group i's first block in its request, counted in blocks.
    """

    ids: NDArray[np.integer]
    group_sizes: Sequence[int]
    first: Sequence[int]


class Done(NamedTuple):
    """A job that ended; it always counts as a success for vLLM, which knows no other end."""

    job_id: int
    is_store: bool
    moved_bytes: int
    seconds: float


@dataclass(slots=True)
class _Running:
    """A job of vLLM's that the engine is at."""

    job: Job
    order: StoreOrder | None  # of a store
    blocks: NDArray[np.int64] | None  # of a load: vLLM's blocks [slots, blocks of a slot], LEFT_OUT where none


class TransferEngine:
    """Stores and loads for vLLM's worker. No call raises; only `wait` waits.

    A store that fails ends as dropped. A load that fails ends with its blocks among `take_bad_blocks`, so that vLLM
    computes them anew. After an error that is not about one job the engine is given up: nothing is stored any more and
    every load fails, the server goes on.
    """

    def __init__(self, engine: Swap, *, rank: int, slot_blocks: int, kernel_blocks: int = 1) -> None:
        """`slot_blocks` blocks of vLLM are a slot; `kernel_blocks` blocks of the engine's cache are one of vLLM's."""
        self._engine, self._rank = engine, rank
        self._slot_blocks, self._kernel_blocks = slot_blocks, kernel_blocks
        self._running: dict[int, _Running] = {}
        self._job_ids: dict[int, int] = {}  # engine's job -> vLLM's
        self._ended: list[Done] = []
        self._stamps: dict[int, int] = {}  # slots that hold something or are about to -> the store that put it there
        self._epoch = 0
        self._report = WorkerReport()
        self._bad_blocks: set[int] = set()
        self._failed_loads: set[int] = set()
        self._increments = Increments(engine.metrics, rank)
        self._given_up = False
        self._closed = False

    def submit_store(self, job_id: int, order: StoreOrder, source: GpuBlocks) -> None:
        """Enqueue a store; slots that an earlier store gave up are freed first."""
        with marked("store"):
            try:
                self._begin_epoch(order.epoch)
                if self._given_up or order.epoch < self._epoch:
                    self._end_dropped(job_id, order)
                    return
                self._free_for(order)
                blocks, starts = self._blocks(source, len(order.slots))
                self._fill_gaps(blocks)
                slots = np.array(order.slots, dtype=np.int64)
                job = self._engine.store(self._kernel(blocks), slots, starts=self._kernel_starts(starts))
                self._stamps.update(dict.fromkeys(order.slots, order.stamp))
                self._remember(job_id, _Running(job, order, None))
            except UsageError:
                self._problem(f"store {job_id} of {len(order.slots)} slots")
                self._end_dropped(job_id, order)
            except Exception:  # noqa: BLE001  whatever it is, it would end vLLM's engine
                self._give_up_engine("store")
                self._end_dropped(job_id, order)

    def submit_load(self, job_id: int, slots: NDArray[np.integer], target: GpuBlocks) -> None:
        """Enqueue a load."""
        with marked("load"):
            blocks: NDArray[np.int64] | None = None
            try:
                blocks, _ = self._blocks(target, len(slots))
                if self._given_up:
                    self._end_failed(job_id, slots, blocks)
                    return
                job = self._engine.load(np.asarray(slots, dtype=np.int64), self._kernel(blocks))
                self._remember(job_id, _Running(job, None, blocks))
            except UsageError:
                self._problem(f"load {job_id} of {len(slots)} slots")
                self._end_failed(job_id, slots, blocks if blocks is not None else np.asarray(target.ids))
            except Exception:  # noqa: BLE001
                self._give_up_engine("load")
                self._end_failed(job_id, slots, blocks if blocks is not None else np.asarray(target.ids))

    def poll(self) -> list[Done]:
        """What has ended since the last call."""
        try:
            if self._running:
                self._take_finished()
        except Exception:  # noqa: BLE001
            self._give_up_engine("poll")
        ended, self._ended = self._ended, []
        return ended

    def wait(self, job_ids: Iterable[int]) -> None:
        """Until these jobs have ended; ids that are not known, or have ended, are passed over."""
        jobs = [self._running[job_id].job for job_id in job_ids if job_id in self._running]
        if not jobs:
            return
        with marked("wait"):
            try:
                self._engine.wait(jobs)
                self._take_finished()
            except Exception:  # noqa: BLE001
                self._give_up_engine("wait")

    def take_report(self) -> WorkerReport:
        """What the scheduler has to know since the last call."""
        report, self._report = self._report, WorkerReport()
        if not self._given_up and not self._closed:
            self._increments.take(report)
            rank = (("rank", str(self._rank)),)
            report.gauges["pages", rank] = self._engine.limit_bytes // PAGE_BYTES
            report.gauges["slots_in_use", rank] = len(self._stamps)
        return report

    def take_bad_blocks(self) -> set[int]:
        """vLLM's blocks whose loads failed since the last call."""
        bad, self._bad_blocks = self._bad_blocks, set()
        return bad

    def take_failed_loads(self) -> set[int]:
        """Load jobs that failed, wholly or in part, since the last call."""
        failed, self._failed_loads = self._failed_loads, set()
        return failed

    def shutdown(self) -> None:
        """End what is in flight and give all memory back. Again: nothing."""
        if self._closed:
            return
        self._closed = self._given_up = True
        self._running.clear()
        try:
            self._engine.close()
        except Exception:
            logger.exception("kvbench: the swap engine of rank %d did not close cleanly", self._rank)

    def _begin_epoch(self, epoch: int) -> None:
        if epoch > self._epoch:
            self._epoch = epoch
            self._stamps.clear()
            if not self._given_up:
                self._engine.reset(epoch)

    def _free_for(self, order: StoreOrder) -> None:
        """Free what was given up before this store. Stores may come out of order, hence the stamps."""
        gone = [slot for slot in order.freed if self._stamps.get(slot, _NEVER) < order.stamp]
        gone += [slot for slot in order.slots if slot in self._stamps and slot not in order.freed]
        for slot in gone:
            del self._stamps[slot]
        if gone:
            self._engine.free(np.array(gone, dtype=np.int64))

    def _blocks(self, given: GpuBlocks, slots: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """vLLM's blocks as [slots, blocks of a slot], LEFT_OUT where a slot has none, and which begin a sequence."""
        table = np.full((slots, self._slot_blocks), _LEFT_OUT, dtype=np.int64)
        starts = np.zeros_like(table, dtype=np.bool_)
        flat, flat_starts = table.reshape(-1), starts.reshape(-1)
        slot = taken = 0
        for size, first in zip(given.group_sizes, given.first, strict=True):
            if size == 0:
                continue
            skipped = first % self._slot_blocks
            begin = slot * self._slot_blocks + skipped
            flat[begin : begin + size] = given.ids[taken : taken + size]
            flat_starts[begin] = first == 0
            slot += -(-(skipped + size) // self._slot_blocks)
            taken += size
        if slot != slots:
            raise UsageError(f"{taken} blocks make {slot} slots, vLLM named {slots}")
        return table, starts

    def _fill_gaps(self, blocks: NDArray[np.int64]) -> None:
        """A slot with fewer blocks repeats one of its own: the engine stores whole slots."""
        gaps = blocks == _LEFT_OUT
        if gaps.any():
            blocks[gaps] = np.broadcast_to(blocks.max(axis=1)[:, None], blocks.shape)[gaps]

    def _kernel(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """vLLM's blocks as the engine's, [slots, engine's blocks of a slot]."""
        if self._kernel_blocks == 1:
            return blocks
        parts = blocks[:, :, None] * self._kernel_blocks + np.arange(self._kernel_blocks)
        parts[blocks == _LEFT_OUT] = _LEFT_OUT
        return parts.reshape(len(blocks), -1)

    def _kernel_starts(self, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self._kernel_blocks == 1:
            return starts
        parts = np.zeros((*starts.shape, self._kernel_blocks), dtype=np.bool_)
        parts[:, :, 0] = starts
        return parts.reshape(len(starts), -1)

    def _remember(self, job_id: int, running: _Running) -> None:
        self._running[job_id] = running
        self._job_ids[running.job.id] = job_id

    def _take_finished(self) -> None:
        for job, slot_bytes, _ in self._engine.poll():
            job_id = self._job_ids.pop(job.id, None)
            running = self._running.pop(job_id, None) if job_id is not None else None
            if job_id is None or running is None:
                continue
            if running.order is not None:
                pages = np.where(job.dropped, DROPPED, -(-slot_bytes // PAGE_BYTES))
                self._note_store(running.order, pages.tolist())
            elif job.failed.any():
                assert running.blocks is not None
                self._note_failed(job_id, job.slots[job.failed], running.blocks[job.failed])
            self._ended.append(Done(job_id, running.order is not None, job.moved_bytes, job.seconds))

    def _note_store(self, order: StoreOrder, pages: Sequence[int]) -> None:
        self._report.stores.append(StoreReport(self._rank, order.stamp, order.slots, tuple(pages)))

    def _note_failed(self, job_id: int, slots: NDArray[np.integer], blocks: NDArray[np.integer]) -> None:
        self._bad_blocks.update(blocks[blocks != _LEFT_OUT].tolist())
        self._report.unreadable.update((self._epoch, int(slot)) for slot in slots)
        self._failed_loads.add(job_id)

    def _end_dropped(self, job_id: int, order: StoreOrder) -> None:
        self._note_store(order, [DROPPED] * len(order.slots))
        self._ended.append(Done(job_id, True, 0, 0.0))

    def _end_failed(self, job_id: int, slots: NDArray[np.integer], blocks: NDArray[np.integer]) -> None:
        self._note_failed(job_id, slots, blocks)
        self._ended.append(Done(job_id, False, 0, 0.0))

    def _problem(self, what: str) -> None:
        """To be called where an exception is handled."""
        logger.exception("kvbench: %s failed on rank %d; vLLM goes on without these blocks", what, self._rank)

    def _give_up_engine(self, what: str) -> None:
        """To be called where an exception is handled: end all jobs as failed, and start no more."""
        logger.exception("kvbench: %s failed on rank %d; offloading ends, vLLM goes on without it", what, self._rank)
        self._given_up = True
        for job_id, running in self._running.items():
            if running.order is not None:
                self._end_dropped(job_id, running.order)
            else:
                assert running.blocks is not None
                self._end_failed(job_id, running.job.slots, running.blocks)
        self._running.clear()
        self._job_ids.clear()
