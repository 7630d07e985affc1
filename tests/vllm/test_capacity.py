"""That compression holds more blocks in the same budget, and that a fixed pool holds the raw count."""

from __future__ import annotations

import numpy as np
import pytest
from fake_swap import FakeSwap
from vllm_managers import Kit, key_of

from kvbench.vllm.transfer import GpuBlocks, TransferEngine

SLOT_PAGES, RAW_SLOTS, RANKS = 60, 64, 2


@pytest.mark.parametrize(("ratio", "most_ratio", "least"), [(2, 8, 0.9 * 128), (3, 8, 0.9 * 192), (3, 1, 64)])
def test_blocks_held(kit: Kit, ratio: int, most_ratio: int, least: float) -> None:
    chosen = np.random.default_rng(0)
    manager = kit.manager(RANKS, RAW_SLOTS * SLOT_PAGES, SLOT_PAGES, slots=RAW_SLOTS * most_ratio)

    def pages_of(slot: int) -> int:
        return int(chosen.integers(SLOT_PAGES // ratio - 3, SLOT_PAGES // ratio + 4))

    swaps = [FakeSwap(RAW_SLOTS * SLOT_PAGES, pages_of) for _ in range(RANKS)]
    ranks = [TransferEngine(swap, rank=number, slot_blocks=1) for number, swap in enumerate(swaps)]
    for job in range(150):
        keys = [key_of(job * 4 + number) for number in range(4)]
        output = manager.prepare_store(keys, kit.context(job))
        for rank, swap in zip(ranks, swaps, strict=True):
            rank.submit_store(job, output.store_spec.order, GpuBlocks(np.arange(4), (4,), (0,)))
            swap.finish(1)
            rank.poll()
            manager.take_note(rank.take_report())
        manager.complete_store(set(output.keys_to_store), kit.context(job))
    held = [number for number in range(600) if (entry := manager._policy.get(key_of(number))) and entry.is_ready]
    assert len(held) >= least
    assert len(held) <= RAW_SLOTS * min(ratio, most_ratio) * 1.1
    assert held[-4:] == [596, 597, 598, 599]
    assert all(swap.used <= swap.pages for swap in swaps)
    stats = manager.get_stats()
    assert stats is not None


def test_a_request_larger_than_the_budget_is_kept_in_part(kit: Kit) -> None:
    """So that its size becomes known, and the next one finds more room."""
    manager = kit.manager(1, 10 * SLOT_PAGES, SLOT_PAGES, slots=80)
    swap = FakeSwap(10 * SLOT_PAGES, lambda slot: SLOT_PAGES // 4)
    transfers = TransferEngine(swap, rank=0, slot_blocks=1)
    stored = []
    for job in range(2):
        keys = [key_of(1000 * job + number) for number in range(50)]
        output = manager.prepare_store(keys, kit.context(job))
        stored.append(len(output.keys_to_store))
        assert output.keys_to_store == keys[: stored[-1]]
        blocks = GpuBlocks(np.arange(stored[-1]), (stored[-1],), (0,))
        transfers.submit_store(job, output.store_spec.order, blocks)
        swap.finish(1)
        transfers.poll()
        manager.take_note(transfers.take_report())
        manager.complete_store(set(output.keys_to_store), kit.context(job))
    assert stored[0] == 10
    assert stored[1] >= 35
