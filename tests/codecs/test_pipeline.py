"""Owns the tests of the codec `pipeline`: what its bound is about, what it stores, and that nothing drifts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from kvbench.bound import Bound
from kvbench.codecs import calibration, frame, registry
from kvbench.codecs.frame import FrameError
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.pipeline import Pipeline
from kvbench.codecs.stored import codec_of, empty_like_decoded
from kvbench.config import CodecChoice
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
AXES = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}
CHAINS = [
    "layout=hdt",
    "keep-first=4",
    "center",
    "scale",
    "hadamard",
    "derope",
    "keep-first=4,derope=500:pairing=interleaved,center,scale,hadamard,layout=htd",
]
INNER = [("cuszp", {"mode": "outlier"}), ("groupwise", {"bits": 4}), ("lossless", {}), ("zfp", {})]


def keys(tokens: int, dtype: torch.dtype = torch.float32, layout: str = "thd", heads: int = 2) -> KVView:
    generator = torch.Generator().manual_seed(8)
    values = torch.randn(tokens, heads, 32, generator=generator) + torch.linspace(-6, 6, 32)
    if tokens:
        values[:3] *= 9.0  # as the first tokens of a real cache
    tensor = values.to(dtype).permute(AXES[layout]).contiguous()
    return KVView(tensor, layer=3, kv="k", layout=layout, token_start=16)


def encode(codec: Pipeline, view: KVView, bound: Bound | None = Bound(kind="abs", value=0.05)) -> EncodedPayload:  # noqa: B008
    room = torch.empty(codec.capacity(view.tensor.numel(), view.tensor.dtype), dtype=torch.uint8)
    return codec.encode(view, room, bound if "bound" in codec.axes else None)


def decode(codec: Pipeline, encoded: EncodedPayload, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    out = torch.empty(encoded.shape, dtype=dtype)
    codec.decode(encoded, out)
    return out


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("name", "params"), INNER, ids=[name for name, _ in INNER])
class TestEveryChainWithEveryKindOfCodec:
    def test_sizes_dtypes_and_layouts(self, chain, name, params, bits_equal):
        codec = Pipeline(codec=name, params=params, transforms=chain)
        for tokens, dtype, layout in [
            *product([0, 1, 31, 32, 33, 300], DTYPES, ["thd"]),
            *product([129], [torch.bfloat16], ["htd", "hdt"]),
        ]:
            view = keys(tokens, dtype, layout)
            before = view.tensor.clone()
            encoded = encode(codec, view)
            assert bits_equal(view.tensor, before)
            written = frame.to_bytes(encoded)
            assert len(written) == encoded.nbytes()
            stored = frame.from_bytes(written)
            again = empty_like_decoded(stored)
            codec_of(stored).decode(stored, again)
            assert again.dtype == dtype
            assert bits_equal(again, decode(codec, encoded, dtype))
            if codec.lossless:
                assert bits_equal(again, view.tensor)
            pair = codec.coded_values(view, encoded)
            if pair is not None and "bound" in codec.axes:
                assert float((pair[0].double() - pair[1].double()).abs().max()) <= 0.05
            if pair is None and "bound" in codec.axes and tokens:
                wide = decode(codec, encoded)
                assert float((wide.double() - view.tensor.double()).abs().max()) <= 0.05

    def test_non_finite_values_keep_their_bits(self, chain, name, params, bits_equal):
        codec = Pipeline(codec=name, params=params, transforms=chain)
        for dtype in DTYPES:
            view = keys(200, dtype)
            flat = view.tensor.view(-1)
            flat[[0, 70, 700, 5000]] = torch.tensor(
                [float("nan"), float("inf"), float("-inf"), float("nan")], dtype=dtype
            )
            encoded = encode(codec, view)
            own = decode(codec, encoded, dtype)
            bad = ~torch.isfinite(view.tensor)
            assert encoded.non_finite_count == 4
            assert bits_equal(own[bad], view.tensor[bad])
            assert torch.isfinite(own[~bad]).all()


class TestTheBound:
    def test_relative_bounds_are_of_the_coded_tokens_in_the_tensor(self):
        view = keys(100)
        bound = Bound(kind="rel", value=1e-2)
        rest = view.tensor[4:]
        width = float(rest.max() - rest.min())
        for chain in ("keep-first=4", "keep-first=4,center,hadamard"):
            codec = Pipeline(transforms=chain)
            assert codec.bounded_part(view).shape == rest.shape
            assert encode(codec, view, bound).effective_error_bound == pytest.approx(1e-2 * width, rel=1e-6)
        assert encode(Pipeline(transforms="center"), view, bound).effective_error_bound > 2e-2 * width

    def test_std_as_well(self):
        view = keys(100)
        std = float(view.tensor[4:].double().std(correction=0))
        found = encode(Pipeline(transforms="keep-first=4,scale"), view, Bound(kind="std", value=0.1))
        assert found.effective_error_bound == pytest.approx(0.1 * std, rel=1e-9)

    def test_center_keeps_it_in_the_tensor_but_for_rounding(self):
        view = keys(1000, torch.bfloat16)
        encoded = encode(Pipeline(transforms="center"), view)
        error = (decode(Pipeline(), encoded).double() - view.tensor.double()).abs()
        assert float(error.max()) <= 0.05 + 2.0**-24 * 2 * float(view.tensor.abs().max())

    def test_scale_moves_it_by_powers_of_two(self):
        view = keys(1000)
        view.tensor[:, :, 5] *= 64
        error = (decode(Pipeline(), encode(Pipeline(transforms="scale"), view)) - view.tensor).abs()
        assert float(error[:, :, 5].max()) > 0.2
        assert float(error[:, :, 6].max()) <= 0.05

    @pytest.mark.parametrize(("name", "has_bound"), [("cuszp", True), ("groupwise", False), ("lossless", False)])
    def test_axes_are_the_inner_codecs(self, name, has_bound):
        facts = registry.facts(CodecChoice(name="pipeline", params={"codec": name}), "cpu")
        assert ("bound" in facts.axes) == has_bound
        assert "mode" not in facts.axes

    def test_lossless_as_long_as_no_value_changes(self):
        assert Pipeline(codec="lossless", transforms="keep-first=4,layout=hdt").lossless
        assert not Pipeline(codec="lossless", transforms="center").lossless
        assert not Pipeline(codec="cuszp", transforms="layout=hdt").lossless
        assert Pipeline.lossless is False

    def test_a_missing_bound_is_asked_for(self):
        with pytest.raises(UsageError, match="needs an error bound"):
            encode(Pipeline(transforms="center"), keys(40), None)


class TestWhatIsStored:
    def test_the_accounting_is_exact(self):
        view = keys(300, torch.bfloat16)
        encoded = encode(Pipeline(params={"mode": "outlier"}, transforms="keep-first=4,derope,center,scale"), view)
        inner = view.tensor[4:].float()
        kept, start, means, exponents = 4 * 64 * 2, 8, 64 * 2, 64
        header = 41 + 8 * 3 + 9
        stream = encoded.stream_bytes - kept - start - means - exponents - header - 4
        plain = registry.make("cuszp", {"mode": "outlier"})
        room = torch.empty(plain.capacity(inner.numel(), torch.float32), dtype=torch.uint8)
        seen = Pipeline(transforms="keep-first=4,derope,center,scale").coded_values(view, encoded)
        assert seen is not None
        alone = plain.encode(KVView(seen[0]), room, Bound(kind="abs", value=0.05))
        assert stream == alone.stream_bytes
        assert encoded.nbytes() == len(frame.to_bytes(encoded))

    def test_kept_tokens_are_exact(self, bits_equal):
        for layout, axis in (("thd", 0), ("htd", 1), ("hdt", 2)):
            view = keys(300, torch.bfloat16, layout)
            own = decode(Pipeline(), encode(Pipeline(transforms="keep-first=4,center"), view), torch.bfloat16)
            assert bits_equal(own.narrow(axis, 0, 4), view.tensor.narrow(axis, 0, 4))
            assert not bits_equal(own.narrow(axis, 4, 200), view.tensor.narrow(axis, 4, 200))

    def test_a_chain_says_what_it_was_in_full(self):
        params = encode(Pipeline(transforms="derope,center", threads=1), keys(300)).header.description.params
        assert params == {
            "codec": "cuszp",
            "params": {"mode": "plain", "bound_policy": "strict"},
            "transforms": "derope=10000.0:pairing=half:dims=0,center=block",
        }

    def test_values_lose_the_rotation_of_keys(self):
        view = KVView(keys(300).tensor, kv="v", layout="thd")
        params = encode(Pipeline(transforms="derope,center"), view).header.description.params
        assert params["transforms"] == "center=block"

    def test_a_tensor_that_would_grow_is_stored_as_it_is(self, bits_equal):
        view = keys(2, torch.bfloat16)
        encoded = encode(Pipeline(transforms="center"), view)
        assert encoded.flags == ("stored_raw",)
        assert bits_equal(decode(Pipeline(), encoded, torch.bfloat16), view.tensor)

    def test_what_leaves_the_range_of_its_numbers_is_stored_as_it_is(self, bits_equal):
        view = KVView(torch.full((64, 1, 64), 6e4, dtype=torch.float16), layout="thd")
        encoded = encode(Pipeline(codec="fp8", transforms="hadamard"), view)
        assert encoded.flags == ("stored_raw",)
        assert bits_equal(decode(Pipeline(), encoded, torch.float16), view.tensor)

    def test_a_constant_is_one_value(self):
        view = KVView(torch.full((500, 2, 8), 2.5), layout="thd")
        encoded = encode(Pipeline(transforms="center"), view, Bound(kind="rel", value=1e-2))
        assert encoded.flags == ("constant",)
        kept = encode(Pipeline(transforms="keep-first=4,center"), view, Bound(kind="rel", value=1e-2))
        assert kept.flags == ("stored_raw",)
        assert torch.equal(decode(Pipeline(), kept), view.tensor)

    def test_all_tokens_kept(self, bits_equal):
        view = keys(3, torch.bfloat16)
        encoded = encode(Pipeline(transforms="keep-first=4,center"), view)
        assert encoded.flags == ("stored_raw",)
        assert bits_equal(decode(Pipeline(), encoded, torch.bfloat16), view.tensor)


class TestWhatIsRefused:
    def test_a_flat_tensor(self):
        with pytest.raises(UsageError, match="tokens, heads and head size, not a flat one"):
            encode(Pipeline(transforms="center"), KVView(torch.zeros(64)))

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"codec": "pipeline"}, "cannot stand in a pipeline"),
            ({"codec": "cuzsp"}, "unknown codec 'cuzsp'"),
            ({"params": {"bits": 3}}, "no parameter 'bits'"),
            ({"transforms": "centre"}, "unknown transform 'centre'"),
        ],
    )
    def test_bad_parameters_are_named(self, fields, words):
        with pytest.raises(UsageError, match=words):
            registry.make("pipeline", fields)

    def test_a_frame_whose_payload_lies(self):
        """Every cut, and any byte of what stands behind the stream, either decodes or is refused."""
        encoded = encode(Pipeline(transforms="keep-first=2,center"), keys(300))
        tail = encoded.body.numel() - 100
        for at in range(tail, encoded.body.numel()):
            body = encoded.body.clone()
            body[at] ^= 0x41
            damaged = EncodedPayload(encoded.header, body, None)
            try:
                decode(Pipeline(), damaged)
            except (FrameError, UsageError):
                continue
        for length in (0, 3, 4, 80, encoded.body.numel() - 1):
            with pytest.raises(FrameError):
                decode(Pipeline(), EncodedPayload(encoded.header, encoded.body[:length], None))

    def test_a_frame_whose_chain_cannot_be(self):
        """A description that no writer makes for that shape, as an altered frame with a new checksum may hold."""
        encoded = encode(Pipeline(transforms="center"), keys(300))
        other = calibration.add(torch.zeros(5, 5))
        for chain, words in (
            (f"center={other}", "channels"),
            ("hadamard=64", "head size"),
            ("center=" + "0" * 16, "known"),
        ):
            params = {**encoded.header.description.params, "transforms": chain}
            description = encoded.header.description.model_copy(update={"params": params})
            lying = EncodedPayload(replace(encoded.header, description=description), encoded.body, None)
            with pytest.raises(UsageError, match=words):
                decode(Pipeline(), lying)


class TestDrift:
    """Blocks that are stored, restored, and stored again, as a cache that is swapped out and in."""

    BOUND = Bound(kind="abs", value=0.05)

    def _rounds(self, codec: Pipeline, view: KVView, bound: Bound, times: int = 4) -> list[torch.Tensor]:
        found = []
        for _ in range(times):
            restored = decode(codec, encode(codec, view, bound), view.tensor.dtype)
            found.append(restored)
            view = KVView(restored, view.layer, view.kv, view.layout, view.token_start)
        return found

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("kept", ["", "keep-first=4,"])
    def test_absolute_bound_and_calibrated_means_do_not_drift(self, dtype, kept):
        view = keys(600, dtype)
        codec = Pipeline(params={"bound_policy": "compatible"}, transforms=f"{kept}center={self._means()},layout=hdt")
        rounds = self._rounds(codec, view, self.BOUND)
        assert not torch.equal(rounds[0], view.tensor)
        assert all(torch.equal(rounds[0], later) for later in rounds[1:])

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_strict_settles_at_the_second_store(self, dtype):
        """Its quantiser takes a little off the bound for the block's largest value, which the first store may move."""
        view = keys(600, dtype)
        first, *later = self._rounds(Pipeline(transforms=f"center={self._means()}"), view, self.BOUND)
        assert all(torch.equal(later[0], one) for one in later)
        assert float((later[0].double() - first.double()).abs().max()) <= 2.0**-20 * float(view.tensor.abs().max())

    def _means(self) -> str:
        return calibration.add(calibration.measure(keys(900).tensor)["mean"])

    def test_relative_bounds_and_own_means_do(self):
        """What the test above would miss if nothing ever drifted."""
        rounds = self._rounds(Pipeline(transforms="center"), keys(600, torch.bfloat16), Bound(kind="rel", value=2e-2))
        assert not torch.equal(rounds[0], rounds[1])
