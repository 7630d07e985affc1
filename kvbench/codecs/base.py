"""Owns the protocol every codec follows, and what an encode gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from kvbench.bound import Bound
from kvbench.tensors.base import KVView

if TYPE_CHECKING:
    import torch


class Encoded(Protocol):
    """One encoded tensor: the stream and everything needed to decode it."""

    @property
    def stream_bytes(self) -> int:
        """Bytes of the codec's own stream alone."""

    @property
    def effective_error_bound(self) -> float | None:
        """The absolute bound asked of every value, float64; None for a codec without a bound."""

    @property
    def quantizer_error_bound(self) -> float | None:
        """The bound the quantiser ran with, a float32 value; None where nothing was quantised."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `stored_raw`, `constant`, `non_finite`."""

    @property
    def non_finite_count(self) -> int:
        """NaN and infinities in the input."""

    def nbytes(self) -> int:
        """Everything stored: header, side data and stream. The only place that may wait for a device."""


class Codec(BaseModel, ABC):
    """A codec is its parameters: repr, equality, YAML and JSON come from the same fields.

    Subclasses are frozen pydantic models found through the entry-point group `kvbench.codecs`. All work runs on
    the current stream of the tensor's device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    summary: ClassVar[str]  # one line for `kvbench codecs`
    lossless: ClassVar[bool] = False
    axes: ClassVar[frozenset[str]] = frozenset()  # what it takes: mode, bound, bound_policy, threads

    @classmethod
    def unavailable(cls, device: Literal["cpu", "cuda"]) -> str | None:
        """Why this codec cannot run on `device` here, or None when it can."""
        return None if device == "cpu" else "it runs on the CPU only"

    def problem_on(self, device: Literal["cpu", "cuda"]) -> str | None:
        """Why this codec, with its parameters, cannot run on `device` here, or None when it can."""
        return self.unavailable(device)

    @abstractmethod
    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """The most bytes `encode` can need in `out` for a tensor of `elements` values of `dtype`."""

    @abstractmethod
    def encode(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Encoded:
        """Encode the view into `out`, a uint8 tensor of at least `capacity` bytes on the view's device.

        The result refers to `out`: it is valid until `out` is written again. `bound` is None exactly when the
        codec does not declare the axis `bound`.
        """

    @abstractmethod
    def decode(self, encoded: Encoded, out: torch.Tensor) -> None:
        """Decode into `out`: contiguous, the view's shape, of the view's dtype or float32.

        float32 gives the codec's own values; a 16-bit dtype rounds them to nearest even.
        """

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """Phases inside a call worth timing alone, by phase name: `range`, `encode_kernel`, `decode_kernel`.

        Each callable does the bare library call or kernel on `view`, `out` and buffers prepared here, on the current
        stream. Empty by default. On a GPU this is asked once for each of several copies of the view, each with an
        `out` of its own, and the callables of all take turns, so that none finds its data in the cache; every answer
        names the same phases. A callable that neither waits nor allocates is timed by replays of a CUDA graph.
        """
        return {}

    def library_calls(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        """Calls a program that embeds the codec's library would make: `encode_library` and `decode_library`.

        Each is given the absolute bound and waits until its result, and the size of what it wrote, can be used: a
        call without what kvbench does around it. Asked like `stages`, timed by the host's clock. Empty by default.
        """
        return {}

    def kept_bytes(self, view: KVView) -> int | None:
        """Scratch memory that stays allocated on the view's device between encodes of it; None where not declared.

        It is added to what an encode allocates beside `out` and gives back, which a bench sees by itself.
        """
        return None

    def bounded_part(self, view: KVView) -> torch.Tensor:
        """The values that a relative bound is a fraction of the range of: the whole tensor, in any shape."""
        return view.tensor

    def coded_values(self, view: KVView, encoded: Encoded) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What the bound is about where that is not the tensor itself: (values to keep, values kept), both float32 [n].

        None for a codec that keeps its bound on the tensor's own values.
        """
        return None

    def float32_chunks(self, encoded: Encoded, shape: tuple[int, ...]) -> Iterator[tuple[int, torch.Tensor]]:
        """The decoded float32 values as (first element, flat tensor) pieces in order, for checking.

        A codec that can decode a part overrides this, so that checking a large tensor needs little memory.
        """
        import torch

        out = torch.empty(shape, dtype=torch.float32)
        self.decode(encoded, out)
        yield 0, out.reshape(-1)
