"""Owns the calls into the CUDA codec: scratch memory of each stream, launches, and one wait for what came of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Literal

import torch

from kvbench import _ext
from kvbench.errors import UsageError

if TYPE_CHECKING:
    from kvbench._ext import _cuda
else:
    _cuda = _ext.cuda()

CodecError = _cuda.CodecError

Range = tuple[float, float, float, int]
"""Of the finite values: smallest, largest, largest magnitude (float32 values), and how many others there are."""

_OK = 0
_DTYPES = {getattr(torch, name): number for name, number in _cuda.DTYPES.items()}
_MODES, _KINDS, _POLICIES = _cuda.MODES, _cuda.BOUND_KINDS, _cuda.BOUND_POLICIES


class Scratch:
    """Workspace and answers of one stream of one device. Calls on it run one after the other; `lock` keeps them so.

    What only enqueues writes answers of its own, which nobody reads: it may run later, as a part of a captured graph,
    while a call waits for its answers. It shares the workspace, so such a graph has to be replayed on this stream, or
    when nothing else runs on it. Raises UsageError while the current stream is captured.
    """

    def __init__(self, device_index: int, queue: int) -> None:
        _require_no_capture()
        self.lock = Lock()
        self.queue = queue
        self._device = torch.device("cuda", device_index)
        self._workspaces: list[torch.Tensor] = []  # the last is in use; a captured graph may hold an earlier one
        self._workspace = (0, 0)
        self._elements = -1  # the most that the workspace serves
        self._bound = torch.empty(1, dtype=torch.float32, device=self._device)
        self._answers = torch.zeros(_cuda.ANSWERS_BYTES, dtype=torch.uint8, pin_memory=True)
        self._unread = torch.zeros(_cuda.ANSWERS_BYTES, dtype=torch.uint8, pin_memory=True)
        self.bound = self._bound.data_ptr()
        self.answers = self._answers.data_ptr()

    def workspace(self, n: int) -> tuple[int, int]:
        """(address, bytes) of zeroed workspace for `n` elements; `lock` is held.

        Raises UsageError where it has to grow while the current stream is captured: a graph would zero it at each
        replay, and not now.
        """
        if n > self._elements:
            if self._workspace[1] < _cuda.workspace_bytes(n):
                _require_no_capture()
                self._workspaces.append(torch.empty(workspace_bytes(n), dtype=torch.uint8, device=self._device))
                self._workspace = (self._workspaces[-1].data_ptr(), self._workspaces[-1].numel())
                _cuda.workspace_init(*self._workspace, self.queue)
            self._elements = n
        return self._workspace

    def unread(self, name: str) -> int:
        """The address for an answer that nobody reads: range, stream_bytes or status."""
        return self._unread.data_ptr() + int(_cuda.ANSWER_AT[name])


def measure_range(values: torch.Tensor) -> Range:
    """The range of a contiguous CUDA tensor; waits for it."""
    n = values.numel()
    if n == 0:
        return 0.0, 0.0, 0.0, 0
    with _device_of(values):
        scratch = _scratch(values)
        with scratch.lock:
            return _cuda.measure_range_and_wait(
                values.data_ptr(), _DTYPES[values.dtype], n, scratch.answers, *scratch.workspace(n), scratch.queue
            )


def compress(values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor) -> int:
    """Write the stream of a contiguous CUDA tensor to the front of `stream` (uint8); waits for its length in bytes.

    Raises CodecError where `stream` is too small.
    """
    n = values.numel()
    with _device_of(values):
        scratch = _scratch(values)
        with scratch.lock:
            stream_bytes, status = _cuda.compress_and_wait(
                values.data_ptr(),
                _DTYPES[values.dtype],
                n,
                error_bound,
                _MODES[mode],
                stream.data_ptr(),
                stream.numel(),
                scratch.answers,
                *scratch.workspace(n),
                scratch.queue,
            )
    _require_ok(status)
    return stream_bytes


def measure_and_compress(
    values: torch.Tensor, kind: Literal["abs", "rel"], value: float, policy: str, mode: str, stream: torch.Tensor
) -> tuple[Range, int | None]:
    """Measure a contiguous CUDA tensor and compress it with the bound that follows, with one wait for both.

    The bound is worked out on the device, as `cuszp_cuda_effective_bound` says. Gives the range and the length of the
    stream now at the front of `stream`; None in its place where no such bound serves or `stream` is too small.
    """
    n = values.numel()
    if n == 0:
        return (0.0, 0.0, 0.0, 0), None
    with _device_of(values):
        scratch = _scratch(values)
        with scratch.lock:
            low, high, largest, others, stream_bytes, status = _cuda.measure_compress_and_wait(
                values.data_ptr(),
                _DTYPES[values.dtype],
                n,
                _KINDS[kind],
                value,
                _POLICIES[policy],
                _MODES[mode],
                stream.data_ptr(),
                stream.numel(),
                scratch.answers,
                scratch.bound,
                *scratch.workspace(n),
                scratch.queue,
            )
    return (low, high, largest, others), stream_bytes if status == _OK else None


def decompress(stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor) -> None:
    """Decode a stream of `n` values into `out`, contiguous, in its dtype; waits for the verdict.

    Raises CodecError for a stream that is not one of `n` values.
    """
    with _device_of(out):
        scratch = _scratch(out)
        with scratch.lock:
            status = _cuda.decompress_and_wait(
                stream.data_ptr(),
                stream.numel(),
                n,
                error_bound,
                _MODES[mode],
                _DTYPES[out.dtype],
                out.data_ptr(),
                scratch.answers,
                *scratch.workspace(n),
                scratch.queue,
            )
    _require_ok(status)


def range_launch(values: torch.Tensor) -> Callable[[], object]:
    """A call that only enqueues the reduction, for timing with events; its result is left unread."""
    with _device_of(values):
        return partial(_launch_range, values, _scratch(values))


def compress_launch(values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor) -> Callable[[], object]:
    """A call that only enqueues the compression; its size and status are left unread."""
    with _device_of(values):
        return partial(_launch_compress, values, error_bound, mode, stream, _scratch(values))


def decompress_launch(
    stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor
) -> Callable[[], object]:
    """A call that only enqueues the decompression; its status is left unread."""
    with _device_of(out):
        return partial(_launch_decompress, stream, n, error_bound, mode, out, _scratch(out))


def workspace_bytes(n: int) -> int:
    """Bytes of the workspace that a stream keeps for calls on `n` elements.

    A power of two, so that the smaller ones a stream had before take less than that together.
    """
    return 1 << (_cuda.workspace_bytes(n) - 1).bit_length()


_CURRENT_ALREADY: AbstractContextManager[None] = nullcontext()
_scratches: dict[tuple[int, int], Scratch] = {}


def _device_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """The tensor's device made current; nothing to do where it is, which costs a call less than switching."""
    if torch.cuda.current_device() == tensor.get_device():
        return _CURRENT_ALREADY
    switched: AbstractContextManager[None] = torch.cuda.device(tensor.device)
    return switched


# torch's own function for compiled code, which makes no Stream object: microseconds less in calls that take tens.
_current_queue: Callable[[int], int] = getattr(
    torch._C, "_cuda_getCurrentRawStream", lambda index: torch.cuda.current_stream(index).cuda_stream
)


def _scratch(tensor: torch.Tensor) -> Scratch:
    """The scratch of the current stream of the tensor's device, which is current."""
    device_index = tensor.get_device()
    key = device_index, _current_queue(device_index)
    return _scratches.get(key) or _scratches.setdefault(key, Scratch(*key))


def _require_no_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise UsageError(
            "cuszp cannot make its workspace while a CUDA graph is captured: "
            "make one call of at least this length on the same stream before"
        )


def _require_ok(status: int) -> None:
    if status != _OK:
        raise CodecError(status, _cuda.status_text(status))


def _launch_range(values: torch.Tensor, scratch: Scratch) -> None:
    n = values.numel()
    with scratch.lock:
        _cuda.measure_range(
            values.data_ptr(), _DTYPES[values.dtype], n, scratch.unread("range"), *scratch.workspace(n), scratch.queue
        )


def _launch_compress(
    values: torch.Tensor, error_bound: float, mode: str, stream: torch.Tensor, scratch: Scratch
) -> None:
    n = values.numel()
    with scratch.lock:
        _cuda.compress(
            values.data_ptr(),
            _DTYPES[values.dtype],
            n,
            error_bound,
            0,
            _MODES[mode],
            stream.data_ptr(),
            stream.numel(),
            scratch.unread("stream_bytes"),
            scratch.unread("status"),
            *scratch.workspace(n),
            scratch.queue,
        )


def _launch_decompress(
    stream: torch.Tensor, n: int, error_bound: float, mode: str, out: torch.Tensor, scratch: Scratch
) -> None:
    with scratch.lock:
        _cuda.decompress(
            stream.data_ptr(),
            stream.numel(),
            0,
            n,
            error_bound,
            0,
            _MODES[mode],
            _DTYPES[out.dtype],
            out.data_ptr(),
            scratch.unread("status"),
            *scratch.workspace(n),
            scratch.queue,
        )
