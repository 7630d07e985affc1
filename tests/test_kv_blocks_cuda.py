"""Owns the tests of KV blocks on a GPU: the same streams as the CPU's, values that come back, mapped host memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from paged_cache import PAGE_BYTES, POISON, PagedCache, random_planes

from kvbench import _ext, kv_blocks
from kvbench.errors import UsageError

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(_ext.cuda_problem() is not None, reason=f"no CUDA device: {_ext.cuda_problem()}"),
]

BOUND = 0.05


def uploaded(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(array.tobytes(), np.uint8).copy()).cuda()


@dataclass
class OnGpu:
    """The tables, planes and slab of a PagedCache, on the current device or in mapped pinned memory."""

    host: PagedCache
    home: kv_blocks.Home

    def __post_init__(self) -> None:
        self.planes = [p.cuda() for p in self.host.planes]
        table = self.host.table.copy()
        for row, plane in zip(table, self.planes, strict=True):
            row["values"] = plane.data_ptr()
        self.means = [None if m is None else m.cuda() for m in self.host.means]
        for row, mean in zip(table, self.means, strict=True):
            row["means"] = 0 if mean is None else mean.data_ptr()
        self.tables = [uploaded(t) for t in (table, self.host.slots, self.host.page_numbers)]
        slab = torch.full((self.host.slab.size,), POISON, dtype=torch.uint8)
        self.slab = slab.cuda() if self.home == "device" else slab.pin_memory()
        address = self.slab.data_ptr()
        self.slab_address = address if self.home == "device" else _ext.cuda().mapped_pointer(address)
        count = self.host.blocks * len(self.planes)
        self.streams = torch.zeros(count * kv_blocks.STREAM.itemsize, dtype=torch.uint8, device="cuda")
        self.statuses = torch.full((count,), 99, dtype=torch.int32, device="cuda")
        self.cursors = torch.zeros(self.host.blocks, dtype=torch.int64, device="cuda")
        self.elements = int(np.prod(self.host.shape))

    def call(self, moves: NDArray[np.void]) -> kv_blocks.Call:
        self.moves = uploaded(moves)
        planes, slots, numbers = (t.data_ptr() for t in self.tables)
        return kv_blocks.Call(
            planes=planes,
            plane_count=len(self.planes),
            moves=self.moves.data_ptr(),
            move_count=moves.size,
            slots=slots,
            slot_count=self.host.slots.size,
            page_numbers=numbers,
            slab=self.slab_address,
            page_bytes=PAGE_BYTES,
            dtype=self.host.dtype,
        )

    def store(self, moves: NDArray[np.void], most_blocks: int = 0) -> NDArray[np.void]:
        kv_blocks.store_cuda(
            self.call(moves),
            self.cursors.data_ptr(),
            self.streams.data_ptr(),
            home=self.home,
            most_elements=self.elements,
            cuda_stream=torch.cuda.current_stream().cuda_stream,
            checksum=True,
            most_blocks=most_blocks,
        )
        torch.cuda.synchronize()
        found = np.frombuffer(self.streams.cpu().numpy().tobytes(), kv_blocks.STREAM)
        return found.reshape(moves.size, len(self.planes))

    def load(self, moves: NDArray[np.void], most_blocks: int = 0) -> list[int]:
        kv_blocks.load_cuda(
            self.call(moves),
            self.streams.data_ptr(),
            self.statuses.data_ptr(),
            most_elements=self.elements,
            cuda_stream=torch.cuda.current_stream().cuda_stream,
            checksum=True,
            most_blocks=most_blocks,
        )
        torch.cuda.synchronize()
        return [int(s) for s in self.statuses.tolist()]


@pytest.fixture(params=["device", "host"])
def home(request: pytest.FixtureRequest) -> kv_blocks.Home:
    home: kv_blocks.Home = request.param
    return home


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("form", "layout"), [("fixed", "thd"), ("plain", "hdt"), ("outlier", "hdt")])
@pytest.mark.parametrize("shape", [(16, 8, 128), (16, 3, 64), (16, 5, 7), (32, 16, 128)])
def test_streams_and_values_are_those_of_the_cpu(
    dtype: torch.dtype, form: str, layout: str, shape: tuple[int, int, int], home: kv_blocks.Home
) -> None:
    cache = PagedCache(random_planes(shape=shape, dtype=dtype))
    means: list[torch.Tensor | None] = [torch.linspace(-1, 1, shape[1] * shape[2]) for _ in cache.planes]
    cache.describe(form=form, layout=layout, error_bound=BOUND, limit=1.001 * BOUND, means=means)
    moves = cache.moves(2)
    moves["keep_first"][1:] = 0
    gpu = OnGpu(cache, home)
    expected, found = cache.store(moves, checksum=True), gpu.store(moves)
    for name in ("stored_bytes", "checksum", "status", "stored_raw"):
        assert (found[name] == expected[name]).all()
    assert gpu.cursors.tolist() == cache.cursors.tolist()
    before = [cache.stored(block, stream) for (block, _), stream in np.ndenumerate(expected)]
    cache.slab[:] = gpu.slab.cpu().numpy()
    assert before == [cache.stored(block, stream) for (block, _), stream in np.ndenumerate(found)]
    for plane in (*cache.planes, *gpu.planes):
        plane.zero_()
    assert (cache.load(moves, found, checksum=True) == kv_blocks.OK).all()
    assert gpu.load(moves) == [kv_blocks.OK] * found.size
    assert all(torch.equal(a, b.cpu()) for a, b in zip(cache.planes, gpu.planes, strict=True))


def test_few_thread_blocks_store_the_same(home: kv_blocks.Home) -> None:
    cache = PagedCache(random_planes(count=5, blocks=9))
    cache.describe(form="plain", layout="hdt", error_bound=BOUND)
    moves = cache.moves()
    sizes = [OnGpu(cache, home).store(moves, most_blocks)["checksum"].tolist() for most_blocks in (0, 1, 7)]
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_damaged_slab_is_seen(home: kv_blocks.Home) -> None:
    cache = PagedCache(random_planes())
    cache.describe(form="plain", error_bound=BOUND)
    gpu = OnGpu(cache, home)
    moves = cache.moves()
    streams = gpu.store(moves)
    assert gpu.load(moves) == [kv_blocks.OK] * streams.size
    gpu.slab.view(-1, PAGE_BYTES)[int(cache.page_numbers[0])][3] ^= 1
    statuses = gpu.load(moves)
    assert statuses.count(kv_blocks.CHECKSUM_MISMATCH) == 1
    assert statuses.count(kv_blocks.OK) == streams.size - 1


def test_an_unaligned_slab_is_refused() -> None:
    with pytest.raises(UsageError, match="align it to 16 bytes"):
        kv_blocks.Call(
            planes=0,
            plane_count=0,
            moves=0,
            move_count=0,
            slots=0,
            slot_count=0,
            page_numbers=0,
            slab=8,
            page_bytes=4096,
            dtype="bfloat16",
        )
