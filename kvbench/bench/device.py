"""Owns which device a run measures, and what its user is told about it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

from kvbench.config import Experiment
from kvbench.errors import CaseFailed, UnavailableError, UsageError
from kvbench.record.gpu import CudaFacts, cuda_unavailable
from kvbench.record.schema import Case


def require_cuda(experiment: Experiment, cuda: CudaFacts | str) -> None:
    """Raises UnavailableError where the experiment insists on a GPU and there is none to use.

    A GPU number this machine does not have is a UsageError even under device auto: going to the CPU instead would
    measure another thing than was asked.
    """
    if not isinstance(cuda, str):
        return
    if experiment.device == "cuda":
        raise UnavailableError(f"cuda: unavailable: {cuda}; use --device cpu, or a machine with an NVIDIA GPU")
    if experiment.device == "auto" and experiment.device_id > 0 and cuda_unavailable() is None:
        raise UsageError(f"--device-id {experiment.device_id}: {cuda}")


def require_memory(needed_bytes: int) -> None:
    """Raises CaseFailed where the host has not that much memory free: allocating it could end other processes."""
    free_bytes = psutil.virtual_memory().available
    if needed_bytes > free_bytes:
        raise CaseFailed(
            "out_of_memory",
            f"needs about {needed_bytes / 1e9:.1f} GB of host memory, {free_bytes / 1e9:.1f} GB are free: "
            "choose a smaller size",
        )


def busy_notes() -> list[str]:
    """A line where other processes compete for the cores whose time is about to be measured."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < cores:
        return []
    return [f"this machine is busy (load {load:.1f} on {cores} cores): times will be long and noisy"]


def device_notes(experiment: Experiment, cuda: CudaFacts | str, cases: Iterable[Case]) -> list[str]:
    """One line on the device of these cases and why, and one if the asked GPU number plays no part."""
    devices = {case.device for case in cases}
    if "cuda" in devices and isinstance(cuda, CudaFacts):
        return [f"device: cuda {cuda.device_id} ({cuda.name})"]
    notes = []
    if experiment.device == "auto":
        why = f"cuda: unavailable: {cuda}" if isinstance(cuda, str) else "nothing asked for here runs on the GPU"
        notes.append(f"device: cpu ({why})")
    elif experiment.device == "cpu":
        notes.append("device: cpu, as asked")
    if "device_id" in experiment.model_fields_set:
        notes.append(f"--device-id {experiment.device_id} is ignored: the device is the CPU")
    return notes
