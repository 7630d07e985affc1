"""Owns finding tensors: the sources of the entry-point group `kvbench.sources`, and files by their path."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kvbench.config import Experiment
from kvbench.errors import UnavailableError, UsageError
from kvbench.record.schema import TensorSpec
from kvbench.tensors import files
from kvbench.tensors.base import TensorSource

if TYPE_CHECKING:
    import torch

SOURCE_GROUP = "kvbench.sources"


def names() -> list[str]:
    """The registered sources, sorted. Nothing is imported."""
    return sorted(_found())


def specs(experiment: Experiment) -> list[TensorSpec]:
    """The tensors of an experiment, sources first, then files, from headers alone.

    Without source and file it is `kv` when a size or geometry is given, else `sample`.
    Raises UsageError for an unknown source, a file that cannot be used, or options that do not fit them.
    """
    if experiment.source_layout is not None and not experiment.input:
        raise UsageError("--source-layout says how files store their tensors; it needs --input FILE")
    found: list[TensorSpec] = []
    for name in _source_names(experiment):
        found.extend(_source(name).specs(experiment))
    for path in experiment.input:
        found.extend(files.specs(path, experiment, source=str(path)))
    return found


def load(spec: TensorSpec, seed: int) -> torch.Tensor:
    """The tensor of a spec on the CPU, with the spec's shape, dtype and layout. `seed` matters to made-up ones only.

    A file's tensor may be a private mapping of the file: treat it as read-only.
    Raises UsageError when the file is gone or no longer holds what the spec says.
    """
    if files.is_tensor_file(spec.source):
        return files.load(Path(spec.source), spec)
    return _source(spec.source).load(spec, seed)


def _source_names(experiment: Experiment) -> tuple[str, ...]:
    if experiment.source or experiment.input:
        return experiment.source
    return ("kv",) if experiment.tensor_size or experiment.geometry else ("sample",)


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=SOURCE_GROUP)}


def _source(name: str) -> TensorSource:
    found = _found()
    if name not in found:
        raise UsageError(f"unknown source {name!r}; use one of {', '.join(sorted(found))}, or --input FILE for a file")
    try:
        source = found[name].load()
    except ImportError as error:
        raise UnavailableError(f"source {name!r} cannot be used here: {error}") from None
    return cast("TensorSource", source())
