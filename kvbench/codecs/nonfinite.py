"""Owns the side data that keeps NaN and infinities exactly: where they are, and their element bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kvbench.codecs.elements import BIT_DTYPES, PIECE_ELEMENTS, TORCH_DTYPES, pieces
from kvbench.geometry import DTYPE_BYTES, DType

SideForm = Literal["list", "bitmap"]
_INDEX_BYTES = 8


def side_form(elements: int, count: int) -> SideForm:
    """The shorter way to say which `count` of `elements` values are not finite; the list on a tie."""
    return "bitmap" if _bitmap_bytes(elements) < _INDEX_BYTES * count else "list"


def side_bytes(form: SideForm, elements: int, count: int, dtype: DType) -> int:
    """Bytes of the side data: u64 indices or a bitmap, then `count` elements."""
    places = _INDEX_BYTES * count if form == "list" else _bitmap_bytes(elements)
    return places + count * DTYPE_BYTES[dtype]


@dataclass(frozen=True)
class NonFinite:
    """The non-finite values of a tensor of `elements` values of `dtype`.

    `data` is the side data as it stands in a frame, uint8: for `list` the indices (u64, ascending), for `bitmap` one
    bit an element (element i is bit i % 8 of byte i // 8, unused bits 0); then the element bits, in index order.
    """

    form: SideForm
    elements: int
    count: int
    dtype: DType
    data: NDArray[np.uint8]

    @classmethod
    def collect(cls, values: torch.Tensor, count: int, dtype: DType) -> NonFinite:
        """The side data of `values` [n], `count` of which are not finite."""
        elements = values.numel()
        form = side_form(elements, count)
        data = np.zeros(side_bytes(form, elements, count, dtype), np.uint8)
        side = cls(form, elements, count, dtype, data)
        bits = values.view(BIT_DTYPES[dtype])
        done = 0
        for first, length in pieces(elements):
            mask = ~torch.isfinite(values[first : first + length])
            found = bits[first : first + length][mask].cpu().numpy()
            if form == "list":
                side._indices[done : done + len(found)] = mask.nonzero().flatten().cpu().numpy() + first
            else:
                packed = np.packbits(mask.cpu().numpy(), bitorder="little")
                side._bitmap[first // 8 : first // 8 + len(packed)] = packed
            side._bits[done : done + len(found)] = found
            done += len(found)
        return side

    def first_finite(self) -> int:
        """The index of the first finite value; `elements` when there is none."""
        if self.form == "list":
            shifted = np.flatnonzero(self._indices != np.arange(self.count, dtype=np.uint64))
            return int(shifted[0]) if len(shifted) else self.count
        full = np.flatnonzero(self._bitmap != 0xFF)
        if not len(full):
            return self.elements
        byte = int(full[0])
        return 8 * byte + (~int(self._bitmap[byte]) & (int(self._bitmap[byte]) + 1)).bit_length() - 1

    def fault(self) -> str | None:
        """Why the places cannot be used (for side data read from outside), or None when they can."""
        if self.form == "list":
            indices = self._indices
            if self.count and (int(indices[-1]) >= self.elements or bool(np.any(indices[1:] <= indices[:-1]))):
                return "indices of non-finite values are not ascending and below the element count"
        elif int.from_bytes(self._bitmap.tobytes(), "little").bit_count() != self.count:
            return "the bitmap of non-finite values does not hold as many as the header says"
        elif self.elements % 8 and int(self._bitmap[-1]) >> (self.elements % 8):
            return "the bitmap of non-finite values goes past the element count"
        return None

    def restore(self, out: torch.Tensor, first: int = 0) -> None:
        """Put the values back into `out` [count], elements from `first` (a multiple of PIECE_ELEMENTS) on.

        `out` is of the tensor's dtype (bit for bit) or float32 (widened).
        """
        own = TORCH_DTYPES[self.dtype]
        for places, bits in self._places(first, first + out.numel()):
            index = torch.from_numpy(places).to(out.device)
            values = torch.from_numpy(bits)
            if out.dtype == own:
                out.view(BIT_DTYPES[self.dtype])[index] = values.to(out.device)
            else:
                out[index] = values.view(own).to(out.device, torch.float32)

    def _places(self, first: int, last: int) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """(places relative to `first`, element bits) of the values in [first, last), both aligned copies."""
        if self.form == "list":
            low, high = np.searchsorted(self._indices, np.array([first, last], np.uint64))
            yield (self._indices[low:high] - np.uint64(first)).astype(np.int64), self._bits[low:high].copy()
            return
        done = int.from_bytes(self._bitmap[: first // 8].tobytes(), "little").bit_count()
        for start in range(first, last, PIECE_ELEMENTS):
            length = min(PIECE_ELEMENTS, last - start)
            packed = self._bitmap[start // 8 : (start + length + 7) // 8]
            places = np.flatnonzero(np.unpackbits(packed, count=length, bitorder="little"))
            yield places + (start - first), self._bits[done : done + len(places)].copy()
            done += len(places)

    @property
    def _indices(self) -> NDArray[np.uint64]:
        return self.data[: _INDEX_BYTES * self.count].view(np.uint64)

    @property
    def _bitmap(self) -> NDArray[np.uint8]:
        return self.data[: _bitmap_bytes(self.elements)]

    @property
    def _bits(self) -> NDArray[Any]:
        places = self.data.size - self.count * DTYPE_BYTES[self.dtype]
        return self.data[places:].view(f"i{DTYPE_BYTES[self.dtype]}")


def _bitmap_bytes(elements: int) -> int:
    return (elements + 7) // 8
