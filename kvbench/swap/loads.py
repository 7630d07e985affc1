"""Owns the way in: from the slab's pages, which the kernels read there or from a copy in the ring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.swap.control import Shape
from kvbench.swap.cost import Path, Sample
from kvbench.swap.jobs import Job, Piece
from kvbench.swap.plans import RAW_PLAN
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.slots import SlotIds
from kvbench.swap.state import EngineState

LEFT_OUT = -1  # a block of a slot that is not wanted back


class Loads:
    """Pieces of loads in flight, in the order in which they were enqueued and will end."""

    def __init__(self, state: EngineState, ring_bytes: int) -> None:
        self._state = state
        self._ring_slots = max(1, ring_bytes // (state.geometry.slot_pages * PAGE_BYTES))
        self._ring: tuple[int, object] | None = None
        self._pieces: list[Piece] = []

    @property
    def in_flight(self) -> int:
        return len(self._pieces)

    def submit(self, job: Job, blocks: NDArray[np.int64]) -> None:
        """Enqueue loads of a job's slots to `blocks` [slots, blocks of a slot], some LEFT_OUT."""
        state = self._state
        plans = state.table.plan[job.slots]
        most = min(state.geometry.piece_slots, self._ring_slots) if job.path == "staged" else state.geometry.piece_slots
        first = 0
        while first < len(blocks):
            # One table of planes a call: slots that were stored with other bounds go in a call of their own.
            others = np.flatnonzero(plans[first:] != plans[first])
            last = min(first + most, first + int(others[0]) if others.size else len(blocks))
            self._enqueue(job, first, last, blocks[first:last], int(plans[first]))
            first = last

    def advance(self) -> list[Job]:
        """Take note of what is done; the jobs whose last piece this ended."""
        ended: list[Job] = []
        done = 0
        for piece in self._pieces:
            if not piece.mark.done():
                break
            done += 1
            self._end(piece, ended)
        if done:
            self._state.loads_finished(self._pieces[done - 1].number)
            del self._pieces[:done]
        return ended

    def wait_oldest(self) -> None:
        """Until the oldest piece in flight has reached its mark."""
        if self._pieces:
            self._pieces[0].mark.wait()

    def _enqueue(self, job: Job, first: int, last: int, blocks: NDArray[np.int64], plan: int) -> None:
        state, ids = self._state, job.slots[first:last]
        staged = job.path == "staged" and plan != RAW_PLAN
        counts = state.table.page_count[ids]
        pages = state.table.pages_of(ids)
        wanted = blocks != LEFT_OUT
        shape = Shape(int(np.count_nonzero(wanted)), len(ids), len(pages), state.geometry.planes)
        control = state.controls.take(shape)
        piece = Piece(job, first, last, plan, control, control.describe(shape))
        description = piece.description
        description.moves["block"] = blocks[wanted]
        description.moves["slot"] = np.nonzero(wanted)[0]
        description.moves["keep_first"] = state.table.keep_first[ids][wanted]
        description.slots["page_count"] = counts
        description.slots["first_page"] = np.cumsum(counts, dtype=np.uint32) - counts
        description.page_numbers[:] = np.arange(len(pages), dtype=np.uint32) if staged else pages
        description.stream_words[:] = state.table.stream_words[ids][wanted]
        state.loads_started += 1
        piece.number = state.loads_started
        state.table.last_load[ids] = piece.number
        self._run(piece, staged, pages)

    def _run(self, piece: Piece, staged: bool, pages: NDArray[np.uint32]) -> None:
        state, device, control = self._state, self._state.device, piece.control
        _, _, _, _, streams, statuses = piece.description.offsets
        device.begin("load")
        start = device.mark("load")
        device.send("load", control.memory, statuses)
        if staged:
            # One ring is enough: a piece's copy comes after all that the piece before it reads there.
            ring = self._ring_address()
            in_ring = np.arange(len(pages), dtype=np.uint32)
            piece.keep = device.copy_pages("load", ring, in_ring, state.slab_address, pages)
            copied = device.mark("load")
            piece.stages.append(("copy", start, copied))
            start = copied
        device.load(
            state.call(piece, self._ring_address() if staged else state.slab_address),
            control.memory.kernel_address + streams,
            control.host_address + statuses,
            state.checksum,
        )
        end = device.mark("load")
        piece.stages.append(("restore" if staged else "raw" if piece.plan == RAW_PLAN else "fused", start, end))
        piece.job.last_mark = end
        piece.job.pieces += 1
        self._pieces.append(piece)

    def _end(self, piece: Piece, ended: list[Job]) -> None:
        state, job = self._state, piece.job
        description = piece.description
        self._note(piece)
        bad = (description.statuses != kv_blocks.OK).any(axis=1)
        if bad.any():
            slots = np.unique(description.moves["slot"][bad])
            job.failed[piece.first + slots] = True
            state.metrics.count("failed_slots", int(slots.size))
        state.controls.give(piece.control)
        job.pieces -= 1
        if job.done:
            ended.append(job)

    def _note(self, piece: Piece) -> None:
        """Count, and tell the cost model."""
        state, job, description = self._state, piece.job, piece.description
        moves = len(description.moves)
        raw_bytes = moves * state.geometry.block_raw_bytes
        moved = int(description.streams["stored_bytes"].sum(dtype=np.int64))
        staged = len(piece.stages) == 2
        path: Path = "staged" if staged else ("raw" if piece.plan == RAW_PLAN else "fused")
        seconds = 0.0
        for stage, start, end in piece.stages:
            stage_s = end.seconds_since(start)
            state.metrics.seconds("stage_seconds", stage_s, direction="load", stage=stage)
            seconds += stage_s
        job.seconds += seconds
        job.moved_bytes += moved
        state.metrics.count("raw_bytes", raw_bytes, direction="load")
        state.metrics.count("moved_bytes", moved, direction="load")
        state.metrics.count("blocks", moves, direction="load", path=path)
        if raw_bytes:
            state.cost.add("load", path, Sample(raw_bytes, moved, seconds))

    def _ring_address(self) -> int:
        if self._ring is None:
            self._ring = self._state.device.ring(self._ring_slots * self._state.geometry.slot_pages * PAGE_BYTES)
        return self._ring[0]


def stored_bytes(state: EngineState, ids: SlotIds) -> int:
    """Bytes of the slots' streams."""
    return int(state.table.bytes[ids].sum(dtype=np.int64))
