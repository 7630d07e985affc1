"""Owns an independent codec of the cuSZp v3 stream in NumPy: slow, vectorised by plane, to check the compiled one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
TILE_BLOCKS = 1024


class BadStreamError(ValueError):
    """The bytes are not a stream of n elements in this mode."""


def block_count(n: int) -> int:
    return -(-n // BLOCK)


def metadata_bytes(n: int) -> int:
    return -(-block_count(n) // TILE_BLOCKS) * TILE_BLOCKS


def quantise(values: NDArray[np.float32], error_bound: float) -> NDArray[np.int32]:
    """Whole quanta of 2 * error_bound; every step a float32 operation."""
    with np.errstate(all="ignore"):
        r = values * (np.float32(0.5) / np.float32(error_bound))
        t = r + np.float32(0.5)
        whole = np.nan_to_num(np.trunc(t.astype(np.float64)), nan=0.0, posinf=2.0**31, neginf=-(2.0**31))
        c = np.clip(whole, -(2.0**31), 2.0**31 - 1).astype(np.int64)
        return _wrap(c - np.where(r >= np.float32(-0.5), 0, 1))


def _wrap(values: NDArray[np.int64]) -> NDArray[np.int32]:
    return values.astype(np.uint64).astype(np.uint32).view(np.int32)


def _bits(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of each non-negative number below 2^31; 0 for 0."""
    return np.where(values > 0, np.frexp(values.astype(np.float64))[1], 0).astype(np.int64)


def encode(values: NDArray[np.float32], error_bound: float, mode: str) -> bytes:
    """The stream of a flat float32 array."""
    n, blocks = values.size, block_count(values.size)
    q = np.zeros(blocks * BLOCK, np.int64)
    q[:n] = quantise(values, error_bound)
    d = q.reshape(blocks, BLOCK)
    if mode != "fixed":
        d = np.diff(d, axis=1, prepend=0)
    d = _wrap(d).astype(np.int64)
    d.reshape(-1)[n:] = 0
    sign, magnitude = d < 0, np.abs(d)
    visible = np.where(magnitude == 2**31, 0, magnitude)

    rate = _bits(visible.max(axis=1, initial=0))
    metadata, first = rate.copy(), np.zeros(blocks, np.int64)
    if mode == "outlier":
        rate_rest = _bits(visible[:, 1:].max(axis=1, initial=0))
        first_bytes = -(-_bits(visible[:, 0]) // 8)
        flagged = np.where(rate > 0, 4 + 4 * rate, 0) > 4 + 4 * rate_rest + first_bytes
        metadata = np.where(flagged, 0x80 | (first_bytes - 1) << 5 | rate_rest, rate)
        rate, first = np.where(flagged, rate_rest, rate), np.where(flagged, first_bytes, 0)
    records = np.zeros((blocks, 4 + 4 + 4 * 31), np.uint8)
    records[:, :4] = magnitude[:, :1].astype("<u4").view(np.uint8)
    planes = magnitude.copy()
    planes[first > 0, 0] = 0
    records[:, 4:8] = np.packbits(sign, axis=1)
    for k in range(31):
        records[:, 8 + 4 * k : 12 + 4 * k] = np.packbits((planes >> k & 1).astype(bool), axis=1)
    kept = _kept(metadata, rate, first)
    head = np.zeros(metadata_bytes(n), np.uint8)
    head[:blocks] = metadata
    return head.tobytes() + records[kept].tobytes()


def _kept(metadata: NDArray[np.int64], rate: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the 132 bytes [first magnitude, signs, planes] of each block its record holds."""
    column = np.arange(4 + 4 + 4 * 31)[None, :]
    in_first = column < first[:, None]
    in_rest = (column >= 4) & (column < 8 + 4 * rate[:, None])
    return (in_first | in_rest) & (metadata != 0)[:, None]


def decode(stream: bytes, n: int, error_bound: float, mode: str) -> NDArray[np.float32]:
    """The float32 values of a stream; BadStreamError where a careful decoder must refuse."""
    blocks, data = block_count(n), np.frombuffer(stream, np.uint8)
    if data.size < metadata_bytes(n):
        raise BadStreamError
    metadata = data[:blocks].astype(np.int64)
    flagged = (metadata & 0x80 != 0) if mode == "outlier" else np.zeros(blocks, bool)
    if data[blocks : metadata_bytes(n)].any() or (metadata[~flagged] > 31).any():
        raise BadStreamError
    rate = metadata & 31
    first = np.where(flagged, (metadata >> 5 & 3) + 1, 0)
    kept = _kept(metadata, rate, first)
    if kept.sum() != data.size - metadata_bytes(n):
        raise BadStreamError
    records = np.zeros(kept.shape, np.uint8)
    records[kept] = data[metadata_bytes(n) :]

    sign = np.unpackbits(records[:, 4:8], axis=1).astype(bool)
    magnitude = np.zeros((blocks, BLOCK), np.int64)
    for k in range(31):
        magnitude |= np.unpackbits(records[:, 8 + 4 * k : 12 + 4 * k], axis=1).astype(np.int64) << k
    apart = np.ascontiguousarray(records[:, :4]).view("<u4")[:, 0].astype(np.int64)
    magnitude[flagged, 0] = apart[flagged]
    d = np.where(sign, -magnitude, magnitude)
    q = _wrap(d if mode == "fixed" else np.cumsum(d, axis=1))
    with np.errstate(over="ignore", under="ignore"):
        values = q.astype(np.float32) * np.float32(error_bound) * np.float32(2)
    return values.reshape(-1)[:n]
