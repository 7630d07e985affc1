"""Checks which copies `baseline` plans, and which it skips with what reason."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import torch

from kvbench import block_copy
from kvbench.bench import copy_cases
from kvbench.config import Experiment, build_experiment
from kvbench.errors import UsageError
from kvbench.plan import Plan
from kvbench.record.gpu import CudaFacts, GpuFacts
from kvbench.record.schema import Case

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
EVERY_METHOD = {"async_copies", "batched_copy", "gather_copy", "zero_copy"}


@pytest.fixture(autouse=True)
def _a_working_module_and_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_copy, "problem", lambda: None)
    monkeypatch.setattr(block_copy, "batch_problem", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def experiment(**fields: object) -> Experiment:
    return build_experiment("baseline", fields)


def host_cases(**fields: object) -> tuple[Case, ...]:
    return copy_cases.cases(experiment(**fields), NO_GPU).cases


def gpu_plan(**fields: object) -> Plan:
    return copy_cases.cases(experiment(**fields), GPU)


def scattered(cases: tuple[Case, ...]) -> list[Case]:
    return [case for case in cases if case.method is not None]


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


def test_default_sizes_are_64_kib_to_64_mib_and_more_on_a_gpu() -> None:
    plan = copy_cases.cases(experiment(dtype=["float32", "bfloat16"]), NO_GPU)
    sizes = sorted({case.raw_bytes for case in plan.cases})
    assert (sizes[0], sizes[-1]) == (64 << 10, 64 << 20)
    assert {case.dtype for case in plan.cases} == {"float32", "bfloat16"}
    assert plan.skipped == ()
    whole = [case for case in gpu_plan().cases if case.method is None]
    assert max(case.raw_bytes for case in whole) == 256 << 20


def test_a_geometry_is_its_whole_cache() -> None:
    [case, *_] = host_cases(geometry="layers=2,heads=4,head_dim=8,dtype=bf16,tokens=10", threads=1)
    assert case.elements == 2 * 2 * 10 * 4 * 8
    assert case.raw_bytes == 2 * case.elements


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_c06_with_a_gpu_every_direction_and_kind_of_memory(device: str) -> None:
    found = gpu_plan(tensor_size=1048576, device=device).cases
    assert Counter((case.direction, case.memory) for case in found) == Counter(
        [(direction, memory) for direction in ("d2h", "h2d", "both") for memory in ("pinned", "pageable")]
        + [("d2d", "device")]
    )
    assert all(case.device == "cuda" and case.threads is None for case in found)


def test_the_cpu_can_be_asked_for_beside_a_gpu() -> None:
    assert {case.direction for case in gpu_plan(device="cpu").cases} == {"host_copy"}


def test_with_one_gpu_a_row_says_what_a_copy_between_gpus_needs() -> None:
    [skipped] = gpu_plan(tensor_size=[64, 256]).skipped
    assert (skipped.case.direction, skipped.case.elements, skipped.reason_code) == ("p2p", 256, "one_gpu")
    assert "needs two" in skipped.reason


@pytest.mark.parametrize(("device_id", "peer_id"), [(0, 1), (1, 0)])
def test_with_two_gpus_every_size_goes_from_one_to_the_other(
    monkeypatch: pytest.MonkeyPatch, device_id: int, peer_id: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = gpu_plan(tensor_size=[64, 256], device_id=device_id)
    assert plan.skipped == ()
    found = [case for case in plan.cases if case.direction == "p2p"]
    assert [(case.elements, case.peer_id, case.memory) for case in found] == [
        (64, peer_id, "device"),
        (256, peer_id, "device"),
    ]


def test_scattered_blocks_are_part_of_a_default_run_on_a_gpu_only() -> None:
    found = scattered(gpu_plan().cases)
    assert {(case.method, case.direction) for case in found} == {
        (method, direction) for method in EVERY_METHOD for direction in ("d2h", "h2d")
    }
    assert sorted({case.blocks for case in found if case.blocks}) == [32, 128, 512, 2048]
    assert {case.block_bytes for case in found} == {32768}
    assert all(case.raw_bytes == (case.blocks or 0) * 32768 and case.memory == "pinned" for case in found)
    assert scattered(host_cases()) == []
    assert scattered(gpu_plan(tensor_size=64).cases) == []


def test_asked_blocks_come_beside_asked_sizes() -> None:
    found = gpu_plan(tensor_size=64, blocks=[3, 5], block_bytes=[100, 4096], dtype="bfloat16").cases
    assert {case.raw_bytes for case in found if case.method is None} == {128}
    assert {(case.blocks, case.block_bytes, case.shape) for case in scattered(found)} == {
        (blocks, size, (blocks, size // 2)) for blocks in (3, 5) for size in (100, 4096)
    }
    assert {case.blocks for case in scattered(gpu_plan(tensor_size=64, block_bytes=4096).cases)} == {32, 128, 512, 2048}


def test_every_case_has_its_own_id_and_label() -> None:
    cases = gpu_plan().cases
    assert len({case.id for case in cases}) == len({case.label for case in cases}) == len(cases)
    assert any("zero_copy 32 blocks of 32768 bytes" in case.label for case in cases)


def test_fields_of_copies_that_are_not_set_leave_ids_as_they_were() -> None:
    [case, *_] = host_cases(tensor_size=64)
    assert "method" not in case.model_dump(mode="json", exclude_none=True)
    assert case.id == Case.model_validate(case.model_dump(exclude={"method", "blocks", "numa_node", "peer_id"})).id


def test_a_block_that_is_no_whole_number_of_elements_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--block-bytes 1001.*multiple of 4"):
        gpu_plan(block_bytes=1001)


@pytest.mark.parametrize("fields", [{"blocks": 0}, {"block_bytes": 0}, {"blocks": "many"}, {"numa_node": -1}])
def test_numbers_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(fields)).replace("_", "-")):
        experiment(**fields)


def test_other_commands_do_not_take_blocks() -> None:
    with pytest.raises(UsageError, match="does not use blocks"):
        build_experiment("sweep", {"blocks": [3]})


@pytest.mark.parametrize("cuda", [NO_GPU, GPU])
def test_asked_blocks_without_a_gpu_are_rows_with_the_reason(cuda: CudaFacts | str) -> None:
    plan = copy_cases.cases(experiment(blocks=4, device="cpu"), cuda)
    assert {case.direction for case in plan.cases} == {"host_copy"}
    assert {skip.reason_code for skip in plan.skipped} == {"no_gpu"}
    assert {skip.case.method for skip in plan.skipped} == EVERY_METHOD


def test_without_the_module_scattered_blocks_are_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_copy, "problem", lambda: "kvbench was built without CUDA")
    plan = gpu_plan(blocks=4)
    assert scattered(plan.cases) == []
    skipped = [skip for skip in plan.skipped if skip.case.method is not None]
    assert len(skipped) == 8
    assert all(skip.reason_code == "no_cuda_module" and "built without CUDA" in skip.reason for skip in skipped)


def test_an_older_cuda_skips_the_batched_copy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_copy, "batch_problem", lambda: "the driver is for a CUDA before 12.8")
    plan = gpu_plan(blocks=4)
    assert {case.method for case in scattered(plan.cases)} == EVERY_METHOD - {"batched_copy"}
    skipped = [skip for skip in plan.skipped if skip.case.method is not None]
    assert {(skip.case.method, skip.reason_code) for skip in skipped} == {("batched_copy", "no_batched_copy")}
    assert "12.8" in skipped[0].reason
