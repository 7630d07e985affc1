"""Owns the calls into a shared library of the original cuSZp v3: loading, argument types, the length of a stream."""

from __future__ import annotations

import ctypes
import os
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kvbench.config import Mode
from kvbench.cuszp import max_compressed_bytes
from kvbench.errors import UnavailableError

VARIABLE = "KVBENCH_CUSZP_LIBRARY"

_MODES: dict[Mode, int] = {"fixed": 0, "plain": 1, "outlier": 2}
_FLOAT32 = 0
_ONE_DIMENSION = 1
# The original writes the stream's length only from its second tile of values on; before, it gives the metadata's.
_TILE_ELEMENTS = 32_768
MOST_ELEMENTS = (1 << 31) - _TILE_ELEMENTS  # with more, its 32-bit indices leave its buffers
MOST_STREAM_BYTES = (1 << 32) - 1  # of a longer stream its 32-bit offsets wrap round


class _Dimensions(ctypes.Structure):
    """CUDA's uint3, passed by value; one-dimensional coding ignores it."""

    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))


# What both functions take after their pointers and lengths: bound, dimensions and their sizes, type, mode, stream.
_SETTINGS = (ctypes.c_float, ctypes.c_int, _Dimensions, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class CuszpLibrary:
    """The two functions of one library. Addresses are of memory that the library can reach, so on the current device.

    Both calls use CUDA's legacy default stream and return when the device is done. The library reports no errors.
    """

    def __init__(self, path: str) -> None:
        """Raises UnavailableError for a path that is no loadable library with these functions."""
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise UnavailableError(f"{VARIABLE}={path} cannot be loaded: {reason}") from error
        try:
            self._compress = library.cuSZp_compress
            self._decompress = library.cuSZp_decompress
        except AttributeError as error:
            raise UnavailableError(
                f"{VARIABLE}={path} is not the original library ({error}): name a shared library of cuSZp v3"
            ) from error
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._compress.argtypes = (pointer, pointer, size, ctypes.POINTER(size), *_SETTINGS)
        self._decompress.argtypes = (pointer, pointer, size, size, *_SETTINGS)
        self._compress.restype = self._decompress.restype = None

    def compress(self, values: int, stream: int, n: int, error_bound: float, mode: Mode) -> int:
        """Compress `n` float32 values; the length in bytes that the library reports, which see `true_length`.

        values: 16-byte aligned. stream: 4-byte aligned, room for the longest stream of n values. n: above 0.
        """
        reported = ctypes.c_size_t(0)
        self._compress(values, stream, n, ctypes.byref(reported), *_settings(error_bound, mode))
        return reported.value

    def decompress(self, values: int, stream: int, n: int, stream_bytes: int, error_bound: float, mode: Mode) -> None:
        """Decode `n` values above 0; those of blocks that are all zero stay what they were. Alignment as above."""
        self._decompress(values, stream, n, stream_bytes, *_settings(error_bound, mode))


def from_environment() -> CuszpLibrary:
    """The library that the environment names, loaded once.

    Raises UnavailableError where it names none, or one that cannot be used.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        raise UnavailableError(
            f"{VARIABLE} is not set: build the original cuSZp v3 as a shared library and put the path of libcuSZp there"
        )
    return _loaded(path)


def reports_true_length(n: int) -> bool:
    """Whether the length that the library reports for `n` values counts the payload, whatever the values."""
    return n > _TILE_ELEMENTS and max_compressed_bytes(n) <= MOST_STREAM_BYTES


def true_length(metadata: NDArray[np.uint8], mode: Mode) -> int:
    """The length in bytes of the stream that starts with `metadata`, all of it: metadata_bytes(n) bytes."""
    rates = metadata.astype(np.int64)
    if mode != "outlier":
        return metadata.size + int(np.where(rates > 0, 4 + 4 * rates, 0).sum())
    flagged = rates >= 0x80
    rate, outlier_bytes = rates & 0x1F, np.where(flagged, (rates >> 5 & 3) + 1, 0)
    return metadata.size + int(np.where(flagged | (rate > 0), 4 + 4 * rate + outlier_bytes, 0).sum())


def _settings(error_bound: float, mode: Mode) -> tuple[float, int, _Dimensions, int, int, None]:
    return error_bound, _ONE_DIMENSION, _Dimensions(0, 0, 0), _FLOAT32, _MODES[mode], None


@cache
def _loaded(path: str) -> CuszpLibrary:
    return CuszpLibrary(path)
