"""Owns the end of a store: what its slots took, which pages they keep, and what the tables and figures say of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.swap.cost import Path, Sample
from kvbench.swap.jobs import Job, Piece
from kvbench.swap.plans import RAW_PLAN
from kvbench.swap.slots import SlotState
from kvbench.swap.state import EngineState, pages_for


def settle(state: EngineState, piece: Piece) -> None:
    """Enter a piece that is done into the slot table, its job, the metrics and the cost model."""
    if piece.regions is not None:
        _settle_staged(state, piece)
    else:
        _settle_direct(state, piece)
    _note(state, piece)


def measure(piece: Piece) -> NDArray[np.int64]:
    """Bytes that each slot's streams take; 0 where one of them could not be stored."""
    streams = piece.description.streams
    ends = streams["offset"].astype(np.int64) + streams["stored_bytes"]
    ends = (ends + kv_blocks.ALIGNMENT - 1) & -kv_blocks.ALIGNMENT
    slots = piece.last - piece.first
    used: NDArray[np.int64] = ends.reshape(slots, -1).max(axis=1)
    used[(streams["status"] != kv_blocks.OK).reshape(slots, -1).any(axis=1)] = 0
    piece.used = used
    return used


def _settle_direct(state: EngineState, piece: Piece) -> None:
    """Keep the pages that were needed, give back all others."""
    slot_pages = state.geometry.slot_pages
    used = measure(piece)
    assert piece.pages is not None
    valid = _valid(state, piece) & (used > 0)
    counts = np.where(valid, pages_for(used), 0)
    rows = piece.pages.reshape(-1, slot_pages)
    state.pool.give(rows[state.slot_page_numbers >= counts[:, None]])
    _fill(state, piece, valid, counts, rows)


def _settle_staged(state: EngineState, piece: Piece) -> None:
    assert piece.pages is not None
    assert piece.fits is not None
    assert piece.used is not None
    counts = np.where(piece.fits, pages_for(piece.used), 0)
    rows = np.zeros((len(counts), state.geometry.slot_pages), dtype=np.uint32)
    taken = state.slot_page_numbers < counts[:, None]
    rows[taken] = piece.pages
    valid = _valid(state, piece) & piece.fits
    state.pool.give(rows[taken & ~valid[:, None]])
    _fill(state, piece, valid, np.where(valid, counts, 0), rows)


def _valid(state: EngineState, piece: Piece) -> NDArray[np.bool_]:
    """Slots that nobody has freed since."""
    valid: NDArray[np.bool_] = state.table.generation[piece.ids] == piece.job.generations[piece.first : piece.last]
    return valid


def _fill(
    state: EngineState, piece: Piece, valid: NDArray[np.bool_], counts: NDArray[np.int64], rows: NDArray[np.uint32]
) -> None:
    """Enter what was stored into the slot table and the job."""
    table, job = state.table, piece.job
    assert piece.used is not None
    mine = _valid(state, piece)
    ids, geometry = piece.ids[valid], state.geometry
    by_slot = (piece.last - piece.first, geometry.slot_blocks)
    table.state[piece.ids[mine & ~valid]] = SlotState.DROPPED
    table.state[ids] = SlotState.READY
    table.plan[ids] = piece.plan
    table.bytes[ids] = piece.used[valid]
    table.page_count[ids] = counts[valid]
    width = int(counts.max()) if counts.size else 0
    table.pages[ids, :width] = rows[valid, :width]
    table.keep_first[ids] = piece.description.moves["keep_first"].reshape(by_slot)[valid]
    words = piece.description.stream_words.reshape(*by_slot, -1)
    table.stream_words[ids] = words if len(ids) == len(valid) else words[valid]
    job.slot_bytes[piece.first : piece.last] = np.where(valid, piece.used, 0)
    job.dropped[piece.first : piece.last] = ~valid
    dropped = int((~valid).sum())
    if dropped:
        state.metrics.count("dropped_slots", dropped)


def _note(state: EngineState, piece: Piece) -> None:
    """Count, and tell the cost model."""
    job = piece.job
    assert piece.used is not None
    slots = piece.last - piece.first
    raw_bytes, moved = slots * state.geometry.slot_blocks * state.geometry.block_raw_bytes, int(piece.used.sum())
    path: Path = "staged" if piece.regions is not None else ("raw" if piece.plan == RAW_PLAN else "fused")
    seconds = 0.0
    for stage, start, end in piece.stages:
        stage_s = end.seconds_since(start)
        state.metrics.seconds("stage_seconds", stage_s, direction="store", stage=stage)
        seconds += stage_s
    job.seconds += seconds
    job.moved_bytes += moved
    state.metrics.count("raw_bytes", raw_bytes, direction="store")
    state.metrics.count("moved_bytes", moved, direction="store")
    state.metrics.count("blocks", slots * state.geometry.slot_blocks, direction="store", path=path)
    if path != "raw":
        state.metrics.count("raw_streams", int(piece.description.streams["stored_raw"].sum()))
        state.cost.saw_coded(raw_bytes, moved)
    if path != "staged" or len(piece.stages) == 2:
        state.cost.add("store", path, Sample(raw_bytes, moved, seconds))


def drop(state: EngineState, job: Job, first: int, last: int) -> None:
    """Slots for which there is no room."""
    ids = job.slots[first:last]
    mine = state.table.generation[ids] == job.generations[first:last]
    state.table.state[ids[mine]] = SlotState.DROPPED
    job.dropped[first:last] = True
    state.metrics.count("dropped_slots", last - first)
