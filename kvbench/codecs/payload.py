"""Owns what every codec but `cuszp` and `raw` gives back for one tensor, and the steps of coding they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kvbench.codecs.elements import (
    TORCH_DTYPES,
    as_bytes,
    copy_bytes,
    dtype_name,
    fill_from_bytes,
    flat,
    float32_piece,
)
from kvbench.codecs.frame_header import side_section_bytes
from kvbench.codecs.nonfinite import NonFinite, side_form
from kvbench.codecs.payload_header import Description, PayloadHeader, PayloadKind

if TYPE_CHECKING:
    from kvbench.bound import Bound
    from kvbench.codecs.base import Codec, Encoded
    from kvbench.tensors.base import KVView


@dataclass(frozen=True)
class EncodedPayload:
    """One encoded tensor, ready to be decoded, or written as a frame by `kvbench.codecs.frame`.

    `body` is uint8 [header.body_bytes]: the codec's payload, the raw elements, or one element, as header.body_kind
    says. It may be a view of memory the caller owns and is valid as long as that is unchanged.
    """

    header: PayloadHeader
    body: torch.Tensor
    non_finite: NonFinite | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape in its layout."""
        return self.header.shape

    @property
    def stream_bytes(self) -> int:
        """Bytes of the payload, scales and other side data of the codec included, or of what stands in its place."""
        return self.header.body_bytes

    @property
    def effective_error_bound(self) -> float | None:
        """The absolute bound asked of every value; None for a codec without one or where the range overflows."""
        return self.header.description.effective_error_bound

    @property
    def quantizer_error_bound(self) -> float | None:
        """None: what a codec quantises with is its own affair."""
        return None

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `stored_raw`, `constant`, `non_finite`."""
        kinds = {"payload": (), "raw": ("stored_raw",), "constant": ("constant",)}
        return kinds[self.header.body_kind] + (("non_finite",) if self.non_finite_count else ())

    @property
    def non_finite_count(self) -> int:
        """NaN and infinities; counted by decoding when asked for where the codec had no need to look at values."""
        if self.header.non_finite_count is not None:
            return self.header.non_finite_count
        from kvbench.codecs.stored import codec_of

        chunks = codec_of(self).float32_chunks(self, self.shape)
        return sum(values.numel() - int(torch.isfinite(values).sum()) for _, values in chunks)

    def nbytes(self) -> int:
        """The exact size of this tensor's frame, checksum included."""
        return self.header.frame_bytes


def describe(codec: Codec, bound: Bound | None = None, effective: float | None = None) -> Description:
    """What a frame says of a codec; `threads` is no property of what it stores."""
    params = codec.model_dump(mode="json", exclude={"threads"})
    return Description(codec=codec.name, params=params, bound=bound, effective_error_bound=effective)


def header_for(
    view: KVView,
    description: Description,
    body_kind: PayloadKind,
    body_bytes: int,
    non_finite_count: int | None,
) -> PayloadHeader:
    """The header of a view's frame. Raises UsageError for a tensor of too many dimensions."""
    elements = view.tensor.numel()
    sided = bool(non_finite_count) and body_kind != "raw"
    return PayloadHeader(
        description=description,
        dtype=dtype_name(view.tensor.dtype),
        shape=tuple(view.tensor.shape),
        layout=view.layout,
        non_finite_count=non_finite_count,
        body_kind=body_kind,
        body_bytes=body_bytes,
        side_form=side_form(elements, non_finite_count) if sided and non_finite_count else None,
    )


def own_payload(codec: Codec, encoded: Encoded) -> EncodedPayload:
    """`encoded`, if a codec of this name made it. Raises TypeError where not."""
    if not isinstance(encoded, EncodedPayload) or encoded.header.description.codec != codec.name:
        made_by = "" if not isinstance(encoded, EncodedPayload) else f" of codec {encoded.header.description.codec!r}"
        raise TypeError(f"codec {codec.name!r} cannot decode a {type(encoded).__name__}{made_by}")
    return encoded


def write_raw(view: KVView, out: torch.Tensor, description: Description, count: int | None) -> EncodedPayload:
    """The raw elements at the front of `out`, for a tensor that its codec would make larger or cannot code."""
    values = as_bytes(view.tensor)
    body = out[: values.numel()]
    copy_bytes(body, values)
    return EncodedPayload(header_for(view, description, "raw", values.numel(), count), body, None)


def shorter(
    view: KVView, out: torch.Tensor, description: Description, kind: PayloadKind, size: int, count: int
) -> EncodedPayload:
    """What stands in `out` as a payload, or a constant, or raw where that makes a shorter frame."""
    values = flat(view.tensor)
    header = header_for(view, description, kind, size, count)
    if size + side_section_bytes(values.numel(), count, header.dtype) > values.numel() * values.element_size():
        return write_raw(view, out, description, count)
    side = NonFinite.collect(values, count, header.dtype) if header.side_form is not None else None
    if kind == "constant":
        at = 0 if side is None else side.first_finite()
        out[:size].copy_(as_bytes(values[at : at + 1]))
    return EncodedPayload(header, out[:size], side)


def fill(encoded: EncodedPayload, decoded: torch.Tensor, out: torch.Tensor) -> None:
    """Write a codec's float32 values [elements] into `out`, non-finite ones put back.

    They are first kept within what the tensor's own dtype holds, so that no finite value becomes an infinity.
    """
    limit = torch.finfo(TORCH_DTYPES[encoded.header.dtype]).max
    target = flat(out)
    target.copy_(decoded.clamp_(-limit, limit))
    if encoded.non_finite is not None:
        encoded.non_finite.restore(target)


def fill_plain(encoded: EncodedPayload, out: torch.Tensor) -> bool:
    """Decode a body that needs no codec, raw or constant, into `out`; False where it is a payload."""
    header = encoded.header
    if header.body_kind == "raw":
        fill_from_bytes(encoded.body, header.dtype, flat(out))
        return True
    if header.body_kind == "constant":
        flat(out).fill_(float(float32_piece(encoded.body, header.dtype, 0, 1).item()))
        if encoded.non_finite is not None:
            encoded.non_finite.restore(flat(out))
        return True
    return False
