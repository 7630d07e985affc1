"""Owns the codec `rotated`: vectors turned by a random rotation, then coded value by value with one fixed codebook."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import special

from kvbench.codecs import bit_packing
from kvbench.codecs.fixed_rate import FixedRate, axis_of, read_section, write_section
from kvbench.config import Whole
from kvbench.record.schema import SourceLayout

_MOST_ITERATIONS = 20_000


class Rotated(FixedRate):
    """Random rotation and scalar codebooks, after TurboQuant's form for least mean square error (Zandieh, Daliri,
    Hadian, Mirrokni: "TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate", 2025).

    The vector of a token and head, [head_dim], is divided by its norm and turned by an orthogonal matrix that `seed`
    alone decides, so that every coordinate is spread like one of a random unit vector; each is coded with the codebook
    of least mean square error for that distribution. The norm is kept in the tensor's own dtype, as norm / sqrt(dim)
    so that it cannot overflow; the matrix is not stored. Of a flat tensor `vector` consecutive elements make a vector,
    the last filled up with zeros. There is no bound on the error of a value; over vectors of all directions
    its mean square is at most 0.1175, 0.0345 or 0.0095 of the mean square of the values, at 2, 3 or 4 bits.

    A GPU sums in another order than a CPU, so that a code in some thousands differs between them.
    """

    name: ClassVar[str] = "rotated"
    summary: ClassVar[str] = "random rotation, then Lloyd-Max codebooks of 2 to 4 bits (TurboQuant's scheme)"

    bits: Literal[2, 3, 4] = 4
    seed: Whole = Field(default=0, ge=0, lt=1 << 32)
    vector: Whole = Field(default=128, ge=1, le=4096, description="elements of a vector in a flat tensor")

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """Every value a vector of its own, and one vector filled up."""
        return bit_packing.packed_bytes(elements + self.vector, self.bits) + (elements + 1) * dtype.itemsize

    def payload_bytes(self, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype) -> int:
        """Norms, codes."""
        grid = self._grid(shape, layout)
        return grid.vectors * dtype.itemsize + bit_packing.packed_bytes(grid.vectors * grid.size, self.bits)

    def pack(self, values: torch.Tensor, layout: SourceLayout, payload: torch.Tensor) -> None:
        """Norms divided by sqrt(size), one a vector, then the codes; both by vector in the tensor's order."""
        grid = self._grid(tuple(values.shape), layout)
        moved = values.reshape(-1) if layout == "flat" else values.movedim(grid.axis, -1).reshape(-1)
        if moved.numel() < grid.vectors * grid.size:
            moved = torch.nn.functional.pad(moved, (0, grid.vectors * grid.size - moved.numel()))
        vectors = moved.reshape(grid.vectors, grid.size).to(torch.float32)
        # Divided by the largest value first: squares of the values themselves may overflow or vanish.
        largest = vectors.abs().amax(dim=1, keepdim=True)
        vectors = vectors / torch.where(largest > 0, largest, 1.0)
        spread = vectors.square().mean(dim=1, keepdim=True).sqrt_()
        at = write_section(payload, 0, (largest * spread).to(values.dtype))
        vectors = vectors.div_(torch.where(spread > 0, spread, 1.0)) @ _rotation(grid.size, self.seed, values.device).T
        edges = _codebook(self.bits, grid.size, values.device)[1]
        codes = torch.bucketize(vectors, edges, out_int32=True).to(torch.uint8)
        write_section(payload, at, bit_packing.pack(codes.reshape(-1), self.bits))

    def unpack(
        self, payload: torch.Tensor, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype
    ) -> torch.Tensor:
        """Centres of the codes, turned back, times the norms."""
        grid = self._grid(shape, layout)
        elements = torch.Size(shape).numel()
        norms, at = read_section(payload, 0, grid.vectors, dtype)
        codes = bit_packing.unpack(payload[at:], grid.vectors * grid.size, self.bits)
        centres = _codebook(self.bits, grid.size, payload.device)[0][codes.to(torch.int32)]
        turned = centres.reshape(grid.vectors, grid.size) @ _rotation(grid.size, self.seed, payload.device)
        values = turned.mul_(norms.to(torch.float32).unsqueeze(1))
        if layout == "flat":
            return values.reshape(-1)[:elements].reshape(shape)
        others = [size for axis, size in enumerate(shape) if axis != grid.axis]
        return values.reshape(*others, grid.size).movedim(-1, grid.axis).contiguous()

    def _grid(self, shape: tuple[int, ...], layout: SourceLayout) -> _Grid:
        elements = torch.Size(shape).numel()
        if layout == "flat":
            size = min(self.vector, elements)
            return _Grid(0, size, -(-elements // size))
        axis = axis_of(layout, "head_dim")
        return _Grid(axis, shape[axis], elements // shape[axis])


class _Grid(NamedTuple):
    """How a tensor falls into vectors."""

    axis: int  # of the tensor, along which a vector runs
    size: int  # of a vector
    vectors: int


@cache
def _rotation(size: int, seed: int, device: torch.device) -> torch.Tensor:
    """A random orthogonal matrix, float32 [size, size], evenly spread over all of them; the same on every device.

    The Q of a Gaussian matrix, its columns' signs set by R (Mezzadri: "How to generate random matrices from the
    classical compact groups", 2007).
    """
    # The one generator of NumPy whose numbers are promised never to change: a stored tensor depends on them.
    gaussian = np.random.RandomState(seed).standard_normal((size, size))
    q, r = np.linalg.qr(gaussian)
    return torch.from_numpy((q * np.sign(np.diagonal(r))).astype(np.float32)).to(device)


@cache
def _codebook(bits: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(centres [2^bits], edges between them [2^bits - 1]) of a coordinate of a vector of `size` and norm sqrt(size)."""
    upper = lloyd_max(bits, size)
    centres = np.concatenate([-upper[::-1], upper]) * math.sqrt(size)
    edges = (centres[1:] + centres[:-1]) / 2
    return tuple(torch.from_numpy(part.astype(np.float32)).to(device) for part in (centres, edges))  # type: ignore[return-value]


def lloyd_max(bits: int, size: int) -> NDArray[np.float64]:
    """The upper half, ascending, of the 2^bits centres of least mean square error for a coordinate x of a random unit
    vector of `size` dimensions; the lower half mirrors it.

    Lloyd's iteration ("Least squares quantization in PCM", 1982): each centre moves to the mean of x over its cell,
    until none moves. With d = size, x has the density c (1 - x^2)^((d - 3) / 2) on [-1, 1] (Zandieh et al., above,
    Lemma 1), x^2 is Beta(1/2, (d - 1) / 2) distributed, and the integral of x times the density is
    -c (1 - x^2)^((d - 1) / 2) / (d - 1) with c = 1 / B(1/2, (d - 1) / 2). One dimension, where x is -1 or 1, takes the
    codebook of two.
    """
    exponent = (max(size, 2) - 1) / 2
    half = 1 << (bits - 1)
    centres = np.sqrt(special.betaincinv(0.5, exponent, (np.arange(half) + 0.5) / half))
    for _ in range(_MOST_ITERATIONS):
        edges = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [1.0]])
        moments = -np.diff((1 - edges**2) ** exponent) / (2 * exponent * special.beta(0.5, exponent))
        shares = np.diff(special.betainc(0.5, exponent, edges**2)) / 2
        moved = moments / shares
        if np.max(np.abs(moved - centres)) < 1e-13:
            break
        centres = moved
    return centres
