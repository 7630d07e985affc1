"""Owns the slot table: what each slot holds, on which pages, in which form, and which of its handles is valid."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kvbench import kv_blocks
from kvbench.errors import UsageError
from kvbench.swap.pages import Pages

SlotIds = NDArray[np.int64]
STREAM_WORDS = kv_blocks.STREAM.itemsize // 8


class SlotState(IntEnum):
    """Of a slot. Only FREE, DROPPED and EVICTED ones can be stored into, only READY ones loaded."""

    FREE = 0
    STORING = 1  # a job is at it
    READY = 2
    DROPPED = 3  # there was no room for what was stored
    EVICTED = 4  # it had to make room for another


@dataclass(frozen=True)
class SlotFacts:
    """What the table says of one slot. `n`: values of one stream without kept tokens, by plane."""

    state: SlotState
    generation: int
    epoch: int
    plan: int  # which of the engine's plans, and so which modes and bounds, its streams have
    bytes: int  # of its streams, each rounded up to 16
    pages: Pages
    keep_first: tuple[int, ...]  # tokens kept raw at the front, by block of the slot
    streams: NDArray[np.void]  # kv_blocks.STREAM [blocks of a slot, planes]: offset, bytes, raw flag, checksum


class SlotTable:
    """Arrays over `count` slots of `blocks` blocks and `planes` planes that need at most `most_pages` pages each.

    Memory of slots that were never used is never touched.
    """

    def __init__(self, count: int, blocks: int, planes: int, most_pages: int) -> None:
        self.state = np.zeros(count, dtype=np.uint8)
        self.generation = np.zeros(count, dtype=np.uint32)
        self.epoch = np.zeros(count, dtype=np.uint32)
        self.plan = np.zeros(count, dtype=np.uint16)
        self.bytes = np.zeros(count, dtype=np.uint32 if most_pages < 1 << 19 else np.uint64)
        self.page_count = np.zeros(count, dtype=np.uint32)
        self.pages = np.zeros((count, most_pages), dtype=np.uint32)
        self.keep_first = np.zeros((count, blocks), dtype=np.uint32)
        # STREAM as plain words, which NumPy copies many times faster than records.
        self.stream_words = np.zeros((count, blocks, planes * STREAM_WORDS), dtype=np.uint64)
        self.last_load = np.zeros(count, dtype=np.int64)  # number of the last load job that reads it
        self._marks = np.zeros(count, dtype=np.int64)  # scratch of `ids`
        self._round = 0

    @property
    def count(self) -> int:
        return len(self.state)

    @property
    def held_bytes(self) -> int:
        """Bytes of the table itself if every slot is used; they are beside the slab's limit."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def ids(self, slot_ids: ArrayLike) -> SlotIds:
        """Slot ids, checked. Raises UsageError for one that there is not, or that is given twice."""
        ids = np.asarray(slot_ids)
        if ids.dtype != np.int64:
            if ids.size and not np.issubdtype(ids.dtype, np.integer):
                raise UsageError(f"slot ids are whole numbers, not {ids.dtype}")
            ids = ids.astype(np.int64)
        if ids.ndim != 1:
            raise UsageError(f"slot ids are one list, not an array of shape {ids.shape}")
        if not ids.size:
            return ids
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.count:
            raise UsageError(f"slot {low if low < 0 else high} is not known; slots are 0 to {self.count - 1}")
        self._require_different(ids)
        return ids

    def require_storable(self, ids: SlotIds) -> None:
        """Raises UsageError where a slot holds something, or is about to."""
        state = self.state[ids]
        taken = (state == SlotState.STORING) | (state == SlotState.READY)
        if taken.any():
            raise UsageError(f"slot {ids[taken.argmax()]} is in use; free it before something else is stored in it")

    def require_generations(self, ids: SlotIds, generations: ArrayLike | None) -> None:
        """Raises UsageError where a slot has been given to something else since `generations` were its handles."""
        if generations is None:
            return
        asked = np.asarray(generations)
        if asked.shape != ids.shape:
            raise UsageError(f"{asked.size} generations for {ids.size} slots; give one a slot")
        stale = self.generation[ids] != asked
        if stale.any():
            first = stale.argmax()
            raise UsageError(
                f"the handle of slot {ids[first]} is stale: generation {asked[first]}, the slot is at "
                f"{self.generation[ids[first]]}"
            )

    def require_ready(self, ids: SlotIds) -> None:
        """Raises UsageError where a slot holds nothing that can be loaded, with why."""
        state = self.state[ids]
        absent = state != SlotState.READY
        if absent.any():
            first = int(absent.argmax())
            why = {
                SlotState.FREE: "holds nothing",
                SlotState.STORING: "is still being stored",
                SlotState.DROPPED: "was dropped for lack of room",
                SlotState.EVICTED: "was evicted",
            }[SlotState(int(state[first]))]
            raise UsageError(f"slot {ids[first]} {why}; it cannot be loaded")

    def facts(self, slot_id: int) -> SlotFacts:
        """Everything about one slot."""
        (slot,) = self.ids([slot_id])
        return SlotFacts(
            state=SlotState(int(self.state[slot])),
            generation=int(self.generation[slot]),
            epoch=int(self.epoch[slot]),
            plan=int(self.plan[slot]),
            bytes=int(self.bytes[slot]),
            pages=self.pages[slot, : self.page_count[slot]].copy(),
            keep_first=tuple(int(tokens) for tokens in self.keep_first[slot]),
            streams=self.stream_words[slot].copy().view(kv_blocks.STREAM),
        )

    def pages_of(self, ids: SlotIds) -> Pages:
        """The pages of slots, slot after slot, in the order of each slot's bytes."""
        counts = self.page_count[ids]
        width = int(counts.max()) if counts.size else 0
        rows = self.pages[ids, :width]
        return rows[np.arange(width) < counts[:, None]]

    def _require_different(self, ids: SlotIds) -> None:
        # Each id's place in the list is noted at its slot: a second one there overwrites the first.
        places = np.arange(ids.size) + self._round
        self._round += ids.size
        self._marks[ids] = places
        twice = self._marks[ids] != places
        if twice.any():
            raise UsageError(f"slot {ids[twice.argmax()]} is given twice; give it once")
