"""Owns the codec `lossless`: Zstandard or LZ4 behind a shuffle of bytes or bits, by Blosc."""

from __future__ import annotations

import os
import struct
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from kvbench.codecs.byte_codec import ByteCodec
from kvbench.codecs.dependency import import_problem
from kvbench.codecs.frame_header import FrameError
from kvbench.config import Whole

# Blosc takes at most 2^31 bytes at once; one chunk of so many, a multiple of every element size, after the other.
CHUNK_BYTES = 1 << 28
# Each chunk begins with 4 bytes of versions and flags, then its decoded, block and own length, u32 each.
_CHUNK = struct.Struct("<4x3I")


class Lossless(ByteCodec):
    """Blosc: the bytes (or bits) of the elements sorted by their place in the element, then compressed in blocks.

    The payload is one Blosc 1 chunk for every 2^28 bytes. `threads` 0 means one a core.
    """

    name: ClassVar[str] = "lossless"
    summary: ClassVar[str] = "Zstandard or LZ4 after a byte or bit shuffle (Blosc)"
    axes: ClassVar[frozenset[str]] = frozenset({"threads"})

    algorithm: Literal["zstd", "lz4"] = "zstd"
    shuffle: Literal["none", "byte", "bit"] = "byte"
    level: Whole = Field(default=1, ge=1, le=9, description="of Blosc: 9 is the smallest and slowest")
    threads: Whole = Field(default=0, ge=0, description="CPU threads; 0 means one a core")

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why tensors on `device` cannot be coded here, or None."""
        if device == "cuda":
            return "Blosc runs on the CPU only"
        return import_problem("numcodecs.blosc", "numcodecs", None)

    def squeeze(self, raw: torch.Tensor, item_bytes: int, out: torch.Tensor) -> int | None:
        """Chunk after chunk; None once they take more room than `out` has."""
        blosc = _blosc(self.threads)
        shuffle = {"none": blosc.NOSHUFFLE, "byte": blosc.SHUFFLE, "bit": blosc.BITSHUFFLE}[self.shuffle]
        source, target, at = raw.numpy(), out.numpy(), 0
        for first in range(0, source.size, CHUNK_BYTES):
            piece = source[first : first + CHUNK_BYTES]
            chunk = blosc.compress(piece, self.algorithm.encode(), self.level, shuffle, typesize=item_bytes)
            if at + len(chunk) > target.size:
                return None
            target[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
        return at

    def expand(self, payload: torch.Tensor, item_bytes: int, out: torch.Tensor) -> None:
        """Chunk after chunk, each straight into its place."""
        blosc = _blosc(self.threads)
        source, target, at = payload.numpy(), out.numpy(), 0
        for first in range(0, target.size, CHUNK_BYTES):
            piece = target[first : first + CHUNK_BYTES]
            length = _chunk_bytes(source[at:], piece.size)
            try:
                blosc.decompress(source[at : at + length], piece)
            except RuntimeError as error:
                raise FrameError(f"the Blosc chunk at byte {at} cannot be decoded: {error}") from error
            at += length
        if at != source.size:
            raise FrameError(f"{source.size - at} bytes are left over after the last Blosc chunk")


def _chunk_bytes(source: NDArray[np.uint8], decoded_bytes: int) -> int:
    """The length of the chunk that `source` begins with. Raises FrameError unless it decodes to so many bytes."""
    if source.size < _CHUNK.size:
        raise FrameError("a Blosc chunk is missing or cut short")
    decoded, _, length = _CHUNK.unpack(source[: _CHUNK.size].tobytes())
    if decoded != decoded_bytes or not _CHUNK.size <= length <= source.size:
        raise FrameError(
            f"a Blosc chunk of {length} bytes that decodes to {decoded} stands where one of {decoded_bytes} is due"
        )
    return int(length)


def _blosc(threads: int) -> Any:
    """The library, set to so many threads: a setting of the whole process, quick where it stays the same."""
    from numcodecs import blosc

    blosc.set_nthreads(min(threads or len(os.sched_getaffinity(0)), blosc.MAX_THREADS))
    return blosc
