"""Checks what the user is told about the device."""

from __future__ import annotations

from kvbench.bench.device import device_notes
from kvbench.config import build_experiment
from kvbench.record.gpu import CudaFacts, GpuFacts
from kvbench.record.schema import Case

GPU = CudaFacts(
    device_id=1,
    name="NVIDIA H100",
    compute_capability="9.0",
    memory_bytes=80 * 10**9,
    l2_bytes=None,
    multiprocessors=132,
    cuda_torch="13.0",
    gpu=GpuFacts(),
)


def case(device: str) -> Case:
    return Case.model_validate({"command": "sweep", "codec": "cuszp", "elements": 1, "device": device})


def test_the_gpu_in_use_is_named() -> None:
    assert device_notes(build_experiment("sweep", {"device_id": 1}), GPU, [case("cuda")]) == [
        "device: cuda 1 (NVIDIA H100)"
    ]


def test_the_cpu_says_why() -> None:
    asked = build_experiment("sweep", {})
    assert device_notes(asked, "no driver", [case("cpu")]) == ["device: cpu (cuda: unavailable: no driver)"]
    assert device_notes(asked, GPU, [case("cpu")]) == ["device: cpu (nothing asked for here runs on the GPU)"]
    assert device_notes(build_experiment("sweep", {"device": "cpu"}), GPU, [case("cpu")]) == ["device: cpu, as asked"]


def test_a_gpu_number_that_plays_no_part_is_said_to() -> None:
    asked = build_experiment("sweep", {"device": "cpu", "device_id": 0})
    assert device_notes(asked, GPU, [case("cpu")]) == [
        "device: cpu, as asked",
        "--device-id 0 is ignored: the device is the CPU",
    ]
