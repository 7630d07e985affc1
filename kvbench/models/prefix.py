"""Owns the KV cache of a prefix: taken out of a model in the cache's element type, and put back for a continuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from kvbench.errors import CaseFailed
from kvbench.models import load
from kvbench.models.forward import kv_of_layer, prefill


class LayerKV(NamedTuple):
    """K and V of one layer, each [tokens, heads, values of a head]."""

    keys: torch.Tensor
    values: torch.Tensor


Prefix = Sequence[LayerKV]  # every layer of the model, in order


@torch.inference_mode()
def prefix_cache(
    model: Any, token_ids: Sequence[int], dtype: torch.dtype, device: torch.device, elements: int
) -> list[LayerKV]:
    """The cache that `model` leaves after the tokens, rounded to `dtype` (nearest even), on `device`.

    Raises CaseFailed where it does not hold the `elements` values its configuration promised, UsageError for a cache
    that is not K and V of every token.
    """
    prefilled = prefill(model, token_ids, device)
    layers = len(getattr(prefilled.cache, "layers", ()))
    found = []
    for layer in range(layers):
        keys, values = kv_of_layer(prefilled, layer, len(token_ids))
        found.append(LayerKV(keys.to(dtype).contiguous(), values.to(dtype).contiguous()))
    held = sum(tensor.numel() for layer in found for tensor in layer)
    if held != elements:
        raise CaseFailed("other_cache", f"the cache holds {held} values where the configuration promised {elements}")
    return found


def cache_of(prefix: Prefix, dtype: torch.dtype) -> Any:
    """A new transformers cache that holds the prefix, widened or rounded to the model's own `dtype`.

    The tensors go in by the cache's own `update`, so that the model finds them as it would have left them.
    """
    cache = load.new_cache()
    for number, layer in enumerate(prefix):
        keys, values = (tensor.transpose(0, 1)[None].to(dtype) for tensor in layer)
        cache.update(keys, values, number)
    return cache
