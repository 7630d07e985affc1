"""Owns the types of the KV-block tables: NumPy structures with the compiled module's own sizes and places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kvbench import _ext
from kvbench import cuszp_arguments as checked
from kvbench.errors import UsageError

if TYPE_CHECKING:
    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

Form = Literal["fixed", "plain", "outlier", "raw"]
Layout = Literal["thd", "hdt"]


def _dtype_of(structure: str, types: dict[str, str]) -> np.dtype[np.void]:
    """The NumPy type of a C structure, with the compiled module's own sizes and places."""
    size, fields = _cpu.KV_FIELDS[structure]
    dtype = np.dtype(
        {
            "names": list(types),
            "formats": list(types.values()),
            "offsets": [fields[name][0] for name in types],
            "itemsize": size,
        }
    )
    if any(dtype[name].itemsize != fields[name][1] for name in types) or set(types) != set(fields):
        raise ImportError(f"kvbench's compiled module has another structure {structure!r}: rebuild it")
    return dtype


PLANE = _dtype_of(
    "plane",
    {
        "values": "u8",
        "block_stride": "i8",
        "token_stride": "i8",
        "head_stride": "i8",
        "means": "u8",
        "tokens": "u4",
        "heads": "u4",
        "head_size": "u4",
        "form": "u4",
        "layout": "u4",
        "error_bound": "f4",
        "limit": "f4",
        "reserved": "u4",
    },
)
"""K or V of one layer: address of block 0, strides in elements, shape of a block, how it is coded."""
MOVE = _dtype_of("move", {"block": "i8", "slot": "u4", "keep_first": "u4"})
"""A block of the cache, the slot (its index in the call) and how many tokens at its front stay raw."""
SLOT = _dtype_of("slot", {"first_page": "u4", "page_count": "u4"})
"""A run of entries in the call's page numbers."""
STREAM = _dtype_of(
    "stream", {"offset": "u4", "stored_bytes": "u4", "checksum": "u4", "status": "u2", "stored_raw": "u2"}
)
"""Where one plane of one move lies in its slot; result of a store, input of a load."""

FORMS: dict[str, int] = _cpu.KV_FORMS
LAYOUTS: dict[str, int] = _cpu.KV_LAYOUTS
DTYPES: dict[str, int] = _cpu.KV_DTYPES
ALIGNMENT: int = _cpu.KV_ALIGNMENT
"""Streams lie at multiples of so many bytes in their slot."""
SMALLEST_PAGE = 256

OK = 0
INVALID_ARGUMENT = 1
TOO_LARGE = 2
OUTPUT_TOO_SMALL = 3
CHECKSUM_MISMATCH = 9


def status_text(status: int) -> str:
    """A short phrase for a stream's status."""
    return _cpu.status_text(status)


def rounded(stored_bytes: int) -> int:
    """What a stream takes from its slot."""
    return -(-stored_bytes // ALIGNMENT) * ALIGNMENT


def plane(
    *,
    values: int,
    strides: tuple[int, int, int],
    shape: tuple[int, int, int],
    form: Form,
    layout: Layout = "thd",
    error_bound: float = 0.0,
    limit: float = 0.0,
    means: int = 0,
) -> NDArray[np.void]:
    """One PLANE, an array of shape [1].

    Args:
        values: address of block 0's first element.
        strides: of block, token and head, in elements; channels lie side by side.
        shape: tokens, heads and head size of a block.
        form: how streams are coded; `raw` needs no bound.
        layout: the order in which the codec sees the values.
        error_bound: absolute, to quantise with.
        limit: the largest |x - x'| allowed, both float32, else the stream is stored raw; 0 leaves it unchecked.
        means: address of heads * head size float32 that are subtracted first; 0 for none.

    Raises:
        UsageError: a name or a number cannot be used.
    """
    tokens, heads, head_size = shape
    if min(shape) < 1 or tokens * heads * head_size >= 2**28:
        raise UsageError(f"a block of shape {shape} cannot be stored: give 1 to 2^28 - 1 elements")
    bound = 0.0 if form == "raw" else checked.bound(error_bound)
    if not limit >= 0:
        raise UsageError(f"limit {limit} cannot be used: give 0 (unchecked) or more")
    out = np.zeros(1, PLANE)
    out[0] = (
        values,
        *strides,
        means,
        tokens,
        heads,
        head_size,
        number_of(FORMS, form, "form"),
        number_of(LAYOUTS, layout, "layout"),
        bound,
        limit,
        0,
    )
    return out


def number_of(names: dict[str, int], name: str, what: str) -> int:
    number = names.get(name)
    if number is None:
        raise UsageError(f"{what} {name!r} does not exist: use one of {', '.join(names)}")
    return number
