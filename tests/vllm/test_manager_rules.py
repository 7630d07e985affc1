"""The manager with fake ranks under any order of events: nothing re-used early, no budget passed, all ranks agree."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fake_swap import FakeSwap
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from vllm_managers import Kit, installed, key_of

from kvbench.vllm.reports import StoreOrder
from kvbench.vllm.transfer import GpuBlocks, TransferEngine

RANKS, PAGES, SLOT_PAGES, KEYS = 2, 40, 4, 24


@dataclass
class Job:
    """What the scheduler knows of a transfer; `where` are slots of a load, by key."""

    id: int
    epoch: int
    keys: list[bytes]
    order: StoreOrder | None
    where: dict[bytes, int]
    pending: int = RANKS


class Rank:
    """One worker: what it has been sent and not yet begun, and its transfers on a fake engine."""

    def __init__(self, number: int, sizes: Any) -> None:
        self.swap = FakeSwap(PAGES, sizes)
        self.transfers = TransferEngine(self.swap, rank=number, slot_blocks=1)
        self.sent: deque[Job] = deque()


class ManagerAndRanks(RuleBasedStateMachine):
    """vLLM's scheduler and its workers, as far as offloading is concerned."""

    def __init__(self, kit: Kit, policy: str = "lru") -> None:
        super().__init__()
        self.kit = kit
        self.size = SLOT_PAGES
        slots = PAGES // SLOT_PAGES * 4
        self.manager = kit.manager(RANKS, PAGES, SLOT_PAGES, slots, cache_policy=policy, enable_events=True)
        self.ranks = [Rank(number, lambda slot: self.size) for number in range(RANKS)]
        self.jobs: dict[int, Job] = {}
        self.made = 0
        self.epoch = 0

    @rule(first=st.integers(0, KEYS - 1), count=st.integers(1, 6))
    def offer(self, first: int, count: int) -> None:
        """A request's blocks are offered for storing."""
        keys = [key_of(number % KEYS) for number in range(first, first + count)]
        output = self.manager.prepare_store(keys, self._context())
        if output is None or not output.keys_to_store:
            return
        order = output.store_spec.order
        assert len(set(order.slots)) == len(order.slots) == len(output.keys_to_store)
        self._send(Job(self.made, self.epoch, list(output.keys_to_store), order, {}))

    @rule(first=st.integers(0, KEYS - 1), count=st.integers(1, 4))
    def restore(self, first: int, count: int) -> None:
        """A request finds some of its blocks and has them loaded."""
        context = self._context()
        keys = [key_of(number % KEYS) for number in range(first, first + count)]
        ready = [key for key in keys if (entry := self._entry(key)) is not None and entry.is_ready]
        if not ready:
            return
        self.manager.prepare_load(ready, context)
        self._send(Job(self.made, self.epoch, ready, None, {key: self._slot(key) for key in ready}))

    @rule(rank=st.integers(0, RANKS - 1), jump=st.booleans())
    def begin(self, rank: int, jump: bool) -> None:
        """A worker begins what it was sent; of two stores of an epoch the later one may come first."""
        sent = self.ranks[rank].sent
        if not sent:
            return
        place = 0
        if jump and len(sent) > 1 and sent[0].order and sent[1].order and sent[0].epoch == sent[1].epoch:
            place = 1
        job = sent[place]
        del sent[place]
        ids = np.array([int.from_bytes(key[:8], "big") for key in job.keys])
        transfers = self.ranks[rank].transfers
        if job.order is not None:
            transfers.submit_store(job.id, job.order, GpuBlocks(ids, (len(ids),), (7,)))
        else:
            slots = np.array([job.where[key] for key in job.keys])
            transfers.submit_load(job.id, slots, GpuBlocks(ids, (len(ids),), (7,)))

    @rule(rank=st.integers(0, RANKS - 1), count=st.integers(1, 5), by_wait=st.booleans())
    def end(self, rank: int, count: int, by_wait: bool) -> None:
        """Jobs of a worker end, and the scheduler hears of it."""
        one = self.ranks[rank]
        if by_wait:
            one.transfers.wait({*list(self.jobs)[:count], 10**6})
        else:
            one.swap.finish(count)
        done = one.transfers.poll()
        self.manager.take_note(one.transfers.take_report())
        for ended in done:
            job = self.jobs[ended.job_id]
            job.pending -= 1
            if job.pending == 0:
                del self.jobs[job.id]
                if job.epoch == self.epoch:
                    complete = self.manager.complete_load if job.order is None else self.manager.complete_store
                    complete(set(job.keys), self._context())

    @rule(pages=st.integers(1, SLOT_PAGES))
    def become(self, pages: int) -> None:
        """What is stored from now on compresses better, or worse."""
        self.size = pages

    @rule(rank=st.integers(0, RANKS - 1), key=st.integers(0, KEYS - 1))
    def spoil(self, rank: int, key: int) -> None:
        """What a rank holds of a key cannot be read any more."""
        entry = self._entry(key_of(key))
        if entry is not None and entry.is_ready:
            self.ranks[rank].swap.unreadable.add(self._slot(key_of(key)))

    @rule(first=st.integers(0, KEYS - 1), count=st.integers(3, 6))
    def store_wholly(self, first: int, count: int) -> None:
        """Blocks are offered, and all that is under way ends."""
        self.offer(first, count)
        self._drain()

    @precondition(lambda self: self.made % 8 == 7)
    @rule()
    def reset(self) -> None:
        """Everything is forgotten, with jobs under way."""
        self.manager.reset_cache()
        self.epoch += 1

    @invariant()
    def budget_is_kept(self) -> None:
        for rank in self.ranks:
            assert rank.swap.used <= PAGES

    @invariant()
    def what_can_be_loaded_is_there(self) -> None:
        """On every rank, and the key's own content: no slot was given to another too early."""
        for number in range(KEYS):
            key = key_of(number)
            entry = self._entry(key)
            if entry is None or not entry.is_ready:
                continue
            for rank in self.ranks:
                assert rank.swap.content.get(self._slot(key)) == (number,)

    @invariant()
    def books_agree(self) -> None:
        book, entries = self.manager.book, [self._entry(key_of(number)) for number in range(KEYS)]
        slots = [int(getattr(one, self.manager._outside.names.slot)) for one in entries if one is not None]
        assert len(set(slots)) == len(slots)
        assert all(slot in book for slot in slots)
        for number, rank in enumerate(self.ranks):
            assert book.used[number] == sum(book.pages_of(slot)[number] for slot in slots)
            for slot, entry in zip(slots, [one for one in entries if one is not None], strict=True):
                if entry.is_ready:
                    assert book.pages_of(slot)[number] == rank.swap.held[slot]

    @invariant()
    def what_was_given_up_is_freed(self) -> None:
        """A rank that has nothing left to do holds no slot that the manager thinks is gone and has told it of."""
        known = {self._slot(key) for number in range(KEYS) if self._entry(key := key_of(number)) is not None}
        for rank in self.ranks:
            if not rank.sent and rank.swap.epoch == self.epoch:
                assert set(rank.swap.held) <= known | set(self.manager._freed)

    @invariant()
    def loads_bring_what_was_asked(self) -> None:
        for rank in self.ranks:
            assert all(kept == block for kept, block in rank.swap.loaded)

    def teardown(self) -> None:
        """Once all jobs have ended nothing is under way."""
        self._drain()
        assert not self.jobs
        assert self.manager.book.slots_under_way == 0

    def _drain(self) -> None:
        for number in range(RANKS):
            while self.ranks[number].sent:
                self.begin(number, False)
            self.end(number, 10**6, False)

    def _send(self, job: Job) -> None:
        self.made += 1
        self.jobs[job.id] = job
        for rank in self.ranks:
            rank.sent.append(job)

    def _context(self) -> Any:
        return self.kit.context(self.made)

    def _entry(self, key: bytes) -> Any:
        return self.manager._policy.get(key)

    def _slot(self, key: bytes) -> int:
        return int(getattr(self._entry(key), self.manager._outside.names.slot))


def test_any_order_of_events(kit: Kit) -> None:
    run_state_machine_as_test(
        lambda: ManagerAndRanks(kit),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


@pytest.mark.parametrize("seed", range(4))
def test_long_walks(kit: Kit, seed: int) -> None:
    """Longer than hypothesis goes, so that the cache is full and everything is evicted many times over."""
    walk(ManagerAndRanks(kit), random.Random(seed))


@pytest.mark.vllm
def test_a_long_walk_with_vllms_other_policy() -> None:
    walk(ManagerAndRanks(installed(), "arc"), random.Random(4))


def walk(one: ManagerAndRanks, chosen: random.Random) -> None:
    """Many steps by chance, with everything that must hold looked at after each."""
    steps = {
        "offer": lambda: one.offer(chosen.randrange(KEYS), chosen.randint(1, 6)),
        "restore": lambda: one.restore(chosen.randrange(KEYS), chosen.randint(1, 4)),
        "begin": lambda: one.begin(chosen.randrange(RANKS), chosen.random() < 0.5),
        "end": lambda: one.end(chosen.randrange(RANKS), chosen.randint(1, 5), chosen.random() < 0.3),
        "become": lambda: one.become(chosen.randint(1, SLOT_PAGES)),
        "spoil": lambda: one.spoil(chosen.randrange(RANKS), chosen.randrange(KEYS)),
        "reset": one.reset,
    }
    often = {"offer": 20, "restore": 15, "begin": 30, "end": 25, "become": 8, "spoil": 6, "reset": 1}
    for name in chosen.choices(list(often), list(often.values()), k=700):
        steps[name]()
        one.budget_is_kept()
        one.what_can_be_loaded_is_there()
        one.books_agree()
        one.what_was_given_up_is_freed()
        one.loads_bring_what_was_asked()
    one.teardown()
    assert sum(len(rank.swap.loaded) for rank in one.ranks) > 50
