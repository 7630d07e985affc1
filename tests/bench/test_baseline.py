"""Checks the bench of `baseline`: what it says beforehand, and that it never gives a speed it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fake_bench import CALL_S, context
from fake_cuda import FakeModule, FakeStream, fake_cuda

from kvbench.bench import baseline, whole_copies
from kvbench.bench.context import BenchContext
from kvbench.config import Experiment, build_experiment
from kvbench.errors import CaseFailed, UnavailableError, UsageError
from kvbench.measure import numa, sampling
from kvbench.measure.sampling import StopRule
from kvbench.record.gpu import CudaFacts, GpuFacts, cuda_facts
from kvbench.record.schema import Case, PhaseSamples

__all__ = ["fake_cuda"]

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
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")


def experiment(**fields: object) -> Experiment:
    return build_experiment("baseline", fields)


def host_cases(**fields: object) -> tuple[Case, ...]:
    return baseline.cases(experiment(device="cpu", **fields), NO_GPU).cases


def gpu_case(direction: str, memory: str = "pinned", elements: int = 5000, **fields: object) -> Case:
    given = {"command": "baseline", "codec": "raw", "elements": elements, "device": "cuda"}
    return Case.model_validate({**given, "direction": direction, "memory": memory, **fields})


def test_the_notes_of_a_gpu_claim_overlap_for_pinned_memory_alone() -> None:
    notes = baseline.prepare(experiment(tensor_size=1048576), GPU).notes
    assert any("1e9 bytes" in note for note in notes)
    assert [note for note in notes if "overlap" in note] == [
        "pinned copies may overlap with other work, pageable ones are staged by the driver and do not"
    ]
    assert f"device: cuda 0 ({GPU.name})" in notes


def test_without_a_gpu_the_notes_say_what_needs_one() -> None:
    notes = baseline.prepare(experiment(device_id=0), NO_GPU).notes
    assert any("transfers to and from a GPU need one" in note for note in notes)
    assert f"device: cpu (cuda: unavailable: {NO_GPU})" in notes
    assert "--device-id 0 is ignored: the device is the CPU" in notes


def test_c12_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UnavailableError, match=f"cuda: unavailable: {NO_GPU}") as error:
        baseline.prepare(experiment(device="cuda"), NO_GPU)
    assert "\n" not in str(error.value)


def test_a_numa_node_that_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numa, "usable_nodes", lambda: (0, 1))
    with pytest.raises(UsageError, match=r"--numa-node 7: .*the nodes are: 0, 1$"):
        baseline.prepare(experiment(numa_node=7), NO_GPU)
    assert baseline.prepare(experiment(numa_node=1), NO_GPU).plan.cases[0].numa_node == 1


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


def test_one_unresolved_phase_costs_a_copy_its_other_one_nothing(
    fake_cuda: FakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(self: BenchContext, case: Case, phase: str, call: Callable[[], object], clock: object) -> PhaseSamples:
        call()
        times = PhaseSamples(samples_s=[CALL_S], work_bytes=case.raw_bytes)
        if phase == "d2h":
            times.flags.append("unresolved")
        else:
            times.median_s = CALL_S
        return times

    monkeypatch.setattr(BenchContext, "sample", timed)
    outcome = baseline.run(gpu_case("d2h"), context())
    assert outcome.status == "ok"
    assert outcome.phases["d2h"].median_s is None
    assert outcome.phases["d2h_wall"].median_s == CALL_S


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
    monkeypatch.setattr(whole_copies.OneWay, "__call__", lambda self: setattr(self, "_calls", 1))
    with pytest.raises(CaseFailed, match=rf"^{2 * elements} of {2 * elements} bytes differ"):
        baseline.run(case, context())


def test_the_node_of_the_host_memory_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    [case] = host_cases(tensor_size=64, threads=1)
    monkeypatch.setattr(numa, "nodes_of", lambda address, size: frozenset({3}))
    assert baseline.run(case, context()).metrics["host_numa_node"] == 3
    monkeypatch.setattr(numa, "nodes_of", lambda address, size: None)
    unknown = baseline.run(case, context())
    assert (unknown.metrics["host_numa_node"], unknown.flags) == (None, ["numa_unknown"])
    monkeypatch.setattr(numa, "nodes_of", lambda address, size: frozenset({0, 1}))
    mixed = baseline.run(case, context())
    assert (mixed.metrics["host_numa_node"], mixed.flags) == (None, ["numa_mixed"])


def test_memory_on_another_node_than_asked_fails_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numa, "bind", lambda address, size, node: None)
    monkeypatch.setattr(numa, "nodes_of", lambda address, size: frozenset({0}))
    [case] = host_cases(tensor_size=64, threads=1, numa_node=1)
    with pytest.raises(CaseFailed, match="on NUMA node 0, not on 1 as asked"):
        baseline.run(case, context())


@pytest.mark.parametrize(
    ("direction", "memory"),
    [(way, memory) for way in ("d2h", "h2d", "both") for memory in ("pinned", "pageable")] + [("d2d", "device")],
)
def test_c06_every_transfer_has_two_clocks_and_no_pageable_one_claims_overlap(
    fake_cuda: FakeModule, direction: str, memory: str
) -> None:
    outcome = baseline.run(gpu_case(direction, memory), context())
    assert outcome.status == "ok"
    assert list(outcome.phases) == [direction, f"{direction}_wall"]
    assert ("no_overlap" in outcome.flags) == (memory == "pageable")
    assert {phase.work_bytes for phase in outcome.phases.values()} == {20_000 * (2 if direction == "both" else 1)}
    assert ("host_numa_node" in outcome.metrics) == (memory != "device")


def test_both_ways_at_once_are_told_together_and_each(fake_cuda: FakeModule) -> None:
    outcome = baseline.run(gpu_case("both"), context())
    assert outcome.metrics["each_way_gbps"] == pytest.approx(20_000 / CALL_S / 1e9)
    events = FakeStream.events
    current, out, back = [event[1] for event in events if event[0] == "made"]
    waits = [event[1:] for event in events if event[0] == "waits"][:4]
    # Both start together, behind what was before, and what comes after waits for both.
    assert waits == [(out, current), (back, current), (current, out), (current, back)]
    used = [event[1] for event in events if event[0] == "current"]
    assert used[:3] == [out, back, current]


def test_launches_are_no_speed_of_a_way(fake_cuda: FakeModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_bench.SteadyClock.take_flags", lambda self: ["launch_bound"])
    outcome = baseline.run(gpu_case("both"), context())
    assert outcome.phases["both"].median_s == CALL_S
    assert outcome.metrics["each_way_gbps"] is None


@pytest.mark.parametrize("direction", ["d2h", "h2d", "both", "d2d"])
def test_bytes_that_a_transfer_left_out_are_seen(
    fake_cuda: FakeModule, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    def one_byte_short(self: whole_copies.OneWay) -> None:
        source, destination = self._pairs[self._calls % len(self._pairs)]
        destination[:-1].copy_(source[:-1])
        self._calls += 1

    monkeypatch.setattr(whole_copies.OneWay, "__call__", one_byte_short)
    with pytest.raises(CaseFailed, match="bytes differ") as error:
        baseline.run(gpu_case(direction, "device" if direction == "d2d" else "pinned"), context())
    assert error.value.reason_code == "bytes_differ"


def test_every_pair_that_had_its_turn_is_looked_at(fake_cuda: FakeModule) -> None:
    sources = whole_copies.random_bytes(5, 64, seed=1)
    copies = whole_copies.OneWay(sources, torch.empty_like(sources), non_blocking=False)
    copies.spoil()
    assert copies.wrong_bytes() == (0, 320)
    for _ in range(3):
        copies()
    assert copies.wrong_bytes() == (0, 320)
    copies.destinations[1, 7] ^= 1  # of a pair that was copied
    copies.destinations[4, 0] ^= 1  # of one that should not have been touched
    assert copies.wrong_bytes() == (2, 320)


def test_a_copy_to_another_gpu_says_when_it_goes_through_the_host(fake_cuda: FakeModule) -> None:
    outcome = baseline.run(gpu_case("p2p", "device", peer_id=1), context())
    assert (outcome.status, outcome.flags) == ("ok", ["staged"])


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("elements", [1024, 1 << 20])
def test_c06_transfers_on_a_gpu(elements: int) -> None:
    asked = experiment(tensor_size=elements, iterations=10, blocks=[1, 7], block_bytes=4096)
    plan = baseline.cases(asked, cuda_facts())
    assert {skip.case.direction for skip in plan.skipped} <= {"p2p"}
    for case in plan.cases:
        outcome = baseline.run(case, BenchContext(rule=StopRule(iterations=10)))
        assert outcome.status == "ok", case.label
        direction = str(case.direction)
        assert outcome.phases[direction].clock == "cuda_event"
        assert outcome.phases[f"{direction}_wall"].clock == "host"
        for phase in outcome.phases.values():
            assert phase.median_s is not None, (case.label, phase.flags)
            # No bus moves 250 GB/s and no GPU memory 20 TB/s: a copy timed as nothing would.
            limit_gbps = 20_000 if direction in {"d2d", "p2p"} else 250
            assert phase.work_bytes / phase.median_s / 1e9 < limit_gbps
        if case.memory != "device":
            assert outcome.metrics["host_numa_node"] is not None or "numa_unknown" in outcome.flags


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("number", range(7))
def test_bytes_that_were_not_transferred_are_seen(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    case = baseline.cases(experiment(tensor_size=5000), cuda_facts()).cases[number]
    monkeypatch.setattr(whole_copies.OneWay, "__call__", lambda self: setattr(self, "_calls", 1))
    with pytest.raises(CaseFailed, match="bytes differ"):
        baseline.run(case, context())


@pytest.mark.cuda
@needs_gpu
@needs_two
def test_a_copy_from_gpu_to_gpu_p2p() -> None:
    cases = baseline.cases(experiment(tensor_size=[1000, 1 << 20]), cuda_facts()).cases
    found = [case for case in cases if case.direction == "p2p"]
    assert [case.peer_id for case in found] == [1, 1]
    for case in found:
        assert baseline.run(case, BenchContext(rule=StopRule(iterations=10))).status == "ok"
