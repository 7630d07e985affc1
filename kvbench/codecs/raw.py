"""Owns the codec `raw`: the bytes as they are, the line every other codec has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.elements import (
    as_bytes,
    check_decode_target,
    check_encode_room,
    copy_bytes,
    dtype_name,
    fill_from_bytes,
    flat,
    float32_piece,
    pieces,
)
from kvbench.geometry import DTYPE_BYTES, DType

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView


@dataclass(frozen=True)
class RawEncoded:
    """The element bytes of one tensor. No frame around them: this is what an engine without a codec moves."""

    body: torch.Tensor  # uint8 [raw bytes]
    shape: tuple[int, ...]
    dtype: DType

    @property
    def stream_bytes(self) -> int:
        """The raw bytes."""
        return self.body.numel()

    @property
    def effective_error_bound(self) -> float | None:
        """None: a copy has no bound."""
        return None

    @property
    def quantizer_error_bound(self) -> float | None:
        """None: nothing is quantised."""
        return None

    @property
    def flags(self) -> tuple[str, ...]:
        """`non_finite` where there are such values."""
        return ("non_finite",) if self.non_finite_count else ()

    @property
    def non_finite_count(self) -> int:
        """NaN and infinities, counted when asked for: a copy does not look at values."""
        elements = self.body.numel() // DTYPE_BYTES[self.dtype]
        return sum(
            count - int(torch.isfinite(float32_piece(self.body, self.dtype, first, count)).sum())
            for first, count in pieces(elements)
        )

    def nbytes(self) -> int:
        """The raw bytes and nothing else."""
        return self.body.numel()


class Raw(Codec):
    """A copy, by one thread on the host: lossless, no header, no axes. Its sizes are those of the tensor as it is."""

    name: ClassVar[str] = "raw"
    summary: ClassVar[str] = "no compression: a copy of the tensor's bytes"
    lossless: ClassVar[bool] = True

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:  # noqa: ARG003  runs everywhere
        """None: torch copies wherever it can hold a tensor."""
        return None

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The tensor's own bytes."""
        return elements * DTYPE_BYTES[dtype_name(dtype)]

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> RawEncoded:
        """Copy the view's bytes to the front of `out`."""
        values = flat(view.tensor)
        raw_bytes = self.capacity(values.numel(), values.dtype)
        check_encode_room(out, raw_bytes, values.device)
        body = out[:raw_bytes]
        copy_bytes(body, as_bytes(values))
        return RawEncoded(body, tuple(view.tensor.shape), dtype_name(values.dtype))

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Copy the bytes back, bit for bit; float32 widens a 16-bit tensor."""
        own = _own(encoded)
        check_decode_target(out, own.shape, own.dtype)
        fill_from_bytes(own.body, own.dtype, out)

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The values as float32 in (first element, flat tensor) pieces, a few MB at a time."""
        own = _own(encoded)
        for first, count in pieces(own.body.numel() // DTYPE_BYTES[own.dtype]):
            yield first, float32_piece(own.body, own.dtype, first, count)


def _own(encoded: Encoded) -> RawEncoded:
    if not isinstance(encoded, RawEncoded):
        raise TypeError(f"codec 'raw' cannot decode a {type(encoded).__name__}")
    return encoded
