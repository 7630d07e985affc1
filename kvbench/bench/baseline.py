"""Owns the bench of `baseline`: copies between host and GPU, or within the host where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.copy_cases import cases
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.bench.outcome import Outcome
from kvbench.bench.scattered import SLOTS_A_BLOCK, ScatteredBlocks
from kvbench.bench.whole_copies import BothWays, Copies, whole_copies
from kvbench.config import Experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.measure import numa
from kvbench.measure.clock import Clock
from kvbench.measure.cuda_time import LAUNCH_BOUND
from kvbench.measure.host_memory import HostMemory
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import GB, Case

TENSORS_HELD = 4  # of a case's size, in host memory: random content, up to two buffers, and what came back


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases, and lines about what they measure.

    Raises UnavailableError for a GPU that is not there, UsageError for a NUMA node that is not, or for blocks that are
    no whole number of elements.
    """
    require_cuda(experiment, cuda)
    _require_node(experiment.numa_node)
    plan = cases(experiment, cuda)
    notes = [
        *device_notes(experiment, cuda, plan.cases),
        *busy_notes(),
        "GB/s: 1e9 bytes a second; a copy of N bytes counts N, reads and writes are not added up",
    ]
    if any(case.device == "cpu" for case in plan.cases):
        notes.append("host copies are measured; transfers to and from a GPU need one")
        notes.append("host copies use the same two buffers again: sizes that fit a CPU cache show its speed")
    else:
        notes.append("pinned copies may overlap with other work, pageable ones are staged by the driver and do not")
        notes.append("both: a copy out and a copy in at once; its bytes and GB/s are those of the two together")
    return Preparation(plan, notes=tuple(notes))


def _require_node(node: int | None) -> None:
    usable = numa.usable_nodes()
    if node is not None and node not in usable:
        there = ", ".join(map(str, usable)) or "none that the kernel tells of"
        raise UsageError(f"--numa-node {node}: there is no such node to use here; the nodes are: {there}")


def run(case: Case, context: BenchContext) -> Outcome:
    """Time one kind of copy, and after each phase compare every byte with what it has to be.

    On a GPU there are two phases: the direction on the clock of CUDA events, and `<direction>_wall`, what the host
    waits until the bytes are there. A host copy has one. Raises CaseFailed where bytes differ, or where the host
    memory is not on the NUMA node that was asked for.
    """
    assert case.direction is not None
    require_memory(TENSORS_HELD * (SLOTS_A_BLOCK if case.method else 1) * case.raw_bytes)
    outcome = Outcome()
    with (
        _torch_threads(case.threads),
        context.working_stream(case),
        HostMemory(case.numa_node) as memory,
    ):
        copies = _copies(case, memory, context.device_id)
        _record_node(case, memory, outcome)
        clocks = context.clocks(case)
        _time(case, context, outcome, copies, case.direction, clocks.work)
        if case.device == "cuda":
            _time(case, context, outcome, copies, f"{case.direction}_wall", clocks.call)
    _mark_transfer(case, context, outcome)
    # As for codecs, an unresolved phase has no median and costs nothing else; a copy without any time is nothing.
    if all("unresolved" in phase.flags for phase in outcome.phases.values()):
        outcome.status, outcome.reason_code = "invalid", "unresolved"
        outcome.reason = f"copies of {case.raw_bytes} bytes are too short for the clock, even many at a time"
    return outcome


def _copies(case: Case, memory: HostMemory, device_id: int) -> Copies:
    if case.method is not None:
        return ScatteredBlocks(case, memory, device_id)
    return whole_copies(case, memory, device_id)


def _time(case: Case, context: BenchContext, outcome: Outcome, copies: Copies, phase: str, clock: Clock) -> None:
    """Time one phase on destinations that are all wrong before it, and look at every byte after it."""
    copies.spoil()
    _finish(case)
    timed = context.sample(case, phase, copies, clock)
    _finish(case)
    wrong, looked_at = copies.wrong_bytes()
    if wrong:
        raise CaseFailed("bytes_differ", f"{wrong} of {looked_at} bytes differ after the copy ({phase})")
    if isinstance(copies, BothWays):
        timed.work_bytes = 2 * case.raw_bytes
    outcome.phases[phase] = timed


def _finish(case: Case) -> None:
    """Wait for every GPU that takes part: a clock watches one stream of one of them."""
    if case.device == "cuda":
        torch.cuda.synchronize()
        if case.peer_id is not None:
            torch.cuda.synchronize(case.peer_id)


def _record_node(case: Case, memory: HostMemory, outcome: Outcome) -> None:
    nodes = memory.nodes()
    if nodes is not None and len(nodes) == 0:
        return
    outcome.metrics["host_numa_node"] = next(iter(nodes)) if nodes is not None and len(nodes) == 1 else None
    if nodes is None:
        outcome.flags.append("numa_unknown")
    elif len(nodes) > 1:
        outcome.flags.append("numa_mixed")
    if nodes is not None and case.numa_node is not None and nodes != {case.numa_node}:
        found = ", ".join(map(str, sorted(nodes)))
        raise CaseFailed("numa_mismatch", f"host memory is on NUMA node {found}, not on {case.numa_node} as asked")


def _mark_transfer(case: Case, context: BenchContext, outcome: Outcome) -> None:
    """What a reader must know beside the times of a case on a GPU."""
    if case.device != "cuda":
        return
    if case.memory == "pageable":
        outcome.flags.append("no_overlap")  # the call holds the host while the driver stages the bytes
    if case.peer_id is not None and not torch.cuda.can_device_access_peer(context.device_id, case.peer_id):
        outcome.flags.append("staged")  # through host memory
    if case.direction == "both":
        both = outcome.phases["both"]
        median_s = None if LAUNCH_BOUND in both.flags else both.median_s
        outcome.metrics["each_way_gbps"] = case.raw_bytes / median_s / GB if median_s else None


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
