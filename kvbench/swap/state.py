"""Owns what stores and loads of one engine share: the memory, the tables and the rules of who gives pages back when."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvbench import kv_blocks
from kvbench.errors import UsageError
from kvbench.swap.control import ControlPool
from kvbench.swap.cost import CostModel
from kvbench.swap.device import Device
from kvbench.swap.eviction import EvictionName, OnFull, make_eviction
from kvbench.swap.jobs import Piece
from kvbench.swap.metrics import Metrics
from kvbench.swap.pages import PagePool, Pages
from kvbench.swap.planes import Plane
from kvbench.swap.plans import Plans
from kvbench.swap.slab import PAGE_BYTES, Slab
from kvbench.swap.slots import SlotIds, SlotState, SlotTable

_MOST_STREAMS = 1 << 16  # that one kernel call moves


@dataclass(frozen=True)
class Geometry:
    """Sizes that never change: of the cache's blocks and of the slots they go to."""

    planes: int
    blocks: int  # of the cache
    slot_blocks: int  # blocks of one slot
    block_raw_bytes: int  # of one block on all planes
    slot_room_bytes: int  # raw streams of a slot, each rounded up: what a slot can need at most
    slot_pages: int  # for that
    most_elements: int  # of one block of a plane

    @property
    def piece_slots(self) -> int:
        """The most slots of one kernel call."""
        return max(1, _MOST_STREAMS // (self.slot_blocks * self.planes))


def geometry_of(planes: Sequence[Plane], slot_blocks: int) -> Geometry:
    """Raises UsageError for slots of no block, and for slots beyond 32-bit offsets."""
    if slot_blocks < 1:
        raise UsageError(f"slots of {slot_blocks} blocks; a slot holds at least one")
    room = slot_blocks * sum(kv_blocks.rounded(plane.block_bytes) for plane in planes)
    if room >= 1 << 32:
        raise UsageError(f"a slot of {room} bytes; the most is 4 GiB: use fewer blocks a slot")
    return Geometry(
        planes=len(planes),
        blocks=planes[0].values.shape[0],
        slot_blocks=slot_blocks,
        block_raw_bytes=sum(plane.block_bytes for plane in planes),
        slot_room_bytes=room,
        slot_pages=-(-room // PAGE_BYTES),
        most_elements=max(plane.block_values for plane in planes),
    )


class EngineState:
    """Slab, page pool, slot table and the rest. Pages belong to a piece of a store, to a slot, or to those that wait.

    A slot's pages can go back to the pool only when no load reads them any more: the pages of a slot that is freed
    meanwhile wait with the number of the last load that was at it, and loads end in their order.
    """

    def __init__(
        self,
        geometry: Geometry,
        slab: Slab,
        plans: Plans,
        device: Device,
        slots: int,
        eviction: EvictionName | OnFull,
        checksum: bool,
    ) -> None:
        if slab.pages < geometry.slot_pages:
            raise UsageError(
                f"a limit of {slab.size_bytes} bytes is too small: one slot can need "
                f"{geometry.slot_pages * PAGE_BYTES}; raise it, or use fewer blocks a slot"
            )
        self.geometry, self.slab, self.plans, self.device, self.checksum = geometry, slab, plans, device, checksum
        self.pool = PagePool(slab.pages)
        self.table = SlotTable(slots, geometry.slot_blocks, geometry.planes, geometry.slot_pages)
        self.eviction = make_eviction(eviction, self.table)
        self.controls = ControlPool(device)
        self.metrics = Metrics()
        self.cost = CostModel()
        self.epoch = 0
        self.loads_started = 0
        self.loads_done = 0  # every load up to this number is finished
        self.evicted: list[SlotIds] = []
        self._waiting: deque[tuple[int, Pages]] = deque()
        self._waiting_pages = 0
        self.slot_page_numbers = np.arange(geometry.slot_pages, dtype=np.uint32)
        self.slab_address = device.slab_address(slab)

    def call(self, piece: Piece, slab: int) -> kv_blocks.Call:
        """A piece as the kernels are told of it; `slab` is where the pages are that it names."""
        moves, slots, _, page_numbers, _, _ = piece.description.offsets
        base = piece.control.memory.kernel_address
        return kv_blocks.Call(
            planes=self.plans[piece.plan].address,
            plane_count=self.geometry.planes,
            moves=base + moves,
            move_count=len(piece.description.moves),
            slots=base + slots,
            slot_count=len(piece.description.slots),
            page_numbers=base + page_numbers,
            slab=slab,
            page_bytes=PAGE_BYTES,
            dtype=self.plans.dtype,
        )

    @property
    def waiting_pages(self) -> int:
        """Pages of freed slots that a load still reads."""
        return self._waiting_pages

    def take_pages(self, count: int) -> Pages | None:
        """Pages for a store; slots are evicted for them if the engine may. None where there are not enough."""
        pages = self.pool.take(count)
        if pages is None and self.make_room(count):
            pages = self.pool.take(count)
        return pages

    def make_room(self, count: int) -> bool:
        """Evict slots until `count` pages are free, as far as that can be; whether it could."""
        missing = count - self.pool.free
        if missing > 0:
            victims = self.eviction.victims(missing, self.loads_done)
            if victims.size:
                self.release(victims, SlotState.EVICTED)
                self.evicted.append(victims)
                self.metrics.count("evicted_slots", int(victims.size))
        return self.pool.free >= count

    def release(self, ids: SlotIds, state: SlotState) -> None:
        """Take what slots hold away from them; their handles are stale from now on. Some may hold nothing."""
        table = self.table
        held = ids[table.state[ids] == SlotState.READY]
        if held.size:
            last_load = table.last_load[held]
            busy = last_load > self.loads_done
            if busy.any():
                pages = table.pages_of(held[busy])
                self._waiting.append((int(last_load.max()), pages))
                self._waiting_pages += len(pages)
                held = held[~busy]
            self.pool.give(table.pages_of(held))
        table.page_count[ids] = 0
        table.bytes[ids] = 0
        table.generation[ids] += 1
        table.state[ids] = state

    def loads_finished(self, up_to: int) -> None:
        """Loads up to a number have read what they need."""
        self.loads_done = up_to
        kept: deque[tuple[int, Pages]] = deque()
        for number, pages in self._waiting:
            if number <= up_to:
                self.pool.give(pages)
                self._waiting_pages -= len(pages)
            else:
                kept.append((number, pages))
        self._waiting = kept

    def used_slots(self) -> SlotIds:
        """Slots that hold something or are about to, or whose last content was dropped or evicted."""
        return np.flatnonzero(self.table.state != SlotState.FREE)


def pages_for(used_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pages that so many bytes take."""
    return -(-used_bytes // PAGE_BYTES)


def page_problem(state: EngineState, held_by_jobs: int) -> str | None:
    """What is wrong with the pages of an engine, or None; `held_by_jobs` are those of stores in flight."""
    ready = np.flatnonzero(state.table.state == SlotState.READY)
    of_slots = state.table.pages_of(ready)
    known = np.concatenate([state.pool.free_pages(), of_slots])
    if len(np.unique(known)) != len(known):
        return "a page is in two places at once"
    total = len(known) + state.waiting_pages + held_by_jobs
    if total != state.pool.count:
        return f"{total} pages are known of {state.pool.count}"
    return None
