"""Checks the bench of `baseline`: which copies it plans, and that it never gives a speed it has not seen."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from fake_bench import CALL_S, context

from kvbench.bench import baseline
from kvbench.bench.context import BenchContext
from kvbench.config import Experiment, build_experiment
from kvbench.errors import CaseFailed, UnavailableError
from kvbench.measure import sampling
from kvbench.measure.sampling import StopRule
from kvbench.record.gpu import CudaFacts, GpuFacts, cuda_facts
from kvbench.record.schema import Case, PhaseSamples

NO_GPU = "no NVIDIA driver"
GPU = CudaFacts(
    device_id=0,
    name="NVIDIA H100",
    compute_capability="9.0",
    memory_bytes=80 * 10**9,
    l2_bytes=50 << 20,
    multiprocessors=132,
    cuda_torch="13.0",
    gpu=GpuFacts(),
)


def experiment(**fields: object) -> Experiment:
    return build_experiment("baseline", fields)


def host_cases(**fields: object) -> tuple[Case, ...]:
    return baseline.cases(experiment(**fields), NO_GPU).cases


def test_without_a_gpu_host_copies_by_one_and_by_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    found = host_cases(tensor_size=[64, 256])
    assert [(case.elements, case.threads) for case in found] == [(64, 1), (64, 6), (256, 1), (256, 6)]
    assert {(case.direction, case.memory, case.device) for case in found} == {("host_copy", "pageable", "cpu")}
    assert [case.raw_bytes for case in found] == [256, 256, 1024, 1024]


def test_on_one_core_one_and_all_threads_are_the_same_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert [case.threads for case in host_cases(tensor_size=64)] == [1]


def test_asked_threads_stand_for_all() -> None:
    assert [case.threads for case in host_cases(tensor_size=64, threads=3)] == [1, 3]


def test_default_sizes_are_64_kib_to_64_mib() -> None:
    sizes = sorted({case.raw_bytes for case in host_cases(dtype=["float32", "bfloat16"])})
    assert sizes[0] == 64 << 10
    assert sizes[-1] == 64 << 20
    assert {case.dtype for case in host_cases(dtype=["float32", "bfloat16"])} == {"float32", "bfloat16"}


def test_a_geometry_is_its_whole_cache() -> None:
    [case, *_] = host_cases(geometry="layers=2,heads=4,head_dim=8,dtype=bf16,tokens=10", threads=1)
    assert case.elements == 2 * 2 * 10 * 4 * 8
    assert case.raw_bytes == 2 * case.elements


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_c06_with_a_gpu_every_direction_and_kind_of_memory(device: str) -> None:
    found = baseline.cases(experiment(tensor_size=1048576, device=device), GPU).cases
    assert {(case.direction, case.memory) for case in found} == {
        ("d2h", "pinned"),
        ("h2d", "pinned"),
        ("d2h", "pageable"),
        ("h2d", "pageable"),
        ("d2d", "device"),
    }
    assert all(case.device == "cuda" and case.threads is None for case in found)
    notes = baseline.prepare(experiment(tensor_size=1048576, device=device), GPU).notes
    assert any("1e9 bytes" in note for note in notes)
    # Overlap is claimed for pinned memory alone.
    assert [note for note in notes if "overlap" in note] == [
        "pinned copies may overlap with other work, pageable ones are staged by the driver and do not"
    ]
    assert f"device: cuda 0 ({GPU.name})" in notes


def test_the_cpu_can_be_asked_for_beside_a_gpu() -> None:
    assert {case.direction for case in baseline.cases(experiment(device="cpu"), GPU).cases} == {"host_copy"}


def test_without_a_gpu_the_notes_say_what_needs_one() -> None:
    notes = baseline.prepare(experiment(device_id=0), NO_GPU).notes
    assert any("transfers to and from a GPU need one" in note for note in notes)
    assert f"device: cpu (cuda: unavailable: {NO_GPU})" in notes
    assert "--device-id 0 is ignored: the device is the CPU" in notes


def test_c12_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UnavailableError, match=f"cuda: unavailable: {NO_GPU}") as error:
        baseline.prepare(experiment(device="cuda"), NO_GPU)
    assert "\n" not in str(error.value)


def test_c05_small_copies_are_batched_and_every_sample_is_kept() -> None:
    for case in host_cases(tensor_size=[64, 256], threads=1):
        outcome = baseline.run(case, BenchContext(rule=StopRule(iterations=8)))
        phase = outcome.phases["host_copy"]
        assert phase.calls_per_sample > 10
        assert len(phase.samples_s) == 8
        assert phase.work_bytes == case.raw_bytes
        assert outcome.status == "ok"
        assert phase.median_s is not None
        assert phase.ci_low_s is not None
        assert phase.ci_low_s <= phase.median_s


def test_c05_a_copy_the_clock_cannot_see_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_bench.CALL_S", 0.0)
    monkeypatch.setattr(sampling, "MAX_CALLS_PER_SAMPLE", 4)
    [case] = host_cases(tensor_size=64, threads=1)
    outcome = baseline.run(case, context())
    assert (outcome.status, outcome.reason_code) == ("invalid", "unresolved")
    assert outcome.reason == "copies of 256 bytes are too short for the clock, even many at a time"
    assert outcome.phases["host_copy"].median_s is None


def test_threads_are_used_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def recorded(self: BenchContext, case: Case, phase: str, call: Callable[[], object], clock: object) -> PhaseSamples:
        seen.append(torch.get_num_threads())
        call()
        return PhaseSamples(samples_s=[CALL_S], work_bytes=case.raw_bytes, median_s=CALL_S)

    monkeypatch.setattr(BenchContext, "sample", recorded)
    wanted = before + 1
    for case in host_cases(tensor_size=64, threads=wanted):
        baseline.run(case, context())
    assert seen == [1, wanted]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("elements", [1, 3, 16385])
def test_bytes_that_were_not_copied_are_seen(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    [case] = host_cases(tensor_size=elements, dtype="bfloat16", threads=1)
    assert baseline.run(case, context()).status == "ok"
    monkeypatch.setattr(baseline, "_copy_next", lambda pairs, non_blocking: lambda: None)
    with pytest.raises(CaseFailed, match=rf"^{2 * elements} of {2 * elements} bytes differ"):
        baseline.run(case, context())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("elements", [1024, 1 << 20])
def test_c06_transfers_on_a_gpu(elements: int) -> None:
    asked = experiment(tensor_size=elements, iterations=10)
    for case in baseline.cases(asked, cuda_facts()).cases:
        outcome = baseline.run(case, BenchContext(rule=StopRule(iterations=10)))
        assert outcome.status == "ok", case.label
        direction = str(case.direction)
        assert outcome.phases[direction].clock == "cuda_event"
        assert outcome.phases[f"{direction}_wall"].clock == "host"
        for phase in outcome.phases.values():
            assert phase.median_s is not None
            # No bus moves 100 GB/s and no GPU memory 20 TB/s: a copy timed as nothing would.
            limit_gbps = 20_000 if direction == "d2d" else 100
            assert case.raw_bytes / phase.median_s / 1e9 < limit_gbps


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("number", range(5))
def test_bytes_that_were_not_transferred_are_seen(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    case = baseline.cases(experiment(tensor_size=5000), cuda_facts()).cases[number]
    monkeypatch.setattr(baseline, "_copy_next", lambda pairs, non_blocking: lambda: None)
    with pytest.raises(CaseFailed, match="bytes differ"):
        baseline.run(case, context())
