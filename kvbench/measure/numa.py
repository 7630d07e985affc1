"""Owns NUMA placement of host memory: which nodes there are, on which one pages go, and on which they are."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from functools import cache
from pathlib import Path

import numpy as np

# Numbers of mbind and move_pages in the kernel's interface, which libc has no functions for (libnuma is often absent).
_MBIND, _MOVE_PAGES = 0, 1
_SYSCALLS = {"x86_64": (237, 279), "aarch64": (235, 239)}
_MPOL_BIND = 2
_MPOL_MF_STRICT, _MPOL_MF_MOVE = 1, 2
_ASKED_AT_A_TIME = 1 << 16  # pages


def usable_nodes() -> tuple[int, ...]:
    """The nodes whose memory this process may use, ascending; empty where the kernel does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return ()
    found = re.search(r"^Mems_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    return _numbers(found.group(1)) if found else ()


def bind(address: int, size_bytes: int, node: int) -> None:
    """Let the pages of [address, address + size_bytes) come from `node` alone; `address` at a page's start.

    Pages that exist already are moved there. Raises OSError where the kernel refuses or has no such call.
    """
    mask_bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    words = node // mask_bits + 1
    mask = (ctypes.c_ulong * words)()
    mask[node // mask_bits] = 1 << node % mask_bits
    # The kernel reads one bit less than it is told of.
    most_nodes = ctypes.c_ulong(words * mask_bits + 1)
    flags = ctypes.c_uint(_MPOL_MF_STRICT | _MPOL_MF_MOVE)
    arguments = (ctypes.c_void_p(address), ctypes.c_ulong(size_bytes), ctypes.c_int(_MPOL_BIND))
    _system_call(_MBIND, *arguments, mask, most_nodes, flags)


def nodes_of(address: int, size_bytes: int) -> frozenset[int] | None:
    """The nodes on which the pages that hold [address, address + size_bytes) are; None where it cannot be known."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    first = address - address % page_bytes
    pages = np.arange(first, address + size_bytes, page_bytes, dtype=np.uint64)
    status = np.full(len(pages), -1, dtype=np.int32)
    try:
        for start in range(0, len(pages), _ASKED_AT_A_TIME):
            some, answers = (array[start : start + _ASKED_AT_A_TIME] for array in (pages, status))
            asked, answered = (ctypes.c_void_p(array.ctypes.data) for array in (some, answers))
            # Without nodes to move to, move_pages only tells where the pages are.
            _system_call(
                _MOVE_PAGES, ctypes.c_int(0), ctypes.c_ulong(len(some)), asked, None, answered, ctypes.c_int(0)
            )
    except OSError:
        return None
    return None if bool((status < 0).any()) else frozenset(int(node) for node in np.unique(status))


def _system_call(which: int, *arguments: object) -> None:
    numbers = _SYSCALLS.get(platform.machine())
    if numbers is None:
        raise OSError(f"placing memory on NUMA nodes is not known for {platform.machine()} processors")
    if _libc().syscall(ctypes.c_long(numbers[which]), *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a kernel's list such as `0-1,4`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)
