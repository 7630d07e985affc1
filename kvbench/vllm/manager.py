"""Owns the rules by which vLLM's CPU offloading manager counts pages instead of slots, whatever its release."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from kvbench.vllm.metrics import Figures
from kvbench.vllm.names import ManagerNames, evictable_name
from kvbench.vllm.pages import PageBook
from kvbench.vllm.reports import StoreOrder, WorkerReport


@dataclass(frozen=True)
class Outside:
    """What the rules take from vLLM: how the manager calls things, its event class, and how an order is sent."""

    names: ManagerNames
    removed_event: Callable[[list[Any], Any], Any]  # keys, medium -> event
    order_spec: Callable[[StoreOrder], Any]  # -> what travels to the workers


class PageRules:
    """Put before vLLM's `CPUOffloadingManager` among a class's bases, these rules make it count pages.

    Slots are virtual: there are more of them than fit raw. Room is made by evicting, in the policy's order, until the
    books have the pages. What was given up travels with the next store, since workers see no eviction. A slot that one
    rank could not store is given up on all.
    """

    def __init__(self, *, outside: Outside, book: PageBook, slots: int, **stock: Any) -> None:
        names = outside.names
        given = {name: value for name, value in stock.items() if name in names.keywords}
        cast("Any", super()).__init__(**{names.count: slots}, **given)
        self._outside, self.book, self.figures = outside, book, Figures()
        self._evictable = evictable_name(self)
        self._epoch, self._stamp = 0, 0
        self._freed: dict[int, None] = {}
        self._unreadable: set[int] = set()
        self._offered: set[Any] = set()
        self._evicted_for_pages: list[Any] = []

    # What vLLM's own methods call; of each pair a release has one.

    def _get_num_free_blocks(self) -> int:
        return self._room(cast("Any", super())._get_num_free_blocks())

    def _get_num_free_chunks(self) -> int:
        return self._room(cast("Any", super())._get_num_free_chunks())

    def _free_block(self, block: Any) -> None:
        self._give_up(block)
        cast("Any", super())._free_block(block)

    def _free_chunk(self, chunk: Any) -> None:
        self._give_up(chunk)
        cast("Any", super())._free_chunk(chunk)

    def _allocate_blocks(self, keys: list[Any]) -> list[Any]:
        self._make_room(len(keys))
        return self._booked(cast("Any", super())._allocate_blocks(keys))

    def _allocate_chunks(self, keys: list[Any]) -> list[Any]:
        self._make_room(len(keys))
        return self._booked(cast("Any", super())._allocate_chunks(keys))

    # What vLLM's scheduler calls.

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        """As vLLM's, and the slots given up since the last store go with it.

        Of more keys than could ever be held at once the first ones are stored, a prefix that is of use. Without this
        a budget below one request's raw size would stay empty, as nothing would become known of the ratio.
        """
        keys = self._at_most(list(keys))
        self._offered = set(keys)
        self._evicted_for_pages = []
        output = cast("Any", super()).prepare_store(keys, req_context)
        if output is None or not output.keys_to_store:
            return output
        slots = tuple(self._slot(self._policy_entry(key)) for key in output.keys_to_store)
        order = StoreOrder(slots, tuple(self._freed), self._stamp, self._epoch)
        self._freed.clear()
        self._stamp += 1
        evicted = [*output.evicted_keys, *self._evicted_for_pages]
        return replace(output, store_spec=self._outside.order_spec(order), evicted_keys=evicted)

    def complete_store(self, keys: Collection[Any], req_context: Any, success: bool = True) -> None:
        """As vLLM's; keys that some rank has not stored are completed as failed."""
        stock = cast("Any", super())
        if not success:
            stock.complete_store(keys, req_context, success=False)
            return
        kept: list[Any] = []
        dropped: list[Any] = []
        for key in keys:
            entry = self._policy_entry(key)
            if entry is not None and not entry.is_ready:
                (kept if self.book.kept(self._slot(entry)) else dropped).append(key)
        if kept:
            stock.complete_store(kept, req_context)
        if dropped:
            self.figures.count("given_up_slots", len(dropped))
            stock.complete_store(dropped, req_context, success=False)

    def complete_load(self, keys: Collection[Any], req_context: Any) -> None:
        """As vLLM's; what could not be read is forgotten as soon as no other load is at it."""
        cast("Any", super()).complete_load(keys, req_context)
        for key in keys if self._unreadable else ():
            entry = self._policy_entry(key)
            if entry is not None and entry.ref_cnt == 0 and self._slot(entry) in self._unreadable:
                cast("Any", self)._policy.remove(key)
                self._forget([(key, entry)])

    def reset_cache(self) -> None:
        """As vLLM's; workers learn of it by the next store's epoch."""
        cast("Any", super()).reset_cache()
        self.book.clear()
        self._epoch += 1
        self._freed.clear()
        self._unreadable.clear()

    def get_stats(self) -> Any:
        """vLLM's figures and kvbench's."""
        stats = cast("Any", super()).get_stats()
        if stats is not None:
            self.figures.gauge("reserved_pages", max(self.book.used))
            self.figures.gauge("slot_pages", self.book.mean_pages())
            self.figures.tell(stats)
        return stats

    # What kvbench's connector calls.

    def take_note(self, report: WorkerReport) -> None:
        """Enter what workers say; to be called before vLLM is told of the jobs that ended."""
        for store in report.stores:
            self.book.note(store)
        for epoch, slot in report.unreadable:
            if epoch == self._epoch and slot in self.book:
                self._unreadable.add(slot)
        self.figures.add(report)

    def _slot(self, entry: Any) -> int:
        return int(getattr(entry, self._outside.names.slot))

    def _policy_entry(self, key: Any) -> Any:
        return cast("Any", self)._policy.get(key)

    def _room(self, free_slots: int) -> int:
        new = sum(1 for key in self._offered if self._policy_entry(key) is None)
        return min(free_slots, self.book.room_for(new)) if new else free_slots

    def _at_most(self, keys: list[Any]) -> list[Any]:
        new = [key for key in keys if self._policy_entry(key) is None]
        beyond = set(new[self.book.most_of(len(new)) :]) if new else ()
        return [key for key in keys if key not in beyond]

    def _give_up(self, entry: Any) -> None:
        slot = self._slot(entry)
        if slot in self.book:
            self.book.release(slot)
        self._unreadable.discard(slot)
        self._freed[slot] = None

    def _booked(self, entries: list[Any]) -> list[Any]:
        self.book.reserve([self._slot(entry) for entry in entries], self._stamp)
        return entries

    def _make_room(self, count: int) -> None:
        """Evict beyond what vLLM has done by count, while pages are short: slots differ in size."""
        while self.book.room_for(count) < count:
            found = cast("Any", self)._policy.evict(1, self._offered)
            if not found:
                return  # the workers drop what does not fit
            self._forget(found)
            self._evicted_for_pages += [key for key, _ in found]

    def _forget(self, gone: Iterable[tuple[Any, Any]]) -> None:
        """Keys that the policy has no more, none of them in use."""
        stock, gone = cast("Any", self), list(gone)
        setattr(stock, self._evictable, getattr(stock, self._evictable) - len(gone))
        for _, entry in gone:
            getattr(stock, self._outside.names.free_method)(entry)
        self.figures.count("evicted_for_pages", len(gone))
        if stock.events is not None:
            stock.events.append(self._outside.removed_event([key for key, _ in gone], stock.medium))
