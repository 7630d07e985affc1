"""Owns the tests of other libraries' error-bounded codecs: their bound, its breaks, and what is stored otherwise."""

from __future__ import annotations

import math

import pytest
import torch

from kvbench.bench.verify import check
from kvbench.bound import Bound
from kvbench.codecs import frame, registry
from kvbench.codecs.base import Codec
from kvbench.codecs.frame import FrameError
from kvbench.codecs.payload import EncodedPayload
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

NAMES = ("sz3", "zfp")
REL = Bound(kind="rel", value=1e-3)


@pytest.fixture(params=NAMES, name="name")
def _name(request) -> str:
    reason = registry.load(request.param).unavailable("cpu")
    if reason is not None:
        pytest.skip(reason)
    return request.param


def encode(codec: Codec, tensor: torch.Tensor, bound: Bound = REL, layout: str = "flat") -> EncodedPayload:
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    return codec.encode(KVView(tensor, layout=layout), out, bound)


def walk(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Values that change little from one to the next along the first axis."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(4)).cumsum(0).to(dtype)


@pytest.mark.parametrize("bound", [REL, Bound(kind="abs", value=0.05), Bound(kind="std", value=0.01)], ids=str)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("layout", ["thd", "htd", "hdt"])
def test_the_bound_is_kept_and_used(name, bound, dimensions, layout):
    tensor = walk(96, 8, 32)
    codec = registry.make(name, {"dimensions": dimensions})
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    found = check(codec, KVView(tensor, layout=layout), out, torch.empty_like(tensor), bound)
    assert found.errors.mismatches == 0
    assert found.errors.max_abs_error > found.effective_error_bound / 10
    assert found.encoded.flags == ()
    assert tensor.nbytes / found.encoded.nbytes() > 2


def test_a_tighter_bound_takes_more_bytes(name):
    tensor = walk(2000)
    sizes = [encode(registry.make(name, {}), tensor, Bound(value=value)).nbytes() for value in (1e-1, 1e-2, 1e-3)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_bound_that_the_library_breaks_is_seen():
    codec = registry.make("zfp", {})
    if codec.unavailable("cpu") is not None:
        pytest.skip(codec.unavailable("cpu"))
    tensor = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    tensor[7] = 1e30  # zfp aligns a block to its largest value
    out = torch.empty(codec.capacity(4096, torch.float32), dtype=torch.uint8)
    found = check(codec, KVView(tensor), out, torch.empty_like(tensor), Bound(kind="abs", value=1e-3))
    assert found.errors.mismatches > 0


def test_equal_values_are_kept_as_one(name, bits_equal):
    tensor = torch.full((3000,), -2.5, dtype=torch.bfloat16)
    tensor[[4, 9]] = torch.tensor([math.nan, math.inf], dtype=torch.bfloat16)
    encoded = encode(registry.make(name, {}), tensor)
    assert encoded.flags == ("constant", "non_finite")
    assert encoded.effective_error_bound == 0.0
    assert encoded.nbytes() < 200
    own = torch.empty_like(tensor)
    registry.make(name, {}).decode(frame.from_bytes(frame.to_bytes(encoded)), own)
    assert bits_equal(own, tensor)


@pytest.mark.parametrize(
    "tensor",
    [torch.empty(0), torch.tensor([1.0, 2.0]), torch.full((50,), math.nan), torch.tensor([3e38, -3e38] * 50)],
    ids=["empty", "short", "nothing finite", "a range that overflows"],
)
def test_what_is_stored_as_it_is(name, tensor, bits_equal):
    encoded = encode(registry.make(name, {}), tensor)
    assert encoded.flags[0] == "stored_raw"
    assert encoded.stream_bytes == tensor.nbytes
    own = torch.empty_like(tensor)
    registry.make(name, {}).decode(frame.from_bytes(frame.to_bytes(encoded)), own)
    assert bits_equal(own, tensor)


def test_values_stay_within_the_dtype(name):
    tensor = walk(4000)
    tensor = (tensor / tensor.abs().max() * 65504).to(torch.float16)
    codec = registry.make(name, {})
    own = torch.empty_like(tensor)
    codec.decode(encode(codec, tensor, Bound(kind="rel", value=0.1)), own)
    assert bool(torch.isfinite(own).all())


def test_a_damaged_payload_is_refused(name):
    codec = registry.make(name, {})
    encoded = encode(codec, walk(4000))
    for shape in ((3000,), (5000,)):
        header = type(encoded.header)(**{**vars(encoded.header), "shape": shape})
        with pytest.raises(FrameError, match=r"decodes to float32|cannot decode"):
            codec.decode(EncodedPayload(header, encoded.body, None), torch.empty(shape))


def test_a_bound_is_needed(name):
    with pytest.raises(UsageError, match=f"codec '{name}' needs an error bound, such as rel 1e-2"):
        registry.make(name, {}).encode(KVView(torch.ones(4)), torch.empty(16, dtype=torch.uint8), None)
