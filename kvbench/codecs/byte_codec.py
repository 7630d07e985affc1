"""Owns what the lossless codecs share: they see the bytes of a tensor and nothing of its values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.dependency import require_usable
from kvbench.codecs.elements import (
    TORCH_DTYPES,
    as_bytes,
    check_decode_target,
    check_encode_room,
    dtype_name,
    flat,
    float32_piece,
    pieces,
)
from kvbench.codecs.frame_header import FrameError
from kvbench.codecs.payload import EncodedPayload, describe, fill_plain, header_for, own_payload, write_raw

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView


class ByteCodec(Codec):
    """A lossless codec of bytes. What it would not make smaller is stored as it is (flag `stored_raw`).

    NaN and infinities keep their bits like every other value; nothing looks for them while coding.
    """

    lossless: ClassVar[bool] = True

    @abstractmethod
    def squeeze(self, raw: torch.Tensor, item_bytes: int, out: torch.Tensor) -> int | None:
        """Write the payload of `raw` (uint8, not empty) to the front of `out`; its length, None where `out` is small.

        `item_bytes` is the size of one element of the tensor.
        """

    @abstractmethod
    def expand(self, payload: torch.Tensor, item_bytes: int, out: torch.Tensor) -> None:
        """Write the bytes a payload stands for into `out` (uint8), all of it. Raises FrameError where it cannot."""

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The tensor's own bytes."""
        dtype_name(dtype)
        return elements * dtype.itemsize

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> EncodedPayload:
        """Encode the view's bytes to the front of `out`."""
        require_usable(type(self), view.tensor)
        values = flat(view.tensor)
        size = self.capacity(values.numel(), values.dtype)
        check_encode_room(out, size, values.device)
        length = self.squeeze(as_bytes(values), values.element_size(), out[:size]) if size else None
        if length is None or length >= size:
            return write_raw(view, out, describe(self), None)
        return EncodedPayload(header_for(view, describe(self), "payload", length, None), out[:length], None)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`, bit for bit; float32 widens a 16-bit tensor. Raises FrameError for a damaged payload."""
        own = own_payload(self, encoded)
        check_decode_target(out, own.shape, own.header.dtype)
        if fill_plain(own, out):
            return
        dtype = TORCH_DTYPES[own.header.dtype]
        if out.dtype == dtype:
            self._expand(own, as_bytes(out))
            return
        for first, values in self._widened(own):
            flat(out)[first : first + values.numel()] = values

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The values as float32 in (first element, flat tensor) pieces, a few MB at a time."""
        return self._widened(own_payload(self, encoded))

    def _widened(self, own: EncodedPayload) -> Iterator[tuple[int, torch.Tensor]]:
        header = own.header
        raw = own.body
        if header.body_kind == "payload":
            size = header.elements * TORCH_DTYPES[header.dtype].itemsize
            raw = torch.empty(size, dtype=torch.uint8, device=own.body.device)
            self._expand(own, raw)
        for first, count in pieces(header.elements):
            yield first, float32_piece(raw, header.dtype, first, count)

    def _expand(self, own: EncodedPayload, out: torch.Tensor) -> None:
        if own.header.body_kind != "payload":
            raise FrameError(f"a {own.header.body_kind} body is not what codec {self.name!r} makes")
        require_usable(type(self), own.body)
        codec = self.model_validate(own.header.description.params)
        codec.expand(own.body, TORCH_DTYPES[own.header.dtype].itemsize, out)
