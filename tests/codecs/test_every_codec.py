"""Owns the one test that every registered codec must pass, with whatever parameters it declares."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from kvbench.bound import Bound
from kvbench.codecs import registry
from kvbench.codecs.base import Codec
from kvbench.config import CodecChoice

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = [0, 1, 31, 32, 33, 1023, 4097, 32_769, 70_001]
BOUNDS = [Bound(kind="rel", value=1e-2), Bound(kind="abs", value=3e-3), Bound(kind="std", value=0.1)]


# What to try beside the defaults of a codec.
MORE_PARAMS: dict[str, list[dict[str, object]]] = {
    "fp8": [{"scale": "head"}, {"scale": "one"}, {"format": "e5m2"}, {"format": "e5m2", "scale": "head"}],
    "groupwise": [
        {"bits": 8, "along": "tokens"},
        {"bits": 3, "along": "tokens"},
        {"bits": 3, "group": 20},
        {"bits": 2, "group": 32},
        {"bits": 4, "group": 1},
    ],
    "lossless": [
        {"shuffle": "none", "threads": 1},
        {"algorithm": "lz4", "shuffle": "bit", "level": 9},
        {"algorithm": "lz4", "threads": 2},
    ],
    "pipeline": [
        {"params": {"mode": "outlier", "bound_policy": "compatible"}},
        {"codec": "groupwise"},
        {"codec": "lossless", "params": {"threads": 1}},
        {"codec": "raw"},
        {"codec": "zfp"},
    ],
    "rotated": [{"bits": 2, "seed": 7}, {"bits": 3, "vector": 33}],
    "sz3": [{"dimensions": 1}, {"dimensions": 3}],
    "zfp": [{"dimensions": 1}, {"dimensions": 3}],
}


def _variants() -> list[object]:
    """Every codec usable here, with each mode and bound policy it declares, or other parameters."""
    found = []
    for name in registry.names():
        facts = registry.facts(CodecChoice(name=name), "cpu")
        if facts.unavailable is not None:
            continue
        modes = ["fixed", "plain", "outlier"] if "mode" in facts.axes else [None]
        policies = ["strict", "compatible"] if "bound_policy" in facts.axes else [None]
        for mode, policy in product(modes, policies):
            params = {"mode": mode, "bound_policy": policy}
            codec = registry.make(name, {key: value for key, value in params.items() if value is not None})
            found.append(pytest.param(codec, id="-".join(filter(None, [name, mode, policy]))))
        for extra in MORE_PARAMS.get(name, []):
            words = [name, *(f"{key}={value}" for key, value in extra.items())]
            found.append(pytest.param(registry.make(name, extra), id="-".join(words)))
    return found


def _bounds(codec: Codec) -> list[Bound | None]:
    return list(BOUNDS) if "bound" in codec.axes else [None]


def _promises_values(codec: Codec) -> bool:
    return codec.lossless or "bound" in codec.axes


def _allowed_excess(codec: Codec, original: torch.Tensor) -> float:
    """What a codec may miss its bound by: nothing, or anything where it is lossy and declares none.

    The `compatible` policy may by the rounding of its float32 arithmetic, 2^-22 |x| and 2^-23 E.
    """
    if not _promises_values(codec):
        return math.inf
    if getattr(codec, "bound_policy", "strict") == "strict":
        return 0.0
    largest = float(original[torch.isfinite(original)].abs().max()) if original.numel() else 0.0
    return 2.0**-22 * largest + 2.0**-22


@pytest.mark.parametrize("codec", _variants())
class TestEveryCodec:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_sizes_and_bounds(self, codec, dtype, round_trip, bits_equal, normal):
        for size, bound in product(SIZES, _bounds(codec)):
            tensor = normal(size, dtype=dtype)
            result = round_trip(codec, tensor, bound)
            assert result.encoded.non_finite_count == 0
            assert bits_equal(result.own, result.wide.to(dtype))
            if codec.lossless:
                assert bits_equal(result.own, tensor)
                assert result.encoded.effective_error_bound is None
            else:
                assert result.excess(tensor) <= _allowed_excess(codec, tensor)

    @pytest.mark.parametrize("layout", ["thd", "htd", "hdt"])
    def test_layouts_keep_their_shape(self, codec, layout, round_trip, normal):
        stored = normal(37, 3, 16, dtype=torch.bfloat16)
        axes = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}[layout]
        tensor = stored.permute(axes).contiguous()
        result = round_trip(codec, tensor, layout=layout)
        assert result.own.shape == tensor.shape
        assert result.excess(tensor) <= _allowed_excess(codec, tensor)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("share", [0.0002, 0.05, 1.0])
    def test_non_finite_values_keep_their_bits(self, codec, dtype, share, round_trip, bits_equal, normal):
        tensor = normal(20_000, dtype=dtype)
        chosen = torch.rand(20_000, generator=torch.Generator().manual_seed(3)) < share
        kinds = torch.tensor([float("nan"), float("inf"), float("-inf")]).repeat(6667)[:20_000].to(dtype)
        tensor = torch.where(chosen, kinds, tensor)
        bad = ~torch.isfinite(tensor)
        assert bad.any()
        marks = tensor.nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0)
        result = round_trip(codec, tensor)
        assert result.encoded.non_finite_count == int(bad.sum())
        assert "non_finite" in result.encoded.flags
        assert torch.equal(result.own[bad].nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0), marks[bad])
        assert bits_equal(result.own[bad], tensor[bad]) or not _promises_values(codec)
        if (
            getattr(codec, "bound_policy", "strict") == "strict"
        ):  # the original's stream spoils an infinity's neighbours
            assert bool(torch.isfinite(result.own[~bad]).all())
            assert result.excess(tensor) <= _allowed_excess(codec, tensor)

    def test_more_than_one_piece(self, codec, round_trip, bits_equal, normal):
        tensor = normal((1 << 20) + 77, dtype=torch.bfloat16)
        tensor[[5, (1 << 20) - 1, 1 << 20, (1 << 20) + 76]] = torch.tensor(float("nan"), dtype=torch.bfloat16)
        bad = ~torch.isfinite(tensor)
        result = round_trip(codec, tensor)
        assert bits_equal(result.own[bad], tensor[bad]) or not _promises_values(codec)
        assert result.excess(tensor) <= _allowed_excess(codec, tensor)

    @pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -3.25e4])
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_constant_tensors(self, codec, dtype, value, round_trip, bits_equal):
        tensor = torch.full((5000,), value, dtype=dtype)
        result = round_trip(codec, tensor, Bound(kind="rel", value=1e-3))
        assert bits_equal(result.own, tensor) or not _promises_values(codec)

    def test_refuses_memory_that_does_not_fit(self, codec, normal):
        from kvbench.tensors.base import KVView

        tensor = normal(64, 8)
        bound = Bound() if "bound" in codec.axes else None
        room = torch.empty(codec.capacity(512, torch.float32), dtype=torch.uint8)
        with pytest.raises(ValueError, match="bytes"):
            codec.encode(KVView(tensor), room[:-1], bound)
        with pytest.raises(ValueError, match="contiguous"):
            codec.encode(KVView(tensor.T), room, bound)
        encoded = codec.encode(KVView(tensor), room, bound)
        for wrong in (torch.empty(512), torch.empty(8, 64).T, torch.empty(64, 8, dtype=torch.float16)):
            with pytest.raises(ValueError, match="decod"):
                codec.decode(encoded, wrong)
        with pytest.raises(TypeError, match="cannot decode"):
            codec.decode(object(), tensor)

    def test_refuses_other_dtypes(self, codec):
        from kvbench.tensors.base import KVView

        with pytest.raises(ValueError, match="float64"):
            codec.encode(KVView(torch.zeros(4, dtype=torch.float64)), torch.empty(4096, dtype=torch.uint8), Bound())

    def test_stages_can_be_called_again(self, codec, normal):
        from kvbench.tensors.base import KVView

        tensor = normal(40_000, dtype=torch.bfloat16)
        bound = Bound() if "bound" in codec.axes else None
        room = torch.empty(codec.capacity(40_000, torch.bfloat16), dtype=torch.uint8)
        encoded = codec.encode(KVView(tensor), room.clone(), bound)
        stages = codec.stages(KVView(tensor), room, bound)
        assert set(stages) <= {"range", "encode_kernel", "decode_kernel"}
        for _ in range(2):
            for call in stages.values():
                call()
        if "encode_kernel" in stages:
            again = codec.encode(KVView(tensor), torch.empty_like(room), bound)
            assert again.nbytes() == encoded.nbytes()
            assert torch.equal(room[: again.stream_bytes], again.body)
