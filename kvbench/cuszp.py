"""Owns the raw functions of the codec: arrays and tensors to streams of the cuSZp v3 format and back.

A raw stream has no header: the element count, the bound and the mode are the caller's to keep. Its bytes are those
of the original library, its treatment of non-finite values included: NaN decodes to -2 * error_bound, values of
2^31 quanta and more saturate, and rounding in float32 exceeds the bound where |x| is large against it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeGuard, cast, overload

import numpy as np
from numpy.typing import NDArray

from kvbench import _ext
from kvbench import cuszp_arguments as checked
from kvbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

__all__ = ["MODES", "compress", "decompress", "max_compressed_bytes", "metadata_bytes"]

MODES: tuple[str, ...] = checked.MODES
"""The names of the modes: fixed codes values, plain first differences, outlier a block's first value apart."""


def metadata_bytes(n: SupportsIndex) -> int:
    """Bytes of metadata, padding included, in front of the payload of `n` elements: 1024 * ceil(n / 32768).

    Raises:
        UsageError: n is negative or not an integer.
    """
    return _cpu.metadata_bytes(checked.count(n))


def max_compressed_bytes(n: SupportsIndex) -> int:
    """The most bytes that a stream of `n` elements can take: metadata_bytes(n) + 128 * ceil(n / 32).

    Raises:
        UsageError: n is negative or not an integer.
    """
    return _cpu.max_compressed_bytes(checked.count(n))


@overload
def compress(values: NDArray[Any], error_bound: SupportsFloat, mode: str = ..., *, threads: int = ...) -> bytes: ...
@overload
def compress(
    values: torch.Tensor, error_bound: SupportsFloat, mode: str = ..., *, threads: int = ...
) -> torch.Tensor: ...
def compress(
    values: NDArray[Any] | torch.Tensor, error_bound: SupportsFloat, mode: str = "plain", *, threads: int = 0
) -> bytes | torch.Tensor:
    """The stream of `values` in row-major order, whatever their strides.

    Args:
        values: float32, float16 or bfloat16 (ml_dtypes or torch), any shape; 16-bit values are widened to float32.
        error_bound: absolute, finite and positive; used as float32(error_bound).
        mode: one of MODES.
        threads: 0 means one a core. The bytes do not depend on it.

    Returns:
        bytes for a NumPy array; for a torch tensor a uint8 tensor of shape [stream bytes] on the same device. A CUDA
        tensor is coded on its device's current stream, and the call waits for the length.

    Raises:
        UsageError: the type, bound, mode, thread count or device cannot be used.
    """
    bound, mode_number, thread_count = checked.bound(error_bound), checked.mode(mode), checked.threads(threads)
    if _is_tensor(values) and values.is_cuda:
        return _compress_on_gpu(values, bound, mode)
    _memory, address, n, dtype = _dense(values)  # held here until the call is over
    buffer = np.empty(_cpu.max_compressed_bytes(n), np.uint8)
    size = _cpu.compress(address, dtype, n, bound, mode_number, thread_count, buffer.ctypes.data, buffer.size)
    return _tensor_of(buffer[:size].copy()) if _is_tensor(values) else buffer[:size].tobytes()


@overload
def decompress(
    stream: bytes | bytearray | memoryview | NDArray[np.uint8],
    n: SupportsIndex,
    error_bound: SupportsFloat,
    mode: str = ...,
    *,
    threads: int = ...,
) -> NDArray[np.float32]: ...
@overload
def decompress(
    stream: torch.Tensor, n: SupportsIndex, error_bound: SupportsFloat, mode: str = ..., *, threads: int = ...
) -> torch.Tensor: ...
def decompress(
    stream: bytes | bytearray | memoryview | NDArray[np.uint8] | torch.Tensor,
    n: SupportsIndex,
    error_bound: SupportsFloat,
    mode: str = "plain",
    *,
    threads: int = 0,
) -> NDArray[np.float32] | torch.Tensor:
    """The values of a stream, float32 of shape [n].

    Args:
        stream: the whole stream; anything with a buffer, a uint8 array or a uint8 tensor.
        n: how many elements it was made of.
        error_bound: the one it was made with, absolute; used as float32(error_bound).
        mode: the one it was made with; a plain stream also decodes as outlier.
        threads: 0 means one a core.

    Returns:
        An array, or a tensor on the stream's device where the stream is a tensor.

    Raises:
        UsageError: an argument cannot be used, or the stream is not one of n elements in this mode.
    """
    bound, mode_number = checked.bound(error_bound), checked.mode(mode)
    thread_count, count = checked.threads(threads), checked.count(n)
    if _is_tensor(stream) and stream.is_cuda:
        return _decompress_on_gpu(stream, count, bound, mode)
    data = _stream_bytes(stream)
    _need_metadata(data.size, count)
    values = np.empty(count, np.float32)
    float32 = _cpu.DTYPES["float32"]
    try:
        _cpu.decompress(
            data.ctypes.data, data.size, count, bound, mode_number, float32, thread_count, values.ctypes.data
        )
    except _cpu.CodecError as error:
        raise _no_stream(data.size, count, mode, error) from error
    return _tensor_of(values) if _is_tensor(stream) else values


def _compress_on_gpu(values: torch.Tensor, bound: float, mode: str) -> torch.Tensor:
    cuda = _cuda_calls(values, "values")
    checked.dtype(str(values.dtype).removeprefix("torch."))
    source = values.detach().resolve_neg().contiguous().reshape(-1)
    room = source.new_empty(_cpu.max_compressed_bytes(source.numel()), dtype=sys.modules["torch"].uint8)
    length: int = cuda.compress(source, bound, mode, room)
    return room[:length].clone()


def _decompress_on_gpu(stream: torch.Tensor, n: int, bound: float, mode: str) -> torch.Tensor:
    cuda = _cuda_calls(stream, "stream")
    torch_module = sys.modules["torch"]
    if stream.dtype != torch_module.uint8:
        raise UsageError(f"a stream of dtype {stream.dtype} cannot be decoded: give its bytes as uint8")
    data = stream.detach().contiguous().reshape(-1)
    _need_metadata(data.numel(), n)
    values: torch.Tensor = data.new_empty(n, dtype=torch_module.float32)
    try:
        cuda.decompress(data, n, bound, mode, values)
    except _cpu.CodecError as error:
        raise _no_stream(data.numel(), n, mode, error) from error
    return values


def _cuda_calls(tensor: torch.Tensor, name: str) -> Any:
    problem = _ext.cuda_problem()
    if problem is not None:
        raise UsageError(f"{name} on {tensor.device} cannot be coded there ({problem}); move them with .cpu()")
    from kvbench import cuszp_cuda

    return cuszp_cuda


def _need_metadata(stream_bytes: int, n: int) -> None:
    """Refuse a stream that is too short for n elements before n elements are allocated."""
    if stream_bytes < _cpu.metadata_bytes(n):
        raise UsageError(
            f"a stream of {stream_bytes} bytes cannot hold n = {n} elements: "
            f"their metadata alone takes {_cpu.metadata_bytes(n)}; check n, or the stream is cut"
        )


def _no_stream(stream_bytes: int, n: int, mode: str, error: Exception) -> UsageError:
    return UsageError(
        f"these {stream_bytes} bytes are no stream of n = {n} elements in mode {mode} ({error.args[1]}): "
        "check n and mode, or the stream is damaged"
    )


def _is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a torch tensor; a process that holds one has imported torch."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(value, torch_module.Tensor)


def _tensor_of(array: NDArray[Any]) -> torch.Tensor:
    tensor: torch.Tensor = sys.modules["torch"].from_numpy(array)
    return tensor


def _dense(values: object) -> tuple[object, int, int, int]:
    """Row-major values: the object that owns their memory, the address, the element count and the dtype's number."""
    if _is_tensor(values):
        tensor = _on_cpu(values, "values").detach().resolve_neg().contiguous()
        return tensor, tensor.data_ptr(), tensor.numel(), checked.dtype(str(tensor.dtype).removeprefix("torch."))
    if isinstance(values, np.ndarray):
        dtype = checked.dtype(values.dtype.name)
        array = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return array, array.ctypes.data, array.size, dtype
    raise UsageError(f"values are of type {type(values).__name__}: give a NumPy array or a torch tensor")


def _on_cpu(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.device.type != "cpu":
        raise UsageError(f"{name} on {tensor.device}: give host or CUDA memory; move them with .cpu()")
    if tensor.layout != sys.modules["torch"].strided:
        raise UsageError(f"{name} of layout {tensor.layout}: give a dense tensor (.to_dense())")
    return tensor


def _stream_bytes(stream: bytes | bytearray | memoryview | NDArray[np.uint8] | torch.Tensor) -> NDArray[np.uint8]:
    """The bytes of a stream, without a copy where they lie together."""
    if _is_tensor(stream):
        stream = cast("NDArray[np.uint8]", _on_cpu(stream, "stream").detach().contiguous().numpy())
    if isinstance(stream, np.ndarray):
        if stream.dtype != np.uint8:
            raise UsageError(f"a stream of dtype {stream.dtype} cannot be decoded: give its bytes as uint8")
        return np.ascontiguousarray(stream).reshape(-1)
    try:
        view = memoryview(cast("bytes", stream))
    except TypeError:
        raise UsageError(
            f"a stream of type {type(stream).__name__} cannot be decoded: give bytes, a uint8 array or a uint8 tensor"
        ) from None
    return np.frombuffer(view.cast("B") if view.c_contiguous else view.tobytes(), np.uint8)
