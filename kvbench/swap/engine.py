"""Owns `SwapEngine`: blocks of a paged cache out to host memory and back, without waiting and without surprises."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kvbench.errors import UsageError
from kvbench.swap.adaptation import Adaptation, Ladder, Step
from kvbench.swap.arguments import block_numbers, blocks_of_slots, kept_tokens
from kvbench.swap.coding import Coding, raw_coding
from kvbench.swap.cost import Choice, CostModel, Direction
from kvbench.swap.device import Device
from kvbench.swap.eviction import EvictionName, OnFull
from kvbench.swap.jobs import Finished, Job
from kvbench.swap.loads import LEFT_OUT, Loads, stored_bytes
from kvbench.swap.metrics import Metrics
from kvbench.swap.placing import device_of, slab_for
from kvbench.swap.planes import Plane
from kvbench.swap.plans import RAW_PLAN, Plans
from kvbench.swap.slab import PAGE_BYTES
from kvbench.swap.slots import SlotFacts, SlotIds, SlotState
from kvbench.swap.state import EngineState, geometry_of, page_problem
from kvbench.swap.stores import Stores

__all__ = ["PathChoice", "SwapEngine", "device_of"]

PathChoice = Literal["auto", "fused", "staged", "raw"]
STAGING_BYTES = 64 << 20
_RATIO_OF_SLOTS = 8  # slots there are, unless said otherwise: as many as fit at this ratio


class SwapEngine:
    """Moves blocks between one paged cache and one slab of host memory. For one thread, like the cache.

    A slot holds `slot_blocks` blocks with all their planes (see `planes.planes_of`), on pages of the slab; its number
    is the caller's. `store` and `load` only enqueue work, after what the caller's current stream has been given, and
    give back a Job; `poll` tells which jobs are done. Until then the blocks of a store must stay as they are, and those
    of a load are not to be read, except by work that comes after `join`.
    Lack of room raises nothing: the slots concerned are reported as dropped.
    """

    def __init__(
        self,
        planes: Sequence[Plane],
        coding: Coding | None = None,
        *,
        limit_bytes: int,
        slot_blocks: int = 1,
        slots: int | None = None,
        path: PathChoice = "auto",
        eviction: EvictionName | OnFull = "none",
        verify: bool = False,
        staging_bytes: int = STAGING_BYTES,
        ladder: Ladder | None = None,
        numa_node: int | None = None,
        cost: CostModel | None = None,
        device: Device | None = None,
    ) -> None:
        """An engine with `limit_bytes` of host memory for streams, in pages of 4096 bytes.

        `coding` None is raw. `slots` is how many there are, by default what fits at ratio 8. `path` forces one.
        `verify` gives every stream a checksum that each load looks at. `staging_bytes` is memory beside the cache for
        the path `staged`, each way, taken when first needed. `ladder` turns adaptation on. `cost` is a model that was
        fitted before; without one `auto` learns from its own batches, see also `fitting.fitted_model`. `device` is
        found from the planes. `numa_node` is where the memory is to be, by default next to the GPU. Raises UsageError
        for what does not fit together, UnavailableError for memory that is not given.
        """
        coding = coding or raw_coding(planes)
        if len(coding.by_plane) != len(planes):
            raise UsageError(f"a coding of {len(coding.by_plane)} planes for {len(planes)}")
        if path not in ("auto", "fused", "staged", "raw"):
            raise UsageError(f"path {path!r} is not known; use auto, fused, staged or raw")
        geometry = geometry_of(planes, slot_blocks)
        device = device or device_of(planes[0].values)
        self._path, self._coding = path, coding
        self._adaptation = Adaptation(ladder) if ladder is not None else None
        steps = ladder.steps if ladder is not None else (1.0,)
        slab = slab_for(limit_bytes, device, numa_node)
        try:
            plans = Plans(planes, coding, device, steps)
            most = slab.pages * _RATIO_OF_SLOTS // geometry.slot_pages
            self._state = EngineState(geometry, slab, plans, device, slots or max(1, most), eviction, verify)
        except BaseException:
            slab.close()
            raise
        if cost is not None:
            self._state.cost = cost
        self._stores, self._loads = Stores(self._state, staging_bytes), Loads(self._state, staging_bytes)
        self._jobs: dict[int, Job] = {}
        self._finished: list[Finished] = []
        self._next_id = 0
        self._planes = tuple(planes)  # the tables hold their addresses
        self._end = weakref.finalize(self, _close, self._state, self._stores, self._loads)

    def store(self, src_blocks: ArrayLike, slot_ids: ArrayLike, *, starts: ArrayLike | None = None) -> Job:
        """Enqueue a store of blocks [slots] or [slots, blocks of a slot] to slots that hold nothing.

        `starts` says which blocks begin a sequence, so that a profile's kept tokens are kept there; without it none do.
        Raises UsageError for slots that are in use, unknown or given twice, and blocks that the cache has not.
        """
        state = self._open()
        ids = state.table.ids(slot_ids)
        blocks = self._blocks(src_blocks, ids, least=0)
        state.table.require_storable(ids)
        kept = np.zeros(blocks.shape, dtype=np.uint32)
        keep_first = kept_tokens(starts, blocks.shape, self._coding.keep_first, kept)
        if not state.plans.settled and self._path != "raw":
            state.plans.settle(np.unique(blocks), f"the first batch of {blocks.size} blocks")
        raw_bytes = blocks.size * state.geometry.block_raw_bytes
        if state.pool.free < ids.size * state.geometry.slot_pages:
            self._advance()  # what is done may give pages back
        choice = self._choose_store(raw_bytes)
        job = self._job("store", ids, choice, raw_bytes)
        state.table.state[ids] = SlotState.STORING
        state.table.epoch[ids] = state.epoch
        state.eviction.touch(ids)
        plan = RAW_PLAN if choice.path == "raw" else 1 + (self._adaptation.step if self._adaptation else 0)
        self._stores.submit(job, blocks, keep_first, plan)
        return self._submitted(job)

    def load(self, slot_ids: ArrayLike, dst_blocks: ArrayLike, *, generations: ArrayLike | None = None) -> Job:
        """Enqueue a load of slots to blocks [slots] or [slots, blocks of a slot]; -1 leaves a block out.

        `generations` are the handles that `Job.generations` gave. A slot that is still being stored is waited for.
        Raises UsageError for slots that hold nothing, stale handles, and blocks that the cache has not.
        """
        state = self._open()
        ids = state.table.ids(slot_ids)
        blocks = self._blocks(dst_blocks, ids, least=LEFT_OUT)
        if (state.table.state[ids] == SlotState.STORING).any():
            self._wait_for_stores(ids)
        state.table.require_ready(ids)
        state.table.require_generations(ids, generations)
        raw_bytes = int(np.count_nonzero(blocks != LEFT_OUT)) * state.geometry.block_raw_bytes
        job = self._job("load", ids, self._choose_load(ids, raw_bytes), raw_bytes)
        job.slot_bytes[:] = state.table.bytes[ids]
        state.eviction.touch(ids)
        self._loads.submit(job, blocks)
        return self._submitted(job)

    def poll(self) -> list[Finished]:
        """What has finished since the last call, and unused pages back to where they came from. Never waits."""
        self._open()
        self._advance()
        finished, self._finished = self._finished, []
        return finished

    def wait(self, jobs: Iterable[Job]) -> None:
        """Until the work of these jobs is over; `poll` tells of them afterwards. Those that are done are passed."""
        self._open()
        for job in jobs:
            while self._jobs.get(job.id) is job:
                if not job.by_ring and job.last_mark is not None:
                    # All that is left is to enter it into the books, which `poll` does outside of anyone's waiting.
                    job.last_mark.wait()
                    break
                self._advance()
                if job.id in self._jobs:
                    self._stores.wait_oldest()

    def join(self, job: Job) -> None:
        """Let the caller's current stream go on after a load, without the host waiting for it."""
        if job.last_mark is not None and not job.done:
            self._open().device.join(job.last_mark)

    def free(self, slot_ids: ArrayLike, *, generations: ArrayLike | None = None) -> None:
        """Take slots back, whatever they hold; a store in flight into one of them ends as dropped, a load ends well.

        Raises UsageError for slots that hold nothing (freed twice?) and for stale handles.
        """
        state = self._open()
        ids = state.table.ids(slot_ids)
        found = state.table.state[ids]
        if (found == SlotState.FREE).any():
            raise UsageError(f"slot {ids[(found == SlotState.FREE).argmax()]} holds nothing; was it freed twice?")
        if generations is not None:
            there = found != SlotState.EVICTED
            state.table.require_generations(ids[there], np.asarray(generations)[there])
        state.release(ids, SlotState.FREE)

    def reset(self, epoch: int) -> None:
        """Forget every slot and start an epoch; jobs in flight end, stores among them as dropped.

        The same epoch again changes nothing. Raises UsageError for an earlier one.
        """
        state = self._open()
        if epoch < state.epoch:
            raise UsageError(f"epoch {epoch} is over; the engine is at {state.epoch}")
        if epoch == state.epoch:
            return
        state.epoch = epoch
        state.release(state.used_slots(), SlotState.FREE)
        self._report(self._stores.forget_queued())

    def calibrate(self, blocks: ArrayLike | None = None) -> None:
        """Measure these blocks (None: the whole cache) for bounds that are fractions of values, before any store."""
        state = self._open()
        if not state.plans.settled:
            chosen = None if blocks is None else np.unique(block_numbers(blocks, state.geometry.blocks, 0))
            state.plans.settle(chosen, "the cache" if chosen is None else f"{chosen.size} blocks")

    def take_evicted(self) -> SlotIds:
        """Slots that were evicted since the last call."""
        evicted, self._state.evicted = self._state.evicted, []
        return np.concatenate(evicted) if evicted else np.empty(0, dtype=np.int64)

    def slot(self, slot_id: int) -> SlotFacts:
        """What is known of one slot."""
        return self._open().table.facts(slot_id)

    def close(self) -> None:
        """Wait for what is in flight and give all memory back. Again: nothing."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def limit_bytes(self) -> int:
        """Host memory for streams; never exceeded."""
        return self._open().slab.size_bytes

    @property
    def used_bytes(self) -> int:
        """Of it, in whole pages, with what jobs in flight have reserved."""
        return self._open().pool.in_use * PAGE_BYTES

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self._open().table.count

    @property
    def thread_blocks(self) -> tuple[int, int]:
        """The most that a kernel has at a time, of stores and of loads; threads on the CPU."""
        device = self._state.device
        return device.thread_blocks("store"), device.thread_blocks("load")

    @property
    def metrics(self) -> Metrics:
        """Counters and histograms of this engine."""
        return self._state.metrics

    @property
    def cost(self) -> CostModel:
        """What `auto` goes by."""
        return self._state.cost

    @property
    def notes(self) -> list[str]:
        """What a user should know of bounds that were measured."""
        return list(self._state.plans.notes)

    @property
    def steps(self) -> list[Step]:
        """Every move along the ladder of bounds."""
        return [] if self._adaptation is None else list(self._adaptation.log)

    def bounds(self, plan: int = 1) -> tuple[float | None, ...]:
        """Largest |x - x'| by plane under a plan (see `SlotFacts.plan`): of the value before it is rounded to a 16-bit
        dtype; None for raw planes. Raises UsageError before bounds that are measured are known."""
        plans = self._open().plans
        if not plans.settled and plan != RAW_PLAN:
            raise UsageError("bounds are measured at the first store; call calibrate() to know them before")
        return plans[plan].bounds

    def problem(self) -> str | None:
        """What is wrong with the books, or None: every page belongs to exactly one of pool, slot, job and waiting load.

        Looks at every slot: for tests and soaks.
        """
        return page_problem(self._open(), self._stores.held_pages())

    def _open(self) -> EngineState:
        if not self._end.alive:
            raise UsageError("the swap engine is closed; make another one")
        return self._state

    def _blocks(self, blocks: ArrayLike, ids: SlotIds, least: int) -> NDArray[np.int64]:
        geometry = self._state.geometry
        return blocks_of_slots(blocks, ids.size, geometry.slot_blocks, geometry.blocks, least)

    def _choose_store(self, raw_bytes: int) -> Choice:
        state = self._state
        if self._path == "raw":
            return Choice("raw", "asked for")
        if not state.plans[1].coded:
            return Choice("raw", "nothing is coded")
        if self._path == "auto":
            return state.cost.choose_store(raw_bytes)
        return Choice(self._path, "asked for")

    def _choose_load(self, ids: SlotIds, raw_bytes: int) -> Choice:
        state = self._state
        if not state.table.plan[ids].any():
            return Choice("raw", "stored raw")
        if self._path == "auto":
            return state.cost.choose_load(raw_bytes, stored_bytes(state, ids))
        return Choice("staged" if self._path == "staged" else "fused", "asked for")

    def _job(self, direction: Direction, ids: SlotIds, choice: Choice, raw_bytes: int) -> Job:
        self._next_id += 1
        count = ids.size
        return Job(
            id=self._next_id,
            direction=direction,
            slots=ids.copy(),
            generations=self._state.table.generation[ids],
            path=choice.path,
            why=choice.why,
            raw_bytes=raw_bytes,
            slot_bytes=np.zeros(count, dtype=np.int64),
            dropped=np.zeros(count, dtype=np.bool_),
            failed=np.zeros(count, dtype=np.bool_),
        )

    def _submitted(self, job: Job) -> Job:
        self._state.metrics.count("choices", direction=job.direction, path=job.path, why=job.why)
        if job.done:
            self._report([job])
        else:
            self._jobs[job.id] = job
        return job

    def _wait_for_stores(self, ids: SlotIds) -> None:
        wanted = set(ids.tolist())
        self.wait([job for job in self._jobs.values() if job.direction == "store" and wanted & set(job.slots.tolist())])
        self._advance()

    def _advance(self) -> None:
        if self._jobs:
            self._report(self._loads.advance())
            self._report(self._stores.advance())
        state = self._state
        state.metrics.gauge("pages_in_use", state.pool.in_use)
        state.metrics.gauge("jobs", len(self._jobs))

    def _report(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._jobs.pop(job.id, None)
            self._finished.append(Finished(job, job.slot_bytes, job.slots[job.dropped]))
            if job.direction == "store" and self._adaptation is not None:
                self._adapt(self._adaptation, job)

    def _adapt(self, adaptation: Adaptation, job: Job) -> None:
        state = self._state
        waiting_bytes = sum(other.raw_bytes for other in self._jobs.values() if other.direction == "store")
        waiting_s = job.seconds * waiting_bytes / job.raw_bytes if job.raw_bytes else 0.0
        if adaptation.observe(state.pool.in_use / state.pool.count, waiting_s):
            state.cost.forget_share()
        state.metrics.gauge("bound_step", adaptation.step)


def _close(state: EngineState, stores: Stores, loads: Loads) -> None:
    """Outside of the engine, so that nothing keeps it alive: wait for what uses the memory, then give it back."""
    while stores.in_flight or loads.in_flight:
        stores.forget_queued()
        stores.wait_oldest()
        loads.wait_oldest()
        stores.advance()
        loads.advance()
    state.slab.close()
