"""Owns the codec `pipeline`: another codec behind transforms of the tensor, stored together as one frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, PrivateAttr, field_validator, model_validator

from kvbench.bound import Bound, BoundPolicy
from kvbench.codecs import pipeline_payload, registry
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.deviation import standard_deviation
from kvbench.codecs.elements import TORCH_DTYPES, check_decode_target, check_encode_room, dtype_name, flat
from kvbench.codecs.frame_header import MAX_CONSTANT_ELEMENTS, FrameError
from kvbench.codecs.nonfinite import NonFinite
from kvbench.codecs.payload import (
    EncodedPayload,
    describe,
    fill,
    fill_plain,
    header_for,
    own_payload,
    shorter,
    write_raw,
)
from kvbench.codecs.transforms import chain as chains
from kvbench.codecs.transforms import laid_out
from kvbench.config import Layout, Whole
from kvbench.errors import UsageError
from kvbench.measure.statistics import finite_width
from kvbench.record.schema import SourceLayout

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView


class _OfInner:
    """A fact of the inner codec: of the default one when the class is asked."""

    def __init__(self, default: Any, of: str) -> None:
        self._default, self._of = default, of

    def __get__(self, pipeline: Pipeline | None, owner: type[Pipeline]) -> Any:
        return self._default if pipeline is None else getattr(pipeline, self._of)()


class Pipeline(Codec):
    """The codec `codec`, which sees the tensor after `transforms`; decoding undoes them in the opposite order.

    The payload is the inner codec's stream, the side data of every transform and the inner codec's header, so ratio and
    size count all of it. A bound that is relative is a fraction of the values that are coded as they are in the tensor:
    kept tokens left out, before anything changes. It becomes absolute there, and the inner codec keeps that absolute
    bound on what it sees. A codec with a bound sees changed values in float32, any other in the tensor's own dtype,
    rounded. NaN and infinities come back bit for bit from a list; to transforms and codec they are 0.

    Stored as it is: a tensor that would become larger, whose coded values have no usable bound, or that a transform
    takes out of the range of its numbers. One whose coded values are all equal, under a relative bound, is stored as
    that value if no token is kept.
    """

    name: ClassVar[str] = "pipeline"
    summary: ClassVar[str] = "another codec behind transforms of the tensor (layout, center, hadamard, ...)"
    lossless: ClassVar[bool] = cast("bool", _OfInner(False, "_is_lossless"))
    axes: ClassVar[frozenset[str]] = cast("frozenset[str]", _OfInner(frozenset({"bound", "threads"}), "_own_axes"))

    codec: str = "cuszp"
    params: dict[str, Any] = Field(default_factory=dict)
    transforms: str = ""
    threads: Whole = Field(default=0, ge=0, description="for an inner codec that takes them")

    _inner: Codec = PrivateAttr()

    @field_validator("transforms")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return chains.canonical(chains.parse(text))

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.codec == self.name:
            raise ValueError("a pipeline cannot stand in a pipeline; name its codec and join the transforms")
        self._inner = registry.make(self.codec, self.params)
        return self

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:  # noqa: ARG003  runs everywhere
        """None: transforms run on both; `problem_on` asks the inner codec."""
        return None

    def problem_on(self, device: Literal["cpu", "cuda"]) -> str | None:
        """What keeps the inner codec from running there."""
        return self._inner.problem_on(device)

    @property
    def bound_policy(self) -> BoundPolicy:
        """The inner codec's."""
        return cast("BoundPolicy", getattr(self._inner, "bound_policy", "strict"))

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """What the inner codec needs for all values, and never less than the raw elements."""
        dtype_name(dtype)
        return max(self._inner.capacity(elements, self._inner_dtype(dtype)), elements * dtype.itemsize)

    def kept_bytes(self, view: KVView) -> int | None:
        """The inner codec's."""
        return self._inner.kept_bytes(view)

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> EncodedPayload:
        """Encode the view to the front of `out`. On a GPU it waits a few times.

        Raises UsageError where a transform cannot take a tensor of this shape, or one without tokens and heads.
        """
        values = flat(view.tensor)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        if "bound" in self.axes and bound is None:
            raise UsageError(f"codec {self.codec!r} needs an error bound, such as rel 1e-2")
        codec = self._resolved(view)
        count = None if codec.lossless else values.numel() - int(torch.isfinite(values).sum())
        effective = None if bound is None or "bound" not in self.axes else codec._absolute(view, bound)
        finite = effective is not None and math.isfinite(effective)
        description = describe(codec, bound if "bound" in self.axes else None, effective if finite else None)
        part = codec.bounded_part(view)
        if not part.numel() or effective == math.inf:
            return write_raw(view, out, description, count)
        if effective == 0:
            constant = part.numel() == values.numel() <= MAX_CONSTANT_ELEMENTS and finite_width(part) == 0
            if constant and count is not None:
                return shorter(view, out, description, "constant", values.element_size(), count)
            return write_raw(view, out, description, count)
        found = codec._coded(view, count)
        if found is None:
            return write_raw(view, out, description, count)
        seen, sides = found
        inner = codec._coder()
        room = out[: inner.capacity(seen.tensor.numel(), seen.tensor.dtype)]
        encoded = inner.encode(seen, room, None if effective is None else Bound(kind="abs", value=effective))
        length = pipeline_payload.write(encoded, sides, out, values.numel() * values.element_size())
        if length is None:
            return write_raw(view, out, description, count)
        header = header_for(view, description, "payload", length, count)
        side = NonFinite.collect(values, count or 0, header.dtype) if header.side_form is not None else None
        return EncodedPayload(header, out[:length], side)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`; the parameters are the encoded tensor's.

        Raises FrameError for a damaged payload, UsageError where a calibrated vector is not known here.
        """
        own = own_payload(self, encoded)
        check_decode_target(out, own.shape, own.header.dtype)
        if fill_plain(own, out):
            return
        codec = self._of(own)
        dtype = TORCH_DTYPES[own.header.dtype]
        exact = codec.lossless and out.dtype == dtype
        decoded, sides = codec._decoded(own, dtype if exact else torch.float32)
        if codec.transforms:
            block = laid_out.as_block(decoded, codec._layout_of(own), 0, dtype)
            block = chains.inverse(codec._chain(), block, sides)
            decoded = laid_out.as_tensor(block.values, codec._known(own.header.layout))
        if codec.lossless:
            out.copy_(decoded)
        else:
            fill(own, decoded.reshape(-1), out)

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The decoded float32 values as one piece, where the payload is."""
        out = torch.empty(shape, dtype=torch.float32, device=own_payload(self, encoded).body.device)
        self.decode(encoded, out)
        yield 0, flat(out)

    def bounded_part(self, view: KVView) -> torch.Tensor:
        """All tokens but those kept at the front."""
        kept = chains.kept_tokens(self._chain())
        if view.layout == "flat" or not kept:
            return view.tensor
        axis = laid_out.axis_of(view.layout, 0)
        kept = min(kept, view.tensor.shape[axis])
        return view.tensor.narrow(axis, kept, view.tensor.shape[axis] - kept)

    def coded_values(self, view: KVView, encoded: Encoded) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Before and after the inner codec; None where no transform changes values, or none was used."""
        own = own_payload(self, encoded)
        codec = self._of(own)
        if own.header.body_kind != "payload" or not chains.changes_values(codec._chain()):
            return None
        found = codec._coded(view, own.header.non_finite_count)
        assert found is not None  # or the body would be raw
        decoded, _ = codec._decoded(own, torch.float32)
        return flat(found[0].tensor).to(torch.float32), flat(decoded)

    def _own_axes(self) -> frozenset[str]:
        return self._inner.axes & {"bound", "threads"}

    def _is_lossless(self) -> bool:
        return self._inner.lossless and not chains.changes_values(self._chain())

    def _chain(self) -> chains.Chain:
        return chains.parse(self.transforms)

    def _coder(self) -> Codec:
        return self._inner.model_copy(update={"threads": self.threads}) if "threads" in self.axes else self._inner

    def _inner_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """What the inner codec sees: a bound cannot be kept through a rounding, so float32 where it has one."""
        return torch.float32 if "bound" in self.axes and chains.changes_values(self._chain()) else dtype

    def _resolved(self, view: KVView) -> Pipeline:
        """With every parameter of the inner codec, and the transforms that this view goes through."""
        chain = chains.resolved(self._chain(), view.kv)
        if chain:
            chains.require_fit(chain, laid_out.token_major(tuple(view.tensor.shape), self._known(view.layout)))
        params = self._inner.model_dump(mode="json", exclude={"threads"})
        return Pipeline(codec=self.codec, params=params, transforms=chains.canonical(chain), threads=self.threads)

    def _of(self, own: EncodedPayload) -> Pipeline:
        """The pipeline that made it, on as many threads as this one."""
        return Pipeline.model_validate({**own.header.description.params, "threads": self.threads})

    def _absolute(self, view: KVView, bound: Bound) -> float:
        part = self.bounded_part(view)
        std = standard_deviation(flat(part.contiguous())) if bound.kind == "std" else None
        return bound.absolute(value_range=finite_width(part) if bound.kind == "rel" else 0.0, std=std)

    def _coded(self, view: KVView, count: int | None) -> tuple[KVView, list[torch.Tensor]] | None:
        """What the inner codec sees, and the side data; None where a transform made a value non-finite."""
        from kvbench.tensors.base import KVView as View

        tensor = torch.nan_to_num(view.tensor, nan=0.0, posinf=0.0, neginf=0.0) if count else view.tensor
        layout, token_start = view.layout, view.token_start
        sides: list[torch.Tensor] = []
        if self.transforms:
            block = laid_out.as_block(tensor, self._known(layout), token_start, tensor.dtype)
            block, sides = chains.forward(self._chain(), block)
            layout, token_start = block.layout, block.token_start
            tensor = laid_out.as_tensor(block.values, block.layout).to(self._inner_dtype(view.tensor.dtype))
        if chains.changes_values(self._chain()) and not bool(torch.isfinite(tensor).all()):
            return None
        return View(tensor.contiguous(), view.layer, view.kv, layout, token_start), sides

    def _decoded(self, own: EncodedPayload, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the inner codec gives back, in `dtype` and its layout, and the side data."""
        header, chain = own.header, self._chain()
        own_dtype = TORCH_DTYPES[header.dtype]
        shape, sizes = header.shape, []
        if chain:
            tokens = laid_out.token_major(header.shape, self._known(header.layout))
            chains.require_fit(chain, tokens)
            sizes = chains.side_sizes(chain, tokens, own_dtype)
            shape = laid_out.laid_out(chains.shape_after(chain, tokens), self._layout_of(own))
        inner_dtype = self._inner_dtype(own_dtype)
        inner, sides = pipeline_payload.read(own.body, sizes, shape, dtype_name(inner_dtype))
        target = torch.empty(shape, dtype=dtype, device=own.body.device)
        decoder = pipeline_payload.decoder_of(inner, self.threads)
        if decoder.name != self.codec:
            raise FrameError(f"a pipeline of codec {self.codec!r} holds a stream of codec {decoder.name!r}")
        decoder.decode(inner, target)
        return target, sides

    def _layout_of(self, own: EncodedPayload) -> Layout:
        """What the inner codec saw."""
        return chains.layout_after(self._chain(), self._known(own.header.layout))

    def _known(self, layout: SourceLayout) -> Layout:
        return laid_out.known(layout, f"a chain of transforms ({self.transforms})")
