"""Owns the bench of `swap`: batches of KV blocks out of a cache and back, by each path, beside other work or alone."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import torch

from kvbench import block_copy
from kvbench.bench import swap_soak
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.bench.outcome import Outcome
from kvbench.bench.swap_batch import Batch, BatchClock, LoadBatch, StoreBatch, scattered
from kvbench.bench.swap_beside import Neighbour
from kvbench.bench.swap_cache import cache_of, coding_of, require_right
from kvbench.bench.swap_cases import cases
from kvbench.codecs import profile as profiles
from kvbench.config import Experiment
from kvbench.errors import CaseFailed
from kvbench.measure.clock import HostClock
from kvbench.measure.sampling import sample
from kvbench.record.gpu import CudaFacts, cuda_facts
from kvbench.record.schema import GB, Case, PhaseSamples
from kvbench.swap.cost import CostModel
from kvbench.swap.engine import SwapEngine, device_of
from kvbench.swap.fitting import fitted_model
from kvbench.swap.planes import Plane
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.state import geometry_of

CACHES_HELD = 4  # of a batch's bytes in host memory: the cache, twice a batch, while it is made, and the slab
FIT_SECONDS = 1.5
BARE_THREAD_BLOCKS = 64
_profiles: dict[str, profiles.Profile] = {}  # by label, of this process


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases, and lines about what they measure. Raises UnavailableError and UsageError like its parts."""
    require_cuda(experiment, cuda)
    if experiment.profile is not None:
        profile = profiles.load(experiment.profile)
        _profiles[profile.label] = profile
    plan = cases(experiment, cuda)
    notes = [
        *device_notes(experiment, cuda, plan.cases),
        *busy_notes(),
        "GB/s: 1e9 uncompressed bytes a second, until the host knows that they are there; link: bytes of the streams",
        "a slot holds one block on all planes; blocks lie at random places of a cache twice as large",
    ]
    if any(case.bound is not None and case.bound.kind != "abs" for case in plan.cases):
        notes.append("relative bounds are measured on each plane's first batch and are absolute from then on")
    return Preparation(plan, notes=tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Time one batch, wall and on its own stream, then look at every value; of a soak, its traffic.

    Raises CaseFailed where values come back wrong, slots are dropped, or host memory is too small.
    """
    profile = None if case.profile is None else _profiles[case.profile]
    if case.soak is not None:
        return swap_soak.run(case, context, profile)
    require_memory(CACHES_HELD * case.raw_bytes)
    assert case.planes is not None
    assert case.blocks is not None
    slots = case.blocks // case.planes
    device = "cpu" if case.device == "cpu" else f"cuda:{context.device_id}"
    source, target = scattered(slots, 1, case.seed)
    planes = cache_of(case, 2 * slots, device, context.kept)
    coding = coding_of(case, planes, profile)
    neighbour = Neighbour(str(case.beside), torch.device(device)) if case.beside not in (None, "nothing") else None
    with context.working_stream(case), _engine(case, context, planes, coding, slots) as engine:
        outcome = Outcome()
        if case.path != "raw":
            engine.calibrate(source)
        batch: Batch = StoreBatch(engine, source)
        if case.direction == "in":
            # The second store has a path chosen with the ratio known, as later ones would.
            for tidy in (batch.tidy, engine.poll):
                engine.wait([batch.submit()])
                tidy()
            batch = LoadBatch(engine, target)
        took = _time(case, context, outcome, engine, batch, neighbour)
        _look(case, outcome, engine, planes, (source, target))
        _figures(case, context, outcome, engine, took)
        if neighbour is not None:
            clock = BatchClock(engine, batch, None, wall=True, cuda=True)
            if case.direction == "out":
                engine.free(np.arange(slots))
            outcome.metrics["beside_slowdown"] = neighbour.slowdown(clock.call)
            neighbour.finish()
        elif case.device == "cuda":
            _against_bare_copy(case, context, outcome)
    return outcome


def _engine(case: Case, context: BenchContext, planes: tuple[Plane, ...], coding: Any, slots: int) -> SwapEngine:
    geometry = geometry_of(planes, 1)
    return SwapEngine(
        planes,
        coding,
        limit_bytes=2 * slots * geometry.slot_pages * PAGE_BYTES,
        slots=slots,
        path=case.path or "auto",
        verify=bool(case.checksum),
        staging_bytes=slots * geometry.slot_pages * PAGE_BYTES,
        numa_node=case.numa_node,
        cost=_cost(case, context, planes, coding) if case.path == "auto" else None,
        device=device_of(planes[0].values, case.threads or 0),
    )


def _cost(case: Case, context: BenchContext, planes: tuple[Plane, ...], coding: Any) -> CostModel:
    """A model fitted once for all cases of like blocks; each case learns its ratio alone."""
    forms = sorted({one.form for one in coding.by_plane})
    key = f"cost {case.device} {case.dtype} {case.block_bytes} {case.planes} {case.threads} {forms}"
    known = context.kept.get(key)
    if known is None or known[0] < (case.blocks or 0):
        most = 2 * case.raw_bytes
        made = fitted_model(
            planes, coding, device=device_of(planes[0].values, case.threads or 0), seconds=FIT_SECONDS,
            largest_bytes=most,
        )  # fmt: skip
        known = context.kept[key] = (case.blocks, made)
    model: CostModel = copy.deepcopy(known[1])
    return model


def _time(
    case: Case, context: BenchContext, outcome: Outcome, engine: SwapEngine, batch: Batch, neighbour: Neighbour | None
) -> dict[str, int]:
    took: dict[str, int] = {}
    for phase, wall in ((str(case.direction), False), (f"{case.direction}_wall", True)):
        clock = BatchClock(engine, batch, neighbour, wall=wall, cuda=case.device == "cuda")
        outcome.phases[phase] = sample(
            clock.call,
            clock=clock,
            rule=context.rule,
            work_bytes=case.raw_bytes,
            nvtx_text=f"{case.id}/{phase}",
            clock_log=context.clock_log(case),
        )
        took |= clock.paths
    if neighbour is not None:
        neighbour.finish()
    return took


def _look(case: Case, outcome: Outcome, engine: SwapEngine, planes: tuple[Plane, ...], blocks: Any) -> None:
    """Swap out and in once more, and compare every value."""
    source, target = blocks
    slots = np.arange(len(source))
    if case.direction == "out":
        engine.wait([engine.store(source, slots)])
        if any(finished.dropped.size for finished in engine.poll()):
            raise CaseFailed("dropped", "there was no room for all slots; this is a fault of kvbench")
    for plane in planes:
        plane.values[torch.from_numpy(target.reshape(-1)).to(plane.values.device)] = 0
    engine.wait([job := engine.load(slots, target)])
    if job.failed.any():
        raise CaseFailed("not_read", f"{int(job.failed.sum())} of {len(slots)} slots could not be read")
    plan = engine.slot(0).plan
    bounds = engine.bounds(plan)
    known = [bound for bound in bounds if bound is not None]
    largest = require_right(planes, source.reshape(-1), target.reshape(-1), bounds)
    outcome.metrics |= {
        "max_abs_error": largest if known else 0.0,
        "effective_error_bound": max(known) if known else None,
        "violations": 0 if known else None,
        "checked_blocks": len(slots) * len(planes),
    }


def _figures(case: Case, context: BenchContext, outcome: Outcome, engine: SwapEngine, took: dict[str, int]) -> None:
    facts = [engine.slot(slot) for slot in range((case.blocks or 0) // (case.planes or 1))]
    streams = np.concatenate([one.streams.reshape(-1) for one in facts])
    moved = int(streams["stored_bytes"].sum(dtype=np.int64))
    kept_bytes = sum(len(one.pages) for one in facts) * PAGE_BYTES
    wall_s = outcome.phases[f"{case.direction}_wall"].median_s
    coded = facts[0].plan > 0
    outcome.metrics |= {
        "stream_bytes": moved,
        "compressed_bytes": moved,
        "ratio": case.raw_bytes / moved,
        "bits_per_value": 8 * moved / case.elements,
        "paged_ratio": case.raw_bytes / kept_bytes,
        "moved_gbps": moved / wall_s / GB if wall_s else None,
        "raw_streams": int(streams["stored_raw"].sum()) if coded else None,
        "thread_blocks": engine.thread_blocks[0 if case.direction == "out" else 1],
    }
    facts_of_gpu = cuda_facts(context.device_id) if case.device == "cuda" else "no GPU"
    if isinstance(facts_of_gpu, CudaFacts):
        share = (outcome.metrics["thread_blocks"] or 0) / facts_of_gpu.multiprocessors
        outcome.metrics["sm_share"] = min(1.0, share)
    most = max(took, key=lambda path: took[path])
    outcome.flags.append(f"took_{most}")


def _against_bare_copy(case: Case, context: BenchContext, outcome: Outcome) -> None:
    """What a kernel that only copies needs for as many bytes, to or from mapped host memory."""
    pages = -(-int(outcome.metrics["stream_bytes"] or 0) // PAGE_BYTES)
    host = torch.zeros(pages * PAGE_BYTES, dtype=torch.uint8, pin_memory=True)
    on_gpu = torch.zeros(pages * PAGE_BYTES, dtype=torch.uint8, device=f"cuda:{context.device_id}")
    places = [
        [start + number * PAGE_BYTES for number in range(pages)]
        for start in (block_copy.mapped_pointer(host), on_gpu.data_ptr())
    ]
    targets, sources = places if case.direction == "out" else places[::-1]
    stream = torch.cuda.current_stream(context.device_id)
    call = block_copy.BlockCopy(targets, sources, PAGE_BYTES).by_kernel(
        stream.cuda_stream, BARE_THREAD_BLOCKS, on_gpu.device
    )
    timed: PhaseSamples = sample(
        call,
        clock=HostClock(wait=partial(stream.synchronize)),
        rule=context.rule,
        work_bytes=pages * PAGE_BYTES,
        nvtx_text=f"{case.id}/bare_copy",
        clock_log=context.clock_log(case),
    )
    outcome.phases["bare_copy"] = timed
    wall_s = outcome.phases[f"{case.direction}_wall"].median_s
    outcome.metrics["zero_copy_share"] = timed.median_s / wall_s if timed.median_s and wall_s else None
