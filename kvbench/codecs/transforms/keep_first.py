"""Owns the transform `keep-first`: tokens at the front that no codec sees."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field

from kvbench.codecs.transforms.base import Block, Shape, Transform, read_side, write_side
from kvbench.config import Whole


class KeepFirst(Transform):
    """The first tokens stay as they are, bit for bit: side data of their own size.

    The first tokens of a sequence often hold values far from all others, which widen a range and which many later
    tokens attend to. They are the first of the tensor, wherever in its sequence that starts.
    """

    name: ClassVar[str] = "keep-first"
    summary: ClassVar[str] = "the first tokens stay raw"
    main: ClassVar[str] = "tokens"
    changes_values: ClassVar[bool] = False

    tokens: Whole = Field(default=4, ge=0)

    def shape_after(self, shape: Shape) -> Shape:
        """Without the kept tokens."""
        tokens, heads, head_dim = shape
        return max(tokens - self.tokens, 0), heads, head_dim

    def side_bytes(self, shape: Shape, dtype: torch.dtype) -> int:
        """The kept tokens' bytes."""
        tokens, heads, head_dim = shape
        return min(self.tokens, tokens) * heads * head_dim * dtype.itemsize

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """Move the first tokens to the side data."""
        write_side(side, block.values[: self.tokens])
        return replace(block, values=block.values[self.tokens :], token_start=block.token_start + self.tokens)

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """Put them back in front."""
        _, heads, head_dim = block.shape
        kept = read_side(side, block.dtype).reshape(-1, heads, head_dim)
        values = torch.cat([kept.to(block.values.dtype), block.values])
        return replace(block, values=values, token_start=block.token_start - self.tokens)
