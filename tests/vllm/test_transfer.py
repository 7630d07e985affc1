"""Transfers on a fake engine: order of stores, blocks of groups, failures, and that nothing is ever raised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_swap import FakeSwap

from kvbench.vllm.reports import DROPPED, StoreOrder, StoreReport
from kvbench.vllm.transfer import GpuBlocks, TransferEngine


def engine(slot_blocks: int = 1, kernel_blocks: int = 1, pages: int = 100) -> tuple[TransferEngine, FakeSwap]:
    swap = FakeSwap(pages, lambda slot: 2)
    return TransferEngine(swap, rank=0, slot_blocks=slot_blocks, kernel_blocks=kernel_blocks), swap


def blocks(*ids: int, first: int = 0) -> GpuBlocks:
    return GpuBlocks(np.array(ids), (len(ids),), (first,))


def order(slots: tuple[int, ...], stamp: int, freed: tuple[int, ...] = (), epoch: int = 0) -> StoreOrder:
    return StoreOrder(slots, freed, stamp, epoch)


def test_a_store_and_a_load() -> None:
    transfers, swap = engine()
    transfers.submit_store(1, order((5, 6), 0), blocks(50, 60))
    assert transfers.poll() == []
    swap.finish(1)
    (done,) = transfers.poll()
    assert (done.job_id, done.is_store) == (1, True)
    assert transfers.take_report().stores == [StoreReport(0, 0, (5, 6), (2, 2))]
    transfers.submit_load(2, np.array([6, 5]), blocks(1, 2))
    transfers.wait({2, 99})
    assert [one.job_id for one in transfers.poll()] == [2]
    assert swap.loaded == [(60, 1), (50, 2)]
    assert transfers.take_bad_blocks() == set()


def test_a_later_store_may_come_first() -> None:
    """vLLM sends a store ahead of an earlier one when it has to wait for it: what it put there is not to be freed."""
    transfers, swap = engine()
    transfers.submit_store(1, order((5,), 0), blocks(50))
    swap.finish(1)
    transfers.submit_store(3, order((5,), 2), blocks(70))  # the slot was given up by the store with stamp 1
    transfers.submit_store(2, order((6,), 1, freed=(5,)), blocks(60))
    swap.finish(2)
    assert swap.content == {5: (70,), 6: (60,)}
    transfers.submit_store(4, order((7,), 3, freed=(5, 6)), blocks(80))
    swap.finish(1)
    assert swap.content == {7: (80,)}


def test_stores_of_an_epoch_that_is_over_are_dropped() -> None:
    transfers, swap = engine()
    transfers.submit_store(1, order((5,), 0), blocks(50))
    transfers.submit_store(2, order((5,), 1, epoch=1), blocks(60))
    transfers.submit_store(3, order((6,), 0), blocks(70))
    swap.finish(2)
    assert sorted(one.job_id for one in transfers.poll()) == [1, 2, 3]
    assert swap.content == {5: (60,)}
    assert StoreReport(0, 0, (6,), (DROPPED,)) in transfers.take_report().stores


def test_blocks_of_groups_that_start_inside_a_slot() -> None:
    """As vLLM lays them out: a group's first block may be at any place of its first slot."""
    transfers, swap = engine(slot_blocks=4)
    transfers.submit_store(1, order((0, 1, 2), 0), GpuBlocks(np.arange(10, 22), (8, 0, 4), (0, 0, 4)))
    swap.finish(1)
    assert swap.content == {0: (10, 11, 12, 13), 1: (14, 15, 16, 17), 2: (18, 19, 20, 21)}
    transfers.submit_load(2, np.array([0, 1, 2]), GpuBlocks(np.array([1, 2, 3, 4, 5, 6]), (5, 0, 1), (2, 0, 4)))
    assert swap.loaded == [(12, 1), (13, 2), (14, 3), (15, 4), (16, 5), (18, 6)]


def test_a_slot_with_fewer_blocks_repeats_one_of_its_own() -> None:
    transfers, swap = engine(slot_blocks=2)
    transfers.submit_store(1, order((0,), 0), blocks(10))
    swap.finish(1)
    assert swap.content == {0: (10, 10)}


def test_blocks_that_attention_divides() -> None:
    transfers, swap = engine(slot_blocks=2, kernel_blocks=3)
    transfers.submit_store(1, order((0,), 0), blocks(1, 4))
    swap.finish(1)
    assert swap.content == {0: (3, 4, 5, 12, 13, 14)}
    transfers.submit_load(2, np.array([0]), blocks(7, first=1))
    assert swap.loaded == [(12, 21), (13, 22), (14, 23)]


def test_out_of_room_is_a_success_to_vllm_and_dropped_to_the_manager() -> None:
    transfers, swap = engine(pages=3)
    transfers.submit_store(1, order((5, 6), 0), blocks(50, 60))
    swap.finish(1)
    assert [one.job_id for one in transfers.poll()] == [1]
    assert transfers.take_report().stores == [StoreReport(0, 0, (5, 6), (2, DROPPED))]
    transfers.submit_store(2, order((6,), 1, freed=(6, 5)), blocks(70))  # given up on all ranks
    swap.finish(1)
    assert swap.content == {6: (70,)}


def test_a_load_that_fails_names_its_blocks() -> None:
    transfers, swap = engine(slot_blocks=2)
    transfers.submit_store(1, order((5, 6), 0), blocks(50, 51, 60, 61))
    swap.finish(1)
    transfers.poll()
    swap.unreadable.add(6)
    transfers.submit_load(2, np.array([5, 6]), blocks(1, 2, 3))
    swap.finish(1)
    assert [one.job_id for one in transfers.poll()] == [2]
    assert transfers.take_bad_blocks() == {3}
    assert transfers.take_failed_loads() == {2}
    assert transfers.take_report().unreadable == {(0, 6)}
    transfers.submit_load(3, np.array([9]), blocks(7))  # holds nothing
    assert [one.job_id for one in transfers.poll()] == [3]
    assert transfers.take_bad_blocks() == {7}


@pytest.mark.parametrize("broken", ["store", "load", "poll", "wait", "free"])
def test_an_engine_that_breaks_ends_offloading_and_nothing_else(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transfers, swap = engine()
    transfers.submit_store(1, order((5,), 0), blocks(50))
    swap.finish(1)
    transfers.poll()
    transfers.submit_load(2, np.array([5]), blocks(1))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(swap, broken, fail)
    transfers.submit_store(3, order((6,), 1, freed=(5,)), blocks(60))
    transfers.submit_load(4, np.array([5]), blocks(2))
    transfers.wait({2, 3, 4})
    ended = sorted(one.job_id for one in transfers.poll())
    assert ended == [2, 3, 4]
    transfers.submit_store(5, order((7,), 2), blocks(70))
    transfers.submit_load(6, np.array([7]), blocks(3))
    assert sorted(one.job_id for one in transfers.poll()) == [5, 6]
    assert 3 in transfers.take_bad_blocks()
    transfers.take_report()
    transfers.shutdown()
    transfers.shutdown()
    assert swap.closed


def test_figures_are_increments() -> None:
    transfers, swap = engine()
    swap.metrics.count("moved_bytes", 10, direction="store")
    swap.metrics.seconds("stage_seconds", 0.5, direction="store", stage="fused")
    swap.metrics.gauge("pages_in_use", 7)
    first = transfers.take_report()
    assert first.counts[("moved_bytes", (("direction", "store"),))] == 10
    assert first.counts[("stage_seconds", (("direction", "store"), ("stage", "fused")))] == 0.5
    assert first.gauges[("pages_in_use", (("rank", "0"),))] == 7
    assert first.gauges[("pages", (("rank", "0"),))] == 100
    swap.metrics.count("moved_bytes", 5, direction="store")
    both = first.merged(transfers.take_report())
    assert both.counts[("moved_bytes", (("direction", "store"),))] == 15
