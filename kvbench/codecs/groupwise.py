"""Owns the codec `groupwise`: asymmetric whole numbers of 2, 3, 4 or 8 bits under a step and a minimum a group."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field

from kvbench.codecs import bit_packing
from kvbench.codecs.elements import BIT_DTYPES, dtype_name
from kvbench.codecs.fixed_rate import FixedRate, axis_of, read_section, write_section
from kvbench.config import Whole
from kvbench.record.schema import SourceLayout
from kvbench.tensors.base import KVView

Along = Literal["auto", "tokens", "head_dim"]


class Groupwise(FixedRate):
    """Round-to-nearest quantisation by groups, after KIVI (Liu et al.: "KIVI: A Tuning-Free Asymmetric 2bit
    Quantization for KV Cache", 2024): keys per channel, in groups of consecutive tokens of one head and channel; values
    per token, in groups of consecutive channels of one token and head.

    A group keeps its minimum and its step, (max - min) / (2^bits - 1) rounded up, in the tensor's own dtype, and each
    value as round((x - min) / step): the error is at most half a step, but for float32 rounding. The last group of a
    row is shorter where `group` does not divide it. `auto` groups keys along tokens and all else along head_dim; a
    flat tensor is one row of consecutive elements, whatever `along` says.
    """

    name: ClassVar[str] = "groupwise"
    summary: ClassVar[str] = "whole numbers of few bits with a step and a minimum a group (KIVI's scheme)"

    bits: Literal[2, 3, 4, 8] = 4
    group: Whole = Field(default=64, ge=1, le=1 << 16, description="values that share a step and a minimum")
    along: Along = Field(default="auto", description="the axis whose neighbours share a group")

    def resolved(self, view: KVView) -> Self:
        """With the axis that `auto` means for this view."""
        if self.along != "auto" or view.layout == "flat":
            return self
        return self.model_copy(update={"along": "tokens" if view.kv == "k" else "head_dim"})

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """Every value a group of its own, as in a row of one value."""
        return bit_packing.packed_bytes(elements, self.bits) + 2 * elements * dtype.itemsize

    def payload_bytes(self, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype) -> int:
        """Steps, minima, codes."""
        grid = self._grid(shape, layout)
        elements = torch.Size(shape).numel()
        return 2 * grid.rows * grid.groups * dtype.itemsize + bit_packing.packed_bytes(elements, self.bits)

    def pack(self, values: torch.Tensor, layout: SourceLayout, payload: torch.Tensor) -> None:
        """Steps, then minima, both by row and group, then the codes in the tensor's order."""
        grid = self._grid(tuple(values.shape), layout)
        if layout == "flat":
            values = values.reshape(-1)
        rows = self._grouped(values.movedim(grid.axis, -1), grid)
        low, high = torch.aminmax(rows, dim=-1, keepdim=True)
        levels = (1 << self.bits) - 1
        # By halves, since max - min may overflow.
        wide = high.to(torch.float32) * (1 / levels) - low.to(torch.float32) * (1 / levels)
        steps = _rounded_up(wide, values.dtype)
        at = write_section(payload, 0, steps)
        at = write_section(payload, at, low)
        half_step = steps.to(torch.float32) * 0.5
        half_step = torch.where(half_step > 0, half_step, 1.0)
        offset = low.to(torch.float32) * -0.5
        scaled = torch.add(offset, rows.to(torch.float32), alpha=0.5).div_(half_step)
        codes = scaled.round_().clamp_(0, levels).to(torch.uint8)
        codes = codes.flatten(-2)[..., : grid.length].movedim(-1, grid.axis).reshape(-1)
        write_section(payload, at, bit_packing.pack(codes, self.bits))

    def unpack(
        self, payload: torch.Tensor, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype
    ) -> torch.Tensor:
        """min + code * step of each group."""
        grid = self._grid(shape, layout)
        elements = torch.Size(shape).numel()
        steps, at = read_section(payload, 0, grid.rows * grid.groups, dtype)
        low, at = read_section(payload, at, grid.rows * grid.groups, dtype)
        codes = bit_packing.unpack(payload[at:], elements, self.bits)
        moved = codes.reshape(shape if layout != "flat" else (elements,)).movedim(grid.axis, -1)
        rows = self._grouped(moved.to(torch.float32), grid)
        spread = (*moved.shape[:-1], grid.groups, 1)
        # By halves again: code * step may overflow where min + code * step does not.
        values = rows * (steps.to(torch.float32) * 0.5).reshape(spread)
        values.add_((low.to(torch.float32) * 0.5).reshape(spread)).mul_(2.0)
        return values.flatten(-2)[..., : grid.length].movedim(-1, grid.axis).reshape(shape).contiguous()

    def _grid(self, shape: tuple[int, ...], layout: SourceLayout) -> _Grid:
        elements = torch.Size(shape).numel()
        along: Literal["tokens", "head_dim"] = "tokens" if self.along == "tokens" else "head_dim"
        axis = 0 if layout == "flat" else axis_of(layout, along)
        length = elements if layout == "flat" else shape[axis]
        return _Grid(axis, length, -(-length // self.group), elements // length)

    def _grouped(self, rows: torch.Tensor, grid: _Grid) -> torch.Tensor:
        """[..., length] as [..., groups, size]; a shorter last group is filled up with its last value."""
        size = min(self.group, grid.length)
        missing = grid.groups * size - grid.length
        if missing:
            rows = torch.cat([rows, rows[..., -1:].expand(*rows.shape[:-1], missing)], dim=-1)
        return rows.reshape(*rows.shape[:-1], grid.groups, size)


class _Grid(NamedTuple):
    """How a tensor falls into groups."""

    axis: int  # of the tensor, along which a row runs
    length: int  # of a row
    groups: int  # in a row
    rows: int


def _rounded_up(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float32 values, not negative, as the next number of `dtype` that is not smaller."""
    rounded = values.to(dtype)
    bits = rounded.view(BIT_DTYPES[dtype_name(dtype)])
    # Bits of numbers that are not negative count up with them.
    return (bits + (rounded.to(torch.float32) < values).to(bits.dtype)).view(dtype)
