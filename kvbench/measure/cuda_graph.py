"""Owns the clock that replays many calls as one CUDA graph, which leaves the cost of launching them out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Literal

import torch

from kvbench.measure.cuda_time import RESOLUTION_S, SpinTimer

if TYPE_CHECKING:
    from torch.cuda import CUDAGraph, Stream

_EMPTY_GRAPH = "CUDA Graph is empty"  # in the words of torch's warning
# A capture that broke leaves torch's allocator with a reference to its graph, which therefore has to stay.
_broken: list[CUDAGraph] = []


@dataclass(frozen=True)
class _Captured:
    """Calls as a graph; `graph` is None where they put nothing on the stream."""

    call: Callable[[], object]
    calls: int
    graph: CUDAGraph | None


class CudaGraphClock:
    """Time on the GPU of calls that were captured into one graph on `stream` and are replayed for every sample.

    The GPU starts the nodes of a graph by itself, so a kernel of a few microseconds is timed and not its launch. The
    time of a call is the interval from one to the next: kernels that may start early (programmatic dependent launch)
    overlap their launch and prologue with the end of the one before, which a lone kernel cannot. The
    calls themselves run once a batch size, during capture; they must neither wait for the device nor depend on how
    often they were made.
    """

    name: Literal["cuda_graph"] = "cuda_graph"
    resolution_s = RESOLUTION_S
    minimum_sample_s = 1e-3  # the start of a graph, a few us, is then a small part of it
    _SPIN_CYCLES = 500_000  # about 0.25 ms, longer than the launch of a graph

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._timer = SpinTimer(stream)
        self._captured: _Captured | None = None

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        if self._captured is None or (self._captured.call, self._captured.calls) != (call, calls):
            self._captured = None  # its memory first
            self._captured = _Captured(call, calls, captured(call, calls, self._stream))
            self._timer.forget()
            self._replay()  # the first launch of a graph also uploads it
        return self._timer.time_s(self._replay, self._SPIN_CYCLES)

    def take_flags(self) -> list[str]:
        return self._timer.take_flags()

    def _replay(self) -> None:
        if self._captured is not None and self._captured.graph is not None:
            self._captured.graph.replay()


def graph_clock(stream: Stream, call: Callable[[], object]) -> CudaGraphClock | None:
    """The clock for `call` on `stream`, or None where a graph cannot hold it: it waits, or works on another stream.

    Makes the call, once as it is and once under capture.
    """
    with torch.cuda.stream(stream):
        call()
        torch.cuda.synchronize(stream.device)
        try:
            graph = captured(call, 1, stream)
        except Exception:  # noqa: BLE001  it ran a moment ago, so what it raises now is about the capture
            return None
    return None if graph is None else CudaGraphClock(stream)


def captured(call: Callable[[], object], calls: int, stream: Stream) -> CUDAGraph | None:
    """`calls` calls in a row as a graph ready to replay; None where they put nothing on `stream`.

    Raises what the call raises, or RuntimeError for work that cannot be captured. Warnings of the call are passed on.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stream.synchronize()
        try:
            # Not torch.cuda.graph: it would collect garbage and empty torch's memory cache at every capture.
            graph.capture_begin(capture_error_mode="thread_local")
            for _ in repeat(None, calls):
                call()
            graph.capture_end()
        except BaseException:
            _broken.append(graph)
            with suppress(RuntimeError):
                graph.capture_end()
            _clear_error(stream)
            _free_generator(stream.device)
            raise
    empty = False
    for warning in said:
        if _EMPTY_GRAPH in str(warning.message):
            empty = True
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return None if empty else graph


def _free_generator(device: torch.device) -> None:
    """A capture that broke leaves torch's random generator as if it still went on; one that ends well frees it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream(device)), suppress(RuntimeError):  # type: ignore[no-untyped-call]
        graph.capture_begin(capture_error_mode="thread_local")
        graph.capture_end()


def _clear_error(stream: Stream) -> None:
    """Let the error that a broken capture left show itself here and not in the next kernel launch."""
    for _ in range(2):
        with suppress(RuntimeError):
            torch.zeros(1, device=stream.device)
            torch.cuda.synchronize(stream.device)
            return
