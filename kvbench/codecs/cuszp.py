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
from kvbench.codecs.elements import (
    TORCH_DTYPES,
    as_bytes,
    check_encode_room,
    copy_bytes,
    dtype_name,
    flat,
    require_contiguous,
)
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame_header import MAX_CONSTANT_ELEMENTS, MAX_DIMENSIONS, BodyKind, FrameHeader, side_section_bytes
from kvbench.codecs.nonfinite import NonFinite, side_form
from kvbench.config import Mode, Whole
from kvbench.errors import CaseFailed, UsageError

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView


_LARGEST = {dtype: torch.finfo(dtype).max for dtype in TORCH_DTYPES.values()}


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

        On a GPU any of `out` may be written, and the call waits once: for the range and the length together, since
        both decide what is stored. Once more for each of: a bound of kind `std`, non-finite values, and values so
        large that `strict` must take more room for rounding than its bound asks.
        Raises CaseFailed (`bound_unrepresentable`) where `compatible` meets a bound that float32 cannot hold.
        """
        values = view.tensor  # flattened only where that is needed, since it costs a call microseconds
        require_contiguous(values)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        bound = _required(bound)
        std = standard_deviation(flat(values)) if bound.kind == "std" else None
        found = self._first_pass(values, bound, std, out)
        width, non_finite_count = found.measured.width, found.measured.non_finite
        effective = bound.absolute(value_range=width, std=std)
        if width == 0 and not (self.bound_policy == "compatible" and bound.kind == "abs"):
            body = _shorter(_Body("constant", values.element_size()), values, non_finite_count)
        else:
            body = self._write_stream(values, found, effective, out)
        return _finish(self._header(view, bound, effective, non_finite_count, body), values, out)

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

    def library_calls(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """Both on a GPU where the tensor becomes a stream; on the CPU the `stages` are these calls."""
        encoded = self.encode(view, out, bound)
        quantizer = encoded.quantizer_error_bound
        if quantizer is None or not view.tensor.is_cuda:
            return {}
        values = flat(view.tensor)
        source = self._stream_source(values, encoded.non_finite_count)
        target = torch.empty_like(values)
        setting = quantizer, self.mode, self.threads
        return {
            "encode_library": partial(engine.compress, source, *setting, out),
            "decode_library": partial(engine.decompress, encoded.body, values.numel(), *setting, target),
        }

    def kept_bytes(self, view: KVView) -> int | None:
        """The CUDA workspace for so many values; None on the CPU."""
        return engine.workspace_bytes(view.tensor)

    def _range_call(self, values: torch.Tensor, bound: Bound) -> Callable[[], object]:
        if bound.kind == "std":
            return partial(standard_deviation, values)
        return engine.range_call(values, self.threads)

    def _first_pass(self, values: torch.Tensor, bound: Bound, std: float | None, out: torch.Tensor) -> engine.FirstPass:
        if bound.kind != "std":
            return engine.first_pass(values, bound.kind, bound.value, self.bound_policy, self.mode, self.threads, out)
        asked = bound.absolute(value_range=0.0, std=std)
        if asked == 0:  # a constant tensor, or a bound that underflows
            return engine.FirstPass(engine.measure_range(values, self.threads), None)
        return engine.first_pass(values, "abs", asked, self.bound_policy, self.mode, self.threads, out)

    def _write_stream(
        self, values: torch.Tensor, found: engine.FirstPass, effective: float, out: torch.Tensor
    ) -> _Body:
        """The stream, put into `out` if it is not there yet, or raw where `strict` says so."""
        measured = found.measured
        kept = effective if self.bound_policy == "compatible" else min(effective, _headroom(measured, values.dtype))
        quantizer = self._quantizer_bound(effective, kept, measured.max_abs)
        if quantizer is None:
            return _raw_body(values)
        length = found.stream_bytes
        if length is None or kept != effective or (self.bound_policy == "strict" and measured.non_finite):
            # Not on a GPU, or what is there has another bound or other values than the stream is to have.
            source = self._stream_source(values, measured.non_finite)
            length = engine.compress(source, quantizer, self.mode, self.threads, out)
        stream = _Body("stream", length, quantizer)
        return stream if self.bound_policy == "compatible" else _shorter(stream, values, measured.non_finite)

    def _stream_source(self, values: torch.Tensor, non_finite_count: int) -> torch.Tensor:
        if self.bound_policy == "strict" and non_finite_count:
            return torch.nan_to_num(flat(values), nan=0.0, posinf=0.0, neginf=0.0)
        return values

    def _quantizer_bound(self, effective: float, kept: float, max_abs: float) -> float | None:
        """The float32 bound to quantise with so that no error exceeds `kept`; None to store raw."""
        as_float32 = c_float(effective).value
        representable = 0 < as_float32 < math.inf
        if self.bound_policy == "strict":
            return engine.strict_error_bound(kept, max_abs) or None if representable else None
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


def _headroom(measured: engine.ValueRange, dtype: torch.dtype) -> float:
    """The error at which a finite value may become an infinity when it is rounded to the tensor's own dtype."""
    return _LARGEST[dtype] - measured.max_abs


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
        side = NonFinite.collect(flat(values), header.non_finite_count, header.dtype)
    body = out[: header.body_bytes]
    if header.body_kind == "raw":
        copy_bytes(body, as_bytes(values))
    elif header.body_kind == "constant":
        at = 0 if side is None else side.first_finite()
        body.copy_(as_bytes(flat(values)[at : at + 1]))
    return EncodedTensor(header, body, side)
