"""Owns the codec `cuszp`: what bound the quantiser runs with, and when a tensor is stored in another way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from ctypes import c_float
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field

from kvbench.bound import Bound, BoundPolicy
from kvbench.codecs import cuszp_decode, engine
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.deviation import standard_deviation
from kvbench.codecs.elements import as_bytes, check_encode_room, copy_bytes, dtype_name, flat
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import MAX_CONSTANT_ELEMENTS, MAX_DIMENSIONS, BodyKind, FrameHeader, side_section_bytes
from kvbench.codecs.nonfinite import NonFinite, side_form
from kvbench.config import Mode, Whole
from kvbench.errors import CaseFailed, UsageError

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView


class Cuszp(Codec):
    """Error-bounded lossy coding with streams of the cuSZp v3 format.

    `strict` keeps every |x - x'| <= E, in float64 on the float32 decode: it quantises with a slightly smaller bound,
    keeps decoded values finite in the tensor's own dtype, and stores raw what cannot be kept so or what would take
    more bytes as a stream. `compatible` gives the original's stream for float32(E), whatever its error or size; in
    it an infinity can spoil the other values of its block of 32, since their difference overflows.
    Under both, a tensor whose finite values are all equal is stored as that value (except `compatible` with an `abs`
    bound), and NaN and infinities keep their exact bits.
    """

    name: ClassVar[str] = "cuszp"
    summary: ClassVar[str] = "error-bounded lossy: quantise, predict, pack bits (cuSZp v3 streams)"
    axes: ClassVar[frozenset[str]] = frozenset({"mode", "bound", "bound_policy", "threads"})

    mode: Mode = "plain"
    bound_policy: BoundPolicy = "strict"
    threads: Whole = Field(default=0, ge=0, description="CPU threads; 0 means one a core; a GPU has no use for it")

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why tensors on `device` cannot be coded here, or None."""
        return engine.unavailable(device)

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The longest stream of so many elements; the raw elements never take more."""
        return engine.max_compressed_bytes(elements)

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> EncodedTensor:
        """Encode the view into `out`, of which no more is written than the longer of stream and raw elements.

        Raises CaseFailed (`bound_unrepresentable`) where `compatible` meets a bound that float32 cannot hold.
        """
        values = flat(view.tensor)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        bound = _required(bound)
        measured = engine.measure_range(values, self.threads)
        width = measured.width
        effective = _effective_bound(values, width, bound)
        if width == 0 and not (self.bound_policy == "compatible" and bound.kind == "abs"):
            body = _shorter(_Body("constant", values.element_size()), values, measured.non_finite)
        else:
            body = self._write_stream(values, measured, effective, out)
        return _finish(self._header(view, bound, effective, measured.non_finite, body), values, out)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`; mode and bounds are the encoded tensor's. Raises FrameError for a damaged stream."""
        cuszp_decode.decode(_own(encoded), out, self.threads)

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The decoded float32 values as (first element, flat tensor), a few MB at a time."""
        return cuszp_decode.float32_pieces(_own(encoded), self.threads)

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """`range` always; `encode_kernel` and `decode_kernel` where the tensor becomes a stream.

        `encode_kernel` leaves the same stream in `out` each time, so both may be called in any order.
        """
        bound = _required(bound)
        values = flat(view.tensor)
        stages = {"range": self._range_call(values, bound)}
        encoded = self.encode(view, out, bound)
        quantizer = encoded.quantizer_error_bound
        if quantizer is None:
            return stages
        source = self._stream_source(values, encoded.non_finite_count)
        target = torch.empty_like(values)
        stages["encode_kernel"] = engine.compress_call(source, quantizer, self.mode, self.threads, out)
        stages["decode_kernel"] = engine.decompress_call(
            encoded.body, values.numel(), quantizer, self.mode, self.threads, target
        )
        return stages

    def _range_call(self, values: torch.Tensor, bound: Bound) -> Callable[[], object]:
        if bound.kind == "std":
            return partial(_effective_bound, values, 0.0, bound)
        return engine.range_call(values, self.threads)

    def _write_stream(
        self, values: torch.Tensor, measured: engine.ValueRange, effective: float, out: torch.Tensor
    ) -> _Body:
        """The stream, put into `out`, or raw where `strict` says so."""
        quantizer = self._quantizer_bound(effective, measured, values.dtype)
        if quantizer is None:
            return _raw_body(values)
        source = self._stream_source(values, measured.non_finite)
        stream = _Body("stream", engine.compress(source, quantizer, self.mode, self.threads, out), quantizer)
        return stream if self.bound_policy == "compatible" else _shorter(stream, values, measured.non_finite)

    def _stream_source(self, values: torch.Tensor, non_finite_count: int) -> torch.Tensor:
        if self.bound_policy == "strict" and non_finite_count:
            return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        return values

    def _quantizer_bound(self, effective: float, measured: engine.ValueRange, dtype: torch.dtype) -> float | None:
        """The float32 bound to quantise with; None to store raw."""
        as_float32 = c_float(effective).value
        representable = math.isfinite(as_float32) and as_float32 > 0
        if self.bound_policy == "strict":
            if not representable:
                return None
            # A finite value must not become an infinity when it is rounded to the tensor's own dtype.
            headroom = torch.finfo(dtype).max - measured.max_abs
            return engine.strict_error_bound(min(effective, headroom), measured.max_abs) or None
        if not representable:
            raise CaseFailed(
                "bound_unrepresentable",
                f"the effective bound {effective:g} is {as_float32:g} in float32, which bound policy 'compatible' "
                "quantises with: choose another bound, or bound policy 'strict'",
            )
        return as_float32

    def _header(self, view: KVView, bound: Bound, effective: float, non_finite_count: int, body: _Body) -> FrameHeader:
        tensor = view.tensor
        if tensor.dim() > MAX_DIMENSIONS:
            raise UsageError(f"a tensor of {tensor.dim()} dimensions: codec 'cuszp' takes at most {MAX_DIMENSIONS}")
        sided = non_finite_count > 0 and body.kind != "raw"
        return FrameHeader(
            dtype=dtype_name(tensor.dtype),
            shape=tuple(tensor.shape),
            layout=view.layout,
            mode=self.mode,
            bound=bound,
            bound_policy=self.bound_policy,
            effective_error_bound=effective if math.isfinite(effective) else None,
            quantizer_error_bound=body.quantizer_error_bound,
            non_finite_count=non_finite_count,
            body_kind=body.kind,
            body_bytes=body.byte_count,
            side_form=side_form(tensor.numel(), non_finite_count) if sided else None,
        )


class _Body(NamedTuple):
    """What will stand in the frame's first section."""

    kind: BodyKind
    byte_count: int
    quantizer_error_bound: float | None = None


def _required(bound: Bound | None) -> Bound:
    if bound is None:
        raise UsageError("codec 'cuszp' needs an error bound, such as rel 1e-2")
    return bound


def _own(encoded: Encoded) -> EncodedTensor:
    if not isinstance(encoded, EncodedTensor):
        raise TypeError(f"codec 'cuszp' cannot decode a {type(encoded).__name__}")
    return encoded


def _effective_bound(values: torch.Tensor, width: float, bound: Bound) -> float:
    std = standard_deviation(values) if bound.kind == "std" else None
    return bound.absolute(value_range=width, std=std)


def _raw_body(values: torch.Tensor) -> _Body:
    return _Body("raw", values.numel() * values.element_size())


def _shorter(body: _Body, values: torch.Tensor, non_finite_count: int) -> _Body:
    """`body`, or raw where that makes a shorter frame (or the only one: constants are limited in size)."""
    raw = _raw_body(values)
    if body.kind == "constant" and values.numel() > MAX_CONSTANT_ELEMENTS:
        return raw
    side = side_section_bytes(values.numel(), non_finite_count, dtype_name(values.dtype))
    return raw if raw.byte_count < body.byte_count + side else body


def _finish(header: FrameHeader, values: torch.Tensor, out: torch.Tensor) -> EncodedTensor:
    """Put what the header says in place: side data, and a body that is not a stream (which is in `out` already)."""
    side = None
    if header.side_form is not None:
        side = NonFinite.collect(values, header.non_finite_count, header.dtype)
    body = out[: header.body_bytes]
    if header.body_kind == "raw":
        copy_bytes(body, as_bytes(values))
    elif header.body_kind == "constant":
        at = 0 if side is None else side.first_finite()
        body.copy_(as_bytes(values[at : at + 1]))
    return EncodedTensor(header, body, side)
