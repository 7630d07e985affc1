"""Owns packing of small whole numbers: 2, 3, 4 or 8 bits each, one after the other, lowest bit first."""

from __future__ import annotations

from typing import NamedTuple

import torch


class _Word(NamedTuple):
    """The fewest codes that fill whole bytes, and a number to put them together in."""

    codes: int
    dtype: torch.dtype


_WORDS = {2: _Word(4, torch.uint8), 3: _Word(8, torch.int32), 4: _Word(2, torch.uint8)}


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of `count` packed codes; the last byte is filled up with zeros."""
    return (count * bits + 7) // 8


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """`codes` (uint8 [n], each below 2^bits) as uint8 [packed_bytes(n, bits)].

    Code i takes the bits from i * bits on, counted through the bytes from each one's lowest bit.
    """
    if bits == 8:
        return codes
    word, count = _WORDS[bits], codes.numel()
    if count % word.codes:
        codes = torch.nn.functional.pad(codes, (0, -count % word.codes))
    groups = codes.reshape(-1, word.codes)
    words = torch.zeros(groups.shape[0], dtype=word.dtype, device=codes.device)
    for place in range(word.codes):
        words |= groups[:, place].to(word.dtype) << (bits * place)
    packed = words.view(torch.uint8).reshape(-1, word.dtype.itemsize)[:, : word.codes * bits // 8].reshape(-1)
    return packed[: packed_bytes(count, bits)]


def unpack(packed: torch.Tensor, count: int, bits: int) -> torch.Tensor:
    """The `count` codes, uint8, that `pack` made these bytes of."""
    if bits == 8:
        return packed
    word = _WORDS[bits]
    used, size = word.codes * bits // 8, word.dtype.itemsize
    words = -(-count // word.codes)
    room = torch.zeros(words * used, dtype=torch.uint8, device=packed.device)
    room[: packed.numel()] = packed
    wide = torch.nn.functional.pad(room.reshape(words, used), (0, size - used)).view(word.dtype)
    places = torch.arange(0, bits * word.codes, bits, dtype=word.dtype, device=packed.device)
    return ((wide >> places) & ((1 << bits) - 1)).to(torch.uint8).reshape(-1)[:count]
