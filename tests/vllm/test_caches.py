"""How vLLM's cache tensors are read, in the shapes that its releases and backends give them."""

from __future__ import annotations

import pytest
import torch

from kvbench.errors import UsageError
from kvbench.vllm.caches import Cache, LayerFacts, cache_of, cross_layer_cache, pages_alone, require_codable

BLOCKS, TOKENS, HEADS, SIZE = 6, 16, 3, 8
FACTS = LayerFacts(TOKENS, HEADS, SIZE, SIZE)
NAMES = [f"model.layers.{number}.self_attn.attn" for number in (4, 5)]


def pages(dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    size = 2 * TOKENS * HEADS * SIZE * dtype.itemsize
    return [torch.zeros((BLOCKS, size), dtype=torch.int8) for _ in NAMES]


def read(*shape: int, dtype: torch.dtype = torch.bfloat16, facts: LayerFacts = FACTS) -> Cache:
    tensors = {name: torch.zeros(shape, dtype=dtype) for name in NAMES}
    return cache_of(tensors, dict.fromkeys(NAMES, facts), pages(dtype), BLOCKS)


@pytest.mark.parametrize(
    "shape",
    [
        (BLOCKS, 2, TOKENS, HEADS, SIZE),  # FlashAttention and Triton of 0.24
        (2, BLOCKS, TOKENS, HEADS, SIZE),
        (BLOCKS, 2, HEADS, TOKENS, SIZE),
        (2, BLOCKS, HEADS, TOKENS, SIZE),
        (BLOCKS, HEADS, TOKENS, 2 * SIZE),  # every backend of 0.33
    ],
)
def test_keys_and_values_are_found(shape: tuple[int, ...]) -> None:
    cache = read(*shape)
    assert cache.why_bytes is None
    assert cache.kernel_blocks == 1
    assert [(one.layer, one.kv) for one in cache.planes] == [(4, "k"), (4, "v"), (5, "k"), (5, "v")]
    assert {one.values.shape for one in cache.planes} == {(BLOCKS, TOKENS, HEADS, SIZE)}


def test_the_values_are_the_right_ones() -> None:
    """Keys and values lie side by side in a token's head, and attention's strides are kept."""
    tensor = torch.randn((BLOCKS, TOKENS, HEADS, 2 * SIZE), device="cpu").transpose(1, 2)
    cache = cache_of({"cache": tensor}, {"cache": FACTS}, pages(torch.float32)[:1], BLOCKS)
    keys, values = (one.values for one in cache.planes)
    assert torch.equal(keys, tensor.transpose(1, 2)[..., :SIZE])
    assert torch.equal(values, tensor.transpose(1, 2)[..., SIZE:])


def test_attention_on_the_cpu_keeps_all_keys_of_a_head_before_its_values() -> None:
    tensor = torch.randn((BLOCKS, HEADS, TOKENS, 2 * SIZE))
    cache = cache_of({"cache": tensor}, {"cache": FACTS}, pages(torch.float32)[:1], BLOCKS)
    halves = tensor.view(BLOCKS, HEADS, 2, TOKENS, SIZE)
    assert torch.equal(cache.planes[0].values, halves[:, :, 0].transpose(1, 2))
    assert torch.equal(cache.planes[1].values, halves[:, :, 1].transpose(1, 2))


def test_values_of_another_size_than_keys() -> None:
    cache = read(BLOCKS, HEADS, TOKENS, 12, facts=LayerFacts(TOKENS, HEADS, 8, 4))
    assert [one.block_shape for one in cache.planes[:2]] == [(TOKENS, HEADS, 8), (TOKENS, HEADS, 4)]


def test_blocks_that_attention_divides() -> None:
    cache = read(4 * BLOCKS, 2, TOKENS // 4, HEADS, SIZE)
    assert cache.kernel_blocks == 4
    assert cache.planes[0].values.shape == (4 * BLOCKS, TOKENS // 4, HEADS, SIZE)


def test_one_tensor_across_layers() -> None:
    tensor = torch.zeros((2, BLOCKS, 2, TOKENS, HEADS, SIZE), dtype=torch.float16)
    cache = cross_layer_cache(tensor, FACTS, pages(), BLOCKS)
    assert [one.name for one in cache.planes] == ["layer 0 k", "layer 0 v", "layer 1 k", "layer 1 v"]


def test_layers_that_share_a_cache_are_read_once() -> None:
    tensor = torch.zeros((BLOCKS, 2, TOKENS, HEADS, SIZE))
    cache = cache_of(dict.fromkeys(NAMES, tensor), dict.fromkeys(NAMES, FACTS), pages()[:1], BLOCKS)
    assert len(cache.planes) == 2


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [
        ((BLOCKS, 2, TOKENS, HEADS, SIZE), torch.float8_e4m3fn, "8-bit"),
        ((BLOCKS, 2, TOKENS, HEADS, SIZE), torch.uint8, "8-bit"),
        ((BLOCKS, TOKENS, 576), torch.bfloat16, "axes"),
        ((BLOCKS, 2, TOKENS, HEADS + 1, SIZE), torch.bfloat16, "axes"),
        ((BLOCKS + 1, 2, TOKENS, HEADS, SIZE), torch.bfloat16, "axes"),
    ],
)
def test_what_is_not_known_is_moved_as_bytes(shape: tuple[int, ...], dtype: torch.dtype, why: str) -> None:
    cache = read(*shape, dtype=dtype)
    assert cache.why_bytes is not None
    assert why in cache.why_bytes
    assert [one.block_bytes for one in cache.planes] == [pages(dtype)[0].shape[1]] * 2
    assert not any(one.coded for one in cache.planes)


def test_states_are_moved_as_bytes() -> None:
    tensors = {name: torch.zeros((BLOCKS, 2, TOKENS, HEADS, SIZE)) for name in NAMES}
    cache = cache_of(tensors, {NAMES[0]: FACTS}, pages(), BLOCKS)
    assert cache.why_bytes is not None
    assert NAMES[1] in cache.why_bytes
    assert pages_alone(pages()).why_bytes is not None


def test_fp8_is_vllms_own() -> None:
    require_codable(read(BLOCKS, 2, TOKENS, HEADS, SIZE, dtype=torch.uint8), "fp8")
    with pytest.raises(UsageError, match="--kv-cache-dtype fp8"):
        require_codable(read(BLOCKS, 2, TOKENS, HEADS, SIZE), "fp8")
