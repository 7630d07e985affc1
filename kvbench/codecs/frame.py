"""Owns frames as bytes and `.cszp` files: an encoded tensor written down, and read back only if it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import xxhash

from kvbench.codecs import frame_header, payload_header
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import CHECKSUM_BYTES, FrameError, FrameHeader
from kvbench.codecs.nonfinite import NonFinite
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.payload_header import PayloadHeader
from kvbench.errors import UsageError
from kvbench.record.files import os_reason, replacing

__all__ = ["SUFFIX", "FrameError", "Stored", "from_bytes", "load", "save", "to_bytes"]

SUFFIX = ".cszp"

Buffer = bytes | bytearray | memoryview
Stored = EncodedTensor | EncodedPayload  # what a frame holds: of codec `cuszp` (version 1), of any codec (version 2)


def to_bytes(encoded: Stored) -> bytes:
    """The frame of an encoded tensor: `encoded.nbytes()` bytes, the same for the same tensor and codec."""
    return b"".join(_parts(encoded))


def from_bytes(buffer: Buffer) -> Stored:
    """The encoded tensor of one whole frame, laid out as `frame_header` or `payload_header` says.

    A writable buffer is not copied and must stay unchanged while the result is used.

    Raises:
        FrameError: the buffer is cut, altered, of another version, or says what no writer says.
    """
    view = memoryview(buffer).cast("B")
    version = frame_header.frame_version(view)
    if version == payload_header.VERSION:
        payload_header.check_length(view, len(view))
        _check_sum(view)
        described = payload_header.read_header(view)
        body, side = _sections(view, described)
        return EncodedPayload(described, body, side)
    if version not in (0, frame_header.VERSION):
        raise FrameError(f"frame version {version} cannot be read: this kvbench reads versions 1 and 2")
    raw = frame_header.split_header(view, len(view))
    _check_sum(view)
    header = frame_header.read_header(raw)
    body, side = _sections(view, header)
    return EncodedTensor(header, body, side)


def join(header: bytes, body: torch.Tensor) -> Stored:
    """The encoded tensor of a frame whose header and body are kept apart, on any device, without checksum.

    The opposite of `encoded.header.pack()` and `encoded.body`. Raises FrameError for a header that no writer makes for
    a body of that length, and for one that has non-finite values beside it.
    """
    view = memoryview(header)
    version, frame_bytes = frame_header.frame_version(view), len(header) + body.numel() + CHECKSUM_BYTES
    found: FrameHeader | PayloadHeader
    if version == payload_header.VERSION:
        payload_header.check_length(view, frame_bytes)
        found = payload_header.read_header(view)
    elif version == frame_header.VERSION:
        found = frame_header.read_header(frame_header.split_header(view, frame_bytes))
    else:
        raise FrameError(f"header of version {version} cannot be read: this kvbench reads versions 1 and 2")
    if found.side_form is not None or found.body_bytes != body.numel():
        raise FrameError("the header does not fit the bytes it stands beside")
    return EncodedTensor(found, body, None) if isinstance(found, FrameHeader) else EncodedPayload(found, body, None)


def save(path: Path, encoded: Stored) -> None:
    """Write the frame to `path`, replacing what is there only once all of it is written.

    Raises KvbenchError when the operating system refuses.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(_parts(encoded))


def load(path: Path) -> Stored:
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


def _parts(encoded: Stored) -> Iterator[bytes | memoryview]:
    """The frame in pieces, so that a large body is not copied on its way to a file."""
    checksum = xxhash.xxh3_64()
    parts: list[bytes | memoryview] = [encoded.header.pack(), encoded.body.cpu().numpy().data]
    if encoded.non_finite is not None:
        parts.append(encoded.non_finite.data.data)
    for part in parts:
        checksum.update(part)
        yield part
    yield checksum.intdigest().to_bytes(CHECKSUM_BYTES, "little")


def _check_sum(view: memoryview) -> None:
    found = int.from_bytes(view[-CHECKSUM_BYTES:], "little")
    if xxhash.xxh3_64_intdigest(view[:-CHECKSUM_BYTES]) != found:
        raise FrameError("frame is damaged: its checksum does not match its bytes")


def _sections(view: memoryview, header: FrameHeader | PayloadHeader) -> tuple[torch.Tensor, NonFinite | None]:
    """Body and side data, which share the buffer's memory where that can be written to."""
    memory = torch.frombuffer(bytearray(view) if view.readonly else view, dtype=torch.uint8)
    body_end = header.header_bytes + header.body_bytes
    body = memory[header.header_bytes : body_end]
    if header.side_form is None or header.non_finite_count is None:
        return body, None
    section = memory[body_end : body_end + header.side_bytes]
    side = NonFinite(header.side_form, header.elements, header.non_finite_count, header.dtype, section.numpy())
    fault = side.fault()
    if fault is not None:
        raise FrameError(f"frame is not usable: {fault}")
    return body, side
