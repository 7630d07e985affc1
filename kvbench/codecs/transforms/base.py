"""Owns the protocol every transform follows, and the block of tokens it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict

from kvbench.config import Layout

Shape = tuple[int, int, int]  # tokens, heads, head size


@dataclass(frozen=True)
class Block:
    """A KV tensor between two steps of a chain.

    `values` is [tokens, heads, head size] with any strides, all finite: of the tensor's own dtype until a transform
    changes values, float32 from then on.
    """

    values: torch.Tensor
    layout: Layout  # what the codec will see
    token_start: int  # position of the first token in its sequence
    dtype: torch.dtype  # the tensor's own

    @property
    def shape(self) -> Shape:
        tokens, heads, head_dim = self.values.shape
        return tokens, heads, head_dim


class Transform(BaseModel, ABC):
    """A transform is its parameters, like a codec. Found through the entry-point group `kvbench.transforms`.

    What undoing needs beside the parameters is its side data: bytes whose number follows from parameters and shape, so
    that they can be stored and counted without a header. All work is torch operations on the tensor's device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    summary: ClassVar[str]
    main: ClassVar[str]  # the parameter that `name=value` sets
    changes_values: ClassVar[bool] = True  # so that the codec's error is not the tensor's

    def text(self) -> str:
        """As `parse` in `chain` reads it, with every parameter, so that a later default changes no stored frame."""
        params = self.model_dump(mode="json")
        first = f"{self.name}={params.pop(self.main)}"
        return ":".join([first, *(f"{name}={value}" for name, value in params.items())])

    def applies_to(self, kv: Literal["k", "v"] | None) -> bool:
        """Whether keys, values, or a tensor that is not known to be either (None) go through it."""
        return True

    def calibrated(self, vectors: Mapping[str, str]) -> Self:
        """With the ids of calibrated vectors, by what they hold (`mean`, `std`), in place of the word `calibrated`.

        Raises UsageError where a vector is needed that is not there.
        """
        return self

    def fault(self, shape: Shape) -> str | None:
        """Why a block of this shape cannot go through, or None when it can."""
        return None

    def shape_after(self, shape: Shape) -> Shape:
        """The shape that comes out."""
        return shape

    def layout_after(self, layout: Layout) -> Layout:
        """The layout in which the codec will see what comes out."""
        return layout

    def side_bytes(self, shape: Shape, dtype: torch.dtype) -> int:
        """Bytes of side data for a block of this shape; `dtype` is the tensor's own."""
        return 0

    @abstractmethod
    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """The block as the next step sees it; `side` is uint8 of exactly `side_bytes`, to be written."""

    @abstractmethod
    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """Undo `forward` on what the step behind gave back; values may be float32 where they were 16-bit."""


def read_side(side: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Side data as values of `dtype` [n], copied, so aligned."""
    values = torch.empty(side.numel() // dtype.itemsize, dtype=dtype, device=side.device)
    values.view(torch.uint8).copy_(side)
    return values


def write_side(side: torch.Tensor, values: torch.Tensor) -> None:
    """The bytes of `values` as side data."""
    side.copy_(values.contiguous().reshape(-1).view(torch.uint8))
