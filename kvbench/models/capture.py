"""Owns `kvbench capture`'s work: a text through a model, the asked layers' K and V into one .safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch

from kvbench import __version__
from kvbench.errors import UnavailableError, UsageError
from kvbench.geometry import DTYPE_BYTES, DType, KVGeometry
from kvbench.models import forward, load
from kvbench.models.texts import read_file
from kvbench.record.files import replacing
from kvbench.record.schema import SCHEMA_VERSION
from kvbench.record.tensor_file import save_safetensors
from kvbench.tensors.file_formats import SCHEMA_KEY
from kvbench.tensors.layout import torch_dtype


@dataclass(frozen=True)
class CaptureRequest:
    """What to capture. `layers` empty takes all; `dtype` None takes the model's own, or bfloat16 if it names none."""

    model: str
    text: Path
    tokens: int
    output: Path
    gguf: str | None = None
    revision: str | None = None
    layers: tuple[int, ...] = ()
    dtype: DType | None = None
    pre_rope: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    note: str | None = None


@dataclass(frozen=True)
class Captured:
    """What was written: the file, its size, its tensors' names, and the header."""

    path: Path
    file_bytes: int
    names: tuple[str, ...]
    metadata: dict[str, str]


def capture(request: CaptureRequest) -> Captured:
    """Run the model over the first tokens of the text and write the file, whole or not at all.

    Everything that can be refused is refused before the weights are read. Tensors are [tokens, heads, head_dim],
    computed in float32 and rounded to the cache dtype, to nearest even. Raises UsageError, UnavailableError and
    KvbenchError with one line each.
    """
    _check_output(request.output)
    text = read_file(request.text)
    device = _device(request.device)
    place = load.locate(request.model, request.gguf, request.revision)
    config = load.load_config(place)
    layers = _layers(request.layers, config.num_hidden_layers)
    token_ids = _token_ids(load.load_tokenizer(place), text, request, config)
    dtype = request.dtype or _cache_dtype(config)
    model = load.load_model(place, device)
    with forward.keys_before_rotation(model, layers if request.pre_rope else ()) as before:
        prefilled = forward.prefill(model, token_ids, device)
    tensors = _tensors(prefilled, before, layers, len(token_ids), dtype)
    heads, head_dim = tensors[f"layers.{layers[0]}.k"].shape[1:]
    geometry = KVGeometry(
        layers=config.num_hidden_layers, heads=heads, head_dim=head_dim, dtype=dtype, tokens=len(token_ids)
    )
    metadata = {
        **_model_metadata(place, config, geometry, layers),
        **_text_metadata(request),
        "rotary": json.dumps(_rotary(config, request.pre_rope), sort_keys=True),
        "perplexity": f"{prefilled.perplexity:.4g}",
        "created_by": f"kvbench {__version__}, transformers {load.transformers_version()}, torch {torch.__version__}",
    }
    _write(request.output, tensors, metadata)
    return Captured(request.output, request.output.stat().st_size, tuple(tensors), metadata)


def _check_output(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: use a name that ends in .safetensors")
    if output.exists():
        raise UsageError(f"--output {output} exists; choose another name, or delete it first")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: the folder {output.parent} does not exist; make it first")
    if not os.access(output.absolute().parent, os.W_OK):
        raise UsageError(f"--output {output}: the folder {output.parent} is not writable; choose another")


def _device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise UnavailableError("--device cuda: torch finds no usable GPU; use --device cpu")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def _layers(asked: tuple[int, ...], layer_count: int) -> tuple[int, ...]:
    for layer in asked:
        if not 0 <= layer < layer_count:
            raise UsageError(f"--layers {layer}: the model has layers 0 to {layer_count - 1}")
    return tuple(dict.fromkeys(asked)) or tuple(range(layer_count))


def _token_ids(tokenizer: Any, text: str, request: CaptureRequest, config: Any) -> list[int]:
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and request.tokens > longest:
        raise UsageError(f"--tokens {request.tokens}: the model was made for {longest} positions at most")
    found = [int(token) for token in tokenizer(text)["input_ids"]]
    if len(found) < request.tokens:
        raise UsageError(
            f"--text {request.text} gives {len(found)} tokens, --tokens asks {request.tokens}; give a longer text"
        )
    return found[: request.tokens]


def _cache_dtype(config: Any) -> DType:
    name = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return cast("DType", name) if name in DTYPE_BYTES else "bfloat16"


def _tensors(
    prefilled: forward.Prefill,
    before: Mapping[int, Sequence[torch.Tensor]],
    layers: Sequence[int],
    tokens: int,
    dtype: DType,
) -> dict[str, torch.Tensor]:
    """K and V of each layer, and the keys before rotation where `before` has them."""
    found = {}
    for layer in layers:
        keys, values = forward.kv_of_layer(prefilled, layer, tokens)
        found[f"layers.{layer}.k"] = _stored(keys, dtype)
        found[f"layers.{layer}.v"] = _stored(values, dtype)
        if layer in before:
            found[f"layers.{layer}.k_pre"] = _stored(forward.joined_keys(before[layer], keys), dtype)
    return found


def _stored(tensor: torch.Tensor, dtype: DType) -> torch.Tensor:
    return tensor.to("cpu", torch_dtype(dtype)).contiguous()


def _model_metadata(place: load.ModelPlace, config: Any, geometry: KVGeometry, layers: Sequence[int]) -> dict[str, str]:
    query_heads = getattr(config, "num_attention_heads", None)
    found = {
        SCHEMA_KEY: str(SCHEMA_VERSION),
        "model": place.name,
        "model_type": str(config.model_type),
        "revision": place.revision or getattr(config, "_commit_hash", None) or "a local folder",
        "dtype": geometry.dtype,
        "arithmetic": "float32",
        "layout": "thd",
        "layers": " ".join(str(layer) for layer in layers),
        "geometry": json.dumps({**geometry.model_dump(), "query_heads": query_heads}, sort_keys=True),
    }
    if place.gguf is not None:
        found["weights_file"] = place.gguf
    if place.gguf_path is not None:
        with place.gguf_path.open("rb") as stream:
            found["weights_sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _text_metadata(request: CaptureRequest) -> dict[str, str]:
    found = {
        "tokens": str(request.tokens),
        "text_tokens": f"0:{request.tokens}",
        "text_file": request.text.name,
        "text_sha256": hashlib.sha256(request.text.read_bytes()).hexdigest(),
    }
    return found if request.note is None else {**found, "note": request.note}


def _rotary(config: Any, pre_rope: bool) -> dict[str, Any]:
    """What was done to the keys: `after` or `before` rotation, with the model's own parameters; `none` without."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    theta = getattr(config, "rope_theta", None)
    if parameters is None and theta is None:
        return {"k": "none"}
    found: dict[str, Any] = {
        "k": "after",
        "parameters": {**({"rope_theta": theta} if theta else {}), **(parameters or {})},
    }
    return {**found, "k_pre": "before"} if pre_rope else found


def _write(output: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with replacing(output) as temporary:
        save_safetensors(temporary, tensors, metadata)
