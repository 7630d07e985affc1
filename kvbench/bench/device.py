"""Owns which device a run measures, and what its user is told about it."""

from __future__ import annotations

from collections.abc import Iterable

from kvbench.config import Experiment
from kvbench.errors import UnavailableError
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case


def require_cuda(experiment: Experiment, cuda: CudaFacts | str) -> None:
    """Raises UnavailableError where the experiment insists on a GPU and there is none to use."""
    if experiment.device == "cuda" and isinstance(cuda, str):
        raise UnavailableError(f"cuda: unavailable: {cuda}; use --device cpu, or a machine with an NVIDIA GPU")


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
