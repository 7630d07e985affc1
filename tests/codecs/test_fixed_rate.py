"""Owns the tests of the fixed-rate codecs: their documented errors, their bytes, and values at the edge of a dtype."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch
from scipy import integrate

from kvbench.bound import Bound
from kvbench.codecs import bit_packing, frame, rotated
from kvbench.codecs.base import Codec
from kvbench.codecs.fixed_rate import FixedRate
from kvbench.codecs.fp8 import Fp8
from kvbench.codecs.frame import FrameError
from kvbench.codecs.groupwise import Groupwise
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.rotated import Rotated
from kvbench.tensors.base import KVView

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ROTATION_3_SEED_3 = [0.6921114, 0.1205538, -0.7116520]  # its first row
LAYOUT_AXES = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}
FIXED_RATE: list[FixedRate] = [
    Fp8(),
    Fp8(format="e5m2", scale="head"),
    Groupwise(bits=8, along="tokens"),
    Groupwise(bits=3),
    Groupwise(bits=2, group=32),
    Rotated(),
    Rotated(bits=2, vector=32),
]
each = pytest.mark.parametrize("codec", FIXED_RATE, ids=repr)


def encode(codec: Codec, tensor: torch.Tensor, layout: str = "flat", kv: str | None = None) -> EncodedPayload:
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    return codec.encode(KVView(tensor, layout=layout, kv=kv), out, None)


def decoded(codec: Codec, tensor: torch.Tensor, layout: str = "flat", kv: str | None = None) -> torch.Tensor:
    """The codec's own float32 values."""
    wide = torch.empty(tensor.shape)
    codec.decode(encode(codec, tensor, layout, kv), wide)
    return wide


def cache(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Something like keys, [tokens, heads, head_dim]: each channel has a mean and a scale of its own."""
    generator = torch.Generator().manual_seed(5)
    tokens, heads, head_dim = shape
    mean = torch.randn(1, heads, head_dim, generator=generator) * 4
    scale = torch.exp(torch.randn(1, heads, head_dim, generator=generator))
    return (torch.randn(tokens, heads, head_dim, generator=generator) * scale + mean).to(dtype)


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    return tensor.permute(LAYOUT_AXES[layout]).contiguous()


class TestAll:
    @each
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_values_at_the_edge_of_the_dtype_stay_finite(self, codec, dtype):
        limit = torch.finfo(dtype)
        generator = torch.Generator().manual_seed(1)
        signs = torch.where(torch.rand(700, generator=generator) < 0.5, -1.0, 1.0)
        for size in (limit.max, limit.max / 2, limit.tiny, limit.smallest_normal / 4, 0.0):
            tensor = (signs * size).to(dtype)
            own = torch.empty_like(tensor)
            codec.decode(encode(codec, tensor), own)
            assert bool(torch.isfinite(own).all())
            error = (own.double() - tensor.double()).abs().max()
            # Below the normal numbers of float32 a scale is not kept small enough to tell them apart.
            share = 1.5 if isinstance(codec, Rotated) else 1.01
            assert float(error) <= max(size, torch.finfo(torch.float32).tiny) * share

    @each
    def test_layout_changes_no_value(self, codec, bits_equal):
        stored = cache(70, 3, 24)
        want = decoded(codec, stored, "thd", "k")
        for layout in LAYOUT_AXES:
            found = decoded(codec, laid_out(stored, layout), layout, "k")
            if isinstance(codec, Rotated):
                assert torch.allclose(found, laid_out(want, layout), atol=1e-5)
            else:
                assert bits_equal(found, laid_out(want, layout))

    @each
    def test_non_finite_values_and_the_others_at_once(self, codec, bits_equal):
        tensor = cache(40, 2, 16)
        tensor.view(-1)[::7] = torch.tensor(math.nan)
        tensor[3, 1, 4] = -math.inf
        clean = torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)
        own, without = torch.empty_like(tensor), torch.empty_like(tensor)
        codec.decode(encode(codec, tensor, "thd", "v"), own)
        codec.decode(encode(codec, clean, "thd", "v"), without)
        bad = ~torch.isfinite(tensor)
        assert bits_equal(own[bad], tensor[bad])
        assert bits_equal(own[~bad], without[~bad])

    @each
    def test_decoding_goes_by_the_frame_and_not_by_the_codec_asked(self, codec, bits_equal):
        tensor = cache(40, 2, 16)
        encoded = encode(codec, tensor, "thd", "k")
        own, other = torch.empty_like(tensor), torch.empty_like(tensor)
        codec.decode(encoded, own)
        type(codec)().decode(encoded, other)
        assert bits_equal(own, other)

    @each
    def test_a_payload_of_another_size_is_refused(self, codec):
        tensor = cache(40, 2, 16)
        encoded = encode(codec, tensor, "thd")
        cut = EncodedPayload(
            encoded.header.__class__(**{**vars(encoded.header), "body_bytes": 9}), encoded.body[:9], None
        )
        stored = frame.from_bytes(frame.to_bytes(cut))
        with pytest.raises(FrameError, match=f"payload of 9 bytes is not what codec '{codec.name}' makes of shape"):
            codec.decode(stored, torch.empty_like(tensor))

    def test_codecs_do_not_take_each_others_payloads(self):
        encoded = encode(Fp8(), torch.ones(40))
        with pytest.raises(TypeError, match="codec 'rotated' cannot decode a EncodedPayload of codec 'fp8'"):
            Rotated().decode(encoded, torch.empty(40))

    @each
    def test_the_bound_plays_no_part(self, codec):
        assert codec.axes == frozenset()
        assert encode(codec, torch.ones(40)).effective_error_bound is None
        out = torch.empty(codec.capacity(40, torch.float32), dtype=torch.uint8)
        codec.encode(KVView(torch.ones(40)), out, Bound())


class TestPacking:
    @pytest.mark.parametrize("bits", [2, 3, 4, 8])
    @pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 31, 32, 33, 1000])
    def test_back_and_forth_and_the_bits_as_documented(self, bits, count):
        codes = torch.randint(0, 1 << bits, (count,), generator=torch.Generator().manual_seed(count)).to(torch.uint8)
        packed = bit_packing.pack(codes, bits)
        assert packed.numel() == bit_packing.packed_bytes(count, bits) == math.ceil(count * bits / 8)
        assert torch.equal(bit_packing.unpack(packed, count, bits), codes)
        number = sum(int(code) << (bits * place) for place, code in enumerate(codes))
        assert packed.numpy().tobytes() == number.to_bytes(packed.numel(), "little")


class TestFp8:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize(("form", "half_step", "smallest"), [("e4m3", 2**-4, 2**-10), ("e5m2", 2**-3, 2**-17)])
    @pytest.mark.parametrize("scale", ["tensor", "head"])
    def test_error_as_documented(self, dtype, form, half_step, smallest, scale):
        tensor = cache(64, 4, 32, dtype=dtype)
        codec = Fp8(format=form, scale=scale)
        error = (decoded(codec, tensor, "thd").double() - tensor.double()).abs()
        largest = tensor.double().abs().amax(dim=(0, 2) if scale == "head" else (0, 1, 2), keepdim=True)
        scales = largest / (448 if form == "e4m3" else 57344)
        allowed = torch.maximum(half_step * tensor.double().abs(), smallest * scales)
        assert bool((error <= allowed * (1 + 1e-5)).all())
        assert float((error / allowed).max()) > 0.85

    def test_one_is_what_a_cast_gives_within_the_range(self):
        tensor = torch.tensor([0.3, -17.0, 448.0, 1e4, -1e4])
        cast = torch.tensor([0.3, -17.0, 448.0, 448.0, -448.0]).to(torch.float8_e4m3fn).float()
        assert torch.equal(decoded(Fp8(scale="one"), tensor), cast)
        assert encode(Fp8(scale="one"), tensor).stream_bytes == 5

    def test_bytes_as_documented(self):
        tensor = torch.tensor([[[1.0, 448.0], [0.5, 2.0]]])
        payload = encode(Fp8(scale="head"), tensor, "thd").body.numpy().tobytes()
        scales = [np.float32(448) * np.float32(1 / 448), np.float32(2) * np.float32(1 / 448)]
        assert payload[:8] == struct.pack("<2f", *scales)
        assert (
            payload[8:]
            == torch.tensor([1.0, 448.0, 112.0, 448.0]).to(torch.float8_e4m3fn).view(torch.uint8).numpy().tobytes()
        )

    def test_heads_have_scales_of_their_own(self):
        tensor = torch.cat([torch.full((16, 1, 8), 1e-3), torch.full((16, 1, 8), 1e3)], dim=1)
        assert torch.allclose(decoded(Fp8(scale="head"), tensor, "thd"), tensor, rtol=1e-6)
        assert float(decoded(Fp8(), tensor, "thd")[:, 0].max()) == 0.0
        assert encode(Fp8(scale="head"), tensor, "thd").stream_bytes == 256 + 8
        assert encode(Fp8(), tensor, "thd").stream_bytes == 256 + 4


class TestGroupwise:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("bits", [2, 3, 4, 8])
    @pytest.mark.parametrize("along", ["tokens", "head_dim"])
    def test_error_is_half_a_step(self, dtype, bits, along):
        tensor = cache(100, 2, 48, dtype=dtype)
        codec = Groupwise(bits=bits, group=32, along=along)
        error = (decoded(codec, tensor, "thd").double() - tensor.double()).abs()
        worst = 0.0
        rows, errors = (part.movedim(0, -1) if along == "tokens" else part for part in (tensor.double(), error))
        for values, found in zip(rows.split(32, dim=-1), errors.split(32, dim=-1), strict=True):
            low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
            step = (high - low) / (2**bits - 1) * (1 + torch.finfo(dtype).eps)  # rounded up to the tensor's dtype
            allowed = step / 2 + 2**-22 * values.abs().amax(-1, keepdim=True)
            assert bool((found <= allowed).all())
            worst = max(worst, float((found / allowed).max()))
        assert worst > 0.9

    def test_keys_go_per_channel_and_values_per_token(self):
        tensor = cache(128, 2, 32)
        by_channel = Groupwise(bits=2, group=32, along="tokens")
        by_token = Groupwise(bits=2, group=32, along="head_dim")
        auto = Groupwise(bits=2, group=32)
        assert torch.equal(encode(auto, tensor, "thd", "k").body, encode(by_channel, tensor, "thd").body)
        assert torch.equal(encode(auto, tensor, "thd", "v").body, encode(by_token, tensor, "thd").body)
        assert torch.equal(encode(auto, tensor, "thd", None).body, encode(by_token, tensor, "thd").body)
        error = {kv: (decoded(auto, tensor, "thd", kv) - tensor.float()).square().mean() for kv in ("k", "v")}
        assert error["k"] < error["v"] / 4  # the channels' means are what a group of tokens takes out

    @pytest.mark.parametrize(
        ("bits", "group", "bits_a_value"), [(8, 64, 8.5), (4, 64, 4.5), (3, 64, 3.5), (2, 32, 3.0), (2, 64, 2.5)]
    )
    @pytest.mark.parametrize("kv", ["k", "v"])
    def test_bits_a_value(self, bits, group, bits_a_value, kv):
        encoded = encode(Groupwise(bits=bits, group=group), cache(512, 3, 64), "thd", kv)
        assert 8 * encoded.stream_bytes / (512 * 3 * 64) == bits_a_value
        assert 8 * encoded.nbytes() / (512 * 3 * 64) < bits_a_value + 0.015

    def test_bytes_as_documented(self):
        tensor = torch.tensor([0.0, 1.0, 2.0, 3.0, -1.0, 5.0], dtype=torch.float16)
        payload = encode(Groupwise(bits=2, group=4), tensor).body
        numbers = torch.tensor([1.0, 2.0, 0.0, -1.0], dtype=torch.float16)  # steps, then minima
        assert payload[:8].numpy().tobytes() == numbers.numpy().tobytes()
        assert payload[8:].tolist() == [0b11100100, 0b1100]

    def test_a_group_of_equal_values_is_exact(self):
        tensor = torch.full((70,), 3.1415926)
        assert torch.equal(decoded(Groupwise(bits=2, group=32), tensor), tensor)

    def test_a_spread_wider_than_the_dtype_holds(self):
        limit = torch.finfo(torch.float32).max
        tensor = torch.tensor([-limit, -limit / 3, 0.0, limit / 3, limit])
        error = (decoded(Groupwise(bits=4), tensor).double() - tensor.double()).abs()
        assert float(error.max()) <= 2 * limit / 15 / 2 * 1.0001


class TestRotated:
    @pytest.mark.parametrize(("bits", "distortion"), [(2, 0.1160), (3, 0.03397), (4, 0.009315)])
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_error_as_documented(self, bits, distortion, dtype):
        generator = torch.Generator().manual_seed(2)
        tensor = torch.randn(400, 2, 128, generator=generator).to(dtype) ** 3  # no normal distribution before the turn
        found = decoded(Rotated(bits=bits), tensor, "thd")
        share = (found.double() - tensor.double()).square().sum() / tensor.double().square().sum()
        assert float(share) == pytest.approx(distortion, rel=0.03)

    def test_centres_for_many_dimensions_are_those_for_a_normal_distribution(self):
        # Max: "Quantizing for minimum distortion", 1960, table I.
        known = {2: [0.4528, 1.510], 3: [0.2451, 0.7560, 1.344, 2.152]}
        for bits, centres in known.items():
            assert rotated.lloyd_max(bits, 100_000) * math.sqrt(100_000) == pytest.approx(centres, rel=1e-3)

    @pytest.mark.parametrize("size", [3, 16, 64, 128])
    @pytest.mark.parametrize("bits", [2, 3, 4])
    def test_each_centre_is_the_mean_of_its_cell(self, size, bits):
        centres = rotated.lloyd_max(bits, size)
        edges = [0.0, *((centres[1:] + centres[:-1]) / 2), 1.0]
        for centre, low, high in zip(centres, edges[:-1], edges[1:], strict=True):
            weight = [
                integrate.quad(lambda x, p=power: x**p * (1 - x * x) ** ((size - 3) / 2), low, high, epsabs=1e-14)[0]
                for power in (0, 1)
            ]
            assert centre == pytest.approx(weight[1] / weight[0], rel=1e-5)

    def test_the_rotation_is_orthogonal_and_the_seeds(self):
        cpu = torch.device("cpu")
        matrix = rotated._rotation(64, 3, cpu).double()
        assert torch.allclose(matrix @ matrix.T, torch.eye(64, dtype=torch.float64), atol=1e-6)
        assert not torch.equal(rotated._rotation(64, 4, cpu), rotated._rotation(64, 3, cpu))
        # The first of numpy's frozen generator: a stored tensor needs the same matrix for ever.
        assert rotated._rotation(3, 3, cpu)[0].tolist() == pytest.approx(ROTATION_3_SEED_3, abs=1e-6)

    def test_a_seed_belongs_to_the_frame(self):
        tensor = cache(40, 2, 32)
        encoded = encode(Rotated(seed=9), tensor, "thd")
        own, other = torch.empty(tensor.shape), torch.empty(tensor.shape)
        Rotated(seed=9).decode(encoded, own)
        Rotated(seed=1).decode(frame.from_bytes(frame.to_bytes(encoded)), other)
        assert torch.equal(own, other)

    def test_sizes(self):
        tensor = cache(512, 3, 64)
        for bits in (2, 3, 4):
            assert 8 * encode(Rotated(bits=bits), tensor, "thd").stream_bytes / tensor.numel() == bits + 16 / 64
        assert encode(Rotated(bits=4, vector=32), torch.ones(33)).stream_bytes == 2 * 4 + 32

    def test_zeros_and_huge_vectors(self):
        tensor = torch.zeros(3, 1, 64)
        tensor[1] = torch.finfo(torch.float32).max
        tensor[2] = 1e-30
        found = decoded(Rotated(bits=4), tensor, "thd")
        assert torch.equal(found[0], tensor[0])
        assert torch.allclose(found[1:], tensor[1:], rtol=0.4)
