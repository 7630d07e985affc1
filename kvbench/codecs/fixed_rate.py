"""Owns what the fixed-rate codecs share: a size that shape and parameters alone decide, and no error bound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, Self

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.elements import TORCH_DTYPES, check_decode_target, check_encode_room, flat
from kvbench.codecs.frame_header import FrameError
from kvbench.codecs.nonfinite import NonFinite
from kvbench.codecs.payload import EncodedPayload, describe, fill, header_for, own_payload
from kvbench.plan import LAYOUT_AXES
from kvbench.record.schema import SourceLayout
from kvbench.tensors.base import KVView


class FixedRate(Codec):
    """A lossy codec without a bound, made of torch operations: it runs wherever torch holds the tensor.

    NaN and infinities come back bit for bit from a list beside the payload; to the codec they are 0.
    """

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:  # noqa: ARG003  runs everywhere
        """None: torch operations run on both."""
        return None

    def resolved(self, view: KVView) -> Self:
        """This codec with all that decoding needs in its parameters: a frame does not say if a tensor is K or V."""
        return self

    @abstractmethod
    def payload_bytes(self, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype) -> int:
        """The exact size of the payload of a tensor that is not empty."""

    @abstractmethod
    def pack(self, values: torch.Tensor, layout: SourceLayout, payload: torch.Tensor) -> None:
        """Write the payload of `values`, all finite, in their shape; `payload` is uint8 of exactly its size."""

    @abstractmethod
    def unpack(
        self, payload: torch.Tensor, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype
    ) -> torch.Tensor:
        """The float32 values of a payload, contiguous, of that shape; `dtype` is the tensor's own."""

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> EncodedPayload:
        """Encode the view to the front of `out`. On a GPU it waits once, for the count of non-finite values."""
        values = flat(view.tensor)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        count = values.numel() - int(torch.isfinite(values).sum())
        codec = self.resolved(view)
        shape = tuple(view.tensor.shape)
        size = codec.payload_bytes(shape, view.layout, values.dtype) if values.numel() else 0
        header = header_for(view, describe(codec), "payload", size, count)
        body = out[:size]
        if size:
            codec.pack(_finite(view.tensor, count), view.layout, body)
        side = NonFinite.collect(values, count, header.dtype) if header.side_form is not None else None
        return EncodedPayload(header, body, side)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`; the parameters are the encoded tensor's. Raises FrameError for another size."""
        own = own_payload(self, encoded)
        check_decode_target(out, own.shape, own.header.dtype)
        if out.numel():
            fill(own, self._values(own), out)

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The decoded float32 values as one piece, where the payload is: a scale may belong to all of it."""
        out = torch.empty(shape, dtype=torch.float32, device=own_payload(self, encoded).body.device)
        self.decode(encoded, out)
        yield 0, flat(out)

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """`encode_kernel` and `decode_kernel`: the operations without the look for non-finite values."""
        encoded = self.encode(view, out, bound)
        if not view.tensor.numel():
            return {}
        source = _finite(view.tensor, encoded.non_finite_count)
        target = torch.empty_like(view.tensor)
        alone = replace(encoded, non_finite=None)
        return {
            "encode_kernel": partial(self.resolved(view).pack, source, view.layout, encoded.body),
            "decode_kernel": lambda: fill(alone, self._values(alone), target),
        }

    def _values(self, encoded: EncodedPayload) -> torch.Tensor:
        """The payload's float32 values [elements], by the parameters of the encoded tensor."""
        header = encoded.header
        codec = self.model_validate(header.description.params)
        dtype = TORCH_DTYPES[header.dtype]
        expected = codec.payload_bytes(header.shape, header.layout, dtype)
        if header.body_kind != "payload" or header.body_bytes != expected:
            raise FrameError(
                f"{header.body_kind} of {header.body_bytes} bytes is not what codec {self.name!r} makes of shape "
                f"{header.shape}: {expected} bytes"
            )
        return flat(codec.unpack(encoded.body, header.shape, header.layout, dtype))


def axis_of(layout: SourceLayout, axis: Literal["tokens", "heads", "head_dim"]) -> int:
    """Where an axis of a KV tensor stands in a layout, which is not flat."""
    return LAYOUT_AXES[layout].index(("tokens", "heads", "head_dim").index(axis))


def read_section(payload: torch.Tensor, first: int, count: int, dtype: torch.dtype) -> tuple[torch.Tensor, int]:
    """(`count` elements of `dtype` that stand at byte `first`, the byte behind them); copied, so aligned."""
    section = torch.empty(count, dtype=dtype, device=payload.device)
    end = first + count * section.element_size()
    section.view(torch.uint8).copy_(payload[first:end])
    return section, end


def write_section(payload: torch.Tensor, first: int, values: torch.Tensor) -> int:
    """Write the bytes of `values` to byte `first` of the payload; the byte behind them."""
    source = flat(values.contiguous()).view(torch.uint8)
    end = first + source.numel()
    payload[first:end].copy_(source)
    return end


def _finite(tensor: torch.Tensor, non_finite_count: int) -> torch.Tensor:
    return torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0) if non_finite_count else tensor
