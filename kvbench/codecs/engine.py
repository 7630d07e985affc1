"""Owns the calls into the compiled codec: tensors in, pointers down. The tensor's device chooses the _cpu."""

from __future__ import annotations

from ctypes import c_float
from typing import TYPE_CHECKING, NamedTuple

from kvbench import _ext
from kvbench.codecs.elements import dtype_name
from kvbench.config import Mode
from kvbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

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


def measure_range(values: torch.Tensor, threads: int) -> ValueRange:
    """The range of `values` [n]; `threads` 0 means one a core."""
    _need_host(values)
    return ValueRange(
        *_cpu.measure_range(values.data_ptr(), _cpu.DTYPES[dtype_name(values.dtype)], values.numel(), threads)
    )


def compress(values: torch.Tensor, error_bound: float, mode: Mode, threads: int, stream: torch.Tensor) -> int:
    """Write the stream of `values` [n] to the front of `stream` (uint8); its length in bytes.

    Raises CodecError where `stream` is too small; nothing past the length is written.
    """
    _need_host(values)
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
    """Decode elements [first, first + out.numel()) of a stream of `elements` into `out` [count], in out's dtype.

    `first` is a multiple of 32. Raises CodecError for a stream that is not one of `elements` values.
    """
    _need_host(out)
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


def _need_host(tensor: torch.Tensor) -> None:
    if not tensor.is_cpu:
        raise UsageError(f"codec 'cuszp' codes tensors in host memory, not on {tensor.device}: move them with .cpu()")
