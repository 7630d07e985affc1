"""Checks where host memory is put and found; on a machine with one node, on that."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest
import torch

from kvbench.measure import numa

PAGE = mmap.PAGESIZE


@pytest.fixture
def pages() -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(-1, 8 * PAGE), dtype=torch.uint8)


def test_the_kernels_lists_of_nodes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Name:\tpython\nMems_allowed:\t00000000,0000000f\nMems_allowed_list:\t0-2,5\nother:\t1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert numa.usable_nodes() == (0, 1, 2, 5)
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "Name:\tpython\n")
    assert numa.usable_nodes() == ()


def test_written_pages_are_on_a_usable_node(pages: torch.Tensor) -> None:
    pages.fill_(1)
    found = numa.nodes_of(pages.data_ptr(), pages.numel())
    assert found is None or found <= set(numa.usable_nodes())


def test_pages_that_are_not_there_yet_are_on_no_known_node(pages: torch.Tensor) -> None:
    pages[:PAGE].fill_(1)
    assert numa.nodes_of(pages.data_ptr(), pages.numel()) is None


def test_bound_pages_are_on_their_node(pages: torch.Tensor) -> None:
    nodes = numa.usable_nodes()
    if not nodes:
        pytest.skip("this kernel tells of no nodes")
    try:
        numa.bind(pages.data_ptr(), pages.numel(), nodes[-1])
    except OSError as error:
        pytest.skip(f"this kernel places no memory: {error}")
    pages.fill_(1)
    assert numa.nodes_of(pages.data_ptr(), pages.numel()) in ({nodes[-1]}, None)
    with pytest.raises(OSError, match=r"."):
        numa.bind(pages.data_ptr(), pages.numel(), 1000)


def test_a_refusal_of_the_kernel_is_no_answer(monkeypatch: pytest.MonkeyPatch, pages: torch.Tensor) -> None:
    pages.fill_(1)

    class Refusing:
        def syscall(self, *_: object) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(numa, "_libc", Refusing)
    assert numa.nodes_of(pages.data_ptr(), PAGE) is None
    with pytest.raises(PermissionError):
        numa.bind(pages.data_ptr(), PAGE, 0)


def test_an_unknown_processor_has_no_system_calls(monkeypatch: pytest.MonkeyPatch, pages: torch.Tensor) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert numa.nodes_of(pages.data_ptr(), PAGE) is None
    with pytest.raises(OSError, match="not known for vax"):
        numa.bind(pages.data_ptr(), PAGE, 0)


def test_nodes_are_asked_for_every_page_in_pieces(monkeypatch: pytest.MonkeyPatch, pages: torch.Tensor) -> None:
    asked: list[int] = []

    def answer(
        which: int, pid: object, count: ctypes.c_ulong, some: object, to: object, status: ctypes.c_void_p, flags: object
    ) -> None:
        asked.append(count.value)
        answers = (ctypes.c_int * count.value).from_address(status.value or 0)
        for number in range(count.value):
            answers[number] = len(asked) - 1

    monkeypatch.setattr(numa, "_system_call", answer)
    monkeypatch.setattr(numa, "_ASKED_AT_A_TIME", 5)
    # From the middle of one page to the first byte of another: both count.
    assert numa.nodes_of(pages.data_ptr() + 100, 7 * PAGE - 99) == {0, 1}
    assert asked == [5, 3]
