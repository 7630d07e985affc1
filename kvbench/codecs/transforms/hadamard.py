"""Owns the transform `hadamard`: the values of a head mixed evenly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator

from kvbench.codecs.transforms.base import Block, Shape, Transform
from kvbench.config import Whole


class Hadamard(Transform):
    """The orthonormal Walsh-Hadamard transform of runs of `size` neighbours along head size; it is its own inverse.

    `auto` takes the largest power of two that divides head size. Butterflies of float32 additions and one
    multiplication: the same bits on every device. There and back misses a value by rounding only, at most about
    2^-24 (2 log2(size) + 4) times the length of its run as a vector.
    """

    name: ClassVar[str] = "hadamard"
    summary: ClassVar[str] = "Walsh-Hadamard rotation along head size"
    main: ClassVar[str] = "size"

    size: Whole | Literal["auto"] = Field(default="auto")

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int | Literal["auto"]) -> int | Literal["auto"]:
        if size != "auto" and (size < 2 or size & (size - 1)):
            raise ValueError(f"size {size} is not a power of two of at least 2; leave it out for the largest that fits")
        return size

    def fault(self, shape: Shape) -> str | None:
        """A head must fall into whole runs of at least two values."""
        head_dim = shape[2]
        if head_dim % self._run(head_dim):
            return f"hadamard={self.size} does not divide head size {head_dim}; leave the size out"
        if self._run(head_dim) < 2:
            return f"hadamard needs an even head size, this one is {head_dim}; leave it out"
        return None

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """H x, in float32."""
        return replace(block, values=_rotated(block.values.to(torch.float32), self._run(block.shape[2])))

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """H y."""
        return replace(block, values=_rotated(block.values, self._run(block.shape[2])))

    def _run(self, head_dim: int) -> int:
        return (head_dim & -head_dim) or 1 if self.size == "auto" else self.size


def _rotated(values: torch.Tensor, run: int) -> torch.Tensor:
    """Runs of the last axis through log2(run) butterflies, then divided by sqrt(run)."""
    shape = values.shape
    half = 1
    while half < run:
        pairs = values.reshape(*shape[:-1], shape[-1] // (2 * half), 2, half)
        first, second = pairs.select(-2, 0), pairs.select(-2, 1)
        values = torch.stack([first + second, first - second], dim=-2)
        half *= 2
    return values.reshape(shape) * (1 / math.sqrt(run))
