"""Checks the compiled copies of blocks: tables, refusals, and on a GPU every byte for any size and alignment."""

from __future__ import annotations

import inspect

import pytest
import torch
from fake_cuda import STREAM, FakeModule, fake_cuda

from kvbench import _ext, block_copy
from kvbench.block_copy import BlockCopy
from kvbench.measure.host_memory import HostMemory

__all__ = ["fake_cuda"]

NAMES = ("copy_blocks_by_kernel", "copy_blocks_in_one_batch", "copy_blocks_one_by_one", "mapped_pointer")
needs_module = pytest.mark.skipif(not _ext.has_cuda_module(), reason="kvbench was built without CUDA")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def addresses(rows: torch.Tensor) -> list[int]:
    return [row.data_ptr() for row in rows]


@pytest.mark.parametrize("way", ["one_by_one", "in_one_batch", "by_kernel"])
def test_a_prepared_call_copies_every_block_each_time(fake_cuda: FakeModule, way: str) -> None:
    source = torch.arange(60, dtype=torch.uint8).view(6, 10)
    destination = torch.zeros_like(source)
    order = [3, 0, 5, 1, 4, 2]
    blocks = BlockCopy([destination[number].data_ptr() for number in order], addresses(source), 10)
    extra = (8, torch.device("cpu")) if way == "by_kernel" else ()
    call = getattr(blocks, way)(STREAM, *extra)
    for _ in range(2):
        destination.zero_()
        call()
        assert torch.equal(destination[order], source)


def test_tables_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 destinations for 3 sources"):
        BlockCopy([1, 2], [1, 2, 3], 4)


@needs_module
def test_the_module_has_what_its_stub_declares() -> None:
    module = _ext.cuda()
    for name in NAMES:
        assert callable(getattr(module, name)), name
    assert inspect.getdoc(module.copy_blocks_one_by_one)


@needs_module
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_driver_there_is_a_reason() -> None:
    assert block_copy.problem() is not None
    assert block_copy.batch_problem() == "the driver is for a CUDA before 12.8"


@needs_module
def test_nothing_to_copy_needs_no_table_and_no_gpu() -> None:
    module = _ext.cuda()
    module.copy_blocks_by_kernel(0, 0, 0, 16, 1, 0)
    module.copy_blocks_one_by_one(0, 0, 0, 0, 0)
    module.copy_blocks_in_one_batch(0, 0, 0, 0, 0)


@needs_module
@pytest.mark.parametrize("name", ["copy_blocks_one_by_one", "copy_blocks_in_one_batch"])
def test_a_null_table_is_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="CUDA: invalid argument"):
        getattr(_ext.cuda(), name)(0, 0, 0, 1, 8)


@needs_module
def test_a_kernel_without_a_grid_is_refused() -> None:
    with pytest.raises(RuntimeError, match="CUDA: invalid argument"):
        _ext.cuda().copy_blocks_by_kernel(8, 8, 1, 16, 0, 8)


# Of source and destination within 16 bytes, block size, blocks, thread blocks.
SHAPES = [
    (0, 0, 16, 1, 1),
    (0, 0, 32768, 40, 64),
    (0, 0, 32768, 40, 1),
    (0, 0, 16384 * 3 + 5, 7, 5),
    (0, 8, 32768, 9, 64),
    (4, 4, 4099, 9, 3),
    (1, 0, 16400, 6, 64),
    (15, 1, 1, 100, 64),
    (0, 0, 15, 33, 2),
    (0, 0, 1 << 22, 3, 64),
]


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("where", ["device", "out", "in"])
@pytest.mark.parametrize(("source_shift", "destination_shift", "block_bytes", "blocks", "thread_blocks"), SHAPES)
def test_the_kernel_copies_blocks_of_any_alignment_and_nothing_beside_them(
    where: str, source_shift: int, destination_shift: int, block_bytes: int, blocks: int, thread_blocks: int
) -> None:
    pitch = (block_bytes + 64) // 16 * 16
    generator = torch.Generator().manual_seed(block_bytes)
    content = torch.randint(0, 256, (2, blocks, pitch), dtype=torch.uint8, generator=generator)
    order = torch.randperm(blocks, generator=generator)
    gpu = torch.device("cuda", 0)
    stream = torch.cuda.Stream(gpu)
    with HostMemory() as memory, torch.cuda.stream(stream):
        source = memory.pinned(content[0]) if where == "in" else content[0].to(gpu)
        destination = memory.pinned(content[1]) if where == "out" else content[1].to(gpu)
        source_at, destination_at = (
            tensor.data_ptr() if tensor.is_cuda else block_copy.mapped_pointer(tensor)
            for tensor in (source, destination)
        )
        sources = [source_at + number * pitch + source_shift for number in range(blocks)]
        destinations = [destination_at + int(slot) * pitch + destination_shift for slot in order]
        BlockCopy(destinations, sources, block_bytes).by_kernel(stream.cuda_stream, thread_blocks, gpu)()
        stream.synchronize()
        expected = content[1].clone()
        expected[order, destination_shift : destination_shift + block_bytes] = content[
            0, :, source_shift : source_shift + block_bytes
        ]
        assert torch.equal(destination.cpu(), expected)


@pytest.mark.cuda
@needs_gpu
def test_a_refusal_is_not_left_for_the_next_call() -> None:
    with pytest.raises(RuntimeError, match="CUDA: "):
        block_copy.mapped_pointer(torch.zeros(4096, dtype=torch.uint8))
    assert _ext.cuda().device_problem() is None
    blocks = torch.arange(64, dtype=torch.uint8, device="cuda").view(2, 32)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        BlockCopy([blocks[1].data_ptr()], [blocks[0].data_ptr()], 32).by_kernel(stream.cuda_stream, 1, blocks.device)()
        stream.synchronize()
    assert torch.equal(blocks[0], blocks[1])


@pytest.mark.cuda
@needs_gpu
def test_a_batch_takes_no_default_stream_and_ordinary_memory_no_kernel() -> None:
    with pytest.raises(RuntimeError, match="CUDA: invalid argument"):
        _ext.cuda().copy_blocks_in_one_batch(8, 8, 8, 1, 0)
    with pytest.raises(RuntimeError, match="CUDA: "):
        block_copy.mapped_pointer(torch.zeros(4096, dtype=torch.uint8))
