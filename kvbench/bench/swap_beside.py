"""Owns what the GPU computes beside a swap, and how much slower that makes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_OUTSTANDING = 8  # launches that are kept waiting, so that the GPU never idles between swaps
_LAUNCHES = 64  # of one measurement
_REPEATS = 5
_GEMM = 4096
_ATTENTION = (8, 32, 4096, 128)  # batch, heads, tokens of the cache, head size: one token each is decoded


class Neighbour:
    """A matrix product, or the attention of one token to a long cache, again and again on a stream of its own."""

    def __init__(self, name: str, device: torch.device) -> None:
        self._work = _WORK[name](device)
        self._stream: Any = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        self._ends: deque[Any] = deque()
        self._launch()
        torch.cuda.synchronize(device)

    def keep_busy(self) -> None:
        """Launch until enough is waiting. Does not wait itself."""
        while self._ends and self._ends[0].query():
            self._ends.popleft()
        while len(self._ends) < _OUTSTANDING:
            self._launch()

    def finish(self) -> None:
        """Until nothing of it is left."""
        self._stream.synchronize()
        self._ends.clear()

    def slowdown(self, swap: Callable[[], object]) -> float:
        """Time of the work while swaps are going on all the time, over its time alone, less 1: median of pairs."""
        self.finish()
        ratios = []
        for _ in range(_REPEATS):
            alone_s = self._seconds(None)
            ratios.append(self._seconds(swap) / alone_s - 1)
        return float(np.median(ratios))

    def _seconds(self, swap: Callable[[], object] | None) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        if swap is not None:
            swap()
        with torch.cuda.stream(self._stream):
            start.record()
            for _ in range(_LAUNCHES):
                self._work()
            end.record()
        while swap is not None and not end.query():  # type: ignore[no-untyped-call]
            swap()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def _launch(self) -> None:
        with torch.cuda.stream(self._stream):
            self._work()
            end = torch.cuda.Event()  # type: ignore[no-untyped-call]
            end.record()
        self._ends.append(end)


def _gemm(device: torch.device) -> Callable[[], object]:
    a, b = (torch.randn(_GEMM, _GEMM, device=device).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _attention(device: torch.device) -> Callable[[], object]:
    batch, heads, tokens, size = _ATTENTION
    query = torch.randn(batch, heads, 1, size, device=device).bfloat16()
    keys, values = (torch.randn(batch, heads, tokens, size, device=device).bfloat16() for _ in range(2))
    return lambda: torch.nn.functional.scaled_dot_product_attention(query, keys, values)


_WORK: dict[str, Callable[[torch.device], Callable[[], object]]] = {"gemm": _gemm, "attention": _attention}
