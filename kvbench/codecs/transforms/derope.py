"""Owns the transform `derope`: the rotary position embedding of keys undone."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from kvbench.codecs.transforms.base import Block, Shape, Transform, read_side, write_side
from kvbench.config import Real, Whole
from kvbench.tensors.rotary import turns_per_token
from kvbench.tensors.trig import cos_sin

Pairing = Literal["half", "interleaved"]


class Derope(Transform):
    """Keys turned back by their position (Su et al.: "RoFormer: enhanced transformer with rotary position embedding",
    2021), so that a channel looks alike in all tokens. Values (kv `v`) are left as they are.

    Pair i of `dims` channels (0: all of head size) is turned at position p by p * base^(-2i/dims): channels i and
    i + dims/2 where `pairing` is half, 2i and 2i + 1 where it is interleaved. The position of the first token is side
    data of 8 bytes. A model that stretches its frequencies for long contexts is undone only in part; that is undone
    again exactly all the same. There and back misses a value by rounding only: below 2^-21 of its pair's length.
    """

    name: ClassVar[str] = "derope"
    summary: ClassVar[str] = "rotary position embedding of keys undone"
    main: ClassVar[str] = "base"

    base: Real = Field(default=10_000.0, gt=1, allow_inf_nan=False)
    pairing: Pairing = "half"
    dims: Whole = Field(default=0, ge=0)

    def applies_to(self, kv: Literal["k", "v"] | None) -> bool:
        """All but values, which are never rotated."""
        return kv != "v"

    def fault(self, shape: Shape) -> str | None:
        """The rotated channels must come in pairs."""
        dims = self._dims(shape)
        if dims > shape[2]:
            return f"derope turns {dims} channels, a head has {shape[2]}; give fewer dims"
        return f"derope needs an even number of channels, not {dims}; give dims" if dims % 2 else None

    def side_bytes(self, shape: Shape, dtype: torch.dtype) -> int:
        """The position of the first token, i64."""
        return 8

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """Turn back, in float32."""
        write_side(side, torch.tensor([block.token_start], dtype=torch.int64, device=side.device))
        return replace(block, values=self._turned(block.values.to(torch.float32), block.token_start, -1))

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """Turn forth."""
        return replace(block, values=self._turned(block.values, int(read_side(side, torch.int64).item()), 1))

    def _dims(self, shape: Shape) -> int:
        return self.dims or shape[2]

    def _turned(self, values: torch.Tensor, token_start: int, sign: int) -> torch.Tensor:
        tokens, _, head_dim = values.shape
        dims = self.dims or head_dim
        positions = np.arange(token_start, token_start + tokens, dtype=np.float64)[:, None, None]
        cosine, sine = (
            torch.from_numpy(table.astype(np.float32)).to(values.device)
            for table in cos_sin(positions * turns_per_token(dims, self.base))
        )
        sine = sine * sign
        turned = values.clone()
        if self.pairing == "half":
            places = slice(0, dims // 2), slice(dims // 2, dims)
        else:
            places = slice(0, dims, 2), slice(1, dims, 2)
        first, second = values[..., places[0]], values[..., places[1]]
        turned[..., places[0]] = first * cosine - second * sine
        turned[..., places[1]] = second * cosine + first * sine
        return turned
