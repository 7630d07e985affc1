"""Owns frames as bytes and `.cszp` files: an encoded tensor written down, and read back only if it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import xxhash

from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import CHECKSUM_BYTES, FrameError, FrameHeader, read_header, split_header
from kvbench.codecs.nonfinite import NonFinite
from kvbench.errors import UsageError
from kvbench.record.files import os_reason, replacing

__all__ = ["SUFFIX", "FrameError", "from_bytes", "load", "save", "to_bytes"]

SUFFIX = ".cszp"

Buffer = bytes | bytearray | memoryview


def to_bytes(encoded: EncodedTensor) -> bytes:
    """The frame of an encoded tensor: `encoded.nbytes()` bytes, the same for the same tensor and codec."""
    return b"".join(_parts(encoded))


def from_bytes(buffer: Buffer) -> EncodedTensor:
    """The encoded tensor of one whole frame, laid out as `kvbench.codecs.frame_header` says.

    A writable buffer is not copied and must stay unchanged while the result is used.

    Raises:
        FrameError: the buffer is cut, altered, of another version, or says what no writer says.
    """
    view = memoryview(buffer).cast("B")
    raw = split_header(view)
    found = int.from_bytes(view[-CHECKSUM_BYTES:], "little")
    if xxhash.xxh3_64_intdigest(view[:-CHECKSUM_BYTES]) != found:
        raise FrameError("frame is damaged: its checksum does not match its bytes")
    header = read_header(raw)
    memory = torch.frombuffer(bytearray(view) if view.readonly else view, dtype=torch.uint8)
    body_end = raw.header_bytes + header.body_bytes
    side = _read_side(header, memory[body_end : body_end + header.side_bytes])
    return EncodedTensor(header, memory[raw.header_bytes : body_end], side)


def save(path: Path, encoded: EncodedTensor) -> None:
    """Write the frame to `path`, replacing what is there only once all of it is written.

    Raises KvbenchError when the operating system refuses.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(_parts(encoded))


def load(path: Path) -> EncodedTensor:
    """Read a `.cszp` file. Raises UsageError when it cannot be read, FrameError when it is not a whole frame."""
    try:
        with path.open("rb") as file:
            memory = bytearray(os.fstat(file.fileno()).st_size)
            length = file.readinto(memory)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os_reason(error)}") from error
    try:
        return from_bytes(memoryview(memory)[:length])
    except FrameError as error:
        raise FrameError(f"{path}: {error}") from None


def _parts(encoded: EncodedTensor) -> Iterator[bytes | memoryview]:
    """The frame in pieces, so that a large body is not copied on its way to a file."""
    checksum = xxhash.xxh3_64()
    parts: list[bytes | memoryview] = [encoded.header.pack(), encoded.body.cpu().numpy().data]
    if encoded.non_finite is not None:
        parts.append(encoded.non_finite.data.data)
    for part in parts:
        checksum.update(part)
        yield part
    yield checksum.intdigest().to_bytes(CHECKSUM_BYTES, "little")


def _read_side(header: FrameHeader, section: torch.Tensor) -> NonFinite | None:
    if header.side_form is None:
        return None
    side = NonFinite(header.side_form, header.elements, header.non_finite_count, header.dtype, section.numpy())
    fault = side.fault()
    if fault is not None:
        raise FrameError(f"frame is not usable: {fault}")
    return side
