"""Owns what the error-bounded codecs of other libraries share: their bound, and what is stored in another way."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from kvbench.bound import Bound
from kvbench.codecs import engine
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.dependency import require_usable
from kvbench.codecs.deviation import standard_deviation
from kvbench.codecs.elements import check_decode_target, check_encode_room, dtype_name, flat
from kvbench.codecs.frame_header import MAX_CONSTANT_ELEMENTS, FrameError
from kvbench.codecs.payload import (
    EncodedPayload,
    describe,
    fill,
    fill_plain,
    own_payload,
    shorter,
    write_raw,
)
from kvbench.errors import UsageError
from kvbench.record.schema import SourceLayout

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView

ONE_THREAD = 1


class ErrorBounded(Codec):
    """A lossy CPU codec that is asked for an absolute bound on the float32 values, and takes it at its word.

    The check after the timing shows whether the bound was kept. A tensor whose finite values are all equal is stored
    as that value, what has no bound or would become larger as it is. NaN and infinities come back bit for bit from a
    list beside the payload; to the codec they are 0.
    """

    axes: ClassVar[frozenset[str]] = frozenset({"bound"})

    dimensions: Literal[1, 2, 3] = Field(
        default=2, description="as which array a KV tensor is coded; 2 merges heads with the axis beside them"
    )

    @abstractmethod
    def squeeze(self, array: NDArray[np.float32], error_bound: float) -> bytes:
        """The library's payload of an array, which is not empty and finite throughout."""

    @abstractmethod
    def expand(self, payload: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The array of a payload. Raises FrameError where it is not one of this shape."""

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The tensor's own bytes."""
        dtype_name(dtype)
        return elements * dtype.itemsize

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> EncodedPayload:
        """Encode the view to the front of `out`."""
        if bound is None:
            raise UsageError(f"codec {self.name!r} needs an error bound, such as rel 1e-2")
        require_usable(type(self), view.tensor)
        values = flat(view.tensor)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        measured = engine.measure_range(values, ONE_THREAD)
        std = standard_deviation(values) if bound.kind == "std" else None
        effective = bound.absolute(value_range=measured.width, std=std)
        description = describe(self, bound, effective if math.isfinite(effective) else None)
        if not values.numel() or not math.isfinite(effective):
            return write_raw(view, out, description, measured.non_finite)
        if measured.width == 0:
            if values.numel() > MAX_CONSTANT_ELEMENTS:
                return write_raw(view, out, description, measured.non_finite)
            return shorter(view, out, description, "constant", values.element_size(), measured.non_finite)
        source = values.to(torch.float32)
        if measured.non_finite:
            source = torch.nan_to_num(source, nan=0.0, posinf=0.0, neginf=0.0)
        shape = _array_shape(tuple(view.tensor.shape), view.layout, self.dimensions)
        payload = self.squeeze(source.numpy().reshape(shape), effective)
        if len(payload) <= out.numel():
            out.numpy()[: len(payload)] = np.frombuffer(payload, np.uint8)
        return shorter(view, out, description, "payload", len(payload), measured.non_finite)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`; the parameters are the encoded tensor's. Raises FrameError for a damaged payload."""
        own = own_payload(self, encoded)
        check_decode_target(out, own.shape, own.header.dtype)
        if fill_plain(own, out):
            return
        require_usable(type(self), own.body)
        header = own.header
        codec = self.model_validate(header.description.params)
        shape = _array_shape(header.shape, header.layout, codec.dimensions)
        array = codec.expand(own.body.numpy(), shape)
        if array.shape != shape or array.dtype != np.float32:
            raise FrameError(f"the payload decodes to {array.dtype} {array.shape}, not float32 {shape}")
        fill(own, torch.from_numpy(np.require(array, requirements=["C", "W"])).reshape(-1), out)

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The decoded float32 values as one piece: the libraries know no parts."""
        out = torch.empty(shape, dtype=torch.float32)
        self.decode(encoded, out)
        yield 0, flat(out)


def _array_shape(shape: tuple[int, ...], layout: SourceLayout, dimensions: int) -> tuple[int, ...]:
    """The shape of the array that is coded: of a flat tensor its elements in a row."""
    if layout == "flat" or dimensions == 1:
        return (math.prod(shape),)
    if dimensions == 3:
        return shape
    first, second, third = shape
    return (first, second * third) if layout == "thd" else (first * second, third)
