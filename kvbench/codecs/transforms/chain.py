"""Owns chains of transforms: their text form, their order, and a block's way through and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import torch

from kvbench.codecs.transforms import registry
from kvbench.codecs.transforms.base import Block, Shape, Transform
from kvbench.codecs.transforms.keep_first import KeepFirst
from kvbench.config import Layout
from kvbench.errors import UsageError

Chain = tuple[Transform, ...]
NONE = "none"


@lru_cache(maxsize=256)
def parse(text: str) -> Chain:
    """The transforms of a text such as `keep-first=4,center,derope=100000:pairing=half`, in order; '' or `none`: none.

    Items are separated by commas; `name=value` sets a transform's main parameter, `:parameter=value` any other.
    Raises UsageError for what cannot be read, a transform named twice, and kept tokens that would not be exact.
    """
    if text.strip() in ("", NONE):
        return ()
    chain = tuple(_item(item.strip(), text) for item in text.split(","))
    twice = [one.name for one in chain if sum(one.name == other.name for other in chain) > 1]
    if twice:
        raise UsageError(f"transforms {text!r}: {twice[0]} is given twice; give it once")
    if any(isinstance(one, KeepFirst) for one in chain[1:]):
        raise UsageError(f"transforms {text!r}: keep-first must come first, so that the kept tokens stay as they are")
    return chain


def canonical(chain: Chain) -> str:
    """The text of a chain with every parameter; '' for none."""
    return ",".join(one.text() for one in chain)


def resolved(chain: Chain, kv: Literal["k", "v"] | None) -> Chain:
    """What of a chain K, V, or a tensor of no known kind goes through."""
    return tuple(one for one in chain if one.applies_to(kv))


def with_calibration(chain: Chain, vectors: Mapping[str, str]) -> Chain:
    """A chain whose calibrated vectors are named by id. Raises UsageError where one is not there."""
    return tuple(one.calibrated(vectors) for one in chain)


def with_kept(text: str, keep_first: int) -> str:
    """The canonical text of a chain that also keeps the first tokens. Raises UsageError where it does so already."""
    chain = parse(text)
    if not keep_first:
        return canonical(chain)
    if any(isinstance(one, KeepFirst) for one in chain):
        raise UsageError(f"transforms {text!r} and --keep-first {keep_first} both keep tokens; give one of them")
    return canonical((KeepFirst(tokens=keep_first), *chain))


def kept_tokens(chain: Chain) -> int:
    """Tokens at the front that stay raw."""
    return chain[0].tokens if chain and isinstance(chain[0], KeepFirst) else 0


def changes_values(chain: Chain) -> bool:
    """Whether the codec sees other values than the tensor's, so that its error is not the tensor's."""
    return any(one.changes_values for one in chain)


def require_fit(chain: Chain, shape: Shape) -> None:
    """Raises UsageError where a transform cannot take a block of this shape."""
    for one in chain:
        fault = one.fault(shape)
        if fault is not None:
            raise UsageError(fault)
        shape = one.shape_after(shape)


def side_sizes(chain: Chain, shape: Shape, dtype: torch.dtype) -> list[int]:
    """Bytes of each transform's side data for a block of this shape; `dtype` is the tensor's own."""
    sizes = []
    for one in chain:
        sizes.append(one.side_bytes(shape, dtype))
        shape = one.shape_after(shape)
    return sizes


def shape_after(chain: Chain, shape: Shape) -> Shape:
    """The shape of what the codec sees, its axes still in the order tokens, heads, head size."""
    for one in chain:
        shape = one.shape_after(shape)
    return shape


def layout_after(chain: Chain, layout: Layout) -> Layout:
    """The layout in which the codec sees a block that came in `layout`."""
    for one in chain:
        layout = one.layout_after(layout)
    return layout


def forward(chain: Chain, block: Block) -> tuple[Block, list[torch.Tensor]]:
    """The block as the codec is to see it, and every transform's side data (uint8)."""
    sides = []
    for one in chain:
        side = torch.empty(one.side_bytes(block.shape, block.dtype), dtype=torch.uint8, device=block.values.device)
        block = one.forward(block, side)
        sides.append(side)
    return block, sides


def inverse(chain: Chain, block: Block, sides: Sequence[torch.Tensor]) -> Block:
    """The block as it was, but for what the codec did to it and rounding."""
    for one, side in zip(reversed(chain), reversed(sides), strict=True):
        block = one.inverse(block, side)
    return block


def _item(item: str, text: str) -> Transform:
    head, *rest = item.split(":")
    name, equals, value = head.partition("=")
    params = {"": value.strip()} if equals else {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"transforms {text!r}: {part!r} is no parameter; write name=value")
        params[key.strip()] = value.strip()
    return registry.make(name.strip(), params)
