"""Owns what `Cuszp` gives back for one tensor: the frame's header, its body and its side data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvbench.codecs.frame_header import FrameHeader
from kvbench.codecs.nonfinite import NonFinite

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EncodedTensor:
    """One encoded tensor, ready to be decoded, or written as a frame by `kvbench.codecs.frame`.

    `body` is uint8 [header.body_bytes]: the stream, the raw elements, or one element, as header.body_kind says. It
    may be a view of memory the caller owns and is valid as long as that is unchanged.
    """

    header: FrameHeader
    body: torch.Tensor
    non_finite: NonFinite | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape in its layout."""
        return self.header.shape

    @property
    def stream_bytes(self) -> int:
        """Bytes of the stream, or of what stands in its place."""
        return self.header.body_bytes

    @property
    def effective_error_bound(self) -> float | None:
        """The absolute bound asked of every value; None where the range overflows float32, so that there is none."""
        return self.header.effective_error_bound

    @property
    def quantizer_error_bound(self) -> float | None:
        """The bound the quantiser ran with, a float32 value; None where nothing was quantised."""
        return self.header.quantizer_error_bound

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `stored_raw`, `constant`, `non_finite`."""
        return self.header.flags

    @property
    def non_finite_count(self) -> int:
        """NaN and infinities in the input."""
        return self.header.non_finite_count

    def nbytes(self) -> int:
        """The exact size of this tensor's frame, checksum included."""
        return self.header.frame_bytes
