"""Owns how much memory an encode needs beside the tensor and the room for its stream."""

from __future__ import annotations

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec
from kvbench.tensors.base import KVView


def scratch_bytes(codec: Codec, view: KVView, out: torch.Tensor, bound: Bound | None) -> int | None:
    """Most bytes that one more encode allocates on the GPU at a time, plus what the codec says it keeps for it.

    Counts what goes through torch's allocator, in its units. In host memory, where no allocator is asked, it is what
    the codec declares, or None.
    """
    kept = codec.kept_bytes(view)
    if not view.tensor.is_cuda:
        return kept
    device = view.tensor.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    codec.encode(view, out, bound)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before + (kept or 0)
