"""Owns the shape of a model's KV cache: known models, the text form, sizes in tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kvbench.errors import UsageError

# Far above any memory, and far below where byte counts leave 64 bits.
MOST_ELEMENTS = 2**48
DType = Literal["float32", "bfloat16", "float16"]
DTYPE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
DTYPE_ALIASES: dict[str, DType] = {
    "float32": "float32",
    "f32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "f16": "float16",
    "fp16": "float16",
    "half": "float16",
}


def parse_dtype(text: str) -> DType:
    """The canonical name of an element type. Raises UsageError for an unknown one."""
    try:
        return DTYPE_ALIASES[text.strip().lower()]
    except KeyError:
        raise UsageError(f"unknown dtype {text!r}; use one of float32, bfloat16, float16") from None


class KVGeometry(BaseModel):
    """One model's KV cache: `heads` are KV heads (fewer than query heads under GQA)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    dtype: DType = "bfloat16"
    tokens: int = Field(default=4096, gt=0)

    @property
    def elements_per_tensor(self) -> int:
        """Elements of one layer's K (or V): tokens * heads * head_dim."""
        return self.tokens * self.heads * self.head_dim

    @property
    def cache_elements(self) -> int:
        """Elements of the whole cache: every layer, K and V."""
        return 2 * self.layers * self.elements_per_tensor

    @property
    def bytes_per_token(self) -> int:
        """Bytes one token takes in the whole cache."""
        return 2 * self.layers * self.heads * self.head_dim * DTYPE_BYTES[self.dtype]


# Layers, KV heads and head size as published in each model's own configuration file.
KNOWN_GEOMETRIES: dict[str, KVGeometry] = {
    "llama-3.1-8b": KVGeometry(layers=32, heads=8, head_dim=128),
    "llama-3.1-70b": KVGeometry(layers=80, heads=8, head_dim=128),
    "mistral-7b-v0.3": KVGeometry(layers=32, heads=8, head_dim=128),
    "qwen2.5-0.5b": KVGeometry(layers=24, heads=2, head_dim=64),
    "qwen2.5-7b": KVGeometry(layers=28, heads=4, head_dim=128),
    "qwen3-8b": KVGeometry(layers=36, heads=8, head_dim=128),
    "smollm2-135m": KVGeometry(layers=30, heads=3, head_dim=64),
}


def parse_geometry(text: str) -> KVGeometry:
    """Read `NAME`, `NAME,tokens=4096` or `layers=32,heads=8,head_dim=128,dtype=bf16,tokens=4096`.

    Raises UsageError naming the part that cannot be used.
    """
    first, *rest = [part.strip() for part in text.split(",")]
    fields: dict[str, object] = {}
    if "=" in first:
        rest = [first, *rest]
    elif first.lower() in KNOWN_GEOMETRIES:
        fields.update(KNOWN_GEOMETRIES[first.lower()].model_dump())
    else:
        known = ", ".join(KNOWN_GEOMETRIES)
        raise UsageError(
            f"unknown geometry {first!r}; known: {known}; or give layers=..,heads=..,head_dim=..,dtype=..,tokens=.."
        )
    seen: set[str] = set()
    for part in rest:
        key, separator, value = part.partition("=")
        key = key.strip()
        if key in seen:
            raise UsageError(f"geometry {text!r}: {key!r} is given twice")
        seen.add(key)
        if not separator or key not in KVGeometry.model_fields:
            raise UsageError(f"geometry {text!r}: {part!r} is not one of {', '.join(KVGeometry.model_fields)} = value")
        fields[key] = parse_dtype(value) if key == "dtype" else value.strip()
    try:
        geometry = KVGeometry.model_validate(fields)
    except ValidationError as error:
        first_error = error.errors()[0]
        place = ".".join(str(part) for part in first_error["loc"])
        raise UsageError(f"geometry {text!r}: {place}: {first_error['msg'].lower()}") from None
    if geometry.cache_elements > MOST_ELEMENTS:
        raise UsageError(
            f"geometry {text!r}: its cache of {geometry.cache_elements} elements is above {MOST_ELEMENTS}; "
            "give fewer tokens, layers or heads"
        )
    return geometry
