"""Owns the packaged sample: the KV cache of a real model, captured by `kvbench capture` (see data/README.md)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from kvbench.config import Experiment
from kvbench.record.schema import TensorSpec
from kvbench.tensors import files as tensor_files

if TYPE_CHECKING:
    import torch

SAMPLE_NAME = "smollm2-135m.safetensors"
_SAMPLE = files("kvbench.tensors") / "data" / SAMPLE_NAME


class SampleSource:
    """K (after rotary rotation) and V of four layers of SmolLM2-135M-Instruct, bfloat16 [512 tokens, 3 heads, 64]."""

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        """As for a file: glob, layers and sizes of the experiment choose and cut."""
        with as_file(_SAMPLE) as path:
            return tensor_files.specs(path, experiment, source="sample")

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        """The tensor of `spec` on the CPU; the seed plays no part."""
        with as_file(_SAMPLE) as path:
            return tensor_files.load(path, spec)
