"""Owns the bench of `baseline`: copies between host and GPU, or within the host where there is no GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Literal

import torch

from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment
from kvbench.errors import CaseFailed
from kvbench.geometry import DTYPE_BYTES, DType, parse_geometry
from kvbench.plan import Plan
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case

MAX_PAIRS = 4096
DEFAULT_BYTES = tuple(2**power for power in range(16, 27, 2))  # 64 KiB to 64 MiB
TRANSFERS: tuple[tuple[str, Literal["pinned", "pageable", "device"]], ...] = (
    ("d2h", "pinned"),
    ("h2d", "pinned"),
    ("d2h", "pageable"),
    ("h2d", "pageable"),
    ("d2d", "device"),
)


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases, and lines about what they measure. Raises UnavailableError for a GPU that is not there."""
    require_cuda(experiment, cuda)
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
    return Preparation(plan, notes=tuple(notes))


def cases(experiment: Experiment, cuda: CudaFacts | str) -> Plan:
    """Every size with every kind of copy: transfers on a GPU, host copies by one and by all threads without."""
    on_gpu = experiment.device != "cpu" and isinstance(cuda, CudaFacts)
    kinds: list[dict[str, Any]]
    if on_gpu:
        kinds = [{"device": "cuda", "direction": direction, "memory": memory} for direction, memory in TRANSFERS]
    else:
        all_threads = experiment.threads or len(os.sched_getaffinity(0))
        kinds = [
            {"device": "cpu", "direction": "host_copy", "memory": "pageable", "threads": threads}
            for threads in sorted({1, all_threads})
        ]
    found = [
        Case.model_validate(
            {
                "command": experiment.command,
                "codec": "raw",
                "dtype": dtype,
                "shape": (elements,),
                "elements": elements,
                "seed": experiment.seed,
                **kind,
            }
        )
        for elements, dtype in _sizes(experiment)
        for kind in kinds
    ]
    return Plan(tuple({case.id: case for case in found}.values()), ())


def _sizes(experiment: Experiment) -> Iterator[tuple[int, DType]]:
    """(elements, dtype): asked sizes in elements, geometries as the whole cache of their tokens, else the default."""
    dtypes = experiment.dtype or ("float32",)
    for text in experiment.geometry:
        geometry = parse_geometry(text)
        yield geometry.cache_elements, geometry.dtype
    for dtype in dtypes:
        sizes = experiment.tensor_size
        if not sizes and not experiment.geometry:
            sizes = tuple(size // DTYPE_BYTES[dtype] for size in DEFAULT_BYTES)
        for elements in sizes:
            yield elements, dtype


def run(case: Case, context: BenchContext) -> Outcome:
    """Time one kind of copy and compare the bytes it left. Raises CaseFailed where they differ.

    A transfer has two phases: its direction on the clock of CUDA events, and `<direction>_wall`, what the host waits
    until the bytes are there. A host copy has one.
    """
    assert case.direction is not None
    require_memory(2 * case.raw_bytes)
    outcome = Outcome()
    clocks = context.clocks(case)
    with _torch_threads(case.threads):
        pairs = _buffers(case, context.device_id)
        copy = _copy_next(pairs, non_blocking=case.memory != "pageable")
        outcome.phases[case.direction] = context.sample(case, case.direction, copy, clocks.work)
        if case.device == "cuda":
            wall = f"{case.direction}_wall"
            outcome.phases[wall] = context.sample(case, wall, copy, clocks.call)
            torch.cuda.synchronize(context.device_id)
        _require_equal(pairs)
    if any("unresolved" in phase.flags for phase in outcome.phases.values()):
        outcome.status, outcome.reason_code = "invalid", "unresolved"
        outcome.reason = f"copies of {case.raw_bytes} bytes are too short for the clock, even many at a time"
    return outcome


def _buffers(case: Case, device_id: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(source, destination) pairs of the case's bytes: random sources, destinations of which every byte is wrong.

    Copies within the GPU go round several pairs, together twice its L2 cache, so that they start cold
    (at most MAX_PAIRS: copies of a few KB are all launch anyway).
    """
    count = 1
    if case.direction == "d2d":
        l2_bytes = torch.cuda.get_device_properties(device_id).L2_cache_size
        count = min(MAX_PAIRS, 1 + l2_bytes // case.raw_bytes)
    words = -(-case.raw_bytes * count // 8)
    generator = torch.Generator().manual_seed(case.seed)
    content = torch.empty(words, dtype=torch.int64).random_(generator=generator).view(torch.uint8)
    content = content[: case.raw_bytes * count]
    wrong = ~content
    gpu, pinned = f"cuda:{device_id}", case.memory == "pinned"
    if case.direction in {"d2h", "d2d"}:
        content = content.to(gpu)
    elif pinned:
        content = content.pin_memory()
    if case.direction in {"h2d", "d2d"}:
        wrong = wrong.to(gpu)
    elif pinned:
        wrong = wrong.pin_memory()
    return list(zip(torch.split(content, case.raw_bytes), torch.split(wrong, case.raw_bytes), strict=True))


def _copy_next(pairs: list[tuple[torch.Tensor, torch.Tensor]], *, non_blocking: bool) -> Callable[[], object]:
    if len(pairs) == 1:
        [(source, destination)] = pairs
        return lambda: destination.copy_(source, non_blocking=non_blocking)
    turns = cycle(pairs)

    def copy_next() -> None:
        source, destination = next(turns)
        destination.copy_(source, non_blocking=non_blocking)

    return copy_next


def _require_equal(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """The first pair is always among those copied; a later one may not have had its turn."""
    source, destination = (tensor.cpu() for tensor in pairs[0])
    wrong = int((source != destination).sum())
    if wrong:
        raise CaseFailed("bytes_differ", f"{wrong} of {source.numel()} bytes differ after the copy")


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
