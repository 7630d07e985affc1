"""The engine's rules on a CPU: what comes back, what is refused, what becomes of memory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from swap_caches import BOUND, HeldDevice, block, cache, engine, planes

from kvbench.bound import Bound
from kvbench.errors import UsageError
from kvbench.swap.coding import cuszp_coding
from kvbench.swap.engine import SwapEngine
from kvbench.swap.slots import SlotState


def settle(swap, *jobs):
    swap.wait(jobs)
    return swap.poll()


@pytest.mark.parametrize("path", ["auto", "fused", "staged", "raw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_comes_back(path, dtype):
    values = cache(dtype=dtype)
    before = values.clone()
    with engine(values, path=path, slot_blocks=2) as swap:
        source = np.array([[3, 1], [4, 0], [9, 2]])
        (finished,) = settle(swap, swap.store(source, [5, 0, 7]))
        assert finished.dropped.size == 0
        assert (finished.slot_bytes > 0).all()
        settle(swap, load := swap.load([7, 5, 0], [[20, 21], [22, 23], [24, 25]]))
        assert not load.failed.any()
        assert swap.problem() is None
    for target, came_from in zip(range(20, 26), (9, 2, 3, 1, 4, 0), strict=True):
        error = (block(values, target).float() - block(before, came_from).float()).abs()
        half_ulp = 0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2 * block(values, target).float().abs()
        assert (error <= (0 if path == "raw" else BOUND + half_ulp)).all()
        assert (error == 0).all() == (path == "raw")
    untouched = [number for number in range(32) if not 20 <= number < 26]
    assert torch.equal(values[:, :, untouched], before[:, :, untouched])


def test_blocks_can_be_left_out_of_a_load():
    values = cache()
    before = values.clone()
    with engine(values, path="raw", slot_blocks=3) as swap:
        settle(swap, swap.store([[0, 1, 2], [3, 4, 5]], [0, 1]))
        settle(swap, swap.load([1, 0], [[-1, 20, -1], [21, -1, 22]]))
    for target, came_from in ((20, 4), (21, 0), (22, 2)):
        assert torch.equal(block(values, target), block(before, came_from))
    rest = [number for number in range(32) if number not in (20, 21, 22)]
    assert torch.equal(values[:, :, rest], before[:, :, rest])


def test_incompressible_blocks_are_raw_within_the_batch():
    values = cache()
    values[:, :, 1] = torch.randn(values[:, :, 1].shape, generator=torch.Generator().manual_seed(2)) * 1e20
    values[0, 0, 2, 0, 0, 0] = float("nan")
    with engine(values, path="fused") as swap:
        settle(swap, swap.store([0, 1, 2], [0, 1, 2]))
        raw = [int(swap.slot(slot).streams["stored_raw"].sum()) for slot in range(3)]
        settle(swap, swap.load([1, 2], [11, 12]))
        assert swap.metrics.value("raw_streams") == 5
    assert raw == [0, 4, 1]
    assert torch.equal(values[:, :, 11], values[:, :, 1])
    assert values[0, 0, 12, 0, 0, 0].isnan()


def test_compression_holds_more_blocks():
    values = cache(blocks=64, layers=32)
    stored = {}
    for path in ("raw", "fused", "staged"):
        with engine(values, path=path, limit_slots=16, slots=64) as swap:
            (finished,) = settle(swap, swap.store(np.arange(64), np.arange(64)))
            stored[path] = 64 - finished.dropped.size
            assert swap.used_bytes <= swap.limit_bytes
            assert swap.problem() is None
    assert stored["raw"] == 16
    assert stored["staged"] >= 40
    assert stored["fused"] >= 40, "where raw-size room is short the ring takes over"


def test_full_drops_and_says_so():
    values = cache()
    with engine(values, coded=False, limit_slots=4) as swap:
        (finished,) = settle(swap, swap.store(np.arange(6), np.arange(10, 16)))
        assert finished.dropped.tolist() == [14, 15]
        assert finished.slot_bytes[4:].tolist() == [0, 0]
        with pytest.raises(UsageError, match="slot 15 was dropped for lack of room"):
            swap.load([15], [0])
        swap.free(np.arange(10, 16))
        (finished,) = settle(swap, swap.store([0], [15]))
        assert finished.dropped.size == 0


def test_misuse_is_one_clear_error():
    values = cache()
    with engine(values, slots=8) as swap:
        settle(swap, first := swap.store([0, 1], [0, 1]))
        for wrong, message in [
            (lambda: swap.store([2], [1]), "slot 1 is in use; free it"),
            (lambda: swap.store([2, 3], [4, 4]), "slot 4 is given twice"),
            (lambda: swap.store([2], [8]), "slot 8 is not known; slots are 0 to 7"),
            (lambda: swap.store([32], [4]), "block 32 is not in the cache; its blocks are 0 to 31"),
            (lambda: swap.store([-1], [4]), "block -1 is not in the cache"),
            (lambda: swap.store([[1, 2]], [4]), r"blocks of shape \(1, 2\) for 1 slots"),
            (lambda: swap.store([1.5], [4]), "block numbers are whole numbers"),
            (lambda: swap.load([3], [4]), "slot 3 holds nothing; it cannot be loaded"),
            (lambda: swap.load([0], [-2]), "block -2 is not in the cache"),
            (lambda: swap.free([3]), "slot 3 holds nothing; was it freed twice"),
            (lambda: swap.load([0], [4], generations=[9]), "the handle of slot 0 is stale"),
            (lambda: swap.load([0], [4], generations=[1, 2]), "2 generations for 1 slots"),
            (lambda: swap.reset(-1), "epoch -1 is over"),
        ]:
            with pytest.raises(UsageError, match=message):
                wrong()
        swap.free([0], generations=first.generations[:1])
        settle(swap, again := swap.store([5], [0]))
        with pytest.raises(UsageError, match="the handle of slot 0 is stale"):
            swap.load([0], [9], generations=first.generations[:1])
        with pytest.raises(UsageError, match="the handle of slot 0 is stale"):
            swap.free([0], generations=first.generations[:1])
        settle(swap, swap.load([0], [9], generations=again.generations))
    with pytest.raises(UsageError, match="closed"):
        swap.poll()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_slots": 0.5}, "too small: one slot can need"),
        ({"path": "best"}, "path 'best' is not known"),
        ({"eviction": "random"}, "eviction 'random' is not known"),
        ({"slot_blocks": 0}, "slots of 0 blocks"),
    ],
)
def test_engines_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        engine(cache(layers=8), **options)


def test_a_slot_freed_while_it_is_loaded_keeps_its_pages():
    values, device = cache(), HeldDevice()
    before = values.clone()
    with engine(values, coded=False, limit_slots=2, device=device) as swap:
        settle(swap, swap.store([0, 1], [0, 1]))
        load = swap.load([0], [20])
        swap.free([0])
        (dropped,) = settle(swap, swap.store([2], [3]))
        assert dropped.dropped.tolist() == [3], "the only free pages are still read"
        assert swap.problem() is None
        settle(swap, load)
        swap.free([3])
        (finished,) = settle(swap, swap.store([2], [3]))
        assert finished.dropped.size == 0
    assert torch.equal(block(values, 20), block(before, 0))


@pytest.mark.parametrize("path", ["raw", "fused", "staged"])
def test_reset_with_jobs_in_flight(path):
    values, device = cache(), HeldDevice()
    with engine(values, path=path, device=device, staging_bytes=4 * 4096) as swap:
        settle(swap, old := swap.store([0, 1], [0, 1]))
        store, load = swap.store(np.arange(6), np.arange(4, 10)), swap.load([0], [30])
        swap.reset(1)
        swap.reset(1)
        new = swap.store([7], [4])
        ended = {finished.job: finished for finished in settle(swap, store, load, new)}
        assert ended[store].dropped.tolist() == list(range(4, 10))
        assert ended[new].dropped.size == 0
        assert not load.failed.any()
        assert swap.slot(4).epoch == 1
        with pytest.raises(UsageError, match="slot 0 holds nothing"):
            swap.load([0], [9], generations=old.generations[:1])
        swap.free([4])
        assert swap.problem() is None
        assert swap.used_bytes == 0


def test_nothing_is_waited_for_and_poll_gives_pages_back():
    values, device = cache(layers=8), HeldDevice()
    with engine(values, path="fused", device=device) as swap:
        job = swap.store([0, 1], [0, 1])
        assert device.ran == 0
        assert swap.poll() == []
        reserved = swap.used_bytes
        device.run()
        assert swap.used_bytes == reserved
        assert [finished.job for finished in swap.poll()] == [job]
        assert swap.used_bytes < reserved
        load = swap.load([0], [9])
        assert not load.done
        swap.join(load)


def test_a_load_of_a_slot_that_is_being_stored_waits():
    values, device = cache(), HeldDevice()
    with engine(values, path="staged", device=device) as swap:
        swap.store([3], [0])
        settle(swap, swap.load([0], [20]))
    assert (block(values, 20) - block(values, 3)).abs().max() <= BOUND


def test_jobs_that_are_done_or_unknown_can_be_waited_for():
    values = cache()
    with engine(values) as swap, engine(values.clone()) as other:
        job = swap.store([0], [0])
        swap.wait([job])
        swap.wait([job, other.store([0], [0])])


def test_least_recently_used_slots_make_room():
    values = cache()
    with engine(values, coded=False, limit_slots=4, eviction="lru") as swap:
        settle(swap, swap.store(np.arange(4), np.arange(4)))
        settle(swap, swap.load([0], [20]))
        (finished,) = settle(swap, swap.store([5, 6], [5, 6]))
        assert finished.dropped.size == 0
        assert sorted(swap.take_evicted().tolist()) == [1, 2]
        assert swap.take_evicted().size == 0
        with pytest.raises(UsageError, match="slot 1 was evicted"):
            swap.load([1], [20])
        swap.free([1])
        assert swap.metrics.value("evicted_slots") == 2
        assert swap.problem() is None


def test_a_callback_names_the_slots():
    values, asked = cache(), []

    def on_full(pages):
        asked.append(pages)
        return [3, 7]  # 7 holds nothing

    with engine(values, coded=False, limit_slots=4, eviction=on_full) as swap:
        settle(swap, swap.store(np.arange(4), np.arange(4)))
        (finished,) = settle(swap, swap.store([5], [5]))
        assert finished.dropped.size == 0
        assert swap.take_evicted().tolist() == [3]
        assert asked == [swap.limit_bytes // 4096 // 4]


def test_slots_that_a_load_reads_are_not_evicted():
    values, device = cache(), HeldDevice()
    with engine(values, coded=False, limit_slots=2, eviction="lru", device=device) as swap:
        settle(swap, swap.store([0, 1], [0, 1]))
        swap.load([0], [20])
        swap.load([1], [21])
        job = swap.store([5], [5])
        assert job.done
        assert job.dropped.all()
        assert swap.take_evicted().size == 0


def test_relative_bounds_are_measured_once_and_stay():
    values = cache()
    of = planes(values)
    with SwapEngine(of, cuszp_coding(of, Bound(kind="rel", value=1e-2)), limit_bytes=1 << 20, path="fused") as swap:
        with pytest.raises(UsageError, match="measured at the first store"):
            swap.bounds()
        settle(swap, swap.store([0, 1], [0, 1]))
        first = swap.bounds()
        expected = float(values[0, 0, [0, 1]].max() - values[0, 0, [0, 1]].min()) * 1e-2
        assert first[0] == pytest.approx(expected)
        values.mul_(100)
        settle(swap, swap.store([2], [2]))
        assert swap.bounds() == first
        assert len(swap.notes) == 1
        assert "measured on the first batch of 2 blocks" in swap.notes[0]


def test_restored_blocks_do_not_drift():
    values = cache()
    with engine(values, path="fused", slots=64) as swap:
        settle(swap, swap.store([0], [0]))
        settle(swap, swap.load([0], [20]))
        once = block(values, 20).clone()
        for slot in range(1, 6):
            settle(swap, swap.store([20], [slot]))
            settle(swap, swap.load([slot], [20]))
        assert (block(values, 20) - once).abs().max() <= 1e-5 * BOUND


def test_a_checksum_finds_changed_bytes():
    values = cache()
    with engine(values, path="fused", verify=True) as swap:
        settle(swap, swap.store([0, 1], [0, 1]))
        facts = swap.slot(1)
        swap._state.slab.values[int(facts.pages[0]) * 4096 + 40] ^= 1
        settle(swap, load := swap.load([0, 1], [20, 21]))
        assert load.failed.tolist() == [False, True]
        assert swap.metrics.value("failed_slots") == 1


def test_the_state_of_slots_can_be_looked_at():
    values = cache()
    with engine(values, path="fused", slot_blocks=2) as swap:
        settle(swap, swap.store([[0, 1]], [3]))
        facts = swap.slot(3)
        assert facts.state == SlotState.READY
        assert facts.plan == 1
        assert facts.streams.shape == (2, 4)
        assert facts.bytes == facts.streams["stored_bytes"].astype(int).__add__(15).__and__(-16).sum()
        assert len(facts.pages) == -(-facts.bytes // 4096)


def test_empty_batches_are_done_at_once():
    with engine(cache()) as swap:
        assert swap.store([], []).done
        assert swap.load(np.empty(0, dtype=int), []).done
        assert len(swap.poll()) == 2


def test_the_example_of_the_guide_runs():
    guide = (Path(__file__).parents[2] / "docs" / "swap.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(example, {})
