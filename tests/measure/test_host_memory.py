"""Checks host memory for copies: its content, pinning and what a refusal says."""

from __future__ import annotations

import pytest
import torch

from kvbench.errors import CaseFailed
from kvbench.measure import host_memory, numa
from kvbench.measure.host_memory import HostMemory

CONTENT = torch.arange(200, dtype=torch.uint8).view(4, 50)


class FakeRuntime:
    """Counts what is pinned."""

    def __init__(self, answer: int = 0) -> None:
        self.answer = answer
        self.pinned: list[int] = []
        self.unpin_answer = 0

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802  CUDA's name
        assert (size, flags) == (200, 2)
        if self.answer == 0:
            self.pinned.append(address)
        return self.answer

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        self.pinned.remove(address)
        return self.unpin_answer


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    made = FakeRuntime()
    monkeypatch.setattr(host_memory, "_cudart", lambda: made)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    return made


def test_buffers_are_copies_of_their_own_on_whole_pages() -> None:
    with HostMemory() as memory:
        one, two = memory.pageable(CONTENT), memory.pageable(CONTENT)
        assert torch.equal(one, CONTENT)
        assert one.data_ptr() % 4096 == two.data_ptr() % 4096 == 0
        one.zero_()
        assert torch.equal(two, CONTENT)


def test_what_is_pinned_is_given_back_whatever_happens(runtime: FakeRuntime) -> None:
    def use_and_break() -> None:
        with HostMemory() as memory:
            assert torch.equal(memory.pinned(CONTENT), CONTENT)
            memory.pageable(CONTENT)
            assert len(runtime.pinned) == 1
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        use_and_break()
    assert runtime.pinned == []


def test_memory_that_stays_pinned_fails_the_case_unless_it_failed_before(runtime: FakeRuntime) -> None:
    def use(error: Exception | None) -> None:
        with HostMemory() as memory:
            memory.pinned(CONTENT)
            memory.pinned(CONTENT)
            if error is not None:
                raise error

    runtime.unpin_answer = 4
    with pytest.raises(CaseFailed, match=r"did not unpin 2 host buffers \(4\)") as error:
        use(None)
    assert error.value.reason_code == "cannot_unpin"
    with pytest.raises(ValueError, match="on purpose"):
        use(ValueError("on purpose"))
    assert runtime.pinned == []


def test_what_is_pinned_is_given_back_where_the_gpu_broke(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: illegal memory access")

    def use() -> None:
        with HostMemory() as memory:
            memory.pinned(CONTENT)
            monkeypatch.setattr(torch.cuda, "synchronize", broken)

    with pytest.raises(RuntimeError, match="illegal memory access"):
        use()
    assert runtime.pinned == []


def test_memory_that_cannot_be_pinned_fails_the_case(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.answer = 2
    asked: list[str] = []

    def refused_once(count: int, device: str) -> None:
        asked.append(device)
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "zeros", refused_once)
    with pytest.raises(CaseFailed, match="cannot pin 200 bytes") as error, HostMemory() as memory:
        memory.pinned(CONTENT)
    assert error.value.reason_code == "cannot_pin"
    assert asked == ["cuda"]


def test_nodes_are_those_of_all_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([frozenset({0}), frozenset({1}), frozenset({0}), None])
    monkeypatch.setattr(numa, "nodes_of", lambda address, size: next(answers))
    with HostMemory() as memory:
        assert memory.nodes() == frozenset()
        memory.pageable(CONTENT)
        memory.pageable(CONTENT)
        assert memory.nodes() == {0, 1}
        assert memory.nodes() is None


def test_a_node_is_asked_for_before_the_pages_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, bool]] = []

    def bind(address: int, size: int, node: int) -> None:
        seen.append((size, node, numa.nodes_of(address, size) is None))

    monkeypatch.setattr(numa, "bind", bind)
    with HostMemory(3) as memory:
        memory.pageable(CONTENT)
    assert seen == [(200, 3, True)]


def test_a_refused_node_fails_the_case_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(address: int, size: int, node: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(numa, "bind", bind)
    with pytest.raises(CaseFailed, match=r"node 3: Operation not permitted; leave out --numa-node") as error:
        HostMemory(3).pageable(CONTENT)
    assert error.value.reason_code == "numa_refused"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_pinned_memory_is_pinned_for_torch_too() -> None:
    with HostMemory() as memory:
        buffer = memory.pinned(CONTENT)
        assert buffer.is_pinned()
        assert not memory.pageable(CONTENT).is_pinned()
        gpu = torch.empty_like(buffer, device="cuda")
        gpu.copy_(buffer, non_blocking=True)
        assert torch.equal(gpu.cpu(), CONTENT)
