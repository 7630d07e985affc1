"""Owns how many elements a check of a whole tensor works on at a time."""

from __future__ import annotations

import torch

# On the host float64 pieces of so few stay in the cache, and torch starts no threads for them. (It does for torch.dot,
# whose threads cost milliseconds on a busy machine: hence square().sum() and the like.)
PIECE_ELEMENTS = 31_744
CUDA_PIECE_ELEMENTS = 1 << 22  # enough work for a launch, little enough memory in float64


def split(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A flat tensor in pieces, in order, of a size that suits its device."""
    return torch.split(values, CUDA_PIECE_ELEMENTS if values.is_cuda else PIECE_ELEMENTS)
