"""Owns the way out: straight into the slab's pages, or by a ring next to the cache where room is short."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvbench.swap.control import Shape
from kvbench.swap.device import Mark
from kvbench.swap.jobs import Job, Piece
from kvbench.swap.pages import PagePool, Pages
from kvbench.swap.plans import RAW_PLAN
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.state import EngineState, pages_for
from kvbench.swap.stored import drop, measure, settle

Blocks = NDArray[np.int64]  # [slots, blocks of a slot]


@dataclass(eq=False, slots=True)
class _Queued:
    """Slots of a job that wait for a place in the ring."""

    job: Job
    first: int
    blocks: Blocks
    keep_first: NDArray[np.uint32]
    plan: int


class Stores:
    """Pieces of stores in flight, oldest first. Nothing here waits, but for `wait_oldest`."""

    def __init__(self, state: EngineState, ring_bytes: int) -> None:
        self._state = state
        slot_pages = state.geometry.slot_pages
        self._ring_slots = max(1, ring_bytes // (slot_pages * PAGE_BYTES))
        self._ring: tuple[int, object] | None = None
        self._regions = PagePool(self._ring_slots)
        self._queued: deque[_Queued] = deque()
        self._pieces: list[Piece] = []

    @property
    def in_flight(self) -> int:
        return len(self._pieces) + len(self._queued)

    def held_pages(self) -> int:
        """Pages of the slab that pieces in flight hold."""
        return sum(len(piece.pages) for piece in self._pieces if piece.pages is not None)

    def submit(self, job: Job, blocks: Blocks, keep_first: NDArray[np.uint32], plan: int) -> None:
        """Enqueue a job's slots by its path; what finds no room that way goes by the ring if coded, or is dropped."""
        state, piece_slots = self._state, self._state.geometry.piece_slots
        for first in range(0, len(blocks), piece_slots):
            some, kept = blocks[first : first + piece_slots], keep_first[first : first + piece_slots]
            direct = 0 if job.path == "staged" else self._direct(job, first, some, kept, plan)
            if direct == len(some):
                continue
            rest = first + direct
            ringed = plan if job.path != "raw" else self._coded_plan()
            if ringed == RAW_PLAN:
                drop(state, job, rest, first + len(some))
                continue
            job.pieces += 1
            job.by_ring = True
            self._queued.append(_Queued(job, rest, some[direct:], kept[direct:], ringed))
        self._start_queued()
        if job.pieces == 0:
            state.metrics.gauge("jobs", 0)

    def advance(self) -> list[Job]:
        """Take note of what is done and enqueue what follows; the jobs whose last piece this ended."""
        ended: list[Job] = []
        self._pieces, pieces = [], self._pieces
        for piece in pieces:
            if not piece.mark.done():
                self._pieces.append(piece)
            elif piece.regions is not None and piece.fits is None:
                self._copy_out(piece)
                if piece.keep is not None:
                    self._pieces.append(piece)
                else:
                    self._end(piece, ended)
            else:
                self._end(piece, ended)
        if self._queued:
            self._start_queued()
        return ended

    def wait_oldest(self) -> None:
        """Until the oldest piece in flight has reached its mark."""
        if self._pieces:
            self._pieces[0].mark.wait()

    def forget_queued(self) -> list[Job]:
        """Give up what has not been started; the jobs that this ended."""
        ended = []
        for queued in self._queued:
            drop(self._state, queued.job, queued.first, queued.first + len(queued.blocks))
            queued.job.pieces -= 1
            if queued.job.done:
                ended.append(queued.job)
        self._queued.clear()
        return ended

    def _coded_plan(self) -> int:
        """The plan for raw batches that find no room as they are."""
        return 1 if self._state.plans.settled and self._state.plans[1].coded else RAW_PLAN

    def _direct(self, job: Job, first: int, blocks: Blocks, keep_first: NDArray[np.uint32], plan: int) -> int:
        """Enqueue a store into raw-size room for as many slots as there is room for; how many."""
        state, slot_pages, count = self._state, self._state.geometry.slot_pages, len(blocks)
        pages = state.take_pages(count * slot_pages)
        if pages is None:
            count = state.pool.free // slot_pages
            pages = state.pool.take(count * slot_pages) if count else None
        if pages is None:
            return 0
        piece = self._piece(job, first, blocks[:count], keep_first[:count], plan, pages)
        piece.pages = pages
        self._run(piece, state.slab_address, on_host=True, stage="raw" if plan == RAW_PLAN else "fused")
        return count

    def _start_queued(self) -> None:
        """Enqueue stores into the ring for as many of those that wait as there are places."""
        while self._queued and self._regions.free:
            queued = self._queued[0]
            count = min(len(queued.blocks), self._regions.free, self._state.geometry.piece_slots)
            regions = self._regions.take(count)
            assert regions is not None
            ring = self._ring_address()
            numbers = self._ring_pages(regions).reshape(-1)
            piece = self._piece(
                queued.job, queued.first, queued.blocks[:count], queued.keep_first[:count], queued.plan, numbers
            )
            piece.regions = regions
            queued.job.staged_slots += count
            self._run(piece, ring, on_host=False, stage="compress")
            if count == len(queued.blocks):
                self._queued.popleft()
                queued.job.pieces -= 1
            else:
                queued.first += count
                queued.blocks, queued.keep_first = queued.blocks[count:], queued.keep_first[count:]

    def _piece(
        self, job: Job, first: int, blocks: Blocks, keep_first: NDArray[np.uint32], plan: int, numbers: Pages
    ) -> Piece:
        """Describe a store of slots that have raw-size room on the pages `numbers`, slot after slot."""
        geometry, count = self._state.geometry, len(blocks)
        shape = Shape(blocks.size, count, len(numbers), geometry.planes)
        control = self._state.controls.take(shape)
        description = control.describe(shape)
        moves, slots = description.moves, description.slots
        moves["block"] = blocks.reshape(-1)
        moves["slot"] = np.arange(blocks.size, dtype=np.uint32) // geometry.slot_blocks
        moves["keep_first"] = keep_first.reshape(-1)
        slots["first_page"] = np.arange(0, count * geometry.slot_pages, geometry.slot_pages, dtype=np.uint32)
        slots["page_count"] = geometry.slot_pages
        description.page_numbers[:] = numbers
        job.pieces += 1
        return Piece(job, first, first + count, plan, control, description)

    def _run(self, piece: Piece, slab: int, *, on_host: bool, stage: str) -> None:
        state = self._state
        _, _, cursors, _, streams, _ = piece.description.offsets
        device, control = state.device, piece.control
        device.begin("store")
        start = device.mark("store")
        device.send("store", control.memory, streams)
        device.store(
            state.call(piece, slab),
            control.memory.kernel_address + cursors,
            control.host_address + streams,
            "host" if on_host else "device",
            state.checksum,
        )
        self._marked(piece, stage, start)

    def _marked(self, piece: Piece, stage: str, start: Mark) -> None:
        end = self._state.device.mark("store")
        piece.stages.append((stage, start, end))
        piece.job.last_mark = end
        if len(piece.stages) == 1:
            self._pieces.append(piece)

    def _copy_out(self, piece: Piece) -> None:
        """Sizes are known: take exact pages for as many slots as there is room for, and copy them there."""
        state, regions = self._state, piece.regions
        assert regions is not None
        used = measure(piece)
        wanted = pages_for(used)
        wanted[state.table.generation[piece.ids] != piece.job.generations[piece.first : piece.last]] = 0
        wanted[used == 0] = 0
        needed = np.cumsum(wanted)
        if not state.make_room(int(needed[-1])):
            needed = needed[needed <= state.pool.free]
        piece.fits = np.arange(len(wanted)) < len(needed)
        piece.fits &= wanted > 0
        counts = np.where(piece.fits, wanted, 0)
        pages = state.pool.take(int(counts.sum()))
        assert pages is not None
        piece.pages = pages
        if not len(pages):
            return
        source = self._ring_pages(regions)[state.slot_page_numbers < counts[:, None]]
        start = state.device.mark("store")
        ring = self._ring_address()
        copied = state.device.copy_pages("store", state.slab_address, pages, ring, source)
        piece.keep = (copied,)
        self._marked(piece, "copy", start)

    def _end(self, piece: Piece, ended: list[Job]) -> None:
        state, job = self._state, piece.job
        settle(state, piece)
        if piece.regions is not None:
            self._regions.give(piece.regions)
        state.controls.give(piece.control)
        job.pieces -= 1
        if job.done:
            ended.append(job)

    def _ring_pages(self, regions: Pages) -> Pages:
        """The pages of places in the ring, a row a place."""
        each = self._state.slot_page_numbers
        return regions[:, None] * np.uint32(len(each)) + each

    def _ring_address(self) -> int:
        if self._ring is None:
            self._ring = self._state.device.ring(self._ring_slots * self._state.geometry.slot_pages * PAGE_BYTES)
        return self._ring[0]
