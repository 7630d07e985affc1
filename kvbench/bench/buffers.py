"""Owns the sets of buffers that a case's calls take turns on, so that on a GPU none finds its data in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from kvbench.codecs.base import Codec
from kvbench.tensors.base import KVView

L2_TIMES = 2  # the inputs of all sets together are so many times the L2 cache
MOST_SETS = 256  # more only help tensors so small that their time is all launch


@dataclass(frozen=True)
class BufferSet:
    """One tensor and the memory that encoding and decoding it write to."""

    view: KVView
    out: torch.Tensor  # uint8, of the codec's capacity
    decoded: torch.Tensor  # of the view's shape and dtype


def buffer_sets(codec: Codec, view: KVView, l2_bytes: int) -> tuple[BufferSet, ...]:
    """The view and as many copies of it as the cache asks for, each with its own outputs on the view's device.

    `l2_bytes` 0 asks for one set.
    """
    capacity = codec.capacity(view.tensor.numel(), view.tensor.dtype)
    sets = []
    for number in range(_sets(view.tensor.nbytes, l2_bytes)):
        own = view if number == 0 else replace(view, tensor=view.tensor.clone())
        out = torch.empty(capacity, dtype=torch.uint8, device=view.tensor.device)
        sets.append(BufferSet(own, out, torch.empty_like(own.tensor)))
    return tuple(sets)


def cache_state(sets: Sequence[BufferSet], l2_bytes: int) -> Literal["cold", "warm"]:
    """What a call finds in the cache: `cold` where between two uses of a buffer more than the L2 goes through it."""
    raw_bytes = sum(one.view.tensor.nbytes for one in sets)
    return "cold" if l2_bytes and raw_bytes >= L2_TIMES * l2_bytes else "warm"


def l2_bytes_of(tensor: torch.Tensor) -> int:
    """Bytes of the L2 cache of the tensor's GPU; 0 in host memory, where calls use the same buffers again."""
    if not tensor.is_cuda:
        return 0
    return int(torch.cuda.get_device_properties(tensor.device).L2_cache_size)


class Turns:
    """Calls that take turns: each call of this makes the next one."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self._calls = tuple(calls)
        self._next = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __call__(self) -> object:
        call = self._calls[self._next]
        self._next = (self._next + 1) % len(self._calls)
        return call()


def _sets(raw_bytes: int, l2_bytes: int) -> int:
    if not l2_bytes or not raw_bytes:
        return 1
    return min(MOST_SETS, -(-L2_TIMES * l2_bytes // raw_bytes))
