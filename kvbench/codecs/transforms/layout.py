"""Owns the transform `layout`: the order of axes the codec sees."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from kvbench.codecs.transforms.base import Block, Transform
from kvbench.config import Layout as LayoutName


class Layout(Transform):
    """The codec sees the block as `to`, whatever the tensor's own layout is. No value changes; no side data.

    The tensor is reordered inside the call, so that this counts in its time; the axis `layout` of an experiment
    reorders the tensor before any call.
    """

    name: ClassVar[str] = "layout"
    summary: ClassVar[str] = "the order of axes that the codec sees: thd, htd or hdt"
    main: ClassVar[str] = "to"
    changes_values: ClassVar[bool] = False

    to: LayoutName = "hdt"

    def layout_after(self, layout: LayoutName) -> LayoutName:
        """`to`."""
        return self.to

    def forward(self, block: Block, side: torch.Tensor) -> Block:
        """Say how the codec is to see it."""
        return replace(block, layout=self.to)

    def inverse(self, block: Block, side: torch.Tensor) -> Block:
        """Nothing: the pipeline has undone the codec's layout."""
        return block
