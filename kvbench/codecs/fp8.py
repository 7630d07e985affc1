"""Owns the codec `fp8`: values as 8-bit floats under one scale, or one a head, as an fp8 KV cache keeps them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from kvbench.codecs.fixed_rate import FixedRate, axis_of, read_section, write_section
from kvbench.record.schema import SourceLayout

_DTYPES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


class Fp8(FixedRate):
    """x / scale rounded to nearest even in an 8-bit float, beyond its range to its largest finite value.

    scale = max |x| / the format's largest value (448 or 57344), float32, over the tensor or over each head. A flat
    tensor counts as one head. `one` stores no scale and takes 1, as vLLM does with a cache that was not calibrated.
    Within the range the error of a value is at most 2^-4 |x| (e4m3) or 2^-3 |x| (e5m2), or half a step of the smallest
    numbers: 2^-10 or 2^-17 of the scale.
    """

    name: ClassVar[str] = "fp8"
    summary: ClassVar[str] = "8-bit floats, scaled by the largest value of the tensor or of each head"

    format: Literal["e4m3", "e5m2"] = "e4m3"
    scale: Literal["tensor", "head", "one"] = "tensor"

    def capacity(self, elements: int, dtype: torch.dtype) -> int:
        """A byte a value, and a scale for each of at most as many heads."""
        return elements + 4 * (elements if self.scale == "head" else 1)

    def payload_bytes(self, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype) -> int:
        """Scales, then a byte a value."""
        return 4 * self._scale_count(shape, layout) + torch.Size(shape).numel()

    def pack(self, values: torch.Tensor, layout: SourceLayout, payload: torch.Tensor) -> None:
        """Scales (float32, by head), then the 8-bit floats in the tensor's order."""
        coded, limit = _DTYPES[self.format], torch.finfo(_DTYPES[self.format]).max
        scaled, at = values.to(torch.float32, copy=True), 0
        if self.scale != "one":
            scales = self._scales(values, layout)
            at = write_section(payload, 0, scales)
            scaled.div_(self._spread(scales, scaled.dim(), layout))
        write_section(payload, at, scaled.clamp_(-limit, limit).to(coded))

    def unpack(
        self, payload: torch.Tensor, shape: tuple[int, ...], layout: SourceLayout, dtype: torch.dtype
    ) -> torch.Tensor:
        """Each 8-bit float times its scale."""
        scales, at = read_section(payload, 0, self._scale_count(shape, layout), torch.float32)
        coded, _ = read_section(payload, at, torch.Size(shape).numel(), _DTYPES[self.format])
        values = coded.to(torch.float32).reshape(shape)
        return values if self.scale == "one" else values.mul_(self._spread(scales, len(shape), layout))

    def _scales(self, values: torch.Tensor, layout: SourceLayout) -> torch.Tensor:
        by_head = self._by_head(layout)
        others = [axis for axis in range(values.dim()) if not by_head or axis != axis_of(layout, "heads")]
        largest = values.abs().amax(dim=others) if others else values.abs()
        # A power of two below the normal numbers would make the division overflow; 0 divides nothing.
        scales = largest.to(torch.float32).mul_(1 / torch.finfo(_DTYPES[self.format]).max)
        return scales.clamp_(min=torch.finfo(torch.float32).tiny).reshape(-1)

    def _spread(self, scales: torch.Tensor, dimensions: int, layout: SourceLayout) -> torch.Tensor:
        """The scales in a shape that broadcasts over the tensor."""
        shape = [1] * dimensions
        if self._by_head(layout):
            shape[axis_of(layout, "heads")] = -1
        return scales.reshape(shape)

    def _scale_count(self, shape: tuple[int, ...], layout: SourceLayout) -> int:
        if self.scale == "one":
            return 0
        return shape[axis_of(layout, "heads")] if self._by_head(layout) else 1

    def _by_head(self, layout: SourceLayout) -> bool:
        return self.scale == "head" and layout != "flat"
