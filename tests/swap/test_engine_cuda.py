"""The engine's rules on a GPU: the same as on a CPU, with streams, pinned memory and kernels that run beside others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from swap_caches import BOUND, block, cache, engine, planes

from kvbench.bound import Bound
from kvbench.errors import UsageError
from kvbench.swap.coding import cuszp_coding
from kvbench.swap.engine import SwapEngine
from kvbench.swap.fitting import fitted_model
from kvbench.swap.slab import Slab

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def settle(swap, *jobs):
    swap.wait(jobs)
    return swap.poll()


def checked(before, values, pairs, exact):
    for target, source in pairs:
        old, new = block(before, source).float(), block(values, target).float()
        rounding = 0 if values.dtype == torch.float32 else torch.finfo(values.dtype).eps / 2 * new.abs()
        assert ((old - new).abs() <= (0 if exact else BOUND + rounding)).all()


@pytest.mark.parametrize("path", ["auto", "fused", "staged", "raw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("verify", [False, True])
def test_what_comes_back(path, dtype, verify):
    values = cache(blocks=128, dtype=dtype, device="cuda")
    before = values.clone()
    with engine(values, path=path, slot_blocks=2, verify=verify, limit_slots=64) as swap:
        order = torch.randperm(128, generator=torch.Generator().manual_seed(0)).numpy()
        source, target = order.reshape(2, 32, 2)
        (finished,) = settle(swap, swap.store(source, np.arange(32)))
        assert finished.dropped.size == 0
        settle(swap, load := swap.load(np.arange(32), target))
        assert not load.failed.any()
        assert swap.problem() is None
        assert load.seconds > 0
    checked(before, values, zip(target.reshape(-1), source.reshape(-1), strict=True), path == "raw")
    assert torch.equal(values[:, :, source.reshape(-1)], before[:, :, source.reshape(-1)])


def test_sizes_are_those_of_the_cpu():
    of_cpu, of_gpu = cache(dtype=torch.bfloat16), cache(dtype=torch.bfloat16, device="cuda")
    sizes = []
    for values in (of_cpu, of_gpu):
        with engine(values, path="fused") as swap:
            (finished,) = settle(swap, swap.store(np.arange(8), np.arange(8)))
            sizes.append(finished.slot_bytes.tolist())
    assert sizes[0] == sizes[1]


def test_work_comes_after_the_callers_and_before_what_joins_it():
    values = cache(blocks=64, device="cuda")
    with engine(values, coded=False, limit_slots=40) as swap, torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(20_000_000)
        values[:, :, 0] = 7.0  # late, on the caller's stream
        store = swap.store([0], [0])
        assert not store.done
        swap.wait([store])
        torch.cuda._sleep(20_000_000)
        load = swap.load([0], [9])
        swap.join(load)
        copied = values[:, :, 9].clone()  # on the caller's stream, without the host waiting
        torch.cuda.current_stream().synchronize()
    assert (copied == 7.0).all()


def test_a_full_slab_drops_and_goes_by_the_ring():
    values = cache(blocks=64, layers=32, device="cuda")
    before = values.clone()
    with engine(values, path="fused", limit_slots=16, slots=64, staging_bytes=4 << 16) as swap:
        (finished,) = settle(swap, job := swap.store(np.arange(64), np.arange(64)))
        assert job.staged_slots > 0
        assert 16 < 64 - finished.dropped.size < 64
        assert swap.used_bytes <= swap.limit_bytes
        kept = np.setdiff1d(np.arange(64), finished.dropped)[:20]
        values[:, :, 40:60] = 0
        settle(swap, swap.load(kept, np.arange(40, 40 + len(kept))))
        assert swap.problem() is None
    checked(before, values, zip(range(40, 60), kept, strict=False), exact=False)


def test_reset_with_jobs_in_flight():
    values = cache(blocks=64, device="cuda")
    with engine(values, path="staged", limit_slots=32) as swap:
        torch.cuda._sleep(50_000_000)
        store = swap.store(np.arange(16), np.arange(16))
        swap.reset(1)
        again = swap.store([20], [3])
        settle(swap, store, again)
        assert store.dropped.all()
        assert not again.dropped.any()
        with pytest.raises(UsageError, match="slot 0 holds nothing"):
            swap.load([0], [40])
        swap.free([3])
        assert swap.used_bytes == 0


def test_a_checksum_finds_changed_bytes():
    values = cache(device="cuda")
    with engine(values, path="fused", verify=True) as swap:
        settle(swap, swap.store([0, 1], [0, 1]))
        facts = swap.slot(1)
        swap._state.slab.values[int(facts.pages[0]) * 4096 + 40] ^= 1
        settle(swap, load := swap.load([0, 1], [20, 21]))
        assert load.failed.tolist() == [False, True]


def test_an_engine_gives_its_memory_back():
    values = cache(blocks=64, device="cuda")
    for _ in range(2):
        before = torch.cuda.memory_allocated()
        swap = engine(values, path="staged", limit_slots=32)
        settle(swap, swap.store(np.arange(8), np.arange(8)))
        swap.close()
        del swap
    assert torch.cuda.memory_allocated() == before


def test_the_slab_is_pinned():
    slab = Slab(1 << 20, pinned=True)
    assert slab.values.is_pinned()
    slab.close()


def test_a_model_is_fitted_and_used():
    values = cache(blocks=64, layers=8, dtype=torch.bfloat16, device="cuda")
    of = planes(values)
    coding = cuszp_coding(of, Bound(kind="rel", value=1e-2))
    cost = fitted_model(of, coding, seconds=0.5)
    with SwapEngine(of, coding, limit_bytes=8 << 20, cost=cost) as swap:
        for slot in range(4):
            settle(swap, job := swap.store([slot], [slot]))
        assert job.why != "to learn the ratio"


def test_other_devices_are_refused():
    with pytest.raises(UsageError, match="works on cpu and cuda"):
        engine(cache(device="meta"))
