"""Owns the head of a version 2 frame: a tensor coded by any codec, which the frame names with its parameters.

All numbers are little-endian.

    offset                bytes  what
    0                     4      magic: 8F 43 5A 50 (0x8F, "CZP")
    4                     1      version: 2
    5                     1      frame type: 1 one tensor
    6                     1      dtype: 0 float32, 1 bfloat16, 2 float16
    7                     1      layout: 0 flat, 1 thd, 2 htd, 3 hdt
    8                     1      d, number of dimensions: 0 to 8
    9                     1      s, number of sections: 1 or 2
    10                    2      t, bytes of the description, u16
    12                    8      non-finite values in the tensor, u64; 2^64 - 1: not counted, the body holds them
    20                    8 d    shape, u64 each
    20 + 8 d              9 s    sections: kind u8, length u64
    20 + 8 d + 9 s        t      description: UTF-8 JSON, see `Description`
    20 + 8 d + 9 s + t           the sections' bytes, in that order
    end - 8               8      xxh3_64 of all bytes before it

Section 1 is the body: 6 the codec's payload, 2 the raw elements, 3 one element (a constant tensor). Section 2 is there
where the codec keeps non-finite values apart: 4 a list of them, 5 a bitmap (nonfinite.py).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kvbench.bound import Bound
from kvbench.codecs.frame_header import (
    CHECKSUM_BYTES,
    DTYPES,
    LAYOUTS,
    MAGIC,
    MAX_BYTES,
    MAX_CONSTANT_ELEMENTS,
    MAX_DIMENSIONS,
    SECTION,
    SIDE_SECTIONS,
    FrameError,
    known,
    need,
    require_bytes,
    section,
)
from kvbench.codecs.nonfinite import SideForm, side_bytes
from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType
from kvbench.record.schema import SourceLayout

VERSION = 2
PayloadKind = Literal["payload", "raw", "constant"]

_FIXED = struct.Struct("<4s6BHQ")
_TENSOR_FRAME = 1
_NOT_COUNTED = (1 << 64) - 1
_MAX_DESCRIPTION_BYTES = (1 << 16) - 1
_BODY_SECTIONS: dict[int, PayloadKind] = {6: "payload", 2: "raw", 3: "constant"}
_BODY_CODES = {kind: code for code, kind in _BODY_SECTIONS.items()}
_SIDE_CODES = {form: code for code, form in SIDE_SECTIONS.items()}


class Description(BaseModel):
    """What the frame says of its codec: enough to make it again and to tell what was asked of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str
    params: dict[str, Any] = Field(default_factory=dict)
    bound: Bound | None = None
    effective_error_bound: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    def pack(self) -> bytes:
        """Compact JSON with sorted keys, so that the same codec always gives the same bytes."""
        return json.dumps(self.model_dump(exclude_none=True), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def read(cls, text: bytes) -> Description:
        """The description of a frame. Raises FrameError for text that no writer makes."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "as a whole"
            raise FrameError(f"frame with an unusable description, {place}: {first['msg']}") from None
        if found.pack() != text:
            raise FrameError("frame with an unusable description: it is not written as kvbench writes it")
        return found


@dataclass(frozen=True)
class PayloadHeader:
    """The fields of a version 2 frame, checked. `shape` is the tensor's in `layout`."""

    description: Description
    dtype: DType
    shape: tuple[int, ...]
    layout: SourceLayout
    non_finite_count: int | None  # None: not counted, the body holds every value exactly
    body_kind: PayloadKind
    body_bytes: int
    side_form: SideForm | None

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_DIMENSIONS:
            raise UsageError(
                f"a tensor of {len(self.shape)} dimensions: codec {self.description.codec!r} takes at most "
                f"{MAX_DIMENSIONS}"
            )

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def side_bytes(self) -> int:
        """Bytes of the section of non-finite values; 0 without one."""
        if self.side_form is None or self.non_finite_count is None:
            return 0
        return side_bytes(self.side_form, self.elements, self.non_finite_count, self.dtype)

    @property
    def header_bytes(self) -> int:
        sections = 1 if self.side_form is None else 2
        return _FIXED.size + 8 * len(self.shape) + SECTION.size * sections + len(self.description.pack())

    @property
    def frame_bytes(self) -> int:
        """The whole frame, checksum included."""
        return self.header_bytes + self.body_bytes + self.side_bytes + CHECKSUM_BYTES

    def pack(self) -> bytes:
        """The header's bytes. Raises UsageError for codec parameters of more than 65535 bytes."""
        sections = [SECTION.pack(_BODY_CODES[self.body_kind], self.body_bytes)]
        if self.side_form is not None:
            sections.append(SECTION.pack(_SIDE_CODES[self.side_form], self.side_bytes))
        text = self.description.pack()
        if len(text) > _MAX_DESCRIPTION_BYTES:
            raise UsageError(f"the parameters of codec {self.description.codec!r} take {len(text)} bytes in a frame")
        fixed = _FIXED.pack(
            MAGIC,
            VERSION,
            _TENSOR_FRAME,
            DTYPES.index(self.dtype),
            LAYOUTS.index(self.layout),
            len(self.shape),
            len(sections),
            len(text),
            _NOT_COUNTED if self.non_finite_count is None else self.non_finite_count,
        )
        return fixed + struct.pack(f"<{len(self.shape)}Q", *self.shape) + b"".join(sections) + text


def check_length(frame: memoryview, frame_bytes: int) -> None:
    """Raises FrameError unless a frame of version 2 has the length its header asks for, checksum included.

    Of `frame` only the header is looked at.
    """
    need(frame, _FIXED.size)
    dimensions, section_count, text_bytes = frame[8], frame[9], int.from_bytes(frame[10:12], "little")
    if dimensions > MAX_DIMENSIONS:
        raise FrameError(f"frame of {dimensions} dimensions: at most {MAX_DIMENSIONS} can be read")
    if section_count not in (1, 2):
        raise FrameError(f"frame of {section_count} sections: version {VERSION} has 1 or 2")
    sections_at = _FIXED.size + 8 * dimensions
    text_at = sections_at + SECTION.size * section_count
    need(frame, text_at)
    sections = SECTION.iter_unpack(frame[sections_at:text_at])
    total = text_at + text_bytes + sum(length for _, length in sections) + CHECKSUM_BYTES
    require_bytes(frame_bytes, total)


def read_header(frame: memoryview) -> PayloadHeader:
    """The fields of a frame whose length and checksum hold. Raises FrameError for one that no writer makes."""
    _, _, frame_type, dtype, layout, dimensions, section_count, text_bytes, count = _FIXED.unpack_from(frame)
    if frame_type != _TENSOR_FRAME:
        raise FrameError(f"unknown frame type {frame_type}")
    sections_at = _FIXED.size + 8 * dimensions
    text_at = sections_at + SECTION.size * section_count
    sections = list(SECTION.iter_unpack(frame[sections_at:text_at]))
    header = PayloadHeader(
        description=Description.read(bytes(frame[text_at : text_at + text_bytes])),
        dtype=known("dtype", dtype, DTYPES),
        shape=struct.unpack_from(f"<{dimensions}Q", frame, _FIXED.size),
        layout=known("layout", layout, LAYOUTS),
        non_finite_count=None if count == _NOT_COUNTED else count,
        body_kind=section(sections[0][0], _BODY_SECTIONS, VERSION),
        body_bytes=sections[0][1],
        side_form=section(sections[1][0], SIDE_SECTIONS, VERSION) if section_count == 2 else None,
    )
    _check_sizes(header, sections[-1][1])
    return header


def _check_sizes(header: PayloadHeader, last_section_bytes: int) -> None:
    n, size, count = header.elements, DTYPE_BYTES[header.dtype], header.non_finite_count
    if n * size > MAX_BYTES:
        raise FrameError(f"frame of shape {header.shape}: more bytes than any memory holds")
    if header.layout != "flat" and len(header.shape) != 3:
        raise FrameError(f"layout {header.layout} needs 3 dimensions, the frame has {len(header.shape)}")
    expected = {"raw": n * size, "constant": size, "payload": header.body_bytes}[header.body_kind]
    if header.body_bytes != expected:
        raise FrameError(
            f"{header.body_kind} of {header.body_bytes} bytes does not fit shape {header.shape}: {expected} bytes"
        )
    if header.body_kind == "constant" and not 0 < n <= MAX_CONSTANT_ELEMENTS:
        raise FrameError(f"constant frame of shape {header.shape}: 1 to {MAX_CONSTANT_ELEMENTS} elements allowed")
    wanted = bool(count) and header.body_kind != "raw"
    if (count or 0) > n or (header.side_form is not None) != wanted:
        raise FrameError(f"frame with {count} non-finite values of {n} lacks or repeats their list")
    if wanted and last_section_bytes != header.side_bytes:
        raise FrameError(
            f"{header.side_form} of {count} non-finite values takes {header.side_bytes} bytes, not {last_section_bytes}"
        )
