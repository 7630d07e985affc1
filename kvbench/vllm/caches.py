"""Owns how vLLM's cache tensors are read: as planes of K and V where their axes are known, else as pages of bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from kvbench.errors import UsageError
from kvbench.swap.planes import CODED_DTYPES, Plane, planes_of

_AXES_OF_FIVE = ("bkthc", "kbthc", "bkhtc", "kbhtc")  # as indexed; vLLM's stride order does not matter


@dataclass(frozen=True)
class LayerFacts:
    """What vLLM's cache specification says of an attention layer's blocks."""

    tokens: int
    heads: int
    key_size: int
    value_size: int


@dataclass(frozen=True)
class Cache:
    """One rank's cache for the swap engine. `kernel_blocks` of its blocks are one of vLLM's.

    `why_bytes` says why values are not known, where they are not; such a cache is moved raw.
    """

    planes: tuple[Plane, ...]
    kernel_blocks: int
    why_bytes: str | None = None

    @property
    def fp8(self) -> bool:
        """Whether it is vLLM's own 8-bit cache."""
        return self.why_bytes is not None and "8-bit" in self.why_bytes


def cache_of(
    layers: Mapping[str, torch.Tensor],
    facts: Mapping[str, LayerFacts],
    pages: Sequence[torch.Tensor],
    blocks: int,
) -> Cache:
    """A cache with a tensor a layer.

    Args:
        layers: vLLM's tensors by the layer's name, as attention indexes them.
        facts: of those layers that hold keys and values of tokens; one without stands for a state or a scale.
        pages: the same memory as int8 [blocks, bytes of a page], a tensor for each piece of it.
        blocks: how many of them vLLM counts.
    """
    why = _not_values(layers, facts)
    if why is not None:
        return _bytes(pages, why)
    layers = _each_once(layers)
    numbers = _layer_numbers(list(layers))
    planes: list[Plane] = []
    splits: set[int] = set()
    for place, (name, tensor) in enumerate(layers.items()):
        found = _read(tensor, facts[name], blocks)
        if found is None:
            return _bytes(pages, f"the axes of a cache tensor of shape {tuple(tensor.shape)} are not known")
        of_layer, split = found
        layer = place if numbers is None else numbers[place]
        planes += [replace(one, layer=layer) for one in of_layer]
        splits.add(split)
    if len(splits) > 1:
        return _bytes(pages, "layers divide vLLM's blocks in different ways")
    return Cache(tuple(planes), splits.pop())


def cross_layer_cache(tensor: torch.Tensor, facts: LayerFacts, pages: Sequence[torch.Tensor], blocks: int) -> Cache:
    """A cache with one tensor for all layers, [layers, ...] as indexed; arguments as of `cache_of`."""
    why = _not_values({"cache": tensor}, {"cache": facts})
    if why is not None:
        return _bytes(pages, why)
    found = _axes(tensor.shape[1:], facts, blocks)
    if found is None:
        return _bytes(pages, f"the axes of a cache tensor of shape {tuple(tensor.shape)} are not known")
    axes, split = found
    return Cache(planes_of(tensor, "l" + axes), split)


def pages_alone(pages: Sequence[torch.Tensor]) -> Cache:
    """A cache of which nothing but vLLM's pages is known: of several groups of layers, or of states."""
    return _bytes(pages, "the model has several groups of layers, or keeps states")


def _bytes(pages: Sequence[torch.Tensor], why: str) -> Cache:
    return Cache(planes_of(list(pages), "bc"), 1, why)


def _not_values(layers: Mapping[str, torch.Tensor], facts: Mapping[str, LayerFacts]) -> str | None:
    other = [name for name in layers if name not in facts]
    if other:
        return f"{other[0]} does not hold keys and values of tokens"
    dtypes = {tensor.dtype for tensor in layers.values()}
    if len(dtypes) > 1:
        return f"layers differ in their element type ({', '.join(sorted(map(str, dtypes)))})"
    (dtype,) = dtypes
    if dtype not in CODED_DTYPES:
        return f"an 8-bit cache ({dtype})" if dtype.itemsize == 1 else f"a cache of {dtype}"
    return None


def _read(tensor: torch.Tensor, facts: LayerFacts, blocks: int) -> tuple[tuple[Plane, ...], int] | None:
    """K and V of one layer, and how many of its blocks are one of vLLM's; None where the axes are not known."""
    if tensor.dim() == 5:
        found = _axes(tensor.shape, facts, blocks)
        return None if found is None else (planes_of(tensor, found[0]), found[1])
    if tensor.dim() != 4:
        return None
    split = _split(tensor.shape[0], tensor.shape[2], facts, blocks)
    if split is None or tensor.shape[1] != facts.heads or tensor.shape[3] != facts.key_size + facts.value_size:
        return None
    if tensor.device.type == "cpu" and facts.key_size == facts.value_size and tensor.is_contiguous():
        # vLLM's attention on the CPU keeps all keys of a head's block before all values.
        halves = tensor.view(tensor.shape[0], facts.heads, 2, tensor.shape[2], facts.key_size)
        return planes_of(halves, "bhktc"), split
    keys, values = tensor[..., : facts.key_size], tensor[..., facts.key_size :]
    both = (replace(planes_of(keys, "bhtc")[0], kv="k"), replace(planes_of(values, "bhtc")[0], kv="v"))
    return both, split


def _axes(shape: Sequence[int], facts: LayerFacts, blocks: int) -> tuple[str, int] | None:
    """The axes of a tensor with K and V on an axis of their own, and the split; the first that fit."""
    if len(shape) != 5 or facts.key_size != facts.value_size:
        return None
    for axes in _AXES_OF_FIVE:
        size = dict(zip(axes, shape, strict=True))
        split = _split(size["b"], size["t"], facts, blocks)
        if split is not None and (size["k"], size["h"], size["c"]) == (2, facts.heads, facts.key_size):
            return axes, split
    return None


def _split(tensor_blocks: int, tokens: int, facts: LayerFacts, blocks: int) -> int | None:
    split = tensor_blocks // blocks
    return split if split >= 1 and tensor_blocks == blocks * split and tokens * split == facts.tokens else None


def _each_once(layers: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the layers that share another one's cache."""
    owners = {one.data_ptr(): name for name, one in reversed(list(layers.items()))}
    return {name: one for name, one in layers.items() if owners[one.data_ptr()] == name}


def _layer_numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers in layers' names, such as 12 in `model.layers.12.self_attn.attn`; None where they do not tell."""
    found = [[int(part) for part in re.findall(r"(?:^|\.)(\d+)(?=\.|$)", name)] for name in names]
    if any(len(numbers) != 1 for numbers in found):
        return None
    numbers = [one for (one,) in found]
    return numbers if len(set(numbers)) == len(numbers) else None


def require_codable(cache: Cache, codec: str) -> None:
    """Raises UsageError where `fp8` was asked for and vLLM's cache is no 8-bit one."""
    if codec == "fp8" and not cache.fp8:
        raise UsageError(
            f"codec fp8 moves the bytes of vLLM's own 8-bit cache, and this one is {cache.planes[0].values.dtype}; "
            "start the server with --kv-cache-dtype fp8, or choose codec raw or cuszp"
        )
