"""Owns the codec `cuszp-original`: the original cuSZp v3 library as a guest, with its known faults put right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from ctypes import c_float
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from kvbench import cuszp
from kvbench.bound import Bound, BoundPolicy
from kvbench.codecs import cuszp_library, engine
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.cuszp_library import MOST_ELEMENTS, MOST_STREAM_BYTES, CuszpLibrary
from kvbench.codecs.deviation import standard_deviation
from kvbench.codecs.elements import check_decode_target, check_encode_room, dtype_name, flat, pieces
from kvbench.config import Mode
from kvbench.errors import CaseFailed, UnavailableError, UsageError
from kvbench.geometry import DType

if TYPE_CHECKING:
    from kvbench.tensors.base import KVView

_ALIGNMENT = 16  # the library reads and writes values so many bytes at a time


@dataclass(frozen=True)
class OriginalEncoded:
    """The bare stream of one tensor. Like the library, it leaves element count, bound and mode to be kept elsewhere."""

    body: torch.Tensor  # uint8 [stream bytes]
    source: torch.Tensor  # the tensor that was encoded, flat, not copied
    shape: tuple[int, ...]
    dtype: DType
    mode: Mode
    effective_error_bound: float
    quantizer_error_bound: float

    @property
    def stream_bytes(self) -> int:
        """Bytes of the stream, payload included."""
        return self.body.numel()

    @property
    def flags(self) -> tuple[str, ...]:
        """`length_recomputed` where the library gave a wrong length, `non_finite` where there are such values."""
        recomputed = self.source.numel() > 0 and not cuszp_library.reports_true_length(self.source.numel())
        flags = {"length_recomputed": recomputed, "non_finite": self.non_finite_count > 0}
        return tuple(flag for flag, raised in flags.items() if raised)

    @property
    def non_finite_count(self) -> int:
        """NaN and infinities in the tensor, counted when asked for: the library does not look for them."""
        parts = (self.source[first : first + count] for first, count in pieces(self.source.numel()))
        return sum(part.numel() - int(torch.isfinite(part).sum()) for part in parts)

    def nbytes(self) -> int:
        """The stream and nothing else."""
        return self.body.numel()


class CuszpOriginal(Codec):
    """The shared library that the environment variable KVBENCH_CUSZP_LIBRARY names, called through its C interface.

    What kvbench puts right, within the timed calls: the stream's length up to 32768 values, which the library gives
    without the payload, is recomputed from the metadata; the output is cleared before decoding, since the library
    leaves blocks of zeros unwritten; `out` has room for the longest stream, which can take more than 4 bytes a value;
    the library runs on the default stream after a wait for the current one, since it mixes both.
    It takes float32 only: 16-bit tensors are widened before and rounded after, in copies made in the call. A bound of
    kind `rel` or `std` costs kvbench's own reduction in the call, since the library takes absolute bounds only.
    Its values are its own: the bound can be exceeded (policy `compatible`), NaN and infinities are lost.
    """

    name: ClassVar[str] = "cuszp-original"
    summary: ClassVar[str] = (
        "the original cuSZp v3 library as a guest: stream length recomputed, output cleared, room for long streams"
    )
    axes: ClassVar[frozenset[str]] = frozenset({"mode", "bound"})
    bound_policy: ClassVar[BoundPolicy] = "compatible"

    mode: Mode = "plain"

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why the library cannot be used, or None."""
        try:
            cuszp_library.from_environment()
        except UnavailableError as error:
            return str(error)
        return "the original library runs on a GPU only" if device == "cpu" else engine.unavailable("cuda")

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The longest stream of so many elements; the library itself knows no such bound."""
        return cuszp.max_compressed_bytes(elements)

    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> OriginalEncoded:
        """Encode the view into `out`; returns when the device is done.

        Raises CaseFailed: `bound_unrepresentable` for a bound that float32 cannot hold, `too_large` for more than the
        library's 32-bit numbers hold, `guest_broken` where it does not write streams of the known format.
        """
        values = flat(view.tensor)
        _require_gpu(values.device)
        check_encode_room(out, self.capacity(values.numel(), values.dtype), values.device)
        effective = _effective_bound(values, bound)
        as_float32 = c_float(effective).value
        if not (math.isfinite(as_float32) and as_float32 > 0):
            raise CaseFailed(
                "bound_unrepresentable",
                f"the effective bound {effective:g} is {as_float32:g} in float32, which the original library cannot "
                "quantise with: choose another bound, or codec cuszp",
            )
        body = out[: self._compress(values, out, as_float32)]
        dtype, shape = dtype_name(view.tensor.dtype), tuple(view.tensor.shape)
        return OriginalEncoded(body, values, shape, dtype, self.mode, effective, as_float32)

    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`, cleared first; returns when the device is done."""
        own = _own(encoded)
        check_decode_target(out, own.shape, own.dtype)
        target = flat(out)
        n = target.numel()
        _require_gpu(target.device)
        if n == 0:
            return
        in_place = target.dtype == torch.float32 and target.data_ptr() % _ALIGNMENT == 0
        values = target if in_place else torch.empty(n, dtype=torch.float32, device=target.device)
        values.zero_()
        with _ready(values.device):
            library = cuszp_library.from_environment()
            error_bound = own.quantizer_error_bound
            library.decompress(values.data_ptr(), own.body.data_ptr(), n, own.stream_bytes, error_bound, own.mode)
        if not in_place:
            target.copy_(values)

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """`range` for a relative bound. The library waits inside its calls, so its kernels cannot be timed alone."""
        values = flat(view.tensor)
        if bound is not None and bound.kind == "rel":
            return {"range": engine.range_call(values, 0)}
        return {"range": partial(standard_deviation, values)} if bound is not None and bound.kind == "std" else {}

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """All decoded float32 values as one piece: the library decodes no part of a stream."""
        own = _own(encoded)
        values = torch.empty(own.shape, dtype=torch.float32, device=own.body.device)
        self.decode(own, values)
        yield 0, values.reshape(-1)

    def _compress(self, values: torch.Tensor, out: torch.Tensor, error_bound: float) -> int:
        """Write the stream to the front of `out`; its length in bytes."""
        n = values.numel()
        if n > MOST_ELEMENTS:
            raise CaseFailed("too_large", f"{n} values: the original library takes at most {MOST_ELEMENTS}")
        if n == 0:
            return 0  # the library would leave an invalid launch behind
        library = cuszp_library.from_environment()
        _require_format(library, values.device)
        source = _aligned(values.to(torch.float32))
        with _ready(values.device):
            length = library.compress(source.data_ptr(), out.data_ptr(), n, error_bound, self.mode)
        if not cuszp_library.reports_true_length(n):
            length = cuszp_library.true_length(out[: cuszp.metadata_bytes(n)].cpu().numpy(), self.mode)
        if length > MOST_STREAM_BYTES:
            raise CaseFailed("too_large", f"a stream of {length} bytes: the original library counts in 32 bits")
        if not cuszp.metadata_bytes(n) <= length <= cuszp.max_compressed_bytes(n):
            raise CaseFailed("guest_broken", f"the original library gave {length} bytes as the stream of {n} values")
        return length


def _effective_bound(values: torch.Tensor, bound: Bound | None) -> float:
    if bound is None:
        raise UsageError("codec 'cuszp-original' needs an error bound, such as rel 1e-2")
    width = engine.measure_range(values, 0).width if bound.kind == "rel" else 0.0
    return bound.absolute(value_range=width, std=standard_deviation(values) if bound.kind == "std" else None)


def _require_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        raise UsageError(f"codec 'cuszp-original' cannot code a tensor on {device}: move it to a GPU")


def _own(encoded: Encoded) -> OriginalEncoded:
    if not isinstance(encoded, OriginalEncoded):
        raise TypeError(f"codec 'cuszp-original' cannot decode a {type(encoded).__name__}")
    return encoded


def _aligned(values: torch.Tensor) -> torch.Tensor:
    return values if values.data_ptr() % _ALIGNMENT == 0 else values.clone()


def _ready(device: torch.device) -> torch.cuda.device:
    """The device to make current for a call on its default stream, all work of its current stream being done."""
    stream = torch.cuda.current_stream(device)
    if stream != torch.cuda.default_stream(device):
        stream.synchronize()
    return torch.cuda.device(device)


@cache
def _require_format(library: CuszpLibrary, device: torch.device) -> None:
    """Raise CaseFailed unless the library writes the known stream of a few values on this device, in every mode.

    It reports no errors: one that was built for other cards, or an older one with another interface, shows only here.
    """
    values = (torch.arange(100) - 50) / 7
    for mode in ("fixed", "plain", "outlier"):
        expected = cuszp.compress(values, 1e-2, mode)
        out = torch.zeros(cuszp.max_compressed_bytes(100), dtype=torch.uint8, device=device)
        source = values.to(device)
        with _ready(device):
            library.compress(source.data_ptr(), out.data_ptr(), 100, c_float(1e-2).value, mode)
        if not torch.equal(out[: expected.numel()].cpu(), expected):
            raise CaseFailed(
                "guest_broken",
                f"the library that {cuszp_library.VARIABLE} names does not write cuSZp v3 streams in mode {mode} on "
                f"{device}: build version 3 for this GPU's architecture",
            )
