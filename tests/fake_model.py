"""A model, tokenizer and configuration small enough to check by hand, in place of transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

HEADS, HEAD_DIM, LAYERS, VOCABULARY = 2, 4, 3, 256


@dataclass
class FakeCache:
    """Grows along the tokens, as transformers' does."""

    layers: list[Any] = field(default_factory=list)

    def add(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        while len(self.layers) <= layer:
            self.layers.append(SimpleNamespace(keys=torch.empty(1, HEADS, 0, HEAD_DIM), values=None))
        kept = self.layers[layer]
        kept.keys = torch.cat([kept.keys, keys], dim=2)
        kept.values = values if kept.values is None else torch.cat([kept.values, values], dim=2)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int) -> None:
        self.add(layer_idx, keys, values)

    def tokens(self) -> int:
        return int(self.layers[0].keys.shape[2]) if self.layers else 0


class FakeAttention(torch.nn.Module):
    """Keys are token + layer; the rotation is a change of sign at odd positions, which keeps norms."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.k_proj = torch.nn.Identity()

    def forward(self, ids: torch.Tensor, cache: FakeCache, start: int) -> None:
        wide = (ids.float() + self.layer)[..., None] * torch.arange(1.0, 1 + HEADS * HEAD_DIM)
        keys = self.k_proj(wide).reshape(1, -1, HEADS, HEAD_DIM).transpose(1, 2)
        sign = 1.0 - 2.0 * (torch.arange(start, start + ids.shape[1]) % 2)
        cache.add(self.layer, keys * sign[None, None, :, None], -keys / 3)


class FakeModel(torch.nn.Module):
    """Predicts every token of the vocabulary alike, so that its perplexity is the vocabulary's size."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [torch.nn.Module() for _ in range(LAYERS)]
        for layer, block in enumerate(blocks):
            block.self_attn = FakeAttention(layer)
        self.layers = torch.nn.ModuleList(blocks)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def base_model(self) -> FakeModel:
        return self

    def forward(self, input_ids: torch.Tensor, cache: FakeCache, use_cache: bool) -> Any:
        start = cache.tokens()
        for block in self.layers:
            block.self_attn(input_ids, cache, start)
        return SimpleNamespace(logits=torch.zeros(1, input_ids.shape[1], VOCABULARY))


def fake_config() -> SimpleNamespace:
    return SimpleNamespace(
        model_type="fake",
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=2000,
        dtype=None,
        rope_parameters={"rope_theta": 123.0, "rope_type": "default"},
    )


def bytes_tokenizer(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
    """A token a byte."""
    return {"input_ids": list(text.encode())}
