"""Owns a CUDA that lives in host memory, for tests of copies where there is no GPU: every copy is a memmove."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from kvbench import _ext
from kvbench.bench import whole_copies
from kvbench.bench.context import BenchContext
from kvbench.measure import host_memory

STREAM = 77


class FakeModule:
    """In place of `kvbench._ext._cuda`. `fault` makes the copies wrong in one way."""

    def __init__(self) -> None:
        self.fault = ""
        self.kernels: list[int] = []  # thread blocks of each launch

    def batch_copy_problem(self) -> str | None:
        return None

    def mapped_pointer(self, host: int) -> int:
        return host

    def copy_blocks_by_kernel(
        self, destinations: int, sources: int, count: int, block_bytes: int, thread_blocks: int, cuda_stream: int
    ) -> None:
        self.kernels.append(thread_blocks)
        self._copy(destinations, sources, [block_bytes] * count, cuda_stream)

    def copy_blocks_one_by_one(self, destinations: int, sources: int, sizes: int, count: int, cuda_stream: int) -> None:
        self._copy(destinations, sources, [_word(sizes, number) for number in range(count)], cuda_stream)

    copy_blocks_in_one_batch = copy_blocks_one_by_one

    def _copy(self, destinations: int, sources: int, sizes: list[int], cuda_stream: int) -> None:
        assert cuda_stream == STREAM
        if self.fault == "copies nothing":
            return
        for number, size in enumerate(sizes):
            source, destination = _word(sources, number), _word(destinations, number)
            if self.fault == "leaves out the last block" and number == len(sizes) - 1:
                return
            if self.fault == "goes one byte too far":
                size += 1
            if self.fault == "leaves out the last byte of a block":
                size -= 1
            ctypes.memmove(destination, source, size)


def _word(table: int, number: int) -> int:
    return ctypes.c_uint64.from_address(table + 8 * number).value


@contextmanager
def _nothing(self: BenchContext, case: object) -> Iterator[None]:
    yield


class FakeStream:
    """Writes down what is waited for, in the order of the calls; `events` is shared by all."""

    events: list[tuple[str, ...]]
    cuda_stream = STREAM

    def __init__(self, *_: object) -> None:
        self.name = f"stream {len(self.events)}"
        self.events.append(("made", self.name))

    def wait_event(self, event: FakeEvent) -> None:
        self.events.append(("waits", self.name, event.recorded_on))

    def synchronize(self) -> None:
        self.events.append(("finished", self.name))


class FakeEvent:
    recorded_on = "no stream"

    def record(self, stream: FakeStream) -> None:
        self.recorded_on = stream.name


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """Cases on device cuda run here, in host memory."""
    module = FakeModule()
    monkeypatch.setattr(FakeStream, "events", [], raising=False)
    current = FakeStream()
    cudart = SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0)
    monkeypatch.setattr(_ext, "cuda", lambda: module)
    monkeypatch.setattr(_ext, "cuda_problem", lambda: None)
    monkeypatch.setattr(host_memory, "_cudart", lambda: cudart)
    monkeypatch.setattr(BenchContext, "working_stream", _nothing)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: FakeStream.events.append(("current", stream.name)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: current)
    properties = SimpleNamespace(L2_cache_size=1 << 16, multi_processor_count=10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda one, other: False)
    monkeypatch.setattr(whole_copies, "gpu", lambda device_id: torch.device("cpu"))
    monkeypatch.setattr("kvbench.bench.scattered.gpu", lambda device_id: torch.device("cpu"))
    return module
