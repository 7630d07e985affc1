"""A real but tiny model with random weights, and a tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path

import torch

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}


def saved(folder: Path, kind: str, initializer_range: float = 0.02) -> Path:
    """The folder of a model that the real transformers made; a larger range makes it heed its cache more."""
    import tokenizers
    import transformers

    torch.manual_seed(0)
    config_type, model_type = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[kind]
    model = model_type(config_type(**SIZES, initializer_range=initializer_range)).half()
    model.save_pretrained(folder)
    words = {f"w{index}": index for index in range(63)} | {"?": 63}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)
    return folder
