"""Owns tensor files as sources: which of a file's tensors an experiment takes, and how they are stored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES
from kvbench.record.schema import SourceLayout, TensorSpec
from kvbench.tensors.file_formats import FORMATS, PICKLE_REMEDY, PICKLE_SUFFIXES, FileFormat, StoredTensor, explained
from kvbench.tensors.names import parse_name, select
from kvbench.tensors.sizes import cut

if TYPE_CHECKING:
    import torch

MAX_DIMENSIONS = 8  # what a frame can hold


def is_tensor_file(text: str) -> bool:
    """Whether a source's name is a path of a readable kind, by its suffix."""
    return Path(text).suffix.lower() in FORMATS


def specs(path: Path, experiment: Experiment, *, source: str) -> list[TensorSpec]:
    """The tensors of a file that match the experiment's glob and layers, one for every asked size, layer by layer.

    Each spec has `source` as its source. A tensor with three axes is stored as --source-layout says, else as the
    header written by `kvbench capture` says; when neither does it is flat, as every other tensor is: its axes have no
    names. A flat tensor keeps its shape, unless it is cut, which gives [n]. Integer and boolean tensors (token ids,
    masks) are passed over by the glob `*`.
    Raises UsageError, in one line, for a file or tensor that cannot be used.
    """
    if experiment.geometry:
        raise UsageError(
            f"--geometry describes made-up tensors, {source} has its own shapes; cut it with --tensor-size"
        )
    stored = _chosen(path, experiment, source)
    if experiment.source_layout is not None and all(len(tensor.shape) != 3 for tensor in stored):
        raise UsageError(
            f"--source-layout {experiment.source_layout}: no chosen tensor of {source} has three axes; leave it out"
        )
    found = [spec for tensor in stored for spec in _tensor_specs(tensor, experiment, source)]
    return sorted(found, key=lambda spec: (spec.layer is not None, spec.layer or 0))


def load(path: Path, spec: TensorSpec) -> torch.Tensor:
    """The values of a spec: a private mapping of the file where the format allows, so treat it as read-only.

    Raises UsageError when the file changed so that it no longer holds the tensor of the spec.
    """
    with explained(path):
        file_format = _format(path)
        stored = {tensor.name: tensor for tensor in file_format.headers(path)}.get(spec.tensor)
        if stored is None or not _holds(stored, spec):
            raise UsageError(f"{path} has changed: it no longer holds {spec.tensor!r} as {spec.dtype} {spec.shape}")
        if spec.shape == stored.shape:
            return file_format.read(path, spec.tensor, None)
        if spec.source_layout == "flat":
            return file_format.read(path, spec.tensor, None).reshape(-1)[: spec.elements]
        return file_format.read(path, spec.tensor, spec.shape)


def _format(path: Path) -> FileFormat:
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise UsageError(
            f"{path}: {suffix} files are pickles, which can run code and are never loaded; {PICKLE_REMEDY}"
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a file: {', '.join(FORMATS)}")
    if suffix not in FORMATS:
        raise UsageError(f"{path}: unknown kind of tensor file {suffix!r}; use {', '.join(FORMATS)}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a pipe or a device, which cannot be read twice; save it as a file")
    return FORMATS[suffix]


def _chosen(path: Path, experiment: Experiment, source: str) -> list[StoredTensor]:
    with explained(path):
        tensors = _format(path).headers(path)
    if experiment.tensor == "*":
        tensors = [tensor for tensor in tensors if not _is_integer(tensor)] or tensors
    by_name = {tensor.name: tensor for tensor in tensors}
    names = select(list(by_name), pattern=experiment.tensor, layers=experiment.layers, where=source)
    for name in names:
        _check_usable(by_name[name], source)
    return [by_name[name] for name in names]


def _is_integer(tensor: StoredTensor) -> bool:
    return tensor.dtype.startswith(("int", "uint", "bool"))


def _check_usable(tensor: StoredTensor, source: str) -> None:
    if tensor.dtype not in DTYPE_BYTES:
        raise UsageError(
            f"{source}: tensor {tensor.name!r} is {tensor.dtype}; cast it to one of {', '.join(DTYPE_BYTES)} "
            "(bfloat16 in .safetensors only), or choose others with --tensor GLOB"
        )
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise UsageError(
            f"{source}: tensor {tensor.name!r} has {len(tensor.shape)} dimensions; "
            f"reshape it to {MAX_DIMENSIONS} or fewer"
        )
    if 0 in tensor.shape:
        raise UsageError(f"{source}: tensor {tensor.name!r} has no elements (shape {list(tensor.shape)})")


def _tensor_specs(tensor: StoredTensor, experiment: Experiment, source: str) -> list[TensorSpec]:
    layer, kv = parse_name(tensor.name)
    layout = _layout(tensor, experiment, source)
    whole = TensorSpec.model_validate(
        {
            "source": source,
            "tensor": tensor.name,
            "layer": layer,
            "kv": kv,
            "dtype": tensor.dtype,
            "shape": tensor.shape or (1,),  # a scalar
            "source_layout": layout,
        }
    )
    where = f"tensor {tensor.name!r} of {source}"
    shapes = [cut(whole.shape, layout, size, where) for size in experiment.tensor_size] or [whole.shape]
    return [whole.model_copy(update={"shape": shape}) for shape in shapes]


def _layout(tensor: StoredTensor, experiment: Experiment, source: str) -> SourceLayout:
    if len(tensor.shape) != 3:
        return "flat"
    stated = experiment.source_layout or tensor.layout
    if stated is None and set(experiment.layout) != {"thd"}:
        raise UsageError(
            f"{source}: tensor {tensor.name!r} does not say how it is stored, so it cannot be laid out as "
            f"{' '.join(experiment.layout)}; add --source-layout thd, htd or hdt"
        )
    return stated or "flat"


def _holds(stored: StoredTensor, spec: TensorSpec) -> bool:
    if stored.dtype != spec.dtype:
        return False
    if spec.source_layout == "flat":
        return math.prod(stored.shape) >= spec.elements
    return len(stored.shape) == 3 and all(n <= m for n, m in zip(spec.shape, stored.shape, strict=True))
