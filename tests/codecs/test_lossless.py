"""Owns the tests of the lossless codecs of bytes: every bit comes back, damage is refused, threads change nothing."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from kvbench.bound import Bound
from kvbench.codecs import dependency, frame, lossless, registry
from kvbench.codecs.frame import FrameError
from kvbench.codecs.lossless import Lossless
from kvbench.codecs.nvcomp import Nvcomp
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.stored import codec_of
from kvbench.config import CodecChoice
from kvbench.errors import UnavailableError
from kvbench.tensors.base import KVView

ALL = [Lossless(algorithm=a, shuffle=s) for a in ("zstd", "lz4") for s in ("none", "byte", "bit")]


def encode(codec: Lossless, tensor: torch.Tensor) -> EncodedPayload:
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    return codec.encode(KVView(tensor), out, None)


def every_pattern(dtype: torch.dtype) -> torch.Tensor:
    """All 65536 values of a 16-bit dtype: every NaN, zero and subnormal number."""
    return torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(dtype)


@pytest.mark.parametrize("codec", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_bit_pattern_comes_back(codec, dtype, bits_equal):
    tensor = every_pattern(dtype)
    encoded = encode(codec, tensor)
    own = torch.empty_like(tensor)
    codec.decode(encoded, own)
    assert bits_equal(own, tensor)
    assert encoded.non_finite_count == int((~torch.isfinite(tensor)).sum())
    assert "non_finite" in encoded.flags


@pytest.mark.parametrize("codec", ALL, ids=repr)
def test_several_chunks_and_another_number_of_threads(codec, monkeypatch, bits_equal):
    monkeypatch.setattr(lossless, "CHUNK_BYTES", 4096)
    tensor = torch.linspace(-1, 1, 5000).to(torch.bfloat16)
    one = encode(codec.model_copy(update={"threads": 1}), tensor)
    two = encode(codec.model_copy(update={"threads": 2}), tensor)
    assert frame.to_bytes(one) == frame.to_bytes(two)  # threads belong to no frame
    own = torch.empty_like(tensor)
    codec.decode(one, own)
    assert bits_equal(own, tensor)
    assert codec_of(one, threads=3).threads == 3


def test_noise_is_stored_as_it_is(bits_equal):
    noise = torch.randint(-(1 << 15), 1 << 15, (3000,), generator=torch.Generator().manual_seed(0))
    tensor = noise.to(torch.int16).view(torch.float16)
    encoded = encode(Lossless(shuffle="none"), tensor)
    assert encoded.flags == ("stored_raw", "non_finite")
    assert encoded.stream_bytes == 6000
    own = torch.empty_like(tensor)
    Lossless().decode(frame.from_bytes(frame.to_bytes(encoded)), own)
    assert bits_equal(own, tensor)


def test_shuffle_and_level_make_smaller_payloads():
    tensor = torch.randn(40_000, generator=torch.Generator().manual_seed(1)) + 100
    plain = encode(Lossless(shuffle="none"), tensor).stream_bytes
    shuffled = encode(Lossless(), tensor).stream_bytes
    assert shuffled < plain * 0.9
    assert encode(Lossless(shuffle="bit", level=9), tensor).stream_bytes < shuffled


@pytest.mark.parametrize(
    ("at", "new", "reason"),
    [
        (4, (80).to_bytes(4, "little"), "decodes to 80 stands where one of 2000 is due"),
        (12, (1 << 30).to_bytes(4, "little"), "of 1073741824 bytes that decodes to 2000 stands"),
        (12, (3).to_bytes(4, "little"), "of 3 bytes that decodes"),
        (None, None, "missing or cut short"),
    ],
)
def test_damaged_payloads(at, new, reason):
    encoded = encode(Lossless(), torch.zeros(1000, dtype=torch.float16))
    payload = encoded.body.clone()
    if at is None:
        payload = payload[:9]
    else:
        payload[at : at + 4] = torch.frombuffer(bytearray(new), dtype=torch.uint8)
    with pytest.raises(FrameError, match=reason):
        Lossless().expand(payload, 2, torch.empty(2000, dtype=torch.uint8))
    with pytest.raises(FrameError, match=r"1 bytes are left over|decodes to|cut short"):
        Lossless().expand(torch.cat([payload, payload[:1]]), 2, torch.empty(2000, dtype=torch.uint8))


class TestMissingPackages:
    @pytest.fixture(autouse=True)
    def _forget(self):
        dependency.import_problem.cache_clear()
        yield
        dependency.import_problem.cache_clear()

    @pytest.mark.parametrize(
        ("name", "module", "reason"),
        [
            (
                "nvcomp",
                "nvidia.nvcomp",
                r"package nvidia-nvcomp-cu13 is not installed.*; pip install kvbench\[nvcomp\]",
            ),
            ("zfp", "zfpy", r"package zfpy is not installed.*; pip install kvbench\[zfp\]"),
            ("sz3", "pysz", r"package pysz is not installed.*; pip install kvbench\[sz3\]"),
            ("lossless", "numcodecs.blosc", r"package numcodecs is not installed.*; pip install kvbench$"),
        ],
    )
    def test_each_is_named_with_its_remedy(self, name, module, reason, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)  # what makes an import fail as if it were absent
        facts = registry.facts(CodecChoice(name=name), "cpu")
        assert re.search(reason, facts.unavailable)
        line = next(info for info in registry.describe() if info.name == name)
        assert re.search(reason, line.unavailable.removeprefix("cpu: ").partition("; cuda: ")[0])
        codec, bound = registry.make(name, {}), Bound()
        with pytest.raises(UnavailableError, match=f"codec '{name}' cannot be used here: {reason}"):
            codec.encode(KVView(torch.ones(8)), torch.empty(64, dtype=torch.uint8), bound)

    def test_one_that_breaks_while_loading_says_how(self, monkeypatch, tmp_path):
        (tmp_path / "broken_codec_library.py").write_text("raise OSError('libbroken.so is missing')")
        monkeypatch.syspath_prepend(str(tmp_path))
        problem = dependency.import_problem("broken_codec_library", "broken", "extra")
        assert problem == "package broken does not load (OSError: libbroken.so is missing)"

    def test_a_frame_of_a_codec_that_cannot_be_used_here(self):
        header = encode(Lossless(), torch.ones(800)).header
        description = header.description.model_copy(update={"codec": "nvcomp", "params": {"algorithm": "ans"}})
        fields = {**vars(header), "description": description}
        stored = EncodedPayload(type(header)(**fields), torch.zeros(header.body_bytes, dtype=torch.uint8), None)
        again = frame.from_bytes(frame.to_bytes(stored))
        with pytest.raises(UnavailableError, match="codec 'nvcomp' cannot be used here: "):
            codec_of(again)

    def test_cpu_tensors_and_nvcomp(self):
        assert Nvcomp.unavailable("cpu") is not None
        assert Lossless.unavailable("cuda") == "Blosc runs on the CPU only"
