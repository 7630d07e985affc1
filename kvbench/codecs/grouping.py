"""Owns several tensors in one stream: layers, or K and V, of a block of tokens set side by side as further heads.

A group is an ordinary view with more heads, so every codec, transform and frame takes it unchanged, channels keep their
own means, and headers and padding are paid once. It has one bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kvbench.codecs.transforms import laid_out
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView


def join(views: Sequence[KVView]) -> KVView:
    """One view, in the layout of the first, whose heads are those of all views in order.

    Its layer, and K or V, are those that all of them share. Raises UsageError where the views are none, flat, or differ
    in layout, element type, tokens, head size or first token.
    """
    if not views:
        raise UsageError("a group needs at least one tensor")
    first = views[0]
    layout = laid_out.known(first.layout, "a group")
    for other in views[1:]:
        if _agreed(other) != _agreed(first):
            raise UsageError(
                f"a tensor of {_agreed(other)} cannot join one of {_agreed(first)}: layout, dtype, tokens, head size "
                "and first token must agree"
            )
    tensor = torch.cat([view.tensor for view in views], dim=laid_out.axis_of(layout, 1)).contiguous()
    layers, kinds = {view.layer for view in views}, {view.kv for view in views}
    return KVView(
        tensor,
        layer=first.layer if len(layers) == 1 else None,
        kv=first.kv if len(kinds) == 1 else None,
        layout=first.layout,
        token_start=first.token_start,
    )


def split(tensor: torch.Tensor, like: Sequence[KVView]) -> list[torch.Tensor]:
    """The tensors of a group, in the order of the views that were joined; they share the group's memory."""
    layout = laid_out.known(like[0].layout, "a group")
    axis = laid_out.axis_of(layout, 1)
    return list(torch.split(tensor, [view.tensor.shape[axis] for view in like], dim=axis))


def _agreed(view: KVView) -> tuple[object, ...]:
    if view.layout == "flat":
        return view.layout, str(view.tensor.dtype), tuple(view.tensor.shape)
    tokens, _, head_dim = laid_out.token_major(tuple(view.tensor.shape), view.layout)
    return view.layout, str(view.tensor.dtype), tokens, head_dim, view.token_start
