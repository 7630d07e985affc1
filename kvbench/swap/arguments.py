"""Owns the check of the block numbers and sequence starts that a caller gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kvbench.errors import UsageError


def block_numbers(blocks: ArrayLike, count: int, least: int) -> NDArray[np.int64]:
    """Blocks as int64, of any shape, each `least` to `count` - 1. Raises UsageError for others."""
    numbers = np.asarray(blocks)
    if numbers.dtype != np.int64:
        if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
            raise UsageError(f"block numbers are whole numbers, not {numbers.dtype}")
        numbers = numbers.astype(np.int64)
    if numbers.size:
        low, high = int(numbers.min()), int(numbers.max())
        if low < least or high >= count:
            raise UsageError(
                f"block {low if low < least else high} is not in the cache; its blocks are 0 to {count - 1}"
            )
    return numbers


def blocks_of_slots(blocks: ArrayLike, slots: int, slot_blocks: int, count: int, least: int) -> NDArray[np.int64]:
    """Blocks as [slots, blocks of a slot]. Raises UsageError like `block_numbers`, and for another shape."""
    numbers = block_numbers(blocks, count, least)
    if numbers.shape == (slots, slot_blocks):
        return numbers
    if numbers.shape == (slots * slot_blocks,):
        return numbers.reshape(slots, slot_blocks)
    each = f"{slot_blocks} blocks each" if slot_blocks > 1 else "one block each"
    raise UsageError(f"blocks of shape {numbers.shape} for {slots} slots of {each}; give [{slots}, {slot_blocks}]")


def kept_tokens(
    starts: ArrayLike | None, shape: tuple[int, ...], keep_first: int, zeros: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Tokens that stay raw by block: `keep_first` where a sequence starts. `zeros` serves where none does.

    Raises UsageError for `starts` of another shape or type.
    """
    if starts is None or not keep_first:
        return zeros
    begins = np.asarray(starts)
    if begins.dtype != np.bool_ or begins.size != shape[0] * shape[1]:
        raise UsageError(
            f"starts of {begins.dtype} {begins.shape}; give one truth value for each of {shape[0]} x {shape[1]} blocks"
        )
    return begins.reshape(shape).astype(np.uint32) * np.uint32(keep_first)
