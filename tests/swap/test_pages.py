"""Pages: a limit that holds, and no difference after a day of traffic."""

from __future__ import annotations

import numpy as np
import pytest
from swap_caches import cache, engine

from kvbench.errors import UsageError
from kvbench.swap.pages import PagePool


def test_pages_are_handed_out_once_and_never_more_than_there_are():
    pool = PagePool(10)
    first, second = pool.take(4), pool.take(6)
    assert sorted([*first, *second]) == list(range(10))
    assert pool.take(1) is None
    assert pool.in_use == pool.most_in_use == 10
    pool.give(first)
    assert pool.free == 4
    assert sorted(pool.take(4)) == sorted(first)
    pool.give(np.concatenate([first, second]))
    with pytest.raises(UsageError, match="given back twice"):
        pool.give(first)


def test_a_pool_has_pages():
    with pytest.raises(UsageError, match="a pool of 0 pages"):
        PagePool(0)


def test_a_day_of_traffic_leaves_the_pool_as_good_as_new():
    """Any mix of sizes for 100 000 operations; what can be taken depends on what is free alone."""
    rng = np.random.default_rng(0)
    pool, held = PagePool(1000), []
    for size, victim in zip(rng.integers(1, 60, 100_000).tolist(), rng.random(100_000).tolist(), strict=True):
        pages = pool.take(size)
        if pages is None:
            assert size > pool.free
            pool.give(held.pop(int(victim * len(held))))
        else:
            held.append(pages)
    everything = np.concatenate([*held, pool.free_pages()])
    assert np.array_equal(np.sort(everything), np.arange(1000))
    for pages in held:
        pool.give(pages)
    assert np.array_equal(np.sort(pool.take(1000)), np.arange(1000))


def test_an_engine_holds_as_much_after_a_day_as_before():
    """Slots of many sizes come and go; afterwards as many blocks fit as in a new engine."""
    values = cache(blocks=24, layers=4)
    for number in range(24):
        values[:, :, number] *= float(2.0 ** (number % 12))  # so that streams differ in size
    rng = np.random.default_rng(0)
    with engine(values, path="fused", limit_slots=12, slots=64, eviction="lru", staging_bytes=1 << 16) as swap:
        fresh = fill(swap)
        swap.free(np.arange(64))
        for _ in range(1500):
            slot = int(rng.integers(64))
            if swap.slot(slot).state:
                swap.free([slot])
            else:
                swap.wait([swap.store([int(rng.integers(24))], [slot])])
                swap.poll()
            swap.take_evicted()
        assert swap.problem() is None
        assert swap.used_bytes <= swap.limit_bytes
        swap.reset(1)
        assert swap.used_bytes == 0
        assert fill(swap) == fresh


def fill(swap) -> int:
    """How many of 64 slots stay when all are stored one after another."""
    for slot in range(64):
        swap.wait([swap.store([slot % 24], [slot])])
    swap.poll()
    return 64 - swap.take_evicted().size
