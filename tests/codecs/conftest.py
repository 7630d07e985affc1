"""Owns what the codec tests share: encoding into memory with a guard behind it, and a check of a whole round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch

from kvbench.bound import Bound
from kvbench.codecs import frame
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.stored import codec_of, empty_like_decoded
from kvbench.record.schema import SourceLayout
from kvbench.tensors.base import KVView

GUARD = 0xA5
GUARD_BYTES = 256


@dataclass(frozen=True)
class RoundTrip:
    """One tensor through one codec."""

    encoded: Encoded
    own: torch.Tensor  # decoded in the tensor's dtype
    wide: torch.Tensor  # decoded as float32

    def excess(self, original: torch.Tensor) -> float:
        """The largest |x - x'| - E over finite values, in float64; 0.0 or less keeps the bound."""
        effective = self.encoded.effective_error_bound or 0.0
        finite = torch.isfinite(original)
        error = (original.double() - self.wide.double())[finite].abs()
        return float(error.max()) - effective if error.numel() else 0.0


def round_trip(
    codec: Codec, tensor: torch.Tensor, bound: Bound | None = None, layout: SourceLayout = "flat"
) -> RoundTrip:
    """Encode and decode, checking on the way what holds for every codec and tensor."""
    capacity = codec.capacity(tensor.numel(), tensor.dtype)
    memory = torch.full((capacity + GUARD_BYTES,), GUARD, dtype=torch.uint8)
    before = tensor.clone()
    wanted = (bound or Bound()) if "bound" in codec.axes else None
    encoded = codec.encode(KVView(tensor, layout=layout), memory[:capacity], wanted)
    assert bits_equal(tensor, before)
    assert bool((memory[capacity:] == GUARD).all())
    own = torch.empty_like(tensor)
    codec.decode(encoded, own)
    if isinstance(encoded, EncodedTensor | EncodedPayload):
        written = frame.to_bytes(encoded)
        assert len(written) == encoded.nbytes()
        stored = frame.from_bytes(written)
        assert frame.to_bytes(stored) == written
        again = empty_like_decoded(stored)
        codec_of(stored).decode(stored, again)
        assert bits_equal(again, own)
    else:
        assert encoded.nbytes() == encoded.stream_bytes
    wide = torch.empty(tensor.shape, dtype=torch.float32)
    codec.decode(encoded, wide)
    assert_pieces(codec, encoded, wide)
    return RoundTrip(encoded, own, wide)


def assert_pieces(codec: Codec, encoded: Encoded, wide: torch.Tensor) -> None:
    done = 0
    flat = wide.reshape(-1)
    for first, piece in codec.float32_chunks(encoded, tuple(wide.shape)):
        assert first == done
        assert bits_equal(piece, flat[first : first + piece.numel()])
        done += piece.numel()
    assert done == wide.numel()


def bits_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Same dtype, shape and bits: NaN equals the same NaN, 0.0 does not equal -0.0."""
    as_bits = torch.int32 if left.dtype == torch.float32 else torch.int16
    return left.dtype == right.dtype and torch.equal(left.contiguous().view(as_bits), right.contiguous().view(as_bits))


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """These tensors are small: on a busy machine torch's threads would mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", name="round_trip")
def _round_trip() -> Callable[..., RoundTrip]:
    return round_trip


@pytest.fixture(scope="session", name="bits_equal")
def _bits_equal() -> Callable[[torch.Tensor, torch.Tensor], bool]:
    return bits_equal


@pytest.fixture
def normal() -> Callable[..., torch.Tensor]:
    """Normal values of a shape and dtype, the same in every run."""

    def make(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(shape, generator=torch.Generator().manual_seed(11)) * scale).to(dtype)

    return make
