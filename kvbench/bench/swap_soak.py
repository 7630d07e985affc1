"""Owns the soak: random traffic through an engine, every load looked at, memory watched to the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import torch

from kvbench.bench.context import BenchContext
from kvbench.bench.outcome import Outcome
from kvbench.bench.swap_cache import cache_of, coding_of
from kvbench.bench.swap_cases import SOAK_BLOCKS
from kvbench.bench.swap_traffic import MOST_A_BATCH, Checker, Traffic
from kvbench.codecs.profile import Profile
from kvbench.config_values import soak_amount
from kvbench.errors import CaseFailed
from kvbench.record.schema import Case
from kvbench.swap.engine import SwapEngine, device_of
from kvbench.swap.planes import Plane
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.slots import SlotState
from kvbench.swap.state import geometry_of

ROOM_SHARE = 0.4  # of the slots that there are find room as they are: so some are dropped, and compression shows
_BOOKS_EVERY = 2000  # operations
_GROWTH_ALLOWED = 64 << 20  # bytes of a process or a GPU, from allocators that keep what they had
_WARM_SHARE = 0.1


def run(case: Case, context: BenchContext, profile: Profile | None) -> Outcome:
    """Traffic of stores, loads, frees and resets for as long as the case says; every loaded block is compared.

    Among the blocks are ones that cannot be compressed and ones with NaN and infinities. Raises CaseFailed where a
    block comes back wrong, the limit is passed, the books do not add up, or memory grows.
    """
    with _one_torch_thread():
        return _run(case, context, profile)


def _run(case: Case, context: BenchContext, profile: Profile | None) -> Outcome:
    device = "cpu" if case.device == "cpu" else f"cuda:{context.device_id}"
    sources = case.blocks or SOAK_BLOCKS
    planes = cache_of(case, 2 * sources, device, context.kept)
    coding = coding_of(case, planes, profile)
    geometry = geometry_of(planes, 1)
    slots = sources
    limit = int(slots * ROOM_SHARE) * geometry.slot_pages * PAGE_BYTES
    with (
        context.working_stream(case),
        SwapEngine(
            planes, coding, limit_bytes=limit, slots=slots, path=case.path or "auto", verify=bool(case.checksum),
            staging_bytes=MOST_A_BATCH * geometry.slot_pages * PAGE_BYTES, numa_node=case.numa_node,
            device=device_of(planes[0].values, case.threads or 0),
        ) as engine,
    ):  # fmt: skip
        if not coding.raw:
            engine.calibrate(np.arange(sources))
        _spoil(planes, sources)
        checker = Checker(planes)
        if not coding.raw:
            checker.allow(engine.bounds())
        traffic = Traffic(
            engine, checker, np.random.default_rng(case.seed), sources, np.full(slots, -1, dtype=np.int64),
            list(range(sources, 2 * sources)),
        )  # fmt: skip
        return _soaked(case, engine, traffic)


def _soaked(case: Case, engine: SwapEngine, traffic: Traffic) -> Outcome:
    operations, seconds = soak_amount(case.soak or "")
    process = psutil.Process()
    start, most_used, done, warm = time.monotonic(), 0, 0, None
    while (done < operations) if operations is not None else (time.monotonic() - start < (seconds or 0)):
        traffic.step()
        done += 1
        most_used = max(most_used, engine.used_bytes)
        if done % _BOOKS_EVERY == 0:
            problem = engine.problem()
            if problem is not None:
                raise CaseFailed("books_wrong", f"after {done} operations {problem}")
            elapsed = time.monotonic() - start
            part = done / operations if operations is not None else elapsed / (seconds or 1)
            if warm is None and part >= _WARM_SHARE:
                warm = (process.memory_info().rss, _device_bytes(case))
    elapsed = time.monotonic() - start
    grown = (0, 0)
    if warm is not None:
        grown = (process.memory_info().rss - warm[0], _device_bytes(case) - warm[1])
    engine.wait(list(traffic.jobs.values()))
    traffic.take_finished()
    checker = traffic.checker
    outcome = Outcome(
        metrics={
            "operations": done,
            "operations_per_s": done / elapsed,
            "checked_blocks": checker.checked,
            "mismatches": checker.mismatches + checker.failed,
            "dropped_slots": traffic.dropped,
            "limit_bytes": engine.limit_bytes,
            "most_used_bytes": most_used,
            "host_growth_bytes": grown[0] if warm is not None else None,
            "device_growth_bytes": grown[1] if warm is not None and case.device == "cuda" else None,
            "raw_streams": int(engine.metrics.value("raw_streams")),
            "thread_blocks": engine.thread_blocks[0],
        }
    )
    _judge(outcome, engine, grown)
    return outcome


def _judge(outcome: Outcome, engine: SwapEngine, grown: tuple[int, int]) -> None:
    """Set the verdict; the figures stay whatever it is."""
    held = np.array([slot for slot in range(engine.slots) if engine.slot(slot).state != SlotState.FREE])
    if held.size:
        engine.free(held)
    engine.poll()
    metrics = outcome.metrics
    wrong = metrics["mismatches"]
    faults = {
        "bound_broken": f"{wrong} of {metrics['checked_blocks']} blocks came back wrong" if wrong else None,
        "limit_passed": "the limit was passed" if (metrics["most_used_bytes"] or 0) > engine.limit_bytes else None,
        "books_wrong": engine.problem(),
        "leak": f"{engine.used_bytes} bytes are still held after everything was freed" if engine.used_bytes else None,
    }
    if max(grown) > _GROWTH_ALLOWED:
        faults["leak"] = f"memory grew by {max(grown)} bytes during the soak"
    for code, fault in faults.items():
        if fault is not None:
            outcome.status, outcome.reason_code, outcome.reason = "failed", code, fault
            return


def _spoil(planes: tuple[Plane, ...], sources: int) -> None:
    """Some blocks that no codec makes smaller, and some with values that are no numbers."""
    for number, plane in enumerate(planes):
        generator = torch.Generator().manual_seed(number)
        shape = plane.values[0].shape
        for block in range(0, sources, 8):
            noise = torch.randint(0, 256, (plane.block_bytes,), generator=generator, dtype=torch.uint8)
            plane.values[block] = noise.view(plane.values.dtype).view(shape).to(plane.values.device)
        for block in range(4, sources, 16):
            plane.values[block].view(-1)[:3] = torch.tensor(
                [float("nan"), float("inf"), -float("inf")], device=plane.values.device
            ).to(plane.values.dtype)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Blocks are small: waking threads to compare them takes longer than comparing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device_bytes(case: Case) -> int:
    """Memory of the GPU that torch holds."""
    return int(torch.cuda.memory_reserved()) if case.device == "cuda" else 0
