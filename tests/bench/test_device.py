"""Checks what the user is told about the device."""

from __future__ import annotations

import pytest

from kvbench.bench import device
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.config import build_experiment
from kvbench.errors import CaseFailed, UnavailableError, UsageError
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


def test_a_gpu_number_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = build_experiment("sweep", {"device_id": 7})
    monkeypatch.setattr(device, "cuda_unavailable", lambda: None)
    with pytest.raises(UsageError, match="--device-id 7: there is no GPU 7"):
        require_cuda(asked, "there is no GPU 7; this machine shows 1, numbered from 0")
    monkeypatch.setattr(device, "cuda_unavailable", lambda: "no driver")
    require_cuda(asked, "no driver")
    with pytest.raises(UnavailableError, match="cuda: unavailable: no driver"):
        require_cuda(build_experiment("sweep", {"device": "cuda"}), "no driver")


def test_a_busy_machine_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(device.os, "getloadavg", lambda: (1.9, 9.0, 9.0))
    assert busy_notes() == []
    monkeypatch.setattr(device.os, "getloadavg", lambda: (2.25, 0.0, 0.0))
    assert busy_notes() == ["this machine is busy (load 2.2 on 2 cores): times will be long and noisy"]


def test_memory_that_is_not_there_is_not_asked_for() -> None:
    require_memory(1)
    with pytest.raises(CaseFailed, match=r"needs about 1000000000\.0 GB of host memory, .* are free: choose a smaller"):
        require_memory(10**18)
