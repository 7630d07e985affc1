"""Owns the cases of `baseline`: which copies there are to measure, and which cannot be made here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from kvbench import block_copy
from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType, parse_geometry
from kvbench.plan import Plan, SkippedCase
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case

HOST_SIZES = tuple(2**power for power in range(16, 27, 2))  # 64 KiB to 64 MiB
GPU_SIZES = (*HOST_SIZES, 2**28)
TRANSFERS = tuple((direction, memory) for memory in ("pinned", "pageable") for direction in ("d2h", "h2d", "both"))
BLOCKS = (32, 128, 512, 2048)
BLOCK_BYTES = 32 << 10
METHODS = ("async_copies", "batched_copy", "gather_copy", "zero_copy")


def cases(experiment: Experiment, cuda: CudaFacts | str) -> Plan:
    """Every size with every kind of copy, then the scattered blocks; what cannot be made here is skipped with reasons.

    Scattered blocks are part of it when they are asked for, or when no size is. Without a GPU, copies within the host
    by one and by all threads take the place of everything else. Raises UsageError for blocks that are no whole number
    of elements.
    """
    on_gpu = experiment.device != "cpu" and isinstance(cuda, CudaFacts)
    found = [*(_of_a_gpu(experiment) if on_gpu else _of_the_host(experiment)), *_scattered(experiment, on_gpu)]
    skipped: dict[str, SkippedCase] = {}
    kept: dict[str, Case] = {}
    for case in found:
        obstacle = _obstacle(case, on_gpu)
        if obstacle is None:
            kept.setdefault(case.id, case)
        else:
            skipped.setdefault(case.id, SkippedCase(case, *obstacle))
    return Plan(tuple(kept.values()), tuple(skipped.values()))


def _obstacle(case: Case, on_gpu: bool) -> tuple[str, str] | None:
    """(reason code, reason) why a case cannot be run here, or None."""
    if case.direction == "p2p" and case.peer_id is None:
        return "one_gpu", "a copy from one GPU to another needs two, and one is visible here"
    if case.method is None:
        return None
    if not on_gpu:
        return "no_gpu", "scattered blocks are copied between a GPU and the host; no GPU is used here"
    problem = block_copy.problem()
    if problem is not None:
        return "no_cuda_module", f"copies of scattered blocks are kvbench's own CUDA code: {problem}"
    problem = block_copy.batch_problem() if case.method == "batched_copy" else None
    return None if problem is None else ("no_batched_copy", f"cudaMemcpyBatchAsync needs CUDA 12.8: {problem}")


def _of_a_gpu(experiment: Experiment) -> Iterator[Case]:
    peer_id = _peer_of(experiment.device_id)
    sizes = list(_sizes(experiment, GPU_SIZES))
    for elements, dtype in sizes:
        for direction, memory in TRANSFERS:
            yield _case(experiment, elements, dtype, direction, memory, numa_node=experiment.numa_node)
        yield _case(experiment, elements, dtype, "d2d", "device")
        if peer_id is not None:
            yield _case(experiment, elements, dtype, "p2p", "device", peer_id=peer_id)
    if peer_id is None and sizes:
        yield _case(experiment, *sizes[-1], "p2p", "device")  # one row to say so


def _of_the_host(experiment: Experiment) -> Iterator[Case]:
    all_threads = experiment.threads or len(os.sched_getaffinity(0))
    for (elements, dtype), threads in product(_sizes(experiment, HOST_SIZES), sorted({1, all_threads})):
        placed = {"threads": threads, "numa_node": experiment.numa_node}
        yield _case(experiment, elements, dtype, "host_copy", "pageable", device="cpu", **placed)


def _scattered(experiment: Experiment, on_gpu: bool) -> Iterator[Case]:
    size_asked = bool(experiment.tensor_size or experiment.geometry)
    if not (experiment.blocks or experiment.block_bytes) and (size_asked or not on_gpu):
        return
    dtype: DType = experiment.dtype[0] if experiment.dtype else "float32"
    for block_bytes, blocks in product(experiment.block_bytes or (BLOCK_BYTES,), experiment.blocks or BLOCKS):
        if block_bytes % DTYPE_BYTES[dtype]:
            raise UsageError(
                f"--block-bytes {block_bytes}: no whole number of {dtype} elements; "
                f"give a multiple of {DTYPE_BYTES[dtype]}"
            )
        elements = block_bytes // DTYPE_BYTES[dtype]
        for method, direction in product(METHODS, ("d2h", "h2d")):
            yield _case(
                experiment,
                blocks * elements,
                dtype,
                direction,
                "pinned",
                shape=(blocks, elements),
                method=method,
                blocks=blocks,
                block_bytes=block_bytes,
                numa_node=experiment.numa_node,
            )


def _case(experiment: Experiment, elements: int, dtype: DType, direction: str, memory: str, **fields: Any) -> Case:
    common = {"command": experiment.command, "codec": "raw", "dtype": dtype, "seed": experiment.seed, "device": "cuda"}
    size = {"elements": elements, "shape": (elements,)}
    return Case.model_validate({**common, **size, "direction": direction, "memory": memory, **fields})


def _peer_of(device_id: int) -> int | None:
    """The first other GPU, or None."""
    return next((other for other in range(torch.cuda.device_count()) if other != device_id), None)


def _sizes(experiment: Experiment, defaults: tuple[int, ...]) -> Iterator[tuple[int, DType]]:
    """(elements, dtype): asked sizes in elements, geometries as the whole cache of their tokens, else the defaults.

    `defaults` are bytes.
    """
    dtypes = experiment.dtype or ("float32",)
    for text in experiment.geometry:
        geometry = parse_geometry(text)
        yield geometry.cache_elements, geometry.dtype
    for dtype in dtypes:
        sizes = experiment.tensor_size
        if not sizes and not experiment.geometry:
            sizes = tuple(size // DTYPE_BYTES[dtype] for size in defaults)
        for elements in sizes:
            yield elements, dtype
