"""Owns the step from a stored tensor to what a codec sees: element type, order of axes, contiguity."""

from __future__ import annotations

import torch

from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType
from kvbench.plan import permutation
from kvbench.record.schema import SourceLayout, TensorSpec
from kvbench.tensors.base import KVView

_TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_BYTES}


def torch_dtype(name: str) -> torch.dtype:
    """The torch element type of `float32`, `bfloat16` or `float16`. Raises UsageError for any other name."""
    try:
        return _TORCH_DTYPES[name]
    except KeyError:
        raise UsageError(f"unknown dtype {name!r}; use one of {', '.join(_TORCH_DTYPES)}") from None


def as_view(tensor: torch.Tensor, spec: TensorSpec, layout: SourceLayout, dtype: DType) -> KVView:
    """The view of `tensor` (shape and layout as `spec` says) in `layout`, contiguous, with elements of `dtype`.

    Values are rounded to nearest, ties to even; a float32 value above the float16 range becomes an infinity.
    Nothing is copied when type and order stay the same, and only once when they change.
    Raises UsageError for a layout that the tensor cannot take.
    """
    if (spec.source_layout == "flat") != (layout == "flat"):
        raise UsageError(f"tensor {spec.tensor!r} is stored as {spec.source_layout}; it cannot be laid out as {layout}")
    ordered = tensor if layout == "flat" else tensor.permute(permutation(spec.source_layout, layout))
    cast = ordered.to(torch_dtype(dtype), memory_format=torch.contiguous_format)
    return KVView(tensor=cast.contiguous(), layer=spec.layer, kv=spec.kv, layout=layout)
