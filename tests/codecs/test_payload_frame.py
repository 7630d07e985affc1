"""Owns the tests of version 2 frames: the documented bytes, and that every altered or impossible one is refused."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys

import pytest
import torch
import xxhash
from damaged_frames import bytes_left_over_are_refused, every_cut_is_refused, every_flipped_byte_is_refused

from kvbench.bound import Bound
from kvbench.codecs import frame, registry
from kvbench.codecs.fp8 import Fp8
from kvbench.codecs.frame import FrameError
from kvbench.codecs.groupwise import Groupwise
from kvbench.codecs.payload import EncodedPayload
from kvbench.codecs.stored import codec_of
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

HEAD = "<4s6BHQ"


def encode(codec: object, tensor: torch.Tensor, layout: str = "flat", bound: Bound | None = None) -> EncodedPayload:
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    return codec.encode(KVView(tensor, layout=layout), out, bound)


def sealed(content: bytes) -> bytes:
    return content + struct.pack("<Q", xxhash.xxh3_64_intdigest(content))


def altered(whole: bytes, at: int, new: bytes) -> bytes:
    """The frame with bytes replaced and a checksum that fits them: what only a writer could have made."""
    content = bytearray(whole[:-8])
    content[at : at + len(new)] = new
    return sealed(bytes(content))


def made(text: str, shape: tuple[int, ...] = (4,), count: int = 0, body: tuple[int, bytes] = (6, b"")) -> bytes:
    """A frame around a description, written by hand."""
    head = struct.pack(HEAD, b"\x8fCZP", 2, 1, 0, 0, len(shape), 1, len(text), count)
    sections = struct.pack(f"<{len(shape)}QBQ", *shape, body[0], len(body[1]))
    return sealed(head + sections + text.encode() + body[1])


SPOILED = torch.linspace(-1, 1, 40).to(torch.float16)
SPOILED[[3, 17]] = torch.tensor([math.nan, -math.inf], dtype=torch.float16)
FRAMES = {
    "payload": frame.to_bytes(encode(Groupwise(bits=3, group=8), torch.linspace(0, 1, 60).reshape(5, 3, 4), "thd")),
    "payload with a bitmap": frame.to_bytes(encode(Fp8(), SPOILED)),
    "not counted": frame.to_bytes(encode(registry.make("lossless", {}), torch.zeros(200))),
    "raw": frame.to_bytes(encode(registry.make("lossless", {}), torch.zeros(3))),
}
every_kind = pytest.mark.parametrize("whole", FRAMES.values(), ids=FRAMES.keys())


class TestBytes:
    def test_a_payload_as_documented(self):
        tensor = torch.tensor([0.0, 1.0, 2.0, 3.0, -1.0, 5.0], dtype=torch.float16)
        text = b'{"codec":"groupwise","params":{"along":"auto","bits":2,"group":4}}'
        head = struct.pack(HEAD, b"\x8fCZP", 2, 1, 2, 0, 1, 1, len(text), 0)
        payload = torch.tensor([1.0, 2.0, 0.0, -1.0], dtype=torch.float16).numpy().tobytes() + b"\xe4\x0c"
        content = head + struct.pack("<QBQ", 6, 6, 10) + text + payload
        assert frame.to_bytes(encode(Groupwise(bits=2, group=4), tensor)) == sealed(content)

    def test_side_data_as_documented(self):
        text = b'{"codec":"fp8","params":{"format":"e4m3","scale":"one"}}'
        tensor = torch.tensor([[[1.0, math.inf]]])
        head = struct.pack(HEAD, b"\x8fCZP", 2, 1, 0, 1, 3, 2, len(text), 1)
        sections = struct.pack("<QQQBQBQ", 1, 1, 2, 6, 2, 5, 5)
        content = head + sections + text + bytes.fromhex("3800 02 0000807f")
        assert frame.to_bytes(encode(Fp8(scale="one"), tensor, "thd")) == sealed(content)

    def test_a_bound_is_part_of_the_description(self):
        codec = registry.make("zfp", {})
        if codec.unavailable("cpu") is not None:
            pytest.skip(codec.unavailable("cpu"))
        whole = frame.to_bytes(encode(codec, torch.linspace(0, 4, 300), bound=Bound(value=0.25)))
        text = whole[20 + 8 + 9 :][: int.from_bytes(whole[10:12], "little")]
        assert json.loads(text) == {
            "codec": "zfp",
            "params": {"dimensions": 2},
            "bound": {"kind": "rel", "value": 0.25},
            "effective_error_bound": 1.0,
        }

    @every_kind
    def test_fields_come_back(self, whole):
        back = frame.from_bytes(whole)
        assert isinstance(back, EncodedPayload)
        assert frame.to_bytes(back) == whole
        assert back.nbytes() == len(whole)
        assert frame.from_bytes(bytearray(whole)).header == back.header

    def test_overhead_is_under_150_bytes(self):
        encoded = encode(Groupwise(), torch.zeros(16, 8, 128, dtype=torch.bfloat16), "thd")
        assert encoded.nbytes() - encoded.stream_bytes < 150

    def test_more_than_eight_dimensions(self):
        with pytest.raises(UsageError, match="a tensor of 9 dimensions: codec 'fp8' takes at most 8"):
            encode(Fp8(), torch.zeros(1, 1, 1, 1, 1, 1, 1, 1, 2))


class TestDamage:
    @every_kind
    def test_every_flipped_byte_is_refused(self, whole):
        every_flipped_byte_is_refused(whole)

    @every_kind
    def test_every_cut_is_refused(self, whole):
        every_cut_is_refused(whole)

    @every_kind
    def test_bytes_left_over(self, whole):
        bytes_left_over_are_refused(whole)


# (frame, offset, new bytes, reason): each with a fitting checksum. A flat frame's first section stands at 28.
IMPOSSIBLE: list[tuple[str, int, bytes, str]] = [
    ("raw", 5, b"\x07", "unknown frame type 7"),
    ("raw", 6, b"\x03", "unknown dtype code 3"),
    ("raw", 7, b"\x04", "unknown layout code 4"),
    ("raw", 7, b"\x01", "layout thd needs 3 dimensions"),
    ("raw", 8, b"\x09", "9 dimensions"),
    ("raw", 9, b"\x00", "0 sections"),
    ("raw", 9, b"\x03", "3 sections"),
    ("raw", 12, struct.pack("<Q", 4), "4 non-finite values of 3"),
    ("raw", 20, struct.pack("<Q", 4), "raw of 12 bytes does not fit shape"),
    ("raw", 20, struct.pack("<Q", 1 << 61), "more bytes than any memory holds"),
    ("raw", 28, b"\x01", "unknown section 1 where one of .2, 3, 6. stands in version 2"),
    ("raw", 28, b"\x03", "constant of 12 bytes does not fit shape"),
    ("payload with a bitmap", 12, struct.pack("<Q", 0), "lacks or repeats"),
    ("payload with a bitmap", 12, struct.pack("<Q", 3), "takes 11 bytes, not 9"),
    ("payload with a bitmap", 37, b"\x04", "takes 20 bytes, not 9"),
    ("payload with a bitmap", 37, b"\x06", "unknown section 6"),
    ("not counted", 12, struct.pack("<Q", 1), "lacks or repeats"),
]


class TestImpossible:
    @pytest.mark.parametrize(("kind", "at", "new", "reason"), IMPOSSIBLE)
    def test_each_is_refused_for_its_own_reason(self, kind, at, new, reason):
        with pytest.raises(FrameError, match=reason):
            frame.from_bytes(altered(FRAMES[kind], at, new))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "unusable description, as a whole"),
            ("{}", "unusable description, codec: Field required"),
            ('{"codec":"fp8","params":{},"extra":1}', "unusable description, extra"),
            ('{"codec":"fp8", "params":{}}', "not written as kvbench writes it"),
            ('{"params":{},"codec":"fp8"}', "not written as kvbench writes it"),
            ('{"bound":{"kind":"rel","value":-1.0},"codec":"fp8","params":{}}', "unusable description, bound.value"),
            ('{"codec":"fp8","effective_error_bound":-1.0,"params":{}}', "unusable description, effective_error_bound"),
        ],
    )
    def test_descriptions(self, text, reason):
        with pytest.raises(FrameError, match=reason):
            frame.from_bytes(made(text))

    def test_constants_of_terabytes(self):
        text = '{"codec":"zfp","params":{"dimensions":2}}'
        with pytest.raises(FrameError, match="elements allowed"):
            frame.from_bytes(made(text, shape=(1 << 33,), body=(3, bytes(4))))
        assert frame.from_bytes(made(text, shape=(9,), body=(3, bytes(4)))).flags == ("constant",)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('{"codec":"zip","params":{}}', "frame of another kvbench: unknown codec 'zip'"),
            ('{"codec":"fp8","params":{"format":"e3m4"}}', "frame of another kvbench: codec 'fp8', parameter format"),
            ('{"codec":"fp8","params":{"hue":1}}', "codec 'fp8' has no parameter 'hue'"),
        ],
    )
    def test_codecs_that_are_not_known(self, text, reason):
        stored = frame.from_bytes(made(text))
        with pytest.raises(FrameError, match=reason):
            codec_of(stored)

    @pytest.mark.parametrize("name", ["fp8", "groupwise", "rotated", "lossless"])
    def test_a_payload_without_bytes(self, name):
        stored = frame.from_bytes(made(json.dumps({"codec": name, "params": {}}, separators=(",", ":"))))
        with pytest.raises(FrameError, match=r"payload of 0 bytes is not|cut short"):
            codec_of(stored).decode(stored, torch.empty(4))


def test_decompress_finds_the_codec(tmp_path):
    tensor = torch.randn(30, 2, 16, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    encoded = encode(Groupwise(bits=8, along="tokens"), tensor, "thd")
    frame.save(tmp_path / "keys.cszp", encoded)
    command = [sys.executable, "-m", "kvbench", "decompress", "keys.cszp", "--output", "keys.safetensors"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    from safetensors.torch import load_file

    own = torch.empty_like(tensor)
    Groupwise().decode(encoded, own)
    assert torch.equal(load_file(tmp_path / "keys.safetensors")["tensor"], own)
