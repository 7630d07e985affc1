"""Owns the step between a tensor in its layout and a block of tokens, both ways, without a copy."""

from __future__ import annotations

from typing import Literal

import torch

from kvbench.codecs.transforms.base import Block, Shape
from kvbench.config import Layout
from kvbench.errors import UsageError
from kvbench.plan import LAYOUT_AXES, permutation
from kvbench.record.schema import SourceLayout


def known(layout: SourceLayout, what: str) -> Layout:
    """A layout with axes. Raises UsageError for a flat tensor, which `what` cannot take."""
    if layout == "flat":
        raise UsageError(f"{what} needs a tensor of tokens, heads and head size, not a flat one")
    return layout


def axis_of(layout: Layout, axis: Literal[0, 1, 2]) -> int:
    """Where tokens (0), heads (1) or head size (2) stand in a layout."""
    return LAYOUT_AXES[layout].index(axis)


def as_block(tensor: torch.Tensor, layout: Layout, token_start: int, dtype: torch.dtype) -> Block:
    """A tensor in `layout` as a block; `dtype` is that of the tensor before any transform."""
    return Block(tensor.permute(permutation(layout, "thd")), layout, token_start, dtype)


def as_tensor(values: torch.Tensor, layout: Layout) -> torch.Tensor:
    """[tokens, heads, head size] in `layout`."""
    return values.permute(permutation("thd", layout))


def token_major(shape: tuple[int, ...], layout: Layout) -> Shape:
    """The shape of a block whose tensor has this shape in `layout`."""
    axes = LAYOUT_AXES[layout]
    tokens, heads, head_dim = (shape[axes.index(axis)] for axis in range(3))
    return tokens, heads, head_dim


def laid_out(shape: Shape, layout: Layout) -> tuple[int, ...]:
    """The opposite of `token_major`."""
    return tuple(shape[axis] for axis in LAYOUT_AXES[layout])
