"""Owns the head of a version 1 frame, a cuSZp one: its fields, their bytes, and every check that needs no data.

All numbers are little-endian.

    offset        bytes  what
    0             4      magic: 8F 43 5A 50 (0x8F, "CZP")
    4             1      version: 1
    5             1      frame type: 1 one tensor
    6             1      dtype: 0 float32, 1 bfloat16, 2 float16
    7             1      layout: 0 flat, 1 thd, 2 htd, 3 hdt
    8             1      mode: 0 fixed, 1 plain, 2 outlier
    9             1      bound kind: 0 abs, 1 rel, 2 std
    10            1      bound policy: 0 strict, 1 compatible
    11            1      d, number of dimensions: 0 to 8
    12            1      s, number of sections: 1 or 2
    13            8      bound asked for, float64
    21            8      effective absolute bound, float64; inf: undefined, the range overflows float32
    29            4      bound the quantiser ran with, float32; 0: nothing was quantised
    33            8      non-finite values in the tensor, u64
    41            8 d    shape, u64 each
    41 + 8 d      9 s    sections: kind u8, length u64
    41 + 8 d + 9 s       the sections' bytes, in that order
    end - 8       8      xxh3_64 of all bytes before it

Section 1 is the body: 1 a cuSZp stream, 2 the raw elements, 3 one element (a constant tensor). Section 2 is there
where the tensor holds non-finite values and the body is not raw: 4 a list of them, 5 a bitmap (nonfinite.py).
The flags `stored_raw`, `constant` and `non_finite` follow from these fields, so they are not stored again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from kvbench.bound import BOUND_KINDS, Bound, BoundPolicy
from kvbench.codecs.nonfinite import SideForm, side_bytes, side_form
from kvbench.config import Mode
from kvbench.cuszp import max_compressed_bytes, metadata_bytes
from kvbench.errors import KvbenchError
from kvbench.geometry import DTYPE_BYTES, DType
from kvbench.record.schema import SourceLayout

MAGIC = b"\x8fCZP"
VERSION = 1
CHECKSUM_BYTES = 8
MAX_DIMENSIONS = 8
# A constant tensor's size is backed by no bytes, so a few altered ones could ask for any amount of memory.
MAX_CONSTANT_ELEMENTS = 1 << 32

BodyKind = Literal["stream", "raw", "constant"]
T = TypeVar("T")

_FIXED = struct.Struct("<4s9BddfQ")
SECTION = struct.Struct("<BQ")
_TENSOR_FRAME = 1
DTYPES: tuple[DType, ...] = ("float32", "bfloat16", "float16")
LAYOUTS: tuple[SourceLayout, ...] = ("flat", "thd", "htd", "hdt")
_MODES: tuple[Mode, ...] = ("fixed", "plain", "outlier")
_POLICIES: tuple[BoundPolicy, ...] = ("strict", "compatible")
_BODY_SECTIONS: dict[int, BodyKind] = {1: "stream", 2: "raw", 3: "constant"}
SIDE_SECTIONS: dict[int, SideForm] = {4: "list", 5: "bitmap"}
_BODY_CODES: dict[BodyKind, int] = {kind: code for code, kind in _BODY_SECTIONS.items()}
_SIDE_CODES: dict[SideForm, int] = {form: code for code, form in SIDE_SECTIONS.items()}
MAX_BYTES = 1 << 62


class FrameError(KvbenchError, ValueError):
    """Bytes that are not a frame this version can decode; the text says why."""


def side_section_bytes(elements: int, count: int, dtype: DType) -> int:
    """What `count` non-finite values add to a frame whose body is not raw; 0 for none."""
    if count == 0:
        return 0
    return SECTION.size + side_bytes(side_form(elements, count), elements, count, dtype)


@dataclass(frozen=True)
class FrameHeader:
    """The fields of a frame, checked. `shape` is the tensor's in `layout`; bounds are absolute but for `bound`."""

    dtype: DType
    shape: tuple[int, ...]
    layout: SourceLayout
    mode: Mode
    bound: Bound
    bound_policy: BoundPolicy
    effective_error_bound: float | None  # None: undefined, the range overflows float32
    quantizer_error_bound: float | None  # None: nothing was quantised
    non_finite_count: int
    body_kind: BodyKind
    body_bytes: int
    side_form: SideForm | None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def side_bytes(self) -> int:
        """Bytes of the section of non-finite values; 0 without one."""
        if self.side_form is None:
            return 0
        return side_bytes(self.side_form, self.elements, self.non_finite_count, self.dtype)

    @property
    def header_bytes(self) -> int:
        sections = 1 if self.side_form is None else 2
        return _FIXED.size + 8 * len(self.shape) + SECTION.size * sections

    @property
    def frame_bytes(self) -> int:
        """The whole frame, checksum included."""
        return self.header_bytes + self.body_bytes + self.side_bytes + CHECKSUM_BYTES

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `stored_raw`, `constant`, `non_finite`."""
        kinds = {"stream": (), "raw": ("stored_raw",), "constant": ("constant",)}
        return kinds[self.body_kind] + (("non_finite",) if self.non_finite_count else ())

    def pack(self) -> bytes:
        """The header's bytes."""
        sections = [SECTION.pack(_BODY_CODES[self.body_kind], self.body_bytes)]
        if self.side_form is not None:
            sections.append(SECTION.pack(_SIDE_CODES[self.side_form], self.side_bytes))
        fixed = _FIXED.pack(
            MAGIC,
            VERSION,
            _TENSOR_FRAME,
            DTYPES.index(self.dtype),
            LAYOUTS.index(self.layout),
            _MODES.index(self.mode),
            BOUND_KINDS.index(self.bound.kind),
            _POLICIES.index(self.bound_policy),
            len(self.shape),
            len(sections),
            self.bound.value,
            math.inf if self.effective_error_bound is None else self.effective_error_bound,
            self.quantizer_error_bound or 0.0,
            self.non_finite_count,
        )
        return fixed + struct.pack(f"<{len(self.shape)}Q", *self.shape) + b"".join(sections)


class RawHeader(NamedTuple):
    """A header taken apart but not understood: its lengths agree with the buffer's, nothing else is checked."""

    codes: tuple[int, ...]  # frame type, dtype, layout, mode, bound kind, bound policy
    bounds: tuple[float, float, float]  # asked, effective, quantiser
    non_finite_count: int
    shape: tuple[int, ...]
    sections: tuple[tuple[int, int], ...]  # (kind, length)
    header_bytes: int


def frame_version(frame: memoryview) -> int:
    """The version that a buffer says; 0 where it ends before. Raises FrameError for what is no frame."""
    if bytes(frame[:4]) != MAGIC[: len(frame)] or not frame:
        raise FrameError(f"not a kvbench frame: it starts with {bytes(frame[:4])!r}, not {MAGIC!r}")
    return frame[4] if len(frame) > len(MAGIC) else 0


def split_header(frame: memoryview, frame_bytes: int) -> RawHeader:
    """Take the header of a frame that says version 1 apart; of `frame` only the header is looked at.

    Raises FrameError unless the frame has `frame_bytes` bytes, checksum included.
    """
    need(frame, _FIXED.size)
    _, _, *codes, dimensions, section_count, asked, effective, quantizer, non_finite_count = _FIXED.unpack_from(frame)
    if dimensions > MAX_DIMENSIONS:
        raise FrameError(f"frame of {dimensions} dimensions: at most {MAX_DIMENSIONS} can be read")
    if section_count not in (1, 2):
        raise FrameError(f"frame of {section_count} sections: version {VERSION} has 1 or 2")
    sections_at = _FIXED.size + 8 * dimensions
    header_bytes = sections_at + SECTION.size * section_count
    need(frame, header_bytes)
    shape = struct.unpack_from(f"<{dimensions}Q", frame, _FIXED.size)
    sections = tuple(SECTION.iter_unpack(frame[sections_at:header_bytes]))
    total = header_bytes + sum(length for _, length in sections) + CHECKSUM_BYTES
    require_bytes(frame_bytes, total)
    return RawHeader(tuple(codes), (asked, effective, quantizer), non_finite_count, shape, sections, header_bytes)


def read_header(raw: RawHeader) -> FrameHeader:
    """The fields of a header whose checksum held. Raises FrameError for one that no version 1 writer makes."""
    frame_type, dtype, layout, mode, bound_kind, policy = raw.codes
    if frame_type != _TENSOR_FRAME:
        raise FrameError(f"unknown frame type {frame_type}")
    asked, effective, quantizer = raw.bounds
    if not (math.isfinite(asked) and asked > 0 and effective >= 0 and math.isfinite(quantizer) and quantizer >= 0):
        raise FrameError(f"frame with impossible error bounds {asked}, {effective}, {quantizer}")
    body_code, body_bytes = raw.sections[0]
    header = FrameHeader(
        dtype=known("dtype", dtype, DTYPES),
        shape=raw.shape,
        layout=known("layout", layout, LAYOUTS),
        mode=known("mode", mode, _MODES),
        bound=Bound(kind=known("bound kind", bound_kind, BOUND_KINDS), value=asked),
        bound_policy=known("bound policy", policy, _POLICIES),
        effective_error_bound=None if math.isinf(effective) else effective,
        quantizer_error_bound=quantizer or None,
        non_finite_count=raw.non_finite_count,
        body_kind=section(body_code, _BODY_SECTIONS, VERSION),
        body_bytes=body_bytes,
        side_form=section(raw.sections[1][0], SIDE_SECTIONS, VERSION) if len(raw.sections) == 2 else None,
    )
    _check_sizes(header, raw)
    return header


def _check_sizes(header: FrameHeader, raw: RawHeader) -> None:
    n, size = header.elements, DTYPE_BYTES[header.dtype]
    if n * size > MAX_BYTES:
        raise FrameError(f"frame of shape {header.shape}: more bytes than any memory holds")
    if header.layout != "flat" and len(header.shape) != 3:
        raise FrameError(f"layout {header.layout} needs 3 dimensions, the frame has {len(header.shape)}")
    if header.body_kind == "stream":
        low, high = metadata_bytes(n), max_compressed_bytes(n)
    elif header.body_kind == "raw":
        low = high = n * size
    else:
        low = high = size
        if not 0 < n <= MAX_CONSTANT_ELEMENTS:
            raise FrameError(f"constant frame of shape {header.shape}: 1 to {MAX_CONSTANT_ELEMENTS} elements allowed")
    if not low <= header.body_bytes <= high:
        raise FrameError(
            f"{header.body_kind} of {header.body_bytes} bytes does not fit shape {header.shape}: {low} to {high} bytes"
        )
    if (header.quantizer_error_bound is not None) != (header.body_kind == "stream"):
        raise FrameError(f"frame with a {header.body_kind} body and quantiser bound {header.quantizer_error_bound}")
    wanted = header.non_finite_count > 0 and header.body_kind != "raw"
    if header.non_finite_count > n or (header.side_form is not None) != wanted:
        raise FrameError(f"frame with {header.non_finite_count} non-finite values of {n} lacks or repeats their list")
    if header.side_form is not None and raw.sections[1][1] != header.side_bytes:
        raise FrameError(
            f"{header.side_form} of {header.non_finite_count} non-finite values takes {header.side_bytes} bytes, "
            f"not {raw.sections[1][1]}"
        )


def need(frame: memoryview, length: int) -> None:
    """Raises FrameError for a buffer shorter than that."""
    if len(frame) < length:
        raise FrameError(f"frame is cut short: {len(frame)} bytes of at least {length}")


def require_bytes(found: int, wanted: int) -> None:
    """Raises FrameError unless a frame of `wanted` bytes has just as many."""
    if found < wanted:
        raise FrameError(f"frame is cut short: {found} bytes of at least {wanted}")
    if found > wanted:
        raise FrameError(f"frame has {found - wanted} bytes left over after its {wanted}")


def known(field: str, code: int, names: tuple[T, ...]) -> T:
    """What a code stands for. Raises FrameError for one that stands for nothing."""
    if code >= len(names):
        raise FrameError(f"unknown {field} code {code}; known: {', '.join(str(name) for name in names)}")
    return names[code]


def section(code: int, kinds: Mapping[int, T], version: int) -> T:
    """The kind of a section. Raises FrameError where this version has no such section in that place."""
    if code not in kinds:
        raise FrameError(f"unknown section {code} where one of {sorted(kinds)} stands in version {version}")
    return kinds[code]
