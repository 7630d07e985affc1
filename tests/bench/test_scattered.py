"""Checks copies of scattered blocks: which bytes go where by each method, and that a wrong one is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fake_bench import context
from fake_cuda import FakeModule, fake_cuda

from kvbench.bench import baseline
from kvbench.bench.context import BenchContext
from kvbench.bench.scattered import SLOTS_A_BLOCK, ScatteredBlocks
from kvbench.errors import CaseFailed
from kvbench.measure.host_memory import HostMemory
from kvbench.measure.sampling import StopRule
from kvbench.record.schema import Case

__all__ = ["fake_cuda"]

METHODS = ("async_copies", "batched_copy", "gather_copy", "zero_copy")
WAYS = ("d2h", "h2d")


def block_case(method: str, direction: str, blocks: int = 9, block_bytes: int = 40) -> Case:
    given = {"command": "baseline", "codec": "raw", "device": "cuda", "memory": "pinned", "dtype": "float32"}
    size = {"elements": blocks * block_bytes // 4, "blocks": blocks, "block_bytes": block_bytes}
    return Case.model_validate({**given, **size, "method": method, "direction": direction})


@pytest.fixture
def memory(fake_cuda: FakeModule) -> Iterator[HostMemory]:
    with HostMemory() as memory:
        yield memory


@pytest.mark.parametrize("direction", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_blocks_go_to_their_slots_and_to_no_other(memory: HostMemory, method: str, direction: str) -> None:
    copies = ScatteredBlocks(block_case(method, direction), memory, 0)
    copies.spoil()
    total = 9 * SLOTS_A_BLOCK * 40
    assert copies.wrong_bytes()[0] == 9 * 40  # nothing was copied: every byte of every block is wrong
    copies()
    assert copies.wrong_bytes() == (0, total)
    destination = copies._destination_pool
    free = sorted(set(range(9 * SLOTS_A_BLOCK)) - set(copies._destination_slots.tolist()))
    destination[free[0], 3] ^= 1
    destination[copies._destination_slots[2], 0] ^= 1
    assert copies.wrong_bytes() == (2, total)


@pytest.mark.parametrize("direction", WAYS)
def test_slots_are_scattered_and_the_host_side_of_one_copy_is_one_run(memory: HostMemory, direction: str) -> None:
    scattered = ScatteredBlocks(block_case("async_copies", direction, blocks=64), memory, 0)
    gathered = ScatteredBlocks(block_case("gather_copy", direction, blocks=64), memory, 0)
    in_order = list(range(64))
    assert sorted(scattered._host_slots.tolist()) != in_order
    assert scattered._host_slots.tolist() != scattered._gpu_slots.tolist()
    assert gathered._host_slots.tolist() == in_order
    assert gathered._gpu_slots.tolist() == scattered._gpu_slots.tolist()


def test_the_kernel_takes_a_part_of_the_gpu_over_the_link_and_more_within_it(
    memory: HostMemory, fake_cuda: FakeModule
) -> None:
    ScatteredBlocks(block_case("zero_copy", "d2h"), memory, 0)()
    ScatteredBlocks(block_case("gather_copy", "d2h"), memory, 0)()
    assert fake_cuda.kernels == [64, 80]


@pytest.mark.parametrize("direction", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_a_case_is_timed_by_both_clocks(fake_cuda: FakeModule, method: str, direction: str) -> None:
    case = block_case(method, direction)
    outcome = baseline.run(case, context())
    assert outcome.status == "ok"
    assert list(outcome.phases) == [direction, f"{direction}_wall"]
    assert all(phase.work_bytes == case.raw_bytes for phase in outcome.phases.values())


FAULTS = ("copies nothing", "leaves out the last block", "leaves out the last byte of a block", "goes one byte too far")


# A byte too far would go past the end of the staging memory that `gather_copy` has.
@pytest.mark.parametrize(
    ("method", "fault"),
    [(method, fault) for method in METHODS for fault in FAULTS if (method, fault) != ("gather_copy", FAULTS[-1])],
)
def test_a_faulty_copy_fails_its_case(fake_cuda: FakeModule, method: str, fault: str) -> None:
    fake_cuda.fault = fault
    with pytest.raises(CaseFailed, match="bytes differ"):
        baseline.run(block_case(method, "d2h"), context())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("block_bytes", [4, 100, 4096, 32768, 1 << 20])
@pytest.mark.parametrize("direction", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_scattered_blocks_on_a_gpu(method: str, direction: str, block_bytes: int) -> None:
    case = block_case(method, direction, blocks=33, block_bytes=block_bytes)
    outcome = baseline.run(case, BenchContext(rule=StopRule(iterations=5)))
    assert outcome.status == "ok", outcome.reason
    for phase in outcome.phases.values():
        assert phase.median_s is not None
        assert case.raw_bytes / phase.median_s / 1e9 < 100  # no bus is faster
