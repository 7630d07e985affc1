"""Owns what every frame must refuse, whatever its version: flipped bytes, cuts, bytes left over."""

from __future__ import annotations

import pytest

from kvbench.codecs import frame
from kvbench.codecs.frame import FrameError


def every_flipped_byte_is_refused(whole: bytes) -> None:
    for at in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= mask
            with pytest.raises(FrameError):
                frame.from_bytes(damaged)


def every_cut_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(FrameError, match=r"cut short|not a kvbench frame"):
            frame.from_bytes(whole[:length])


def bytes_left_over_are_refused(whole: bytes) -> None:
    with pytest.raises(FrameError, match="1 bytes left over"):
        frame.from_bytes(whole + b"\0")
