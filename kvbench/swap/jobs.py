"""Owns what a caller holds of work in flight, and the pieces it is done in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvbench.swap.control import Control, Description
from kvbench.swap.cost import Direction, Path
from kvbench.swap.device import Mark
from kvbench.swap.pages import Pages
from kvbench.swap.slots import SlotIds


@dataclass(eq=False, slots=True)
class Job:
    """A batch on its way out (`store`) or in (`load`). Arrays have one entry a slot, in the order they were given.

    `generations` are the handles of the slots: give them with a later load or free, and a slot that has become another
    one's meanwhile is refused. `path` and `why` say how the batch went, as far as it was not forced into pieces.
    """

    id: int
    direction: Direction
    slots: SlotIds
    generations: NDArray[np.uint32]
    path: Path
    why: str
    raw_bytes: int
    slot_bytes: NDArray[np.int64]  # of the streams in the slot; 0 where nothing is stored
    dropped: NDArray[np.bool_]  # of a store: there was no room, or the slot was freed meanwhile
    failed: NDArray[np.bool_]  # of a load: the streams could not be read, the blocks hold nothing that means anything
    moved_bytes: int = 0
    seconds: float = 0.0  # of the work on its stream, without waiting for the host in between
    pieces: int = 0  # that are not done
    last_mark: Mark | None = None
    by_ring: bool = False  # of a store: some of its slots have to go, or have gone, by the ring
    staged_slots: int = 0  # of a store: that took the way by the ring

    @property
    def done(self) -> bool:
        """Whether `SwapEngine.poll` has seen its end."""
        return self.pieces == 0


class Finished(NamedTuple):
    """What `SwapEngine.poll` tells of a job: the bytes of each slot, and the slots that hold nothing of it."""

    job: Job
    slot_bytes: NDArray[np.int64]
    dropped: SlotIds


@dataclass(eq=False, slots=True)
class Piece:
    """Slots `first` to `last` - 1 of a job, which go through the kernels in one call."""

    job: Job
    first: int
    last: int
    plan: int
    control: Control
    description: Description
    number: int = 0  # of a load, in their order
    pages: Pages | None = None  # of the slab, that a direct store writes to
    regions: Pages | None = None  # of the ring, that a staged store writes to
    stages: list[tuple[str, Mark, Mark]] = field(default_factory=list)
    keep: object = None  # until the work is done
    used: NDArray[np.int64] | None = None  # bytes a slot, once they are known
    fits: NDArray[np.bool_] | None = None  # of a staged store: slots that there was room for

    @property
    def ids(self) -> SlotIds:
        return self.job.slots[self.first : self.last]

    @property
    def mark(self) -> Mark:
        """The end of what is enqueued of it."""
        return self.stages[-1][2]
