"""Owns the tensor view a codec sees and the protocol of a tensor source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from kvbench.record.schema import SourceLayout, TensorSpec

if TYPE_CHECKING:
    import torch

    from kvbench.config import Experiment


@dataclass(frozen=True)
class KVView:
    """A tensor as a codec sees it: contiguous, already in `layout`, with what profiles and tables look up.

    `tensor` is float32, bfloat16 or float16, of shape [tokens, heads, head_dim] permuted by `layout`, or [n].
    """

    tensor: torch.Tensor
    layer: int | None = None
    kv: Literal["k", "v"] | None = None
    layout: SourceLayout = "flat"
    token_start: int = 0


class TensorSource(Protocol):
    """Tensors under one name. Found through the entry-point group `kvbench.sources`, made without arguments."""

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """The tensors this experiment takes from the source, from headers alone.

        Raises UsageError where the experiment's sizes, layers or geometry do not fit the source.
        """

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU: shape, dtype and layout as the spec says."""
