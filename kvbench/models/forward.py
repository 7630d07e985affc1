"""Owns running a model over tokens with its KV cache, and taking K and V out of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from kvbench.errors import KvbenchError, UsageError
from kvbench.models.load import new_cache

CHUNK_TOKENS = 256
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prefill:
    """The filled cache, and exp of the mean negative log likelihood of tokens 1.. given those before them."""

    cache: Any
    perplexity: float


@torch.inference_mode()
def prefill(model: Any, token_ids: Sequence[int], device: torch.device) -> Prefill:
    """Run `model` over the tokens from an empty cache, CHUNK_TOKENS at a time, in the model's own dtype.

    The perplexity tells a reader whether the weights were loaded as they should be.
    """
    cache = new_cache()
    ids = torch.tensor(token_ids, device=device)
    loss = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(ids), CHUNK_TOKENS):
        chunk = ids[start : start + CHUNK_TOKENS]
        logits = run_chunk(model, chunk, cache)
        following = ids[start + 1 : start + 1 + len(chunk)]
        losses = torch.nn.functional.cross_entropy(logits[: len(following)].float(), following, reduction="sum")
        loss += losses.double().cpu()
    return Prefill(cache, float(torch.exp(loss / max(len(ids) - 1, 1))))


def run_chunk(model: Any, ids: torch.Tensor, cache: Any) -> torch.Tensor:
    """Logits [n, vocabulary] after each of the tokens `ids` [n], which follow what `cache` holds; it grows by them."""
    # The keyword was renamed in transformers 5; older and newer models must both work.
    keyword = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    logits: torch.Tensor = model(input_ids=ids[None], use_cache=True, **{keyword: cache}).logits[0]
    return logits


def kv_of_layer(prefilled: Prefill, layer: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """K and V of one layer as [tokens, heads, head_dim], views of the cache.

    Raises UsageError for a model whose cache is not K and V of every token.
    """
    layers = getattr(prefilled.cache, "layers", ())
    kept = layers[layer] if layer < len(layers) else None
    keys, values = getattr(kept, "keys", None), getattr(kept, "values", None)
    if keys is None or values is None or keys.ndim != 4 or keys.shape[2] != tokens:
        raise UsageError(f"layer {layer} of this model does not keep K and V of every token; it cannot be captured")
    return keys[0].transpose(0, 1), values[0].transpose(0, 1)


@contextmanager
def keys_before_rotation(model: Any, layers: Sequence[int]) -> Iterator[dict[int, list[torch.Tensor]]]:
    """Collect, while the model runs, each layer's keys as they are before rotary rotation: [tokens, heads * head_dim].

    That is the output of `k_norm` where the attention has one, else of `k_proj`. Raises UsageError for others.
    """
    collected: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    handles = []
    try:
        for layer in layers:
            module = _key_module(model, layer)

            def keep(_module: Any, _inputs: Any, output: torch.Tensor, layer: int = layer) -> None:
                collected[layer].append(output[0].reshape(output.shape[1], -1))

            handles.append(module.register_forward_hook(keep))
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def joined_keys(pieces: Sequence[torch.Tensor], rotated: torch.Tensor) -> torch.Tensor:
    """The collected keys of one layer, shaped like `rotated`, [tokens, heads, head_dim], and checked against it.

    Rotation keeps every head's norm, up to one factor where a scaling of the positions brings it. Raises
    KvbenchError when the norms say that these are not the keys that were rotated.
    """
    keys = torch.cat(list(pieces)).reshape(rotated.shape)
    factor = rotated.norm() / keys.norm()
    worst = ((rotated.norm(dim=2) - factor * keys.norm(dim=2)).abs().max() / rotated.norm(dim=2).max()).item()
    if not worst < _NORM_TOLERANCE:
        raise KvbenchError("--pre-rope: this model's keys change otherwise than by rotation; leave --pre-rope out")
    return keys


def _key_module(model: Any, layer: int) -> Any:
    stack = getattr(model.base_model, "layers", None)
    attention = getattr(stack[layer], "self_attn", None) if stack is not None else None
    module = getattr(attention, "k_norm", None) or getattr(attention, "k_proj", None)
    if module is None:
        raise UsageError(f"--pre-rope: {type(model).__name__} has no k_proj to take keys from; leave --pre-rope out")
    return module
