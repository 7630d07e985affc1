"""Owns the calls into the compiled codec: tensors in, pointers down. The tensor's device chooses the module."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_float
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from kvbench import _ext
from kvbench.bound import BoundPolicy
from kvbench.codecs.elements import dtype_name
from kvbench.config import Mode
from kvbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

Call = Callable[[], object]

CodecError = _cpu.CodecError
max_compressed_bytes = _cpu.max_compressed_bytes
strict_error_bound = _cpu.strict_error_bound


class ValueRange(NamedTuple):
    """Of the finite values of one tensor, as float32 values; all 0 when there are none."""

    minimum: float
    maximum: float
    max_abs: float
    non_finite: int  # how many NaN and infinities were left out

    @property
    def width(self) -> float:
        """max - min subtracted in float32; inf where that overflows.

        The float64 difference rounded once more to float32 is the float32 difference (53 >= 2 * 24 + 2 bits).
        """
        return c_float(self.maximum - self.minimum).value


class FirstPass(NamedTuple):
    """What is known of a tensor before its bound is settled, and on a GPU the stream made meanwhile."""

    measured: ValueRange
    stream_bytes: int | None  # of the stream in the caller's memory; None: there is none


def first_pass(
    values: torch.Tensor,
    kind: Literal["abs", "rel"],
    value: float,
    policy: BoundPolicy,
    mode: Mode,
    threads: int,
    stream: torch.Tensor,
) -> FirstPass:
    """Measure `values`, contiguous. On a GPU compress them into `stream` at once, so that both take one wait.

    That stream is quantised with float32(E) under `compatible`, E being `value` or that fraction of the range, and
    with strict_error_bound(E, max_abs) under `strict`; no GPU stream is made where that is not a usable bound.
    """
    cuda = _cuda_calls(values)
    if cuda is None:
        return FirstPass(measure_range(values, threads), None)
    measured, stream_bytes = cuda.measure_and_compress(values, kind, value, policy, mode, stream)
    return FirstPass(ValueRange(*measured), stream_bytes)


def measure_range(values: torch.Tensor, threads: int) -> ValueRange:
    """The range of `values`, contiguous; `threads` 0 means one a core. On a GPU it waits for the answer."""
    cuda = _cuda_calls(values)
    if cuda is not None:
        return ValueRange(*cuda.measure_range(values))
    return ValueRange(
        *_cpu.measure_range(values.data_ptr(), _cpu.DTYPES[dtype_name(values.dtype)], values.numel(), threads)
    )


def compress(values: torch.Tensor, error_bound: float, mode: Mode, threads: int, stream: torch.Tensor) -> int:
    """Write the stream of `values`, contiguous, to the front of `stream` (uint8); its length in bytes.

    Raises CodecError where `stream` is too small; nothing past the length is written. On a GPU it waits for the
    length.
    """
    cuda = _cuda_calls(values)
    if cuda is not None:
        length: int = cuda.compress(values, error_bound, mode, stream)
        return length
    return _cpu.compress(
        values.data_ptr(),
        _cpu.DTYPES[dtype_name(values.dtype)],
        values.numel(),
        error_bound,
        _cpu.MODES[mode],
        threads,
        stream.data_ptr(),
        stream.numel(),
    )


def decompress(
    stream: torch.Tensor,
    elements: int,
    error_bound: float,
    mode: Mode,
    threads: int,
    out: torch.Tensor,
    first: int = 0,
) -> None:
    """Decode elements [first, first + out.numel()) of a stream of `elements` into `out`, contiguous, in its dtype.

    `first` is a multiple of 32; on a GPU the whole stream is decoded at once, so `out` holds all of it. Raises
    CodecError for a stream that is not one of `elements` values.
    """
    cuda = _cuda_calls(out)
    if cuda is not None:
        if out.numel() != elements:
            raise ValueError(f"a stream of {elements} elements is decoded whole on {out.device}, not {out.numel()}")
        cuda.decompress(stream, elements, error_bound, mode, out)
        return
    _cpu.decompress_range(
        stream.data_ptr(),
        stream.numel(),
        elements,
        error_bound,
        _cpu.MODES[mode],
        _cpu.DTYPES[dtype_name(out.dtype)],
        first,
        out.numel(),
        threads,
        out.data_ptr(),
    )


def range_call(values: torch.Tensor, threads: int) -> Call:
    """The bare reduction on prepared buffers; on a GPU it only enqueues the kernel."""
    cuda = _cuda_calls(values)
    if cuda is None:
        return partial(measure_range, values, threads)
    return cast("Call", cuda.range_launch(values))


def compress_call(values: torch.Tensor, error_bound: float, mode: Mode, threads: int, stream: torch.Tensor) -> Call:
    """The bare compression on prepared buffers; on a GPU it only enqueues the kernel."""
    cuda = _cuda_calls(values)
    if cuda is None:
        return partial(compress, values, error_bound, mode, threads, stream)
    return cast("Call", cuda.compress_launch(values, error_bound, mode, stream))


def decompress_call(
    stream: torch.Tensor, elements: int, error_bound: float, mode: Mode, threads: int, out: torch.Tensor
) -> Call:
    """The bare decompression of a whole stream on prepared buffers; on a GPU it only enqueues the kernel."""
    cuda = _cuda_calls(out)
    if cuda is None:
        return partial(decompress, stream, elements, error_bound, mode, threads, out)
    return cast("Call", cuda.decompress_launch(stream, elements, error_bound, mode, out))


def workspace_bytes(values: torch.Tensor) -> int | None:
    """Bytes of scratch memory that stay allocated on a GPU for tensors of this length; None in host memory."""
    cuda = _cuda_calls(values)
    return None if cuda is None else cast("int", cuda.workspace_bytes(values.numel()))


def unavailable(device: str) -> str | None:
    """Why tensors on `device` (cpu or cuda) cannot be coded by this build here, or None when they can."""
    return None if device == "cpu" else _ext.cuda_problem()


def _cuda_calls(tensor: torch.Tensor) -> Any | None:
    """The module that codes tensors on a GPU, None for one in host memory. Raises UsageError where neither can."""
    if tensor.is_cpu:
        return None
    reason = _ext.cuda_problem() if tensor.is_cuda else "it is neither host nor CUDA memory"
    if reason is not None:
        raise UsageError(f"codec 'cuszp' cannot code a tensor on {tensor.device}: {reason}; or move it with .cpu()")
    return _cuda_module()


@cache
def _cuda_module() -> ModuleType:
    from kvbench import cuszp_cuda

    return cuszp_cuda
