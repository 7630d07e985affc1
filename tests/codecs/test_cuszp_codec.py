"""Owns the tests of what only the codec `cuszp` decides: bounds, policies, and the ways a tensor is stored."""

from __future__ import annotations

import math
from ctypes import c_float

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from kvbench import cuszp as raw_functions
from kvbench.bound import Bound
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.deviation import standard_deviation
from kvbench.errors import CaseFailed, UsageError
from kvbench.tensors.base import KVView

STRICT = Cuszp()
COMPATIBLE = Cuszp(bound_policy="compatible")
FLOAT32_MAX = float(np.finfo(np.float32).max)
MAGNITUDES = st.floats(min_value=1e-45, max_value=FLOAT32_MAX, width=32)
VALUES = st.one_of(
    st.floats(width=32),
    st.floats(-1, 1, width=32),
    st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32).map(lambda x: x if abs(x) > 1e30 else -FLOAT32_MAX),
)


@st.composite
def _tensors(draw):
    """2048 or more elements, since shorter tensors are stored raw: drawn values in a drawn order, sometimes scaled."""
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    size = draw(st.sampled_from([2048, 3000, 33_000]))
    drawn = torch.tensor(draw(st.lists(VALUES, min_size=1, max_size=24)), dtype=torch.float32)
    order = torch.randint(len(drawn), (size,), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    values = drawn[order]
    if draw(st.booleans()):
        noise = torch.rand(size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
        values = values * noise
    return values.to(dtype)


@st.composite
def _bounds_for(draw, tensor):
    """Bounds of every kind, those about as large as the values' own rounding included."""
    finite = tensor[torch.isfinite(tensor)].double()
    largest = float(finite.abs().max()) if finite.numel() else 1.0
    kind = draw(st.sampled_from(["abs", "rel", "std"]))
    value = 10.0 ** draw(st.floats(-9, 1))
    if kind == "abs":
        value = draw(st.sampled_from([max(largest, 1e-38) * value, 1e-46, 1e-38, 1e38, 1e300]))
    return Bound(kind=kind, value=max(value, 5e-324))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(["fixed", "plain", "outlier"]))
def test_strict_never_exceeds_the_bound(round_trip, bits_equal, data, mode):
    tensor = data.draw(_tensors())
    bound = data.draw(_bounds_for(tensor))
    result = round_trip(Cuszp(mode=mode), tensor, bound)
    event(result.encoded.header.body_kind)
    finite = torch.isfinite(tensor)
    assert result.excess(tensor) <= 0
    assert torch.equal(torch.isfinite(result.own), finite)
    assert bits_equal(result.own[~finite], tensor[~finite])
    assert result.encoded.non_finite_count == int((~finite).sum())


@pytest.mark.parametrize("mode", ["fixed", "plain", "outlier"])
@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 3e38])
def test_strict_at_every_ratio_of_value_to_bound(round_trip, magnitude, mode):
    generator = torch.Generator().manual_seed(5)
    tensor = (torch.rand(40_000, generator=generator) * 2 - 1) * magnitude
    kinds = set()
    for exponent in range(-8, 2):
        result = round_trip(Cuszp(mode=mode), tensor, Bound(kind="abs", value=magnitude * 10.0**exponent))
        assert result.excess(tensor) <= 0
        kinds.add(result.encoded.header.body_kind)
    assert kinds == {"stream", "raw"}


class TestEffectiveBound:
    def test_relative_and_absolute_bounds_on_a_range_of_100(self, round_trip):
        tensor = torch.linspace(-50.0, 50.0, 100_001)
        relative = round_trip(STRICT, tensor, Bound(kind="rel", value=1e-3)).encoded
        absolute = round_trip(STRICT, tensor, Bound(kind="abs", value=1e-3)).encoded
        assert relative.effective_error_bound == pytest.approx(0.1, rel=1e-12)
        assert absolute.effective_error_bound == 1e-3
        assert (relative.header.bound.kind, absolute.header.bound.kind) == ("rel", "abs")
        assert relative.nbytes() < absolute.nbytes()

    def test_range_is_subtracted_in_float32(self, round_trip):
        tensor = torch.tensor([1e8, -1.0, 3.0] * 1000)
        expected = float(np.float32(1e8) - np.float32(-1.0)) * 1e-3
        assert round_trip(STRICT, tensor, Bound(kind="rel", value=1e-3)).encoded.effective_error_bound == expected

    def test_standard_deviation_is_that_of_the_finite_values(self, round_trip, normal):
        tensor = normal((1 << 20) + 999, scale=3.0) + 100
        expected = float(np.std(tensor.numpy().astype(np.float64)))
        assert standard_deviation(tensor) == pytest.approx(expected, rel=1e-12)
        spoiled = torch.cat([tensor, torch.tensor([math.nan, math.inf])])
        assert standard_deviation(spoiled) == standard_deviation(tensor)
        result = round_trip(STRICT, spoiled, Bound(kind="std", value=0.1))
        assert result.encoded.effective_error_bound == 0.1 * standard_deviation(tensor)
        assert standard_deviation(torch.full((9,), math.nan)) == 0.0

    def test_a_bound_is_needed(self):
        with pytest.raises(UsageError, match="needs an error bound"):
            STRICT.encode(KVView(torch.zeros(4)), torch.empty(4096, dtype=torch.uint8), None)


class TestNonFinite:
    def test_one_of_each_among_4096(self, round_trip, bits_equal, normal):
        tensor = normal(4096)
        tensor[[17, 1000, 4095]] = torch.tensor([math.nan, math.inf, -math.inf])
        for codec in (STRICT, COMPATIBLE):
            result = round_trip(codec, tensor, Bound(kind="rel", value=1e-3))
            assert bits_equal(result.own[[17, 1000, 4095]], tensor[[17, 1000, 4095]])
            assert result.encoded.non_finite_count == 3
            assert result.encoded.flags == ("non_finite",)

    def test_payload_bits_of_nans_survive(self, round_trip, bits_equal):
        bits = torch.arange(3000, dtype=torch.int32) + 0x7F800001
        tensor = torch.cat([torch.linspace(0, 1, 3000), bits.view(torch.float32)])
        for codec in (STRICT, COMPATIBLE):
            assert bits_equal(round_trip(codec, tensor).own[3000:], tensor[3000:])

    def test_compatible_streams_the_values_as_they_are(self, normal, round_trip):
        tensor = normal(5000)
        tensor[3] = math.nan
        encoded = round_trip(COMPATIBLE, tensor, Bound(kind="abs", value=1e-2)).encoded
        assert torch.equal(encoded.body, raw_functions.compress(tensor, 1e-2, "plain"))

    def test_strict_streams_zeros_in_their_place(self, normal, round_trip):
        tensor = normal(5000)
        tensor[3] = math.inf
        encoded = round_trip(STRICT, tensor, Bound(kind="abs", value=1e-2)).encoded
        tensor[3] = 0.0
        assert torch.equal(encoded.body, raw_functions.compress(tensor, encoded.quantizer_error_bound, "plain"))

    def test_the_shortest_form_is_taken(self, round_trip, normal):
        tensor = normal(64_000)
        tensor[:100] = math.nan
        assert round_trip(STRICT, tensor).encoded.header.side_form == "list"
        tensor[:2000] = math.nan
        assert round_trip(STRICT, tensor).encoded.header.side_form == "bitmap"
        tensor[:62_000] = math.nan
        encoded = round_trip(STRICT, tensor).encoded
        assert encoded.flags == ("stored_raw", "non_finite")
        assert round_trip(COMPATIBLE, tensor).encoded.header.body_kind == "stream"


class TestConstant:
    @pytest.mark.parametrize("where", [[0], [0, 1, 2], [2999], [0, 8, 16], list(range(60))])
    def test_equal_finite_values_among_others(self, where, round_trip, bits_equal):
        tensor = torch.full((3000,), 2.5, dtype=torch.bfloat16)
        tensor[where] = math.inf
        for codec in (STRICT, COMPATIBLE):
            result = round_trip(codec, tensor)
            assert bits_equal(result.own, tensor)
            assert result.encoded.flags == ("constant", "non_finite")
            assert result.encoded.effective_error_bound == 0.0

    def test_absolute_bound_strict_is_exact_and_compatible_the_stream(self, round_trip, bits_equal):
        tensor = torch.full((3000,), 7.013)
        bound = Bound(kind="abs", value=1e-2)
        strict, compatible = (round_trip(codec, tensor, bound) for codec in (STRICT, COMPATIBLE))
        assert strict.encoded.flags == ("constant",)
        assert bits_equal(strict.own, tensor)
        assert strict.encoded.nbytes() < 100
        assert torch.equal(compatible.encoded.body, raw_functions.compress(tensor, 1e-2, "plain"))

    def test_too_many_elements_for_a_constant(self, round_trip, bits_equal, monkeypatch):
        monkeypatch.setattr("kvbench.codecs.cuszp.MAX_CONSTANT_ELEMENTS", 2999)
        tensor = torch.full((3000,), 7.5)
        result = round_trip(STRICT, tensor)
        assert result.encoded.flags == ("stored_raw",)
        assert bits_equal(result.own, tensor)

    def test_nothing_but_nan(self, round_trip, bits_equal):
        tensor = torch.full((3000,), math.nan)
        for codec, kind in ((STRICT, "rel"), (STRICT, "abs"), (COMPATIBLE, "std"), (COMPATIBLE, "abs")):
            result = round_trip(codec, tensor, Bound(kind=kind, value=1e-2))
            assert bits_equal(result.own, tensor)
            assert result.encoded.non_finite_count == 3000

    def test_range_that_underflows_is_not_constant(self, round_trip, bits_equal):
        tensor = torch.tensor([0.0, 1e-45] * 2000)
        result = round_trip(STRICT, tensor, Bound(kind="rel", value=0.3))
        assert bits_equal(result.own, tensor)


class TestBoundsFloat32CannotHold:
    def test_range_beyond_float32(self, round_trip, bits_equal):
        tensor = torch.tensor([3e38, -3e38, 1.0, 2.0] * 1000)
        bound = Bound(kind="rel", value=1e-3)
        result = round_trip(STRICT, tensor, bound)
        assert result.encoded.flags == ("stored_raw",)
        assert result.encoded.effective_error_bound is None
        assert bits_equal(result.own, tensor)
        with pytest.raises(CaseFailed, match=r"inf in float32.*strict") as failed:
            round_trip(COMPATIBLE, tensor, bound)
        assert failed.value.reason_code == "bound_unrepresentable"

    @pytest.mark.parametrize("value", [1e-60, 1e300])
    def test_absolute_bound_beyond_float32(self, value, normal, round_trip, bits_equal):
        tensor = normal(4000)
        bound = Bound(kind="abs", value=value)
        result = round_trip(STRICT, tensor, bound)
        assert result.encoded.flags == ("stored_raw",)
        assert bits_equal(result.own, tensor)
        with pytest.raises(CaseFailed, match="in float32"):
            round_trip(COMPATIBLE, tensor, bound)

    def test_values_too_large_for_the_bound(self, round_trip, bits_equal):
        ramp = torch.arange(1.0, 100_001.0)
        bound = Bound(kind="abs", value=1e-2)
        strict = round_trip(STRICT, ramp, bound)
        assert strict.encoded.flags == ("stored_raw",)
        assert strict.encoded.nbytes() >= 400_000
        assert bits_equal(strict.own, ramp)
        compatible = round_trip(COMPATIBLE, ramp, bound)
        assert compatible.encoded.quantizer_error_bound == c_float(1e-2).value
        assert bool((compatible.own != 0).all())

    def test_compatible_exceeds_a_bound_that_strict_keeps(self, round_trip):
        tensor = torch.rand(100_000, generator=torch.Generator().manual_seed(2)) * 100
        bound = Bound(kind="abs", value=1e-3)
        compatible = round_trip(COMPATIBLE, tensor, bound)
        assert 0 < compatible.excess(tensor) < 1e-5
        assert torch.equal(compatible.encoded.body, raw_functions.compress(tensor, 1e-3, "plain"))
        strict = round_trip(STRICT, tensor, bound)
        assert strict.encoded.header.body_kind == "stream"
        assert strict.excess(tensor) <= 0

    def test_finite_values_stay_finite_in_their_own_dtype(self, round_trip):
        tensor = torch.linspace(-65_500.0, 65_500.0, 5000).to(torch.float16)
        result = round_trip(STRICT, tensor, Bound(kind="abs", value=100.0))
        assert bool(torch.isfinite(result.own).all())
        assert result.excess(tensor) <= 0


class TestWhatIsWritten:
    def test_incompressible_strict_is_raw_and_compatible_longer_than_the_input(self, round_trip):
        bits = torch.randint(-(2**31), 2**31, (8192,), generator=torch.Generator().manual_seed(1))
        tensor = bits.to(torch.int32).view(torch.float32).nan_to_num(0.0, 1.0, -1.0)
        bound = Bound(kind="abs", value=1e-9)
        strict, compatible = (round_trip(codec, tensor, bound) for codec in (STRICT, COMPATIBLE))
        assert strict.encoded.flags == ("stored_raw",)
        assert strict.encoded.stream_bytes == 32_768
        assert compatible.encoded.stream_bytes > 32_768
        assert compatible.encoded.flags == ()

    def test_nothing_past_the_stream_is_touched(self, normal):
        tensor = normal(50_000)
        out = torch.full((STRICT.capacity(50_000, torch.float32),), 0xA5, dtype=torch.uint8)
        encoded = STRICT.encode(KVView(tensor), out, Bound())
        assert encoded.header.body_kind == "stream"
        assert encoded.body.data_ptr() == out.data_ptr()
        assert bool((out[encoded.stream_bytes :] == 0xA5).all())

    def test_bytes_do_not_depend_on_threads(self, normal):
        tensor = normal(300_000, dtype=torch.bfloat16)
        bodies = []
        for threads in (1, 2, 3):
            codec = Cuszp(threads=threads)
            out = torch.empty(codec.capacity(300_000, torch.bfloat16), dtype=torch.uint8)
            bodies.append(codec.encode(KVView(tensor), out, Bound(kind="std", value=0.1)).body)
        assert torch.equal(bodies[0], bodies[1])
        assert torch.equal(bodies[0], bodies[2])

    def test_more_dimensions_than_a_frame_holds(self):
        tensor = torch.zeros([1] * 9)
        with pytest.raises(UsageError, match="9 dimensions"):
            STRICT.encode(KVView(tensor), torch.empty(4096, dtype=torch.uint8), Bound())

    def test_parameters_are_the_codec(self):
        codec = Cuszp(mode="fixed", bound_policy="compatible", threads=1)
        assert Cuszp.model_validate_json(codec.model_dump_json()) == codec
        assert codec != Cuszp()


def test_a_tensor_in_other_memory_is_refused() -> None:
    view = KVView(torch.empty(32, device="meta"), layout="flat")
    with pytest.raises(UsageError, match=r"on meta: it is neither host nor CUDA memory; or move it with \.cpu\(\)"):
        Cuszp().encode(view, torch.empty(5000, dtype=torch.uint8, device="meta"), Bound())
