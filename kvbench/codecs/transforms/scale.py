"""Owns the transform `scale`: channels brought to about one spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import Field

from kvbench.codecs import calibration
from kvbench.codecs.transforms.base import Block, Shape, Transform

LARGEST_EXPONENT = 24


class Scale(Transform):
    """Each channel (a head's place in head size) divided by a power of two near its spread.

    The exponent is round(log2(s / S)), with s the standard deviation of the channel over tokens and S the root mean
    square of all s, within -24 to 24; 0 for a channel without spread. `block` measures the block itself and stores a
    byte a channel; `calibrated` takes the standard deviations of a profile. Powers of two make both directions exact,
    but for results below 2^-126; the error of a channel in the tensor is the codec's times 2^exponent.
    """

    name: ClassVar[str] = "scale"
    summary: ClassVar[str] = "channels divided by a power of two near their spread, measured or calibrated"
    main: ClassVar[str] = "spread"

    spread: str = Field(default="block", pattern=f"^(block|calibrated|{calibration.ID_PATTERN})$")

    def calibrated(self, vectors: Mapping[str, str]) -> Self:
        """With the id of the calibrated standard deviations."""
        if self.spread != "calibrated":
            return self
        return self.model_copy(update={"spread": calibration.wanted(vectors, "std", self.name)})

    def fault(self, shape: Shape) -> str | None:
        """Calibrated deviations must be there, for as many channels."""
        return None if self.spread == "block" else calibration.fault(self.spread, shape, self.name)

    def side_bytes(self, shape: Shape, dtype: torch.dtype) -> int:
        """An exponent a channel, if they are the block's own."""
        return shape[1] * shape[2] if self.spread == "block" else 0

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """x / 2^exponent."""
        if self.spread == "block" and block.values.numel():
            spread = block.values.to(torch.float64).std(dim=0, correction=0)
            side.copy_(_exponents(spread).view(torch.uint8).reshape(-1))
        elif self.spread == "block":
            side.zero_()
        return replace(block, values=block.values.to(torch.float32) * _power(-self._exponents(block, side)))

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """y * 2^exponent."""
        return replace(block, values=block.values * _power(self._exponents(block, side)))

    def _exponents(self, block: Block, side: torch.Tensor) -> torch.Tensor:
        """int32 [heads, head size]."""
        if self.spread != "block":
            spread = calibration.vector(self.spread).to(torch.float64)
            return _exponents(spread).to(torch.int32).to(block.values.device)
        return side.view(torch.int8).to(torch.int32).reshape(block.shape[1:])


def _exponents(spread: torch.Tensor) -> torch.Tensor:
    """int8, of standard deviations."""
    overall = spread.square().mean().sqrt()
    exponents = (spread / overall).log2().round().clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    return torch.where(spread > 0, exponents, 0).nan_to_num(nan=0.0).to(torch.int8)


def _power(exponents: torch.Tensor) -> torch.Tensor:
    """2^exponents as float32, from their bits, which a power function may miss by one; an int8 lies far within."""
    return ((exponents + 127) << 23).view(torch.float32)
