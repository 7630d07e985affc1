"""Owns how a paged cache is read: its tensors, whatever their axes and strides, as planes of equal blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from kvbench.errors import UsageError

CODED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # any other is moved as bytes
AXES = "lkbthc"  # layer, K or V, block, token, head, channel


@dataclass(frozen=True)
class Plane:
    """K or V of one layer: `values` is [blocks, tokens, heads, head size], a view of the cache with stride 1 at last.

    `layer` and `kv` are None where the cache's axes do not say them.
    """

    values: torch.Tensor
    layer: int | None = None
    kv: Literal["k", "v"] | None = None

    @property
    def name(self) -> str:
        """`layer 3 k`, as far as it is known."""
        return " ".join([f"layer {self.layer}"] * (self.layer is not None) + [self.kv or ""]).strip() or "the cache"

    @property
    def coded(self) -> bool:
        """Whether a codec can take its values; else they are bytes."""
        return self.values.dtype in CODED_DTYPES

    @property
    def block_shape(self) -> tuple[int, int, int]:
        """Tokens, heads and head size of one block."""
        _, tokens, heads, head_size = self.values.shape
        return tokens, heads, head_size

    @property
    def block_values(self) -> int:
        """Values of one block, or its bytes where it is not coded."""
        tokens, heads, head_size = self.block_shape
        return tokens * heads * head_size

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return self.block_values * self.values.element_size()


def planes_of(tensors: torch.Tensor | Sequence[torch.Tensor], axes: str) -> tuple[Plane, ...]:
    """The planes of a cache, in the order of layers, K before V.

    `axes` has a letter for each axis of a tensor as it is indexed, in order: `l` layer, `k` K and V, `b` block,
    `t` token, `h` head, `c` channel; strides may be any, but the channels' must be 1. So a layer's
    [2, blocks, tokens, heads, size] is `kbthc`, [blocks, 2, ...] is `bkthc`, one tensor across layers
    [layers, 2, blocks, ...] is `lkbthc`, K and V interleaved by head are `bhtkc` after unflatten(-1, (2, size)), and
    pages of bytes are `bc`. Of several tensors each is a layer. Tensors of other dtypes than float32, bfloat16 and
    float16 are taken as bytes.
    Raises UsageError for axes that do not fit, a stride of channels above 1, and tensors unlike each other.
    """
    given = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    if not given:
        raise UsageError("a cache of no tensors; give one a layer, or one for all layers")
    _check_axes(given, axes)
    layered = "l" in axes
    found: list[Plane] = []
    for number, tensor in enumerate(given):
        full = _all_axes(tensor if tensor.dtype in CODED_DTYPES else _as_bytes(tensor), axes)
        for layer in range(full.shape[0]):
            for kv in range(full.shape[1]):
                of_layer = layer if layered else (number if len(given) > 1 else None)
                found.append(Plane(full[layer, kv], of_layer, _kind(axes, kv)))
    _require_alike(found)
    return tuple(found)


def guessed_axes(tensor: torch.Tensor) -> str:
    """The axes of [2, blocks, tokens, heads, size], [blocks, 2, tokens, heads, size] or [blocks, tokens, heads, size].

    Two blocks of the second form look like the first. Raises UsageError for another shape.
    """
    shape = tuple(tensor.shape)
    if len(shape) == 5 and shape[0] == 2:
        return "kbthc"
    if len(shape) == 5 and shape[1] == 2:
        return "bkthc"
    if len(shape) in (2, 3, 4):
        return {2: "bc", 3: "btc", 4: "bthc"}[len(shape)]
    raise UsageError(
        f"a cache tensor of shape {shape}; use [2, blocks, tokens, heads, size], [blocks, 2, tokens, heads, size] or "
        "[blocks, tokens, heads, size], or name its axes"
    )


def _check_axes(tensors: Sequence[torch.Tensor], axes: str) -> None:
    if len(set(axes)) != len(axes) or not set(axes) <= set(AXES) or not {"b", "c"} <= set(axes):
        raise UsageError(f"axes {axes!r}: use each of the letters {AXES} once at most, b and c at least")
    if "l" in axes and len(tensors) > 1:
        raise UsageError(
            f"axes {axes!r} have layers in each of {len(tensors)} tensors; give one tensor, or leave out l"
        )
    for tensor in tensors:
        if tensor.dim() != len(axes):
            raise UsageError(f"axes {axes!r} are {len(axes)}, a cache tensor has shape {tuple(tensor.shape)}")
        if tensor.numel() == 0:
            raise UsageError(f"a cache tensor of shape {tuple(tensor.shape)} is empty")
        if tensor.stride(axes.index("c")) != 1 and tensor.shape[axes.index("c")] > 1:
            raise UsageError(
                f"axes {axes!r}: the channels have stride {tensor.stride(axes.index('c'))}; they must be neighbours"
            )
        if "k" in axes and tensor.shape[axes.index("k")] != 2:
            raise UsageError(f"axes {axes!r}: axis k has {tensor.shape[axes.index('k')]} entries; K and V are 2")


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8)


def _all_axes(tensor: torch.Tensor, axes: str) -> torch.Tensor:
    """The tensor as [layers, K and V, blocks, tokens, heads, channels]; axes it lacks have one entry."""
    ordered = tensor.permute([axes.index(axis) for axis in AXES if axis in axes])
    for place, axis in enumerate(AXES):
        if axis not in axes:
            ordered = ordered.unsqueeze(place)
    return ordered


def _kind(axes: str, kv: int) -> Literal["k", "v"] | None:
    if "k" not in axes:
        return None
    return "k" if kv == 0 else "v"


def _require_alike(planes: Sequence[Plane]) -> None:
    first = planes[0].values
    for plane in planes[1:]:
        other = plane.values
        if other.shape[0] != first.shape[0]:
            raise UsageError(f"{plane.name} has {other.shape[0]} blocks, {planes[0].name} {first.shape[0]}")
        if other.dtype != first.dtype or other.device != first.device:
            raise UsageError(
                f"{plane.name} is {other.dtype} on {other.device}, {planes[0].name} {first.dtype} on {first.device}; "
                "use one engine for each"
            )
