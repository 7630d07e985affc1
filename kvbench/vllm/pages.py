"""Owns the scheduler's books of pages: what every slot takes on every rank, and what there is room for."""

from __future__ import annotations

import math

from kvbench.vllm.reports import DROPPED, StoreReport

_MARGIN = 1.1  # of the mean size, for a slot whose size is not known yet
_FADING = 0.8  # weight of what was known of the mean before, against the newest store
_RAW_SHARE = 32  # slots under way are counted at raw size while they are at most this part of the pages


class PageBook:
    """Pages by rank and slot. A slot under way holds a reservation until a rank reports what it took.

    A rank's memory is a hard limit there; these books see to it that it is hardly ever met. While it costs little,
    slots under way are counted at their raw size, as the quickest path on the way out needs so much for a moment.
    """

    def __init__(self, ranks: int, pages: int, raw_pages: int) -> None:
        """`pages` is what one rank has, `raw_pages` what one slot needs at most."""
        self.ranks, self.pages, self.raw_pages = ranks, pages, raw_pages
        self._mean = [float(raw_pages)] * ranks
        self._known = [False] * ranks
        self.used = [0] * ranks
        self._held: dict[int, list[int]] = {}
        self._waiting: dict[int, set[int]] = {}  # slot -> ranks that have not reported
        self._stamps: dict[int, int] = {}
        self._dropped: set[int] = set()

    def __contains__(self, slot: int) -> bool:
        return slot in self._held

    @property
    def slots_under_way(self) -> int:
        return len(self._waiting)

    def pages_of(self, slot: int) -> tuple[int, ...]:
        """What a slot is booked with on every rank."""
        return tuple(self._held[slot])

    def mean_pages(self) -> float:
        """The running mean of a slot, over the ranks."""
        return sum(self._mean) / self.ranks

    def room_for(self, count: int) -> int:
        """How many of `count` new slots every rank has room for."""
        return min(
            count, *(max(0, self.pages - used) // self._each(rank, count) for rank, used in enumerate(self.used))
        )

    def most_of(self, count: int) -> int:
        """How many of `count` new slots there would be room for if nothing else were held."""
        return min(count, *(self.pages // self._each(rank, count) for rank in range(self.ranks)))

    def reserve(self, slots: list[int], stamp: int) -> None:
        """Book new slots, before their sizes are known. A slot is booked once, until it is released."""
        each = [self._each(rank, len(slots)) for rank in range(self.ranks)]
        for slot in slots:
            assert slot not in self._held, f"slot {slot} is booked already"
            self._held[slot] = list(each)
            self._waiting[slot] = set(range(self.ranks))
            self._stamps[slot] = stamp
        for rank, pages in enumerate(each):
            self.used[rank] += pages * len(slots)

    def note(self, report: StoreReport) -> None:
        """Enter what one rank says. What it says of slots that have gone to another store since is passed over."""
        sizes = []
        for slot, pages in zip(report.slots, report.pages, strict=True):
            if self._stamps.get(slot) != report.stamp or report.rank not in self._waiting.get(slot, ()):
                continue
            self._waiting[slot].discard(report.rank)
            if not self._waiting[slot]:
                del self._waiting[slot]
            if pages == DROPPED:
                self._dropped.add(slot)
            else:
                sizes.append(pages)
            held = self._held[slot]
            self.used[report.rank] += max(0, pages) - held[report.rank]
            held[report.rank] = max(0, pages)
        if sizes:
            newest = sum(sizes) / len(sizes)
            before = self._mean[report.rank] if self._known[report.rank] else newest
            self._mean[report.rank] = _FADING * before + (1 - _FADING) * newest
            self._known[report.rank] = True

    def kept(self, slot: int) -> bool:
        """Whether every rank has stored a slot."""
        return slot in self._held and slot not in self._waiting and slot not in self._dropped

    def release(self, slot: int) -> None:
        """A slot's content is given up, on all ranks."""
        for rank, pages in enumerate(self._held.pop(slot)):
            self.used[rank] -= pages
        self._waiting.pop(slot, None)
        self._stamps.pop(slot, None)
        self._dropped.discard(slot)

    def clear(self) -> None:
        """Nothing is held any more; what is known of sizes stays."""
        self.used = [0] * self.ranks
        self._held.clear()
        self._waiting.clear()
        self._stamps.clear()
        self._dropped.clear()

    def _each(self, rank: int, count: int) -> int:
        """What to book for each of `count` new slots on a rank."""
        under_way = len(self._waiting) + count
        if under_way * self.raw_pages * _RAW_SHARE <= self.pages:
            return self.raw_pages
        return max(1, math.ceil(_MARGIN * self._mean[rank])) if self._known[rank] else self.raw_pages
