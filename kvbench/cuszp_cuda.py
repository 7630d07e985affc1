"""Owns the calls into the CUDA codec: scratch memory of each stream, launches, and the wait for what came of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from kvbench import _ext

if TYPE_CHECKING:
    from kvbench._ext import _cuda
else:
    _cuda = _ext.cuda()

CodecError = _cuda.CodecError

# What a call writes for the host, at these offsets of pinned memory that the device writes to directly.
_SIZE, _STATUS, _RANGE, _ANSWER_BYTES = 0, 8, 16, 64
_OK = 0


class CudaRange(NamedTuple):
    """Of the finite values: smallest, largest, largest magnitude (float32 values), and how many were left out."""

    minimum: float
    maximum: float
    max_abs: float
    non_finite: int


class Scratch:
    """Workspace and answers of one stream of one device. Calls on it run one after the other; `lock` keeps them so."""

    def __init__(self, device_index: int, stream: int) -> None:
        self.lock = Lock()
        self._device = torch.device("cuda", device_index)
        self._stream = stream
        self._workspace = torch.empty(0, dtype=torch.uint8, device=self._device)
        self._answers = torch.zeros(_ANSWER_BYTES, dtype=torch.uint8, pin_memory=True)

    def workspace(self, n: int) -> tuple[int, int]:
        """(address, bytes) of zeroed workspace for `n` elements."""
        needed = _cuda.workspace_bytes(n)
        if self._workspace.numel() < needed:
            self._workspace = torch.empty(needed, dtype=torch.uint8, device=self._device)
            _cuda.workspace_init(self._workspace.data_ptr(), needed, self._stream)
        return self._workspace.data_ptr(), self._workspace.numel()

    def answer(self, offset: int) -> int:
        """The address of one answer."""
        return self._answers.data_ptr() + offset

    def wait(self) -> None:
        """Wait for the stream, then raise CodecError if the last call was not OK."""
        torch.cuda.current_stream(self._device).synchronize()
        status = int(self._answers[_STATUS:_RANGE].view(torch.int32)[0])
        if status != _OK:
            raise CodecError(status, _cuda.status_text(status))

    def size(self) -> int:
        """The length that the last compression wrote."""
        return int(self._answers[_SIZE:_STATUS].view(torch.int64)[0])

    def range(self) -> CudaRange:
        """The range that the last reduction wrote."""
        answer = self._answers[_RANGE : _RANGE + _cuda.RANGE_BYTES].numpy()
        low, high, largest = answer[:12].view(np.float32).tolist()
        return CudaRange(low, high, largest, int(answer[16:24].view(np.uint64)[0]))


def measure_range(values: torch.Tensor) -> CudaRange:
    """The range of a flat CUDA tensor; waits for it."""
    if values.numel() == 0:
        return CudaRange(0.0, 0.0, 0.0, 0)
    with _on_stream(values) as (scratch, stream), scratch.lock:
        _launch_range(values, scratch, stream)
        torch.cuda.current_stream(values.device).synchronize()
        return scratch.range()


def compress(values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor) -> int:
    """Write the stream of a flat CUDA tensor to the front of `stream` (uint8); waits for its length in bytes.

    Raises CodecError where `stream` is too small.
    """
    with _on_stream(values) as (scratch, queue), scratch.lock:
        _launch_compress(values, error_bound, mode, stream, scratch, queue)
        scratch.wait()
        return scratch.size()


def decompress(stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor) -> None:
    """Decode a stream of `n` values into `out` [n], in out's dtype; waits for the verdict.

    Raises CodecError for a stream that is not one of `n` values.
    """
    with _on_stream(out) as (scratch, queue), scratch.lock:
        _launch_decompress(stream, n, error_bound, mode, out, scratch, queue)
        scratch.wait()


def range_launch(values: torch.Tensor) -> Callable[[], object]:
    """A call that only enqueues the reduction, for timing with events; its result is left unread."""
    with _on_stream(values) as (scratch, stream):
        return partial(_launch_range, values, scratch, stream)


def compress_launch(values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor) -> Callable[[], object]:
    """A call that only enqueues the compression; its size and status are left unread."""
    with _on_stream(values) as (scratch, queue):
        return partial(_launch_compress, values, error_bound, mode, stream, scratch, queue)


def decompress_launch(
    stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor
) -> Callable[[], object]:
    """A call that only enqueues the decompression; its status is left unread."""
    with _on_stream(out) as (scratch, queue):
        return partial(_launch_decompress, stream, n, error_bound, mode, out, scratch, queue)


class _on_stream:  # noqa: N801  reads as a statement
    """The device of a tensor made current, with its current stream and that stream's scratch."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._device = torch.cuda.device(tensor.device)
        self._tensor_device = tensor.device

    def __enter__(self) -> tuple[Scratch, int]:
        self._device.__enter__()  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(self._tensor_device)
        return _scratch(stream.device_index, stream.cuda_stream), stream.cuda_stream

    def __exit__(self, *raised: object) -> None:
        self._device.__exit__(*raised)


@cache
def _scratch(device_index: int, stream: int) -> Scratch:
    return Scratch(device_index, stream)


def _launch_range(values: torch.Tensor, scratch: Scratch, stream: int) -> None:
    workspace, room = scratch.workspace(values.numel())
    _cuda.measure_range(
        values.data_ptr(), _dtype(values), values.numel(), scratch.answer(_RANGE), workspace, room, stream
    )


def _launch_compress(
    values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor, scratch: Scratch, queue: int
) -> None:
    workspace, room = scratch.workspace(values.numel())
    _cuda.compress(
        values.data_ptr(),
        _dtype(values),
        values.numel(),
        error_bound,
        0,
        _cuda.MODES[mode],
        stream.data_ptr(),
        stream.numel(),
        scratch.answer(_SIZE),
        scratch.answer(_STATUS),
        workspace,
        room,
        queue,
    )


def _launch_decompress(
    stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor, scratch: Scratch, queue: int
) -> None:
    workspace, room = scratch.workspace(n)
    _cuda.decompress(
        stream.data_ptr(),
        stream.numel(),
        0,
        n,
        error_bound,
        0,
        _cuda.MODES[mode],
        _dtype(out),
        out.data_ptr(),
        scratch.answer(_STATUS),
        workspace,
        room,
        queue,
    )


def _dtype(tensor: torch.Tensor) -> int:
    return _cuda.DTYPES[str(tensor.dtype).removeprefix("torch.")]
