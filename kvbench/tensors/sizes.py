"""Owns how --tensor-size and --geometry become shapes: of made-up tensors, and as cuts of stored ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.geometry import DType, parse_geometry
from kvbench.plan import LAYOUT_AXES
from kvbench.record.schema import SourceLayout, TensorSpec
from kvbench.tensors.names import select

# A size in elements means tokens of 8 heads of 128, as in Llama 3.1 8B, when it is a whole number of them.
HEADS, HEAD_DIM = 8, 128
CHANNELS = HEADS * HEAD_DIM
DEFAULT_ELEMENTS = 1024 * CHANNELS


def synthetic_specs(source: str, experiment: Experiment) -> list[TensorSpec]:
    """K and V of every asked size and layer (default: layer 0), named `layers.N.k` and `layers.N.v`.

    A size N gives float32 [N/1024, 8, 128] when N is a multiple of 1024, else flat [N]; a geometry gives
    [tokens, heads, head_dim] in its own dtype, or in float32 when the experiment casts to dtypes of its own.
    Without either the size is 1 048 576. Raises UsageError for a layer the geometry lacks.
    """
    specs = []
    for shape, dtype, layer_count in _synthetic_shapes(experiment):
        layout: SourceLayout = "thd" if len(shape) == 3 else "flat"
        for layer, kv in product(experiment.layers or (0,), ("k", "v")):
            if layer_count is not None and layer >= layer_count:
                raise UsageError(f"--layers {layer}: the geometry has layers 0 to {layer_count - 1}")
            name = f"layers.{layer}.{kv}"
            specs.append(
                TensorSpec.model_validate(
                    {
                        "source": source,
                        "tensor": name,
                        "layer": layer,
                        "kv": kv,
                        "dtype": dtype,
                        "shape": shape,
                        "source_layout": layout,
                    }
                )
            )
    kept = select([spec.tensor for spec in specs], pattern=experiment.tensor, layers=(), where=f"source {source!r}")
    return [spec for spec in specs if spec.tensor in kept]


def _synthetic_shapes(experiment: Experiment) -> Iterator[tuple[tuple[int, ...], DType, int | None]]:
    """Shape, dtype and number of layers (None where there is no limit) of each asked size."""
    sizes = experiment.tensor_size
    if not sizes and not experiment.geometry:
        sizes = (DEFAULT_ELEMENTS,)
    for size in sizes:
        shape = (size,) if size % CHANNELS else (size // CHANNELS, HEADS, HEAD_DIM)
        yield shape, "float32", None
    for text in experiment.geometry:
        geometry = parse_geometry(text)
        dtype: DType = "float32" if experiment.dtype else geometry.dtype
        yield (geometry.tokens, geometry.heads, geometry.head_dim), dtype, geometry.layers


def cut(shape: tuple[int, ...], layout: SourceLayout, elements: int, where: str) -> tuple[int, ...]:
    """The shape of the first `elements` elements of a stored tensor: whole tokens, or anywhere when it is flat.

    Raises UsageError, naming `where`, for a size the tensor lacks or that ends inside a token.
    """
    stored = math.prod(shape)
    if elements > stored:
        raise UsageError(f"--tensor-size {elements}: {where} has only {stored} elements")
    if layout == "flat":
        return (elements,)
    token_axis = LAYOUT_AXES[layout].index(0)
    token_elements = stored // shape[token_axis]
    tokens, rest = divmod(elements, token_elements)
    if rest or not tokens:
        raise UsageError(
            f"--tensor-size {elements}: {where} has {token_elements} elements a token; give a multiple of that"
        )
    return tuple(tokens if axis == token_axis else length for axis, length in enumerate(shape))
