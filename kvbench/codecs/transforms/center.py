"""Owns the transform `center`: channel means taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import Field

from kvbench.codecs import calibration
from kvbench.codecs.transforms.base import Block, Shape, Transform, read_side, write_side


class Center(Transform):
    """Each channel (a head's place in head size) without its mean over tokens.

    `block` takes the means of the block itself and stores them in the tensor's dtype. `calibrated` takes those of a
    profile, which cost nothing a block; a frame names them by their content.

    x - m and y + m are float32 operations, each rounded once, so a value whose codec error is at most E comes back
    within E + 2^-24 (|x - m| + |x'|). With a 16-bit tensor the means have 8 or 11 bits as well, and x - m is exact
    unless the two differ by more than a factor of about 2^15 (float16: 2^12).
    """

    name: ClassVar[str] = "center"
    summary: ClassVar[str] = "channel means taken away, the block's own or calibrated ones"
    main: ClassVar[str] = "means"

    means: str = Field(default="block", pattern=f"^(block|calibrated|{calibration.ID_PATTERN})$")

    def calibrated(self, vectors: Mapping[str, str]) -> Self:
        """With the id of the calibrated means."""
        if self.means != "calibrated":
            return self
        return self.model_copy(update={"means": calibration.wanted(vectors, "mean", self.name)})

    def fault(self, shape: Shape) -> str | None:
        """Calibrated means must be there, for as many channels."""
        return None if self.means == "block" else calibration.fault(self.means, shape, self.name)

    def side_bytes(self, shape: Shape, dtype: torch.dtype) -> int:
        """A mean a channel, if they are the block's own."""
        return shape[1] * shape[2] * dtype.itemsize if self.means == "block" else 0

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """x - m, in float32."""
        if self.means == "block" and block.values.numel():
            limit = torch.finfo(block.dtype).max
            means = block.values.mean(dim=0, dtype=torch.float64).clamp(-limit, limit)
            write_side(side, means.to(block.dtype))
        elif self.means == "block":
            side.zero_()
        return replace(block, values=block.values.to(torch.float32) - self._means(block, side))

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """y + m, in float32."""
        return replace(block, values=block.values + self._means(block, side))

    def _means(self, block: Block, side: torch.Tensor) -> torch.Tensor:
        """float32 [heads, head size]."""
        if self.means != "block":
            return calibration.rounded(self.means, block.dtype, block.values.device)
        return read_side(side, block.dtype).reshape(block.shape[1:]).to(torch.float32)
