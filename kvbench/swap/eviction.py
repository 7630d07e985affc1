"""Owns which slots make room: the least recently used ones, those that a callback names, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from kvbench.errors import UsageError
from kvbench.swap.slots import SlotIds, SlotState, SlotTable

EvictionName = Literal["lru", "none"]
OnFull = Callable[[int], ArrayLike]  # pages that are missing -> slots to evict


class Eviction(Protocol):
    """Chooses slots that may go."""

    def touch(self, ids: SlotIds) -> None:
        """These slots were stored or loaded just now."""

    def victims(self, pages: int, loads_done: int) -> SlotIds:
        """Slots that hold at least `pages` pages together, or as many as there are.

        None that a job is at: those above `loads_done` in `SlotTable.last_load`, or not READY.
        """


def make_eviction(asked: EvictionName | OnFull, table: SlotTable) -> Eviction:
    """By name, or with a callback. Raises UsageError for another name."""
    if callable(asked):
        return ByCallback(asked, table)
    if asked == "none":
        return NoEviction()
    if asked == "lru":
        return LeastRecentlyUsed(table)
    raise UsageError(f"eviction {asked!r} is not known; use lru, none, or a function of the missing pages")


class NoEviction:
    """What is stored stays until it is freed: the caller has a scheduler that decides."""

    def touch(self, ids: SlotIds) -> None:
        """Nothing to note."""

    def victims(self, pages: int, loads_done: int) -> SlotIds:
        """No slot."""
        return np.empty(0, dtype=np.int64)


class ByCallback:
    """The caller names the slots; what of them is no more there, or in use by a job, is left alone."""

    def __init__(self, on_full: OnFull, table: SlotTable) -> None:
        self._on_full, self._table = on_full, table

    def touch(self, ids: SlotIds) -> None:
        """The caller knows what it uses."""

    def victims(self, pages: int, loads_done: int) -> SlotIds:
        """What the callback names, as far as it can go."""
        named = self._table.ids(self._on_full(pages))
        return named[_can_go(self._table, named, loads_done)]


class LeastRecentlyUsed:
    """The slots that were stored or loaded longest ago.

    Uses are a queue of lists, newest last; a slot's older entries are told by its stamp and skipped. So a use costs
    what it costs to note it, and choosing k victims looks at k entries and the outdated ones before them.
    """

    def __init__(self, table: SlotTable) -> None:
        self._table = table
        self._stamp = 0
        self._last_use = np.zeros(table.count, dtype=np.int64)
        self._uses: deque[tuple[int, SlotIds]] = deque()
        self._entries = 0

    def touch(self, ids: SlotIds) -> None:
        self._stamp += 1
        self._last_use[ids] = self._stamp
        self._uses.append((self._stamp, ids.copy()))
        self._entries += ids.size
        if self._entries > 4 * self._table.count + 1024:
            self._forget_outdated()

    def victims(self, pages: int, loads_done: int) -> SlotIds:
        chosen: list[SlotIds] = []
        busy: list[tuple[int, SlotIds]] = []
        while pages > 0 and self._uses:
            stamp, ids = self._uses.popleft()
            self._entries -= ids.size
            state = self._table.state[ids]
            held = (state == SlotState.READY) | (state == SlotState.STORING)
            current = ids[held & (self._last_use[ids] == stamp)]
            can_go = _can_go(self._table, current, loads_done)
            if not can_go.all():
                busy.append((stamp, current[~can_go]))
            going = current[can_go]
            so_far = np.cumsum(self._table.page_count[going])
            enough = min(int(np.searchsorted(so_far, pages)) + 1, going.size)
            if enough < going.size:
                busy.append((stamp, going[enough:]))
            chosen.append(going[:enough])
            pages -= int(so_far[enough - 1]) if enough else 0
        for stamp, ids in reversed(busy):
            self._uses.appendleft((stamp, ids))
            self._entries += ids.size
        return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)

    def _forget_outdated(self) -> None:
        kept = [(stamp, ids[self._last_use[ids] == stamp]) for stamp, ids in self._uses]
        self._uses = deque((stamp, ids) for stamp, ids in kept if ids.size)
        self._entries = sum(ids.size for _, ids in self._uses)


def _can_go(table: SlotTable, ids: SlotIds, loads_done: int) -> np.typing.NDArray[np.bool_]:
    can_go: np.typing.NDArray[np.bool_] = (table.state[ids] == SlotState.READY) & (table.last_load[ids] <= loads_done)
    return can_go
