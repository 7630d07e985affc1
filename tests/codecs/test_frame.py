"""Owns the tests of frames: the documented bytes, and that every altered, cut or impossible frame is refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest
import torch
import xxhash
from damaged_frames import bytes_left_over_are_refused, every_cut_is_refused, every_flipped_byte_is_refused

from kvbench.bound import Bound
from kvbench.codecs import frame
from kvbench.codecs.cuszp import Cuszp
from kvbench.codecs.encoded import EncodedTensor
from kvbench.codecs.frame import FrameError
from kvbench.errors import KvbenchError, UsageError
from kvbench.tensors.base import KVView

HEAD = "<4s9BddfQ"
SHAPE_AT = 41


def encode(tensor: torch.Tensor, bound: Bound | None = None, layout: str = "flat", **params: object) -> EncodedTensor:
    codec = Cuszp(**params)
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    return codec.encode(KVView(tensor, layout=layout), out, bound or Bound())


def sealed(content: bytes) -> bytes:
    return content + struct.pack("<Q", xxhash.xxh3_64_intdigest(content))


def altered(whole: bytes, at: int, new: bytes) -> bytes:
    """The frame with bytes replaced and a checksum that fits them: what only a writer could have made."""
    content = bytearray(whole[:-8])
    content[at : at + len(new)] = new
    return sealed(bytes(content))


def small_frames() -> dict[str, bytes]:
    """One small frame of every kind."""
    line = torch.linspace(-1, 1, 40)
    spoiled = torch.full((40,), 2.0, dtype=torch.float16)
    spoiled[::2] = math.nan
    listed = torch.full((60, 3, 2), 2.0)
    listed.view(-1)[30:35] = math.inf
    return {
        "stream": frame.to_bytes(encode(line, Bound(kind="abs", value=0.01), bound_policy="compatible")),
        "raw": frame.to_bytes(encode(line)),
        "constant with a bitmap": frame.to_bytes(encode(spoiled, bound_policy="compatible")),
        "constant with a list": frame.to_bytes(encode(listed, layout="thd")),
        "empty": frame.to_bytes(encode(torch.empty(0, 3, 2), layout="htd")),
    }


FRAMES = small_frames()
every_kind = pytest.mark.parametrize("whole", FRAMES.values(), ids=FRAMES.keys())


class TestBytes:
    def test_a_stream_as_documented(self):
        tensor = torch.tensor([0.05, 0.07, 0.07, -0.03, 0.0])
        encoded = encode(tensor, Bound(kind="abs", value=0.01), bound_policy="compatible")
        stream = bytes([3]) + bytes(1023) + bytes.fromhex("10000000 c0000000 98000000 10000000")
        head = struct.pack(HEAD, b"\x8fCZP", 1, 1, 0, 0, 1, 0, 1, 1, 1, 0.01, 0.01, 0.01, 0)
        content = head + struct.pack("<QBQ", 5, 1, 1040) + stream
        assert frame.to_bytes(encoded) == sealed(content)
        assert encoded.stream_bytes == 1040

    def test_a_constant_with_a_list_as_documented(self):
        tensor = torch.full((2, 100, 3), -1.5, dtype=torch.bfloat16)
        tensor[1, 0, 2] = math.inf
        encoded = encode(tensor, Bound(kind="std", value=0.5), layout="htd", mode="outlier")
        head = struct.pack(HEAD, b"\x8fCZP", 1, 1, 1, 2, 2, 2, 0, 3, 2, 0.5, 0.0, 0.0, 1)
        sections = struct.pack("<QQQBQBQ", 2, 100, 3, 3, 2, 4, 10)
        body = bytes.fromhex("c0bf")
        side = struct.pack("<Q", 302) + bytes.fromhex("807f")
        assert frame.to_bytes(encoded) == sealed(head + sections + body + side)

    def test_a_bitmap_as_documented(self):
        tensor = torch.full((11,), 1.0, dtype=torch.float16)
        tensor[[0, 9]] = torch.tensor([math.inf, -math.inf], dtype=torch.float16)
        encoded = encode(tensor, bound_policy="compatible")
        head = struct.pack(HEAD, b"\x8fCZP", 1, 1, 2, 0, 1, 1, 1, 1, 2, 0.01, 0.0, 0.0, 2)
        content = head + struct.pack("<QBQBQ", 11, 3, 2, 5, 6) + bytes.fromhex("003c 0102 007c 00fc")
        assert frame.to_bytes(encoded) == sealed(content)

    def test_overhead_is_under_a_hundred_bytes(self):
        tensor = torch.linspace(0, 1, 6144).reshape(16, 3, 128)
        tensor[0, 0, 0] = math.nan
        encoded = encode(tensor, layout="thd")
        assert encoded.flags == ("non_finite",)
        assert encoded.nbytes() - encoded.stream_bytes - 12 < 100

    def test_scalar_and_eight_dimensions(self):
        for tensor in (torch.tensor(3.5), torch.zeros(1, 2, 1, 1, 2, 1, 1, 3)):
            back = frame.from_bytes(frame.to_bytes(encode(tensor)))
            assert back.shape == tuple(tensor.shape)

    @every_kind
    def test_fields_come_back(self, whole):
        back = frame.from_bytes(whole)
        assert frame.to_bytes(back) == whole
        assert back.nbytes() == len(whole)
        assert frame.from_bytes(bytearray(whole)).header == back.header
        assert frame.from_bytes(memoryview(whole)).header == back.header

    def test_undefined_bound_comes_back_as_none(self):
        encoded = encode(torch.tensor([3e38, -3e38] * 50))
        assert encoded.effective_error_bound is None
        assert frame.from_bytes(frame.to_bytes(encoded)).header == encoded.header


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

    @every_kind
    def test_newer_version(self, whole):
        for newer in (altered(whole, 4, b"\x03"), whole[:4] + b"\x03" + whole[5:], whole[:4] + b"\x03"):
            with pytest.raises(FrameError, match="frame version 3 cannot be read: this kvbench reads versions 1 and 2"):
                frame.from_bytes(newer)

    def test_another_file(self):
        with pytest.raises(FrameError, match="not a kvbench frame"):
            frame.from_bytes(b"\x93NUMPY\x01\x00" + bytes(200))
        with pytest.raises(FrameError, match="not a kvbench frame"):
            frame.from_bytes(b"")

    def test_checksum_is_named(self):
        damaged = bytearray(FRAMES["raw"])
        damaged[-20] ^= 1
        with pytest.raises(FrameError, match="checksum"):
            frame.from_bytes(damaged)


def _quad(value: int) -> bytes:
    return struct.pack("<Q", value)


# (frame, offset, new bytes, reason): each with a fitting checksum. A flat frame's first section stands at 49.
IMPOSSIBLE: list[tuple[str, int, bytes, str]] = [
    ("raw", 5, b"\x07", "unknown frame type 7"),
    ("raw", 6, b"\x03", "unknown dtype code 3"),
    ("raw", 7, b"\x04", "unknown layout code 4"),
    ("raw", 8, b"\x09", "unknown mode code 9"),
    ("raw", 9, b"\x03", "unknown bound kind code 3"),
    ("raw", 10, b"\x02", "unknown bound policy code 2"),
    ("raw", 11, b"\x09", "9 dimensions"),
    ("raw", 12, b"\x00", "0 sections"),
    ("raw", 12, b"\x03", "3 sections"),
    ("raw", 7, b"\x01", "layout thd needs 3 dimensions"),
    ("raw", 13, struct.pack("<d", math.nan), "impossible error bounds"),
    ("raw", 13, struct.pack("<d", -1.0), "impossible error bounds"),
    ("raw", 21, struct.pack("<d", math.nan), "impossible error bounds"),
    ("stream", 29, struct.pack("<f", math.inf), "impossible error bounds"),
    ("stream", 29, struct.pack("<f", 0.0), "stream body and quantiser bound None"),
    ("raw", 29, struct.pack("<f", 0.5), "raw body and quantiser bound 0.5"),
    ("raw", 33, _quad(41), "41 non-finite values of 40"),
    ("stream", 33, _quad(1), "lacks or repeats"),
    ("raw", SHAPE_AT, _quad(41), "raw of 160 bytes does not fit shape"),
    ("raw", SHAPE_AT, _quad(1 << 63), "more bytes than any memory holds"),
    ("stream", SHAPE_AT, _quad(1 << 40), "does not fit shape"),
    ("stream", SHAPE_AT, _quad(0), "does not fit shape"),
    ("stream", 49, b"\x06", "unknown section 6"),
    ("stream", 49, b"\x04", "unknown section 4"),
    ("stream", 50, _quad(1 << 62), "cut short"),
    ("constant with a bitmap", 33, _quad(21), "takes 47 bytes, not 45"),
    ("constant with a bitmap", 58, b"\x04", "takes 200 bytes, not 45"),
    ("constant with a bitmap", 58, b"\x01", "unknown section 1"),
    ("constant with a bitmap", 69, b"\xff", "the bitmap .* does not hold as many"),
    ("constant with a list", 41 + 24 + 18 + 4, _quad(35), "indices .* are not ascending"),
    ("constant with a list", 41 + 24 + 18 + 4 + 32, _quad(1 << 62), "indices .* are not ascending"),
]


class TestImpossible:
    @pytest.mark.parametrize(("kind", "at", "new", "reason"), IMPOSSIBLE)
    def test_each_is_refused_for_its_own_reason(self, kind, at, new, reason):
        with pytest.raises(FrameError, match=reason):
            frame.from_bytes(altered(FRAMES[kind], at, new))

    def test_constant_of_terabytes(self):
        tensor = torch.full((2, 3, 4), 1.0)
        whole = frame.to_bytes(encode(tensor, layout="thd"))
        for size in (1 << 20, 1 << 50):
            with pytest.raises(FrameError, match=r"elements allowed|more bytes than"):
                frame.from_bytes(altered(whole, SHAPE_AT, _quad(size) * 3))

    def test_bitmap_past_the_end(self):
        tensor = torch.full((11,), 1.0, dtype=torch.float16)
        tensor[[0, 9]] = math.nan
        whole = frame.to_bytes(encode(tensor, bound_policy="compatible"))
        bitmap_at = whole.index(bytes.fromhex("003c0102")) + 2
        with pytest.raises(FrameError, match="past the element count"):
            frame.from_bytes(altered(whole, bitmap_at, b"\x01\x08"))

    def test_stream_that_no_encoder_writes(self):
        whole = FRAMES["stream"]
        encoded = frame.from_bytes(altered(whole, 58, b"\xff"))
        with pytest.raises(FrameError, match="the stream cannot be decoded: "):
            Cuszp().decode(encoded, torch.empty(40))
        with pytest.raises(FrameError, match="the stream cannot be decoded: "):
            list(Cuszp().float32_chunks(encoded, (40,)))


class TestFiles:
    def test_save_and_load(self, tmp_path, bits_equal):
        tensor = torch.randn(5000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
        encoded = encode(tensor)
        path = tmp_path / f"layer{frame.SUFFIX}"
        path.write_bytes(b"what was here before")
        frame.save(path, encoded)
        assert path.stat().st_size == encoded.nbytes()
        assert [entry.name for entry in tmp_path.iterdir()] == ["layer.cszp"]
        decoded, again = torch.empty_like(tensor), torch.empty_like(tensor)
        Cuszp().decode(encoded, decoded)
        Cuszp(threads=1, mode="fixed").decode(frame.load(path), again)
        assert bits_equal(decoded, again)

    def test_nothing_is_left_when_writing_fails(self, tmp_path, monkeypatch):
        path = tmp_path / "layer.cszp"
        path.write_bytes(b"before")

        def fail(_encoded: EncodedTensor) -> Callable[[], bytes]:
            yield b"half"
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(frame, "_parts", fail)
        with pytest.raises(KvbenchError, match=r"the disk is full: cannot write .*layer.cszp"):
            frame.save(path, encode(torch.zeros(4)))
        assert path.read_bytes() == b"before"
        assert [entry.name for entry in tmp_path.iterdir()] == ["layer.cszp"]

    def test_a_file_that_cannot_be_read(self, tmp_path):
        with pytest.raises(UsageError, match=r"cannot read .*absent.cszp: No such file"):
            frame.load(tmp_path / "absent.cszp")
        with pytest.raises(UsageError, match="cannot read"):
            frame.load(tmp_path)
        path = tmp_path / "cut.cszp"
        path.write_bytes(FRAMES["raw"][:-1])
        with pytest.raises(FrameError, match=r"cut.cszp: frame is cut short"):
            frame.load(path)
